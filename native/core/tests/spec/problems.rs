//! What is wrong is said with its place, all of it at once, and what was meant.

use bc_gitops_core::hot::Strategy;
use bc_gitops_core::spec::{AppSpec, Checked, Format, Isolation, Kind, SourceType, Upgrade, parse};

use crate::AllAtoms;

fn check(text: &str, format: Format) -> Checked {
    parse(text.as_bytes(), format, &AllAtoms)
}

fn spec(text: &str, format: Format) -> AppSpec {
    let checked = check(text, format);
    checked
        .spec
        .unwrap_or_else(|| panic!("{:?}", checked.errors))
}

/// Line, column, path and kind of each error.
fn places(text: &str, format: Format) -> Vec<(u32, u32, String, Kind)> {
    let errors = check(text, format).errors;
    errors
        .into_iter()
        .map(|problem| (problem.line, problem.column, problem.path, problem.kind))
        .collect()
}

fn place(line: u32, column: u32, path: &str, kind: Kind) -> (u32, u32, String, Kind) {
    (line, column, path.to_owned(), kind)
}

const ERLANG: &str = r#"#{name => my_app, version => <<"1.2.0">>, description => <<"text">>,
  source => #{type => git, url => <<"https://host/a.git">>, ref => <<"v1">>},
  env => #{port => 8080, ratio => 0.5, name => <<"é"/utf8>>, nested => #{on => true, none => undefined}, list => [1, <<"a">>]},
  health => #{path => <<"/health">>}, depends_on => [db], isolation => vm, vm_config => #{memory_limit => 64},
  upgrade => #{strategy => hot, force => true}}."#;

const YAML: &str = r#"
name: my_app
version: "1.2.0"
description: text
source: {type: git, url: "https://host/a.git", ref: v1}
env:
  port: 8080
  ratio: 0.5
  name: é
  nested: {on: true, none: null}
  list: [1, a]
health:
  path: /health
depends_on: [db]
isolation: vm
vm_config: {memory_limit: 64}
upgrade: {strategy: hot, force: true}
"#;

const JSON: &str = r#"{"name": "my_app", "version": "1.2.0", "description": "text",
  "source": {"type": "git", "url": "https://host/a.git", "ref": "v1"},
  "env": {"port": 8080, "ratio": 0.5, "name": "é", "nested": {"on": true, "none": null}, "list": [1, "a"]},
  "health": {"path": "/health"}, "depends_on": ["db"], "isolation": "vm", "vm_config": {"memory_limit": 64},
  "upgrade": {"strategy": "hot", "force": true}}"#;

#[test]
fn the_three_formats_say_the_same() {
    let erlang = spec(ERLANG, Format::Erlang);
    assert_eq!(erlang, spec(YAML, Format::Yaml));
    assert_eq!(erlang, spec(JSON, Format::Json));
    assert_eq!(
        (erlang.name.as_str(), erlang.isolation, erlang.source.kind),
        ("my_app", Isolation::Vm, SourceType::Git)
    );
    let hot = Upgrade {
        strategy: Strategy::Hot,
        force: true,
    };
    assert_eq!(erlang.upgrade, hot);
    let health = erlang.health.expect("a health check");
    assert_eq!(
        (health.port, health.interval, health.timeout),
        (8080, 30_000, 5_000)
    );
}

#[test]
fn a_byte_order_mark_is_no_part_of_the_text() {
    let marked = |text: &str| format!("\u{FEFF}{}", text.replace('\n', "\r\n"));
    let erlang = spec(ERLANG, Format::Erlang);
    assert_eq!(erlang, spec(&marked(ERLANG), Format::Erlang));
    assert_eq!(erlang, spec(&marked(YAML), Format::Yaml));
    assert_eq!(erlang, spec(&marked(JSON), Format::Json));
}

#[test]
fn tags_say_what_yaml_and_json_have_no_words_for() {
    let erlang = r#"#{name => a, version => "1", env => #{x => {ok, "chars", [on]}}}."#;
    let yaml = "name: a\nversion: '1'\nenv:\n  x: !tuple [!atom ok, !charlist chars, [!atom on]]\n";
    let json = r#"{"name": "a", "version": "1", "env": {"x": {"$tuple": [{"$atom": "ok"}, {"$charlist": "chars"}, [{"$atom": "on"}]]}}}"#;
    let expected = spec(erlang, Format::Erlang);
    assert_eq!(spec(yaml, Format::Yaml), expected);
    assert_eq!(spec(json, Format::Json), expected);
    assert_eq!(
        places(
            r#"{"name": "a", "version": "1", "env": {"x": {"$tuple": 1}}}"#,
            Format::Json
        ),
        [place(1, 44, "env.x", Kind::InvalidValue)]
    );
    assert_eq!(
        places(
            "name: a\nversion: '1'\nenv: {x: !php/object x}\n",
            Format::Yaml
        )[0]
        .3,
        Kind::Unsupported
    );
}

