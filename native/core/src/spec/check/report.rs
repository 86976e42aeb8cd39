//! Saying what is wrong, and what is odd.

use super::super::problem::{Kind, Problem, shown};
use super::super::value::{Node, Value};
use super::super::{grammar, limits};
use super::Checker;
use super::fields::{Path, Section, got};

impl Checker<'_> {
    /// Warns of what nobody took.
    pub(super) fn unknown(&mut self, section: Section<'_>) {
        for (key, at, _) in &section.fields {
            if section.known.contains(&key.as_ref()) {
                continue;
            }
            if self.out.warnings.len() >= limits::PROBLEMS {
                return;
            }
            let hint =
                grammar::nearest(key, section.known).map(|near| format!("did you mean {near}?"));
            let expected = format!("one of {}", section.known.join(", "));
            let problem = self.problem(Kind::UnknownKey, *at, shown(key), expected);
            self.warning(Problem {
                path: section.path(&shown(key)).to_string(),
                hint,
                ..problem
            });
        }
    }

    /// Warns of known fields that only another type uses; answers their paths.
    pub(super) fn unused(
        &mut self,
        section: &Section<'_>,
        kind: &str,
        used: &[&str],
    ) -> Vec<String> {
        let mut paths = Vec::new();
        for (key, at, _) in &section.fields {
            if section.known.contains(&key.as_ref()) && !used.contains(&key.as_ref()) {
                let expected = format!("{} for the type {kind}", used.join(", "));
                let problem = self.problem(Kind::UnusedField, *at, key.to_string(), expected);
                let path = section.path(key).to_string();
                paths.push(path.clone());
                self.warning(Problem { path, ..problem });
            }
        }
        paths
    }

    /// A value that nobody uses is no error: what it holds has been dropped, and a warning stands.
    pub(super) fn forgive(&mut self, unused: &[String]) {
        if !unused.is_empty() {
            let errors = &mut self.out.errors;
            errors.retain(|problem| !unused.contains(&problem.path));
        }
    }

    pub(super) fn missing(&mut self, section: &Section<'_>, key: &str, expected: String) {
        let near = section
            .fields
            .iter()
            .take(limits::PROBLEMS)
            .find(|(name, _, _)| {
                !section.known.contains(&name.as_ref())
                    && grammar::nearest(name, section.known) == Some(key)
            });
        let hint = near.map(|(name, _, _)| format!("is {} meant as {key}?", shown(name)));
        let problem = self.problem(Kind::MissingField, section.at, "nothing".into(), expected);
        self.error(Problem {
            path: section.path(key).to_string(),
            hint,
            ..problem
        });
    }

    pub(super) fn mismatch(
        &mut self,
        node: &Node<'_>,
        path: Path<'_>,
        expected_type: &'static str,
        expected: &str,
    ) {
        if self.full() {
            return;
        }
        let number = matches!(node.value, Value::Float(_) | Value::Int(_) | Value::Big(_));
        let written = self.source.word(node.at as usize);
        let found = match (&node.value, written.is_empty()) {
            (Value::Float(_) | Value::Int(_) | Value::Big(_) | Value::Atom(_), false) => {
                format!("the {} {}", node.value.kind(), shown(written))
            }
            (Value::Atom(name), true) => format!("the {} {}", node.value.kind(), shown(name)),
            (Value::Binary(_) | Value::Chars(_), _) => "a string".to_owned(),
            (value, _) => format!("a value of type {}", value.kind()),
        };
        let digits = node.value.text().filter(|text| {
            text.len() < 10 && !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
        });
        let hint = match expected_type {
            "binary" if number && !written.is_empty() => Some(self.format.quoted(written)),
            "pos_integer" => digits.map(|digits| format!("write it as a number: {digits}")),
            _ => None,
        };
        let problem = self.problem(Kind::InvalidType, node.at, found, expected.to_owned());
        self.error(Problem {
            path: path.to_string(),
            hint,
            expected_type,
            got: got(&node.value),
            ..problem
        });
    }

    pub(super) fn atom_quota(&mut self, at: u32, path: Path<'_>) {
        let expected = format!(
            "at most {} atoms that the VM does not know yet",
            limits::NEW_ATOMS
        );
        let problem = self.problem(Kind::AtomQuota, at, "one more new atom".into(), expected);
        self.error(Problem {
            path: path.to_string(),
            ..problem
        });
    }

    pub(super) fn problem(&self, kind: Kind, at: u32, found: String, expected: String) -> Problem {
        let (line, column) = self.source.place(at as usize);
        Problem {
            kind,
            line,
            column,
            path: String::new(),
            found,
            expected,
            hint: None,
            expected_type: "term",
            got: Vec::new(),
        }
    }

    /// Nothing more is reported: what only finds more problems can stop.
    pub(super) fn full(&self) -> bool {
        self.out.errors.len() >= limits::PROBLEMS
    }

    pub(super) fn error(&mut self, problem: Problem) {
        if !self.full() {
            self.out.errors.push(problem);
        }
    }

    pub(super) fn warning(&mut self, problem: Problem) {
        if self.out.warnings.len() < limits::PROBLEMS {
            self.out.warnings.push(problem);
        }
    }
}
