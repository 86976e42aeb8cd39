//! The grammar of remote urls. A parsed url keeps its user information apart from its text.

use std::fmt;
use std::path::Path;

use super::error::{GitError, Kind, Result};
use super::vault::{self, Login};

const MAX_URL: usize = 4096;

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// How a remote is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// `https://host/path`
    Https,
    /// `http://host/path`
    Http,
    /// `ssh://host/path` or `host:path`
    Ssh,
    /// `file:///path` or `/path`
    Local,
}

/// Which urls are allowed beyond https and ssh.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Policy {
    /// Plain http to other hosts than this one.
    pub allow_http: bool,
    /// Repositories on the local disk.
    pub allow_local: bool,
}

/// A remote whose url passed the grammar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitUrl {
    /// How it is reached.
    pub scheme: Scheme,
    /// The url without user information: what libgit2, errors and files get.
    pub clean: String,
    /// The host, lower case, empty for local ones.
    pub host: String,
    /// The port, when it is written.
    pub port: Option<u16>,
    /// The user name that the url carries.
    pub user: Option<Secret>,
    /// The password that the url carries.
    pub password: Option<Secret>,
}

impl GitUrl {
    /// Checks a url against the grammar and the policy. A login that was taken out of it comes back.
    pub fn parse(text: &str, policy: Policy) -> Result<Self> {
        let mut url = Self::as_written(text, policy)?;
        vault::complete(&mut url);
        Ok(url)
    }

    pub(crate) fn as_written(text: &str, policy: Policy) -> Result<Self> {
        let refuse = |why: &str| {
            GitError::new(Kind::BadUrl, format!("{}: {why}", redact(text))).about(&redact(text))
        };
        if text.is_empty() || text.len() > MAX_URL {
            return Err(refuse("a url has 1 to 4096 bytes"));
        }
        if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(refuse(
                "a url holds no white space and no control characters",
            ));
        }
        if text.starts_with('-') {
            return Err(refuse("a url doesn't start with `-`"));
        }
        let url = match text.split_once("://") {
            Some(("https", rest)) => network(Scheme::Https, "https", rest),
            Some(("http", rest)) => network(Scheme::Http, "http", rest),
            Some(("ssh", rest)) => network(Scheme::Ssh, "ssh", rest),
            Some(("file", rest)) => {
                local(rest.strip_prefix("localhost").unwrap_or(rest), "file://")
            }
            Some(_) => Err("the scheme must be https, ssh, http or file"),
            None if text.starts_with('/') => local(text, ""),
            None => scp_like(text),
        }
        .map_err(refuse)?;
        url.check(policy).map_err(refuse)?;
        Ok(url)
    }

    /// A url as it may be kept and shown, and the login that stood in it. Over ssh the user name is part
    /// of the address and stays, and a password is of no use.
    pub fn without_login(text: &str) -> Option<(String, Login)> {
        let anything = Policy {
            allow_http: true,
            allow_local: true,
        };
        let url = text
            .contains('@')
            .then(|| Self::as_written(text, anything).ok())??;
        let clean = match (url.scheme, &url.user, &url.password) {
            (_, None, None) | (Scheme::Ssh | Scheme::Local, _, None) => return None,
            (Scheme::Ssh, _, Some(_)) => {
                let user = text.strip_prefix("ssh://")?.split(':').next()?;
                let host = url.clean.strip_prefix("ssh://")?;
                format!("ssh://{user}@{host}")
            }
            _ => url.clean,
        };
        let login = Login {
            user: url.user,
            password: url.password,
        };
        Some((clean, login))
    }

    fn check(&self, policy: Policy) -> std::result::Result<(), &'static str> {
        match self.scheme {
            Scheme::Local if !policy.allow_local => {
                Err("repositories on the local disk are not allowed here")
            }
            Scheme::Http if !policy.allow_http && !is_loopback(&self.host) => {
                Err("plain http is allowed on the loopback interface only (option allow_http)")
            }
            _ => Ok(()),
        }
    }

    /// Whether the remote is on the local disk.
    pub fn is_local(&self) -> bool {
        self.scheme == Scheme::Local
    }

    /// Resolves a submodule's url: a relative one against this url, others on their own.
    pub fn join(&self, text: &str, policy: Policy) -> Result<Self> {
        if !(text.starts_with("./") || text.starts_with("../")) {
            return Self::as_written(text, policy);
        }
        let refuse = || {
            GitError::new(Kind::BadUrl, format!("{text}: leads out of {}", self.clean))
                .about(&self.clean)
        };
        let prefix = self.clean.len() - self.path().len();
        let (base, path) = self.clean.split_at(prefix);
        let mut parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        for part in text.split('/') {
            match part {
                "" | "." => {}
                ".." => drop(parts.pop().ok_or_else(refuse)?),
                part => parts.push(part),
            }
        }
        let slash = if path.starts_with('/') { "/" } else { "" };
        let joined = format!("{base}{slash}{}", parts.join("/"));
        let mut joined = Self::as_written(&joined, policy)?;
        joined.user = self.user.clone();
        joined.password = self.password.clone();
        Ok(joined)
    }

    /// The part of the url after host and port.
    fn path(&self) -> &str {
        match self.clean.split_once("://") {
            Some((_, rest)) => rest.find('/').map_or("", |at| &rest[at..]),
            None if self.clean.starts_with('/') => &self.clean,
            None => self.clean.split_once(':').map_or("", |(_, path)| path),
        }
    }
}

