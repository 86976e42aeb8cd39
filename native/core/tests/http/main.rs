//! The HTTP client against servers that behave and servers that don't.

mod server;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use bc_gitops_core::digest::{Algorithm, of_bytes};
use bc_gitops_core::git::auth::Auth;
use bc_gitops_core::http::{Client, Download, Downloaded, Get, HttpError, Kind, Progress, Target};
use bc_gitops_core::job::{self, Control, Job, Listener};
use bc_gitops_core::url::{Policy, Secret};
use server::{Reply, Server, answer, head, range_of};

type Answer = Result<Downloaded, HttpError>;

struct Channel(Sender<Answer>);

impl Listener<Download> for Channel {
    fn done(&self, result: Answer) {
        self.0.send(result).expect("the test waits for one answer");
    }

    fn progress(&self, progress: Progress) {
        assert!(
            progress
                .total_bytes
                .is_none_or(|total| progress.received_bytes <= total)
        );
    }
}

struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("file")
    }

    fn content(&self) -> Vec<u8> {
        std::fs::read(self.file()).unwrap()
    }

    fn is_empty(&self) -> bool {
        self.dir.path().read_dir().unwrap().next().is_none()
    }

    fn download(&self, url: &str) -> Download {
        Download {
            url: url.to_owned(),
            target: Target {
                path: self.file(),
                max_bytes: 10 << 20,
                sha256: None,
                unfinished: None,
            },
            auth: Auth::default(),
        }
    }
}

fn start(download: Download, timeout: Duration) -> (Job, Receiver<Answer>) {
    let (sender, receiver) = channel();
    (
        job::start(download, timeout, Arc::new(Channel(sender))),
        receiver,
    )
}

fn run(download: Download) -> Answer {
    let (_job, answers) = start(download, Duration::from_secs(60));
    answers.recv().expect("every job answers")
}

fn failure(download: Download) -> HttpError {
    run(download).unwrap_err()
}

fn client(auth: &Auth) -> Client {
    let control = Arc::new(Control::new(1, Duration::from_secs(60)));
    Client::new(auth, &control).unwrap()
}

/// Bytes that tell where they are.
fn content(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 7 + at / 251) as u8).collect()
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    of_bytes(Algorithm::Sha256, bytes)
}

#[test]
fn statuses_are_answers_or_errors() {
    let server = Server::new(|_, head| {
        let status = head[5..8].parse().unwrap_or(200);
        Reply::Send(answer(status, "etag: \"x\"\r\n", b""))
    });
    let get = |path: &str| {
        client(&Auth::default()).get(&Get::new(&server.url(path)).unless_etag("\"x\""))
    };
    assert_eq!(get("/304").unwrap().status, 304);
    assert_eq!(get("/200").unwrap().header("ETag"), Some("\"x\""));
    for (path, kind) in [
        ("/404", Kind::NotFound),
        ("/401", Kind::AuthFailed),
        ("/403", Kind::AuthFailed),
        ("/418", Kind::Status),
        ("/503", Kind::Status),
    ] {
        let error = get(path).err().unwrap();
        assert_eq!((error.kind, error.status), (kind, path[1..].parse().ok()));
    }
    assert!(server.heads()[0].contains("if-none-match: \"x\"\r\n"));
}

#[test]
fn bodies_have_a_limit() {
    let server = Server::new(|_, _| Reply::Send(answer(200, "", &content(100_000))));
    let get = || {
        client(&Auth::default())
            .get(&Get::new(&server.url("/x")))
            .unwrap()
    };
    assert_eq!(get().length(), Some(100_000));
    assert_eq!(get().bytes(100_000).unwrap(), content(100_000));
    assert_eq!(get().bytes(99_999).unwrap_err().kind, Kind::TooLarge);
}

#[test]
fn secrets_do_not_follow_a_redirect_to_another_host() {
    let end = Server::new(|_, _| Reply::Send(answer(200, "", b"end")));
    let to = end.url("/end?sig=canary");
    let first = Server::new(move |count, _| {
        let to = if count == 0 { "../own" } else { to.as_str() };
        Reply::Send(answer(302, &format!("location: {to}\r\n"), b"body"))
    });
    let get = Get::new(&first.url("/a/b")).authorization(Secret("Basic canary".into()));
    let response = client(&Auth::default()).get(&get).unwrap();
    assert_eq!(response.bytes(10).unwrap(), b"end");
    let asked = first.heads();
    assert!(
        asked[0].starts_with("get /a/b ") && asked[1].starts_with("get /own "),
        "{asked:?}"
    );
    assert!(
        asked
            .iter()
            .all(|head| head.contains("authorization: basic canary"))
    );
    let asked = end.heads();
    assert!(asked[0].starts_with("get /end?sig=canary ") && !asked[0].contains("authorization"));
}

