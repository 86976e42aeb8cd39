//! The instructions of an appup: their shapes, and which modules they are about (OTP: appup(4)).

use std::collections::HashSet;

use super::app_file::fault;
use crate::spec::grammar::nearest;
use crate::spec::{Fault, Node, Value};
use Part::*;

/// What may stand at a place of an instruction.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Module,
    Modules,
    Supervisor,
    Change,
    Purge,
    Timeout,
    ModType,
    StartType,
    Objects,
    Purged,
    Suspended,
    Changes,
    Mode,
    Call,
    Any,
}

const FORMS: &[(&str, &[Part])] = &[
    ("update", &[Module]),
    ("update", &[Module, Supervisor]),
    ("update", &[Module, Change]),
    ("update", &[Module, Modules]),
    ("update", &[Module, Change, Modules]),
    ("update", &[Module, Change, Purge, Purge, Modules]),
    ("update", &[Module, Timeout, Change, Purge, Purge, Modules]),
    (
        "update",
        &[Module, ModType, Timeout, Change, Purge, Purge, Modules],
    ),
    ("load_module", &[Module]),
    ("load_module", &[Module, Modules]),
    ("load_module", &[Module, Purge, Purge, Modules]),
    ("add_module", &[Module]),
    ("add_module", &[Module, Modules]),
    ("delete_module", &[Module]),
    ("delete_module", &[Module, Modules]),
    ("add_application", &[Module]),
    ("add_application", &[Module, StartType]),
    ("remove_application", &[Module]),
    ("restart_application", &[Module]),
    ("load_object_code", &[Objects]),
    ("load", &[Purged]),
    ("remove", &[Purged]),
    ("purge", &[Modules]),
    ("suspend", &[Suspended]),
    ("resume", &[Modules]),
    ("code_change", &[Changes]),
    ("code_change", &[Mode, Changes]),
    ("stop", &[Modules]),
    ("start", &[Modules]),
    ("sync_nodes", &[Any, Any]),
    ("apply", &[Call]),
];
const WORDS: &[&str] = &[
    "point_of_no_return",
    "restart_new_emulator",
    "restart_emulator",
];

/// Whether a node is an instruction; what it should be instead.
pub(super) fn check(node: &Node<'_>) -> Result<(), Fault> {
    let (name, parts) = match &node.value {
        Value::Atom(name) if WORDS.contains(&name.as_ref()) => return Ok(()),
        Value::Atom(name) => (name.as_ref(), [].as_slice()),
        Value::Tuple(parts) => match parts.split_first() {
            Some((
                Node {
                    value: Value::Atom(name),
                    ..
                },
                parts,
            )) => (name.as_ref(), parts),
            _ => return Err(odd(node, "a tuple", None)),
        },
        other => return Err(odd(node, other.kind(), None)),
    };
    let mut forms = FORMS.iter().filter(|(known, _)| *known == name);
    match forms.any(|(_, form)| form_fits(form, parts)) {
        true => Ok(()),
        false => Err(odd(node, name, Some(name))),
    }
}