type Parsed = std::result::Result<GitUrl, &'static str>;

fn network(scheme: Scheme, name: &str, rest: &str) -> Parsed {
    let (authority, path) = rest.split_at(
        rest.find('/')
            .ok_or("the path of the repository is missing")?,
    );
    let (user_info, host_port) = match authority.rsplit_once('@') {
        Some((info, host)) => (Some(info), host),
        None => (None, authority),
    };
    if path.len() < 2 {
        return Err("the path of the repository is missing");
    }
    if path.contains(['?', '#', '\\']) {
        return Err("a url has no query, no fragment and no backslash");
    }
    if ["%00", "%0a", "%0d", "%0A", "%0D"]
        .iter()
        .any(|code| path.contains(code))
    {
        return Err("the path holds control characters");
    }
    let (host, port) = split_port(host_port)?;
    let (user, password) = split_user(user_info)?;
    let clean = format!("{name}://{host_port}{path}");
    Ok(GitUrl {
        scheme,
        clean,
        host: host.to_ascii_lowercase(),
        port,
        user,
        password,
    })
}

fn local(path: &str, prefix: &str) -> Parsed {
    if !path.starts_with('/') || path.len() < 2 || !Path::new(path).is_absolute() {
        return Err("a local repository needs an absolute path");
    }
    let clean = format!("{prefix}{path}");
    Ok(GitUrl {
        scheme: Scheme::Local,
        clean,
        host: String::new(),
        port: None,
        user: None,
        password: None,
    })
}

/// `user@host:path`. `ext::command` and its like are refused by the grammar of the path.
fn scp_like(text: &str) -> Parsed {
    let (login, path) = text
        .split_once(':')
        .ok_or("neither a url nor an absolute path")?;
    if login.contains('/') || path.is_empty() || path.starts_with([':', '-']) || path.contains('\\')
    {
        return Err("neither a url nor an absolute path");
    }
    let (user, host) = match login.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, login),
    };
    let (host, port) = split_port(host)?;
    let (user, password) = split_user(user)?;
    let clean = format!("{host}:{path}");
    Ok(GitUrl {
        scheme: Scheme::Ssh,
        clean,
        host: host.to_ascii_lowercase(),
        port,
        user,
        password,
    })
}

fn split_port(text: &str) -> std::result::Result<(&str, Option<u16>), &'static str> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']').ok_or("the host name is malformed")?;
            if host.parse::<std::net::Ipv6Addr>().is_err() {
                return Err("the host name is malformed");
            }
            (
                host,
                if rest.is_empty() {
                    None
                } else {
                    Some(rest.strip_prefix(':').ok_or("the port is malformed")?)
                },
            )
        }
        None => match text.split_once(':') {
            Some((host, port)) => (check_host(host)?, Some(port)),
            None => (check_host(text)?, None),
        },
    };
    match port.map(|port| (port, port.parse::<u16>())) {
        None => Ok((host, None)),
        Some((text, Ok(port))) if port > 0 && !text.starts_with('+') => Ok((host, Some(port))),
        Some(_) => Err("the port is malformed"),
    }
}

fn check_host(host: &str) -> std::result::Result<&str, &'static str> {
    let valid = !host.is_empty()
        && host.len() <= 253
        && !host.starts_with(['-', '.'])
        && host
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    if valid {
        Ok(host)
    } else {
        Err("the host name is malformed")
    }
}

