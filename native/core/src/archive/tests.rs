//! Hostile archives, made here block by block, and archives of the system's tar.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;
use tar::{EntryType, Header};

use super::stream::Limits;
use super::unpack::{Unpacked, bytes, file};
use super::{Kind, Result};
use crate::job::Control;

/// An archive in the making.
#[derive(Default)]
struct Tar(Vec<u8>);

impl Tar {
    fn raw(mut self, kind: u8, name: &[u8], link: &[u8], mode: u32, content: &[u8]) -> Self {
        let mut header = Header::new_gnu();
        let old = header.as_old_mut();
        old.name[..name.len().min(100)].copy_from_slice(&name[..name.len().min(100)]);
        old.linkname[..link.len().min(100)].copy_from_slice(&link[..link.len().min(100)]);
        header.set_entry_type(EntryType::new(kind));
        header.set_mode(mode);
        header.set_size(content.len() as u64);
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.content(content)
    }

    fn content(mut self, content: &[u8]) -> Self {
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    fn file(self, name: &str, content: &[u8]) -> Self {
        self.raw(b'0', name.as_bytes(), b"", 0o644, content)
    }

    fn dir(self, name: &str) -> Self {
        self.raw(b'5', name.as_bytes(), b"", 0o755, b"")
    }

    fn symlink(self, name: &str, target: &str) -> Self {
        self.raw(b'2', name.as_bytes(), target.as_bytes(), 0o777, b"")
    }

    fn hard_link(self, name: &str, target: &str) -> Self {
        self.raw(b'1', name.as_bytes(), target.as_bytes(), 0o644, b"")
    }

    fn pax(self, kind: u8, records: &[(&str, &str)]) -> Self {
        let mut text = String::new();
        for (key, value) in records {
            let mut length = key.len() + value.len() + 4;
            while format!("{length} {key}={value}\n").len() != length {
                length += 1;
            }
            text.push_str(&format!("{length} {key}={value}\n"));
        }
        self.raw(kind, b"PaxHeader", b"", 0o644, text.as_bytes())
    }

    fn end(mut self) -> Vec<u8> {
        self.0.extend_from_slice(&[0; 1024]);
        self.0
    }
}

/// A directory `root/in` for what is unpacked, beside what must stay as it is.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        std::fs::write(place.0.path().join("canary"), "alive").unwrap();
        place
    }

    fn inside(&self) -> PathBuf {
        self.0.path().join("in")
    }

    fn unpack(&self, archive: &[u8]) -> Result<Unpacked> {
        bytes(
            archive,
            archive.len() as u64,
            &self.inside(),
            &Limits::default(),
        )
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.inside().join(name)).unwrap()
    }

    /// Nothing outside was touched, and nothing inside leads out.
    fn check(&self) {
        let canary = std::fs::read_to_string(self.0.path().join("canary")).unwrap();
        assert_eq!(canary, "alive");
        let beside = self.0.path().read_dir().unwrap().count();
        assert_eq!(beside, 1 + usize::from(self.inside().exists()));
        if self.inside().exists() {
            let root = self.inside().canonicalize().unwrap();
            check_tree(&root, &root);
        }
    }
}

