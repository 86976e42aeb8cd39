//! Reads files of Erlang terms and prints what it read, for comparison with `file:consult/1`.
//!
//! A port program: each request is the path of a file, each answer `{ok, Terms}` or
//! `{error, {Line, Column, Kind, Found}}` in external term format, both behind 4 bytes of length.

use std::borrow::Cow;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use bc_gitops_core::spec::{Fault, Node, Source, Value, erlang, etf};

fn main() -> io::Result<()> {
    let (mut input, mut output) = (io::stdin().lock(), io::stdout().lock());
    let mut length = [0; 4];
    while input.read_exact(&mut length).is_ok() {
        let mut path = vec![0; u32::from_be_bytes(length) as usize];
        input.read_exact(&mut path)?;
        let bytes = std::fs::read(Path::new(std::ffi::OsStr::from_bytes(&path)))?;
        let answer = answer(&bytes);
        output.write_all(&(answer.len() as u32).to_be_bytes())?;
        output.write_all(&answer)?;
        output.flush()?;
    }
    Ok(())
}

fn answer(bytes: &[u8]) -> Vec<u8> {
    let text = match erlang::decode(bytes) {
        Ok(text) => text,
        Err(fault) => return refused(&fault, Source::bytes("")),
    };
    match erlang::read_terms(&text) {
        Ok(terms) => etf::to_bytes(&pair("ok", Value::List(terms))),
        Err(fault) => refused(&fault, Source::bytes(&text)),
    }
}

fn refused(fault: &Fault, source: Source<'_>) -> Vec<u8> {
    let (line, column) = source.place(fault.at);
    let found = Value::Binary(Cow::Borrowed(fault.found.as_bytes()));
    let parts = [
        Value::Int(line.into()),
        Value::Int(column.into()),
        Value::atom(fault.kind.name()),
        found,
    ];
    let parts = parts.into_iter().map(|value| Node::new(0, value)).collect();
    etf::to_bytes(&pair("error", Value::Tuple(parts)))
}

fn pair<'a>(tag: &'a str, value: Value<'a>) -> Value<'a> {
    Value::Tuple(vec![Node::new(0, Value::atom(tag)), Node::new(0, value)])
}
