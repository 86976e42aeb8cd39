//! `metadata.config` of a tarball: what a package says about itself.
//!
//! Source: `package_metadata.md` of <https://github.com/hexpm/specifications>: pairs of Erlang
//! terms whose keys are binaries. Older packages list requirements as proplists with a `name`
//! instead of by name, and leave out the build tools, which their files tell.

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
    // Old packages have Latin-1 in their descriptions without saying so.
    let latin1 = || bytes.iter().map(|&byte| char::from(byte)).collect();
    let text = erlang::decode(bytes).unwrap_or_else(|_| latin1());
    let terms = erlang::read_terms(&text)
        .map_err(|fault| format!("{} where {} is expected", fault.found, fault.expected))?;
    let entries = Entries(terms.iter().filter_map(pair).collect());
    let name = entries.text("name").ok_or("it has no name")?;
    let app = entries.text("app").unwrap_or_else(|| name.clone());
    check(&name, &app)?;
    Ok(Metadata {
        version: entries.text("version").ok_or("it has no version")?,
        build_tools: match entries.value("build_tools") {
            Some(tools) => texts(tools),
            None => guess(&entries.value("files").map(file_names).unwrap_or_default()),
        },
        elixir: entries.text("elixir"),
        requirements: entries
            .value("requirements")
            .map_or(Ok(Vec::new()), requirements)?,
        name,
        app,
    })
}

fn check(name: &str, app: &str) -> Result<(), String> {
    if names::is_name(name) && names::is_name(app) {
        return Ok(());
    }
    let (name, app) = (names::shown(name), names::shown(app));
    Err(format!(
        "{name:?} with application {app:?} names no package"
    ))
}

/// What a file, a proplist or a map has under its keys.
struct Entries<'a>(Vec<(String, &'a Value<'a>)>);

impl<'a> Entries<'a> {
    fn of(value: &'a Value<'_>) -> Self {
        Self(match value {
            Value::Map(pairs) => pairs
                .iter()
                .filter_map(|(key, value)| Some((text_of(&key.value)?, &value.value)))
                .collect(),
            list => items(list).iter().filter_map(pair).collect(),
        })
    }

    fn value(&self, key: &str) -> Option<&'a Value<'a>> {
        self.0
            .iter()
            .find(|(name, _)| name == key)
            .map(|(_, value)| *value)
    }

    fn text(&self, key: &str) -> Option<String> {
        self.value(key).and_then(text_of)
    }
}

/// A tuple of two whose first is text.
fn pair<'a>(node: &'a Node<'_>) -> Option<(String, &'a Value<'a>)> {
    match &node.value {
        Value::Tuple(parts) if parts.len() == 2 => {
            Some((text_of(&parts[0].value)?, &parts[1].value))
        }
        _ => None,
    }
}

/// Short texts: nothing that is needed here is long.
fn text_of(value: &Value<'_>) -> Option<String> {
    let text = match value {
        Value::Atom(name) if name != "nil" && name != "undefined" => name.clone(),
        other => other.text()?,
    };
    (text.len() <= limits::TEXT).then(|| text.into_owned())
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
    let named = match value {
        Value::Map(_) => Entries::of(value).0,
        list => items(list).iter().filter_map(pair).collect(),
    };
    let bare = items(value).iter().filter(|item| pair(item).is_none());
    let bare = bare.map(|item| (String::new(), &item.value));
    named
        .into_iter()
        .chain(bare)
        .take(limits::DEPENDENCIES)
        .map(|(name, fields)| dependency(name, &Entries::of(fields)))
        .collect()
}

fn dependency(name: String, fields: &Entries<'_>) -> Result<Dependency, String> {
    let name = match name.as_str() {
        "" => fields.text("name").unwrap_or_default(),
        _ => name,
    };
    let app = fields.text("app").unwrap_or_else(|| name.clone());
    check(&name, &app)?;
    let any = || ">= 0.0.0".to_owned();
    Ok(Dependency {
        requirement: fields.text("requirement").unwrap_or_else(any),
        optional: fields.value("optional") == Some(&Value::atom("true")),
        repository: fields.text("repository"),
        name,
        app,
    })
}

/// Fuzz entry: any bytes are metadata or not.
pub(super) fn fuzz(bytes: &[u8]) {
    let _ = read(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "{<<\"name\">>,<<\"a\">>}.\n{<<\"version\">>,<<\"1.0.0\">>}.\n";

    fn with(text: &str) -> Metadata {
        read(format!("{HEAD}{text}").as_bytes()).unwrap()
    }

    #[test]
    fn requirements_are_read_in_all_their_shapes() {
        let fields = "[{<<\"app\">>,<<\"bb\">>},{<<\"optional\">>,true},\
                      {<<\"requirement\">>,<<\"~> 1.0\">>},{<<\"repository\">>,<<\"r\">>}]";
        let listed = fields.replacen('[', "[{<<\"name\">>,<<\"b\">>},", 1);
        let mapped = "#{<<\"b\">> => #{<<\"app\">> => <<\"bb\">>, <<\"optional\">> => true, \
                      <<\"requirement\">> => <<\"~> 1.0\">>, <<\"repository\">> => <<\"r\">>}}";
        let expected = [Dependency {
            name: "b".into(),
            app: "bb".into(),
            requirement: "~> 1.0".into(),
            optional: true,
            repository: Some("r".into()),
        }];
        for shape in [
            format!("[{{<<\"b\">>,{fields}}}]"),
            format!("[{listed}]"),
            mapped.into(),
        ] {
            let metadata = with(&format!("{{<<\"requirements\">>,{shape}}}."));
            assert_eq!(metadata.requirements, expected, "{shape}");
        }
    }

    #[test]
    fn files_tell_the_build_tools_that_are_not_named() {
        let metadata = with("{<<\"files\">>,[<<\"mix.exs\">>,{<<\"Makefile\">>,<<\"all:\">>}]}.");
        assert_eq!(metadata.build_tools, ["mix", "make"]);
        let named =
            with("{<<\"files\">>,[<<\"mix.exs\">>]}.\n{<<\"build_tools\">>,[<<\"rebar3\">>]}.");
        assert_eq!(named.build_tools, ["rebar3"]);
    }

    #[test]
    fn text_of_all_languages_is_read() {
        let metadata =
            with("{<<\"description\">>,<<\"größer – 大\"/utf8>>}.\n{<<\"app\">>,<<\"b\">>}.");
        assert_eq!((metadata.app.as_str(), metadata.elixir), ("b", None));
        let latin1 = [
            HEAD.as_bytes(),
            b"{<<\"description\">>,<<\"gr\xf6sser\">>}.",
        ]
        .concat();
        assert!(read(&latin1).is_ok());
    }

    proptest::proptest! {
        #[test]
        fn any_terms_are_metadata_or_not(
            text in "([{}\\[\\],.<>\"a-z#= ]|<<\"(name|app|requirements)\">>){0,60}"
        ) {
            let _ = read(format!("{HEAD}{text}").as_bytes());
        }
    }
}
