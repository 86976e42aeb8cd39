//! The environment of an application, whatever the format.
//!
//! Erlang terms stay as they are, apart from a proplist that becomes a map. In YAML and JSON the
//! keys of maps become atoms at every depth, strings stay binaries, and what these formats cannot
//! say has a tag: `!atom ok`, `!charlist "text"`, `!tuple [a, b]` in YAML, and in JSON an object
//! of one key `{"$atom": "ok"}`, `{"$charlist": "text"}`, `{"$tuple": ["a", "b"]}`.

use std::borrow::Cow;

use super::Format;
use super::atoms::Admission;
use super::check::{into_name, is_property, property, repeated};
use super::etf;
use super::limits;
use super::problem::{Kind, shown};
use super::value::{Node, Value};

/// A problem inside of an environment.
pub(super) struct EnvFault {
    pub kind: Kind,
    pub at: u32,
    pub path: String,
    pub found: String,
    pub expected: String,
    pub got: Vec<u8>,
}

pub(super) struct EnvReader<'r, 'a, 'n> {
    format: Format,
    admission: &'r mut Admission<'a>,
    faults: Vec<EnvFault>,
    path: Vec<Cow<'n, str>>,
    quota_said: bool,
}

impl<'r, 'a, 'n> EnvReader<'r, 'a, 'n> {
    pub(super) fn new(format: Format, admission: &'r mut Admission<'a>) -> Self {
        EnvReader {
            format,
            admission,
            faults: Vec::new(),
            path: Vec::new(),
            quota_said: false,
        }
    }

    /// A map with atoms as keys, or all that is wrong.
    pub(super) fn read(mut self, node: Node<'n>) -> Result<Value<'n>, Vec<EnvFault>> {
        let map = match node.value {
            Value::Map(pairs) => self.top(pairs),
            Value::List(items) if items.iter().all(is_property) => {
                self.top(items.into_iter().filter_map(property).collect())
            }
            value => {
                let found = format!("a value of type {}", value.kind());
                self.fault(
                    Kind::InvalidType,
                    node.at,
                    found,
                    "a map",
                    etf::to_bytes(&value),
                );
                return Err(self.faults);
            }
        };
        if self.faults.is_empty() {
            Ok(map)
        } else {
            Err(self.faults)
        }
    }

    /// The environment itself: its keys are atoms in every format.
    fn top(&mut self, pairs: Vec<(Node<'n>, Node<'n>)>) -> Value<'n> {
        match self.format {
            Format::Erlang => {
                let pairs = pairs.into_iter().filter_map(|(key, value)| {
                    let at = key.at;
                    let name = self.key(key)?;
                    self.count(&value);
                    let key = Node {
                        at,
                        value: Value::Atom(name),
                    };
                    Some((key, value))
                });
                Value::Map(pairs.collect())
            }
            Format::Yaml | Format::Json => self.map(pairs),
        }
    }

