//! Saying what is wrong, and what is odd.

use super::super::problem::{Kind, Problem, shown};
use super::super::value::{Node, Value};
use super::super::{etf, grammar, limits};
use super::Checker;
use super::fields::Section;

impl Checker<'_> {
    /// Warns of what nobody took.
    pub(super) fn unknown(&mut self, section: Section<'_>) {
        for (key, at, _) in &section.fields {
            if section.known.contains(&key.as_ref()) {
                continue;
            }
            let hint =
                grammar::nearest(key, section.known).map(|near| format!("did you mean {near}?"));
            let expected = format!("one of {}", section.known.join(", "));
            let problem = self.problem(Kind::UnknownKey, *at, shown(key), expected);
            self.warning(Problem {
                path: section.path(&shown(key)),
                hint,
                ..problem
            });
        }
    }

    /// Warns of known fields that only another type uses.
    pub(super) fn unused(&mut self, section: &Section<'_>, kind: &str, used: &[&str]) {
        for (key, at, _) in &section.fields {
            if section.known.contains(&key.as_ref()) && !used.contains(&key.as_ref()) {
                let expected = format!("{} for the type {kind}", used.join(", "));
                let problem = self.problem(Kind::UnusedField, *at, key.to_string(), expected);
                self.warning(Problem {
                    path: section.path(key),
                    ..problem
                });
            }
        }
    }

    pub(super) fn missing(&mut self, section: &Section<'_>, key: &str, expected: String) {
        let near = section.fields.iter().find(|(name, _, _)| {
            !section.known.contains(&name.as_ref())
                && grammar::nearest(name, section.known) == Some(key)
        });
        let hint = near.map(|(name, _, _)| format!("is {} meant as {key}?", shown(name)));
        let problem = self.problem(Kind::MissingField, section.at, "nothing".into(), expected);
        self.error(Problem {
            path: section.path(key),
            hint,
            ..problem
        });
    }

    pub(super) fn mismatch(
        &mut self,
        node: &Node<'_>,
        path: &str,
        expected_type: &'static str,
        expected: &str,
    ) {
        let number = matches!(node.value, Value::Float(_) | Value::Int(_) | Value::Big(_));
        let written = self.source.word(node.at as usize);
        let found = match (&node.value, written.is_empty()) {
            (Value::Float(_) | Value::Int(_) | Value::Big(_) | Value::Atom(_), false) => {
                format!("the {} {}", node.value.kind(), shown(written))
            }
            (Value::Atom(name), true) => format!("the {} {}", node.value.kind(), shown(name)),
            (value, _) => format!("a value of type {}", value.kind()),
        };
        let hint = (number && expected_type == "binary" && !written.is_empty())
            .then(|| self.format.quoted(written));
        let problem = self.problem(Kind::InvalidType, node.at, found, expected.to_owned());
        self.error(Problem {
            path: path.to_owned(),
            hint,
            expected_type,
            got: etf::to_bytes(&node.value),
            ..problem
        });
    }

    pub(super) fn atom_quota(&mut self, at: u32, path: &str) {
        let expected = format!(
            "at most {} atoms that the VM does not know yet",
            limits::NEW_ATOMS
        );
        let problem = self.problem(Kind::AtomQuota, at, "one more new atom".into(), expected);
        self.error(Problem {
            path: path.to_owned(),
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

    pub(super) fn error(&mut self, problem: Problem) {
        if self.out.errors.len() < limits::PROBLEMS {
            self.out.errors.push(problem);
        }
    }

    pub(super) fn warning(&mut self, problem: Problem) {
        if self.out.warnings.len() < limits::PROBLEMS {
            self.out.warnings.push(problem);
        }
    }
}
