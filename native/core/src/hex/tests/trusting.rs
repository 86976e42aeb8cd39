use super::super::error::{Fact, Kind};
use super::super::repo::AuthKey;
use super::world::{Weather, World, gzip, key, retirement, signed};
use super::{Bench, fact, versions};

#[test]
fn a_republished_tarball_is_told() {
    let bench = Bench::new(World::usual());
    let lock = bench.lock("top", "1.0.0");
    bench.world.republish("low", "1.1.0", b"another".to_vec());
    let error = bench.resolve("top", "1.1.0", &lock).unwrap_err();
    assert_eq!(error.kind, Kind::ChecksumChanged);
    assert_eq!(fact(&error, Fact::Package), "low");
    assert_eq!(fact(&error, Fact::Expected), lock[0].sha256);
}

#[test]
fn a_retired_version_is_refused_unless_it_is_locked() {
    let bench = Bench::new(World::usual());
    let lock = bench.lock("top", "1.0.0");
    bench.world.retire("top", "1.0.0", 2);
    let error = bench.resolve("top", "1.0.0", &[]).unwrap_err();
    assert_eq!(error.kind, Kind::VersionRetired);
    assert_eq!(
        (fact(&error, Fact::Reason), fact(&error, Fact::Versions)),
        ("security", "1.1.0")
    );
    assert!(error.message.contains("use another"));
    let part: Vec<_> = lock
        .iter()
        .filter(|locked| locked.name != "util")
        .cloned()
        .collect();
    let resolved = bench.resolve("top", "1.0.0", &part).unwrap();
    assert_eq!(resolved.lock, lock);
    assert_eq!(resolved.retired[0].retirement, retirement("security"));
}

#[test]
fn a_retired_dependency_is_avoided_where_possible() {
    let bench = Bench::new(World::usual());
    bench.world.retire("low", "1.1.0", 3);
    let resolved = bench.resolve("top", "1.0.0", &[]).unwrap();
    assert_eq!(versions(&resolved.lock)[0], "low 1.0.0");
    assert!(resolved.retired.is_empty());
    bench.world.retire("low", "1.0.0", 77);
    let resolved = bench.resolve("top", "1.0.0", &[]).unwrap();
    assert_eq!(versions(&resolved.lock)[0], "low 1.1.0");
    assert_eq!(resolved.retired[0].name, "low");
    assert_eq!(resolved.retired[0].retirement, retirement("deprecated"));
}

#[test]
fn a_retired_dependency_is_avoided_by_an_older_version_of_who_needs_it() {
    let bench = Bench::new(World::usual());
    bench.world.add("bad", "1.0.0", &[]);
    bench.world.retire("bad", "1.0.0", 1);
    bench.world.add("mid", "1.2.0", &["bad ~> 1.0"]);
    let resolved = bench.resolve("top", "1.0.0", &[]).unwrap();
    assert_eq!(versions(&resolved.lock)[1], "mid 1.1.0");
}

#[test]
fn an_answer_must_be_signed_by_the_repository() {
    let mut bench = Bench::new(World::usual());
    bench.repos = vec![bench.world.repo("hexpm", "a stranger")];
    let error = bench.resolve("low", "1.0.0", &[]).unwrap_err();
    assert_eq!(
        (error.kind, fact(&error, Fact::Repo)),
        (Kind::BadSignature, "hexpm")
    );
}

#[test]
fn a_well_signed_answer_for_something_else_is_refused() {
    let bench = Bench::new(World::usual());
    bench.world.add_to("acme", "util", "1.0.0", &[]);
    let other = bench.world.file("hexpm/packages/util").unwrap();
    bench.world.replace("hexpm/packages/low", other);
    let error = bench.resolve("low", "1.0.0", &[]).unwrap_err();
    assert_eq!(
        (error.kind, fact(&error, Fact::Found)),
        (Kind::BadSignature, "hexpm/util")
    );
    let mut foreign = b"\x12\x03low\x1a\x04acme".to_vec();
    bench
        .world
        .replace("hexpm/packages/low", signed(&foreign, &key("hexpm")));
    let error = bench.resolve("low", "1.0.0", &[]).unwrap_err();
    assert_eq!(
        (error.kind, fact(&error, Fact::Found)),
        (Kind::BadSignature, "acme/low")
    );
    foreign.push(0x0a);
    for garbage in [
        signed(&foreign, &key("hexpm")),
        gzip(b"\xff"),
        b"no gzip".to_vec(),
        vec![],
    ] {
        bench.world.replace("hexpm/packages/low", garbage);
        let error = bench.resolve("low", "1.0.0", &[]).unwrap_err();
        assert_eq!(error.kind, Kind::BadRegistry);
    }
    let unsigned = gzip(b"\x0a\x00");
    bench.world.replace("hexpm/packages/low", unsigned);
    assert_eq!(
        bench.resolve("low", "1.0.0", &[]).unwrap_err().kind,
        Kind::BadSignature
    );
}

#[test]
fn a_bomb_is_refused() {
    let bench = Bench::new(World::usual());
    let zeros = vec![0; super::limits::REGISTRY_INFLATED as usize + 1];
    bench.world.replace("hexpm/packages/low", gzip(&zeros));
    assert_eq!(
        bench.resolve("low", "1.0.0", &[]).unwrap_err().kind,
        Kind::BadRegistry
    );
}

#[test]
fn a_repository_that_does_not_answer_and_one_that_refuses_are_told_apart() {
    let mut bench = Bench::new(World::usual());
    bench.world.weather(Weather::Down);
    let error = bench.resolve("top", "1.0.0", &[]).unwrap_err();
    assert_eq!(error.kind, Kind::RegistryUnreachable);
    bench.world.weather(Weather::Locked);
    let error = bench.resolve("top", "1.0.0", &[]).unwrap_err();
    assert_eq!(error.kind, Kind::RegistryUnauthorized);
    assert!(error.message.contains("wants an auth key"));
    bench.repos[0].auth_key = Some(AuthKey::Env("HEX_KEY".into()));
    let error = bench.resolve("top", "1.0.0", &[]).unwrap_err();
    assert!(error.message.contains("refuses the configured auth key"));
}

#[test]
fn what_has_not_changed_is_not_sent_again() {
    let bench = Bench::new(World::usual());
    bench.lock("mid", "1.0.0");
    bench.world.asked();
    let again = bench.lock("mid", "1.0.0");
    let unchanged = |name| format!("hexpm/packages/{name} unchanged");
    assert_eq!(bench.world.asked(), ["low", "mid", "util"].map(unchanged));
    for file in std::fs::read_dir(bench.cache().join("registry")).unwrap() {
        std::fs::write(file.unwrap().path().join("low"), "\"tag\"\ndamaged").unwrap();
    }
    assert_eq!(bench.lock("mid", "1.0.0"), again);
    assert!(
        bench
            .world
            .asked()
            .contains(&"hexpm/packages/low".to_owned())
    );
}