#[test]
fn user_information_of_a_url_is_sent_and_never_shown() {
    let server = Server::new(|_, _| Reply::Send(answer(500, "", b"")));
    let url = server.url("/x?canary").replace("//", "//me:canary@");
    let error = client(&Auth::default()).get(&Get::new(&url)).err().unwrap();
    assert!(!format!("{error:?}").contains("canary"), "{error:?}");
    assert!(server.heads()[0].contains("authorization: basic bwu6y2fuyxj5\r\n"));
}

#[test]
fn redirects_end() {
    let server = Server::new(|_, _| Reply::Send(answer(301, "location: /again\r\n", b"")));
    let place = Place::new();
    assert_eq!(
        failure(place.download(&server.url("/x"))).kind,
        Kind::Redirect
    );
    assert_eq!(server.heads().len(), 6);
    for location in ["file:///etc/passwd", "http://example.invalid/x", "/a b"] {
        let header = format!("location: {location}\r\n");
        let server = Server::new(move |_, _| Reply::Send(answer(301, &header, b"")));
        let error = failure(place.download(&server.url("/x")));
        assert_eq!(error.kind, Kind::Redirect, "{location}");
    }
    assert!(place.is_empty());
}

#[test]
fn a_download_is_streamed_and_checked() {
    let body = content(300_000);
    let sent = body.clone();
    let server = Server::new(move |_, _| Reply::Send(answer(200, "", &sent)));
    let place = Place::new();
    let mut download = place.download(&server.url("/x"));
    download.target.sha256 = Some(sha256(&body));
    let done = run(download.clone()).unwrap();
    assert_eq!(
        (done.bytes, done.sha256, done.resumed),
        (300_000, sha256(&body), 0)
    );
    assert_eq!(place.content(), body);
    let other = Place::new();
    download.target.path = other.file();
    download.target.sha256 = Some([0; 32]);
    let error = failure(download);
    assert_eq!(error.kind, Kind::DigestMismatch);
    assert!(
        error
            .facts
            .iter()
            .any(|(_, value)| value.starts_with("000000"))
    );
    assert!(other.is_empty());
}

#[test]
fn a_broken_connection_is_resumed() {
    let body = content(500_000);
    let sent = body.clone();
    let server = Server::new(move |_, head_| {
        let from = range_of(head_).unwrap_or(0);
        let to = (from + 200_000).min(sent.len());
        let (status, range) = match from {
            0 => (200, String::new()),
            from => (
                206,
                format!("content-range: bytes {from}-499999/500000\r\n"),
            ),
        };
        let headers = format!(
            "etag: \"one\"\r\ncontent-length: {}\r\n{range}",
            sent.len() - from
        );
        Reply::Send(head(status, &headers, &sent[from..to]))
    });
    let place = Place::new();
    let done = run(place.download(&server.url("/x"))).unwrap();
    assert_eq!((done.sha256, done.resumed), (sha256(&body), 2));
    assert_eq!(place.content(), body);
    let heads = server.heads();
    assert!(!heads[0].contains("range"), "{heads:?}");
    assert!(
        heads[1].contains("range: bytes=200000-\r\n") && heads[1].contains("if-range: \"one\"\r\n")
    );
    assert!(heads[2].contains("range: bytes=400000-\r\n"), "{heads:?}");
}

/// Sends `sent` bytes at most of what is asked for, with its length.
fn piecewise(body: &[u8], head_: &str, sent: usize) -> Reply {
    let from = range_of(head_).unwrap_or(0);
    let to = (from + sent).min(body.len());
    let length = body.len();
    let headers = format!(
        "content-length: {}\r\ncontent-range: bytes {from}-{}/{length}\r\n",
        length - from,
        length - 1
    );
    let status = if from == 0 { 200 } else { 206 };
    Reply::Send(head(status, &headers, &body[from..to]))
}

