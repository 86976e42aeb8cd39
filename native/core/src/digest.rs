//! SHA-256 and BLAKE3 of files and bytes.
//!
//! A file is read into one buffer again and again, so that memory stays constant whatever its size;
//! it is never mapped, since a file that shrinks under a mapping kills the process.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// Small enough to stay in a core's cache between the read and the hash.
const BUFFER: usize = 256 * 1024;

/// A hash function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// FIPS 180-4.
    Sha256,
    /// BLAKE3 with its default output of 32 bytes.
    Blake3,
}

/// Why a file has no digest.
#[derive(Debug, thiserror::Error)]
pub enum DigestError {
    /// The operating system refused.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        error: std::io::Error,
    },
    /// A directory, a pipe or a device: it may have no end.
    #[error("{}: not a regular file", .0.display())]
    NotAFile(PathBuf),
}

/// The digest of `bytes`.
pub fn of_bytes(algorithm: Algorithm, bytes: &[u8]) -> [u8; 32] {
    match algorithm {
        Algorithm::Sha256 => Sha256::digest(bytes).into(),
        Algorithm::Blake3 => blake3::hash(bytes).into(),
    }
}

/// The digest of the file at `path`.
pub fn of_file(algorithm: Algorithm, path: &Path) -> Result<[u8; 32], DigestError> {
    let io = |error| DigestError::Io {
        path: path.to_path_buf(),
        error,
    };
    if !std::fs::metadata(path).map_err(io)?.is_file() {
        return Err(DigestError::NotAFile(path.to_path_buf()));
    }
    of_open(algorithm, &File::open(path).map_err(io)?).map_err(io)
}

/// The digest of what an open file has from here to its end.
pub(crate) fn of_open(algorithm: Algorithm, file: &File) -> std::io::Result<[u8; 32]> {
    match algorithm {
        Algorithm::Sha256 => {
            let mut hasher = Sha256::new();
            stream(file, |bytes| hasher.update(bytes))?;
            Ok(hasher.finalize().into())
        }
        Algorithm::Blake3 => {
            let mut hasher = blake3::Hasher::new();
            stream(file, |bytes| {
                hasher.update(bytes);
            })?;
            Ok(hasher.finalize().into())
        }
    }
}

fn stream(mut file: &File, mut update: impl FnMut(&[u8])) -> std::io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => update(&buffer[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn files_of_all_sizes_agree_with_sha256sum() {
        let dir = tempfile::tempdir().unwrap();
        for size in [
            0,
            1,
            63,
            64,
            65,
            BUFFER - 1,
            BUFFER,
            BUFFER + 1,
            3 * BUFFER + 17,
        ] {
            let path = dir.path().join(size.to_string());
            let bytes: Vec<u8> = (0..size).map(|n| (n % 251) as u8).collect();
            std::fs::write(&path, &bytes).unwrap();
            let output = Command::new("sha256sum").arg(&path).output().unwrap();
            let expected = String::from_utf8_lossy(&output.stdout)[..64].to_owned();
            assert_eq!(hex(&of_file(Algorithm::Sha256, &path).unwrap()), expected);
            assert_eq!(hex(&of_bytes(Algorithm::Sha256, &bytes)), expected);
            assert_eq!(
                of_file(Algorithm::Blake3, &path).unwrap(),
                of_bytes(Algorithm::Blake3, &bytes)
            );
        }
    }

    /// The vector of 1,025 bytes from BLAKE3's `test_vectors.json`, and the empty input.
    #[test]
    fn blake3_agrees_with_its_test_vectors() {
        let input: Vec<u8> = (0..1025_u32).map(|n| (n % 251) as u8).collect();
        assert_eq!(
            hex(&of_bytes(Algorithm::Blake3, &input)),
            "d00278ae47eb27b34faecf67b4fe263f82d5412916c1ffd97c8cb7fb814b8444"
        );
        assert_eq!(
            hex(&of_bytes(Algorithm::Blake3, b"")),
            "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
        );
    }

    #[test]
    fn what_is_no_file_is_refused() {
        let missing = of_file(Algorithm::Sha256, Path::new("/no/such"));
        assert!(matches!(missing, Err(DigestError::Io { .. })));
        for endless in ["/dev/zero", "/tmp"] {
            let refused = of_file(Algorithm::Blake3, Path::new(endless));
            assert!(matches!(refused, Err(DigestError::NotAFile(_))));
        }
    }
}
