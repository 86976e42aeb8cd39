//! Runs the program as the VM does: over its pipes.
#![cfg(target_os = "linux")]

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A daemon in a session of its own that ignores TERM; its name is the text that is looked for.
fn daemon(name: &str) -> String {
    format!("setsid sh -c 'trap \"\" TERM; : {name}; while :; do sleep 0.1; done' &")
}

fn start(limits: &[&str], script: &str) -> Child {
    Command::new(env!("CARGO_BIN_EXE_bc_gitops_runner"))
        .arg("run")
        .args(limits)
        .args(["--", "/bin/sh", "-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the runner starts")
}

const LIMITS: [&str; 6] = [
    "--deadline",
    "20000",
    "--grace",
    "100",
    "--max-output",
    "100000",
];

/// The frames: output joined, and how it ended.
fn report(mut runner: Child) -> (String, String) {
    let mut bytes = Vec::new();
    let mut pipe = runner.stdout.take().expect("a pipe");
    pipe.read_to_end(&mut bytes).expect("frames");
    runner.wait().expect("the runner ends");
    let (mut output, mut end, mut rest) = (String::new(), String::new(), &bytes[..]);
    while let Some((head, tail)) = rest.split_at_checked(4) {
        let length = u32::from_be_bytes(head.try_into().expect("four bytes")) as usize;
        let (frame, next) = tail.split_at(length);
        let text = String::from_utf8_lossy(&frame[1..]);
        match frame[0] {
            0 => output += &text,
            _ => end += &text,
        }
        rest = next;
    }
    (output, end)
}

fn lives(name: &str) -> bool {
    std::fs::read_dir("/proc")
        .expect("proc")
        .flatten()
        .any(|entry| {
            let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(&format!(": {name};"))
                && std::fs::read_to_string(entry.path().join("stat"))
                    .is_ok_and(|stat| !stat.contains(") Z "))
        })
}

fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let give_up = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < give_up, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn output_and_exit_status_are_reported() {
    let runner = start(&LIMITS, "echo out; echo err >&2; exit 3");
    assert_eq!(report(runner), ("out\nerr\n".into(), "exited 3".into()));
}

#[test]
fn a_signal_is_reported() {
    let (_, end) = report(start(&LIMITS, "kill -9 $$"));
    assert_eq!(end, "signalled 9");
}

#[test]
fn input_is_empty() {
    let (output, end) = report(start(&LIMITS, "cat; echo done"));
    assert_eq!((output.as_str(), end.as_str()), ("done\n", "exited 0"));
}

#[test]
fn what_cannot_run_is_reported() {
    let mut args = vec!["run"];
    args.extend(LIMITS);
    args.extend(["--", "/nowhere/at/all"]);
    let runner = Command::new(env!("CARGO_BIN_EXE_bc_gitops_runner"))
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the runner starts");
    let (_, end) = report(runner);
    assert!(end.starts_with("cannot_run No such file"), "{end}");
}

#[test]
fn output_has_a_limit() {
    let limits = [
        "--deadline",
        "20000",
        "--grace",
        "100",
        "--max-output",
        "1000",
    ];
    let (output, end) = report(start(&limits, "yes"));
    assert_eq!((output.len(), end.as_str()), (1000, "output_limit"));
}

#[test]
fn a_daemon_is_gone_after_a_normal_end() {
    let script = format!("{} exit 0", daemon("normal-end"));
    let (_, end) = report(start(&LIMITS, &script));
    assert_eq!(end, "exited 0");
    assert!(!lives("normal-end"));
}

#[test]
fn a_daemon_is_gone_after_the_deadline() {
    let limits = [
        "--deadline",
        "300",
        "--grace",
        "100",
        "--max-output",
        "1000",
    ];
    let script = format!("{} sleep 60", daemon("deadline-end"));
    let (_, end) = report(start(&limits, &script));
    assert_eq!(end, "deadline");
    assert!(!lives("deadline-end"));
}

#[test]
fn a_daemon_is_gone_when_the_caller_is() {
    let script = format!("{} sleep 60", daemon("caller-gone"));
    let mut runner = start(&LIMITS, &script);
    wait_until("the daemon starts", || lives("caller-gone"));
    drop(runner.stdin.take());
    runner.wait().expect("the runner ends");
    assert!(!lives("caller-gone"));
}

#[test]
fn a_process_that_forks_all_the_time_is_caught() {
    let script = "f() { sh -c ': forks-on; sleep 0.01'; f; }; (f) & (f) & sleep 0.2";
    let (_, end) = report(start(&LIMITS, script));
    assert_eq!(end, "exited 0");
    assert!(!lives("forks-on"));
}

#[test]
fn what_a_dead_runner_left_is_reaped_by_its_marker() {
    let dir = std::env::temp_dir().join(format!("bc-runner-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a directory");
    let mut orphan = Command::new("/bin/sh")
        .args(["-c", ": left-over; while :; do sleep 0.1; done"])
        .env("BC_GITOPS_SCRATCH", dir.join("1"))
        .spawn()
        .expect("an orphan");
    wait_until("the orphan starts", || lives("left-over"));
    let other = dir.with_extension("other");
    for (marker, alive) in [(&other, true), (&dir, false)] {
        let reaped = Command::new(env!("CARGO_BIN_EXE_bc_gitops_runner"))
            .arg("reap")
            .arg("--marker")
            .arg(marker)
            .args(["--wait", "1000"])
            .status()
            .expect("reaps");
        assert!(reaped.success());
        assert_eq!(lives("left-over"), alive, "{}", marker.display());
    }
    orphan.wait().expect("its status");
    std::fs::remove_dir_all(&dir).expect("removed");
}

/// The limits of every run, and one more.
fn with<'a>(more: &[&'a str]) -> Vec<&'a str> {
    LIMITS.iter().chain(more).copied().collect()
}

