//! From a tree to an [`AppSpec`]: every field, every problem at once.
//!
//! The tree is the same for the three formats, and so are the checks.

use std::borrow::Cow;

use super::app::{
    AppSpec, Env, Health, HealthType, Icon, IconType, Isolation, Named, SourceSpec, SourceType,
    VmConfig,
};
use super::atoms::{Admission, Atoms};
use super::env::EnvReader;
use super::grammar;
use super::limits;
use super::problem::{Fault, Kind, Problem, Source, shown};
use super::value::{Node, Value};
use super::{Format, etf};

/// What came of a file.
#[derive(Debug, Default, Clone)]
pub struct Checked {
    /// The spec, when nothing is wrong with it.
    pub spec: Option<AppSpec>,
    /// The name it gives itself, even when something else is wrong.
    pub name: Option<String>,
    /// What is wrong.
    pub errors: Vec<Problem>,
    /// What is odd.
    pub warnings: Vec<Problem>,
    /// Atoms that the VM does not have yet.
    pub new_atoms: Vec<String>,
}

/// Checks the tree of a file.
pub fn check(root: Node<'_>, format: Format, source: Source<'_>, atoms: &dyn Atoms) -> Checked {
    let mut checker = Checker {
        format,
        source,
        admission: Admission::new(atoms),
        out: Checked::default(),
    };
    let spec = checker.app(root);
    let mut out = checker.out;
    out.new_atoms = checker.admission.into_new();
    out.spec = spec.filter(|_| out.errors.is_empty());
    out
}

/// A file that could not even be read as its format.
pub fn refused(fault: Fault, source: Source<'_>) -> Checked {
    let (line, column) = source.place(fault.at);
    let problem = Problem {
        kind: fault.kind,
        line,
        column,
        path: String::new(),
        found: fault.found,
        expected: fault.expected.into_owned(),
        hint: None,
        expected_type: "term",
        got: Vec::new(),
    };
    Checked {
        errors: vec![problem],
        ..Checked::default()
    }
}

/// A rule for text: its test and how it is described.
struct Rule(fn(&str) -> bool, &'static str);

const NAME: Rule = Rule(
    grammar::is_name,
    "a name: a lower-case letter, then letters, digits, _ or @, at most 100",
);
const MODULE: Rule = Rule(grammar::is_module, "the name of a module");
const VERSION: Rule = Rule(
    grammar::is_version,
    "a version: letters, digits, dots, +, -, _ or ~",
);
const REF: Rule = Rule(
    grammar::is_ref,
    "a branch, a tag or a commit, as git names them",
);
const URL: Rule = Rule(
    grammar::is_url,
    "an url: https:, ssh:, user@host:path, file: or an absolute path",
);
const SHA256: Rule = Rule(grammar::is_sha256, "64 hexadecimal digits");
const MCID: Rule = Rule(grammar::is_mcid, "mcid1-<kind>-blake3-<hexadecimal digits>");
const LINE: Rule = Rule(
    grammar::is_line,
    "text of one line, at most 2,000 characters",
);
const TEXT: Rule = Rule(|text| !text.contains('\0'), "text without null characters");
const PATH: Rule = Rule(
    |text| text.starts_with('/') && grammar::is_line(text),
    "a path that begins with /",
);
const PREFIX: Rule = Rule(
    |text| {
        text.len() <= 50
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
    },
    "letters, digits, _ or -, at most 50",
);

const APP_KEYS: &[&str] = &[
    "name",
    "version",
    "description",
    "icon",
    "source",
    "env",
    "health",
    "depends_on",
    "isolation",
    "vm_config",
];
const SOURCE_KEYS: &[&str] = &["type", "url", "sha256", "ref", "mcid"];
const HEALTH_KEYS: &[&str] = &["type", "port", "path", "interval", "timeout", "module"];
const ICON_KEYS: &[&str] = &["type", "value", "mime_type"];
const VM_KEYS: &[&str] = &[
    "memory_limit",
    "scheduler_limit",
    "node_prefix",
    "extra_args",
];

struct Checker<'c> {
    format: Format,
    source: Source<'c>,
    admission: Admission<'c>,
    out: Checked,
}

/// The pairs of a section that nobody has taken yet.
struct Section<'n> {
    name: &'static str,
    at: u32,
    known: &'static [&'static str],
    fields: Vec<(Cow<'n, str>, u32, Node<'n>)>,
}

