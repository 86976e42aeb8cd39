//! What names, versions, refs, urls and the like may look like. Git content is hostile: what passes
//! here can stand in a path, an argument or an url without meaning anything else there.

use crate::http::HttpUrl;
use crate::url::{Policy, Url};

/// Application names and the like: a lower-case atom of at most 100 characters.
pub fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    text.len() <= 100
        && bytes.next().is_some_and(|first| first.is_ascii_lowercase())
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'@'))
        && !matches!(text, "true" | "false" | "undefined" | "null")
}

/// The name that was probably meant: `My-App` is no name and `my_app` is one.
pub fn as_name(text: &str) -> Option<String> {
    let name = text.to_ascii_lowercase().replace(['-', ' ', '.'], "_");
    (name != text && is_name(&name)).then_some(name)
}

/// Module names: an application's, or Elixir's `Elixir.Some.Module`.
pub fn is_module(text: &str) -> bool {
    let part = |part: &str| {
        let mut bytes = part.bytes();
        bytes
            .next()
            .is_some_and(|first| first.is_ascii_alphabetic())
            && bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'@'))
    };
    text.len() <= 200 && text.split('.').all(part)
}

/// Versions: printable, one word, nothing that a path could read as more than a name.
pub fn is_version(text: &str) -> bool {
    let mut bytes = text.bytes();
    text.len() <= 128
        && bytes
            .next()
            .is_some_and(|first| first.is_ascii_alphanumeric())
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"._+~-".contains(&byte))
        && !text.contains("..")
}

/// Branches, tags and commits.
pub fn is_ref(text: &str) -> bool {
    crate::git::grammar::reference(text).is_ok()
}

/// Where code may come from. Which schemes are allowed on this node is an option that git and
/// build look at; here stands what can be an url at all.
pub fn is_url(text: &str) -> bool {
    let anything = Policy {
        allow_http: true,
        allow_local: true,
    };
    Url::as_written(text, anything).is_ok()
}

/// Where a release may come from: as [`is_url`], with a query, and nothing that only git speaks.
pub fn is_download_url(text: &str) -> bool {
    let anything = Policy {
        allow_http: true,
        allow_local: true,
    };
    HttpUrl::parse(text, anything).is_ok()
}

/// SHA-256 as hexadecimal digits, or in base64.
pub fn is_sha256(text: &str) -> bool {
    sha256(text).is_some()
}

/// A SHA-256 as lower-case hexadecimal digits, however it is written.
pub fn sha256(text: &str) -> Option<String> {
    if text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Some(text.to_ascii_lowercase());
    }
    let plain = text.strip_suffix('=').unwrap_or(text);
    let bytes = crate::base64::decode(plain).filter(|bytes| bytes.len() == 32)?;
    // What a second text could stand for as well is not a digest that anyone wrote.
    (crate::base64::encode(&bytes) == plain)
        .then(|| bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Content ids of mesh sources.
pub fn is_mcid(text: &str) -> bool {
    crate::mesh::Mcid::parse(text).is_ok()
}

/// Text of one line: no control characters.
pub fn is_line(text: &str) -> bool {
    text.len() <= 2_000 && !text.chars().any(char::is_control)
}

/// The known word that a misspelt one most probably means.
pub fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    let word = word.to_lowercase().replace('-', "_");
    let limit = (word.chars().count() / 3).clamp(1, 3);
    known
        .iter()
        .map(|candidate| (distance(&word, candidate), *candidate))
        .filter(|(distance, candidate)| {
            *distance <= limit || (word.len() > 3 && candidate.starts_with(&word))
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Edits between two words; a swap of neighbours is one (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    const LONGEST: usize = 64;
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(LONGEST).collect(), b.chars().collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    rows[0] = (0..=b.len()).collect();
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let change = usize::from(a[i - 1] != b[j - 1]);
            let mut best = (rows[i - 1][j - 1] + change)
                .min(rows[i - 1][j] + 1)
                .min(rows[i][j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_be_paths_or_more_than_one_word() {
        for name in ["a", "my_app", "app2", "node@host", "camelCase"] {
            assert!(is_name(name), "{name}");
        }
        for name in [
            "",
            "App",
            "../x",
            "a/b",
            "a..b",
            "a b",
            "a;rm",
            "-a",
            "1a",
            "é",
            "a\n",
            "undefined",
            &"a".repeat(101),
        ] {
            assert!(!is_name(name), "{name}");
        }
    }

    #[test]
    fn what_is_nearly_a_name_has_a_proposal() {
        assert_eq!(as_name("My-App"), Some("my_app".to_owned()));
        for text in ["my_app", "../x", "1a", ""] {
            assert_eq!(as_name(text), None, "{text}");
        }
    }

    #[test]
    fn refs_follow_check_ref_format() {
        for good in [
            "main",
            "v1.2.3",
            "feature/x",
            "0123456789abcdef0123456789abcdef01234567",
            "release-1",
        ] {
            assert!(is_ref(good), "{good}");
        }
        for bad in [
            "",
            "-x",
            "--upload-pack=x",
            "a..b",
            "a b",
            "a\u{7f}",
            "a~1",
            "a^",
            "a:b",
            "x.lock",
            "/a",
            "a/",
            ".a",
            "a/.b",
            "a@{1}",
            "a\\b",
            "a*",
        ] {
            assert!(!is_ref(bad), "{bad}");
        }
    }

    #[test]
    fn urls_are_https_ssh_scp_or_local_and_run_nothing() {
        for good in [
            "https://github.com/a/b.git",
            "http://127.0.0.1:8080/a",
            "ssh://git@host:22/a",
            "git@github.com:a/b.git",
            "file:///srv/git/a",
            "/srv/git/a",
            "host.example:a/b",
            "https://[::1]:8080/a",
        ] {
            assert!(is_url(good), "{good}");
        }
        for bad in [
            "",
            "-x",
            "--upload-pack=touch /tmp/x",
            "ext::sh -c x",
            "https://",
            "ssh://-oProxyCommand=x/y",
            "-o@h:x",
            "https://a b/c",
            "ftp://a/b",
            "javascript:alert(1)//\n",
            "https://host\n/x",
            "fd::17",
            "a",
            "C:\\x",
            "ssh://user@-host/x",
            "host:-x",
        ] {
            assert!(!is_url(bad), "{bad}");
        }
    }

    #[test]
    fn typos_find_the_key_that_was_meant() {
        let known = ["name", "version", "description", "depends_on", "isolation"];
        assert_eq!(nearest("verison", &known), Some("version"));
        assert_eq!(nearest("depends-on", &known), Some("depends_on"));
        assert_eq!(nearest("desc", &known), Some("description"));
        assert_eq!(nearest("Name", &known), Some("name"));
        assert_eq!(nearest("unrelated", &known), None);
    }
}
