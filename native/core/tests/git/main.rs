//! Git jobs against repositories that the system's git made.

mod mirror;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use bc_gitops_core::git::auth::Auth;
use bc_gitops_core::git::request::{
    CheckedOut, DEFAULT_MAX_BYTES, Followed, Listing, Op, Outcome, Progress, RefKind, Request,
};
use bc_gitops_core::git::{GitError, Kind, local};
use bc_gitops_core::job::{self, Job, Listener};
use bc_gitops_core::url::Policy;

type Answer = Result<Outcome, GitError>;

struct Channel(Sender<Answer>);

impl Listener<Request> for Channel {
    fn done(&self, result: Answer) {
        self.0.send(result).expect("the test waits for one answer");
    }

    fn progress(&self, _progress: Progress) {}
}

fn start(op: Op, timeout: Duration) -> (Job, Receiver<Answer>) {
    let policy = Policy {
        allow_http: false,
        allow_local: true,
    };
    let request = Request {
        op,
        auth: Auth {
            policy,
            ..Auth::default()
        },
        max_bytes: DEFAULT_MAX_BYTES,
    };
    let (sender, receiver) = channel();
    (
        job::start(request, timeout, Arc::new(Channel(sender))),
        receiver,
    )
}

fn run(op: Op) -> Answer {
    let (_job, answers) = start(op, Duration::from_secs(60));
    answers.recv().expect("every job answers")
}

/// A repository with a work tree and one commit.
struct Repo {
    dir: tempfile::TempDir,
}

impl Repo {
    fn new() -> Self {
        let repo = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        std::fs::create_dir(repo.path()).unwrap();
        repo.git(&["init", "-q", "-b", "main"]);
        repo.commit("a", "1");
        repo
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("repo")
    }

    fn clone_path(&self) -> PathBuf {
        self.dir.path().join("clone")
    }

    fn url(&self) -> String {
        format!("file://{}", self.path().display())
    }

    fn git(&self, args: &[&str]) -> String {
        git(&self.path(), args)
    }

    fn commit(&self, file: &str, content: &str) -> String {
        std::fs::write(self.path().join(file), content).unwrap();
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "-m", content]);
        self.git(&["rev-parse", "HEAD"])
    }

    fn follow(&self) -> Result<Followed, GitError> {
        self.follow_url(&self.url())
    }

    fn follow_url(&self, url: &str) -> Result<Followed, GitError> {
        let answer = run(self.follow_op(url))?;
        let Outcome::Followed(followed) = answer else {
            panic!("{answer:?}")
        };
        Ok(followed)
    }

    fn follow_op(&self, url: &str) -> Op {
        Op::Follow {
            url: url.into(),
            path: self.clone_path().display().to_string().into_bytes(),
            branch: "main".into(),
            repair: false,
        }
    }

    fn checkout(&self, reference: &str) -> Result<CheckedOut, GitError> {
        let answer = run(Op::Checkout {
            url: self.url(),
            path: self.clone_path().display().to_string().into_bytes(),
            reference: reference.into(),
            clean: false,
            mirrors: None,
        })?;
        let Outcome::CheckedOut(done) = answer else {
            panic!("{answer:?}")
        };
        Ok(done)
    }
}

fn git(dir: &Path, args: &[&str]) -> String {
    let mut command = Command::new("git");
    command
        .args(args)
        .current_dir(dir)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1");
    for who in ["AUTHOR", "COMMITTER"] {
        command
            .env(format!("GIT_{who}_NAME"), "Tess Tester")
            .env(format!("GIT_{who}_EMAIL"), "tess@example.org");
    }
    let output = command.output().expect("git must be installed");
    assert!(output.status.success(), "git {args:?}: {output:?}");
    String::from_utf8(output.stdout)
        .unwrap()
        .trim_end()
        .to_owned()
}

