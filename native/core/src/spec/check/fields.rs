//! Reading fields: sections, texts, numbers, words out of few.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use super::super::app::Named;
use super::super::problem::{Kind, Problem, shown};
use super::super::value::{Node, Value};
use super::super::{etf, grammar};
use super::Checker;
use super::rules::Rule;
use crate::url::redact;

/// The pairs of a section that nobody has taken yet.
pub(super) struct Section<'n> {
    pub(super) name: &'static str,
    pub(super) at: u32,
    pub(super) known: &'static [&'static str],
    pub(super) fields: Vec<(Cow<'n, str>, u32, Node<'n>)>,
}

impl<'n> Section<'n> {
    /// Takes a field; null is as good as no field.
    pub(super) fn take(&mut self, key: &str) -> Option<Node<'n>> {
        let index = self.fields.iter().position(|(name, _, _)| name == key)?;
        let (_, _, node) = self.fields.swap_remove(index);
        (!is_null(&node.value)).then_some(node)
    }

    /// Where the value of a field stands.
    pub(super) fn at(&self, key: &str) -> u32 {
        let field = self.fields.iter().find(|(name, _, _)| name == key);
        field.map_or(self.at, |(_, _, node)| node.at)
    }

    pub(super) fn path<'p>(&self, key: &'p str) -> Path<'p> {
        Path {
            section: self.name,
            ..Path::of(key)
        }
    }
}

/// Where a value stands; text only when somebody is told.
#[derive(Clone, Copy)]
pub(super) struct Path<'p> {
    section: &'static str,
    key: &'p str,
    index: Option<usize>,
}

impl<'p> Path<'p> {
    pub(super) fn of(key: &'p str) -> Self {
        Path {
            section: "",
            key,
            index: None,
        }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dot = if self.section.is_empty() { "" } else { "." };
        write!(f, "{}{dot}{}", self.section, self.key)?;
        match self.index {
            Some(index) => write!(f, "[{index}]"),
            None => Ok(()),
        }
    }
}

pub(super) fn is_null(value: &Value<'_>) -> bool {
    matches!(value, Value::Atom(name) if matches!(name.as_ref(), "undefined" | "nil" | "null"))
}

/// A url may hold a password, and may stand where none belongs.
fn harmless<'t>(text: &'t str, is_url: bool) -> Cow<'t, str> {
    match is_url || text.contains("://") {
        true => Cow::Owned(redact(text)),
        false => Cow::Borrowed(text),
    }
}

/// What stands there, for callers of the shapes of 0.7.
pub(super) fn got(value: &Value<'_>) -> Vec<u8> {
    match value.text().filter(|text| text.contains("://")) {
        Some(text) => etf::to_bytes(&Value::Binary(redact(&text).into_bytes().into())),
        None => etf::to_bytes(value),
    }
}

