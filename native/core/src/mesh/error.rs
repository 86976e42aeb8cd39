//! The errors of this room.

use std::path::{Path, PathBuf};

use crate::job::Failure;

/// Why content was not taken.
#[derive(Debug, thiserror::Error)]
pub enum MeshError {
    /// A text that is no content id.
    #[error(
        "`{0}` is no content id; one reads mcid1-raw-blake3-… or mcid1-manifest-blake3-… with 32 to \
         64 hexadecimal digits, two for each byte"
    )]
    BadMcid(String),
    /// A manifest that is not used, whoever signed for it.
    #[error("the manifest is not used: {0}")]
    BadManifest(String),
    /// Bytes that are not those of the digest.
    #[error("the bytes have the BLAKE3 digest {found}, and {expected} was asked for")]
    Mismatch {
        /// The digest that was asked for, or its beginning, in hex.
        expected: String,
        /// The digest of the bytes in hex.
        found: String,
    },
    /// Content of another size than was said, or larger than may be.
    #[error("{} has more than {limit} bytes, and that is the limit", path.display())]
    TooLarge {
        /// Where the content stands.
        path: PathBuf,
        /// What may be taken.
        limit: u64,
    },
    /// A directory, a pipe or a device.
    #[error("{}: not a regular file", .0.display())]
    NotAFile(PathBuf),
    /// A tree that cannot be published as it is.
    #[error("{}: {why}", path.display())]
    Unpublishable {
        /// The entry.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The job ended before its work did.
    #[error("{0}")]
    Ended(Failure),
    /// The operating system refused.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        error: std::io::Error,
    },
}

impl From<Failure> for MeshError {
    fn from(failure: Failure) -> Self {
        MeshError::Ended(failure)
    }
}

impl MeshError {
    pub(super) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> MeshError {
        let path = path.to_path_buf();
        move |error| MeshError::Io { path, error }
    }
}

/// The result of this room's functions.
pub type Result<T> = std::result::Result<T, MeshError>;
