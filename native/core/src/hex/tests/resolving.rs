use std::time::Duration;

use super::super::error::{Fact, Kind};
use super::world::{Weather, World};
use super::{Bench, fact, versions};
use crate::job::Control;

#[test]
fn the_newest_versions_that_satisfy_everybody_are_locked() {
    let bench = Bench::new(World::usual());
    bench.world.add("low", "2.0.0", &[]);
    let resolved = bench.resolve("top", "1.0.0", &[]).unwrap();
    assert_eq!(
        versions(&resolved.lock),
        ["low 1.1.0", "mid 1.1.0", "top 1.0.0", "util 1.1.0"]
    );
    assert!(resolved.retired.is_empty());
    let mid = &resolved.lock[1];
    assert_eq!(
        (mid.repo.as_str(), mid.app.as_str(), mid.sha256.len()),
        ("hexpm", "mid", 64)
    );
    let needs = mid.requirements.as_ref().unwrap();
    assert_eq!(needs.len(), 2);
    assert_eq!(needs[0].repository.as_deref(), Some("hexpm"));
    let asked = bench.world.asked();
    assert_eq!(
        asked
            .iter()
            .filter(|at| at.as_str() == "hexpm/packages/low")
            .count(),
        1
    );
}

#[test]
fn a_complete_lock_stands_without_any_network() {
    let bench = Bench::new(World::usual());
    let lock = bench.lock("top", "1.0.0");
    bench.world.add("low", "1.2.0", &[]);
    bench.world.weather(Weather::Down);
    bench.world.asked();
    assert_eq!(bench.resolve("top", "1.0.0", &lock).unwrap().lock, lock);
    assert!(bench.world.asked().is_empty());
}

#[test]
fn a_lock_is_kept_wherever_it_satisfies() {
    let bench = Bench::new(World::usual());
    let lock = bench.lock("top", "1.0.0");
    bench.world.add("low", "1.2.0", &[]);
    bench.world.add("util", "1.2.0", &[]);
    bench
        .world
        .add("top", "1.2.0", &["mid ~> 1.0", "low ~> 1.2"]);
    let upgraded = bench.resolve("top", "1.2.0", &lock).unwrap().lock;
    assert_eq!(
        versions(&upgraded),
        ["low 1.2.0", "mid 1.1.0", "top 1.2.0", "util 1.1.0"]
    );
}

#[test]
fn an_optional_package_comes_only_with_somebody_who_needs_it() {
    let bench = Bench::new(World::new());
    bench.world.add("driver", "1.0.0", &[]);
    bench.world.add("driver", "1.5.0", &[]);
    bench.world.add("base", "1.0.0", &["driver? < 1.5.0"]);
    bench.world.add("alone", "1.0.0", &["base ~> 1.0"]);
    bench
        .world
        .add("both", "1.0.0", &["base ~> 1.0", "driver ~> 1.0"]);
    assert_eq!(
        versions(&bench.lock("alone", "1.0.0")),
        ["alone 1.0.0", "base 1.0.0"]
    );
    assert!(
        !bench
            .world
            .asked()
            .contains(&"hexpm/packages/driver".to_owned())
    );
    let both = versions(&bench.lock("both", "1.0.0"));
    assert_eq!(both, ["base 1.0.0", "both 1.0.0", "driver 1.0.0"]);
}

#[test]
fn a_release_is_preferred_to_a_prerelease() {
    let bench = Bench::new(World::new());
    for version in ["1.0.0", "1.1.0-rc.1", "2.0.0-rc.1"] {
        bench.world.add("low", version, &[]);
    }
    bench.world.add("plain", "1.0.0", &["low >= 1.0.0"]);
    bench.world.add("eager", "1.0.0", &["low ~> 2.0-rc"]);
    assert_eq!(
        versions(&bench.lock("plain", "1.0.0")),
        ["low 1.0.0", "plain 1.0.0"]
    );
    assert_eq!(
        versions(&bench.lock("eager", "1.0.0")),
        ["eager 1.0.0", "low 2.0.0-rc.1"]
    );
}

