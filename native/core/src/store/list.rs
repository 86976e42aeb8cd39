//! The list of a build's files: `DIGEST RUN SIZE PATH` in each line, sorted by path. `RUN` is `x` or
//! `-`; in a path a backslash is `\\` and a line's end `\n`, as sha256sum writes them.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

/// The first line: another format is another list.
const MAGIC: &[u8] = b"bc_gitops files 1\n";

/// One file as it was sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// From the build's directory on.
    pub path: PathBuf,
    pub size: u64,
    pub executable: bool,
    pub sha256: [u8; 32],
}

pub(super) fn to_bytes(entries: &[Entry]) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    for entry in entries {
        bytes.extend(hex(&entry.sha256));
        let run = if entry.executable { 'x' } else { '-' };
        bytes.extend(format!(" {run} {} ", entry.size).bytes());
        bytes.extend(escaped(entry.path.as_os_str().as_bytes()));
        bytes.push(b'\n');
    }
    bytes
}

/// The entries, when the bytes are a list that [`to_bytes`] could have made.
pub(super) fn from_bytes(bytes: &[u8]) -> Option<Vec<Entry>> {
    let lines = bytes.strip_prefix(MAGIC)?;
    if lines.is_empty() {
        return Some(Vec::new());
    }
    let lines = lines.strip_suffix(b"\n")?;
    let entries: Vec<Entry> = lines
        .split(|byte| *byte == b'\n')
        .map(entry)
        .collect::<Option<_>>()?;
    entries
        .is_sorted_by(|a, b| a.path < b.path)
        .then_some(entries)
}

fn entry(line: &[u8]) -> Option<Entry> {
    let mut fields = line.splitn(4, |byte| *byte == b' ');
    let sha256 = unhex(fields.next()?)?;
    let executable = match fields.next()? {
        b"x" => true,
        b"-" => false,
        _ => return None,
    };
    let size = std::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
    let path = PathBuf::from(OsString::from_vec(unescaped(fields.next()?)?));
    is_inside(&path).then_some(Entry {
        path,
        size,
        executable,
        sha256,
    })
}

/// Names and nothing else: no root, no dots.
fn is_inside(path: &Path) -> bool {
    let normal = |part: Component<'_>| matches!(part, Component::Normal(_));
    path.components().next().is_some() && path.components().all(normal)
}

fn escaped(path: &[u8]) -> Vec<u8> {
    let mut escaped = Vec::with_capacity(path.len());
    for byte in path {
        match byte {
            b'\\' => escaped.extend(b"\\\\"),
            b'\n' => escaped.extend(b"\\n"),
            _ => escaped.push(*byte),
        }
    }
    escaped
}

fn unescaped(text: &[u8]) -> Option<Vec<u8>> {
    let mut path = Vec::with_capacity(text.len());
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        path.push(match byte {
            b'\\' => match bytes.next()? {
                b'\\' => b'\\',
                b'n' => b'\n',
                _ => return None,
            },
            _ => *byte,
        });
    }
    Some(path)
}

fn hex(bytes: &[u8; 32]) -> impl Iterator<Item = u8> + '_ {
    let digit = |nibble: u8| b"0123456789abcdef"[usize::from(nibble)];
    bytes
        .iter()
        .flat_map(move |byte| [digit(byte >> 4), digit(byte & 15)])
}

fn unhex(text: &[u8]) -> Option<[u8; 32]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; 32];
    let (pairs, rest) = text.as_chunks::<2>();
    if pairs.len() != bytes.len() || !rest.is_empty() {
        return None;
    }
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(bytes)
}

/// For fuzzing: what is read as a list is written as the same bytes, or not read at all.
pub fn fuzz(bytes: &[u8]) {
    if let Some(entries) = from_bytes(bytes) {
        let written = to_bytes(&entries);
        assert_eq!(from_bytes(&written).as_ref(), Some(&entries));
    }
}
