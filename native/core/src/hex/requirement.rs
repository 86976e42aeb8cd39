//! Requirements as Hex has them (Elixir's `Version` module), as sets of versions.
//!
//! `and` binds before `or`, as the Hex specifications say. Pre-releases are in a set where their
//! order puts them; `~> 1.2` ends below the first pre-release of `2.0.0`. That a release is
//! preferred to a pre-release is the solver's choice, not the set's.

use std::ops::Bound;

use pubgrub::Ranges;

use super::limits;
use super::version::{self, Version};

/// What one package demands of another's version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement(Ranges<Version>);

impl Requirement {
    /// The requirement of a text, `None` when it is none.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > limits::TEXT {
            return None;
        }
        let words = words(text);
        let any_of = words.split(|word| *word == "or");
        let set = any_of
            .map(|part| {
                let all_of = part.split(|word| *word == "and").map(condition);
                all_of.reduce(|left, right| Some(left?.intersection(&right?)))?
            })
            .reduce(|left, right| Some(left?.union(&right?)))?;
        set.map(Self)
    }

    /// Exactly this version.
    pub fn exactly(version: Version) -> Self {
        Self(Ranges::singleton(version))
    }

    /// Whether a version satisfies it.
    pub fn allows(&self, version: &Version) -> bool {
        self.0.contains(version)
    }

    /// The versions that satisfy it.
    pub(super) fn ranges(&self) -> &Ranges<Version> {
        &self.0
    }
}

const OPERATORS: [&str; 7] = ["~>", ">=", "<=", "==", "!=", ">", "<"];

/// Operators, versions, `and`, `or`; spaces between an operator and its version are optional.
fn words(text: &str) -> Vec<&str> {
    let mut words = Vec::new();
    for mut rest in text.split(' ') {
        while let Some(operator) = OPERATORS
            .iter()
            .find(|operator| rest.starts_with(**operator))
        {
            words.push(&rest[..operator.len()]);
            rest = &rest[operator.len()..];
        }
        if !rest.is_empty() {
            words.push(rest);
        }
    }
    words
}

fn compared(operator: &str, version: Version) -> Option<Ranges<Version>> {
    match operator {
        ">=" => Some(Ranges::higher_than(version)),
        "<=" => Some(Ranges::lower_than(version)),
        ">" => Some(Ranges::strictly_higher_than(version)),
        "<" => Some(Ranges::strictly_lower_than(version)),
        "==" => Some(Ranges::singleton(version)),
        "!=" => Some(Ranges::singleton(version).complement()),
        _ => None,
    }
}

fn condition(words: &[&str]) -> Option<Ranges<Version>> {
    match words {
        ["~>", text] => {
            let version::Approximate { version, has_patch } = version::approximate(text)?;
            let end = match has_patch {
                true => next_minor(&version),
                false => next_major(&version),
            };
            Some(Ranges::between(version, end))
        }
        [operator, text] => compared(operator, Version::parse(text)?),
        [text] => Version::parse(text).map(Ranges::singleton),
        _ => None,
    }
}

/// Where `~> 1.2.3` ends.
fn next_minor(version: &Version) -> Version {
    let [major, minor, _] = version.numbers();
    Version::first([major, minor + 1, 0])
}

/// Where `~> 1.2` ends.
fn next_major(version: &Version) -> Version {
    let [major, ..] = version.numbers();
    Version::first([major + 1, 0, 0])
}

/// A set of versions in words, as a requirement would say it.
pub(super) fn describe<'a>(
    set: impl Iterator<Item = (Bound<&'a Version>, Bound<&'a Version>)>,
) -> String {
    let parts: Vec<String> = set.map(|(low, high)| segment(low, high)).collect();
    match parts.as_slice() {
        [] => "no version".to_owned(),
        parts => parts.join(" or "),
    }
}

fn segment(low: Bound<&Version>, high: Bound<&Version>) -> String {
    use Bound::{Excluded, Included, Unbounded};
    match (low, high) {
        (Unbounded, Unbounded) => "any version".to_owned(),
        (Included(low), Included(high)) if low == high => low.to_string(),
        (Included(low), Excluded(high)) if *high == next_minor(low) => format!("~> {low}"),
        (Included(low), Excluded(high)) if *high == next_major(low) && low.numbers()[2] == 0 => {
            let ([major, minor, _], text) = (low.numbers(), low.to_string());
            let front = format!("{major}.{minor}");
            format!("~> {front}{}", &text[front.len() + ".0".len()..])
        }
        (Unbounded, high) => above(high),
        (low, Unbounded) => below(low),
        (low, high) => format!("{} and {}", below(low), above(high)),
    }
}

fn below(bound: Bound<&Version>) -> String {
    match bound {
        Bound::Included(version) => format!(">= {version}"),
        Bound::Excluded(version) => format!("> {version}"),
        Bound::Unbounded => String::new(),
    }
}

