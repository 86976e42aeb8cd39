use super::*;

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::process::Command;

use proptest::prelude::*;

fn write(path: &Path, bytes: &[u8]) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

fn chmod(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// What a sealed build does not let be done, somebody with the right to do so does.
fn open_up(path: &Path) {
    chmod(path.parent().unwrap(), 0o755);
    if path.exists() {
        chmod(path, 0o644);
    }
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().mode() & 0o7777
}

const BEAM: &str = "lib/demo/ebin/demo.beam";
const TOOL: &str = "lib/demo/priv/tool";

fn build() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    write(&dir.path().join(BEAM), b"code");
    write(&dir.path().join("lib/demo/ebin/demo.app"), b"app");
    write(&dir.path().join("lib/demo/priv/empty"), b"");
    write(&dir.path().join("lib/demo/priv/large"), &vec![7; 3 << 20]);
    write(&dir.path().join(TOOL), b"#!/bin/sh\n");
    chmod(&dir.path().join(TOOL), 0o4755);
    dir
}

#[test]
fn what_is_sealed_is_read_only_and_known() {
    let dir = build();
    let sealed = seal(dir.path()).unwrap();
    assert_eq!((sealed.count, sealed.bytes), (5, 4 + 3 + (3 << 20) + 10));
    assert_eq!(mode(&dir.path().join(BEAM)), 0o444);
    assert_eq!(mode(&dir.path().join(TOOL)), 0o555);
    assert_eq!(mode(&dir.path().join("lib/demo/ebin")), 0o555);
    let first = check(dir.path(), &sealed.files).unwrap();
    assert_eq!(stamp(dir.path()).unwrap(), first);
    assert_eq!(seal(dir.path()).unwrap(), sealed);
}

