//! Names of entries: relative, without dots, of bounded length and depth.

use super::error::{ArchiveError, Kind, Result};

/// Beyond this some tool on the way to the running code fails.
const MAX_NAME: usize = 1024;

/// The longest part that file systems take.
const MAX_PART: usize = 255;

const MAX_DEPTH: usize = 40;

/// The parts of a name below the archive's root; none for the root itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Name(Vec<String>);

impl Name {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self> {
        let bad = |why| Err(ArchiveError::new(Kind::BadPath, why).about(bytes));
        let Ok(text) = std::str::from_utf8(bytes) else {
            return bad("the name of an entry is no UTF-8");
        };
        if text.is_empty() {
            return bad("an entry has no name");
        }
        if text.chars().any(char::is_control) {
            return bad("the name of an entry holds control characters");
        }
        if text.starts_with('/') {
            return bad("the name of an entry is absolute");
        }
        let parts: Vec<&str> = text
            .split('/')
            .filter(|part| !part.is_empty() && *part != ".")
            .collect();
        if parts.contains(&"..") {
            return bad("the name of an entry leads upwards");
        }
        if text.len() > MAX_NAME
            || parts.len() > MAX_DEPTH
            || parts.iter().any(|part| part.len() > MAX_PART)
        {
            let why = format!(
                "the name of an entry is longer than {MAX_NAME} bytes or deeper than {MAX_DEPTH}"
            );
            return Err(ArchiveError::new(Kind::TooDeep, why).about(bytes));
        }
        Ok(Self(parts.into_iter().map(str::to_owned).collect()))
    }

    pub(super) fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether it is what macOS's tar puts beside a file, for that file's attributes (RFC 1740). On no
    /// other system does it mean anything, and tools take it for a file of the kind that it is beside.
    pub(super) fn is_apple_double(&self) -> bool {
        self.0.last().is_some_and(|part| part.starts_with("._"))
    }

    pub(super) fn parts(&self) -> &[String] {
        &self.0
    }

    pub(super) fn of_parts(parts: &[String]) -> Self {
        Self(parts.to_vec())
    }

    /// The directory that it is in.
    pub(super) fn parent(&self) -> Self {
        Self(self.0[..self.0.len().saturating_sub(1)].to_vec())
    }

    /// The directories above it, outermost first, without the root.
    pub(super) fn parents(&self) -> impl Iterator<Item = Self> + '_ {
        (1..self.0.len()).map(|end| Self(self.0[..end].to_vec()))
    }

    pub(super) fn to_text(&self) -> String {
        self.0.join("/")
    }
}
