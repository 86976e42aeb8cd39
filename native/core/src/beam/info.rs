//! What a module's chunks say of it.

use std::borrow::Cow;
use std::path::Path;

use super::chunks::chunks;
use super::code::{Code, EXPORTS, IMPORTS};
use super::{BeamError, BeamErrorKind, file};
use crate::spec::Value;
use crate::spec::etf;

/// What is known of a module without loading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Info {
    /// The module's name.
    pub module: String,
    /// MD5 of its code.
    pub md5: [u8; 16],
    /// The behaviours that it names, sorted.
    pub behaviours: Vec<String>,
    /// Exported functions, sorted.
    pub exports: Vec<(String, u32)>,
    /// Modules that it calls from outside of it, sorted.
    pub imports: Vec<String>,
    /// Whether it loads a native library.
    pub nif: bool,
    /// Whether its attributes were taken out.
    pub stripped: bool,
    /// The value of its attribute `vsn` in external term format.
    pub vsn: Option<Vec<u8>>,
}

/// What the file at `path` says of its module.
pub fn info(path: &Path) -> Result<Info, BeamError> {
    let mut bytes = Vec::new();
    let read = file::read(path, &mut bytes).and_then(|()| info_of(&bytes));
    read.map_err(|kind| BeamError {
        path: path.to_path_buf(),
        kind,
    })
}

/// The same for a whole file, compressed or not.
pub fn info_of(bytes: &[u8]) -> Result<Info, BeamErrorKind> {
    let bytes = file::unpacked(bytes)?;
    let code = Code::of(&bytes)?;
    let atoms = code.atoms().and_then(|table| table.all());
    let atoms = atoms.ok_or_else(|| malformed("AtU8", 0, "as many atoms as its count says"))?;
    let attributes = attributes(&bytes)?;
    let stripped = attributes.is_none();
    let attributes = attributes.unwrap_or_default();
    let imports = triples("ImpT", code.chunk(IMPORTS))?;
    let (imports, nif) = imported(&imports, &atoms)?;
    Ok(Info {
        md5: code.md5(),
        behaviours: attributes.behaviours,
        exports: exported(&triples("ExpT", code.chunk(EXPORTS))?, &atoms)?,
        imports,
        nif,
        stripped,
        vsn: attributes.vsn,
        module: code.name,
    })
}

fn malformed(chunk: &'static str, at: usize, expected: &'static str) -> BeamErrorKind {
    BeamErrorKind::MalformedChunk {
        chunk,
        at,
        expected,
    }
}

/// A table: a count, then three words each.
fn triples(chunk: &'static str, data: &[u8]) -> Result<Vec<[u32; 3]>, BeamErrorKind> {
    let short = || malformed(chunk, data.len(), "as many entries as its count says");
    let (count, entries) = data.split_first_chunk::<4>().ok_or_else(short)?;
    let count = u32::from_be_bytes(*count) as usize;
    let entries = entries.as_chunks::<4>().0.as_chunks::<3>().0;
    let entries = entries.get(..count).ok_or_else(short)?;
    Ok(entries
        .iter()
        .map(|words| words.map(u32::from_be_bytes))
        .collect())
}

/// Atoms are counted from 1.
fn atom<'a>(
    chunk: &'static str,
    atoms: &'a [Cow<'_, str>],
    index: u32,
) -> Result<&'a str, BeamErrorKind> {
    let place = (index as usize).checked_sub(1);
    let found = place.and_then(|place| atoms.get(place));
    found
        .map(|name| name.as_ref())
        .ok_or_else(|| malformed(chunk, 4, "numbers of atoms in the file's table"))
}

fn exported(
    entries: &[[u32; 3]],
    atoms: &[Cow<'_, str>],
) -> Result<Vec<(String, u32)>, BeamErrorKind> {
    let mut exports = Vec::with_capacity(entries.len());
    for [name, arity, _label] in entries {
        exports.push((atom("ExpT", atoms, *name)?.to_owned(), *arity));
    }
    exports.sort_unstable();
    Ok(exports)
}

fn imported(
    entries: &[[u32; 3]],
    atoms: &[Cow<'_, str>],
) -> Result<(Vec<String>, bool), BeamErrorKind> {
    let mut modules = Vec::new();
    let mut nif = false;
    for [module, name, arity] in entries {
        let module = atom("ImpT", atoms, *module)?;
        let name = atom("ImpT", atoms, *name)?;
        nif |= (module, name, *arity) == ("erlang", "load_nif", 2);
        modules.push(module);
    }
    modules.sort_unstable();
    modules.dedup();
    Ok((modules.into_iter().map(str::to_owned).collect(), nif))
}

/// What of the attributes is asked for.
#[derive(Default)]
struct Attributes {
    behaviours: Vec<String>,
    vsn: Option<Vec<u8>>,
}

/// Those of the chunk `Attr`; `None` when the file has none.
fn attributes(bytes: &[u8]) -> Result<Option<Attributes>, BeamErrorKind> {
    for chunk in chunks(bytes)? {
        let (id, data) = chunk?;
        if &id == b"Attr" {
            let expected = "a list of pairs in external term format";
            // Terms nest deeper than the stacks of the VM's threads hold.
            return crate::pool::run(|| pairs(data))
                .map(Some)
                .ok_or_else(|| malformed("Attr", 0, expected));
        }
    }
    Ok(None)
}

fn pairs(external: &[u8]) -> Option<Attributes> {
    let Value::List(items) = etf::from_bytes(external)? else {
        return None;
    };
    let mut found = Attributes::default();
    for item in &items {
        let Value::Tuple(fields) = &item.value else {
            return None;
        };
        let [key, value] = fields.as_slice() else {
            return None;
        };
        match &key.value {
            Value::Atom(key) => found.add(key, &value.value),
            _ => return None,
        }
    }
    found.behaviours.sort_unstable();
    found.behaviours.dedup();
    Some(found)
}

impl Attributes {
    fn add(&mut self, key: &str, value: &Value<'_>) {
        match (key, value) {
            ("behaviour" | "behavior", Value::List(items)) => {
                self.behaviours
                    .extend(items.iter().filter_map(|item| match &item.value {
                        Value::Atom(name) => Some(name.to_string()),
                        _ => None,
                    }));
            }
            ("vsn", value) => self.vsn = Some(etf::to_bytes(value)),
            _ => {}
        }
    }
}
