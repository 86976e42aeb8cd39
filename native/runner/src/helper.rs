//! git's way to its mirrors, as gitremote-helpers(7) has it: git runs this program under the name
//! `git-remote-bcgitops` for each url that its configuration leads here.
//!
//! ```text
//! we      TOKEN URL                        to the build's broker, BC_GITOPS_MIRRORS=HOST:PORT
//! broker  mirror PATH | direct
//! ```
//! `mirror`: git is connected with `git upload-pack PATH`. `direct`, or no broker at all: git's own
//! helper for the url takes this process over before git has said anything.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

/// The name under which git asks for this.
pub const NAME: &str = "git-remote-bcgitops";

const BROKER: &str = "BC_GITOPS_MIRRORS";
const TOKEN: &str = "BC_GITOPS_MIRRORS_TOKEN";
/// The end that git understands as "it was said why".
const FATAL: u8 = 128;
/// A line of git or of the broker is never longer.
const LONGEST: u64 = 8192;
/// Variables that say which repository is worked in: that of the caller, not the mirror.
const OURS: &str = "GIT_";
const KEPT: &str = "GIT_EXEC_PATH";

/// What the broker says of a url.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Mirror(String),
    Direct,
}

/// Serves git; does not come back where another program takes over.
pub fn run(args: impl Iterator<Item = OsString>) -> ExitCode {
    let args: Vec<_> = args.collect();
    let [remote, url] = args.as_slice() else {
        return fatal("expected the name of a remote and its url");
    };
    let Some(text) = url.to_str().filter(|text| is_web(text)) else {
        return fatal("this is for urls of http and https");
    };
    match ask(text).unwrap_or(Answer::Direct) {
        Answer::Mirror(path) => connect(&path).unwrap_or_else(|error| fatal(&error.to_string())),
        Answer::Direct => direct(remote, text),
    }
}

fn is_web(url: &str) -> bool {
    ["https://", "http://"]
        .iter()
        .any(|scheme| url.starts_with(scheme))
}

/// Asks the broker. Where there is none, or it does not answer, git fetches by itself.
fn ask(url: &str) -> Option<Answer> {
    let address = env::var(BROKER).ok()?;
    let token = env::var(TOKEN).ok()?;
    if url.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return None;
    }
    let mut stream = TcpStream::connect(address).ok()?;
    stream
        .write_all(format!("{token} {url}\n").as_bytes())
        .ok()?;
    let mut line = String::new();
    let mut reader = BufReader::new(stream.take(LONGEST));
    reader.read_line(&mut line).ok()?;
    parse(&line)
}

fn parse(line: &str) -> Option<Answer> {
    match line.strip_suffix('\n')?.split_once(' ') {
        Some(("mirror", path)) if path.starts_with('/') => Some(Answer::Mirror(path.to_owned())),
        None if line == "direct\n" => Some(Answer::Direct),
        _ => None,
    }
}

/// git's own helper for the url, with what git told us of the repository.
fn direct(remote: &OsStr, url: &str) -> ExitCode {
    let helper = match url.starts_with("https://") {
        true => "remote-https",
        false => "remote-http",
    };
    let error = Command::new("git").arg(helper).arg(remote).arg(url).exec();
    fatal(&format!("git {helper}: {error}"))
}

/// Talks with git until it wants the service, which then has its input and output.
fn connect(path: &str) -> io::Result<ExitCode> {
    let mut input = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut output = io::stdout();
    loop {
        let answer = match line(&mut input)?.as_str() {
            "" => return Ok(ExitCode::SUCCESS),
            "capabilities" => "connect\n\n",
            "connect git-upload-pack" => {
                output.write_all(b"\n")?;
                output.flush()?;
                return Err(upload_pack(path));
            }
            // git says itself that this cannot be done
            _ => "fallback\n",
        };
        output.write_all(answer.as_bytes())?;
        output.flush()?;
    }
}

/// A byte at a time: what follows the line is not ours to read.
fn line(input: &mut impl Read) -> io::Result<String> {
    let (mut line, mut byte) = (Vec::new(), [0]);
    while (line.len() as u64) < LONGEST && input.read(&mut byte)? == 1 && byte != *b"\n" {
        line.extend(byte);
    }
    String::from_utf8(line).map_err(io::Error::other)
}

fn upload_pack(path: &str) -> io::Error {
    let mut command = Command::new("git");
    command.args(["upload-pack", path]);
    for (name, _) in env::vars_os() {
        let name_text = name.to_string_lossy();
        if name_text.starts_with(OURS) && name_text != KEPT {
            command.env_remove(&name);
        }
    }
    command.exec()
}

fn fatal(message: &str) -> ExitCode {
    eprintln!("{NAME}: {message}");
    ExitCode::from(FATAL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_whole_or_not_at_all() {
        assert_eq!(parse("direct\n"), Some(Answer::Direct));
        assert_eq!(parse("mirror /a b\n"), Some(Answer::Mirror("/a b".into())));
        for bad in [
            "",
            "\n",
            "direct",
            "mirror /a",
            "mirror a\n",
            "mirror\n",
            "no /a\n",
        ] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_line_leaves_what_follows() {
        let mut input = &b"capabilities\nrest"[..];
        assert_eq!(line(&mut input).expect("a line"), "capabilities");
        assert_eq!(input, b"rest");
    }
}