#[test]
fn proplists_are_maps() {
    let proplist = r#"[{name, a}, {version, "1"}, {env, [{port, 1}, debug]}, {source, [{type, git}, {url, "https://h/x"}]}]."#;
    let map = r#"#{name => a, version => "1", env => #{port => 1, debug => true}, source => #{type => git, url => "https://h/x"}}."#;
    assert_eq!(spec(proplist, Format::Erlang), spec(map, Format::Erlang));
}

#[test]
fn defaults_are_those_of_the_contract() {
    let minimal = spec("name: a\nversion: 1.0.0\n", Format::Yaml);
    assert_eq!(
        (minimal.source.kind, minimal.source.reference.as_deref()),
        (SourceType::Hex, Some("1.0.0"))
    );
    assert!(minimal.health.is_none() && minimal.icon.is_none() && minimal.depends_on.is_empty());
    assert_eq!(minimal.isolation, Isolation::Embedded);
    assert_eq!(minimal.upgrade, Upgrade::default());
    assert_eq!(minimal.upgrade.strategy, Strategy::Auto);
    let nulls = spec(
        "name: a\nversion: 1.0.0\nhealth: ~\nsource: null\ndescription:\nenv: {}\n",
        Format::Yaml,
    );
    assert_eq!(minimal, nulls);
}

#[test]
fn all_problems_come_at_once_with_their_places() {
    let yaml = "name: Bad Name\nversion: 1.10\nsource:\n  type: gti\n  url: 'ext::sh -c x'\nhealth:\n  port: 70000\n  timeout: soon\ndepends_on: [ok, -x]\nisolation: embeded\nenv: 5\n";
    assert_eq!(
        places(yaml, Format::Yaml),
        [
            place(1, 7, "name", Kind::InvalidValue),
            place(2, 10, "version", Kind::InvalidType),
            place(4, 9, "source.type", Kind::InvalidValue),
            place(5, 8, "source.url", Kind::InvalidValue),
            place(11, 6, "env", Kind::InvalidType),
            place(7, 9, "health.port", Kind::InvalidValue),
            place(8, 12, "health.timeout", Kind::InvalidType),
            place(9, 18, "depends_on[1]", Kind::InvalidValue),
            place(10, 12, "isolation", Kind::InvalidValue),
        ]
    );
    let errors = check(yaml, Format::Yaml).errors;
    assert_eq!(
        errors[1].hint.as_deref(),
        Some("write it in quotes: \"1.10\"")
    );
    assert_eq!(errors[2].hint.as_deref(), Some("did you mean git?"));
    assert_eq!(
        errors[8].message("app.yaml"),
        "app.yaml:10:12: isolation: found \"embeded\", expected one of embedded, vm; did you mean embedded?"
    );
}

#[test]
fn upgrades_are_checked_in_every_format() {
    let texts = [
        (
            "#{name => a, version => \"1\",\n upgrade => #{strategy => hto, force => yes, timeout => 1}}.",
            Format::Erlang,
        ),
        (
            "name: a\nupgrade: {strategy: hto, force: 'yes', timeout: 1}\nversion: '1'\n",
            Format::Yaml,
        ),
        (
            "{\"name\": \"a\", \"version\": \"1\",\n \"upgrade\": {\"strategy\": \"hto\", \"force\": \"yes\", \"timeout\": 1}}",
            Format::Json,
        ),
    ];
    for (text, format) in texts {
        let checked = check(text, format);
        let said: Vec<String> = checked
            .errors
            .iter()
            .map(|problem| problem.message("f"))
            .collect();
        assert!(said[0].contains(
            "upgrade.strategy: found \"hto\", expected one of auto, hot, restart; did you mean hot?"
        ));
        assert!(
            said[1].contains("upgrade.force: found") && said[1].ends_with("expected true or false")
        );
        assert!(said.iter().all(|said| said.starts_with("f:2:")) && said.len() == 2);
        assert_eq!(checked.warnings[0].path, "upgrade.timeout");
    }
}

