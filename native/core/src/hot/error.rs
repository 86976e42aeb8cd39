//! Why two builds could not be compared.

use std::path::{Path, PathBuf};

use crate::beam::BeamError;
use crate::spec::{Fault, Source};
use crate::store::StoreError;

/// Largest `.app` or `.appup` file that is read.
pub const MAX_TERM_FILE: u64 = 1 << 20;

/// What is wrong, and with which file.
#[derive(Debug, thiserror::Error)]
pub enum HotError {
    /// A module's file.
    #[error(transparent)]
    Beam(#[from] BeamError),
    /// A file of `priv`.
    #[error(transparent)]
    Files(#[from] StoreError),
    /// A file or directory that cannot be read.
    #[error("{}: {error}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What the operating system said.
        error: std::io::Error,
    },
    /// Larger than such a file ever is.
    #[error("{}: larger than {MAX_TERM_FILE} bytes", .0.display())]
    TooLarge(PathBuf),
    /// More new atoms than a file or the VM may make.
    #[error("{}: more new atoms than there is room for", .0.display())]
    TooManyAtoms(PathBuf),
    /// A file of terms that holds something else.
    #[error("{}:{line}:{column}: found {found}, expected {expected}", path.display())]
    Term {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: u32,
        /// In characters, from 1.
        column: u32,
        /// What stands there.
        found: String,
        /// What should stand there.
        expected: String,
    },
}

impl HotError {
    pub(super) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self + '_ {
        |error| HotError::Io {
            path: path.to_path_buf(),
            error,
        }
    }

    /// A place in the text of a file.
    pub(super) fn term(path: &Path, text: &str, fault: Fault) -> Self {
        let (line, column) = Source::bytes(text).place(fault.at);
        HotError::Term {
            path: path.to_path_buf(),
            line,
            column,
            found: fault.found,
            expected: fault.expected.into_owned(),
        }
    }
}