#[test]
fn processes_have_a_limit() {
    let script = "for n in 1 2 3 4 5 6 7 8 9; do (: too-many; sleep 60; :) & done; wait";
    let (_, end) = report(start(&with(&["--processes", "5"]), script));
    assert_eq!(end, "process_limit");
    assert!(!lives("too-many"));
    let (_, end) = report(start(&with(&["--processes", "5"]), "sleep 0.3"));
    assert_eq!(end, "exited 0");
}

#[test]
fn memory_of_all_processes_has_a_limit() {
    let script =
        "for n in 1 2 3; do head -c 30000000 /dev/zero | tail -c 25000000 | sleep 60 & done; wait";
    let (_, end) = report(start(&with(&["--memory", "50000000"]), script));
    assert_eq!(end, "memory_limit");
    let (_, end) = report(start(&with(&["--memory", "50000000"]), "sleep 0.3"));
    assert_eq!(end, "exited 0");
}

#[test]
fn disk_has_a_limit() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().to_str().expect("text");
    let limits = with(&["--disk", "2000000", "--scratch", path, "--cd", path]);
    let scripts = [
        "for n in 1 2 3 4; do head -c 800000 /dev/zero > file$n; done; sleep 60",
        // the kernel stops this one
        "head -c 8000000 /dev/zero > file || exit 1",
        // over, and gone before anybody looked
        "for n in 1 2 3 4; do head -c 800000 /dev/zero > file$n; done",
        "exec 3> one; exec 4> two; rm one two; \
         head -c 1500000 /dev/zero >&3; head -c 1500000 /dev/zero >&4; sleep 60",
        "mkdir many; cd many; n=0; while [ $n -lt 600 ]; do : > $n; n=$((n+1)); done; sleep 60",
    ];
    for script in scripts {
        let (_, end) = report(start(&limits, script));
        assert_eq!(end, "disk_limit", "{script}");
        let cleared = Command::new("/bin/sh")
            .args(["-c", "rm -rf -- \"$1\"/*", "sh", path])
            .status();
        assert!(cleared.expect("sh").success());
    }
    let (_, end) = report(start(&limits, "head -c 1000000 /dev/zero > file"));
    assert_eq!(end, "exited 0");
}

#[test]
fn open_files_have_a_limit() {
    let script = "exec 3</dev/null 4<&3 5<&3 6<&3 7<&3 8<&3 9<&3; while :; do :; done";
    let (_, end) = report(start(&with(&["--files", "10"]), script));
    assert_eq!(end, "files_limit");
}

#[test]
fn no_core_is_dumped_and_the_build_is_the_first_to_go() {
    let script = "ulimit -c; cat /proc/self/oom_score_adj";
    let (output, _) = report(start(&LIMITS, script));
    assert_eq!(output, "0\n1000\n");
}

/// A chain of directories whose path is longer than a path can be.
const DEEP: &str = "n=0; d=$(printf 'd%.0s' $(seq 200)); chain=$d; \
    while [ $n -lt 30 ]; do chain=$chain/$d; n=$((n+1)); done; mkdir -p $chain";

#[test]
fn what_cannot_be_counted_is_past_the_limit() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().to_str().expect("text");
    let limits = with(&["--disk", "2000000", "--scratch", path, "--cd", path]);
    let (output, end) = report(start(&limits, DEEP));
    assert_eq!((output.as_str(), end.as_str()), ("", "disk_limit"));
}

#[test]
fn any_tree_is_removed() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("tree");
    std::fs::create_dir(&path).expect("made");
    let script = format!(
        "cd \"$1\"; {DEEP}; (many=a; n=0; while [ $n -lt 300 ]; do many=$many/a; n=$((n+1)); done; \
         mkdir -p $many; echo x > $many/file); mkdir moved-1; echo x > moved-1/file; \
         mkdir closed; echo x > closed/file; chmod 0 closed moved-1; ln -s / link; mkfifo pipe"
    );
    let text = path.to_str().expect("text");
    let made = Command::new("/bin/sh")
        .args(["-c", &script, "sh", text])
        .status();
    assert!(made.expect("sh").success());
    let removed = Command::new(env!("CARGO_BIN_EXE_bc_gitops_runner"))
        .args(["remove", text])
        .status();
    assert!(removed.expect("removes").success());
    assert!(!path.exists());
    assert!(std::path::Path::new("/bin/sh").exists());
}
