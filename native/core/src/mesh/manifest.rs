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

use std::collections::HashSet;

use super::mcid::hex;
use super::reader;
use super::{MeshError, Result};
use crate::spec::{Source, json};

/// Bytes of a manifest.
pub const MAX_BYTES: u64 = 8 << 20;
/// Files of a manifest.
pub const MAX_FILES: usize = 16_384;
/// Chunks of a manifest.
pub const MAX_CHUNKS: usize = 16_384;
/// Bytes of all content that a manifest lists.
pub const MAX_CONTENT: u64 = 4 << 30;
/// Bytes of a path, and of a name in it.
pub(super) const MAX_PATH: usize = 1_024;
pub(super) const MAX_NAME: usize = 255;
/// Names in a path.
pub(super) const MAX_DEPTH: usize = 40;

pub(super) const FORMAT: &str = "bc_gitops_manifest";
pub(super) const VERSION: i64 = 1;

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
        reader::manifest(&root).map_err(|(at, what)| placed(at, what))
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