#[test]
fn older_versions_are_tried_when_the_newest_do_not_fit() {
    let bench = Bench::new(World::usual());
    bench.world.add("low", "2.0.0", &[]);
    bench.world.add("mid", "1.2.0", &["low ~> 2.0"]);
    assert_eq!(versions(&bench.lock("top", "1.0.0"))[1], "mid 1.1.0");
}

#[test]
fn a_contradiction_is_told_in_words() {
    let bench = Bench::new(World::usual());
    bench.world.add("low", "2.0.0", &[]);
    bench
        .world
        .add("torn", "1.0.0", &["mid ~> 1.0", "low ~> 2.0"]);
    let error = bench.resolve("torn", "1.0.0", &[]).unwrap_err();
    assert_eq!(error.kind, Kind::NoResolution);
    let words = "no versions satisfy all that torn 1.0.0 requires: torn 1.0.0 needs low ~> 2.0; \
                 torn 1.0.0 needs mid ~> 1.0; every version of mid needs low ~> 1.0";
    assert_eq!(error.message, words);
}

#[test]
fn a_requirement_that_is_none_rules_out_its_release_only() {
    let bench = Bench::new(World::usual());
    bench.world.add("mid", "1.5.0", &["low latest"]);
    assert_eq!(versions(&bench.lock("top", "1.0.0"))[1], "mid 1.1.0");
    let error = bench.resolve("mid", "1.5.0", &[]).unwrap_err();
    assert!(error.message.contains("latest"), "{}", error.message);
}

#[test]
fn what_is_not_there_has_an_error_that_helps() {
    let bench = Bench::new(World::usual());
    let error = bench.resolve("top", "1.0.7", &[]).unwrap_err();
    assert_eq!(error.kind, Kind::VersionNotFound);
    assert_eq!(fact(&error, Fact::Versions), "1.0.0, 1.1.0");
    let error = bench.resolve("nothing", "1.0.0", &[]).unwrap_err();
    assert_eq!(error.kind, Kind::PackageNotFound);
    assert!(error.message.contains("hexpm, acme"), "{}", error.message);
    let error = bench.resolve("top", "v1", &[]).unwrap_err();
    assert_eq!(error.kind, Kind::BadName);
    let error = bench.resolve("../top", "1.0.0", &[]).unwrap_err();
    assert_eq!(error.kind, Kind::BadName);
    bench.world.add("lost", "1.0.0", &["nothing ~> 1.0"]);
    let error = bench.resolve("lost", "1.0.0", &[]).unwrap_err();
    assert_eq!(error.kind, Kind::PackageNotFound);
    assert_eq!(fact(&error, Fact::Package), "nothing");
}

#[test]
fn the_nearest_and_the_newest_versions_are_named() {
    let bench = Bench::new(World::new());
    for minor in 0..20 {
        bench.world.add("many", &format!("1.{minor}.0"), &[]);
    }
    let error = bench.resolve("many", "1.3.1", &[]).unwrap_err();
    assert_eq!(
        fact(&error, Fact::Versions),
        "1.3.0, 1.4.0, 1.17.0, 1.18.0, 1.19.0"
    );
}

