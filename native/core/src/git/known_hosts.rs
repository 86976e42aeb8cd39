//! Checking an SSH host key against known_hosts files (the format is that of sshd(8)).
//!
//! libgit2 checks against the user's own file only, and gives one text for an unknown and a changed
//! key. So the check that counts is this one.

use std::path::{Path, PathBuf};

use sha1::{Digest, Sha1};

use super::error::{Fact, GitError, Kind, Result};
use crate::base64;

/// What a server showed.
pub(crate) struct ServerKey<'a> {
    /// The host of the url.
    pub(crate) host: &'a str,
    /// The port, when it isn't 22.
    pub(crate) port: Option<u16>,
    /// The public key as SSH encodes it, which begins with the name of its type.
    pub(crate) key: &'a [u8],
    /// SHA-256 of the key.
    pub(crate) sha256: &'a [u8; 32],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Known,
    Revoked,
    /// The host has another key of this type.
    Changed,
    /// The host has keys of other types only.
    OtherType,
    Unknown,
}

/// Checks a key against the file that was configured, else the user's and the system's.
pub(crate) fn check(server: &ServerKey<'_>, configured: Option<&Path>) -> Result<()> {
    let (texts, shown) = match configured {
        Some(file) => (
            vec![read(file).map_err(|error| unreadable(server, file, &error))?],
            file.to_owned(),
        ),
        None => {
            let user = user_file();
            let system = Path::new("/etc/ssh/ssh_known_hosts");
            let texts = [user.as_deref(), Some(system)]
                .into_iter()
                .flatten()
                .filter_map(|file| read(file).ok());
            (texts.collect(), user.unwrap_or_else(|| system.to_owned()))
        }
    };
    match judge(server, texts.iter().flat_map(|text| text.lines())) {
        Verdict::Known => Ok(()),
        verdict => Err(explain(server, verdict, &shown)),
    }
}

/// Fuzz entry: any file is judged; a key that does not stand in it is never known.
pub fn fuzz(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let server = ServerKey {
        host: "git.example",
        port: None,
        key: b"\0\0\0\x0bssh-ed25519\0\0\0\x04\xff\xfe\xfd\xfc",
        sha256: &[0; 32],
    };
    let stands = text.contains(&base64::encode(server.key));
    let verdict = judge(&server, text.lines());
    assert!(stands || !matches!(verdict, Verdict::Known | Verdict::Revoked));
}

/// The user's own file.
pub(crate) fn user_file() -> Option<PathBuf> {
    std::env::home_dir().map(|home| home.join(".ssh/known_hosts"))
}

fn read(file: &Path) -> std::io::Result<String> {
    std::fs::read(file).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

fn judge<'a>(server: &ServerKey<'_>, lines: impl Iterator<Item = &'a str>) -> Verdict {
    let name = server.name();
    let mut verdict = Verdict::Unknown;
    for line in lines {
        let Some(entry) = Entry::parse(line).filter(|entry| entry.names(&name)) else {
            continue;
        };
        let same_key = base64::decode(entry.key).is_some_and(|key| key == server.key);
        verdict = match (entry.marker, same_key) {
            (Some("@revoked"), true) => return Verdict::Revoked,
            (Some(_), _) => verdict,
            (None, true) => Verdict::Known,
            (None, false) if verdict == Verdict::Known => verdict,
            (None, false) if entry.kind.as_bytes() == server.kind() => Verdict::Changed,
            (None, false) if verdict == Verdict::Unknown => Verdict::OtherType,
            (None, false) => verdict,
        };
    }
    verdict
}

/// One line: `[@marker] hosts type key [comment]`.
struct Entry<'a> {
    marker: Option<&'a str>,
    hosts: &'a str,
    kind: &'a str,
    key: &'a str,
}

