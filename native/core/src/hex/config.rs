//! `rebar.config` of a package: the plugins that it names, and which of them its build calls.
//!
//! It is read as the terms of a stranger, never run. As rebar3 has it for a dependency: `plugins`,
//! not `project_plugins`, of the package itself, of its profiles `default` and `prod`, and of its
//! overrides for others.
//!
//! Most plugins that packages name are of use to their authors alone (publishing, documentation,
//! linting), and each costs every build the time to compile it and all that it needs. So a plugin
//! counts where a hook of the build names it, and all of a package's where that cannot be told: a
//! hook has another name, a script makes hooks, or there are none but sources that rebar3 itself
//! cannot compile.

use std::io::{self, Read};
use std::path::Path;

use flate2::read::GzDecoder;

use super::{limits, names, script};
use crate::spec::{Node, Value, erlang};

/// What a build of a dependency runs hooks of.
const HOOKED: [&str; 3] = ["compile", "erlc_compile", "app_compile"];

/// The kinds of files in `src` that rebar3 compiles, or that it reads.
const KNOWN: [&str; 7] = ["erl", "hrl", "yrl", "xrl", "mib", "src", "script"];

/// A plugin as a package names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plugin {
    /// Its OTP application.
    pub app: String,
    /// Where it is from.
    pub source: Source,
    /// Whether the package's build calls it.
    pub called: Called,
}

/// Whether something is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Called {
    /// It is not.
    No,
    /// Something is that it may be.
    Perhaps,
    /// It is, by its name.
    Yes,
}

/// Where a plugin is from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A registry of Hex.
    Hex {
        /// The package.
        package: String,
        /// Which versions.
        requirement: String,
    },
    /// A git repository, or whatever else rebar3 knows.
    Elsewhere,
}

/// The files of a package that say something of plugins.
#[derive(Default)]
struct Files {
    config: String,
    /// Whether a script makes hooks that cannot be told.
    has_hooks: bool,
    /// Whether there are sources in another language: a plugin may be its compiler without a hook.
    is_foreign: bool,
}

/// The plugins that a package names, from its compressed files. Whatever cannot be read names none:
/// unpacking says what is wrong with the files, and rebar3 with the terms.
pub(super) fn plugins(contents: impl Read) -> Vec<Plugin> {
    let files = files(contents).unwrap_or_default();
    let terms = erlang::read_terms(&files.config).unwrap_or_default();
    named(&terms, &files)
}

fn files(contents: impl Read) -> io::Result<Files> {
    let (mut files, mut added) = (Files::default(), String::new());
    let unpacked = GzDecoder::new(contents).take(limits::UNPACKED_BYTES);
    for entry in tar::Archive::new(unpacked).entries()? {
        let entry = entry?;
        let path = entry.path()?.into_owned();
        let path = path.strip_prefix(".").unwrap_or(&path);
        if !entry.header().entry_type().is_file() {
            continue;
        }
        if path == Path::new("rebar.config") {
            files.config = text(entry)?;
        } else if path == Path::new("rebar.config.script") {
            (added, files.has_hooks) = script::terms(&text(entry)?);
        } else {
            files.is_foreign |= is_foreign(path);
        }
    }
    files.config.push('\n');
    files.config.push_str(&added);
    Ok(files)
}

fn text(entry: impl Read) -> io::Result<String> {
    let mut bytes = Vec::new();
    entry.take(limits::METADATA_BYTES).read_to_end(&mut bytes)?;
    Ok(erlang::decode(&bytes).unwrap_or_default().into_owned())
}

fn is_foreign(path: &Path) -> bool {
    let kind = path.extension().and_then(|kind| kind.to_str());
    path.starts_with("src") && kind.is_some_and(|kind| !KNOWN.contains(&kind))
}

