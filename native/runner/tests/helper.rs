//! The program as git runs it: under its other name, asked by a real git.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread::JoinHandle;

const TOKEN: &str = "a-token";

/// A broker that answers one question; its thread ends with what it was asked.
fn broker(answer: String) -> (String, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let address = listener.local_addr().expect("its address").to_string();
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("the helper");
        let mut line = String::new();
        BufReader::new(&stream)
            .read_line(&mut line)
            .expect("a question");
        stream.write_all(answer.as_bytes()).expect("an answer");
        line
    });
    (address, thread)
}

struct World {
    dir: tempfile::TempDir,
}

impl World {
    /// The helper and a configuration that leads git to it.
    fn new() -> Self {
        let world = Self {
            dir: tempfile::tempdir().expect("a directory"),
        };
        std::fs::create_dir(world.path("bin")).expect("a directory");
        let helper = world.path("bin/git-remote-bcgitops");
        std::fs::copy(env!("CARGO_BIN_EXE_bc_gitops_runner"), helper).expect("the helper");
        let config = "[url \"bcgitops::https://\"]\n\tinsteadOf = https://\n\
            [url \"bcgitops::http://\"]\n\tinsteadOf = http://\n\
            [protocol \"bcgitops\"]\n\tallow = always\n\
            [user]\n\tname = t\n\temail = t@example.org\n";
        std::fs::write(world.path("config"), config).expect("a file");
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn run(&self, program: &Path, broker: Option<&str>, args: &[&str]) -> Output {
        let path = std::env::var("PATH").expect("a path");
        let mut command = Command::new(program);
        command
            .args(args)
            .current_dir(self.dir.path())
            .env("PATH", format!("{}:{path}", self.path("bin").display()))
            .env("GIT_CONFIG_GLOBAL", self.path("config"))
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("BC_GITOPS_MIRRORS_TOKEN", TOKEN)
            .env_remove("BC_GITOPS_MIRRORS");
        if let Some(address) = broker {
            command.env("BC_GITOPS_MIRRORS", address);
        }
        command.output().expect("the program runs")
    }

    fn git(&self, broker: Option<&str>, args: &[&str]) -> Output {
        self.run(Path::new("git"), broker, args)
    }

    fn repository(&self) -> PathBuf {
        for args in [
            &["init", "-q", "-b", "main", "repo"][..],
            &["-C", "repo", "commit", "-q", "--allow-empty", "-m", "1"],
            &["-C", "repo", "tag", "v1"],
        ] {
            let done = self.git(None, args);
            assert!(done.status.success(), "{done:?}");
        }
        self.path("repo/.git")
    }

    /// A program in git's place that says how it was called.
    fn instead_of_git(&self) {
        use std::os::unix::fs::PermissionsExt;
        let script = self.path("bin/git");
        std::fs::write(&script, "#!/bin/sh\necho \"$@\"\ncat\n").expect("a script");
        std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).expect("its mode");
    }
}

#[test]
fn a_clone_comes_from_the_mirror() {
    let world = World::new();
    let repository = world.repository();
    let (address, asked) = broker(format!("mirror {}\n", repository.display()));
    let url = "https://example.test/some/repo.git";
    let done = world.git(Some(&address), &["clone", "-q", url, "clone"]);
    assert!(done.status.success(), "{done:?}");
    assert_eq!(
        asked.join().expect("a question"),
        format!("{TOKEN} {url}\n")
    );
    let said = |args: &[&str]| {
        let done = world.git(None, &[&["-C", "clone"], args].concat());
        String::from_utf8(done.stdout)
            .expect("text")
            .trim()
            .to_owned()
    };
    assert_eq!(said(&["tag"]), "v1");
    assert_eq!(
        said(&["config", "remote.origin.url"]),
        url,
        "as it was named"
    );
}

#[test]
fn a_part_of_the_history_and_a_fetch_work_as_well() {
    let world = World::new();
    let repository = world.repository();
    let url = "http://example.test/repo";
    for args in [
        &["clone", "-q", "--depth", "1", url, "clone"][..],
        &["-C", "clone", "fetch", "-q", "origin", "refs/tags/v1"],
        &["ls-remote", "--tags", url],
    ] {
        let (address, asked) = broker(format!("mirror {}\n", repository.display()));
        let done = world.git(Some(&address), args);
        assert!(done.status.success(), "{done:?}");
        asked.join().expect("a question");
    }
}

#[test]
fn git_s_own_helper_takes_over_with_all_that_git_says() {
    let world = World::new();
    world.instead_of_git();
    let helper = world.path("bin/git-remote-bcgitops");
    for (answer, url, expected) in [
        (
            "direct\n",
            "https://h/x",
            "remote-https origin https://h/x\n",
        ),
        ("direct\n", "http://h/x", "remote-http origin http://h/x\n"),
        (
            "nonsense\n",
            "https://h/x",
            "remote-https origin https://h/x\n",
        ),
        (
            "mirror relative\n",
            "https://h/x",
            "remote-https origin https://h/x\n",
        ),
        ("", "https://h/x", "remote-https origin https://h/x\n"),
    ] {
        let (address, asked) = broker(answer.to_owned());
        let done = world.run(&helper, Some(&address), &["origin", url]);
        asked.join().expect("a question");
        assert_eq!(String::from_utf8_lossy(&done.stdout), expected);
    }
    let done = world.run(&helper, None, &["origin", "https://h/x"]);
    assert_eq!(
        String::from_utf8_lossy(&done.stdout),
        "remote-https origin https://h/x\n",
        "nobody to ask"
    );
}

#[test]
fn other_urls_and_arguments_are_refused() {
    let world = World::new();
    world.instead_of_git();
    let helper = world.path("bin/git-remote-bcgitops");
    for args in [
        &["origin", "file:///etc"][..],
        &["origin", "ssh://h/x"],
        &["origin", "ext::touch x"],
        &["origin", "--upload-pack=x"],
        &["origin"],
        &[],
    ] {
        let done = world.run(&helper, None, args);
        assert_eq!(done.status.code(), Some(128), "{args:?}");
        assert!(done.stdout.is_empty(), "{args:?}");
    }
}

#[test]
fn nothing_is_pushed_to_a_mirror() {
    let world = World::new();
    let repository = world.repository();
    let (address, asked) = broker(format!("mirror {}\n", repository.display()));
    let url = "https://example.test/repo";
    let done = world.git(
        Some(&address),
        &["-C", "repo", "push", "-q", url, "main:other"],
    );
    asked.join().expect("a question");
    assert!(!done.status.success());
    let refs = world.git(None, &["-C", "repo", "for-each-ref"]);
    assert!(!String::from_utf8_lossy(&refs.stdout).contains("other"));
}