#[test]
fn the_digests_are_those_of_sha256sum() {
    let dir = build();
    write(&dir.path().join("lib/demo/priv/odd \\ name\n"), b"odd");
    seal(dir.path()).unwrap();
    let files = std::fs::read_to_string(dir.path().join(FILES)).unwrap();
    let sums: String = files
        .lines()
        .skip(1)
        .map(|line| {
            let (sha256, path) = (&line[..64], line.splitn(4, ' ').nth(3).unwrap());
            let escape = if path.contains('\\') { "\\" } else { "" };
            format!("{escape}{sha256}  {path}\n")
        })
        .collect();
    std::fs::write(dir.path().join("sums"), sums).unwrap();
    let output = Command::new("sha256sum")
        .args(["--check", "--strict", "sums"])
        .current_dir(dir.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(output.stdout.split(|byte| *byte == b'\n').count() - 1, 6);
}

#[test]
fn every_kind_of_damage_is_named() {
    let replace = |path: &Path, bytes: &[u8]| {
        open_up(path);
        std::fs::write(path, bytes).unwrap();
    };
    let remove = |path: &Path| {
        open_up(path);
        std::fs::remove_file(path).unwrap();
    };
    type Harm<'a> = Box<dyn Fn(&Path) + 'a>;
    let cases: Vec<(&str, Damage, Harm<'_>)> = vec![
        (
            BEAM,
            Damage::Changed,
            Box::new(|d| replace(&d.join(BEAM), b"CODE")),
        ),
        (
            BEAM,
            Damage::Changed,
            Box::new(|d| replace(&d.join(BEAM), b"code and more")),
        ),
        (BEAM, Damage::Missing, Box::new(|d| remove(&d.join(BEAM)))),
        (
            TOOL,
            Damage::Mode,
            Box::new(|d| chmod(&d.join(TOOL), 0o444)),
        ),
        (
            BEAM,
            Damage::Mode,
            Box::new(|d| chmod(&d.join(BEAM), 0o755)),
        ),
        (
            "lib/demo/ebin/evil.beam",
            Damage::Stranger,
            Box::new(|d| {
                open_up(&d.join("lib/demo/ebin/evil.beam"));
                write(&d.join("lib/demo/ebin/evil.beam"), b"x");
            }),
        ),
        (
            BEAM,
            Damage::Special,
            Box::new(|d| {
                write(&d.join("copy"), b"code");
                remove(&d.join(BEAM));
                symlink(d.join("copy"), d.join(BEAM)).unwrap();
            }),
        ),
        (
            "lib/demo/ebin/demo.app",
            Damage::Missing,
            Box::new(|d| {
                chmod(&d.join("lib/demo"), 0o755);
                std::fs::rename(d.join("lib/demo/ebin"), d.join("elsewhere")).unwrap();
                symlink(d.join("elsewhere"), d.join("lib/demo/ebin")).unwrap();
            }),
        ),
        (
            FILES,
            Damage::Changed,
            Box::new(|d| replace(&d.join(FILES), b"bc_gitops files 1\n")),
        ),
        (FILES, Damage::Missing, Box::new(|d| remove(&d.join(FILES)))),
        (
            LIB,
            Damage::Missing,
            Box::new(|d| std::fs::rename(d.join(LIB), d.join("x")).unwrap()),
        ),
    ];
    for (path, expected, harm) in cases {
        let dir = build();
        let sealed = seal(dir.path()).unwrap();
        harm(dir.path());
        match check(dir.path(), &sealed.files) {
            Err(StoreError::Damaged {
                path: at, damage, ..
            }) => {
                assert_eq!((at, damage), (dir.path().join(path), expected));
            }
            other => panic!("{path}: {expected:?} expected, got {other:?}"),
        }
    }
}

#[test]
fn all_damage_is_counted() {
    let dir = build();
    let sealed = seal(dir.path()).unwrap();
    for name in [BEAM, "lib/demo/ebin/demo.app", TOOL] {
        open_up(&dir.path().join(name));
        std::fs::remove_file(dir.path().join(name)).unwrap();
    }
    let error = check(dir.path(), &sealed.files).unwrap_err().to_string();
    assert!(
        error.ends_with("demo.app is missing (and 2 other files)"),
        "{error}"
    );
}

/// An application may write into its own priv directory; what it came with must stay.
#[test]
fn an_application_may_keep_files_beside_its_own() {
    let dir = build();
    let sealed = seal(dir.path()).unwrap();
    let before = stamp(dir.path()).unwrap();
    let own = dir.path().join("lib/demo/priv/cache.db");
    open_up(&own);
    write(&own, b"state");
    let after = check(dir.path(), &sealed.files).unwrap();
    assert_ne!(after, before);
}

#[test]
fn a_stamp_tells_of_a_change_that_keeps_size_and_time() {
    let dir = build();
    seal(dir.path()).unwrap();
    let before = stamp(dir.path()).unwrap();
    let beam = dir.path().join(BEAM);
    let modified = std::fs::metadata(&beam).unwrap().modified().unwrap();
    open_up(&beam);
    std::fs::write(&beam, b"CODE").unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(&beam).unwrap();
    file.set_modified(modified).unwrap();
    chmod(&beam, 0o444);
    chmod(beam.parent().unwrap(), 0o555);
    assert_ne!(stamp(dir.path()).unwrap(), before);
}

#[test]
fn links_and_depth_are_refused_when_sealing() {
    let dir = build();
    symlink("demo.beam", dir.path().join("lib/demo/ebin/link.beam")).unwrap();
    assert!(matches!(seal(dir.path()), Err(StoreError::Special(_))));
    let dir = tempfile::tempdir().unwrap();
    let deep: PathBuf = (0..MAX_DEPTH + 1).map(|_| "d").collect();
    std::fs::create_dir_all(dir.path().join(LIB).join(deep)).unwrap();
    assert!(matches!(seal(dir.path()), Err(StoreError::TooDeep(_))));
    let nothing = tempfile::tempdir().unwrap();
    assert!(matches!(seal(nothing.path()), Err(StoreError::Io { .. })));
}

#[test]
fn the_space_is_what_df_says() {
    let dir = tempfile::tempdir().unwrap();
    let output = Command::new("df")
        .args(["-B1", "--output=size"])
        .arg(dir.path())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let total: u64 = text.lines().nth(1).unwrap().trim().parse().unwrap();
    let space = space(dir.path()).unwrap();
    assert_eq!(space.total, total);
    assert!(space.free <= space.total);
    assert!(super::space(Path::new("/no/such")).is_err());
}

#[test]
fn lists_of_others_are_not_read() {
    let sum = "0".repeat(64);
    let good = format!("bc_gitops files 1\n{sum} - 1 a\n{sum} x 2 b c\\n\n");
    assert_eq!(list::from_bytes(good.as_bytes()).unwrap().len(), 2);
    for bad in [
        String::new(),
        "bc_gitops files 2\n".into(),
        good[..good.len() - 1].into(),
        format!("{good}\n"),
        good.replace(" a", " /a"),
        good.replace(" a", " ../a"),
        good.replace(" a", " "),
        good.replace(" a", " z"),
        good.replace(" - 1", " w 1"),
        good.replace(" - 1", " - -1"),
        good.replace("0 -", "G -"),
        good.replace("\\n", "\\t"),
    ] {
        assert!(list::from_bytes(bad.as_bytes()).is_none(), "{bad:?}");
    }
}

proptest! {
    #[test]
    fn lists_survive_being_written(
        files in prop::collection::btree_map("[^/\0]{1,20}", (any::<u64>(), any::<bool>(), any::<[u8; 32]>()), 0..20)
    ) {
        let entries: Vec<_> = files
            .into_iter()
            .filter(|(name, _)| name != "." && name != "..")
            .map(|(name, (size, executable, sha256))| list::Entry {
                path: name.into(),
                size,
                executable,
                sha256,
            })
            .collect();
        prop_assert_eq!(list::from_bytes(&list::to_bytes(&entries)), Some(entries));
    }

    #[test]
    fn no_bytes_make_a_list_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        fuzz(&bytes);
        fuzz(&[b"bc_gitops files 1\n".as_slice(), &bytes].concat());
    }
}
