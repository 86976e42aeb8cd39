//! Sources of every type, written in the three formats: the same spec, the same problems, the same
//! warnings, each with its place.

use bc_gitops_core::spec::{Checked, Format, Kind, SourceSpec, SourceType, parse};

use crate::AllAtoms;

const FORMATS: [Format; 3] = [Format::Erlang, Format::Yaml, Format::Json];
const SHA256: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
const MCID: &str = "mcid1-raw-blake3-5d41402abc4b2a76b9719d911017c592";

type Fields<'a> = &'a [(&'a str, &'a str)];

fn check(text: &str, format: Format) -> Checked {
    parse(text.as_bytes(), format, &AllAtoms)
}

/// Each field of the source on a line of its own, from line 3 on.
fn written(fields: Fields<'_>, format: Format) -> String {
    let lines = |field: fn(&str, &str) -> String, between: &str| {
        let lines: Vec<String> = fields.iter().map(|(k, v)| field(k, v)).collect();
        lines.join(between)
    };
    match format {
        Format::Yaml => format!(
            "{{name: a, version: '1.0',\nsource: {{\n{}}}}}\n",
            lines(|k, v| format!("{k}: '{v}'"), ",\n")
        ),
        Format::Json => format!(
            "{{\"name\": \"a\", \"version\": \"1.0\",\n\"source\": {{\n{}}}}}",
            lines(|k, v| format!("\"{k}\": \"{v}\""), ",\n")
        ),
        Format::Erlang => format!(
            "#{{name => a, version => <<\"1.0\">>,\nsource => #{{\n{}}}}}.",
            lines(|k, v| format!("{k} => <<\"{v}\">>"), ",\n")
        ),
    }
}

fn source(fields: Fields<'_>, format: Format) -> SourceSpec {
    let text = written(fields, format);
    let checked = check(&text, format);
    assert_eq!(checked.warnings, [], "{text}");
    checked
        .spec
        .unwrap_or_else(|| panic!("{text}: {:?}", checked.errors))
        .source
}

#[test]
fn every_type_is_the_same_in_every_format() {
    let git = "https://host.example/a.git";
    let archive = "https://host.example/a.tar.gz";
    let none = SourceSpec {
        kind: SourceType::Hex,
        url: None,
        login: None,
        sha256: None,
        reference: None,
        mcid: None,
    };
    let cases: [(Fields<'_>, SourceSpec); 6] = [
        (
            &[("type", "git"), ("url", git), ("ref", "v1.0")],
            SourceSpec {
                kind: SourceType::Git,
                url: Some(git.into()),
                reference: Some("v1.0".into()),
                ..none.clone()
            },
        ),
        (
            &[("type", "git"), ("url", "git@host.example:a.git")],
            SourceSpec {
                kind: SourceType::Git,
                url: Some("git@host.example:a.git".into()),
                ..none.clone()
            },
        ),
        (
            &[("type", "hex"), ("ref", "1.2.3")],
            SourceSpec {
                reference: Some("1.2.3".into()),
                ..none.clone()
            },
        ),
        (
            &[("ref", "1.2.3")],
            SourceSpec {
                reference: Some("1.2.3".into()),
                ..none.clone()
            },
        ),
        (
            &[("type", "release"), ("url", archive), ("sha256", SHA256)],
            SourceSpec {
                kind: SourceType::Release,
                url: Some(archive.into()),
                sha256: Some(SHA256.into()),
                ..none.clone()
            },
        ),
        (
            &[("type", "mesh"), ("mcid", MCID)],
            SourceSpec {
                kind: SourceType::Mesh,
                mcid: Some(MCID.into()),
                ..none.clone()
            },
        ),
    ];
    for (fields, expected) in cases {
        for format in FORMATS {
            assert_eq!(source(fields, format), expected, "{fields:?} {format:?}");
        }
    }
}

/// Fields, the line and path of the one error, its kind, and a part of what is said.
type Wrong<'a> = (Fields<'a>, u32, &'a str, Kind, &'a str);