fn check_tree(dir: &Path, root: &Path) {
    use std::os::unix::fs::PermissionsExt;
    for entry in dir.read_dir().unwrap().map(|entry| entry.unwrap().path()) {
        let metadata = entry.symlink_metadata().unwrap();
        if metadata.is_symlink() {
            if let Ok(real) = entry.canonicalize() {
                assert!(real.starts_with(root), "{} leads out", entry.display());
            }
        } else {
            assert!(metadata.is_dir() || metadata.is_file());
            assert_eq!(metadata.permissions().mode() & 0o7022, 0);
            if metadata.is_dir() {
                check_tree(&entry, root);
            }
        }
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[track_caller]
fn refused(kind: Kind, archive: &[u8]) {
    for archive in [archive.to_vec(), gzip(archive)] {
        let place = Place::new();
        assert_eq!(place.unpack(&archive).unwrap_err().kind, kind);
        assert!(!place.inside().exists(), "it is gone");
        place.check();
    }
}

#[test]
fn files_directories_and_links_are_unpacked() {
    let archive = Tar::default()
        .dir("./")
        .dir("lib/")
        .file("./lib/a/ebin/a.app", b"app")
        .raw(b'0', b"bin/run", b"", 0o4755, b"#!")
        .raw(b'0', b"secret", b"", 0o400, b"s")
        .hard_link("bin/same", "bin/run")
        .symlink("lib/current", "a")
        .symlink("lib/a/up", "../../bin/run")
        .dir("lib")
        .end();
    for archive in [archive.clone(), gzip(&archive)] {
        let place = Place::new();
        let done = place.unpack(&archive).unwrap();
        assert_eq!((done.entries, done.bytes), (10, 6));
        assert_eq!(place.read("lib/current/ebin/a.app"), "app");
        assert_eq!(
            (place.read("bin/same"), place.read("lib/a/up")),
            ("#!".into(), "#!".into())
        );
        use std::os::unix::fs::PermissionsExt;
        let mode = |name| {
            place
                .inside()
                .join(name)
                .metadata()
                .unwrap()
                .permissions()
                .mode()
                & 0o7777
        };
        assert_eq!(
            (mode("bin/run"), mode("secret"), mode("lib")),
            (0o755, 0o600, 0o755)
        );
        place.check();
    }
}

#[test]
fn what_macos_packs_beside_files_is_left_out() {
    let place = Place::new();
    let archive = Tar::default()
        .file("./._shop", b"attributes")
        .file("shop/ebin/._shop.app", b"attributes")
        .file("shop/ebin/shop.app", b"{application, shop, []}.")
        .end();
    place.unpack(&archive).unwrap();
    assert_eq!(place.read("shop/ebin/shop.app"), "{application, shop, []}.");
    for gone in ["._shop", "shop/ebin/._shop.app"] {
        assert!(!place.inside().join(gone).exists(), "{gone}");
    }
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    for name in [
        "/etc/x",
        "../x",
        "a/../../x",
        "..",
        "a/..",
        "//x",
        "a\nb",
        "a\x1b[1m",
        ".",
    ] {
        refused(
            Kind::BadPath,
            &Tar::default()
                .raw(b'0', name.as_bytes(), b"", 0o644, b"")
                .end(),
        );
    }
    refused(
        Kind::BadPath,
        &Tar::default().raw(b'0', b"\xff", b"", 0o644, b"").end(),
    );
    let deep = "d/".repeat(41) + "x";
    let long = "n".repeat(256);
    for name in [deep.as_str(), long.as_str(), &"p/long/".repeat(200)] {
        refused(
            Kind::TooDeep,
            &Tar::default()
                .pax(b'x', &[("path", name)])
                .file("x", b"")
                .end(),
        );
    }
}

#[test]
fn links_that_lead_out_are_refused() {
    for target in ["/etc/passwd", "../canary", "..", "a/../../canary", ""] {
        refused(
            Kind::LinkOutside,
            &Tar::default().symlink("l", target).end(),
        );
    }
    // Each stays inside alone; together they do not.
    refused(
        Kind::LinkOutside,
        &Tar::default()
            .dir("a/b")
            .symlink("a/b/root", "../..")
            .symlink("out", "a/b/root/../canary")
            .end(),
    );
    refused(
        Kind::LinkOutside,
        &Tar::default().symlink("x", "y").symlink("y", "x").end(),
    );
    for target in ["../canary", "/etc/passwd", "none", "d", "l", ""] {
        let archive = Tar::default()
            .dir("d")
            .symlink("l", "d")
            .hard_link("h", target);
        refused(Kind::LinkOutside, &archive.end());
    }
}

#[test]
fn nothing_is_written_through_a_link() {
    for archive in [
        Tar::default().symlink("d", "e").file("d/x", b"1"),
        Tar::default().dir("e").symlink("d", "e").file("d/x", b"1"),
        Tar::default().symlink("f", "g").file("f", b"1"),
        Tar::default().file("d/x", b"1").symlink("d", "e"),
        Tar::default().symlink("d", "e").dir("d"),
        Tar::default().file("f", b"1").file("f/x", b"1"),
        Tar::default().file("f", b"1").file("f", b"2"),
        Tar::default().file("f", b"1").file("./f", b"2"),
        Tar::default().file("f", b"1").dir("f"),
        Tar::default().dir("f").file("f", b""),
        Tar::default()
            .file("g", b"1")
            .file("f", b"1")
            .hard_link("f", "g"),
    ] {
        refused(Kind::Duplicate, &archive.end());
    }
}

#[test]
fn special_entries_are_refused() {
    for kind in *b"346SVMDAZN" {
        refused(
            Kind::SpecialFile,
            &Tar::default().raw(kind, b"x", b"", 0o644, b"").end(),
        );
    }
}

#[test]
fn what_can_be_read_in_two_ways_is_refused() {
    let long = |name: &[u8]| Tar::default().raw(b'L', b"././@LongLink", b"", 0, name);
    for archive in [
        Tar::default().pax(b'x', &[("size", "512")]).file("a", b""),
        Tar::default()
            .pax(b'x', &[("path", "a"), ("path", "b")])
            .file("c", b""),
        Tar::default().pax(b'g', &[("path", "a")]).file("c", b""),
        Tar::default()
            .pax(b'x', &[("GNU.sparse.name", "a")])
            .file("c", b""),
        long(b"one\0").pax(b'x', &[("path", "two")]).file("c", b""),
        long(b"one\0")
            .raw(b'L', b"", b"", 0, b"two\0")
            .file("c", b""),
        long(b"one\0"),
        Tar::default()
            .raw(b'x', b"p", b"", 0, b"99 path=x\n")
            .file("c", b""),
        Tar::default()
            .raw(b'x', b"p", b"", 0, b"0 path=x\n")
            .file("c", b""),
        Tar::default().raw(b'5', b"d", b"", 0, b"content"),
        Tar::default().raw(b'2', b"l", b"x", 0, b"content"),
    ] {
        refused(Kind::BadArchive, &archive.end());
    }
    refused(Kind::TooDeep, &long(&[b'x'; 70_000]).file("c", b"").end());
    let mut followed = Tar::default().file("a", b"").end();
    followed.extend(Tar::default().file("b", b"").end());
    refused(Kind::BadArchive, &followed);
}

#[test]
fn long_names_are_read() {
    let name = format!("{}/{}", "a".repeat(120), "b".repeat(120));
    let gnu = Tar::default()
        .raw(
            b'L',
            b"././@LongLink",
            b"",
            0,
            format!("{name}\0").as_bytes(),
        )
        .file("cut", b"gnu");
    let pax = Tar::default()
        .pax(b'g', &[("comment", "x")])
        .pax(b'x', &[("mtime", "1.5"), ("path", &name), ("size", "3")])
        .file("cut", b"pax");
    for (archive, content) in [(gnu, "gnu"), (pax, "pax")] {
        let place = Place::new();
        place.unpack(&archive.end()).unwrap();
        assert_eq!(place.read(&name), content);
    }
}

#[test]
fn damaged_archives_are_refused() {
    let good = Tar::default().file("a", &[7; 3000]).file("b", b"x").end();
    for length in (0..good.len() - 1023).step_by(97) {
        refused(Kind::BadArchive, &good[..length]);
    }
    let mut bad = good.clone();
    bad[0] ^= 1;
    refused(Kind::BadArchive, &bad);
    refused(Kind::BadArchive, b"PK\x03\x04 a zip file");
    let packed = gzip(&good);
    for length in [10, packed.len() / 2, packed.len() - 4] {
        let place = Place::new();
        assert_eq!(
            place.unpack(&packed[..length]).unwrap_err().kind,
            Kind::BadArchive
        );
    }
    let mut bad = packed.clone();
    let sum = bad.len() - 8;
    bad[sum] ^= 1;
    let place = Place::new();
    assert_eq!(
        place.unpack(&bad).unwrap_err().kind,
        Kind::BadArchive,
        "the sum of gzip is checked"
    );
    assert!(!place.inside().exists());
}

#[test]
fn bombs_end_early() {
    let limits = Limits {
        entries: 3,
        file_bytes: 1000,
        bytes: 1500,
        ratio: 200,
    };
    let unpack = |archive: &[u8]| {
        let place = Place::new();
        let result = bytes(archive, archive.len() as u64, &place.inside(), &limits);
        place.check();
        result.map_err(|error| error.kind)
    };
    let many = |names: &[&str]| {
        let archive = names
            .iter()
            .fold(Tar::default(), |tar, name| tar.file(name, b""));
        unpack(&archive.end())
    };
    assert!(many(&["a", "b", "c"]).is_ok());
    assert_eq!(many(&["a", "b", "c", "d"]), Err(Kind::TooMany));
    assert_eq!(many(&["a/b/c/d"]), Err(Kind::TooMany), "directories count");
    assert_eq!(
        unpack(&Tar::default().file("a", &[0; 1001]).end()),
        Err(Kind::TooLarge)
    );
    let two = Tar::default().file("a", &[0; 800]).file("b", &[0; 800]);
    assert_eq!(unpack(&two.end()), Err(Kind::TooLarge));
    // A header that promises more than there is, and a stream that never ends.
    let mut header = Header::new_gnu();
    header.set_path("a").unwrap();
    header.set_size(u64::MAX / 2);
    header.set_cksum();
    assert_eq!(unpack(header.as_bytes()), Err(Kind::TooLarge));
    let zeros = std::io::Read::take(std::io::repeat(0), 1 << 40);
    let place = Place::new();
    let endless = bytes(zeros, 1 << 40, &place.inside(), &Limits::default());
    assert_eq!(endless.unwrap_err().kind, Kind::BadArchive);
}

#[test]
fn a_file_that_is_packed_too_well_is_a_bomb() {
    let archive = gzip(&Tar::default().file("zeros", &vec![0; 40 << 20]).end());
    let place = Place::new();
    assert_eq!(place.unpack(&archive).unwrap_err().kind, Kind::TooLarge);
    assert!(!place.inside().exists());
}

#[test]
fn a_job_that_must_stop_leaves_nothing() {
    let place = Place::new();
    let archive = place.0.path().join("archive");
    std::fs::write(&archive, Tar::default().file("a", b"x").end()).unwrap();
    let control = Control::new(1, std::time::Duration::from_secs(60));
    let unpack = || {
        file(
            &archive,
            &place.inside(),
            &Limits::default(),
            &control,
            &|_| (),
        )
    };
    assert_eq!(unpack().unwrap().entries, 1);
    assert_eq!(unpack().unwrap_err().kind, Kind::Exists);
    assert_eq!(place.read("a"), "x", "what is there is left alone");
    std::fs::remove_dir_all(place.inside()).unwrap();
    control.cancel();
    assert_eq!(unpack().unwrap_err().kind, Kind::Cancelled);
    assert!(!place.inside().exists());
}

#[test]
fn archives_of_the_systems_tar_are_unpacked() {
    let source = tempfile::tempdir().unwrap();
    let long = source.path().join("d".repeat(150)).join("e".repeat(150));
    std::fs::create_dir_all(&long).unwrap();
    std::fs::write(long.join("file"), vec![5; 100_000]).unwrap();
    std::fs::write(source.path().join("Ü"), "ü").unwrap();
    std::os::unix::fs::symlink("Ü", source.path().join("link")).unwrap();
    std::fs::hard_link(source.path().join("Ü"), source.path().join("hard")).unwrap();
    for format in ["gnu", "posix"] {
        let place = Place::new();
        let archive = place.0.path().with_extension("tgz");
        let made = Command::new("tar")
            .arg(format!("--format={format}"))
            .args(["-czf"])
            .arg(&archive)
            .arg("-C")
            .arg(source.path())
            .arg(".")
            .status();
        assert!(made.unwrap().success());
        let packed = std::fs::read(&archive).unwrap();
        std::fs::remove_file(&archive).unwrap();
        place.unpack(&packed).unwrap();
        let same = Command::new("diff")
            .arg("-r")
            .arg(source.path())
            .arg(place.inside())
            .status();
        assert!(same.unwrap().success(), "{format}");
        place.check();
    }
}

/// Names that meet one another, and lead everywhere.
fn name() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        "[ab]",
        Just("..".to_owned()),
        Just(".".to_owned()),
        Just(String::new())
    ];
    prop::collection::vec(part, 1..5).prop_map(|parts| parts.join("/"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn nothing_ever_leaves_the_directory(entries in prop::collection::vec((0..5u8, name(), name()), 1..8), cut in 0..20usize) {
        let archive = entries.iter().fold(Tar::default(), |tar, (kind, name, target)| match kind {
            0 => tar.file(name, b"x"),
            1 => tar.dir(name),
            2 => tar.hard_link(name, target),
            3 => tar.pax(b'x', &[("path", name)]).symlink("x", target),
            _ => tar.symlink(name, target),
        });
        let mut archive = archive.end();
        archive.truncate(archive.len() - cut * 100 % archive.len().max(1) * usize::from(cut > 15));
        let place = Place::new();
        let result = place.unpack(&archive);
        prop_assert_eq!(result.is_ok(), place.inside().exists());
        place.check();
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        super::fuzz(&bytes);
    }
}