#[test]
fn versions_must_be_strings_and_the_answer_says_how() {
    for (text, format, hint) in [
        (
            "name: a\nversion: 1.10\n",
            Format::Yaml,
            "write it in quotes: \"1.10\"",
        ),
        (
            "{\"name\": \"a\", \"version\": 1.10}",
            Format::Json,
            "write it in quotes: \"1.10\"",
        ),
        (
            "#{name => a, version => 1.10}.",
            Format::Erlang,
            "write <<\"1.10\">>",
        ),
    ] {
        let errors = check(text, format).errors;
        assert_eq!(
            (
                errors.len(),
                errors[0].hint.as_deref(),
                errors[0].found.as_str()
            ),
            (1, Some(hint), "the float 1.10"),
            "{text}"
        );
    }
}

#[test]
fn missing_fields_are_named_and_typos_found() {
    assert_eq!(
        places("#{}.", Format::Erlang),
        [
            place(1, 1, "name", Kind::MissingField),
            place(1, 1, "version", Kind::MissingField)
        ]
    );
    let typo = check("nmae: a\nverison: '1'\n", Format::Yaml);
    let hints: Vec<_> = typo
        .errors
        .iter()
        .filter_map(|problem| problem.hint.as_deref())
        .collect();
    assert_eq!(
        hints,
        ["is nmae meant as name?", "is verison meant as version?"]
    );
    assert_eq!(
        places("name: a\nversion: '1'\nsource: {type: git}\n", Format::Yaml),
        [place(3, 9, "source.url", Kind::MissingField)]
    );
    assert_eq!(
        places(
            "name: a\nversion: '1'\nsource: {type: mesh}\n",
            Format::Yaml
        ),
        [place(3, 9, "source.mcid", Kind::MissingField)]
    );
    assert_eq!(
        places(
            "name: a\nversion: '1'\nhealth: {type: custom}\n",
            Format::Yaml
        ),
        [place(3, 9, "health.module", Kind::MissingField)]
    );
}

#[test]
fn content_ids_are_checked_in_every_format() {
    let hex = "5d41402abc4b2a76b9719d911017c592";
    let texts = |id: &str| {
        [
            (
                format!("name: a\nversion: '1'\nsource:\n  type: mesh\n  mcid: {id}\n"),
                Format::Yaml,
                place(5, 9, "source.mcid", Kind::InvalidValue),
            ),
            (
                format!(
                    "{{\"name\":\"a\",\"version\":\"1\",\n\"source\":{{\"type\":\"mesh\",\"mcid\":\"{id}\"}}}}"
                ),
                Format::Json,
                place(2, 32, "source.mcid", Kind::InvalidValue),
            ),
            (
                format!(
                    "#{{name=>a,version=><<\"1\">>,\nsource=>#{{type=>mesh,mcid=><<\"{id}\">>}}}}."
                ),
                Format::Erlang,
                place(2, 28, "source.mcid", Kind::InvalidValue),
            ),
        ]
    };
    for bad in [
        format!("mcid1-chunk-blake3-{hex}"),
        format!("mcid1-raw-sha256-{hex}"),
        format!("mcid1-raw-blake3-{}", &hex[2..]),
        format!("mcid1-raw-blake3-{hex}x"),
        format!("mcid1-raw-blake3-{hex}{hex}{hex}"),
    ] {
        for (text, format, expected) in texts(&bad) {
            assert_eq!(places(&text, format), [expected], "{text}");
        }
    }
    for (text, format, _) in texts(&format!("mcid1-manifest-blake3-{hex}")) {
        assert_eq!(places(&text, format), [], "{text}");
    }
}