#[test]
fn the_next_download_goes_on_where_one_was_given_up() {
    let body = content(500_000);
    let sent = body.clone();
    let server = Server::new(move |count, head_| match count {
        0 => piecewise(&sent, head_, 200_000),
        1..=5 => Reply::Send(answer(429, "", b"")),
        _ => piecewise(&sent, head_, sent.len()),
    });
    let place = Place::new();
    let left = place.dir.path().join("unfinished/digest");
    let mut download = place.download(&server.url("/x"));
    download.target.sha256 = Some(sha256(&body));
    download.target.unfinished = Some(left.clone());
    assert_eq!(failure(download.clone()).status, Some(429));
    assert_eq!(std::fs::read(&left).unwrap(), body[..200_000]);
    assert!(!place.file().exists());
    let asked = server.heads().len();
    let done = run(download).unwrap();
    assert_eq!((done.bytes, done.resumed), (500_000, 1));
    assert_eq!(place.content(), body);
    let heads = server.heads();
    assert!(
        heads.len() == 1 && heads[0].contains("range: bytes=200000-\r\n"),
        "{asked} {heads:?}"
    );
    assert!(!left.exists());
}

#[test]
fn what_was_left_of_something_else_is_thrown_away() {
    let body = content(300_000);
    for garbage in [vec![7; 100_000], vec![7; 300_000], vec![7; 400_000]] {
        let sent = body.clone();
        let server = Server::new(move |_, head_| match range_of(head_) {
            Some(from) if from >= sent.len() => Reply::Send(answer(416, "", b"")),
            _ => piecewise(&sent, head_, sent.len()),
        });
        let place = Place::new();
        let left = place.dir.path().join("left");
        std::fs::write(&left, garbage).unwrap();
        let mut download = place.download(&server.url("/x"));
        download.target.sha256 = Some(sha256(&body));
        download.target.unfinished = Some(left.clone());
        assert_eq!(run(download.clone()).unwrap().resumed, 2);
        assert_eq!((place.content(), left.exists()), (body.clone(), false));
        // A whole one that nobody came to give its name needs no server.
        let asked = server.heads().len();
        std::fs::rename(place.file(), &left).unwrap();
        assert_eq!(run(download).unwrap().resumed, 1);
        assert_eq!((asked, server.heads().len()), (2, 0));
        assert_eq!(place.content(), body);
    }
}

#[test]
fn nothing_is_left_that_no_download_could_take_up() {
    let body = content(300_000);
    let sent = body.clone();
    let wrong = Server::new(move |_, head_| piecewise(&sent, head_, sent.len()));
    let sent = body.clone();
    let short = Server::new(move |_, head_| piecewise(&sent, head_, 1000));
    for (server, digest, kind) in [
        (&wrong, Some([0; 32]), Kind::DigestMismatch),
        (&short, Some(sha256(&body)), Kind::Broken),
        (&short, None, Kind::Broken),
    ] {
        let place = Place::new();
        let mut download = place.download(&server.url("/x"));
        download.target.sha256 = digest;
        download.target.unfinished = Some(place.dir.path().join("left"));
        assert_eq!(failure(download).kind, kind);
        assert!(place.is_empty(), "{kind:?}");
    }
}

#[test]
fn a_link_in_the_place_of_what_was_left_is_not_followed() {
    let body = content(300_000);
    let sent = body.clone();
    let server = Server::new(move |_, head_| piecewise(&sent, head_, sent.len()));
    let other = tempfile::tempdir().unwrap();
    let victim = other.path().join("victim");
    for hard in [false, true] {
        std::fs::write(&victim, &body[..100_000]).unwrap();
        let place = Place::new();
        let left = other.path().join("left");
        match hard {
            true => std::fs::hard_link(&victim, &left).unwrap(),
            false => std::os::unix::fs::symlink(&victim, &left).unwrap(),
        }
        let mut download = place.download(&server.url("/x"));
        download.target.sha256 = Some(sha256(&body));
        download.target.unfinished = Some(left);
        assert_eq!(run(download).unwrap().resumed, 0);
        assert_eq!(place.content(), body);
        assert_eq!(std::fs::read(&victim).unwrap(), body[..100_000]);
    }
}

#[test]
fn what_changed_or_has_no_ranges_is_begun_anew() {
    let (old, new) = (content(200_000), content(150_000));
    for tag in ["etag: \"two\"\r\n", ""] {
        let (old, new) = (old.clone(), new.clone());
        let expected = new.clone();
        let server = Server::new(move |count, _| match count {
            0 => Reply::Send(head(
                200,
                "etag: \"one\"\r\ncontent-length: 200000\r\n",
                &old[..100_000],
            )),
            _ => Reply::Send(answer(200, tag, &new)),
        });
        let place = Place::new();
        let done = run(place.download(&server.url("/x"))).unwrap();
        assert_eq!((done.resumed, place.content()), (1, expected));
    }
}

