//! What a directory takes on its disk.

use std::fs::{self, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

const BLOCK: u64 = 512;
/// So much an entry counts at least: a disk can also be filled with empty files.
const ENTRY: u64 = 4096;

/// Whether what is below `dir`, with `more` bytes, is past `limit`. Links are not followed. What
/// cannot be looked at (no permission, a path too long) is past every limit: bytes could hide there.
pub fn is_past(dir: &Path, more: u64, limit: u64) -> bool {
    let (mut total, mut dirs) = (more, vec![dir.to_path_buf()]);
    while let Some(next) = dirs.pop() {
        match add(&next, &mut dirs, limit) {
            Ok(bytes) => total = total.saturating_add(bytes),
            Err(error) if is_gone(&error) => {}
            Err(_hidden) => return true,
        }
        if total > limit {
            return true;
        }
    }
    false
}

/// Removed, or replaced by something else, since its name was read.
fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

fn add(dir: &Path, dirs: &mut Vec<PathBuf>, limit: u64) -> io::Result<u64> {
    let mut total = 0_u64;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        match entry.metadata() {
            Ok(metadata) => {
                if metadata.is_dir() {
                    dirs.push(entry.path());
                }
                total = total.saturating_add(bytes_of(&metadata));
                // The largest file that the kernel lets it write; holes and compression hide it.
                if metadata.is_file() && metadata.len() >= limit {
                    return Ok(u64::MAX);
                }
            }
            Err(error) if is_gone(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(total)
}

/// The bytes that a file takes.
pub fn bytes_of(metadata: &Metadata) -> u64 {
    metadata.blocks().saturating_mul(BLOCK).max(ENTRY)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dir(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("bc-disk-{name}-{}", std::process::id()));
        fs::create_dir_all(dir.join("a/b")).unwrap();
        dir
    }

    #[test]
    fn files_and_empty_files_count() {
        let dir = dir("count");
        fs::write(dir.join("a/b/file"), vec![1; 100_000]).unwrap();
        assert!(is_past(&dir, 0, 90_000));
        assert!(!is_past(&dir, 0, 200_000));
        assert!(is_past(&dir, 150_000, 200_000));
        for number in 0..50 {
            fs::write(dir.join(format!("a/{number}")), "").unwrap();
        }
        assert!(is_past(&dir, 0, 200_000));
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn links_are_not_followed_and_what_is_gone_is_nothing() {
        let dir = dir("links");
        std::os::unix::fs::symlink("/usr", dir.join("a/link")).unwrap();
        assert!(!is_past(&dir, 0, 100_000));
        fs::remove_dir_all(&dir).unwrap();
        assert!(!is_past(&dir, 0, 1));
    }

    #[test]
    fn a_file_with_a_hole_is_as_long_as_it_says() {
        let dir = dir("hole");
        let file = fs::File::create(dir.join("hole")).unwrap();
        file.set_len(1_000_000).unwrap();
        assert!(is_past(&dir, 0, 1_000_000));
        assert!(!is_past(&dir, 0, 1_000_001));
        fs::remove_dir_all(&dir).unwrap();
    }
}