type UserInfo = (Option<Secret>, Option<Secret>);

fn split_user(info: Option<&str>) -> std::result::Result<UserInfo, &'static str> {
    let Some(info) = info else {
        return Ok((None, None));
    };
    let (user, password) = match info.split_once(':') {
        Some((user, password)) => (user, Some(password)),
        None => (info, None),
    };
    let user = percent_decode(user)?;
    if user.starts_with('-') || user.is_empty() && password.is_none() {
        return Err("the user name is malformed");
    }
    Ok((
        Some(Secret(user)),
        password.map(percent_decode).transpose()?.map(Secret),
    ))
}

fn percent_decode(text: &str) -> std::result::Result<String, &'static str> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let hex = |byte: u8| char::from(byte).to_digit(16);
        match (first, tail) {
            (b'%', [high, low, tail @ ..]) => {
                let (Some(high), Some(low)) = (hex(*high), hex(*low)) else {
                    return Err("the user information is malformed");
                };
                bytes.push((high * 16 + low) as u8);
                rest = tail;
            }
            (byte, tail) => {
                bytes.push(*byte);
                rest = tail;
            }
        }
    }
    match String::from_utf8(bytes) {
        Ok(text) if !text.chars().any(char::is_control) => Ok(text),
        _ => Err("the user information is malformed"),
    }
}

/// Fuzz entry: any text is a url or refused, alone and against another url, and what is shown of it
/// holds no password.
pub fn fuzz(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let open = Policy {
        allow_http: true,
        allow_local: true,
    };
    if let Ok(url) = GitUrl::parse(text, open) {
        let password = url.password.as_ref().map(|secret| secret.0.as_str());
        let long = password.filter(|password| password.len() > 8);
        assert!(long.is_none_or(|password| !format!("{url:?}").contains(password)));
        let again = GitUrl::parse(&url.clean, open);
        assert!(again.is_ok_and(|again| again.host == url.host && again.scheme == url.scheme));
    }
    for base in ["https://h/a", "git@h:a/b", "/srv/a"] {
        if let Ok(base) = GitUrl::parse(base, open) {
            let _ = base.join(text, open);
        }
    }
}

/// Whether a host name can only mean this machine.
pub fn is_loopback(host: &str) -> bool {
    host == "localhost"
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|ip| ip.is_loopback())
}