    /// The name of a key, which becomes an atom.
    fn key(&mut self, key: Node<'n>) -> Option<Cow<'n, str>> {
        let name = into_name(key.value);
        match &name {
            Some(name) => self.admit(name, key.at),
            None => {
                let found = "a key that is no name".into();
                self.fault(Kind::InvalidType, key.at, found, "a key", Vec::new());
            }
        }
        name
    }

    fn admit(&mut self, name: &str, at: u32) {
        if name.len() > limits::ATOM_CHARACTERS && name.chars().count() > limits::ATOM_CHARACTERS {
            let expected = "an atom of at most 255 characters";
            return self.fault(
                Kind::TooLarge,
                at,
                format!("\"{}\"", shown(name)),
                expected,
                Vec::new(),
            );
        }
        if !self.admission.admit(name) && !self.quota_said {
            self.quota_said = true;
            let expected = format!(
                "at most {} atoms that the VM does not know yet",
                limits::NEW_ATOMS
            );
            self.fault(
                Kind::AtomQuota,
                at,
                "one more new atom".into(),
                &expected,
                Vec::new(),
            );
        }
    }

    /// Admits the atoms of an Erlang term.
    fn count(&mut self, node: &Node<'n>) {
        match &node.value {
            Value::Atom(name) => self.admit(name, node.at),
            Value::List(items) | Value::Tuple(items) => {
                items.iter().for_each(|item| self.count(item))
            }
            Value::Improper(items, tail) => {
                items.iter().for_each(|item| self.count(item));
                self.count(tail);
            }
            Value::Map(pairs) => pairs.iter().for_each(|(key, value)| {
                self.count(key);
                self.count(value);
            }),
            _ => (),
        }
    }

    /// A map of YAML or JSON: keys become atoms and stand once.
    fn map(&mut self, pairs: Vec<(Node<'n>, Node<'n>)>) -> Value<'n> {
        let repeated = repeated(&pairs);
        let mut out = Vec::with_capacity(pairs.len());
        for (index, (key, value)) in pairs.into_iter().enumerate() {
            let at = key.at;
            let Some(name) = self.key(key) else { continue };
            let again = repeated.binary_search(&index).is_ok();
            let found = again.then(|| format!("{} a second time", shown(&name)));
            self.path.push(name);
            if let Some(found) = found {
                self.fault(Kind::DuplicateKey, at, found, "each key once", Vec::new());
            }
            let value = self.data(value);
            let name = self.path.pop().map(Value::Atom);
            out.extend(name.map(|name| (Node { at, value: name }, value)));
        }
        Value::Map(out)
    }

    fn data(&mut self, node: Node<'n>) -> Node<'n> {
        let at = node.at;
        let value = match node.value {
            Value::Map(pairs) if self.format == Format::Json && is_tag(&pairs) => {
                self.tagged(at, pairs)
            }
            Value::Map(pairs) => self.map(pairs),
            Value::List(items) => Value::List(self.all(items)),
            Value::Tuple(items) => Value::Tuple(self.all(items)),
            Value::Atom(name) => {
                self.admit(&name, at);
                Value::Atom(name)
            }
            other => other,
        };
        Node { at, value }
    }

    fn all(&mut self, items: Vec<Node<'n>>) -> Vec<Node<'n>> {
        items.into_iter().map(|item| self.data(item)).collect()
    }

    /// JSON's way to say what it has no words for.
    fn tagged(&mut self, at: u32, pairs: Vec<(Node<'n>, Node<'n>)>) -> Value<'n> {
        let Some((key, value)) = pairs.into_iter().next() else {
            return Value::Map(Vec::new());
        };
        let tag = into_name(key.value).unwrap_or_default();
        match (tag.as_ref(), value.value) {
            ("$tuple", Value::List(items)) => Value::Tuple(self.all(items)),
            ("$atom", text @ Value::Binary(_)) => {
                let name = into_name(text).unwrap_or_default();
                self.admit(&name, value.at);
                Value::Atom(name)
            }
            ("$charlist", text @ Value::Binary(_)) => charlist(into_name(text).unwrap_or_default()),
            (_, found) => {
                let expected =
                    "{\"$atom\": string}, {\"$charlist\": string} or {\"$tuple\": array}";
                self.fault(
                    Kind::InvalidValue,
                    at,
                    format!("{} of a {}", shown(&tag), found.kind()),
                    expected,
                    Vec::new(),
                );
                Value::List(Vec::new())
            }
        }
    }

    fn fault(&mut self, kind: Kind, at: u32, found: String, expected: &str, got: Vec<u8>) {
        if self.faults.len() < limits::PROBLEMS {
            let path = self
                .path
                .iter()
                .map(|part| shown(part))
                .collect::<Vec<_>>()
                .join(".");
            self.faults.push(EnvFault {
                kind,
                at,
                path,
                found,
                expected: expected.to_owned(),
                got,
            });
        }
    }
}

fn is_tag(pairs: &[(Node<'_>, Node<'_>)]) -> bool {
    match pairs {
        [(key, _)] => key
            .value
            .text()
            .is_some_and(|name| matches!(name.as_ref(), "$atom" | "$charlist" | "$tuple")),
        _ => false,
    }
}

/// A list of characters.
pub(super) fn charlist(text: Cow<'_, str>) -> Value<'_> {
    if text.is_empty() {
        Value::List(Vec::new())
    } else {
        Value::Chars(text)
    }
}
