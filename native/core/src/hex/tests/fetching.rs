use std::sync::Barrier;

use super::super::error::{Fact, Kind};
use super::super::lock::Locked;
use super::super::{hex, limits};
use super::world::{Weather, World, contents, gzip, plain_metadata, tar, tarball};
use super::{Bench, fact};
use sha2::{Digest, Sha256};

#[test]
fn packages_are_unpacked_and_described() {
    let bench = Bench::new(World::usual());
    let fetched = bench.fetch(&bench.lock("top", "1.0.0")).unwrap();
    let names: Vec<_> = fetched.iter().map(|one| one.locked.name.as_str()).collect();
    assert_eq!(names, ["low", "mid", "top", "util"]);
    let top = &fetched[2];
    assert_eq!(top.metadata.build_tools, ["rebar3"]);
    assert_eq!((top.inner.len(), top.cached), (64, false));
    let source = std::fs::read_to_string(top.path.join("src/top.app.src")).unwrap();
    assert!(source.contains("1.0.0"));
}

#[test]
fn a_second_fetch_needs_no_network() {
    let bench = Bench::new(World::usual());
    let lock = bench.lock("top", "1.0.0");
    bench.fetch(&lock).unwrap();
    bench.world.weather(Weather::Down);
    let elsewhere = bench.dir.path().join("elsewhere");
    let fetched = bench.fetch_to(&lock, &elsewhere).unwrap();
    assert!(
        fetched
            .iter()
            .all(|one| one.cached && one.path.starts_with(&elsewhere))
    );
}

#[test]
fn a_damaged_cache_is_not_believed() {
    let bench = Bench::new(World::usual());
    let lock = bench.lock("low", "1.0.0");
    bench.fetch(&lock).unwrap();
    let kept = bench
        .cache()
        .join("tarballs")
        .join(format!("{}.tar", lock[0].sha256));
    std::fs::write(&kept, "damaged").unwrap();
    assert!(!bench.fetch(&lock).unwrap()[0].cached);
    assert!(bench.fetch(&lock).unwrap()[0].cached);
}

#[test]
fn builds_that_share_a_dependency_fetch_it_once() {
    let bench = Bench::new(World::usual());
    let lock = bench.lock("low", "1.0.0");
    bench.world.asked();
    let together = Barrier::new(4);
    std::thread::scope(|scope| {
        for number in 0..4 {
            let (bench, lock, together) = (&bench, &lock, &together);
            scope.spawn(move || {
                together.wait();
                bench
                    .fetch_to(lock, &bench.dir.path().join(number.to_string()))
                    .unwrap();
            });
        }
    });
    assert_eq!(bench.world.asked(), ["hexpm/tarballs/low-1.0.0.tar"]);
}

#[test]
fn a_tarball_that_was_changed_on_its_way_is_refused() {
    let bench = Bench::new(World::usual());
    let lock = bench.lock("low", "1.0.0");
    let other = tarball(&plain_metadata("low", "1.0.0"), &contents("low", "6.6.6"));
    bench
        .world
        .replace("hexpm/tarballs/low-1.0.0.tar", other.clone());
    let error = bench.fetch(&lock).unwrap_err();
    assert_eq!(error.kind, Kind::ChecksumMismatch);
    assert_eq!(fact(&error, Fact::Expected), lock[0].sha256);
    assert_eq!(fact(&error, Fact::Found), hex(&Sha256::digest(&other)));
    assert_eq!(fact(&error, Fact::Repo), "hexpm");
    assert!(!bench.dir.path().join("deps/low").exists());
}

#[test]
fn a_republished_tarball_is_told_from_a_changed_one() {
    let bench = Bench::new(World::usual());
    let lock = bench.lock("low", "1.0.0");
    let other = tarball(&plain_metadata("low", "1.0.0"), &contents("low", "6.6.6"));
    bench.world.republish("low", "1.0.0", other);
    assert_eq!(bench.fetch(&lock).unwrap_err().kind, Kind::ChecksumChanged);
}

/// Fetches a tarball that the repository vouches for.
fn fetch_as_low(bytes: Vec<u8>) -> Result<Vec<super::Fetched>, super::HexError> {
    let bench = Bench::new(World::usual());
    bench.world.republish("low", "1.0.0", bytes);
    bench.fetch(&bench.lock("low", "1.0.0"))
}

