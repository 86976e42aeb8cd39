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