#[test]
fn a_release_has_a_url_to_download_and_a_digest_in_either_writing() {
    let hex = "2CF24DBA5FB0A30E26E83B2AC5B9E29E1B161E5C1FA7425E73043362938B9824";
    let base64 = "LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=";
    let texts = |url: &str, sha256: &str| {
        [
            (
                format!(
                    "name: a\nversion: '1'\nsource: {{type: release, url: '{url}', sha256: '{sha256}'}}\n"
                ),
                Format::Yaml,
            ),
            (
                format!(
                    "{{\"name\":\"a\",\"version\":\"1\",\"source\":{{\"type\":\"release\",\"url\":\"{url}\",\"sha256\":\"{sha256}\"}}}}"
                ),
                Format::Json,
            ),
            (
                format!(
                    "#{{name=>a,version=><<\"1\">>,source=>#{{type=>release,url=><<\"{url}\">>,sha256=><<\"{sha256}\">>}}}}."
                ),
                Format::Erlang,
            ),
        ]
    };
    for sha256 in [hex, base64, &base64[..43]] {
        for (text, format) in texts("https://h/a-1.tar.gz?v=1&s=%41", sha256) {
            let checked = check(&text, format);
            let source = checked.spec.map(|spec| spec.source);
            let found = source.and_then(|source| source.sha256);
            assert_eq!(
                found,
                Some(hex.to_lowercase()),
                "{text}: {:?}",
                checked.errors
            );
        }
    }
    let (text, format) = &texts("https://me:canary@h/a-1.tar.gz?s=1", hex)[0];
    let checked = check(text, *format);
    assert_eq!(checked.warnings[0].kind, Kind::Secret);
    let source = checked.spec.unwrap().source;
    assert_eq!(source.url.as_deref(), Some("https://h/a-1.tar.gz?s=1"));
    assert_eq!(source.login().unwrap().0, "https://h/a-1.tar.gz");
    assert!(!format!("{source:?}").contains("canary"));
    for bad in [
        &hex[1..],
        &base64[..42],
        "LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCR=",
    ] {
        for (text, format) in texts("file:///srv/a.tar", bad) {
            assert_eq!(
                check(&text, format).errors[0].path,
                "source.sha256",
                "{text}"
            );
        }
    }
    for bad in [
        "ssh://h/a.tar",
        "git@h:a.tar",
        "https://h/ä",
        "https://h/a#b",
        "ftp://h/a",
    ] {
        for (text, format) in texts(bad, hex) {
            assert_eq!(check(&text, format).errors[0].path, "source.url", "{text}");
        }
    }
}

#[test]
fn unknown_keys_and_fields_of_other_types_are_warnings() {
    let checked = check(
        "name: a\nversion: '1'\ndepend_on: [b]\nsource: {type: hex, url: 'https://h/x'}\nhealth: {type: tcp, path: /x, intervall: 5}\n",
        Format::Yaml,
    );
    assert!(checked.spec.is_some(), "{:?}", checked.errors);
    let warnings: Vec<_> = checked
        .warnings
        .iter()
        .map(|w| (w.line, w.path.as_str(), w.kind, w.hint.as_deref()))
        .collect();
    assert_eq!(
        warnings,
        [
            (4, "source.url", Kind::UnusedField, None),
            (5, "health.path", Kind::UnusedField, None),
            (
                5,
                "health.intervall",
                Kind::UnknownKey,
                Some("did you mean interval?")
            ),
            (
                3,
                "depend_on",
                Kind::UnknownKey,
                Some("did you mean depends_on?")
            ),
        ]
    );
}

#[test]
fn an_unused_field_may_hold_anything_and_is_dropped_then() {
    let checked = check(
        "#{name => a, version => <<\"1\">>, source => #{type => hex, url => <<\"--upload-pack=x\">>, sha256 => <<\"...\">>}}.",
        Format::Erlang,
    );
    let url = |found: &Checked| found.spec.as_ref().and_then(|spec| spec.source.url.clone());
    assert_eq!(
        checked.errors.len(),
        1,
        "hex uses the digest: {:?}",
        checked.errors
    );
    assert_eq!(checked.errors[0].path, "source.sha256");
    let text = "name: a\nversion: '1'\nsource: {type: hex, url: URL}\n";
    let dropped = check(&text.replace("URL", "'...'"), Format::Yaml);
    assert_eq!(
        (dropped.errors.len(), dropped.warnings.len(), url(&dropped)),
        (0, 1, None)
    );
    assert!(dropped.spec.is_some());
    let kept = check(&text.replace("URL", "'https://h/x'"), Format::Yaml);
    assert_eq!(url(&kept).as_deref(), Some("https://h/x"));
}

#[test]
fn an_identicon_that_is_asked_for_is_drawn() {
    let text = "name: a\nversion: '1'\nicon: {type: identicon}\n";
    assert_eq!(
        spec(text, Format::Yaml).icon,
        None,
        "what is drawn for every name"
    );
}

#[test]
fn what_operators_mistype_has_a_proposal() {
    let hints = |text: &str| -> Vec<_> {
        let errors = check(text, Format::Yaml).errors;
        errors
            .into_iter()
            .map(|error| (error.found, error.hint))
            .collect()
    };
    assert_eq!(
        hints("name: My-App\nversion: '1'\nhealth: {port: '8080'}\ndepends_on: db\n"),
        [
            (
                "\"My-App\"".to_owned(),
                Some("did you mean my_app?".to_owned())
            ),
            (
                "a string".to_owned(),
                Some("write it as a number: 8080".to_owned())
            ),
            ("a string".to_owned(), None),
        ]
    );
}