#[test]
fn without_validator_and_digest_nothing_is_put_together() {
    let body = content(200_000);
    let sent = body.clone();
    let replies = move |count: usize, _: &str| match count {
        0 => Reply::Send(head(200, "content-length: 200000\r\n", &sent[..100_000])),
        1 => Reply::Send(head(
            206,
            "content-range: bytes 0-1/2\r\ncontent-length: 2\r\n",
            b"xx",
        )),
        _ => Reply::Send(answer(200, "", &sent)),
    };
    let server = Server::new(replies.clone());
    let place = Place::new();
    let error = failure(place.download(&server.url("/x")));
    assert_eq!(
        error.kind,
        Kind::Protocol,
        "206 was not asked for: {error:?}"
    );
    assert!(server.heads().iter().all(|head| !head.contains("range")));
    let server = Server::new(replies);
    let mut download = place.download(&server.url("/x"));
    download.target.sha256 = Some(sha256(&body));
    assert_eq!(
        run(download).unwrap().resumed,
        2,
        "the wrong part is refused"
    );
    assert!(server.heads()[1].contains("range: bytes=100000-\r\n"));
}

#[test]
fn a_server_that_lies_about_the_length_is_left() {
    let server = Server::new(|_, _| Reply::Send(head(200, "content-length: 1000\r\n", b"short")));
    let place = Place::new();
    let error = failure(place.download(&server.url("/x")));
    assert_eq!(error.kind, Kind::Broken, "{error:?}");
    assert_eq!(server.heads().len(), 5);
    assert!(place.is_empty());
    let unreachable = failure(place.download("http://127.0.0.1:1/x"));
    assert_eq!(unreachable.kind, Kind::Unreachable);
}

#[test]
fn a_download_has_a_limit() {
    let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000))
        .repeat(4)
        .into_bytes();
    for reply in [
        head(200, "content-length: 100001\r\n", b""),
        head(200, "transfer-encoding: chunked\r\n", &chunk),
        head(200, "", &content(100_001)),
    ] {
        let server = Server::new(move |_, _| Reply::Hang(reply.clone()));
        let place = Place::new();
        let mut download = place.download(&server.url("/x"));
        download.target.max_bytes = 100_000;
        assert_eq!(failure(download).kind, Kind::TooLarge);
        assert!(place.is_empty());
    }
}

#[test]
fn a_cancel_ends_the_connection() {
    let silent = Server::new(|_, _| Reply::Hang(Vec::new()));
    let slow = Server::new(|_, _| Reply::Hang(head(200, "content-length: 1000\r\n", b"begin")));
    for server in [silent, slow] {
        let place = Place::new();
        let (job, answers) = start(place.download(&server.url("/x")), Duration::from_secs(60));
        server.requests.recv().unwrap();
        job.cancel();
        assert_eq!(answers.recv().unwrap().unwrap_err().kind, Kind::Cancelled);
        server.closed.recv().expect("the connection is closed");
    }
}

#[test]
fn a_deadline_ends_the_connection() {
    let server = Server::new(|_, _| Reply::Hang(head(200, "content-length: 1000\r\n", b"begin")));
    let place = Place::new();
    let (_job, answers) = start(
        place.download(&server.url("/x")),
        Duration::from_millis(300),
    );
    assert_eq!(answers.recv().unwrap().unwrap_err().kind, Kind::Timeout);
    server.closed.recv().expect("the connection is closed");
}

#[test]
fn local_files_need_permission() {
    let place = Place::new();
    let source = tempfile::tempdir().unwrap();
    let file = source.path().join("a?b");
    std::fs::write(&file, content(1000)).unwrap();
    for url in [
        file.display().to_string(),
        format!("file://{}", file.display()),
    ] {
        let mut download = place.download(&url);
        assert_eq!(failure(download.clone()).kind, Kind::BadUrl);
        download.auth.policy = Policy {
            allow_http: false,
            allow_local: true,
        };
        download.target.sha256 = Some(sha256(&content(1000)));
        assert_eq!(run(download.clone()).unwrap().bytes, 1000);
        assert_eq!(place.content(), content(1000));
        download.target.max_bytes = 999;
        assert_eq!(failure(download.clone()).kind, Kind::TooLarge);
        for other in ["/none", "/"] {
            download.url = format!("{}{other}", source.path().display());
            assert_eq!(failure(download.clone()).kind, Kind::NotFound, "{other}");
        }
    }
}
