//! Reading a manifest out of JSON: what it lists, or the place and the reason why it is none.

use std::collections::{HashMap, HashSet};

use super::manifest::{
    Blob, Entry, FORMAT, MAX_CHUNKS, MAX_CONTENT, MAX_DEPTH, MAX_FILES, MAX_NAME, MAX_PATH,
    Manifest, Piece, VERSION, is_path,
};
use crate::spec::{Node, Value};

/// Where something is not as it must be, and what.
pub(super) type Wrong = (usize, String);

type Read<T> = std::result::Result<T, Wrong>;

/// The manifest that a document is, when it is one in every respect.
pub(super) fn manifest(root: &Node<'_>) -> Read<Manifest> {
    Reader::default().manifest(root)
}

/// What was read so far, across the whole document.
#[derive(Default)]
struct Reader {
    chunks: usize,
    bytes: u64,
    /// One digest is one content, so it has one size.
    sizes: HashMap<[u8; 32], u64>,
    /// Paths of files, and of the directories above them.
    files: HashSet<String>,
    directories: HashSet<String>,
}

impl Reader {
    fn manifest(mut self, root: &Node<'_>) -> Read<Manifest> {
        let fields = Fields::of(root, &[FORMAT, "files", "archive"])?;
        let format = fields.need(FORMAT)?;
        if format.value != Value::Int(VERSION) {
            return Err(wrong(
                format,
                format!("expected {FORMAT} {VERSION}, the one format there is"),
            ));
        }
        match (fields.get("files"), fields.get("archive")) {
            (Some(files), None) => self.files(files).map(Manifest::Files),
            (None, Some(archive)) => {
                let fields = Fields::of(archive, &["size", "blake3", "chunks"])?;
                self.blob(&fields).map(Manifest::Archive)
            }
            _ => Err(wrong(root, "expected either files or archive")),
        }
    }

    fn files(&mut self, node: &Node<'_>) -> Read<Vec<Entry>> {
        let files = list(node, MAX_FILES, "files")?;
        files.iter().map(|file| self.file(file)).collect()
    }

    fn file(&mut self, node: &Node<'_>) -> Read<Entry> {
        let fields = Fields::of(node, &["path", "mode", "size", "blake3", "chunks"])?;
        let path = self.path(fields.need("path")?)?;
        let executable = match fields.get("mode") {
            None => false,
            Some(node) => match text(node)? {
                "644" => false,
                "755" => true,
                _ => return Err(wrong(node, "expected the mode \"644\" or \"755\"")),
            },
        };
        let blob = self.blob(&fields)?;
        Ok(Entry {
            path,
            executable,
            blob,
        })
    }

    fn path(&mut self, node: &Node<'_>) -> Read<String> {
        let path = text(node)?.to_owned();
        if !is_path(&path) {
            let what = format!(
                "expected a relative path of at most {MAX_DEPTH} names without `.`, `..` and \
                 control characters, each of at most {MAX_NAME} bytes and together of {MAX_PATH}"
            );
            return Err(wrong(node, what));
        }
        let above: Vec<&str> = path.match_indices('/').map(|(at, _)| &path[..at]).collect();
        let is_file = |directory: &&str| self.files.contains(*directory);
        let taken = self.files.contains(&path) || self.directories.contains(&path);
        if taken || above.iter().any(is_file) {
            let what = "this path is listed before, as a file or a directory";
            return Err(wrong(node, what));
        }
        self.directories
            .extend(above.into_iter().map(str::to_owned));
        self.files.insert(path.clone());
        Ok(path)
    }

    fn blob(&mut self, fields: &Fields<'_, '_>) -> Read<Blob> {
        let whole = self.piece(fields)?;
        let at = fields.need("size")?;
        self.bytes = self.bytes.saturating_add(whole.size);
        if self.bytes > MAX_CONTENT {
            let what = format!("expected at most {MAX_CONTENT} bytes in all");
            return Err(wrong(at, what));
        }
        let Some(node) = fields.get("chunks") else {
            let chunks = Vec::new();
            return Ok(Blob { whole, chunks });
        };
        let chunks = self.chunks(node)?;
        let add = |sum: u64, chunk: &Piece| sum.saturating_add(chunk.size);
        let total = chunks.iter().fold(0, add);
        if total != whole.size {
            let what = format!("expected the sizes of the chunks to add up: they are {total}");
            return Err(wrong(at, what));
        }
        Ok(Blob { whole, chunks })
    }