#[test]
fn a_tarball_that_contradicts_itself_is_refused() {
    let (metadata, files) = (plain_metadata("low", "1.0.0"), contents("low", "1.0.0"));
    let entries = |version: &'static [u8], checksum: &'static [u8]| {
        tar(&[
            ("VERSION", version),
            ("CHECKSUM", checksum),
            ("metadata.config", metadata.as_bytes()),
            ("contents.tar.gz", &files),
        ])
    };
    let good = tarball(&metadata, &files);
    let bad = [
        entries(b"3", &[b'0'; 64]),
        entries(b"4", &[b'0'; 64]),
        tar(&[("VERSION", b"3")]),
        tar(&[("VERSION", b"3"), ("VERSION", b"3")]),
        good[..good.len() / 2].to_vec(),
        b"no tar file at all".to_vec(),
        Vec::new(),
        tarball(&plain_metadata("util", "1.0.0"), &files),
        tarball(&plain_metadata("low", "1.1.0"), &files),
    ];
    assert!(fetch_as_low(good).is_ok());
    for (number, bytes) in bad.into_iter().enumerate() {
        let error = fetch_as_low(bytes).unwrap_err();
        assert_eq!(
            (error.kind, fact(&error, Fact::Package)),
            (Kind::Tampered, "low"),
            "{number}"
        );
    }
}

#[test]
fn files_that_lead_elsewhere_are_not_unpacked() {
    let mut outside = tar(&[("aa/bb", b"x")]);
    // A name that the builder would not write.
    outside[..5].copy_from_slice(b"../ba");
    let sum: u32 = (0..512)
        .filter(|at| !(148..156).contains(at))
        .map(|at| u32::from(outside[at]))
        .sum();
    outside[148..156].copy_from_slice(format!("{:06o}\0 ", sum + 8 * 32).as_bytes());
    for files in [gzip(&outside), gzip(b"no tar"), b"no gzip".to_vec()] {
        let error = fetch_as_low(tarball(&plain_metadata("low", "1.0.0"), &files)).unwrap_err();
        assert_eq!(
            (error.kind, fact(&error, Fact::Package)),
            (Kind::Tampered, "low")
        );
    }
}

#[test]
fn metadata_that_cannot_be_read_is_told() {
    for metadata in [
        "{<<\"name\">>",
        "{<<\"name\">>,<<\"../low\">>}.",
        "",
        "\u{1}",
    ] {
        let error = fetch_as_low(tarball(metadata, &contents("low", "1.0.0"))).unwrap_err();
        assert_eq!(error.kind, Kind::BadMetadata, "{metadata}");
    }
}

#[test]
fn a_lock_that_lacks_a_package_is_told() {
    let bench = Bench::new(World::usual());
    let mut lock = bench.lock("mid", "1.0.0");
    lock.retain(|locked| locked.name != "util");
    let error = bench.fetch(&lock).unwrap_err();
    assert_eq!(
        (error.kind, fact(&error, Fact::Package)),
        (Kind::BadLock, "util")
    );
}

#[test]
fn what_is_gone_or_too_large_or_unreachable_is_told() {
    let bench = Bench::new(World::usual());
    let lock = bench.lock("low", "1.0.0");
    let gone = [Locked {
        version: "1.0.5".into(),
        ..lock[0].clone()
    }];
    assert_eq!(bench.fetch(&gone).unwrap_err().kind, Kind::VersionNotFound);
    let request = super::Fetch {
        packages: lock.clone(),
        dir: bench.dir.path().join("deps"),
        max_bytes: 100,
    };
    let error = bench.with_tools(|tools| super::fetch::run(&request, tools, &|_| ()).unwrap_err());
    assert_eq!(error.kind, Kind::TooLarge);
    bench.world.weather(Weather::Down);
    assert_eq!(
        bench.fetch(&lock).unwrap_err().kind,
        Kind::RegistryUnreachable
    );
    bench.world.weather(Weather::Locked);
    assert_eq!(
        bench.fetch(&lock).unwrap_err().kind,
        Kind::RegistryUnauthorized
    );
    let left = std::fs::read_dir(bench.cache().join("tmp"))
        .unwrap()
        .count();
    assert_eq!(left, 0, "nothing half done stays");
}

#[test]
fn progress_names_the_package() {
    let bench = Bench::new(World::usual());
    let request = super::Fetch {
        packages: bench.lock("top", "1.0.0"),
        dir: bench.dir.path().join("deps"),
        max_bytes: limits::TARBALL_BYTES,
    };
    let heard = std::cell::RefCell::new(Vec::new());
    let hear = |progress: super::fetch::Progress| heard.borrow_mut().push(progress);
    bench.with_tools(|tools| super::fetch::run(&request, tools, &hear).unwrap());
    let mut names: Vec<_> = heard
        .borrow()
        .iter()
        .map(|one| one.package.clone())
        .collect();
    names.sort();
    assert_eq!(names, ["low", "mid", "top", "util"]);
    assert!(
        heard
            .borrow()
            .iter()
            .all(|one| Some(one.received_bytes) == one.total_bytes)
    );
}
