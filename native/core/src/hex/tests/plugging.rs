//! The plugins that packages are built with.

use super::super::error::{Fact, Kind};
use super::super::lock::Locked;
use super::super::{Called, Plugin, Source};
use super::world::{Weather, World};
use super::{Bench, fact, versions};

const CALLED: &str = "{provider_hooks, [{pre, [{compile, {pc, compile}}]}]}.\n";

/// `mid` is built with `pc`, which needs `tool`.
fn world() -> World {
    let world = World::usual();
    for version in ["1.0.0", "1.1.0", "2.0.0-rc.1"] {
        world.add("pc", version, &["tool ~> 1.0"]);
    }
    world.add("tool", "1.0.0", &[]);
    want(&world, "mid", "pc");
    world
}

/// Has both versions of a package name plugins and call `pc`.
fn want(world: &World, name: &str, plugins: &str) {
    for version in ["1.0.0", "1.1.0"] {
        let config = format!("{{plugins, [{plugins}]}}.\n{CALLED}");
        world.configure(name, version, &config);
    }
}

fn chosen(bench: &Bench) -> Vec<String> {
    let lock = bench.lock("top", "1.0.0");
    versions(&bench.plugins(&lock, &[]).unwrap().lock)
}

#[test]
fn a_plugin_comes_with_all_that_it_needs() {
    let bench = Bench::new(world());
    assert_eq!(chosen(&bench), ["pc 1.1.0", "tool 1.0.0"]);
    bench.world.add("pc", "1.2.0", &[]);
    bench.world.retire("pc", "1.2.0", 1);
    assert_eq!(chosen(&bench), ["pc 1.1.0", "tool 1.0.0"]);
    want(&bench.world, "mid", "{pc, \"1.0.0\"}");
    assert_eq!(chosen(&bench), ["pc 1.0.0", "tool 1.0.0"]);
}

#[test]
fn what_was_locked_stays() {
    let bench = Bench::new(world());
    let packages = bench.lock("top", "1.0.0");
    let before = bench.plugins(&packages, &[]).unwrap().lock;
    bench.world.add("pc", "1.5.0", &[]);
    assert_eq!(bench.plugins(&packages, &before).unwrap().lock, before);
    assert_eq!(chosen(&bench), ["pc 1.5.0"]);
    bench.world.configure("pc", "1.1.0", "{erl_opts, []}.\n");
    let error = bench.plugins(&packages, &before).unwrap_err();
    assert_eq!(error.kind, Kind::ChecksumChanged);
    assert_eq!(fact(&error, Fact::Package), "pc");
}

#[test]
fn what_a_script_adds_counts() {
    let bench = Bench::new(world());
    for version in ["1.0.0", "1.1.0"] {
        let script = format!(
            "CONFIG ++ [{{plugins, [{{pc, \"1.0.0\"}}]}}, {}].",
            CALLED.trim_end_matches(".\n")
        );
        bench.world.script("mid", version, &script);
    }
    assert_eq!(chosen(&bench), ["pc 1.0.0", "tool 1.0.0"]);
}

#[test]
fn plugins_may_be_built_with_plugins() {
    let bench = Bench::new(world());
    bench.world.add("maker", "1.0.0", &[]);
    let config = "{plugins, [maker]}.\n{provider_hooks, [{post, [{compile, {maker, do}}]}]}.\n";
    bench.world.configure("tool", "1.0.0", config);
    assert_eq!(chosen(&bench), ["maker 1.0.0", "pc 1.1.0", "tool 1.0.0"]);
}

#[test]
fn what_nobody_has_or_calls_is_left_out() {
    let bench = Bench::new(world());
    bench.world.add("lint", "1.0.0", &[]);
    let plugins = "lint, nowhere, {pc, \"~> 1.0\"}, {own, {git, \"u\"}}, {low, \"no version\"}";
    want(&bench.world, "mid", plugins);
    bench.world.asked();
    assert_eq!(chosen(&bench), ["pc 1.1.0", "tool 1.0.0"]);
    assert!(!bench.world.asked().contains(&"hexpm/packages/lint".into()));
    want(&bench.world, "mid", "pc, nowhere");
    for version in ["1.0.0", "1.1.0"] {
        let config = "{plugins, [pc, nowhere]}.\n{provider_hooks, [{pre, [{compile, x}]}]}.\n";
        bench.world.configure("mid", version, config);
    }
    assert_eq!(chosen(&bench), ["pc 1.1.0", "tool 1.0.0"]);
}

#[test]
fn the_package_that_is_nearest_to_the_root_decides() {
    let bench = Bench::new(world());
    want(&bench.world, "top", "{pc, \"1.0.0\"}");
    want(&bench.world, "mid", "{pc, \"1.1.0\"}");
    assert_eq!(chosen(&bench), ["pc 1.0.0", "tool 1.0.0"]);
    want(&bench.world, "top", "{pc, \"7.0.0\"}");
    assert_eq!(chosen(&bench), ["pc 1.1.0", "tool 1.0.0"]);
}

#[test]
fn a_registry_that_does_not_answer_is_no_missing_plugin() {
    let bench = Bench::new(world());
    let lock = bench.lock("top", "1.0.0");
    bench.fetch(&lock).unwrap();
    bench.world.weather(Weather::Down);
    let error = bench.plugins(&lock, &[]).unwrap_err();
    assert_eq!(error.kind, Kind::RegistryUnreachable);
    assert_eq!(fact(&error, Fact::Package), "pc");
}

#[test]
fn what_a_package_names_is_told_when_it_is_fetched() {
    let bench = Bench::new(world());
    let fetched = bench.fetch(&bench.lock("mid", "1.0.0")).unwrap();
    let named: Vec<&Plugin> = fetched.iter().flat_map(|one| &one.plugins).collect();
    let pc = Plugin {
        app: "pc".into(),
        source: Source::Hex {
            package: "pc".into(),
            requirement: ">= 0.0.0".into(),
        },
        called: Called::Yes,
    };
    assert_eq!(named, [&pc]);
}

#[test]
fn packages_for_mix_take_no_plugins_from_here() {
    let bench = Bench::new(world());
    let mix = "{<<\"app\">>,<<\"low\">>}.\n{<<\"build_tools\">>,[<<\"mix\">>]}.\n\
               {<<\"name\">>,<<\"low\">>}.\n{<<\"version\">>,<<\"1.1.0\">>}.\n";
    let files = super::world::contents("low", "1.1.0");
    let tarball = super::world::tarball(mix, &files);
    bench.world.republish("low", "1.1.0", tarball);
    assert_eq!(chosen(&bench), Vec::<String>::new());
}

#[test]
fn a_tarball_of_a_plugin_is_verified() {
    let bench = Bench::new(world());
    let packages = bench.lock("top", "1.0.0");
    let plugins: Vec<Locked> = bench.plugins(&packages, &[]).unwrap().lock;
    std::fs::remove_dir_all(bench.cache().join("tarballs")).unwrap();
    bench
        .world
        .replace("hexpm/tarballs/pc-1.1.0.tar", b"other".to_vec());
    let error = bench.fetch(&plugins).unwrap_err();
    assert_eq!(error.kind, Kind::ChecksumMismatch);
    assert!(error.message.contains("pc 1.1.0"), "{}", error.message);
}