impl<'n> Section<'n> {
    /// Takes a field; null is as good as no field.
    fn take(&mut self, key: &str) -> Option<Node<'n>> {
        let index = self.fields.iter().position(|(name, _, _)| name == key)?;
        let (_, _, node) = self.fields.swap_remove(index);
        (!is_null(&node.value)).then_some(node)
    }

    fn path(&self, key: &str) -> String {
        match self.name {
            "" => key.to_owned(),
            name => format!("{name}.{key}"),
        }
    }
}

fn is_null(value: &Value<'_>) -> bool {
    matches!(value, Value::Atom(name) if matches!(name.as_ref(), "undefined" | "nil" | "null"))
}

impl<'c> Checker<'c> {
    fn app(&mut self, root: Node<'_>) -> Option<AppSpec> {
        let mut fields = self.section(root, "", APP_KEYS)?;
        let name = self.required(&mut fields, "name", &NAME, true);
        self.out.name.clone_from(&name);
        let version = self.required(&mut fields, "version", &VERSION, false);
        let description = self.text(&mut fields, "description", &TEXT);
        let icon = fields.take("icon").and_then(|node| self.icon(node));
        let source = match fields.take("source") {
            None => Some(SourceSpec {
                kind: SourceType::Hex,
                url: None,
                sha256: None,
                reference: None,
                mcid: None,
            }),
            Some(node) => self.source(node),
        };
        let env = fields
            .take("env")
            .map_or_else(|| Some(Env::default()), |node| self.env(node));
        let health = fields.take("health").and_then(|node| self.health(node));
        let depends_on = fields
            .take("depends_on")
            .map_or_else(Vec::new, |node| self.depends_on(node));
        let isolation = self
            .member(&mut fields, "isolation")
            .unwrap_or(Isolation::Embedded);
        let vm_config = fields
            .take("vm_config")
            .and_then(|node| self.vm_config(node));
        self.unknown(fields);
        let (name, version, mut source, env) = (name?, version?, source?, env?);
        if source.kind == SourceType::Hex && source.reference.is_none() {
            source.reference = Some(version.clone());
        }
        Some(AppSpec {
            name,
            version,
            description,
            icon,
            source,
            env,
            health,
            depends_on,
            isolation,
            vm_config,
        })
    }

    fn source(&mut self, node: Node<'_>) -> Option<SourceSpec> {
        let mut fields = self.section(node, "source", SOURCE_KEYS)?;
        let kind = match fields.take("type") {
            None => Some(SourceType::Hex),
            Some(node) => self.named(node, "source.type"),
        };
        let (used, needed): (&[&str], Option<&'static str>) = match kind {
            Some(SourceType::Git) => (&["url", "ref"], Some("url")),
            Some(SourceType::Release) => (&["url", "sha256", "ref"], Some("url")),
            Some(SourceType::Mesh) => (&["mcid", "ref", "sha256"], Some("mcid")),
            Some(SourceType::Hex) => (&["ref", "sha256"], None),
            None => (SOURCE_KEYS, None),
        };
        self.unused(&fields, kind.map_or("", SourceType::name), used);
        if let Some(needed) = needed.filter(|needed| {
            !fields
                .fields
                .iter()
                .any(|(key, _, n)| key == needed && !is_null(&n.value))
        }) {
            let expected = format!(
                "{} of a {} source",
                if needed == "url" {
                    "the url"
                } else {
                    "the content id"
                },
                kind.map_or("", SourceType::name)
            );
            self.missing(&fields, needed, expected);
        }
        Some(SourceSpec {
            url: self.text(&mut fields, "url", &URL),
            sha256: self
                .text(&mut fields, "sha256", &SHA256)
                .map(|digits| digits.to_ascii_lowercase()),
            reference: self.text(&mut fields, "ref", &REF),
            mcid: self.text(&mut fields, "mcid", &MCID),
            kind: {
                self.unknown(fields);
                kind?
            },
        })
    }

