//! The files of a finished build: written to disk for good and listed with their digests, and
//! compared with that list before anything of them is used.
//!
//! ```text
//! KEY/lib/…    what was built; files are read-only, and nothing but files and directories
//! KEY/files    one line for each file of lib: SHA-256, whether it may be run, size, path
//! ```
//!
//! The digest of `files` is kept by whoever sealed the build (in its manifest), so that a changed
//! file and a changed list are both found out. Files are read in parallel through one buffer for
//! each thread: memory stays constant whatever their size.

mod check;
mod list;
mod seal;
mod space;
mod walk;

use std::path::{Path, PathBuf};

pub use check::{Damage, check, stamp};
pub use list::fuzz;
pub use seal::{Sealed, seal};
pub use space::{Space, space};
pub(crate) use walk::{Found, walk};

/// Most files and directories that one build may have.
pub const MAX_FILES: usize = 200_000;
/// How deep its directories may be nested.
pub const MAX_DEPTH: usize = 64;

/// The directory of a build that holds what was built.
const LIB: &str = "lib";
/// The list of its files.
const FILES: &str = "files";

/// Changes whenever a file of a build was written, replaced, renamed or made another's. Equal stamps
/// mean the same files as far as the file system can tell.
pub type Stamp = [u8; 32];

/// Why a build could not be sealed, or is not what was sealed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The operating system refused.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the operating system said.
        error: std::io::Error,
    },
    /// Neither a file nor a directory.
    #[error("{}: neither a file nor a directory", .0.display())]
    Special(PathBuf),
    /// More than [`MAX_FILES`].
    #[error("more than {MAX_FILES} files below {}", .0.display())]
    TooMany(PathBuf),
    /// Deeper than [`MAX_DEPTH`].
    #[error("{}: nested deeper than {MAX_DEPTH}", .0.display())]
    TooDeep(PathBuf),
    /// A file is not as it was sealed.
    #[error("{} {damage}{}", path.display(), others(*more))]
    Damaged {
        /// The first of them, by name.
        path: PathBuf,
        /// What is wrong with it.
        damage: Damage,
        /// How many others there are.
        more: usize,
    },
}

type Result<T> = std::result::Result<T, StoreError>;

impl StoreError {
    fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self + '_ {
        |error| StoreError::Io {
            path: path.to_path_buf(),
            error,
        }
    }
}

fn others(more: usize) -> String {
    match more {
        0 => String::new(),
        1 => " (and 1 other file)".into(),
        _ => format!(" (and {more} other files)"),
    }
}

#[cfg(test)]
mod tests;