fn above(bound: Bound<&Version>) -> String {
    match bound {
        Bound::Included(version) => format!("<= {version}"),
        Bound::Excluded(version) => format!("< {version}"),
        Bound::Unbounded => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn allows(requirement: &str, version: &str) -> bool {
        Requirement::parse(requirement)
            .unwrap()
            .allows(&Version::parse(version).unwrap())
    }

    fn words(set: &Ranges<Version>) -> String {
        describe(set.iter().map(|(low, high)| (low.as_ref(), high.as_ref())))
    }

    #[test]
    fn what_is_no_requirement_is_refused() {
        let refused = [
            "",
            " ",
            "~>",
            "~> 1",
            "1",
            "1.2",
            ">= 1.2",
            "> ",
            "and",
            "1.0.0 and",
            "or 1.0.0",
            "1.0.0 2.0.0",
            ">= >= 1.0.0",
            "1.0.0 and or 2.0.0",
            "foo",
            "~> 1.2.x",
            "=> 1.0.0",
        ];
        for text in refused {
            assert!(Requirement::parse(text).is_none(), "{text:?}");
        }
    }

    /// What Elixir's own module says of each requirement and version.
    fn elixir(pairs: &[(String, &str)]) -> Vec<String> {
        const SCRIPT: &str = "for line <- IO.stream(:stdio, :line) do
            [req, version] = line |> String.trim_trailing(\"\\n\") |> String.split(\"\\t\")
            case Version.parse_requirement(req) do
              {:ok, req} -> IO.puts(Version.match?(version, req))
              :error -> IO.puts(\"none\")
            end
          end";
        let dir = tempfile::tempdir().unwrap();
        let lines: Vec<String> = pairs
            .iter()
            .map(|(requirement, version)| format!("{requirement}\t{version}\n"))
            .collect();
        std::fs::write(dir.path().join("pairs"), lines.concat()).unwrap();
        let run = std::process::Command::new("elixir")
            .args(["-e", SCRIPT])
            .stdin(std::fs::File::open(dir.path().join("pairs")).unwrap())
            .output()
            .expect("elixir is needed for this test (Debian: apt install elixir)");
        assert!(
            run.status.success(),
            "{}",
            String::from_utf8_lossy(&run.stderr)
        );
        String::from_utf8(run.stdout)
            .unwrap()
            .lines()
            .map(str::to_owned)
            .collect()
    }

    #[test]
    fn requirements_mean_what_elixir_says() {
        let versions = [
            "0.0.0",
            "1.0.0-0",
            "1.0.0-rc.1",
            "1.0.0-rc.1.1",
            "1.0.0",
            "1.0.0+build",
            "1.0.1",
            "1.2.0",
            "1.2.3-alpha",
            "1.2.3",
            "1.2.4-0",
            "1.3.0-0",
            "1.3.0",
            "2.0.0-0",
            "2.0.0-rc",
            "2.0.0",
            "3.0.0",
        ];
        let limits = [
            "1.0",
            "1",
            "1.2.3",
            "1.0.0-rc.1",
            "1.0-rc",
            "2.0.0",
            "1.2.3+build",
            "01.2.3",
            "x",
        ];
        let conditions = ["", "==", "!=", ">", ">= ", "< ", "<=", "~>", "~> ", "=>"].iter();
        let conditions =
            conditions.flat_map(|operator| limits.map(|limit| format!("{operator}{limit}")));
        let joined = [
            "~> 1.0 and != 1.2.3",
            ">= 1.0.0 and < 2.0.0",
            "1.0.0 or ~> 2.0",
            "~> 1.2 or",
            "< 1.0.0 or >= 1.2.0 and < 2.0.0",
            "and 1.0.0",
            "1.0.0 2.0.0",
            ">1.0.0 and <2.0.0",
        ];
        let requirements = conditions.chain(joined.map(str::to_owned));
        let pairs: Vec<(String, &str)> = requirements
            .flat_map(|text| versions.map(|version| (text.clone(), version)))
            .collect();
        let expected = elixir(&pairs);
        assert_eq!(expected.len(), pairs.len());
        for ((text, version), expected) in pairs.iter().zip(expected) {
            let version = Version::parse(version).unwrap();
            let ours = match Requirement::parse(text) {
                Some(requirement) => requirement.allows(&version).to_string(),
                None => "none".to_owned(),
            };
            assert_eq!(ours, expected, "{version} {text:?}");
        }
    }

    #[test]
    fn and_binds_before_or() {
        let requirement = "~> 1.0 and != 1.1.0 or ~> 2.0";
        assert!(allows(requirement, "1.0.0") && allows(requirement, "2.5.0"));
        assert!(!allows(requirement, "1.1.0") && !allows(requirement, "3.0.0"));
        assert!(allows("~> 2.0 or ~> 1.0 and < 1.5.0", "2.9.0"));
    }

    #[test]
    fn a_set_is_described_as_a_requirement_would_say_it() {
        for text in [
            "~> 1.2",
            "~> 1.2.3",
            "~> 1.0-rc.1",
            "1.0.0",
            ">= 1.0.0",
            "> 1.0.0 and <= 2.0.0",
        ] {
            assert_eq!(words(Requirement::parse(text).unwrap().ranges()), text);
        }
        assert_eq!(words(&Ranges::full()), "any version");
        assert_eq!(words(&Ranges::empty()), "no version");
    }

    proptest! {
        #[test]
        fn any_text_is_a_requirement_or_not(text in "[0-9.~><=!a-d \\-+orn]{0,40}") {
            if let Some(requirement) = Requirement::parse(&text) {
                let described = words(requirement.ranges());
                if described != "no version" && described != "any version" {
                    let again = Requirement::parse(&described);
                    prop_assert_eq!(again, Some(requirement), "{}", described);
                }
            }
        }
    }
}