    fn chunks(&mut self, node: &Node<'_>) -> Read<Vec<Piece>> {
        let left = MAX_CHUNKS - self.chunks;
        let nodes = list(node, left, "chunks")?;
        self.chunks += nodes.len();
        let chunk = |node: &Node<'_>| {
            let fields = Fields::of(node, &["size", "blake3"])?;
            let piece = self.piece(&fields)?;
            match piece.size {
                0 => Err(wrong(node, "expected a chunk that is not empty")),
                _ => Ok(piece),
            }
        };
        nodes.iter().map(chunk).collect()
    }

    fn piece(&mut self, fields: &Fields<'_, '_>) -> Read<Piece> {
        let size = size(fields.need("size")?)?;
        let node = fields.need("blake3")?;
        let digest = digest(text(node)?).ok_or_else(|| {
            let what = "expected a BLAKE3 digest of 64 hexadecimal digits in lower case";
            wrong(node, what)
        })?;
        if (size == 0) != (digest == *blake3::hash(b"").as_bytes()) {
            return Err(wrong(node, "this digest is not one of so many bytes"));
        }
        if *self.sizes.entry(digest).or_insert(size) != size {
            let what = "this digest is listed before, with another size";
            return Err(wrong(node, what));
        }
        Ok(Piece { size, digest })
    }
}

fn size(node: &Node<'_>) -> Read<u64> {
    match node.value {
        Value::Int(size) if (0..=MAX_CONTENT as i64).contains(&size) => Ok(size as u64),
        _ => Err(wrong(
            node,
            format!("expected a size of 0 to {MAX_CONTENT}"),
        )),
    }
}

/// The fields of an object, each known and there once.
struct Fields<'n, 'a> {
    node: &'n Node<'a>,
    pairs: Vec<(&'n str, &'n Node<'a>)>,
}

impl<'n, 'a> Fields<'n, 'a> {
    fn of(node: &'n Node<'a>, known: &[&str]) -> Read<Self> {
        let Value::Map(entries) = &node.value else {
            return Err(wrong(node, "expected an object"));
        };
        let mut pairs: Vec<(&str, &Node<'_>)> = Vec::with_capacity(entries.len().min(known.len()));
        for (key, value) in entries {
            let name = text(key)?;
            if !known.contains(&name) {
                return Err(wrong(
                    key,
                    format!("unknown key, expected {}", known.join(", ")),
                ));
            }
            if pairs.iter().any(|(other, _)| *other == name) {
                return Err(wrong(key, "the same key twice"));
            }
            pairs.push((name, value));
        }
        Ok(Fields { node, pairs })
    }

    fn get(&self, name: &str) -> Option<&'n Node<'a>> {
        self.pairs
            .iter()
            .find(|(key, _)| *key == name)
            .map(|(_, node)| *node)
    }

    fn need(&self, name: &str) -> Read<&'n Node<'a>> {
        self.get(name)
            .ok_or_else(|| wrong(self.node, format!("expected the key {name}")))
    }
}

fn list<'n, 'a>(node: &'n Node<'a>, limit: usize, what: &str) -> Read<&'n [Node<'a>]> {
    match &node.value {
        Value::List(items) if items.len() > limit => {
            Err(wrong(node, format!("more {what} than a manifest may list")))
        }
        Value::List(items) if !items.is_empty() => Ok(items),
        _ => Err(wrong(
            node,
            format!("expected a list of {what} that is not empty"),
        )),
    }
}

fn text<'n>(node: &'n Node<'_>) -> Read<&'n str> {
    match &node.value {
        Value::Binary(bytes) => {
            std::str::from_utf8(bytes).map_err(|_| wrong(node, "expected UTF-8"))
        }
        _ => Err(wrong(node, "expected a string")),
    }
}

fn digest(text: &str) -> Option<[u8; 32]> {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if text.len() != 64 || !text.bytes().all(is_digit) {
        return None;
    }
    let mut digest = [0; 32];
    for (index, byte) in digest.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    Some(digest)
}

fn wrong(node: &Node<'_>, what: impl Into<String>) -> Wrong {
    (node.at as usize, what.into())
}
