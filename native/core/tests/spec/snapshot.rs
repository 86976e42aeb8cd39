//! Snapshots of real commits.

use std::path::Path;

use bc_gitops_core::snapshot::{Options, Snapshot, SnapshotErrorKind};
use bc_gitops_core::spec::{Kind, NoAtoms};
use git2::{IndexEntry, IndexTime, Oid, Repository, Signature};
use tempfile::TempDir;

use crate::AllAtoms;

const FILE: u32 = 0o100644;
const EXECUTABLE: u32 = 0o100755;
const LINK: u32 = 0o120000;
const SUBMODULE: u32 = 0o160000;

/// A bare repository whose commits are made of lists of files.
struct Repo {
    dir: TempDir,
    repository: Repository,
}

impl Repo {
    fn new() -> Self {
        let dir = TempDir::new().expect("a directory");
        let repository = Repository::init_bare(dir.path()).expect("a repository");
        Repo { dir, repository }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn commit(&self, files: &[(&str, u32, &str)]) -> String {
        let mut index = git2::Index::new().expect("an index");
        for (path, mode, content) in files {
            let id = match *mode {
                SUBMODULE => {
                    Oid::from_str("0123456789abcdef0123456789abcdef01234567").expect("an id")
                }
                _ => self.repository.blob(content.as_bytes()).expect("a blob"),
            };
            let time = IndexTime::new(0, 0);
            let entry = IndexEntry {
                ctime: time,
                mtime: time,
                dev: 0,
                ino: 0,
                mode: *mode,
                uid: 0,
                gid: 0,
                file_size: 0,
                id,
                flags: 0,
                flags_extended: 0,
                path: path.as_bytes().to_vec(),
            };
            index.add(&entry).expect("an entry");
        }
        let tree = self
            .repository
            .find_tree(index.write_tree_to(&self.repository).expect("a tree"))
            .expect("the tree");
        let who = Signature::now("Tess", "tess@example.org").expect("a signature");
        self.repository
            .commit(None, &who, &who, "change", &tree, &[])
            .expect("a commit")
            .to_string()
    }

    fn open(&self, commit: &str, previous: Option<&Snapshot>) -> Snapshot {
        Snapshot::open(self.path(), commit, &options(), previous, &AllAtoms).expect("a snapshot")
    }
}

fn options() -> Options {
    Options {
        apps_dir: "apps".to_owned(),
        atom_room: 100_000,
    }
}

fn spec(name: &str) -> String {
    format!("#{{name => {name}, version => <<\"1\">>}}.")
}

fn names(snapshot: &Snapshot) -> Vec<&str> {
    snapshot
        .apps()
        .iter()
        .map(|app| app.spec().name.as_str())
        .collect()
}

fn broken(snapshot: &Snapshot) -> Vec<(&str, Kind, bool)> {
    snapshot
        .broken()
        .iter()
        .map(|broken| (broken.dir.as_str(), broken.problems[0].kind, broken.stale))
        .collect()
}

#[test]
fn specs_are_found_in_their_order_and_directories_without_one_passed_over() {
    let repo = Repo::new();
    let commit = repo.commit(&[
        ("apps/README.md", FILE, "text"),
        ("apps/a/app.config", FILE, &spec("a")),
        ("apps/a/app.yaml", FILE, "name: other\nversion: '1'\n"),
        ("apps/b/app.yml", EXECUTABLE, "name: b\nversion: '1'\n"),
        (
            "apps/c/config.json",
            FILE,
            "{\"name\": \"c\", \"version\": \"1\"}",
        ),
        ("apps/d/config", FILE, &spec("d")),
        ("apps/e/notes.txt", FILE, "no spec"),
        ("apps/f/sub/app.config", FILE, &spec("deep")),
        ("elsewhere/g/app.config", FILE, &spec("g")),
    ]);
    let snapshot = repo.open(&commit, None);
    assert_eq!(names(&snapshot), ["a", "b", "c", "d"]);
    assert_eq!(
        (snapshot.parsed(), snapshot.reused(), snapshot.commit()),
        (4, 0, commit.as_str())
    );
    assert_eq!(
        snapshot.app("c").map(|app| app.file.as_str()),
        Some("apps/c/config.json")
    );
    assert!(snapshot.app("missing").is_none());
}

#[test]
fn unchanged_blobs_are_not_parsed_again() {
    let repo = Repo::new();
    let (a, b, b2) = (spec("a"), spec("b"), "#{name => b, version => <<\"2\">>}.");
    let first = repo.commit(&[
        ("apps/a/app.config", FILE, &a),
        ("apps/b/app.config", FILE, &b),
    ]);
    let second = repo.commit(&[
        ("apps/a/app.config", FILE, &a),
        ("apps/a/README", FILE, "x"),
        ("apps/b/app.config", FILE, b2),
    ]);
    let old = repo.open(&first, None);
    let same = repo.open(&first, Some(&old));
    assert_eq!((same.parsed(), same.reused()), (0, 2));
    let new = repo.open(&second, Some(&same));
    assert_eq!(
        (new.parsed(), new.reused()),
        (1, 1),
        "the tree of a changed, its spec did not"
    );
    assert_eq!(
        new.app("b").map(|app| app.spec().version.as_str()),
        Some("2")
    );
}

#[test]
fn the_last_good_spec_stands_while_the_new_one_is_broken() {
    let repo = Repo::new();
    let good = repo.commit(&[
        ("apps/a/app.config", FILE, &spec("a")),
        ("apps/b/app.config", FILE, &spec("b")),
    ]);
    let bad = repo.commit(&[
        ("apps/a/app.config", FILE, "#{name => a,"),
        ("apps/b/app.config", FILE, &spec("b")),
    ]);
    let old = repo.open(&good, None);
    let new = repo.open(&bad, Some(&old));
    assert_eq!(names(&new), ["a", "b"]);
    assert_eq!(broken(&new), [("a", Kind::Syntax, true)]);
    assert_eq!(new.app("a").map(|app| app.stale), Some(true));
    let again = repo.open(&bad, Some(&new));
    assert_eq!(
        (names(&again), broken(&again)),
        (vec!["a", "b"], vec![("a", Kind::Syntax, true)]),
        "it stands as long as it takes"
    );
    let fresh = repo.open(&bad, None);
    assert_eq!(
        (names(&fresh), broken(&fresh)),
        (vec!["b"], vec![("a", Kind::Syntax, false)])
    );
    let mended = repo.open(&good, Some(&again));
    assert!(mended.broken().is_empty() && mended.app("a").is_some_and(|app| !app.stale));
}

#[test]
fn one_bad_spec_among_a_hundred_stops_nobody() {
    let repo = Repo::new();
    let files: Vec<(String, String)> = (0..100)
        .map(|n| {
            (
                format!("apps/app{n:03}/app.config"),
                if n == 50 {
                    "{".to_owned()
                } else {
                    spec(&format!("app{n:03}"))
                },
            )
        })
        .collect();
    let files: Vec<(&str, u32, &str)> = files
        .iter()
        .map(|(path, text)| (path.as_str(), FILE, text.as_str()))
        .collect();
    let snapshot = repo.open(&repo.commit(&files), None);
    assert_eq!(snapshot.apps().len(), 99);
    assert_eq!(broken(&snapshot), [("app050", Kind::Syntax, false)]);
}

#[test]
fn a_name_in_two_directories_is_refused_in_both() {
    let repo = Repo::new();
    let one = repo.commit(&[("apps/a/app.config", FILE, &spec("same"))]);
    let two = repo.commit(&[
        ("apps/a/app.config", FILE, &spec("same")),
        ("apps/b/app.config", FILE, &spec("same")),
    ]);
    let snapshot = repo.open(&two, Some(&repo.open(&one, None)));
    assert!(snapshot.apps().is_empty());
    assert_eq!(
        broken(&snapshot),
        [
            ("a", Kind::DuplicateName, false),
            ("b", Kind::DuplicateName, false)
        ]
    );
    assert_eq!(snapshot.duplicates()[0].dirs, ["a", "b"]);
    assert!(snapshot.broken()[0].problems[0].found.contains("a and b"));
}

#[test]
fn a_name_moves_to_another_directory_even_when_its_old_one_breaks() {
    let repo = Repo::new();
    let before = repo.commit(&[("apps/a/app.config", FILE, &spec("it"))]);
    let after = repo.commit(&[
        ("apps/a/app.config", FILE, "broken"),
        ("apps/z/app.config", FILE, &spec("it")),
    ]);
    let snapshot = repo.open(&after, Some(&repo.open(&before, None)));
    assert_eq!(
        snapshot.app("it").map(|app| (app.dir.as_str(), app.stale)),
        Some(("z", false))
    );
    assert_eq!(broken(&snapshot), [("a", Kind::Syntax, false)]);
}

#[test]
fn links_and_submodules_are_refused_and_read_nothing() {
    let repo = Repo::new();
    let commit = repo.commit(&[
        ("apps/a/app.config", LINK, "/etc/passwd"),
        ("apps/b", LINK, "../../.."),
        ("apps/c", SUBMODULE, ""),
        ("apps/d/app.config", SUBMODULE, ""),
        ("apps/e/app.config", FILE, &spec("e")),
    ]);
    let snapshot = repo.open(&commit, None);
    assert_eq!(names(&snapshot), ["e"]);
    assert_eq!(
        broken(&snapshot),
        [
            ("a", Kind::Symlink, false),
            ("b", Kind::Symlink, false),
            ("c", Kind::Submodule, false),
            ("d", Kind::Submodule, false)
        ]
    );
    assert_eq!(snapshot.broken()[0].file, "apps/a/app.config");
}

#[test]
fn what_is_no_directory_of_applications_is_named() {
    let repo = Repo::new();
    let kind = |files: &[(&str, u32, &str)]| {
        Snapshot::open(
            repo.path(),
            &repo.commit(files),
            &options(),
            None,
            &AllAtoms,
        )
        .expect_err("no snapshot")
        .kind
    };
    assert_eq!(
        kind(&[("README", FILE, "")]),
        SnapshotErrorKind::AppsDirMissing
    );
    assert_eq!(
        kind(&[("apps/README", FILE, "")]),
        SnapshotErrorKind::AppsDirEmpty
    );
    assert_eq!(
        kind(&[("apps", FILE, "")]),
        SnapshotErrorKind::AppsDirInvalid
    );
    assert_eq!(
        kind(&[("apps", LINK, "/etc")]),
        SnapshotErrorKind::AppsDirInvalid
    );
    assert_eq!(
        kind(&[("apps", SUBMODULE, "")]),
        SnapshotErrorKind::AppsDirInvalid
    );
    let open = |path: &Path, commit: &str, apps_dir: &str| {
        let options = Options {
            apps_dir: apps_dir.to_owned(),
            ..options()
        };
        Snapshot::open(path, commit, &options, None, &AllAtoms)
            .map(|snapshot| snapshot.apps().len())
            .map_err(|error| error.kind)
    };
    let commit = repo.commit(&[("deploy/apps/a/app.config", FILE, &spec("a"))]);
    assert_eq!(open(repo.path(), &commit, "./deploy/apps/"), Ok(1));
    assert_eq!(
        open(repo.path(), &commit, "../x"),
        Err(SnapshotErrorKind::BadArgument)
    );
    assert_eq!(
        open(repo.path(), "main", "apps"),
        Err(SnapshotErrorKind::BadArgument)
    );
    assert_eq!(
        open(repo.path(), &"1".repeat(40), "apps"),
        Err(SnapshotErrorKind::CommitMissing)
    );
    assert_eq!(
        open(&repo.path().join("nothing"), &commit, "apps"),
        Err(SnapshotErrorKind::NotFound)
    );
    let root = repo.commit(&[("a/app.config", FILE, &spec("a"))]);
    assert_eq!(open(repo.path(), &root, "."), Ok(1));
}

#[test]
fn a_large_blob_is_refused_by_its_size() {
    let repo = Repo::new();
    let commit = repo.commit(&[
        ("apps/a/app.config", FILE, &" ".repeat(2 << 20)),
        ("apps/b/app.config", FILE, &spec("b")),
    ]);
    let snapshot = repo.open(&commit, None);
    assert_eq!(
        (names(&snapshot), broken(&snapshot)),
        (vec!["b"], vec![("a", Kind::TooLarge, false)])
    );
}

#[test]
fn the_room_of_the_vm_bounds_all_files_together() {
    let repo = Repo::new();
    let with = |name: &str, keys: usize| {
        let env: Vec<String> = (0..keys).map(|n| format!("{name}_{n} => 1")).collect();
        format!(
            "#{{name => {name}, version => <<\"1\">>, env => #{{{}}}}}.",
            env.join(", ")
        )
    };
    let (a, b, c) = (with("a", 500), with("b", 700), with("c", 300));
    let commit = repo.commit(&[
        ("apps/a/app.config", FILE, &a),
        ("apps/b/app.config", FILE, &b),
        ("apps/c/app.config", FILE, &c),
    ]);
    let tight = Options {
        atom_room: 1_000,
        ..options()
    };
    let snapshot =
        Snapshot::open(repo.path(), &commit, &tight, None, &NoAtoms).expect("a snapshot");
    assert_eq!(
        (names(&snapshot), broken(&snapshot)),
        (vec!["a", "c"], vec![("b", Kind::AtomQuota, false)])
    );
    assert_eq!(snapshot.new_atoms().len(), 802, "keys and names of a and c");
    let roomy = Snapshot::open(repo.path(), &commit, &options(), Some(&snapshot), &NoAtoms)
        .expect("a snapshot");
    assert_eq!(
        (names(&roomy), roomy.parsed()),
        (vec!["a", "b", "c"], 1),
        "what was refused for want of room is read again"
    );
    assert_eq!(
        roomy.new_atoms().len(),
        701,
        "what was let in before is not counted again"
    );
}

#[test]
fn a_directory_on_disk_is_read_by_the_same_rules() {
    let dir = TempDir::new().expect("a directory");
    let write = |path: &str, text: &str| {
        let file = dir.path().join(path);
        std::fs::create_dir_all(file.parent().expect("a parent")).expect("a directory");
        std::fs::write(file, text).expect("a file");
    };
    write("a/app.config", &spec("a"));
    write("b/app.yaml", "name: b\nversion: 1.5\n");
    write("c/nothing", "");
    write("README", "");
    write("d/app.config/x", "a directory of this name is no spec");
    write("d/app.json", "{\"name\": \"d\", \"version\": \"1\"}");
    std::fs::create_dir(dir.path().join("e")).expect("a directory");
    std::os::unix::fs::symlink("/etc/passwd", dir.path().join("e/app.config")).expect("a link");
    std::os::unix::fs::symlink("/etc", dir.path().join("f")).expect("a link");
    let snapshot = Snapshot::of_directory(dir.path(), 100, &AllAtoms).expect("a directory");
    assert_eq!(names(&snapshot), ["a", "d"]);
    assert_eq!(
        broken(&snapshot),
        [
            ("b", Kind::InvalidType, false),
            ("e", Kind::Symlink, false),
            ("f", Kind::Symlink, false)
        ]
    );
    assert!(Snapshot::of_directory(&dir.path().join("missing"), 100, &AllAtoms).is_err());
}
