//! Specs: from the bytes of a file to a checked [`AppSpec`], or to all that is wrong with it.
//!
//! ```text
//! erlang ─┐
//! yaml   ─┼─▶ value (a tree with places) ─▶ check, env ─▶ app (AppSpec) ─▶ etf
//! json   ─┘
//! ```

mod app;
mod atoms;
mod check;
mod env;
pub mod erlang;
pub mod etf;
pub mod files;
pub mod grammar;
pub mod json;
pub mod limits;
mod problem;
mod record;
mod value;
pub mod yaml;

pub(crate) use app::RECORD_BYTES;
pub use app::{
    AppSpec, Env, Health, HealthType, Icon, IconType, Isolation, Named, SourceSpec, SourceType,
    Upgrade, VmConfig,
};
pub(crate) use atoms::Admission;
pub use atoms::{Atoms, NoAtoms};
pub use check::Checked;
pub use problem::{Fault, Kind, Problem, Source};
pub use value::{Big, Node, Value};

/// The formats of specs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// Erlang terms, as `file:consult/1` reads them.
    Erlang,
    /// YAML 1.2.
    Yaml,
    /// JSON (RFC 8259).
    Json,
}

impl Format {
    /// The format of a file by its name; a name without a known ending holds Erlang terms.
    pub fn of_file(name: &str) -> Self {
        match name.rsplit_once('.') {
            Some((_, "yaml" | "yml")) => Format::Yaml,
            Some((_, "json")) => Format::Json,
            _ => Format::Erlang,
        }
    }

    /// How a text that was read as something else is written.
    fn quoted(self, text: &str) -> String {
        match self {
            Format::Erlang => format!("write <<\"{text}\">>"),
            Format::Yaml | Format::Json => format!("write it in quotes: \"{text}\""),
        }
    }
}

/// What some editors put in front of UTF-8. It is no part of the text in any format.
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// Reads and checks a spec.
pub fn parse(bytes: &[u8], format: Format, atoms: &dyn Atoms) -> Checked {
    if bytes.len() > limits::FILE_BYTES {
        let expected = format!("at most {} bytes", limits::FILE_BYTES);
        let fault = Fault::new(
            Kind::TooLarge,
            0,
            format!("{} bytes", bytes.len()),
            expected,
        );
        return check::refused(fault, Source::bytes(""));
    }
    let bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
    match format {
        Format::Erlang => parse_erlang(bytes, atoms),
        Format::Yaml => parse_yaml(bytes, atoms),
        Format::Json => parse_json(bytes, atoms),
    }
}

/// Checks a map that did not come from a file (`bc_gitops_parser:parse_app_config/1`).
pub fn parse_term(value: Value<'_>, atoms: &dyn Atoms) -> Checked {
    check::check(
        Node::new(0, value),
        Format::Erlang,
        Source::bytes(""),
        atoms,
    )
}

/// Reads and checks a map in external term format for a VM with so much room for new atoms.
/// `None` when it is nested too deep.
pub fn read_term(external: &[u8], atom_room: usize, atoms: &dyn Atoms) -> Option<Checked> {
    crate::pool::run(|| {
        let value = etf::from_bytes(external)?;
        Some(files::within(parse_term(value, atoms), atom_room))
    })
}

/// Fingerprints of source and environment of an `#app_spec{}` in external term format; the same
/// numbers as those of the spec it was made from. `None` when it is no such record.
pub fn record_fingerprints(external: &[u8]) -> Option<([u8; 32], [u8; 32])> {
    crate::pool::run(|| app::record_fingerprints(&etf::from_bytes(external)?))
}

/// Fuzz entry: the first byte chooses the format of the rest, which is a spec or full of problems.
pub fn fuzz(bytes: &[u8]) {
    let Some((first, rest)) = bytes.split_first() else {
        return;
    };
    let format = [Format::Erlang, Format::Yaml, Format::Json][usize::from(*first) % 3];
    let checked = parse(rest, format, &NoAtoms);
    assert_eq!(checked.spec.is_some(), checked.errors.is_empty());
}

fn parse_erlang(bytes: &[u8], atoms: &dyn Atoms) -> Checked {
    let text = match erlang::decode(bytes) {
        Ok(text) => text,
        Err(fault) => return check::refused(fault, Source::bytes(valid_part(bytes))),
    };
    let source = Source::bytes(&text);
    let root = erlang::read_terms(&text).and_then(|terms| {
        let second = terms.get(1).map(|term| term.at as usize);
        match (second, terms.into_iter().next()) {
            (None, Some(term)) => Ok(term),
            (Some(at), _) => Err(Fault::syntax(
                at,
                "a second term",
                "one map or proplist in the file",
            )),
            (None, None) => Err(Fault::syntax(
                text.len(),
                "no term",
                "one map or proplist in the file",
            )),
        }
    });
    match root {
        Ok(root) => check::check(root, Format::Erlang, source, atoms),
        Err(fault) => check::refused(fault, source),
    }
}

fn parse_yaml(bytes: &[u8], atoms: &dyn Atoms) -> Checked {
    let text = match utf8(bytes) {
        Ok(text) => text,
        Err(fault) => return check::refused(fault, Source::bytes(valid_part(bytes))),
    };
    let source = Source::characters(text);
    match yaml::read(text) {
        Ok(root) => check::check(root, Format::Yaml, source, atoms),
        Err(fault) => check::refused(fault, source),
    }
}

fn parse_json(bytes: &[u8], atoms: &dyn Atoms) -> Checked {
    let text = match utf8(bytes) {
        Ok(text) => text,
        Err(fault) => return check::refused(fault, Source::bytes(valid_part(bytes))),
    };
    let source = Source::bytes(text);
    match json::read(text) {
        Ok(root) => check::check(root, Format::Json, source, atoms),
        Err(fault) => check::refused(fault, source),
    }
}

fn utf8(bytes: &[u8]) -> Result<&str, Fault> {
    std::str::from_utf8(bytes).map_err(|error| {
        let at = error.valid_up_to();
        Fault::new(
            Kind::Encoding,
            at,
            format!("byte 16#{:02X}", bytes[at]),
            "UTF-8",
        )
    })
}

/// What can be shown of a text before its first byte that is no UTF-8.
fn valid_part(bytes: &[u8]) -> &str {
    let end = std::str::from_utf8(bytes).map_or_else(|error| error.valid_up_to(), str::len);
    std::str::from_utf8(&bytes[..end]).unwrap_or_default()
}
