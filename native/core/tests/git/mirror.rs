//! Mirrors, and what is shared of them.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime};

use bc_gitops_core::git::request::Mirrored;

use super::*;

/// A repository and where its mirror and what is shared are.
struct Mirror {
    repo: Repo,
    shares: std::cell::Cell<u32>,
}

impl Mirror {
    fn new() -> Self {
        Self {
            repo: Repo::new(),
            shares: std::cell::Cell::new(0),
        }
    }

    fn root(&self) -> PathBuf {
        self.repo.dir.path().join("mirrors")
    }

    fn op(&self, url: &str, share: &Path) -> Op {
        let bytes = |path: &Path| path.display().to_string().into_bytes();
        Op::Mirror {
            url: url.into(),
            root: bytes(&self.root()),
            share: bytes(share),
        }
    }

    /// What whoever asks now gets.
    fn ask_for(&self, url: &str) -> Result<(PathBuf, Mirrored), GitError> {
        self.shares.set(self.shares.get() + 1);
        let share = self
            .repo
            .dir
            .path()
            .join(format!("share-{}", self.shares.get()));
        let answer = run(self.op(url, &share))?;
        let Outcome::Mirrored(mirrored) = answer else {
            panic!("{answer:?}")
        };
        Ok((share, mirrored))
    }

    fn ask(&self) -> (PathBuf, Mirrored) {
        self.ask_for(&self.repo.url()).expect("a mirror")
    }

    fn drop_mirrors(&self, only: Vec<String>, keep: u64) -> u64 {
        let root = self.root().display().to_string().into_bytes();
        let answer = run(Op::DropMirrors { root, only, keep });
        let Ok(Outcome::Dropped(count)) = answer else {
            panic!("{answer:?}")
        };
        count
    }

    /// The directories of the mirrors.
    fn mirrors(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.root()).expect("mirrors");
        entries.map(|entry| entry.unwrap().path()).collect()
    }

    fn packs(&self) -> Vec<PathBuf> {
        let dir = self.mirrors().remove(0).join(".git/objects/pack");
        let entries = fs::read_dir(dir).expect("packs");
        entries
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|end| end == "pack"))
            .collect()
    }
}

fn refs(dir: &Path) -> String {
    git(dir, &["for-each-ref", "--format=%(refname) %(objectname)"])
}

#[test]
fn a_share_has_what_the_remote_has_and_only_news_are_fetched() {
    let mirror = Mirror::new();
    mirror.repo.git(&["tag", "-a", "v1", "-m", "v1"]);
    let (first, fetched) = mirror.ask();
    assert!(fetched.fetched_bytes > 0 && fetched.silent.is_none());
    assert_eq!(refs(&first), refs(&mirror.repo.path()));
    assert_eq!(git(&first, &["symbolic-ref", "HEAD"]), "refs/heads/main");
    assert_eq!(mirror.ask().1.fetched_bytes, 0);
    let before = refs(&first);
    fs::write(mirror.repo.path().join("large"), vec![7; 100_000]).unwrap();
    let commit = mirror.repo.commit("a", "2");
    let (second, news) = mirror.ask();
    assert!(news.fetched_bytes > 0 && news.fetched_bytes < 2 * fetched.fetched_bytes.max(500));
    assert_eq!(git(&second, &["rev-parse", "main"]), commit);
    assert_eq!(git(&second, &["fsck", "--strict", "--full"]), "");
    assert_eq!(refs(&first), before, "what was given stays as it was");
}

#[test]
fn branches_that_are_gone_go_and_their_commits_can_be_asked_for() {
    let mirror = Mirror::new();
    mirror.repo.git(&["branch", "a"]);
    mirror.repo.git(&["checkout", "-q", "-b", "gone"]);
    let commit = mirror.repo.commit("b", "lost");
    mirror.ask();
    mirror.repo.git(&["checkout", "-q", "-b", "trunk", "main"]);
    mirror.repo.git(&["branch", "-D", "a", "gone"]);
    mirror.repo.git(&["branch", "a/b"]);
    let (share, _) = mirror.ask();
    assert_eq!(refs(&share), refs(&mirror.repo.path()));
    assert_eq!(git(&share, &["symbolic-ref", "HEAD"]), "refs/heads/trunk");
    let url = format!("file://{}", share.display());
    let clone = mirror.repo.clone_path();
    fs::create_dir(&clone).unwrap();
    git(&clone, &["init", "-q"]);
    git(&clone, &["fetch", "-q", "--depth", "1", &url, &commit]);
    assert_eq!(git(&clone, &["rev-parse", "FETCH_HEAD"]), commit);
}

#[test]
fn packs_are_shared_and_never_changed() {
    let mirror = Mirror::new();
    let (share, _) = mirror.ask();
    let pack = mirror.packs().remove(0);
    let shared = share
        .join("objects/pack")
        .join(pack.file_name().expect("a name"));
    let inode = |path: &Path| fs::metadata(path).expect("a pack").ino();
    assert_eq!(inode(&shared), inode(&pack));
    fs::remove_dir_all(mirror.root()).unwrap();
    assert_eq!(git(&share, &["fsck", "--full"]), "");
}