#[test]
fn duplicate_keys_are_errors_but_in_erlang_environments() {
    for (text, format) in [
        ("name: a\nname: b\nversion: '1'\n", Format::Yaml),
        (
            "{\"name\": \"a\", \"name\": \"b\", \"version\": \"1\"}",
            Format::Json,
        ),
        ("#{name => a, name => b, version => \"1\"}.", Format::Erlang),
        ("[{name, a}, {name, b}, {version, \"1\"}].", Format::Erlang),
        (
            "name: a\nversion: '1'\nenv: {x: {y: 1, y: 2}}\n",
            Format::Yaml,
        ),
        (
            "{\"name\": \"a\", \"version\": \"1\", \"env\": {\"x\": 1, \"x\": 2}}",
            Format::Json,
        ),
    ] {
        let errors = places(text, format);
        assert_eq!(errors.len(), 1, "{text} {errors:?}");
        assert_eq!(errors[0].3, Kind::DuplicateKey, "{text}");
    }
    let last = spec(
        "#{name => a, version => \"1\", env => #{x => 1, x => 2}}.",
        Format::Erlang,
    );
    assert_eq!(
        last,
        spec(
            "#{name => a, version => \"1\", env => #{x => 2}}.",
            Format::Erlang
        )
    );
}

#[test]
fn a_file_holds_one_map() {
    for (text, format, kind) in [
        ("", Format::Erlang, Kind::Syntax),
        ("#{name => a}. #{name => b}.", Format::Erlang, Kind::Syntax),
        ("foo.", Format::Erlang, Kind::InvalidType),
        ("[1, 2].", Format::Erlang, Kind::InvalidType),
        ("", Format::Yaml, Kind::Syntax),
        ("a: 1\n---\nb: 2\n", Format::Yaml, Kind::Unsupported),
        ("- a\n", Format::Yaml, Kind::InvalidType),
        ("just text\n", Format::Yaml, Kind::InvalidType),
        ("a: {<<: 1}\n", Format::Yaml, Kind::Unsupported),
        ("", Format::Json, Kind::Syntax),
        ("[]x", Format::Json, Kind::Syntax),
        ("5", Format::Json, Kind::InvalidType),
    ] {
        assert_eq!(check(text, format).errors[0].kind, kind, "{text:?}");
    }
    assert_eq!(
        places("#{name => fun lists:map/2}.", Format::Erlang),
        [place(1, 11, "", Kind::FunTerm)]
    );
    assert_eq!(
        parse(b"name: \xFF", Format::Yaml, &AllAtoms).errors[0].kind,
        Kind::Encoding
    );
}

#[test]
fn a_password_in_a_url_is_not_shown() {
    let checked = check(
        "name: a\nversion: '1'\nsource: {type: git, url: 'gopher://user:s3cr3t@host/x'}\n",
        Format::Yaml,
    );
    assert_eq!(checked.errors.len(), 1);
    assert!(
        !format!("{:?}", checked.errors[0].found).contains("s3cr3t"),
        "{:?}",
        checked.errors[0].found
    );
}

#[test]
fn fingerprints_change_with_what_they_are_of() {
    let base = "#{name => a, version => \"1\", source => #{type => git, url => \"https://h/x\", ref => \"v1\"}, env => #{a => 1, b => 2}}.";
    let of = |text: &str| {
        let spec = spec(text, Format::Erlang);
        (spec.source_fingerprint(), spec.env.fingerprint())
    };
    let (source, env) = of(base);
    for (from, to, same_source, same_env) in [
        ("\"1\",", "\"2\",", true, true),
        ("ref => \"v1\"", "ref => \"v2\"", false, true),
        ("a => 1", "a => 2", true, false),
        ("a => 1, b => 2", "b => 2, a => 1", true, true),
        ("a => 1", "a => 1.0", true, false),
        ("name => a", "name => c", true, true),
        (
            "}}.",
            "}, description => \"x\", health => #{}, depends_on => [z]}.",
            true,
            true,
        ),
    ] {
        let changed = of(&base.replacen(from, to, 1));
        assert_eq!(
            (changed.0 == source, changed.1 == env),
            (same_source, same_env),
            "{from} -> {to}"
        );
    }
    let hex = |version: &str| {
        spec(
            &format!("#{{name => a, version => \"{version}\"}}."),
            Format::Erlang,
        )
        .source_fingerprint()
    };
    assert_eq!(
        hex("1"),
        hex("2"),
        "the ref of a hex source follows the version"
    );
}