    fn health(&mut self, node: Node<'_>) -> Option<Health> {
        let mut fields = self.section(node, "health", HEALTH_KEYS)?;
        let kind = match fields.take("type") {
            None => Some(HealthType::Http),
            Some(node) => self.named(node, "health.type"),
        };
        let used: &[&str] = match kind {
            Some(HealthType::Http) => &["port", "path", "interval", "timeout"],
            Some(HealthType::Tcp) => &["port", "interval", "timeout"],
            Some(HealthType::Custom) => &["module", "interval", "timeout"],
            None => HEALTH_KEYS,
        };
        self.unused(&fields, kind.map_or("", HealthType::name), used);
        let has_module = fields
            .fields
            .iter()
            .any(|(key, _, node)| key == "module" && !is_null(&node.value));
        if kind == Some(HealthType::Custom) && !has_module {
            self.missing(&fields, "module", "the module of a custom check".to_owned());
        }
        let health = Health {
            port: self
                .number(&mut fields, "port", 65_535)
                .map_or(8080, |port| port as u16),
            path: self.text(&mut fields, "path", &PATH),
            interval: self
                .number(&mut fields, "interval", u32::MAX)
                .unwrap_or(30_000),
            timeout: self
                .number(&mut fields, "timeout", u32::MAX)
                .unwrap_or(5_000),
            module: self.optional(&mut fields, "module", &MODULE, true),
            kind: kind.unwrap_or(HealthType::Http),
        };
        self.unknown(fields);
        Some(health)
    }

    fn icon(&mut self, node: Node<'_>) -> Option<Icon> {
        let mut fields = self.section(node, "icon", ICON_KEYS)?;
        let kind = self
            .member(&mut fields, "type")
            .unwrap_or(IconType::Identicon);
        let value = self.text(&mut fields, "value", &TEXT);
        let mime_type = self.text(&mut fields, "mime_type", &LINE);
        self.unknown(fields);
        Some(Icon {
            kind,
            value,
            mime_type,
        })
    }

    fn vm_config(&mut self, node: Node<'_>) -> Option<VmConfig> {
        let mut fields = self.section(node, "vm_config", VM_KEYS)?;
        let extra_args = fields.take("extra_args").map_or_else(Vec::new, |node| {
            self.texts(node, "vm_config.extra_args", &LINE, false)
        });
        let config = VmConfig {
            memory_limit: self.number(&mut fields, "memory_limit", u32::MAX),
            scheduler_limit: self.number(&mut fields, "scheduler_limit", 1_024),
            node_prefix: self.text(&mut fields, "node_prefix", &PREFIX),
            extra_args,
        };
        self.unknown(fields);
        Some(config)
    }

    fn env(&mut self, node: Node<'_>) -> Option<Env> {
        match EnvReader::new(self.format, &mut self.admission).read(node) {
            Ok(map) => Some(Env::new(&map)),
            Err(faults) => {
                for fault in faults {
                    let place = if fault.path.is_empty() {
                        "env".to_owned()
                    } else {
                        format!("env.{}", fault.path)
                    };
                    let problem = self.problem(fault.kind, fault.at, fault.found, fault.expected);
                    self.error(Problem {
                        path: place,
                        expected_type: "map",
                        got: fault.got,
                        ..problem
                    });
                }
                None
            }
        }
    }

    fn depends_on(&mut self, node: Node<'_>) -> Vec<String> {
        let mut names = self.texts(node, "depends_on", &NAME, true);
        let mut seen = std::collections::HashSet::new();
        names.retain(|name| seen.insert(name.clone()));
        names
    }

    /// A list of texts; a list of integers is one string, which is no list of texts.
    fn texts(&mut self, node: Node<'_>, path: &str, rule: &Rule, atoms: bool) -> Vec<String> {
        let Value::List(items) = node.value else {
            self.mismatch(&node, path, "list", "a list");
            return Vec::new();
        };
        items
            .into_iter()
            .enumerate()
            .filter_map(|(index, item)| {
                self.checked_text(item, &format!("{path}[{index}]"), rule, atoms)
            })
            .collect()
    }

