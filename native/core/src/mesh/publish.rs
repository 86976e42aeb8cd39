//! The other direction: a file or a tree becomes content of a directory store.

use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::content::{Step, Unfinished, copy, open};
use super::manifest::{self, Blob, Entry, Manifest, Piece};
use super::{Kind, Mcid, MeshError, Result};

/// What was published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// The content id for a spec.
    pub id: Mcid,
    /// Bytes of the content.
    pub bytes: u64,
}

/// Copies a file (as `raw`), or a tree or a file in chunks (as `manifest`), into the directory of a
/// store. A tree may hold regular files and directories only. Files of more than `chunk` bytes become
/// several pieces.
pub fn publish(
    from: &Path,
    store: &Path,
    chunk: Option<u64>,
    step: &mut Step<'_>,
) -> Result<Published> {
    let mut publisher = Publisher { store, chunk, step };
    if from.is_dir() {
        let mut files = Vec::new();
        publisher.tree(from, "", &mut files)?;
        publisher.manifest(&Manifest::Files(files))
    } else {
        let blob = publisher.blob(from)?;
        if blob.chunks.is_empty() {
            let id = Mcid::of(Kind::Raw, &blob.whole.digest);
            let bytes = blob.whole.size;
            return Ok(Published { id, bytes });
        }
        publisher.manifest(&Manifest::Archive(blob))
    }
}

/// History, and often the credentials of a remote: no build needs them.
const OF_GIT: &str = ".git";

struct Publisher<'s, 'f> {
    store: &'s Path,
    chunk: Option<u64>,
    step: &'s mut Step<'f>,
}

impl Publisher<'_, '_> {
    /// The depth is that of a path in a manifest, and so are the numbers.
    fn tree(&mut self, dir: &Path, prefix: &str, files: &mut Vec<Entry>) -> Result<()> {
        let io = || MeshError::io(dir);
        let mut entries = std::fs::read_dir(dir)
            .map_err(io())?
            .collect::<std::io::Result<Vec<_>>>()
            .map_err(io())?;
        entries.sort_by_key(std::fs::DirEntry::file_name);
        for entry in entries {
            let path = entry.path();
            let refuse = |why| {
                Err(MeshError::Unpublishable {
                    path: path.clone(),
                    why,
                })
            };
            let name = entry.file_name();
            let Some(name) = name.to_str() else {
                return refuse("a name that is no UTF-8");
            };
            let inside = format!("{prefix}{name}");
            if inside == OF_GIT {
                continue;
            }
            if !manifest::is_path(&inside) {
                return refuse("a name or a depth that no manifest may have");
            }
            let kind = entry.file_type().map_err(MeshError::io(&path))?;
            if kind.is_dir() {
                self.tree(&path, &format!("{inside}/"), files)?;
            } else if kind.is_file() {
                files.push(self.entry(&path, inside)?);
            } else {
                return refuse(
                    "a manifest lists files only, no links and no devices; remove it (builds leave \
                     links), or publish an archive",
                );
            }
            if files.len() > manifest::MAX_FILES {
                return refuse("more files than a manifest may list");
            }
        }
        Ok(())
    }

    fn entry(&mut self, from: &Path, path: String) -> Result<Entry> {
        let mode = std::fs::metadata(from)
            .map_err(MeshError::io(from))?
            .permissions()
            .mode();
        let blob = self.blob(from)?;
        let executable = mode & 0o100 != 0;
        Ok(Entry {
            path,
            executable,
            blob,
        })
    }

    /// A file that is not larger than a chunk is one piece.
    fn blob(&mut self, from: &Path) -> Result<Blob> {
        let size = std::fs::metadata(from).map_err(MeshError::io(from))?.len();
        let chunk = self.chunk.filter(|chunk| (1..size).contains(chunk));
        let whole = match chunk {
            None => self.piece(from, 0, manifest::MAX_CONTENT)?,
            Some(_) => {
                let source = open(from, manifest::MAX_CONTENT)?;
                let (digest, size) =
                    copy(source, from, manifest::MAX_CONTENT, self.step, |_| Ok(()))?;
                Piece { size, digest }
            }
        };
        let chunks = match chunk {
            None => Vec::new(),
            Some(chunk) => (0..whole.size)
                .step_by(usize::try_from(chunk).unwrap_or(usize::MAX))
                .map(|offset| self.piece(from, offset, chunk))
                .collect::<Result<_>>()?,
        };
        Ok(Blob { whole, chunks })
    }

    fn piece(&mut self, from: &Path, offset: u64, length: u64) -> Result<Piece> {
        let mut source = open(from, manifest::MAX_CONTENT)?;
        source
            .seek(SeekFrom::Start(offset))
            .map_err(MeshError::io(from))?;
        let mut new = Unfinished::create(&self.store.join("piece"))?;
        let part = source.take(length);
        let (digest, size) = copy(part, from, length, self.step, |bytes| new.write(bytes))?;
        new.finish(&self.place(&Mcid::of(Kind::Raw, &digest)))?;
        Ok(Piece { size, digest })
    }

    fn manifest(&mut self, manifest: &Manifest) -> Result<Published> {
        let text = manifest.to_json();
        // What was written here must be readable there.
        Manifest::parse(text.as_bytes())?;
        let id = Mcid::of(Kind::Manifest, blake3::hash(text.as_bytes()).as_bytes());
        let to = self.place(&id);
        let mut new = Unfinished::create(&to)?;
        new.write(text.as_bytes())?;
        new.finish(&to)?;
        let bytes = manifest.size();
        Ok(Published { id, bytes })
    }

    fn place(&self, id: &Mcid) -> PathBuf {
        self.store.join(id.to_string())
    }
}
