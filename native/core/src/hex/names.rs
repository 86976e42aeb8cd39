//! The grammar of names. A name becomes a part of a path and of a url, so it is checked wherever it
//! comes from, signed or not.

use super::error::{Fact, HexError, Kind, Result};
use super::limits;

/// Package and application names: `[a-z][a-zA-Z0-9_]*`.
pub(super) fn is_name(name: &str) -> bool {
    name.len() <= limits::NAME
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Repository names: `hexpm`, `acme`, `hexpm:acme`.
pub(super) fn is_repo(name: &str) -> bool {
    let part = |part: &str| {
        part.starts_with(|first: char| first.is_ascii_alphanumeric())
            && part
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
    };
    name.len() <= limits::NAME && name.split(':').count() <= 2 && name.split(':').all(part)
}

/// The name, or an error that says what a name looks like.
pub(super) fn checked(name: &str) -> Result<&str> {
    if is_name(name) {
        return Ok(name);
    }
    let message =
        format!("{name:?} is no package name: letters, digits and _, a small letter first");
    Err(HexError::new(Kind::BadName, message).with(Fact::Package, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_leads_elsewhere_is_a_name() {
        for name in [
            "", "..", "a/b", "A", "-a", "a.b", "a\0", "ä", "a b", "_a", "1a",
        ] {
            assert!(!is_name(name), "{name:?}");
            assert!(checked(name).is_err());
        }
        for name in ["a", "cowboy", "cowlib2", "a_B"] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", ":", "hexpm:", "a:b:c", "..", "a/b"] {
            assert!(!is_repo(name), "{name:?}");
        }
        for name in ["hexpm", "hexpm:acme", "my-repo.1"] {
            assert!(is_repo(name), "{name}");
        }
    }
}
