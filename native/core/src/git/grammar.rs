//! The grammar of refs and local paths that come from outside.

use std::path::{Component, Path, PathBuf};

use super::error::{Fact, GitError, Kind, Result};

const MAX_REF: usize = 250;
const MAX_PATH: usize = 4096;

/// Checks a branch, tag or commit id: git's own rules, and no leading `-`.
pub fn reference(name: &str) -> Result<()> {
    let valid = !name.is_empty()
        && name.len() <= MAX_REF
        && !name.starts_with('-')
        && git2::Reference::is_valid_name(&format!("refs/heads/{name}"));
    if valid {
        return Ok(());
    }
    let shown: String = name
        .chars()
        .take(80)
        .flat_map(char::escape_default)
        .collect();
    Err(GitError::new(
        Kind::BadRef,
        format!("`{shown}` can't be the name of a branch, tag or commit"),
    )
    .with(Fact::Ref, shown))
}

/// Checks a local path: absolute, no `..`, no control characters, not the root.
pub fn path(bytes: &[u8]) -> Result<PathBuf> {
    let refuse = |why: &str| {
        let shown: String = String::from_utf8_lossy(bytes)
            .chars()
            .take(200)
            .flat_map(char::escape_debug)
            .collect();
        GitError::new(Kind::BadPath, format!("{shown}: {why}")).with(Fact::Path, shown)
    };
    let text = std::str::from_utf8(bytes).map_err(|_| refuse("a path must be UTF-8"))?;
    let path = Path::new(text);
    if text.len() > MAX_PATH || text.chars().any(char::is_control) {
        return Err(refuse("too long, or with control characters"));
    }
    if !path.is_absolute() || path.parent().is_none() {
        return Err(refuse("an absolute path below the root is needed"));
    }
    if path
        .components()
        .any(|part| matches!(part, Component::ParentDir))
    {
        return Err(refuse("a path must not hold `..`"));
    }
    Ok(path.components().collect())
}

/// Whether a text reads as a full commit id.
pub fn is_full_id(name: &str) -> bool {
    name.len() == 40 && is_hex(name)
}

/// Whether a text may be the start of a commit id.
pub fn is_short_id(name: &str) -> bool {
    (4..40).contains(&name.len()) && is_hex(name)
}

fn is_hex(name: &str) -> bool {
    name.bytes()
        .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte.to_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refs() {
        for good in ["main", "v1.2.3", "feature/x", "a-b", "0123456", "ünïcode"] {
            assert!(reference(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "-x",
            "--upload-pack=touch x",
            "a..b",
            "a b",
            "a\nb",
            "a\0b",
            "x.lock",
            "/x",
            "x/",
            "a//b",
            "@{-1}",
            "a~1",
            "a^",
            "a:b",
            "a*",
            "a?",
            "a[",
            "a\\b",
            ".x",
            "x.",
        ] {
            assert_eq!(reference(bad).unwrap_err().kind, Kind::BadRef, "{bad:?}");
        }
        assert!(reference(&"x".repeat(300)).is_err());
    }

    #[test]
    fn paths() {
        assert_eq!(path(b"/var//lib/x/").unwrap(), Path::new("/var/lib/x"));
        for bad in [
            &b"relative"[..],
            b"/",
            b"",
            b"/a/../b",
            b"/a\nb",
            b"/a\0b",
            b"/\xff",
            b"-x",
        ] {
            assert_eq!(path(bad).unwrap_err().kind, Kind::BadPath, "{bad:?}");
        }
    }

    #[test]
    fn ids() {
        assert!(is_full_id(&"a1".repeat(20)));
        assert!(!is_full_id("a1"));
        assert!(is_short_id("a1b2"));
        assert!(!is_short_id("xyz1"));
        assert!(!is_short_id("abc"));
    }
}
