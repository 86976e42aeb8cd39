//! Files of modules, made up for tests.

use crate::spec::{Node, Value, etf};

/// A chunk as it stands in a file.
pub(crate) fn chunk(id: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let mut bytes = id.to_vec();
    bytes.extend((data.len() as u32).to_be_bytes());
    bytes.extend(data);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// A file of these chunks.
pub(crate) fn file(chunks: &[Vec<u8>]) -> Vec<u8> {
    let body = chunks.concat();
    let mut bytes = b"FOR1".to_vec();
    bytes.extend((body.len() as u32 + 4).to_be_bytes());
    bytes.extend(b"BEAM");
    bytes.extend(body);
    bytes
}

/// A module with some code, the behaviours, exports and imports given.
pub(crate) fn module(
    name: &str,
    code: &str,
    behaviours: &[&str],
    exports: &[(&str, u32)],
    imports: &[(&str, &str, u32)],
) -> Vec<u8> {
    let mut atoms = vec![name.to_owned()];
    let mut number = |name: &str| {
        let known = atoms.iter().position(|atom| atom == name);
        let place = known.unwrap_or_else(|| {
            atoms.push(name.to_owned());
            atoms.len() - 1
        });
        place as u32 + 1
    };
    let exports: Vec<[u32; 3]> = exports
        .iter()
        .map(|(f, arity)| [number(f), *arity, 7])
        .collect();
    let imports: Vec<[u32; 3]> = imports
        .iter()
        .map(|(m, f, arity)| [number(m), number(f), *arity])
        .collect();
    file(&[
        chunk(b"AtU8", &atom_table(&atoms)),
        chunk(b"Code", code.as_bytes()),
        chunk(b"StrT", b""),
        chunk(b"ImpT", &table(&imports)),
        chunk(b"ExpT", &table(&exports)),
        chunk(b"Attr", &attributes(behaviours)),
    ])
}

fn atom_table(atoms: &[String]) -> Vec<u8> {
    let mut bytes = (atoms.len() as u32).to_be_bytes().to_vec();
    for atom in atoms {
        bytes.push(atom.len() as u8);
        bytes.extend(atom.as_bytes());
    }
    bytes
}

fn table(entries: &[[u32; 3]]) -> Vec<u8> {
    let mut bytes = (entries.len() as u32).to_be_bytes().to_vec();
    bytes.extend(entries.iter().flatten().flat_map(|word| word.to_be_bytes()));
    bytes
}

fn attributes(behaviours: &[&str]) -> Vec<u8> {
    let pair = |key, value| {
        let parts = [Value::atom(key), value].map(|value| Node::new(0, value));
        Node::new(0, Value::Tuple(parts.to_vec()))
    };
    let named = behaviours.iter().map(|name| {
        let list = vec![Node::new(0, Value::atom(name))];
        pair("behaviour", Value::List(list))
    });
    let vsn = pair("vsn", Value::Chars("1.0".into()));
    etf::to_bytes(&Value::List(named.chain([vsn]).collect()))
}