impl Checker<'_> {
    /// A list of texts; a list of integers is one string, which is no list of texts.
    pub(super) fn texts(
        &mut self,
        node: Node<'_>,
        path: Path<'_>,
        rule: &Rule,
        atoms: bool,
    ) -> Vec<String> {
        let Value::List(items) = node.value else {
            self.mismatch(&node, path, "list", "a list");
            return Vec::new();
        };
        items
            .into_iter()
            .enumerate()
            .filter_map(|(index, item)| {
                if self.full() {
                    return None;
                }
                let path = Path {
                    index: Some(index),
                    ..path
                };
                self.checked_text(item, path, rule, atoms)
            })
            .collect()
    }

    pub(super) fn required(
        &mut self,
        fields: &mut Section<'_>,
        key: &'static str,
        rule: &Rule,
        atom: bool,
    ) -> Option<String> {
        match fields.take(key) {
            None => {
                self.missing(fields, key, rule.1.to_owned());
                None
            }
            Some(node) => self.checked_text(node, fields.path(key), rule, atom),
        }
    }

    pub(super) fn optional(
        &mut self,
        fields: &mut Section<'_>,
        key: &str,
        rule: &Rule,
        atom: bool,
    ) -> Option<String> {
        let node = fields.take(key)?;
        self.checked_text(node, fields.path(key), rule, atom)
    }

    pub(super) fn text(
        &mut self,
        fields: &mut Section<'_>,
        key: &str,
        rule: &Rule,
    ) -> Option<String> {
        self.optional(fields, key, rule, false)
    }

    /// Text that follows a rule; names may be atoms and become ones.
    pub(super) fn checked_text(
        &mut self,
        node: Node<'_>,
        path: Path<'_>,
        rule: &Rule,
        atom: bool,
    ) -> Option<String> {
        let text = match &node.value {
            Value::Atom(name) if atom && !matches!(name.as_ref(), "true" | "false") => {
                Some(Cow::Borrowed(name.as_ref()))
            }
            value => value.text(),
        };
        let Some(text) = text else {
            self.mismatch(
                &node,
                path,
                if atom { "atom" } else { "binary" },
                if atom { "a name" } else { "a string" },
            );
            return None;
        };
        if !(rule.0)(&text) {
            let harmless = harmless(&text, path.key.ends_with("url"));
            let hint = grammar::as_name(&harmless)
                .filter(|_| atom)
                .map(|near| format!("did you mean {near}?"));
            let found = format!("\"{}\"", shown(&harmless));
            let problem = self.problem(Kind::InvalidValue, node.at, found, rule.1.into());
            self.error(Problem {
                path: path.to_string(),
                hint,
                got: got(&node.value),
                expected_type: if atom { "atom" } else { "binary" },
                ..problem
            });
            return None;
        }
        if atom && !self.admission.admit(&text) {
            self.atom_quota(node.at, path);
            return None;
        }
        match node.value {
            Value::List(_) => Some(text.into_owned()),
            value => into_name(value).map(Cow::into_owned),
        }
    }

    pub(super) fn number(&mut self, fields: &mut Section<'_>, key: &str, most: u32) -> Option<u32> {
        let node = fields.take(key)?;
        let path = fields.path(key);
        match node.value {
            Value::Int(value) => match u32::try_from(value)
                .ok()
                .filter(|value| (1..=most).contains(value))
            {
                Some(value) => Some(value),
                None => {
                    let problem = self.problem(
                        Kind::InvalidValue,
                        node.at,
                        value.to_string(),
                        format!("an integer from 1 to {most}"),
                    );
                    self.error(Problem {
                        path: path.to_string(),
                        expected_type: "pos_integer",
                        got: etf::to_bytes(&node.value),
                        ..problem
                    });
                    None
                }
            },
            _ => {
                self.mismatch(&node, path, "pos_integer", "a positive integer");
                None
            }
        }
    }

    pub(super) fn member<T: Named>(&mut self, fields: &mut Section<'_>, key: &str) -> Option<T> {
        let node = fields.take(key)?;
        self.named(node, fields.path(key))
    }

    pub(super) fn boolean(&mut self, fields: &mut Section<'_>, key: &str) -> Option<bool> {
        let node = fields.take(key)?;
        match &node.value {
            Value::Atom(name) if name == "true" => Some(true),
            Value::Atom(name) if name == "false" => Some(false),
            _ => {
                self.mismatch(&node, fields.path(key), "boolean", "true or false");
                None
            }
        }
    }

    /// A word out of few.
    pub(super) fn named<T: Named>(&mut self, node: Node<'_>, path: Path<'_>) -> Option<T> {
        let text = match &node.value {
            Value::Atom(name) => Some(Cow::Borrowed(name.as_ref())),
            value => value.text(),
        };
        let member = text.as_deref().and_then(T::from_name);
        if member.is_some() {
            return member;
        }
        let known: Vec<&str> = T::NAMES.iter().map(|(name, _)| *name).collect();
        let expected = format!("one of {}", known.join(", "));
        if let Some(text) = text {
            let hint = grammar::nearest(&text, &known).map(|near| format!("did you mean {near}?"));
            let problem = self.problem(
                Kind::InvalidValue,
                node.at,
                format!("\"{}\"", shown(&harmless(&text, false))),
                expected,
            );
            self.error(Problem {
                path: path.to_string(),
                hint,
                expected_type: "atom",
                got: got(&node.value),
                ..problem
            });
        } else {
            self.mismatch(&node, path, "atom", &expected);
        }
        None
    }

    /// Opens a map or a proplist.
    pub(super) fn section<'n>(
        &mut self,
        node: Node<'n>,
        name: &'static str,
        known: &'static [&'static str],
    ) -> Option<Section<'n>> {
        let at = node.at;
        let pairs = match node.value {
            Value::Map(pairs) => pairs,
            Value::List(items) if items.iter().all(is_property) => {
                items.into_iter().filter_map(property).collect()
            }
            value => {
                let node = Node { at, value };
                let what = if name.is_empty() {
                    "one map or proplist"
                } else {
                    "a map"
                };
                self.mismatch(&node, Path::of(name), "map", what);
                return None;
            }
        };
        let mut section = Section {
            name,
            at,
            known,
            fields: Vec::with_capacity(pairs.len()),
        };
        let repeated = repeated(&pairs);
        for (index, (key, value)) in pairs.into_iter().enumerate() {
            if self.full() {
                break;
            }
            let again = repeated.binary_search(&index).is_ok();
            self.field(&mut section, again, key, value);
        }
        Some(section)
    }

    fn field<'n>(
        &mut self,
        section: &mut Section<'n>,
        again: bool,
        key: Node<'n>,
        value: Node<'n>,
    ) {
        let at = key.at;
        let Some(name) = into_name(key.value) else {
            let problem = self.problem(
                Kind::InvalidType,
                at,
                "a key that is no name".into(),
                "a key".into(),
            );
            return self.error(Problem {
                path: section.name.to_owned(),
                expected_type: "atom",
                ..problem
            });
        };
        if again {
            let problem = self.problem(
                Kind::DuplicateKey,
                at,
                format!("{} a second time", shown(&name)),
                "each key once".into(),
            );
            return self.error(Problem {
                path: section.path(&shown(&name)).to_string(),
                ..problem
            });
        }
        section.fields.push((name, at, value));
    }
}