    fn required(
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
            Some(node) => self.checked_text(node, &fields.path(key), rule, atom),
        }
    }

    fn optional(
        &mut self,
        fields: &mut Section<'_>,
        key: &str,
        rule: &Rule,
        atom: bool,
    ) -> Option<String> {
        let node = fields.take(key)?;
        self.checked_text(node, &fields.path(key), rule, atom)
    }

    fn text(&mut self, fields: &mut Section<'_>, key: &str, rule: &Rule) -> Option<String> {
        self.optional(fields, key, rule, false)
    }

    /// Text that follows a rule; names may be atoms and become ones.
    fn checked_text(
        &mut self,
        node: Node<'_>,
        path: &str,
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
            let found = format!("\"{}\"", shown(&text));
            let problem = self.problem(Kind::InvalidValue, node.at, found, rule.1.into());
            self.error(Problem {
                path: path.to_owned(),
                got: etf::to_bytes(&node.value),
                expected_type: if atom { "atom" } else { "binary" },
                ..problem
            });
            return None;
        }
        if atom && !self.admission.admit(&text) {
            self.atom_quota(node.at, path);
            return None;
        }
        Some(text.into_owned())
    }

    fn number(&mut self, fields: &mut Section<'_>, key: &str, most: u32) -> Option<u32> {
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
                        path,
                        expected_type: "pos_integer",
                        got: etf::to_bytes(&node.value),
                        ..problem
                    });
                    None
                }
            },
            _ => {
                self.mismatch(&node, &path, "pos_integer", "a positive integer");
                None
            }
        }
    }

    fn member<T: Named>(&mut self, fields: &mut Section<'_>, key: &str) -> Option<T> {
        let node = fields.take(key)?;
        self.named(node, &fields.path(key))
    }

    /// A word out of few.
    fn named<T: Named>(&mut self, node: Node<'_>, path: &str) -> Option<T> {
        let text = match &node.value {
            Value::Atom(name) => Some(Cow::Borrowed(name.as_ref())),
            value => value.text(),
        };
        let known: Vec<&str> = T::NAMES.iter().map(|(name, _)| *name).collect();
        let expected = format!("one of {}", known.join(", "));
        let Some(text) = text else {
            self.mismatch(&node, path, "atom", &expected);
            return None;
        };
        let member = T::from_name(&text);
        if member.is_none() {
            let hint = grammar::nearest(&text, &known).map(|near| format!("did you mean {near}?"));
            let problem = self.problem(
                Kind::InvalidValue,
                node.at,
                format!("\"{}\"", shown(&text)),
                expected,
            );
            self.error(Problem {
                path: path.to_owned(),
                hint,
                expected_type: "atom",
                got: etf::to_bytes(&node.value),
                ..problem
            });
        }
        member
    }

    /// Opens a map or a proplist.
    fn section<'n>(
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
                self.mismatch(&node, name, "map", what);
                return None;
            }
        };
        let mut section = Section {
            name,
            at,
            known,
            fields: Vec::with_capacity(pairs.len()),
        };
        for (key, value) in pairs {
            self.field(&mut section, key, value);
        }
        Some(section)
    }

    fn field<'n>(&mut self, section: &mut Section<'n>, key: Node<'n>, value: Node<'n>) {
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
        if section.fields.iter().any(|(other, _, _)| *other == name) {
            let problem = self.problem(
                Kind::DuplicateKey,
                at,
                format!("{} a second time", shown(&name)),
                "each key once".into(),
            );
            return self.error(Problem {
                path: section.path(&shown(&name)),
                ..problem
            });
        }
        section.fields.push((name, at, value));
    }

    /// Warns of what nobody took.
    fn unknown(&mut self, section: Section<'_>) {
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
    fn unused(&mut self, section: &Section<'_>, kind: &str, used: &[&str]) {
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

    fn missing(&mut self, section: &Section<'_>, key: &str, expected: String) {
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

    fn mismatch(
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

    fn atom_quota(&mut self, at: u32, path: &str) {
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

    fn problem(&self, kind: Kind, at: u32, found: String, expected: String) -> Problem {
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

    fn error(&mut self, problem: Problem) {
        if self.out.errors.len() < limits::PROBLEMS {
            self.out.errors.push(problem);
        }
    }

    fn warning(&mut self, problem: Problem) {
        if self.out.warnings.len() < limits::PROBLEMS {
            self.out.warnings.push(problem);
        }
    }
}

/// `{Key, Value}` or a bare atom, as `proplists` has them.
pub(super) fn is_property(item: &Node<'_>) -> bool {
    match &item.value {
        Value::Tuple(parts) => parts.len() == 2,
        Value::Atom(_) => true,
        _ => false,
    }
}

pub(super) fn property<'n>(item: Node<'n>) -> Option<(Node<'n>, Node<'n>)> {
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

/// A key as text.
pub(super) fn into_name(value: Value<'_>) -> Option<Cow<'_, str>> {
    match value {
        Value::Atom(name) | Value::Chars(name) => Some(name),
        Value::Binary(Cow::Borrowed(bytes)) => std::str::from_utf8(bytes).ok().map(Cow::Borrowed),
        Value::Binary(Cow::Owned(bytes)) => String::from_utf8(bytes).ok().map(Cow::Owned),
        _ => None,
    }
}
