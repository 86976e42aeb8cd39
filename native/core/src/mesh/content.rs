//! Files by their digest, in constant memory.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::mcid::hex;
use super::{Mcid, MeshError, Result};

/// Small enough to stay in a core's cache between the read and the hash.
const BUFFER: usize = 256 * 1024;

/// Asked after each buffer, with the bytes that were moved: an error ends the work.
pub type Step<'a> = dyn FnMut(u64) -> Result<()> + 'a;

/// The size of the file, when its bytes are those of the content id.
pub fn verify(path: &Path, id: &Mcid, limit: u64, step: &mut Step<'_>) -> Result<u64> {
    let (digest, size) = copy(open(path, limit)?, path, limit, step, |_| Ok(()))?;
    expect(id, &digest)?;
    Ok(size)
}

/// Copies a file to a place where nothing stands, or what may be replaced, and only when its bytes
/// are those of the content id. Whoever looks sees the whole file or none.
pub fn admit(from: &Path, to: &Path, id: &Mcid, limit: u64, step: &mut Step<'_>) -> Result<u64> {
    let source = open(from, limit)?;
    let mut new = Unfinished::create(to)?;
    let (digest, size) = copy(source, from, limit, step, |bytes| new.write(bytes))?;
    expect(id, &digest)?;
    new.finish(to)?;
    Ok(size)
}

pub(super) fn expect(id: &Mcid, digest: &[u8; 32]) -> Result<()> {
    if id.names(digest) {
        return Ok(());
    }
    Err(MeshError::Mismatch {
        expected: id.hex().to_owned(),
        found: hex(digest),
    })
}

/// A pipe would hold the thread up at its opening, a device might have no end.
pub(super) fn open(path: &Path, limit: u64) -> Result<File> {
    let about = std::fs::metadata(path).map_err(MeshError::io(path))?;
    if !about.is_file() {
        return Err(MeshError::NotAFile(path.to_path_buf()));
    }
    if about.len() > limit {
        return Err(too_large(path, limit));
    }
    File::open(path).map_err(MeshError::io(path))
}

fn too_large(path: &Path, limit: u64) -> MeshError {
    let path = path.to_path_buf();
    MeshError::TooLarge { path, limit }
}

/// Hands a file's bytes on, hashing them; answers the digest and the size. A file that grows past
/// the limit meanwhile is refused too.
pub(super) fn copy(
    mut source: impl Read,
    path: &Path,
    limit: u64,
    step: &mut Step<'_>,
    mut write: impl FnMut(&[u8]) -> Result<()>,
) -> Result<([u8; 32], u64)> {
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; BUFFER];
    let mut size = 0;
    loop {
        let count = match source.read(&mut buffer) {
            Ok(0) => return Ok((hasher.finalize().into(), size)),
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(MeshError::io(path)(error)),
        };
        size += count as u64;
        if size > limit {
            return Err(too_large(path, limit));
        }
        hasher.update(&buffer[..count]);
        write(&buffer[..count])?;
        step(count as u64)?;
    }
}

/// A file under a name of its own until it is whole; gone when it does not become so.
pub(super) struct Unfinished {
    file: File,
    path: PathBuf,
    finished: bool,
}

impl Unfinished {
    pub(super) fn create(to: &Path) -> Result<Self> {
        use std::sync::atomic::{AtomicU64, Ordering};
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let mut name = to.as_os_str().to_owned();
        name.push(format!(".{}-{number}.new", std::process::id()));
        let path = PathBuf::from(name);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            // Whoever serves a store may be another user. Our own directories are closed.
            .mode(0o644)
            .open(&path)
            .map_err(MeshError::io(&path))?;
        let finished = false;
        Ok(Unfinished {
            file,
            path,
            finished,
        })
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file
            .write_all(bytes)
            .map_err(MeshError::io(&self.path))
    }

    pub(super) fn finish(mut self, to: &Path) -> Result<()> {
        std::fs::rename(&self.path, to).map_err(MeshError::io(to))?;
        self.finished = true;
        Ok(())
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.finished {
            // What stays is a file that nobody asks for.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::{Algorithm, of_bytes};
    use crate::mesh::Kind;

    fn id(bytes: &[u8]) -> Mcid {
        Mcid::of(Kind::Raw, &of_bytes(Algorithm::Blake3, bytes))
    }

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn only_the_bytes_of_the_id_are_admitted_and_nothing_is_left_of_others() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        let bytes: Vec<u8> = (0..3 * BUFFER + 17).map(|n| (n % 251) as u8).collect();
        std::fs::write(&from, &bytes).unwrap();
        let mut moved = 0;
        let mut step = |count| {
            moved += count;
            Ok(())
        };
        let size = admit(&from, &to, &id(&bytes), u64::MAX, &mut step).unwrap();
        assert_eq!((size, moved), (bytes.len() as u64, bytes.len() as u64));
        assert_eq!(std::fs::read(&to).unwrap(), bytes);
        std::fs::remove_file(&to).unwrap();
        let wrong = admit(&from, &to, &id(b"other"), u64::MAX, &mut |_| Ok(()));
        assert!(matches!(wrong, Err(MeshError::Mismatch { .. })));
        assert_eq!(names(dir.path()), ["from"]);
    }

    #[test]
    fn limits_and_stops_hold_while_copying() {
        let dir = tempfile::tempdir().unwrap();
        let from = dir.path().join("from");
        std::fs::write(&from, vec![7; 2 * BUFFER]).unwrap();
        let to = dir.path().join("to");
        let asked = id(&vec![7; 2 * BUFFER]);
        let limit = 2 * BUFFER as u64 - 1;
        assert!(matches!(
            admit(&from, &to, &asked, limit, &mut |_| Ok(())),
            Err(MeshError::TooLarge { .. })
        ));
        let stopped = admit(&from, &to, &asked, u64::MAX, &mut |_| {
            Err(MeshError::BadManifest("stop".into()))
        });
        assert!(matches!(stopped, Err(MeshError::BadManifest(_))));
        assert_eq!(names(dir.path()), ["from"]);
        assert_eq!(
            verify(&from, &asked, limit + 1, &mut |_| Ok(())).unwrap(),
            limit + 1
        );
        for endless in ["/dev/zero", "/tmp"] {
            let refused = verify(Path::new(endless), &asked, u64::MAX, &mut |_| Ok(()));
            assert!(matches!(refused, Err(MeshError::NotAFile(_))));
        }
    }
}
