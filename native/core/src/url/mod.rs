//! Where things are fetched from: the grammar of urls, the logins that stood in them, and the proxy on
//! the way there.
//!
//! ```text
//! text ─▶ parts ─▶ Url (git) ─▶ web: HttpUrl, with a query (downloads)
//!           vault: its login        proxy: by the environment
//! ```
//! A parsed url keeps its user information apart from its text.

mod parts;
pub(crate) mod proxy;
#[cfg(test)]
mod tests;
pub mod vault;
pub mod web;

use std::fmt;

pub use vault::Login;
pub use web::HttpUrl;

const MAX_URL: usize = 4096;

/// Why a text is no url, or none that is allowed. It holds no user information and no query.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct UrlError {
    /// A sentence that begins with the url.
    pub message: String,
    /// The url, as it may be shown.
    pub url: String,
}

impl UrlError {
    fn of(shown: &str, why: &str) -> Self {
        Self {
            message: format!("{shown}: {why}"),
            url: shown.to_owned(),
        }
    }
}

/// The result of this room's functions.
pub type Result<T> = std::result::Result<T, UrlError>;

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
pub struct Url {
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

impl Url {
    /// Checks a url against the grammar and the policy. A login that was taken out of it comes back.
    pub fn parse(text: &str, policy: Policy) -> Result<Self> {
        let mut url = Self::as_written(text, policy)?;
        vault::complete(&mut url);
        Ok(url)
    }

    /// The same, with the login that is written in it and no other.
    pub(crate) fn as_written(text: &str, policy: Policy) -> Result<Self> {
        let allowed = |url: Self| url.check(policy).map(|()| url);
        parts::url(text)
            .and_then(allowed)
            .map_err(|why| UrlError::of(&redact(text), why))
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
        let refuse = || UrlError {
            message: format!("{text}: leads out of {}", self.clean),
            url: self.clean.clone(),
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
    if let Ok(url) = Url::parse(text, open) {
        let password = url.password.as_ref().map(|secret| secret.0.as_str());
        let long = password.filter(|password| password.len() > 8);
        assert!(long.is_none_or(|password| !format!("{url:?}").contains(password)));
        let again = Url::parse(&url.clean, open);
        assert!(again.is_ok_and(|again| again.host == url.host && again.scheme == url.scheme));
    }
    for base in ["https://h/a", "git@h:a/b", "/srv/a"] {
        if let Ok(base) = Url::parse(base, open) {
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