#[test]
fn a_branch_is_followed_through_a_force_push() {
    let repo = Repo::new();
    let first = repo.follow().unwrap();
    assert_eq!(first.previous, None);
    assert_eq!(repo.follow().unwrap().previous, Some(first.commit.clone()));
    let second = repo.commit("a", "2");
    assert_eq!(repo.follow().unwrap().commit, second);
    repo.git(&["reset", "-q", "--hard", &first.commit]);
    let forced = repo.commit("a", "3");
    let followed = repo.follow().unwrap();
    assert_eq!(
        (followed.commit.as_str(), followed.previous),
        (forced.as_str(), Some(second))
    );
    assert_eq!(git(&repo.clone_path(), &["rev-parse", "HEAD"]), forced);
}

#[test]
fn listings_peel_tags() {
    let repo = Repo::new();
    repo.git(&["tag", "-a", "v1", "-m", "v1"]);
    let only = Vec::new();
    let Ok(Outcome::Listed(Listing { refs, head })) = run(Op::List {
        url: repo.url(),
        only,
    }) else {
        panic!("no listing")
    };
    let commit = repo.git(&["rev-parse", "HEAD"]);
    assert_eq!(head.as_deref(), Some("main"));
    assert_eq!(refs["refs/tags/v1"], commit);
    assert_eq!(refs.len(), 2);
}

#[test]
fn checkouts_of_tags_and_commits() {
    let repo = Repo::new();
    let first = repo.git(&["rev-parse", "HEAD"]);
    repo.git(&["tag", "v1"]);
    let second = repo.commit("a", "2");
    let read = || std::fs::read_to_string(repo.clone_path().join("a")).unwrap();
    assert_eq!(repo.checkout("main").unwrap().kind, RefKind::Branch);
    assert_eq!(read(), "2");
    assert_eq!(repo.checkout("v1").unwrap().commit, first);
    assert_eq!(read(), "1");
    let done = repo.checkout(&second[..7]).unwrap();
    assert_eq!((done.commit, done.kind), (second, RefKind::Commit));
    assert_eq!(repo.checkout("none").unwrap_err().kind, Kind::RefNotFound);
}

#[test]
fn the_log_is_that_of_git() {
    let repo = Repo::new();
    repo.git(&["checkout", "-q", "-b", "side"]);
    repo.commit("b", "side");
    repo.git(&["checkout", "-q", "main"]);
    repo.commit("a", "2");
    repo.git(&["merge", "-q", "--no-edit", "side"]);
    let path = repo.path().display().to_string().into_bytes();
    let log = local::log(&path, 100).unwrap();
    let ours: Vec<_> = log.iter().map(|entry| entry.hash.as_str()).collect();
    let theirs = repo.git(&["log", "--format=%H"]);
    assert_eq!(ours, theirs.lines().collect::<Vec<_>>());
    assert_eq!(local::log(&path, 2).unwrap(), log[..2]);
}

#[test]
fn a_silent_server_ends_at_the_deadline_and_frees_the_path() {
    let repo = Repo::new();
    let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/x", server.local_addr().unwrap());
    let begun = Instant::now();
    let (_job, answers) = start(repo.follow_op(&url), Duration::from_millis(300));
    assert_eq!(answers.recv().unwrap().unwrap_err().kind, Kind::Timeout);
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert!(job::abandoned() >= 1);
    repo.follow().unwrap();
    assert!(answers.try_recv().is_err(), "one answer only");
}

#[test]
fn a_cancelled_job_says_so() {
    let repo = Repo::new();
    let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/x", server.local_addr().unwrap());
    let (job, answers) = start(repo.follow_op(&url), Duration::from_secs(60));
    let connection = server.accept().unwrap();
    job.cancel();
    assert_eq!(answers.recv().unwrap().unwrap_err().kind, Kind::Cancelled);
    drop(connection);
}

#[test]
fn what_stands_at_the_path_is_left_alone() {
    let repo = Repo::new();
    std::fs::create_dir(repo.clone_path()).unwrap();
    std::fs::write(repo.clone_path().join("mine"), "mine").unwrap();
    assert_eq!(repo.follow().unwrap_err().kind, Kind::BadPath);
    assert_eq!(
        std::fs::read(repo.clone_path().join("mine")).unwrap(),
        b"mine"
    );
    assert_eq!(
        repo.follow_url("ext::touch /x").unwrap_err().kind,
        Kind::BadUrl
    );
}
