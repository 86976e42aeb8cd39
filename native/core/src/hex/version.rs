//! Versions as Hex has them: Semantic Versioning 2.0 as Elixir's `Version` module reads it.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use super::limits;

/// One version. Build metadata takes no part in comparisons. Copies share one value: the solver
/// makes many.
#[derive(Debug, Clone)]
pub struct Version(Arc<Parts>);

#[derive(Debug, Clone)]
struct Parts {
    numbers: [u64; 3],
    /// What follows `-`; empty for a release.
    pre: Vec<Identifier>,
    /// What follows `+`.
    build: Option<String>,
}

/// One part of a pre-release; numbers come before words.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Identifier {
    /// Digits only.
    Number(u64),
    /// Anything else.
    Word(String),
}

/// A version whose patch may be missing, as `~>` takes it.
pub(super) struct Approximate {
    pub(super) version: Version,
    pub(super) has_patch: bool,
}

impl Version {
    /// The version of a text, `None` when it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let parsed = approximate(text)?;
        parsed.has_patch.then_some(parsed.version)
    }

    /// Major, minor and patch.
    pub fn numbers(&self) -> [u64; 3] {
        self.0.numbers
    }

    /// What follows `-`; empty for a release.
    pub fn pre(&self) -> &[Identifier] {
        &self.0.pre
    }

    /// Whether this is a pre-release.
    pub fn is_pre(&self) -> bool {
        !self.0.pre.is_empty()
    }

    /// The first of all versions with these numbers: `1.2.3-0`.
    pub(super) fn first(numbers: [u64; 3]) -> Self {
        let pre = vec![Identifier::Number(0)];
        Self(Arc::new(Parts {
            numbers,
            pre,
            build: None,
        }))
    }
}

/// Reads `1.2.3`, or `1.2` where an approximate version is allowed.
pub(super) fn approximate(text: &str) -> Option<Approximate> {
    if text.len() > limits::TEXT {
        return None;
    }
    let (rest, build) = split(text, '+');
    let (numbers, pre) = split(rest, '-');
    let mut numbers = numbers.split('.').map(number);
    let (major, minor) = (numbers.next()??, numbers.next()??);
    let (patch, has_patch) = match numbers.next() {
        Some(patch) => (patch?, true),
        None => (0, false),
    };
    if numbers.next().is_some() || build.is_some_and(|build| !build.split('.').all(is_word)) {
        return None;
    }
    let parts = Parts {
        numbers: [major, minor, patch],
        pre: pre.map_or(Some(Vec::new()), identifiers)?,
        build: build.map(str::to_owned),
    };
    let version = Version(Arc::new(parts));
    Some(Approximate { version, has_patch })
}

fn split(text: &str, at: char) -> (&str, Option<&str>) {
    match text.split_once(at) {
        Some((before, after)) => (before, Some(after)),
        None => (text, None),
    }
}

/// Fewer digits than `u64` holds, so that adding one never overflows.
fn number(digits: &str) -> Option<u64> {
    let canonical = digits == "0" || !digits.starts_with('0');
    let fits = (1..=18).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    (canonical && fits).then(|| digits.parse().ok()).flatten()
}

fn identifiers(pre: &str) -> Option<Vec<Identifier>> {
    pre.split('.').map(identifier).collect()
}

fn identifier(part: &str) -> Option<Identifier> {
    if part.bytes().all(|byte| byte.is_ascii_digit()) {
        number(part).map(Identifier::Number)
    } else {
        is_word(part).then(|| Identifier::Word(part.to_owned()))
    }
}

fn is_word(part: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    !part.is_empty() && part.bytes().all(allowed)
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        let pre = match (self.is_pre(), other.is_pre()) {
            (true, true) => self.pre().cmp(other.pre()),
            (pre, other_pre) => other_pre.cmp(&pre),
        };
        self.numbers().cmp(&other.numbers()).then(pre)
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Version {}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, patch] = self.numbers();
        write!(f, "{major}.{minor}.{patch}")?;
        for (index, part) in self.pre().iter().enumerate() {
            f.write_str(if index == 0 { "-" } else { "." })?;
            match part {
                Identifier::Number(number) => write!(f, "{number}")?,
                Identifier::Word(word) => f.write_str(word)?,
            }
        }
        match &self.0.build {
            Some(build) => write!(f, "+{build}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_no_version_is_refused() {
        let refused = [
            "",
            "1",
            "1.2",
            "1.2.3.4",
            "01.2.3",
            "1.2.3-",
            "1.2.3+",
            "1.2.3-01",
            "1.2.3-a..b",
            "1.2.3-ä",
            " 1.2.3",
            "1.2.x",
            "1.2.-3",
            "9999999999999999999.0.0",
            "v1.2.3",
            "1.2.3\n",
        ];
        for text in refused {
            assert!(Version::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn the_order_is_that_of_semantic_versioning() {
        let ascending = [
            "1.0.0-0",
            "1.0.0-1",
            "1.0.0-1.1",
            "1.0.0-alpha",
            "1.0.0-alpha.1",
            "1.0.0-alpha.beta",
            "1.0.0-beta",
            "1.0.0-beta.2",
            "1.0.0-beta.11",
            "1.0.0-rc.1",
            "1.0.0",
            "1.0.1",
            "1.1.0",
            "1.10.0",
            "2.0.0",
        ];
        let versions: Vec<_> = ascending.map(|text| Version::parse(text).unwrap()).into();
        assert!(versions.windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!(Version::parse("1.0.0+a"), Version::parse("1.0.0+b"));
    }

    proptest! {
        #[test]
        fn a_version_reads_back_as_itself(
            text in "(0|[1-9][0-9]{0,4})\\.(0|[1-9][0-9]{0,4})\\.(0|[1-9][0-9]{0,4})\
                     (-[a-z][a-z0-9-]{0,5}(\\.(0|[1-9][0-9]{0,3}))?)?(\\+[0-9a-z]{1,5})?"
        ) {
            prop_assert_eq!(Version::parse(&text).unwrap().to_string(), text);
        }

        #[test]
        fn any_text_is_a_version_or_not(text in "\\PC{0,40}") {
            if let Some(version) = Version::parse(&text) {
                prop_assert_eq!(version.to_string(), text);
            }
        }
    }
}