impl<'a> Entry<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let mut words = line.split_ascii_whitespace();
        let first = words.next().filter(|word| !word.starts_with('#'))?;
        let (marker, hosts) = if first.starts_with('@') {
            (Some(first), words.next()?)
        } else {
            (None, first)
        };
        Some(Self {
            marker,
            hosts,
            kind: words.next()?,
            key: words.next()?,
        })
    }

    /// Whether the entry is about the host: hashed, or a list of patterns of which no negated one fits.
    fn names(&self, name: &str) -> bool {
        if let Some(hashed) = self.hosts.strip_prefix("|1|") {
            let parts = hashed.split_once('|');
            return parts
                .and_then(|(salt, hash)| Some((base64::decode(salt)?, base64::decode(hash)?)))
                .is_some_and(|(salt, hash)| hmac_sha1(&salt, name.as_bytes()) == hash[..]);
        }
        let mut named = false;
        for pattern in self.hosts.split(',') {
            match pattern.strip_prefix('!') {
                Some(negated) if matches(negated.as_bytes(), name.as_bytes()) => return false,
                Some(_) => {}
                None => named |= matches(pattern.to_ascii_lowercase().as_bytes(), name.as_bytes()),
            }
        }
        named
    }
}

/// Shell patterns with `*` and `?`, in time proportional to the product of both lengths.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(letter) if *letter == b'?' || *letter == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    p = at + 1;
                    t = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|letter| *letter == b'*')
}