fn named(terms: &[Node<'_>], files: &Files) -> Vec<Plugin> {
    let sections = sections(terms);
    let all = |key| sections.iter().flat_map(move |terms| lists(terms, key));
    let mut plugins: Vec<Plugin> = all("plugins").flatten().filter_map(plugin).collect();
    plugins.truncate(limits::DEPENDENCIES);
    let calls: Vec<Option<&str>> = all("provider_hooks").flat_map(calls).collect();
    let is_plugin = |name: &str| plugins.iter().any(|plugin| plugin.app == name);
    let any = files.has_hooks
        || calls.iter().any(|call| !call.is_some_and(is_plugin))
        || (files.is_foreign && calls.is_empty());
    for plugin in &mut plugins {
        plugin.called = match any {
            _ if calls.contains(&Some(&plugin.app)) => Called::Yes,
            true => Called::Perhaps,
            false => Called::No,
        };
    }
    plugins
}

/// All parts of a configuration that rebar3 may use in a build of other projects.
fn sections<'a>(terms: &'a [Node<'a>]) -> Vec<&'a [Node<'a>]> {
    let profiles = lists(terms, "profiles").flatten();
    let profiles = profiles.filter_map(|node| match tuple(node) {
        [name, options] if matches!(atom(name), Some("default" | "prod")) => Some(items(options)),
        _ => None,
    });
    let overrides = lists(terms, "overrides").flatten();
    let overrides = overrides.filter_map(|node| match tuple(node) {
        [kind, .., options] if atom(kind) != Some("del") => Some(items(options)),
        _ => None,
    });
    std::iter::once(terms)
        .chain(profiles)
        .chain(overrides)
        .collect()
}

/// The values under a key, as lists.
fn lists<'a>(terms: &'a [Node<'a>], key: &str) -> impl Iterator<Item = &'a [Node<'a>]> {
    terms.iter().filter_map(move |node| match tuple(node) {
        [name, value] if atom(name) == Some(key) => Some(items(value)),
        _ => None,
    })
}

/// `pc`, `{pc, "1.0.0"}`, `{pc, {pkg, port_compiler}}`, `{pc, "1.0.0", {pkg, port_compiler}}`; any
/// other tuple is from elsewhere.
fn plugin(node: &Node<'_>) -> Option<Plugin> {
    let any = || ">= 0.0.0".to_owned();
    let (app, source) = match tuple(node) {
        [] => (atom(node)?, hex(atom(node)?, any())),
        [app, more @ ..] => {
            let name = atom(app)?;
            let source = match more {
                [version] if version.value.text().is_some() => hex(name, words(version)?),
                [source] => package(source).map_or(Source::Elsewhere, |name| hex(name, any())),
                [version, source] => match package(source) {
                    Some(package) => hex(package, words(version)?),
                    None => Source::Elsewhere,
                },
                _ => Source::Elsewhere,
            };
            (name, source)
        }
    };
    names::is_name(app).then(|| Plugin {
        app: app.to_owned(),
        source,
        called: Called::No,
    })
}

fn hex(package: &str, requirement: String) -> Source {
    if !names::is_name(package) {
        return Source::Elsewhere;
    }
    Source::Hex {
        package: package.to_owned(),
        requirement,
    }
}

fn package<'a>(source: &'a Node<'_>) -> Option<&'a str> {
    match tuple(source) {
        [kind, name] if atom(kind) == Some("pkg") => atom(name),
        _ => None,
    }
}

/// The namespaces that the hooks of a build call; `None` for rebar3's own.
fn calls<'a>(hooks: &'a [Node<'a>]) -> Vec<Option<&'a str>> {
    let when = |when| lists(hooks, when).flatten();
    let hooks = when("pre").chain(when("post"));
    let called = hooks.filter_map(|node| match tuple(node) {
        [command, provider, ..] if atom(command).is_some_and(|name| HOOKED.contains(&name)) => {
            Some(tuple(provider).first().and_then(atom))
        }
        _ => None,
    });
    called.collect()
}

fn words(node: &Node<'_>) -> Option<String> {
    node.value.text().map(|text| text.into_owned())
}

fn atom<'a>(node: &'a Node<'_>) -> Option<&'a str> {
    match &node.value {
        Value::Atom(name) => Some(name),
        _ => None,
    }
}

fn tuple<'a>(node: &'a Node<'a>) -> &'a [Node<'a>] {
    match &node.value {
        Value::Tuple(parts) => parts,
        _ => &[],
    }
}

fn items<'a>(node: &'a Node<'a>) -> &'a [Node<'a>] {
    match &node.value {
        Value::List(items) => items,
        _ => &[],
    }
}

/// Fuzz entry: any bytes are a configuration or not.
pub(super) fn fuzz(bytes: &[u8]) {
    let _ = plugins(bytes);
    if let Ok(text) = erlang::decode(bytes) {
        let _ = erlang::read_terms(&text).map(|terms| named(&terms, &Files::default()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<String> {
        read_with(text, &Files::default())
    }

    /// `app package requirement` of each plugin, with a `+` where it is called, `?` where it may be.
    fn read_with(text: &str, files: &Files) -> Vec<String> {
        let terms = erlang::read_terms(text).unwrap();
        let shown = |plugin: Plugin| {
            let source = match plugin.source {
                Source::Hex {
                    package,
                    requirement,
                } => format!("{package} {requirement}"),
                Source::Elsewhere => "elsewhere".into(),
            };
            let called = match plugin.called {
                Called::Yes => " +",
                Called::Perhaps => " ?",
                Called::No => "",
            };
            format!("{} {source}{called}", plugin.app)
        };
        named(&terms, files).into_iter().map(shown).collect()
    }

    #[test]
    fn plugins_are_read_in_all_their_shapes() {
        let text = "{plugins, [a, {b, \"1.0.0\"}, {c, <<\"~> 1.0\">>}, {d, {pkg, e}}, \
                    {f, \"2.0.0\", {pkg, g}}, {h, {git, \"u\", {tag, \"1\"}}}, \
                    {i, \".*\", {git, \"u\"}}, {j, \"1\", {git, \"u\"}, [raw]}, \
                    'no-name', {}, 7, \"x\"]}.\n{project_plugins, [z]}.";
        let expected = [
            "a a >= 0.0.0",
            "b b 1.0.0",
            "c c ~> 1.0",
            "d e >= 0.0.0",
            "f g 2.0.0",
            "h elsewhere",
            "i elsewhere",
            "j elsewhere",
        ];
        assert_eq!(read(text), expected);
    }

    #[test]
    fn a_plugin_is_called_by_a_hook_of_a_build() {
        let plugins = "{plugins, [pc, rebar3_hex]}.\n";
        let with = |hooks: &str| read(&format!("{plugins}{{provider_hooks, [{hooks}]}}."));
        let (pc, hex) = ("pc pc >= 0.0.0", "rebar3_hex rebar3_hex >= 0.0.0");
        let perhaps = [format!("{pc} ?"), format!("{hex} ?")];
        assert_eq!(with("{pre, [{clean, {pc, clean}}]}"), [pc, hex]);
        let named = "{pre, [{compile, {pc, compile}}, {clean, {pc, clean}}]}";
        let called = [format!("{pc} +"), hex.to_owned()];
        assert_eq!(with(named), called);
        for other in [
            "{post, [{app_compile, {protobuf, compile}}]}",
            "{pre, [{erlc_compile, generate}]}",
        ] {
            assert_eq!(with(other), perhaps, "{other}");
        }
        let scripted = Files {
            has_hooks: true,
            ..Files::default()
        };
        assert_eq!(read_with(plugins, &scripted), perhaps);
        let foreign = Files {
            is_foreign: true,
            ..Files::default()
        };
        assert_eq!(read_with(plugins, &foreign), perhaps);
        let hooks = format!("{plugins}{{provider_hooks, [{named}]}}.");
        assert_eq!(read_with(&hooks, &foreign), called);
    }

    #[test]
    fn profiles_and_overrides_count_as_rebar3_has_them() {
        let hooks = "{provider_hooks, [{pre, [{compile, {a, run}}]}]}";
        let text = format!(
            "{{profiles, [{{prod, [{{plugins, [a]}}]}}, {{test, [{{plugins, [t]}}]}}]}}.\n\
             {{overrides, [{{add, x, [{{plugins, [b]}}, {hooks}]}}, {{del, x, [{{plugins, [d]}}]}}]}}."
        );
        assert_eq!(read(&text), ["a a >= 0.0.0 +", "b b >= 0.0.0"]);
    }

    /// What a package with C code looks like.
    #[test]
    fn a_whole_configuration_is_read() {
        let text = "%% coding: latin-1\n{require_otp_vsn, \"R16|[2-9][0-9]\"}.\n\
            {erl_opts, [debug_info, {platform_define, \"^2[1-9]\", 'HAVE_X'}, {d, 'A', $a}]}.\n\
            {port_specs, [{\"win32\", \"priv/j.dll\", [\"c_src/*.c\"]},\n \
              {\"(linux|darwin)\", \"priv/j.so\", [\"c_src/*.c\" \"c\"]}]}.\n\
            {port_env, [{\"CFLAGS\", \"$CFLAGS -Ic_src/ -O3\"}, {\".*\", \"LDFLAGS\", \"\\\\\\\"x\\\"\"}]}.\n\
            {map, #{<<\"k\"/utf8>> => [1.0e3, 16#ff, -1 | tail]}}.\n\
            {plugins, [{pc, \"~> 1.0\"}, rebar3_hex]}.\n\
            {provider_hooks, [{pre, [{compile, {pc, compile}}, {clean, {pc, clean}}]}]}.\n";
        let expected = ["pc pc ~> 1.0 +", "rebar3_hex rebar3_hex >= 0.0.0"];
        assert_eq!(read(text), expected);
    }

    #[test]
    fn sources_of_another_language_may_have_a_compiler_in_any_plugin() {
        let foreign = |path: &str| is_foreign(Path::new(path));
        assert!(foreign("src/a.lfe") && foreign("src/deep/a.peg"));
        for path in ["src/a.erl", "src/a.app.src", "src/README", "c_src/a.c"] {
            assert!(!foreign(path), "{path}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_terms_are_a_configuration_or_not(
            text in "([{}\\[\\],.<>\"a-z#= ]|plugins|provider_hooks|pre|compile){0,60}"
        ) {
            fuzz(text.as_bytes());
        }
    }
}