/// A url as it may be shown even when it is malformed: whatever stands before the last `@`, and
/// whatever follows a `?` or `#`, is left out.
pub fn redact(text: &str) -> String {
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest)) => (Some(scheme), rest),
        None => (None, text),
    };
    let rest = rest.rsplit_once('@').map_or(rest, |(_, rest)| rest);
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let shown: String = rest
        .chars()
        .take(500)
        .flat_map(|c| c.escape_debug())
        .collect();
    match scheme {
        Some(scheme) if scheme.len() <= 20 && !scheme.contains('@') => {
            format!("{}://{shown}", scheme.escape_debug())
        }
        _ => shown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN: Policy = Policy {
        allow_http: true,
        allow_local: true,
    };

    fn parse(text: &str) -> GitUrl {
        GitUrl::parse(text, OPEN).unwrap()
    }

    #[test]
    fn user_information_is_kept_apart() {
        let url = parse("https://me:p%40ss@Host.example:8443/a/b.git");
        assert_eq!(url.clean, "https://Host.example:8443/a/b.git");
        assert_eq!((url.host.as_str(), url.port), ("host.example", Some(8443)));
        assert_eq!(url.password.as_ref().unwrap().0, "p@ss");
        assert!(!format!("{url:?}").contains("p@ss"));
        let url = parse("git@host.example:team/x.git");
        assert_eq!(
            (url.clean.as_str(), url.scheme),
            ("host.example:team/x.git", Scheme::Ssh)
        );
        assert_eq!(url.user, Some(Secret("git".into())));
        assert_eq!(parse("ssh://git@[::1]:22/x").clean, "ssh://[::1]:22/x");
    }

    #[test]
    fn a_login_is_taken_out_of_a_url() {
        let clean = |text: &str| GitUrl::without_login(text).map(|(clean, _)| clean);
        let https = Some("https://h.example:1/a".to_owned());
        for text in ["me:pass", "token", ":pass", "me:p%40%3a"] {
            let url = format!("https://{text}@h.example:1/a");
            assert_eq!(clean(&url), https, "{url}");
        }
        let ssh = Some("ssh://git@h.example:22/a".to_owned());
        assert_eq!(clean("ssh://git:pass@h.example:22/a"), ssh);
        for text in [
            "https://h.example/a",
            "ssh://git@h.example/a",
            "git@h.example:a",
            "/srv/a@b",
            "file:///srv/a:b@c",
            "no url",
        ] {
            assert_eq!(clean(text), None, "{text}");
        }
        let (_, login) = GitUrl::without_login("https://me:pa%20ss@h.example/a").unwrap();
        assert_eq!(login.password, Some(Secret("pa ss".into())));
        assert!(!format!("{login:?}").contains("pa ss"));
    }

    #[test]
    fn hostile_urls_are_refused() {
        for bad in [
            "",
            "-x",
            "--upload-pack=x",
            "ext::sh -c id",
            "ext::id",
            "fd::17",
            "ssh://-oProxyCommand=id/x",
            "-oX:path",
            "host:-x",
            "https://host",
            "https://host/",
            "https:///x",
            "https://ho st/x",
            "https://host/a\nb",
            "https://host/a%0ab",
            "ftp://host/x",
            "git://host/x",
            "file://other/x",
            "file://x",
            "relative/path",
            "name",
            "https://host:0/x",
            "https://host:99999/x",
            "https://host:+1/x",
            "https://[zz]/x",
            "https://h/x?token=1",
            "https://h/x#y",
            "https://-u@h:x@/x",
            "https://u:a%0a@h/x",
            "https://%zz@h/x",
            "C:\\x",
        ] {
            let error = GitUrl::parse(bad, OPEN).unwrap_err();
            assert_eq!(error.kind, Kind::BadUrl, "{bad:?}");
        }
    }

    #[test]
    fn errors_hold_no_user_information() {
        for bad in [
            "https://u:canary@h\n/x",
            "https://u:can/canary@host/x",
            "ftp://canary@h/x",
            "canary@h:-x",
            "https://h/x?token=canary",
            "canary@a://canary@h/x",
            "https://h:x/canary@x",
        ] {
            let error = GitUrl::parse(bad, OPEN).unwrap_err();
            assert!(!format!("{error:?}").contains("canary"), "{bad}: {error:?}");
        }
    }

    #[test]
    fn policy() {
        let closed = Policy::default();
        for bad in [
            "http://example.org/x",
            "file:///x",
            "/x",
            "http://127.0.0.1.example.org/x",
        ] {
            assert_eq!(
                GitUrl::parse(bad, closed).unwrap_err().kind,
                Kind::BadUrl,
                "{bad}"
            );
        }
        for good in [
            "https://h/x",
            "http://127.0.0.1:8080/x",
            "http://localhost/x",
            "http://[::1]/x",
            "h:x",
            "ssh://h/x",
        ] {
            assert!(GitUrl::parse(good, closed).is_ok(), "{good}");
        }
    }

    #[test]
    fn relative_submodules() {
        let join = |base: &str, text: &str| parse(base).join(text, OPEN).map(|url| url.clean);
        assert_eq!(
            join("https://h/a/b.git", "../c.git").unwrap(),
            "https://h/a/c.git"
        );
        assert_eq!(join("h:a/b", "../c").unwrap(), "h:a/c");
        assert_eq!(join("file:///r/b", "../c").unwrap(), "file:///r/c");
        assert_eq!(join("/r/b", "./c").unwrap(), "/r/b/c");
        assert_eq!(
            join("https://h/a", "../../../etc").unwrap_err().kind,
            Kind::BadUrl
        );
        assert_eq!(
            join("https://h/a", "ext::id").unwrap_err().kind,
            Kind::BadUrl
        );
        assert_eq!(
            parse("https://u:p@h/a")
                .join("../c", OPEN)
                .unwrap()
                .password,
            Some(Secret("p".into()))
        );
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(text in "\\PC{0,60}", scheme in "(https|http|ssh|file|ext)?(://|::|:)?") {
            let _ = GitUrl::parse(&format!("{scheme}{text}"), OPEN);
            let _ = GitUrl::parse("https://h/a", OPEN).unwrap().join(&text, OPEN);
        }

        #[test]
        fn no_password_is_shown(user in "[a-z]{1,5}", noise in "[a-z%:/@?#.0-9-]{0,12}") {
            let url = format!("https://{user}:canary@{noise}");
            let shown = format!("{:?}", GitUrl::parse(&url, OPEN));
            proptest::prop_assert!(!shown.contains("canary"));
        }
    }
}
