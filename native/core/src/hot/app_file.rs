//! What an application's resource file (`.app`) says (OTP: app(4)).

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::HotError;
use super::error::MAX_TERM_FILE;
use crate::spec::{Fault, Node, Value, erlang, etf};

/// Keys whose value is a set, or a property list: its order means nothing.
const SETS: &[&str] = &[
    "modules",
    "registered",
    "applications",
    "included_applications",
    "optional_applications",
    "env",
];

/// A resource file.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct AppFile {
    pub name: String,
    pub version: Option<String>,
    /// The module of `mod`.
    pub callback: Option<String>,
    /// Applications that must run before it.
    pub needs: Vec<String>,
    /// The value of each key in canonical external format.
    pub keys: BTreeMap<String, Vec<u8>>,
}

/// That of the build at `dir`; `None` when it has none.
pub(super) fn read(dir: &Path) -> Result<Option<AppFile>, HotError> {
    let Some(path) = find(dir, "app")? else {
        return Ok(None);
    };
    let bytes = read_terms_file(&path)?;
    parse_bytes(&path, &bytes).map(Some)
}

/// The file `ebin/APP.SUFFIX` of a build, where the directory's name is APP or APP-VSN.
pub(super) fn find(dir: &Path, suffix: &str) -> Result<Option<PathBuf>, HotError> {
    let name = dir.file_name().unwrap_or_default().to_string_lossy();
    let short = name
        .split_once('-')
        .map_or(name.as_ref(), |(short, _)| short);
    for name in [name.as_ref(), short] {
        let path = dir.join("ebin").join(format!("{name}.{suffix}"));
        if path.try_exists().map_err(HotError::io(&path))? {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// The bytes of a file of terms.
pub(super) fn read_terms_file(path: &Path) -> Result<Vec<u8>, HotError> {
    let metadata = std::fs::metadata(path).map_err(HotError::io(path))?;
    if !metadata.is_file() {
        let error = io::Error::other("not a regular file");
        return Err(HotError::io(path)(error));
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(HotError::io(path))?;
    let read = file.take(MAX_TERM_FILE + 1).read_to_end(&mut bytes);
    read.map_err(HotError::io(path))?;
    if bytes.len() as u64 > MAX_TERM_FILE {
        return Err(HotError::TooLarge(path.to_path_buf()));
    }
    Ok(bytes)
}

/// The only term of a file, or where and why there is none.
pub(super) fn only_term(text: &str) -> Result<Node<'_>, Fault> {
    let mut terms = erlang::read_terms(text)?;
    if terms.len() > 1 {
        let at = terms[1].at as usize;
        return Err(fault(at, "a second term", "one term in the file"));
    }
    terms
        .pop()
        .ok_or_else(|| fault(text.len(), "no term", "one term in the file"))
}

/// A place, what stands there and what should.
pub(super) fn fault(at: usize, found: &str, expected: &'static str) -> Fault {
    Fault {
        kind: crate::spec::Kind::InvalidValue,
        at,
        found: found.to_owned(),
        expected: expected.into(),
    }
}

fn parse_bytes(path: &Path, bytes: &[u8]) -> Result<AppFile, HotError> {
    let text = erlang::decode(bytes).map_err(|fault| HotError::term(path, "", fault))?;
    parse(&text).map_err(|fault| HotError::term(path, &text, fault))
}

fn parse(text: &str) -> Result<AppFile, Fault> {
    const EXPECTED: &str = "{application, Name, [{Key, Value}]}";
    let root = only_term(text)?;
    let odd = |node: &Node<'_>| fault(node.at as usize, node.value.kind(), EXPECTED);
    let Value::Tuple(parts) = &root.value else {
        return Err(odd(&root));
    };
    let [tag, name, keys] = parts.as_slice() else {
        return Err(odd(&root));
    };
    match (&tag.value, &name.value, &keys.value) {
        (Value::Atom(tag), Value::Atom(name), Value::List(items)) if tag == "application" => {
            let mut file = AppFile {
                name: name.to_string(),
                ..AppFile::default()
            };
            for item in items {
                file.add(item).ok_or_else(|| odd(item))?;
            }
            Ok(file)
        }
        _ => Err(odd(&root)),
    }
}

impl AppFile {
    /// The first of equal keys counts, as in OTP.
    fn add(&mut self, item: &Node<'_>) -> Option<()> {
        let Value::Tuple(pair) = &item.value else {
            return None;
        };
        let [key, Node { value, .. }] = pair.as_slice() else {
            return None;
        };
        let Value::Atom(key) = &key.value else {
            return None;
        };
        if self.keys.contains_key(key.as_ref()) {
            return Some(());
        }
        match key.as_ref() {
            "vsn" => self.version = value.text().map(|text| text.into_owned()),
            "applications" => self.needs = atoms(value),
            "mod" => self.callback = callback(value),
            _ => {}
        }
        self.keys.insert(key.to_string(), canonical(key, value));
        Some(())
    }
}

fn atoms(value: &Value<'_>) -> Vec<String> {
    let Value::List(items) = value else {
        return Vec::new();
    };
    let names = items.iter().filter_map(|item| match &item.value {
        Value::Atom(name) => Some(name.to_string()),
        _ => None,
    });
    names.collect()
}

fn callback(value: &Value<'_>) -> Option<String> {
    match value {
        Value::Tuple(parts) => match parts.first() {
            Some(Node {
                value: Value::Atom(name),
                ..
            }) => Some(name.to_string()),
            _ => None,
        },
        _ => None,
    }
}

fn canonical(key: &str, value: &Value<'_>) -> Vec<u8> {
    match value {
        Value::List(items) if SETS.contains(&key) => {
            let mut items: Vec<Vec<u8>> = items
                .iter()
                .map(|item| etf::to_bytes(&item.value))
                .collect();
            items.sort_unstable();
            items.concat()
        }
        value => etf::to_bytes(value),
    }
}

/// Fuzz entry: any bytes are an application's resource file or not.
pub(super) fn fuzz(bytes: &[u8]) {
    let path = Path::new("a.app");
    if let Ok(file) = parse_bytes(path, bytes) {
        assert_eq!(parse_bytes(path, bytes).ok(), Some(file));
    }
}