/// `{Key, Value}` or a bare atom, as `proplists` has them.
pub(in crate::spec) fn is_property(item: &Node<'_>) -> bool {
    match &item.value {
        Value::Tuple(parts) => parts.len() == 2,
        Value::Atom(_) => true,
        _ => false,
    }
}

pub(in crate::spec) fn property<'n>(item: Node<'n>) -> Option<(Node<'n>, Node<'n>)> {
    match item.value {
        Value::Tuple(parts) => {
            let mut parts = parts.into_iter();
            Some((parts.next()?, parts.next()?))
        }
        Value::Atom(name) => Some((
            Node {
                at: item.at,
                value: Value::Atom(name),
            },
            Node {
                at: item.at,
                value: Value::atom("true"),
            },
        )),
        _ => None,
    }
}

/// Which keys stand a second time, by their index in the map.
pub(in crate::spec) fn repeated(pairs: &[(Node<'_>, Node<'_>)]) -> Vec<usize> {
    /// Comparing few is cheaper than hashing them; a hostile map of many must not cost their square.
    const FEW: usize = 16;
    let name = |index: usize| match &pairs[index].0.value {
        Value::Atom(name) | Value::Chars(name) => Some(name.as_bytes()),
        Value::Binary(bytes) => Some(bytes.as_ref()),
        _ => None,
    };
    if pairs.len() <= FEW {
        let again =
            |&at: &usize| name(at).is_some() && (0..at).any(|other| name(other) == name(at));
        return (1..pairs.len()).filter(again).collect();
    }
    let mut seen = HashSet::with_capacity(pairs.len());
    let again = |&at: &usize| name(at).is_some_and(|name| !seen.insert(name));
    (0..pairs.len()).filter(again).collect()
}

/// A key as text.
pub(in crate::spec) fn into_name(value: Value<'_>) -> Option<Cow<'_, str>> {
    match value {
        Value::Atom(name) | Value::Chars(name) => Some(name),
        Value::Binary(Cow::Borrowed(bytes)) => std::str::from_utf8(bytes).ok().map(Cow::Borrowed),
        Value::Binary(Cow::Owned(bytes)) => String::from_utf8(bytes).ok().map(Cow::Owned),
        _ => None,
    }
}
