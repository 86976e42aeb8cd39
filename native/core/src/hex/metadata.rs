//! `metadata.config` of a tarball: what a package says about itself.
//!
//! Source: `package_metadata.md` of <https://github.com/hexpm/specifications>: pairs of Erlang terms whose
//! keys are binaries. Older packages list requirements as proplists with a `name` instead of by name,
//! and leave out the build tools, which their files tell.

use super::limits;
use super::names;
use super::package::Dependency;
use crate::spec::{Node, Value, erlang};

/// What a package says about itself, as far as building it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    /// The package.
    pub name: String,
    /// The version.
    pub version: String,
    /// The OTP application.
    pub app: String,
    /// `rebar3`, `mix`, `make` and others.
    pub build_tools: Vec<String>,
    /// The requirement on Elixir.
    pub elixir: Option<String>,
    /// What it needs.
    pub requirements: Vec<Dependency>,
}

/// Reads the file; an error is a reason in words.
pub(super) fn read(bytes: &[u8]) -> Result<Metadata, String> {
    let text = erlang::decode(bytes).map_err(|fault| fault.found)?;
    let terms = erlang::read_terms(&text)
        .map_err(|fault| format!("{} where {} is expected", fault.found, fault.expected))?;
    let entries = terms.iter().filter_map(pair).collect::<Vec<_>>();
    let find = |key| {
        entries
            .iter()
            .find(|(name, _)| name == key)
            .map(|(_, value)| *value)
    };
    let need = |key| {
        find(key)
            .and_then(text_of)
            .ok_or_else(|| format!("it has no {key}"))
    };
    let name = need("name")?;
    let app = find("app")
        .and_then(text_of)
        .unwrap_or_else(|| name.clone());
    if !names::is_name(&name) || !names::is_name(&app) {
        return Err(format!(
            "its name or application is none: {name:?}, {app:?}"
        ));
    }
    let files = || find("files").map(file_names).unwrap_or_default();
    Ok(Metadata {
        version: need("version")?,
        build_tools: match find("build_tools") {
            Some(tools) => texts(tools),
            None => guess(&files()),
        },
        elixir: find("elixir").and_then(text_of),
        requirements: find("requirements").map_or(Ok(Vec::new()), requirements)?,
        name,
        app,
    })
}

/// What a proplist or map has under its keys.
type Fields<'a> = Vec<(String, &'a Value<'a>)>;

/// A tuple of two whose first is text.
fn pair<'a>(node: &'a Node<'_>) -> Option<(String, &'a Value<'a>)> {
    match &node.value {
        Value::Tuple(parts) if parts.len() == 2 => {
            Some((text_of(&parts[0].value)?, &parts[1].value))
        }
        _ => None,
    }
}

fn text_of(value: &Value<'_>) -> Option<String> {
    match value {
        Value::Atom(name) if name != "nil" && name != "undefined" => Some(name.to_string()),
        other => other.text().map(|text| text.into_owned()),
    }
}

fn items<'a>(value: &'a Value<'_>) -> &'a [Node<'a>] {
    match value {
        Value::List(items) => items,
        _ => &[],
    }
}

fn texts(value: &Value<'_>) -> Vec<String> {
    items(value)
        .iter()
        .filter_map(|item| text_of(&item.value))
        .collect()
}

/// Names of files; older packages have pairs of name and content.
fn file_names(value: &Value<'_>) -> Vec<String> {
    let name = |item: &Node<'_>| text_of(&item.value).or_else(|| pair(item).map(|(name, _)| name));
    items(value).iter().filter_map(name).collect()
}

/// The build tools that the files at the top of a package tell.
fn guess(files: &[String]) -> Vec<String> {
    let tools = [
        ("mix", &["mix.exs"][..]),
        (
            "rebar3",
            &["rebar.config", "rebar.config.script", "rebar", "rebar3"],
        ),
        ("make", &["Makefile", "Makefile.win"]),
    ];
    let has = |names: &[&str]| {
        names
            .iter()
            .any(|name| files.iter().any(|file| file == name))
    };
    let found = tools.into_iter().filter(|(_, names)| has(names));
    found.map(|(tool, _)| tool.to_owned()).collect()
}

/// `[{Name, Proplist}]`, `[Proplist]` with a `name` in each, or either with maps for proplists.
fn requirements(value: &Value<'_>) -> Result<Vec<Dependency>, String> {
    let entries: Vec<(Option<String>, Fields<'_>)> = match value {
        Value::Map(pairs) => pairs
            .iter()
            .map(|(key, value)| (text_of(&key.value), fields(&value.value)))
            .collect(),
        list => items(list)
            .iter()
            .map(|item| match pair(item) {
                Some((name, value)) => (Some(name), fields(value)),
                None => (None, fields(&item.value)),
            })
            .collect(),
    };
    if entries.len() > limits::DEPENDENCIES {
        return Err("it has too many requirements".to_owned());
    }
    entries
        .into_iter()
        .map(|(name, fields)| dependency(name, &fields))
        .collect()
}

fn fields<'a>(value: &'a Value<'_>) -> Fields<'a> {
    match value {
        Value::Map(pairs) => pairs
            .iter()
            .filter_map(|(key, value)| Some((text_of(&key.value)?, &value.value)))
            .collect(),
        list => items(list).iter().filter_map(pair).collect(),
    }
}

fn dependency(name: Option<String>, fields: &[(String, &Value<'_>)]) -> Result<Dependency, String> {
    let find = |key| {
        fields
            .iter()
            .find(|(name, _)| name == key)
            .map(|(_, value)| *value)
    };
    let name = name
        .or_else(|| find("name").and_then(text_of))
        .unwrap_or_default();
    let app = find("app")
        .and_then(text_of)
        .unwrap_or_else(|| name.clone());
    if !names::is_name(&name) || !names::is_name(&app) {
        return Err(format!(
            "its requirement on {name:?} names no package and application"
        ));
    }
    let requirement = find("requirement").and_then(text_of);
    Ok(Dependency {
        requirement: requirement.unwrap_or_else(|| ">= 0.0.0".to_owned()),
        optional: find("optional").is_some_and(|value| *value == Value::atom("true")),
        repository: find("repository").and_then(text_of),
        name,
        app,
    })
}

/// Fuzz entry: any bytes are metadata or not.
pub(super) fn fuzz(bytes: &[u8]) {
    let _ = read(bytes);
}
