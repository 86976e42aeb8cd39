//! A manifest's content, put together from its pieces.

use std::fs::{DirBuilder, Permissions};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

use super::content::{Step, Unfinished, copy, expect, open};
use super::manifest::{Blob, Entry, Manifest};
use super::mcid::hex;
use super::{Kind, Mcid, MeshError, Result};

/// What was laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Laid {
    /// Files that were written.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
}

/// Puts a tree's files below `to`, which is not there yet, or an archive at it. The pieces stand in
/// a directory under their digests; each is verified while it is copied, and so is the whole.
pub fn lay_out(manifest: &Manifest, pieces: &Path, to: &Path, step: &mut Step<'_>) -> Result<Laid> {
    let files = match manifest {
        Manifest::Archive(blob) => {
            assemble(blob, pieces, to, step)?;
            1
        }
        Manifest::Files(files) => {
            directory(to)?;
            for file in files {
                lay_file(file, pieces, to, step)?;
            }
            files.len()
        }
    };
    let bytes = manifest.size();
    Ok(Laid { files, bytes })
}

fn lay_file(file: &Entry, pieces: &Path, root: &Path, step: &mut Step<'_>) -> Result<()> {
    let to = root.join(&file.path);
    if let Some(above) = to.parent() {
        directory(above)?;
    }
    assemble(&file.blob, pieces, &to, step)?;
    let mode = if file.executable { 0o755 } else { 0o644 };
    std::fs::set_permissions(&to, Permissions::from_mode(mode)).map_err(MeshError::io(&to))
}

fn directory(path: &Path) -> Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(path)
        .map_err(MeshError::io(path))
}

fn assemble(blob: &Blob, pieces: &Path, to: &Path, step: &mut Step<'_>) -> Result<()> {
    let mut new = Unfinished::create(to)?;
    let mut whole = blake3::Hasher::new();
    for piece in blob.pieces() {
        let from = pieces.join(hex(&piece.digest));
        let write = |bytes: &[u8]| {
            whole.update(bytes);
            new.write(bytes)
        };
        let source = open(&from, piece.size)?;
        let (digest, size) = copy(source, &from, piece.size, step, write)?;
        expect(&Mcid::of(Kind::Raw, &piece.digest), &digest)?;
        if size != piece.size {
            let (listed, digest) = (piece.size, hex(&piece.digest));
            let why =
                format!("it lists {listed} bytes with the digest {digest}, which {size} have");
            return Err(MeshError::BadManifest(why));
        }
    }
    expect(
        &Mcid::of(Kind::Raw, &blob.whole.digest),
        whole.finalize().as_bytes(),
    )?;
    new.finish(to)
}
