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

/// What somebody else wrote, as an error may show it: short, without control characters.
pub(super) fn shown(text: &str) -> String {
    const LONGEST: usize = 120;
    let plain = text
        .chars()
        .map(|char| if char.is_control() { ' ' } else { char });
    let mut shown: String = plain.take(LONGEST).collect();
    if text.chars().nth(LONGEST).is_some() {
        shown.push('…');
    }
    shown
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
    fn what_others_wrote_is_shown_short_and_plain() {
        assert_eq!(shown("a\u{1b}[1m\nb"), "a [1m b");
        assert_eq!(shown(&"ä".repeat(500)), format!("{}…", "ä".repeat(120)));
    }

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