/// HMAC (RFC 2104) with SHA-1, as `HashKnownHosts` uses it.
fn hmac_sha1(key: &[u8], text: &[u8]) -> [u8; 20] {
    let mut block = [0u8; 64];
    if key.len() > block.len() {
        block[..20].copy_from_slice(&Sha1::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let pad = |with: u8| block.map(|byte| byte ^ with);
    let inner = Sha1::new()
        .chain_update(pad(0x36))
        .chain_update(text)
        .finalize();
    Sha1::new()
        .chain_update(pad(0x5c))
        .chain_update(inner)
        .finalize()
        .into()
}

impl ServerKey<'_> {
    /// The host as known_hosts files write it.
    fn name(&self) -> String {
        match self.port {
            Some(port) if port != 22 => format!("[{}]:{port}", self.host),
            _ => self.host.to_owned(),
        }
    }

    /// The name of the key's type: a string with a length of four bytes in front.
    fn kind(&self) -> &[u8] {
        let Some((length, rest)) = self.key.split_first_chunk::<4>() else {
            return &[];
        };
        usize::try_from(u32::from_be_bytes(*length))
            .ok()
            .and_then(|length| rest.get(..length))
            .unwrap_or_default()
    }

    fn fingerprint(&self) -> String {
        format!("SHA256:{}", base64::encode(self.sha256))
    }
}

fn explain(server: &ServerKey<'_>, verdict: Verdict, file: &Path) -> GitError {
    let (name, file_name, fingerprint) = (server.name(), file.display(), server.fingerprint());
    let kind = String::from_utf8_lossy(server.kind());
    let port = server
        .port
        .map_or(String::new(), |port| format!("-p {port} "));
    let scan = format!("ssh-keyscan {port}{} >> {file_name}", server.host);
    let message = match verdict {
        Verdict::Revoked => format!(
            "the {kind} host key {fingerprint} of {name} is marked as revoked in {file_name}"
        ),
        Verdict::Changed => format!(
            "the {kind} host key of {name} is {fingerprint}, and {file_name} has another one: the server was \
             set up anew, or someone is in between. When the new key is right, remove the old line \
             (ssh-keygen -R '{name}' -f {file_name}) and add the new one ({scan})"
        ),
        Verdict::OtherType => format!(
            "{file_name} has keys of {name}, but not its {kind} key {fingerprint}: when it is right, add it ({scan})"
        ),
        Verdict::Unknown | Verdict::Known => format!(
            "{name} is not in {file_name}; its {kind} host key is {fingerprint}: when that is right, add it ({scan})"
        ),
    };
    host_key_error(server, message)
}

fn unreadable(server: &ServerKey<'_>, file: &Path, error: &std::io::Error) -> GitError {
    host_key_error(
        server,
        format!("the known_hosts file {}: {error}", file.display()),
    )
    .with(Fact::Path, file.display())
}

fn host_key_error(server: &ServerKey<'_>, message: String) -> GitError {
    GitError::new(Kind::HostKey, message)
        .with(Fact::Fingerprint, server.fingerprint())
        .with(Fact::Host, server.name())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ED: &[u8] = b"\0\0\0\x0bssh-ed25519\0\0\0\x02ab";
    const OTHER: &[u8] = b"\0\0\0\x0bssh-ed25519\0\0\0\x02cd";

    fn server<'a>(port: Option<u16>) -> ServerKey<'a> {
        ServerKey {
            host: "git.example",
            port,
            key: ED,
            sha256: &[7; 32],
        }
    }

    fn verdict(port: Option<u16>, lines: &[String]) -> Verdict {
        judge(&server(port), lines.iter().map(String::as_str))
    }

    fn line(hosts: &str, key: &[u8]) -> String {
        format!("{hosts} ssh-ed25519 {} comment", base64::encode(key))
    }

    #[test]
    fn verdicts() {
        assert_eq!(verdict(None, &[line("git.example", ED)]), Verdict::Known);
        assert_eq!(verdict(None, &[line("x,Git.Example", ED)]), Verdict::Known);
        assert_eq!(
            verdict(None, &[line("*.example,!other.example", ED)]),
            Verdict::Known
        );
        assert_eq!(
            verdict(None, &[line("*.example,!git.*", ED)]),
            Verdict::Unknown
        );
        assert_eq!(
            verdict(None, &[line("git.example", OTHER)]),
            Verdict::Changed
        );
        assert_eq!(
            verdict(None, &[line("git.example", OTHER), line("git.example", ED)]),
            Verdict::Known
        );
        assert_eq!(
            verdict(None, &["git.example ssh-rsa AAAA".into()]),
            Verdict::OtherType
        );
        assert_eq!(
            verdict(None, &[line("@revoked *", ED), line("git.example", ED)]),
            Verdict::Revoked
        );
        assert_eq!(
            verdict(None, &[line("@cert-authority *", ED)]),
            Verdict::Unknown
        );
        assert_eq!(
            verdict(None, &["# git.example".into(), String::new(), "x".into()]),
            Verdict::Unknown
        );
        assert_eq!(
            verdict(Some(2222), &[line("git.example", ED)]),
            Verdict::Unknown
        );
        assert_eq!(
            verdict(Some(2222), &[line("[git.example]:2222", ED)]),
            Verdict::Known
        );
    }

    #[test]
    fn hashed_names() {
        let salt = [9u8; 20];
        let name = hmac_sha1(&salt, b"git.example");
        let hashed = format!("|1|{}=|{}=", base64::encode(&salt), base64::encode(&name));
        assert_eq!(verdict(None, &[line(&hashed, ED)]), Verdict::Known);
        assert_eq!(verdict(Some(2222), &[line(&hashed, ED)]), Verdict::Unknown);
    }

    #[test]
    fn hmac_of_rfc_2202() {
        let expected = "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79";
        let digest = hmac_sha1(b"Jefe", b"what do ya want for nothing?");
        assert_eq!(digest.map(|byte| format!("{byte:02x}")).concat(), expected);
    }

    #[test]
    fn patterns() {
        assert!(matches(b"*a*b?", b"xxaxxbc"));
        assert!(!matches(b"a*b", b"axc"));
        assert!(matches(b"*", b""));
    }

    #[test]
    fn the_error_says_what_to_do() {
        let error = explain(&server(Some(2222)), Verdict::Unknown, Path::new("/k"));
        assert!(
            error
                .message
                .contains("ssh-keyscan -p 2222 git.example >> /k"),
            "{}",
            error.message
        );
        assert!(error.facts.contains(&(
            Fact::Fingerprint,
            format!("SHA256:{}", base64::encode(&[7; 32]))
        )));
    }

    proptest::proptest! {
        #[test]
        fn any_line_is_judged(line in "\\PC{0,80}", hosts in "[|1a=,!*?@.-]{0,20}") {
            let _ = verdict(None, &[line, format!("{hosts} ssh-ed25519 AAAA")]);
        }
    }
}
