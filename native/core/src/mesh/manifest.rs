//! Manifests: JSON documents that list content by digest.
//!
//! ```json
//! {"bc_gitops_manifest": 1,
//!  "files": [
//!    {"path": "rebar.config", "size": 16, "blake3": "…64 digits…"},
//!    {"path": "bin/run", "mode": "755", "size": 5000000, "blake3": "…",
//!     "chunks": [{"size": 4194304, "blake3": "…"}, {"size": 805696, "blake3": "…"}]}]}
//! ```
//!
//! or `"archive": {"size": …, "blake3": …, "chunks": […]}` in place of `files`: one tar or tar.gz.
//!
//! Why it is as it is. JSON, because every language writes it and the reader here is strict about
//! it. The digest of the document is in the content id and the digests of everything else are in
//! the document, in full, so that one short id covers a whole tree. Sizes stand beside digests, so
//! that it is known before the first byte is fetched how much will come, and no store can send
//! more. Pieces are bytes and never manifests: nothing can be nested, and no work grows but with
//! the document itself. A file is its own piece unless it has chunks; a file or chunk that two
//! versions have in common is fetched once. There are files only: directories follow from paths,
//! links and devices have no place, and the mode is that of a program (755) or of anything else
//! (644). Unknown keys, keys given twice and numbers that are no plain integers are refused:
//! whoever reads a manifest otherwise than its author meant it builds something else.

use std::collections::{HashMap, HashSet};

use super::mcid::hex;
use super::{MeshError, Result};
use crate::spec::{Node, Source, Value, json};

/// Bytes of a manifest.
pub const MAX_BYTES: u64 = 8 << 20;
/// Files of a manifest.
pub const MAX_FILES: usize = 16_384;
/// Chunks of a manifest.
pub const MAX_CHUNKS: usize = 16_384;
/// Bytes of all content that a manifest lists.
pub const MAX_CONTENT: u64 = 4 << 30;
/// Bytes of a path, and of a name in it.
const MAX_PATH: usize = 1_024;
const MAX_NAME: usize = 255;
/// Names in a path.
const MAX_DEPTH: usize = 40;

const FORMAT: &str = "bc_gitops_manifest";
const VERSION: i64 = 1;

/// What a manifest lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Manifest {
    /// A tree.
    Files(Vec<Entry>),
    /// A tar or tar.gz.
    Archive(Blob),
}

/// A file of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its path: relative, names joined by `/`.
    pub path: String,
    /// Whether it is a program.
    pub executable: bool,
    /// Its bytes.
    pub blob: Blob,
}

/// Bytes, and the pieces that they come in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    /// The bytes as a whole.
    pub whole: Piece,
    /// Where there are several; their sizes add up to that of the whole.
    pub chunks: Vec<Piece>,
}

/// Bytes that a store has under their digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Piece {
    /// How many.
    pub size: u64,
    /// Their BLAKE3 digest.
    pub digest: [u8; 32],
}

impl Blob {
    /// The pieces in their order; none of nothing.
    pub fn pieces(&self) -> &[Piece] {
        match (self.whole.size, self.chunks.is_empty()) {
            (0, _) => &[],
            (_, true) => std::slice::from_ref(&self.whole),
            (_, false) => &self.chunks,
        }
    }
}

impl Manifest {
    /// Reads a manifest and refuses what is not one in every respect.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        if bytes.len() as u64 > MAX_BYTES {
            return Err(MeshError::BadManifest(format!(
                "it has more than {MAX_BYTES} bytes"
            )));
        }
        let text = std::str::from_utf8(bytes).map_err(|error| {
            MeshError::BadManifest(format!("byte {} is no UTF-8", error.valid_up_to()))
        })?;
        let placed = |at: usize, what: String| {
            let (line, column) = Source::bytes(text).place(at);
            MeshError::BadManifest(format!("line {line}, column {column}: {what}"))
        };
        let root = json::read(text).map_err(|fault| {
            placed(
                fault.at,
                format!("found {}, expected {}", fault.found, fault.expected),
            )
        })?;
        Reader::default()
            .manifest(&root)
            .map_err(|(at, what)| placed(at, what))
    }

    /// Every blob that is listed.
    pub fn blobs(&self) -> impl Iterator<Item = &Blob> {
        let (files, archive) = match self {
            Manifest::Files(files) => (files.as_slice(), None),
            Manifest::Archive(blob) => (&[][..], Some(blob)),
        };
        files.iter().map(|file| &file.blob).chain(archive)
    }

    /// Every piece once, in the order in which they are needed.
    pub fn pieces(&self) -> Vec<Piece> {
        let mut seen = HashSet::new();
        self.blobs()
            .flat_map(Blob::pieces)
            .filter(|piece| seen.insert(**piece))
            .copied()
            .collect()
    }

    /// The bytes of all content.
    pub fn size(&self) -> u64 {
        self.blobs().map(|blob| blob.whole.size).sum()
    }

    /// The document.
    pub fn to_json(&self) -> String {
        let content = match self {
            Manifest::Archive(blob) => format!("\"archive\": {{{}}}", fields(blob)),
            Manifest::Files(files) => {
                let files: Vec<String> = files.iter().map(line).collect();
                format!("\"files\": [\n{}\n]", files.join(",\n"))
            }
        };
        format!("{{\"{FORMAT}\": {VERSION}, {content}}}\n")
    }
}

/// Fuzz entry: any bytes are read or refused, and what is read is written and read alike.
pub fn fuzz(bytes: &[u8]) {
    if let Ok(manifest) = Manifest::parse(bytes) {
        assert_eq!(
            Manifest::parse(manifest.to_json().as_bytes()).ok(),
            Some(manifest)
        );
    }
}

