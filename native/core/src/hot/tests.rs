use std::fs;
use std::path::Path;

use super::Strategy;
use super::*;
use crate::beam::BeamErrorKind;
use crate::beam::sample::module;
use proptest::prelude::*;
use tempfile::TempDir;

/// A build of the application `demo` with these modules.
struct Build(TempDir);

impl Build {
    fn new(app: &str, modules: &[(&str, Vec<u8>)]) -> Self {
        let build = Self(tempfile::tempdir().unwrap());
        fs::create_dir_all(build.dir().join("ebin")).unwrap();
        let text = format!("{{application, demo, [{app}]}}.");
        build.write("ebin/demo.app", text.as_bytes());
        for (name, bytes) in modules {
            build.write(&format!("ebin/{name}.beam"), bytes);
        }
        build
    }

    fn dir(&self) -> PathBuf {
        self.0.path().join("demo")
    }

    fn write(&self, path: &str, bytes: &[u8]) {
        let path = self.dir().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

fn options(strategy: Strategy) -> Options {
    Options {
        strategy,
        toolchain_same: true,
        script: None,
    }
}

fn verdict(old: &Build, new: &Build, options: &Options) -> Verdict {
    plan(&[(old.dir(), new.dir())], options).unwrap().verdict
}

fn plain(name: &str, code: &str, imports: &[&str]) -> Vec<u8> {
    let imports: Vec<(&str, &str, u32)> = imports.iter().map(|m| (*m, "f", 0)).collect();
    module(name, code, &[], &[("f", 0)], &imports)
}

#[test]
fn imported_modules_come_first_and_cycles_by_name() {
    let build = |code: &str| {
        let modules = [
            ("a", plain("a", code, &["d", "lists"])),
            ("b", plain("b", code, &["c", "b"])),
            ("c", plain("c", code, &["b"])),
            ("d", plain("d", code, &["c"])),
        ];
        Build::new("{vsn, \"1\"}", &modules)
    };
    let names = ["b", "c", "d", "a"];
    let expected = names.map(|name| Step::Load(name.into())).to_vec();
    let found = verdict(&build("1"), &build("2"), &options(Strategy::Auto));
    assert_eq!(found, Verdict::Hot(expected));
}

#[test]
fn steps_follow_from_what_a_module_is() {
    let of = |code: &str| {
        let state = [("code_change", 3)];
        let modules = [
            ("srv", module("srv", code, &["gen_server"], &state, &[])),
            (
                "sup",
                module("sup", code, &["Elixir.Supervisor"], &state, &[]),
            ),
        ];
        Build::new("{vsn, \"1\"}", &modules)
    };
    let (old, new) = (of("1"), of("2"));
    new.write("ebin/more.beam", &plain("more", "1", &[]));
    old.write("ebin/gone.beam", &plain("gone", "1", &[]));
    let steps = vec![
        Step::Add("more".into()),
        Step::Update("srv".into()),
        Step::UpdateSupervisor("sup".into()),
        Step::Delete("gone".into()),
    ];
    assert_eq!(
        verdict(&old, &new, &options(Strategy::Hot)),
        Verdict::Hot(steps.clone())
    );
    let file = |name: &str| new.dir().join(format!("ebin/{name}.beam"));
    let files = ["sup", "more", "srv"].map(|name| (file(name), fs::read(file(name)).unwrap()));
    let coming = files.iter().map(|(path, bytes)| Coming {
        path,
        bytes,
        replaces: !path.ends_with("more.beam"),
    });
    let coming: Vec<Coming<'_>> = coming.collect();
    assert_eq!(steps_to(&coming, &["gone".to_owned()]).unwrap(), steps);
    let Verdict::Restart(reasons) = verdict(&old, &new, &options(Strategy::Auto)) else {
        panic!("hot");
    };
    let said: Vec<&str> = reasons
        .iter()
        .map(|reason| reason.message.as_str())
        .collect();
    assert_eq!(
        said,
        ["the gen_server srv changed", "the Supervisor sup changed"]
    );
}

#[test]
fn what_cannot_be_hot_is_said_first_to_last() {
    let nif = |code: &str| module("n", code, &[], &[], &[("erlang", "load_nif", 2)]);
    let old = Build::new("{vsn, \"1\"}, {mod, {a, []}}", &[("n", nif("1"))]);
    let new = Build::new(
        "{vsn, \"2\"}, {mod, {a, [1]}}, {applications, [x]}",
        &[("n", nif("2"))],
    );
    old.write("priv/lib/n.so.1", b"1");
    new.write("consolidated/Elixir.P.beam", &plain("Elixir.P", "1", &[]));
    let Verdict::Restart(reasons) = verdict(&old, &new, &options(Strategy::Auto)) else {
        panic!("hot");
    };
    let kinds: Vec<ReasonKind> = reasons.iter().map(|reason| reason.kind).collect();
    let expected = [
        ReasonKind::VersionChanged,
        ReasonKind::ModChanged,
        ReasonKind::ApplicationsChanged,
        ReasonKind::NifChanged,
        ReasonKind::PrivChanged,
        ReasonKind::ConsolidatedChanged,
    ];
    assert_eq!(kinds, expected);
    assert_eq!(reasons[4].path.as_deref(), Some("priv/lib/n.so.1"));
}

#[test]
fn an_appup_has_to_name_every_module_that_changed() {
    let (old, new) = (
        Build::new("{vsn, \"1\"}", &[("a", plain("a", "1", &[]))]),
        Build::new("{vsn, \"2\"}", &[("a", plain("a", "2", &[]))]),
    );
    let script = |text: &str| Options {
        script: {
            let terms = crate::spec::erlang::read_terms(text).unwrap();
            Script::of_external(&crate::spec::etf::to_bytes(&terms[0].value))
        },
        ..options(Strategy::Auto)
    };
    let with = script("[{load_module, a}].");
    assert!(with.script.is_some());
    assert!(matches!(verdict(&old, &new, &with), Verdict::Hot(_)));
    let without = verdict(&old, &new, &script("[{load_module, b}]."));
    let Verdict::Restart(reasons) = without else {
        panic!("hot");
    };
    assert_eq!(reasons[0].kind, ReasonKind::AppupIncomplete);
    assert!(script("[{load_module, 1}].").script.is_none());
}

#[test]
fn chunks_that_promise_too_much_are_named() {
    use crate::beam::info_of;
    let whole = plain("a", "1", &["b"]);
    let of = |id: &[u8; 4]| {
        let at = whole.windows(4).position(|window| window == id).unwrap();
        let mut bytes = whole.clone();
        bytes[at + 8..at + 12].copy_from_slice(&9_u32.to_be_bytes());
        info_of(&bytes).unwrap_err()
    };
    for id in ["AtU8", "ImpT", "ExpT", "Attr"] {
        match of(id.as_bytes().try_into().unwrap()) {
            BeamErrorKind::MalformedChunk { chunk, .. } => assert_eq!(chunk, id),
            other => panic!("{id}: {other}"),
        }
    }
    assert!(info_of(&whole).is_ok());
}

proptest! {
    /// Whatever stands in the files of a build, it is compared or named.
    #[test]
    fn mutated_builds_are_compared_or_refused(at in any::<prop::sample::Index>(), byte in any::<u8>(),
                                              cut in any::<prop::sample::Index>()) {
        let whole = module("a", "1", &["gen_server"], &[("init", 1)], &[("b", "f", 0)]);
        let mut bytes = whole.clone();
        bytes[at.index(whole.len())] = byte;
        bytes.truncate(cut.index(2 * whole.len()).min(whole.len()) + 1);
        let old = Build::new("{vsn, \"1\"}", &[("a", whole)]);
        let new = Build::new("{vsn, \"1\"}", &[("a", bytes)]);
        match compare(&old.dir(), &new.dir()) {
            Ok(found) => prop_assert!(found.added().count() == 0),
            Err(HotError::Beam(error)) => prop_assert!(error.path == Path::new(&new.dir()).join("ebin/a.beam")),
            Err(other) => prop_assert!(false, "{other}"),
        }
    }
}