fn form_fits(form: &[Part], parts: &[Node<'_>]) -> bool {
    form.len() == parts.len()
        && form
            .iter()
            .zip(parts)
            .all(|(part, node)| part.fits(&node.value))
}

/// The forms that the name has, or the name that it may be meant for.
fn odd(node: &Node<'_>, found: &str, name: Option<&str>) -> Fault {
    let forms: Vec<String> = FORMS
        .iter()
        .filter(|(known, _)| Some(*known) == name)
        .map(|(name, form)| {
            let parts = form.iter().map(|part| part.shown());
            format!("{{{name}, {}}}", parts.collect::<Vec<_>>().join(", "))
        })
        .collect();
    let known: Vec<&str> = FORMS
        .iter()
        .map(|(name, _)| *name)
        .chain(WORDS.iter().copied())
        .collect();
    let near = name.and_then(|name| nearest(name, &known));
    let expected = match (forms.is_empty(), near) {
        (false, _) => forms.join(" or "),
        (true, Some(near)) => format!("an instruction of an appup; did you mean {near}?"),
        (true, None) => "an instruction of an appup".to_owned(),
    };
    Fault {
        expected: expected.into(),
        ..fault(node.at as usize, found, "")
    }
}

impl Part {
    fn fits(self, value: &Value<'_>) -> bool {
        let word =
            |words: &[&str]| matches!(value, Value::Atom(name) if words.contains(&name.as_ref()));
        match self {
            Module => matches!(value, Value::Atom(_)),
            Modules => list(value, |item| Module.fits(item)),
            Supervisor => word(&["supervisor"]),
            Change => word(&["soft"]) || tuple(value, &[Any, Any]) && first_is(value, "advanced"),
            Purge => word(&["soft_purge", "brutal_purge"]),
            Timeout => word(&["default", "infinity"]) || matches!(value, Value::Int(1..)),
            ModType => word(&["static", "dynamic"]),
            StartType => word(&["permanent", "transient", "temporary", "load", "none"]),
            Objects => tuple(value, &[Module, Any, Modules]),
            Purged => tuple(value, &[Module, Purge, Purge]),
            Suspended => list(value, |item| {
                Module.fits(item) || tuple(item, &[Module, Timeout])
            }),
            Changes => list(value, |item| tuple(item, &[Module, Any])),
            Mode => word(&["up", "down"]),
            Call => tuple(value, &[Module, Module, Any]) && last_is_list(value),
            Any => true,
        }
    }

    fn shown(self) -> &'static str {
        match self {
            Module => "Name",
            Modules => "[Name]",
            Supervisor => "supervisor",
            Change => "soft | {advanced, Extra}",
            Purge => "soft_purge | brutal_purge",
            Timeout => "default | infinity | Milliseconds",
            ModType => "static | dynamic",
            StartType => "permanent | transient | temporary | load | none",
            Objects => "{App, Version, [Name]}",
            Purged => "{Name, Purge, Purge}",
            Suspended => "[Name | {Name, Timeout}]",
            Changes => "[{Name, Extra}]",
            Mode => "up | down",
            Call => "{Module, Function, [Argument]}",
            Any => "Term",
        }
    }
}

fn list(value: &Value<'_>, fits: impl Fn(&Value<'_>) -> bool) -> bool {
    matches!(value, Value::List(items) if items.iter().all(|item| fits(&item.value)))
}

fn tuple(value: &Value<'_>, form: &[Part]) -> bool {
    matches!(value, Value::Tuple(parts) if form_fits(form, parts))
}

fn first_is(value: &Value<'_>, name: &str) -> bool {
    match value {
        Value::Tuple(parts) => {
            let first = parts.first().map(|node| &node.value);
            matches!(first, Some(Value::Atom(found)) if found == name)
        }
        _ => false,
    }
}

fn last_is_list(value: &Value<'_>) -> bool {
    match value {
        Value::Tuple(parts) => {
            let last = parts.last().map(|node| &node.value);
            matches!(last, Some(Value::List(_) | Value::Chars(_)))
        }
        _ => false,
    }
}

/// What a list of instructions is about.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Script {
    /// Modules whose code it loads or takes away.
    modules: HashSet<String>,
    /// Applications that it restarts with all their modules.
    applications: HashSet<String>,
    /// Whether it restarts the VM.
    pub(super) emulator: bool,
}

impl Script {
    /// Of a list in external term format; `None` when that is no list of instructions.
    pub fn of_external(external: &[u8]) -> Option<Self> {
        crate::pool::run(|| match crate::spec::etf::from_bytes(external)? {
            Value::List(items) => Script::of(&items).ok(),
            _ => None,
        })
    }

    pub(super) fn of(items: &[Node<'_>]) -> Result<Self, Fault> {
        let mut script = Script::default();
        for item in items {
            check(item)?;
            script.add(&item.value);
        }
        Ok(script)
    }

    /// Whether nothing of that module of that application is left to chance.
    pub(super) fn covers(&self, app: &str, module: &str) -> bool {
        self.modules.contains(module) || self.applications.contains(app)
    }

    fn add(&mut self, instruction: &Value<'_>) {
        match instruction {
            Value::Atom(word) => self.emulator |= word.starts_with("restart"),
            Value::Tuple(parts) => {
                if let [name, what, ..] = parts.as_slice()
                    && let Some(name) = atom(&name.value)
                {
                    self.about(&name, &what.value);
                }
            }
            _ => {}
        }
    }

    fn about(&mut self, name: &str, what: &Value<'_>) {
        match (name, what) {
            ("update" | "load_module" | "add_module" | "delete_module", module) => {
                self.modules.extend(atom(module));
            }
            ("restart_application", app) => self.applications.extend(atom(app)),
            ("load" | "remove", Value::Tuple(parts)) => {
                let module = parts.first().and_then(|node| atom(&node.value));
                self.modules.extend(module);
            }
            _ => {}
        }
    }
}

fn atom(value: &Value<'_>) -> Option<String> {
    match value {
        Value::Atom(name) => Some(name.to_string()),
        _ => None,
    }
}