#[test]
fn packages_of_another_repository_are_found_there() {
    let bench = Bench::new(World::usual());
    bench.world.add_to(
        "acme",
        "secret",
        "1.0.0",
        &["hexpm/mid ~> 1.0", "own ~> 1.0"],
    );
    bench.world.add_to("acme", "own", "1.0.0", &[]);
    let lock = bench.lock("secret", "1.0.0");
    let repos: Vec<_> = lock
        .iter()
        .map(|one| format!("{}/{}", one.repo, one.name))
        .collect();
    assert_eq!(
        repos,
        [
            "hexpm/low",
            "hexpm/mid",
            "acme/own",
            "acme/secret",
            "hexpm/util"
        ]
    );
    bench.world.add("stray", "1.0.0", &["nowhere/low ~> 1.0"]);
    let error = bench.resolve("stray", "1.0.0", &[]).unwrap_err();
    assert_eq!(
        (error.kind, fact(&error, Fact::Repo)),
        (Kind::UnknownRepo, "nowhere")
    );
    bench.world.add_to("acme", "low", "1.0.0", &[]);
    bench
        .world
        .add("twice", "1.0.0", &["low ~> 1.0", "acme/low ~> 1.0"]);
    assert_eq!(
        bench.resolve("twice", "1.0.0", &[]).unwrap_err().kind,
        Kind::NoResolution
    );
}

#[test]
fn a_locked_package_stays_with_its_repository() {
    let bench = Bench::new(World::usual());
    bench.world.add_to("acme", "own", "1.0.0", &[]);
    bench.world.add_to("acme", "own", "1.1.0", &[]);
    let lock = bench.lock("own", "1.0.0");
    bench.world.add("own", "1.1.0", &[]);
    assert_eq!(
        bench.resolve("own", "1.1.0", &lock).unwrap().lock[0].repo,
        "acme"
    );
}

#[test]
fn a_job_that_must_stop_stops() {
    let bench = Bench::new(World::usual());
    let control = Control::new(u64::MAX, Duration::from_secs(60));
    control.cancel();
    let request = super::Resolve {
        name: "top".into(),
        version: "1.0.0".into(),
        repo: None,
        lock: Vec::new(),
    };
    let error = bench.with_tools(|tools| {
        let tools = super::Tools {
            control: &control,
            ..*tools
        };
        super::resolve::run(&request, &tools).unwrap_err()
    });
    assert_eq!(error.kind, Kind::Cancelled);
}

#[test]
fn a_contradiction_of_many_versions_is_told_in_few_words() {
    let bench = Bench::new(World::new());
    bench.world.add("low", "1.0.0", &[]);
    for minor in 0..120 {
        bench.world.add(
            "mid",
            &format!("1.{minor}.0"),
            &[&format!("low == 2.{minor}.0")],
        );
        bench
            .world
            .add("same", &format!("1.{minor}.0"), &["low ~> 2.0"]);
    }
    bench.world.add("top", "1.0.0", &["mid ~> 1.0"]);
    let error = bench.resolve("top", "1.0.0", &[]).unwrap_err();
    assert_eq!(error.kind, Kind::NoResolution);
    assert!(
        error.message.len() < 600 && error.message.contains("more"),
        "{}",
        error.message
    );
    bench.world.add("top", "1.1.0", &["same >= 1.5.0"]);
    let error = bench.resolve("top", "1.1.0", &[]).unwrap_err();
    let words = "no versions satisfy all that top 1.1.0 requires: top 1.1.0 needs same >= 1.5.0; \
                 same 1.5.0 to 1.119.0 (115 versions) needs low ~> 2.0; \
                 low ~> 2.0 is not there (the newest is 1.0.0)";
    assert_eq!(error.message, words);
}

#[test]
fn a_version_that_requires_another_one_of_itself_is_not_chosen() {
    let world = World::new();
    world.add("one", "1.0.0", &["self >= 1.0.0"]);
    world.add("self", "1.0.0", &["self 1.0.0"]);
    world.add("self", "1.1.0", &["self 1.0.0 or 2.0.0"]);
    world.add("self", "2.0.0", &["self? ~> 1.0"]);
    let bench = Bench::new(world);
    let resolved = bench.resolve("one", "1.0.0", &[]).unwrap();
    assert_eq!(versions(&resolved.lock), ["one 1.0.0", "self 1.0.0"]);
    let error = bench.resolve("self", "2.0.0", &[]).unwrap_err();
    assert_eq!(error.kind, Kind::NoResolution);
    assert!(
        error.message.contains("requires itself as ~> 1.0"),
        "{error}"
    );
}