#[test]
fn what_is_wrong_has_a_place_in_every_format() {
    let url = ("url", "https://host.example/a.git");
    let cases: [Wrong<'_>; 10] = [
        (
            &[("type", "svn"), url],
            3,
            "source.type",
            Kind::InvalidValue,
            "one of release, git, hex, mesh",
        ),
        (
            &[("type", "gti"), url],
            3,
            "source.type",
            Kind::InvalidValue,
            "did you mean git?",
        ),
        (
            &[("type", "git")],
            2,
            "source.url",
            Kind::MissingField,
            "the url of a git source",
        ),
        (
            &[("type", "git"), ("ulr", "https://h/a")],
            2,
            "source.url",
            Kind::MissingField,
            "is ulr meant as url?",
        ),
        (
            &[("type", "release"), ("sha256", SHA256)],
            2,
            "source.url",
            Kind::MissingField,
            "the url of a release source",
        ),
        (
            &[("type", "mesh")],
            2,
            "source.mcid",
            Kind::MissingField,
            "the content id of a mesh source",
        ),
        (
            &[("type", "git"), url, ("ref", "-x")],
            5,
            "source.ref",
            Kind::InvalidValue,
            "a branch, a tag or a commit",
        ),
        (
            &[("type", "git"), url, ("ref", "--upload-pack=id")],
            5,
            "source.ref",
            Kind::InvalidValue,
            "upload-pack",
        ),
        (
            &[("type", "git"), ("url", "ext::sh -c id")],
            4,
            "source.url",
            Kind::InvalidValue,
            "an url",
        ),
        (
            &[("type", "mesh"), ("mcid", "mcid1-raw-sha256-00")],
            4,
            "source.mcid",
            Kind::InvalidValue,
            "blake3",
        ),
    ];
    for (fields, line, path, kind, part) in cases {
        for format in FORMATS {
            let text = written(fields, format);
            let checked = check(&text, format);
            assert!(checked.spec.is_none(), "{text}");
            let [error] = &checked.errors[..] else {
                panic!("{text}: {:?}", checked.errors);
            };
            assert_eq!(
                (error.line, error.path.as_str(), error.kind),
                (line, path, kind),
                "{text}"
            );
            assert!(error.column > 0, "{text}");
            let said = error.message("apps/a/app");
            assert!(
                said.starts_with(&format!("apps/a/app:{line}:{}: {path}: ", error.column)),
                "{said}"
            );
            assert!(said.contains(part), "{said}");
        }
    }
}

#[test]
fn fields_of_another_type_are_warnings_in_every_format() {
    let url = ("url", "https://host.example/a.git");
    let cases: [(Fields<'_>, &[(u32, &str)]); 5] = [
        (&[("type", "hex"), url], &[(4, "source.url")]),
        (&[url], &[(3, "source.url")]),
        (
            &[("type", "git"), url, ("sha256", SHA256), ("mcid", MCID)],
            &[(5, "source.sha256"), (6, "source.mcid")],
        ),
        (
            &[
                ("type", "mesh"),
                ("mcid", MCID),
                url,
                ("sha256", SHA256),
                ("ref", "v1"),
            ],
            &[(5, "source.url"), (6, "source.sha256"), (7, "source.ref")],
        ),
        (
            &[("type", "release"), url, ("mcid", "no content id")],
            &[(5, "source.mcid")],
        ),
    ];
    for (fields, expected) in cases {
        for format in FORMATS {
            let text = written(fields, format);
            let checked = check(&text, format);
            assert!(checked.spec.is_some(), "{text}: {:?}", checked.errors);
            let mut found: Vec<(u32, &str)> = checked
                .warnings
                .iter()
                .filter(|warning| warning.kind == Kind::UnusedField)
                .map(|warning| (warning.line, warning.path.as_str()))
                .collect();
            found.sort_unstable();
            assert_eq!(found, expected, "{text}");
            assert_eq!(checked.warnings.len(), expected.len(), "{text}");
        }
    }
}

#[test]
fn a_login_in_a_url_is_a_warning_and_no_part_of_what_is_shown() {
    let clean = "https://host.example/a.git";
    for login in ["me:s3cret", "s3cret", ":s3cret"] {
        let url = format!("https://{login}@host.example/a.git");
        for format in FORMATS {
            let text = written(&[("type", "git"), ("url", &url)], format);
            let checked = check(&text, format);
            let [warning] = &checked.warnings[..] else {
                panic!("{text}: {:?}", checked.warnings);
            };
            assert_eq!((warning.line, warning.kind), (4, Kind::Secret), "{text}");
            let said = warning.message("apps/a/app");
            for part in ["source.url", clean, "git_token_file", "git_auth_hosts"] {
                assert!(said.contains(part), "{said}");
            }
            let spec = checked.spec.expect("a spec");
            assert_eq!(spec.source.url.as_deref(), Some(clean));
            let plain = source(&[("type", "git"), ("url", clean)], format);
            assert_eq!(spec.source.fingerprint("1.0"), plain.fingerprint("1.0"));
            assert!(
                !format!("{spec:?} {said} {:?}", warning).contains("s3cret"),
                "{spec:?}"
            );
        }
    }
}

/// What is refused is shown without a login as well, also to callers of the shapes of 0.7.
#[test]
fn a_login_in_a_refused_url_is_not_shown() {
    for fields in [
        &[("type", "git"), ("url", "ftp://me:s3cret@host.example/a")] as Fields<'_>,
        &[
            ("type", "git"),
            ("url", "https://me:s3cret@host.example/a?b"),
        ],
        &[
            ("type", "https://me:s3cret@host.example/a"),
            ("url", "https://h/a"),
        ],
        &[
            ("type", "git"),
            ("url", "https://h/a"),
            ("ref", "https://me:s3cret@host.example/a"),
        ],
    ] {
        for format in FORMATS {
            let text = written(fields, format);
            let checked = check(&text, format);
            assert!(!checked.errors.is_empty(), "{text}");
            for problem in &checked.errors {
                let got = String::from_utf8_lossy(&problem.got);
                assert!(
                    !format!("{problem:?} {got}").contains("s3cret"),
                    "{problem:?}"
                );
            }
        }
    }
}
