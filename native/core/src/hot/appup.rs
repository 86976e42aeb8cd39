//! A handwritten appup: read whole and checked before anything of it is done (OTP: appup(4)).

use std::borrow::Cow;
use std::path::Path;

use super::HotError;
use super::app_file::{fault, only_term, read_terms_file};
use super::instruction::check;
use crate::pool;
use crate::spec::{Admission, Atoms, Fault, Node, Value, erlang, etf};

const SHAPE: &str = "{Version, [{UpFrom, [Instruction]}], [{DownTo, [Instruction]}]}";
const ENTRY: &str = "{Version, [Instruction]} with a string, or a regular expression in a binary";

/// An appup as Erlang gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appup {
    /// `#{version, up, down}` in external term format.
    pub external: Vec<u8>,
    /// Atoms that the VM does not have yet.
    pub new_atoms: Vec<String>,
}

/// The appup at `path`, which may add so many atoms to the VM.
pub fn appup(path: &Path, atom_room: usize, atoms: &dyn Atoms) -> Result<Appup, HotError> {
    let bytes = read_terms_file(path)?;
    pool::run(|| parse(path, &bytes, atom_room, atoms))
}

pub(super) fn parse(
    path: &Path,
    bytes: &[u8],
    room: usize,
    atoms: &dyn Atoms,
) -> Result<Appup, HotError> {
    let text = erlang::decode(bytes).map_err(|fault| HotError::term(path, "", fault))?;
    let value = read(&text).map_err(|fault| HotError::term(path, &text, fault))?;
    let mut admission = Admission::new(atoms);
    let admitted = admit(&value, &mut admission);
    let new_atoms = admission.into_new();
    if !admitted || new_atoms.len() > room {
        return Err(HotError::TooManyAtoms(path.to_path_buf()));
    }
    Ok(Appup {
        external: etf::to_bytes(&value),
        new_atoms,
    })
}

fn read(text: &str) -> Result<Value<'_>, Fault> {
    let root = only_term(text)?;
    let Value::Tuple(parts) = root.value else {
        return Err(fault(root.at as usize, root.value.kind(), SHAPE));
    };
    let Ok([version, up, down]) = <[Node<'_>; 3]>::try_from(parts) else {
        return Err(fault(root.at as usize, "another tuple", SHAPE));
    };
    let key = |name| Node::new(0, Value::atom(name));
    Ok(Value::Map(vec![
        (key("version"), string(version)?),
        (key("up"), entries(up)?),
        (key("down"), entries(down)?),
    ]))
}

/// A string becomes a binary.
fn string(node: Node<'_>) -> Result<Node<'_>, Fault> {
    let at = node.at as usize;
    match &node.value {
        Value::Chars(_) | Value::List(_) => match node.value.text() {
            Some(text) => Ok(binary(at, text.as_bytes().to_vec())),
            None => Err(fault(at, "list", "a version in a string")),
        },
        other => Err(fault(at, other.kind(), "a version in a string")),
    }
}

fn binary<'a>(at: usize, bytes: Vec<u8>) -> Node<'a> {
    Node::new(at, Value::Binary(Cow::Owned(bytes)))
}

fn entries(node: Node<'_>) -> Result<Node<'_>, Fault> {
    let at = node.at as usize;
    let Value::List(items) = node.value else {
        return Err(fault(
            at,
            node.value.kind(),
            "a list of {Version, [Instruction]}",
        ));
    };
    let entries: Result<Vec<Node<'_>>, Fault> = items.into_iter().map(entry).collect();
    Ok(Node::new(at, Value::List(entries?)))
}

fn entry(node: Node<'_>) -> Result<Node<'_>, Fault> {
    let at = node.at as usize;
    let Value::Tuple(parts) = node.value else {
        return Err(fault(at, node.value.kind(), ENTRY));
    };
    let Ok([from, script]) = <[Node<'_>; 2]>::try_from(parts) else {
        return Err(fault(at, "another tuple", ENTRY));
    };
    let Value::List(instructions) = &script.value else {
        return Err(fault(
            script.at as usize,
            script.value.kind(),
            "a list of instructions",
        ));
    };
    instructions.iter().try_for_each(check)?;
    let from = match from.value {
        Value::Binary(_) => {
            let tag = Node::new(at, Value::atom("regex"));
            Node::new(at, Value::Tuple(vec![tag, from]))
        }
        _ => string(from)?,
    };
    Ok(Node::new(at, Value::Tuple(vec![from, script])))
}

/// Counts the atoms of a term; false when there are too many.
fn admit(value: &Value<'_>, admission: &mut Admission<'_>) -> bool {
    let mut all = |nodes: &[Node<'_>]| nodes.iter().all(|node| admit(&node.value, admission));
    match value {
        Value::List(items) | Value::Tuple(items) => all(items),
        Value::Improper(items, tail) => all(items) && admit(&tail.value, admission),
        Value::Map(pairs) => pairs
            .iter()
            .all(|(key, value)| admit(&key.value, admission) && admit(&value.value, admission)),
        Value::Atom(name) => admission.admit(name),
        _ => true,
    }
}