fn line(file: &Entry) -> String {
    let path = file.path.replace('\\', "\\\\").replace('"', "\\\"");
    let mode = if file.executable { "755" } else { "644" };
    format!(
        "{{\"path\": \"{path}\", \"mode\": \"{mode}\", {}}}",
        fields(&file.blob)
    )
}

fn fields(blob: &Blob) -> String {
    let piece = |piece: &Piece| {
        format!(
            "\"size\": {}, \"blake3\": \"{}\"",
            piece.size,
            hex(&piece.digest)
        )
    };
    if blob.chunks.is_empty() {
        return piece(&blob.whole);
    }
    let chunks: Vec<String> = blob
        .chunks
        .iter()
        .map(|chunk| format!("{{{}}}", piece(chunk)))
        .collect();
    format!(
        "{}, \"chunks\": [{}]",
        piece(&blob.whole),
        chunks.join(", ")
    )
}

/// Whether a path stays below where it is put, on every file system, and says what it shows.
pub fn is_path(path: &str) -> bool {
    let names = || path.split('/');
    let plain = |name: &str| {
        !matches!(name, "" | "." | "..")
            && name.len() <= MAX_NAME
            && !name.chars().any(char::is_control)
    };
    path.len() <= MAX_PATH && names().count() <= MAX_DEPTH && names().all(plain)
}

type Wrong = (usize, String);

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
    fn manifest(mut self, root: &Node<'_>) -> std::result::Result<Manifest, Wrong> {
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

    fn files(&mut self, node: &Node<'_>) -> std::result::Result<Vec<Entry>, Wrong> {
        let files = list(node, MAX_FILES, "files")?;
        files.iter().map(|file| self.file(file)).collect()
    }

    fn file(&mut self, node: &Node<'_>) -> std::result::Result<Entry, Wrong> {
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

    fn path(&mut self, node: &Node<'_>) -> std::result::Result<String, Wrong> {
        let path = text(node)?.to_owned();
        if !is_path(&path) {
            return Err(wrong(
                node,
                format!(
                    "expected a relative path of at most {MAX_DEPTH} names without `.`, `..` and \
                     control characters, each of at most {MAX_NAME} bytes and together of {MAX_PATH}"
                ),
            ));
        }
        let taken = !self.files.insert(path.clone()) || self.directories.contains(&path);
        let above: Vec<&str> = path.match_indices('/').map(|(at, _)| &path[..at]).collect();
        if taken
            || above
                .iter()
                .any(|directory| self.files.contains(*directory))
        {
            return Err(wrong(
                node,
                "this path is listed before, as a file or a directory",
            ));
        }
        self.directories
            .extend(above.into_iter().map(str::to_owned));
        Ok(path)
    }

    fn blob(&mut self, fields: &Fields<'_, '_>) -> std::result::Result<Blob, Wrong> {
        let whole = self.piece(fields)?;
        let at = fields.need("size")?;
        self.bytes = self.bytes.saturating_add(whole.size);
        if self.bytes > MAX_CONTENT {
            return Err(wrong(
                at,
                format!("expected at most {MAX_CONTENT} bytes in all"),
            ));
        }
        let chunks = match fields.get("chunks") {
            None => {
                return Ok(Blob {
                    whole,
                    chunks: Vec::new(),
                });
            }
            Some(node) => self.chunks(node)?,
        };
        let total = chunks
            .iter()
            .fold(0, |sum: u64, chunk| sum.saturating_add(chunk.size));
        if total != whole.size {
            return Err(wrong(
                at,
                format!("expected the sizes of the chunks to add up: they are {total}"),
            ));
        }
        Ok(Blob { whole, chunks })
    }

    fn chunks(&mut self, node: &Node<'_>) -> std::result::Result<Vec<Piece>, Wrong> {
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

    fn piece(&mut self, fields: &Fields<'_, '_>) -> std::result::Result<Piece, Wrong> {
        let node = fields.need("size")?;
        let size = match node.value {
            Value::Int(size) if (0..=MAX_CONTENT as i64).contains(&size) => size as u64,
            _ => {
                return Err(wrong(
                    node,
                    format!("expected a size of 0 to {MAX_CONTENT}"),
                ));
            }
        };
        let node = fields.need("blake3")?;
        let digest = digest(text(node)?).ok_or_else(|| {
            wrong(
                node,
                "expected a BLAKE3 digest of 64 hexadecimal digits in lower case",
            )
        })?;
        if (size == 0) != (digest == *blake3::hash(b"").as_bytes()) {
            return Err(wrong(node, "this digest is not one of so many bytes"));
        }
        if *self.sizes.entry(digest).or_insert(size) != size {
            return Err(wrong(
                node,
                "this digest is listed before, with another size",
            ));
        }
        Ok(Piece { size, digest })
    }
}

/// The fields of an object, each known and there once.
struct Fields<'n, 'a> {
    node: &'n Node<'a>,
    pairs: Vec<(&'n str, &'n Node<'a>)>,
}

impl<'n, 'a> Fields<'n, 'a> {
    fn of(node: &'n Node<'a>, known: &[&str]) -> std::result::Result<Self, Wrong> {
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

    fn need(&self, name: &str) -> std::result::Result<&'n Node<'a>, Wrong> {
        self.get(name)
            .ok_or_else(|| wrong(self.node, format!("expected the key {name}")))
    }
}

fn list<'n, 'a>(
    node: &'n Node<'a>,
    limit: usize,
    what: &str,
) -> std::result::Result<&'n [Node<'a>], Wrong> {
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

fn text<'n>(node: &'n Node<'_>) -> std::result::Result<&'n str, Wrong> {
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
