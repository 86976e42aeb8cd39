//! What is wrong with a BEAM file.

use std::path::PathBuf;

use super::{MAX_BYTES, MAX_FILES};

/// Why a file could not be read as a module.
#[derive(Debug, thiserror::Error)]
#[error("{}: {kind}", path.display())]
pub struct BeamError {
    /// The file or directory.
    pub path: PathBuf,
    /// What is wrong with it.
    pub kind: BeamErrorKind,
}

/// What is wrong with a BEAM file or with the directory it should be in.
#[derive(Debug, thiserror::Error)]
pub enum BeamErrorKind {
    /// The operating system refused.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// A directory, a pipe or a device.
    #[error("not a regular file")]
    NotAFile,
    /// Larger than [`MAX_BYTES`], packed or unpacked.
    #[error("larger than {MAX_BYTES} bytes")]
    TooLarge,
    /// More than [`MAX_FILES`] in one scan.
    #[error("more than {MAX_FILES} files")]
    TooMany,
    /// Does not begin as a BEAM file does.
    #[error("not a BEAM file: expected FOR1, a size and BEAM, or gzip of them")]
    NotBeam,
    /// Ends within a chunk, or has one of the code's chunks twice.
    #[error("malformed at byte {0}")]
    Malformed(usize),
    /// A chunk does not hold what its id promises.
    #[error("chunk {chunk} is malformed at byte {at}: expected {expected}")]
    MalformedChunk {
        /// The chunk's id.
        chunk: &'static str,
        /// Byte of its data.
        at: usize,
        /// What should stand there.
        expected: &'static str,
    },
    /// One of the chunks that every module has is not there.
    #[error("chunk {0} is missing")]
    MissingChunk(&'static str),
}