#[test]
fn a_damaged_mirror_is_made_anew() {
    for damage in [
        |pack: &Path| fs::remove_file(pack).unwrap(),
        |pack: &Path| {
            fs::set_permissions(pack, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
            fs::write(pack, "PACK").unwrap();
        },
        |pack: &Path| {
            let git = pack.ancestors().nth(3).unwrap();
            fs::remove_file(git.join("HEAD")).unwrap();
            fs::remove_dir_all(git.join("refs")).unwrap();
        },
        |pack: &Path| {
            let git = pack.ancestors().nth(3).unwrap();
            fs::write(git.join("packed-refs"), "").unwrap();
        },
    ] {
        let mirror = Mirror::new();
        mirror.ask();
        damage(&mirror.packs()[0]);
        let (share, _) = mirror.ask();
        assert_eq!(refs(&share), refs(&mirror.repo.path()));
        assert_eq!(git(&share, &["fsck", "--full"]), "");
    }
}

#[test]
fn what_a_killed_job_left_is_no_obstacle() {
    let mirror = Mirror::new();
    mirror.ask();
    let place = mirror.mirrors().remove(0);
    fs::create_dir(place.join(".git.new-1")).unwrap();
    fs::write(place.join(".git/packed-refs.lock"), "x").unwrap();
    fs::write(place.join(".git/objects/pack/tmp_pack_x"), "x").unwrap();
    let commit = mirror.repo.commit("a", "2");
    let (share, _) = mirror.ask();
    assert_eq!(git(&share, &["rev-parse", "main"]), commit);
    assert!(!place.join(".git.new-1").exists());
    assert!(!place.join(".git/objects/pack/tmp_pack_x").exists());
}

#[test]
fn one_fetches_for_all_who_ask_at_once() {
    let mirror = Mirror::new();
    let jobs: Vec<_> = (0..4)
        .map(|n| {
            let share = mirror.repo.dir.path().join(format!("at-once-{n}"));
            start(
                mirror.op(&mirror.repo.url(), &share),
                Duration::from_secs(60),
            )
        })
        .collect();
    let fetched: Vec<_> = jobs
        .iter()
        .map(|(_job, answers)| match answers.recv().unwrap() {
            Ok(Outcome::Mirrored(mirrored)) => mirrored.fetched_bytes,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(fetched.iter().filter(|bytes| **bytes > 0).count(), 1);
}

#[test]
fn nothing_but_open_http_is_mirrored() {
    let mirror = Mirror::new();
    for url in [
        "ssh://git@example.org/x",
        "git@example.org:x",
        "https://user:secret@example.org/x",
        "https://token@example.org/x",
        "http://example.org/x",
        "git://example.org/x",
        "ext::touch /x",
        "--upload-pack=x",
    ] {
        let error = mirror.ask_for(url).expect_err(url);
        assert_eq!(error.kind, Kind::BadUrl, "{url}");
        assert!(!error.message.contains("secret"), "{}", error.message);
    }
    assert!(!mirror.root().exists());
}

#[test]
fn a_remote_that_is_gone_has_no_mirror() {
    let mirror = Mirror::new();
    mirror.ask();
    fs::remove_dir_all(mirror.repo.path()).unwrap();
    let error = mirror.ask_for(&mirror.repo.url()).expect_err("gone");
    assert_eq!(error.kind, Kind::NotFound);
}

#[test]
fn a_repository_without_commits_is_one() {
    let mirror = Mirror::new();
    let empty = mirror.repo.dir.path().join("empty");
    fs::create_dir(&empty).unwrap();
    git(&empty, &["init", "-q"]);
    let (share, _) = mirror
        .ask_for(&format!("file://{}", empty.display()))
        .expect("a mirror");
    assert_eq!(refs(&share), "");
}

#[test]
fn what_was_used_longest_ago_goes_first() {
    let mirror = Mirror::new();
    let large = Repo::new();
    let noise: String = (0..6_000_u64)
        .map(|n| format!("{:x}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
        .collect();
    large.commit("large", &noise);
    let other_url = large.url();
    mirror.ask();
    mirror.ask_for(&other_url).unwrap();
    for place in mirror.mirrors() {
        let config = fs::read_to_string(place.join(".git/config")).unwrap();
        if config.contains(&other_url) {
            let file = fs::File::open(place.join(".git/bc_gitops_heard")).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
        }
    }
    assert_eq!(mirror.drop_mirrors(vec![], u64::MAX), 0);
    assert_eq!(mirror.mirrors().len(), 2);
    assert_eq!(mirror.drop_mirrors(vec![], 30_000), 1);
    assert_eq!(mirror.ask().1.fetched_bytes, 0, "the newer one stayed");
    assert_eq!(mirror.drop_mirrors(vec![other_url], 0), 0);
    assert_eq!(mirror.drop_mirrors(vec![mirror.repo.url()], 0), 1);
    assert!(mirror.mirrors().is_empty());
}

#[test]
fn what_another_vm_works_on_is_waited_for_and_not_removed() {
    let mirror = Mirror::new();
    mirror.ask();
    let file = mirror.mirrors().remove(0).join("bc_gitops.lock");
    let theirs = fs::File::options().write(true).open(file).unwrap();
    theirs.lock().unwrap();
    let share = mirror.repo.dir.path().join("waits");
    let op = mirror.op(&mirror.repo.url(), &share);
    let (_job, answers) = start(op, Duration::from_millis(300));
    assert_eq!(answers.recv().unwrap().unwrap_err().kind, Kind::Timeout);
    assert_eq!(mirror.drop_mirrors(vec![], 0), 0);
    drop(theirs);
    assert_eq!(mirror.ask().1.fetched_bytes, 0);
}
