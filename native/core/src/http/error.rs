//! The errors of this room: a kind that says what happens next, and a sentence for a person.

use std::fmt;
use std::io::ErrorKind;
use std::path::Path;

use crate::git::error::{GitError, Kind as GitKind};
use crate::job::{Failure, Stop};
use crate::url::UrlError;

/// What went wrong, as callers tell errors apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// No connection to the server, or to the proxy before it.
    Unreachable,
    /// The connection ended, or was silent, before everything was there.
    Broken,
    /// The job's deadline has passed.
    Timeout,
    /// The job was cancelled.
    Cancelled,
    /// The certificate of the server isn't trusted.
    Certificate,
    /// TLS fails in another way.
    Tls,
    /// The server wants credentials that we don't have, or refuses those that we have.
    AuthFailed,
    /// The server has nothing at this url.
    NotFound,
    /// The server answers with another status than success.
    Status,
    /// The server's answer is no HTTP that makes sense.
    Protocol,
    /// A redirect leads to where it must not, or there are too many.
    Redirect,
    /// The url is outside the grammar, or of a kind that isn't allowed.
    BadUrl,
    /// A limit on received bytes was passed.
    TooLarge,
    /// What was received isn't what was expected.
    DigestMismatch,
    /// The local disk is full.
    DiskFull,
    /// The local disk.
    Io,
}

/// An error of this room. Its texts hold no user information and no query of any url.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct HttpError {
    /// What callers tell errors apart by.
    pub kind: Kind,
    /// A sentence that says what happened and, where it helps, what to do.
    pub message: String,
    /// The remote, without user information and query.
    pub url: Option<String>,
    /// The status of the server's answer.
    pub status: Option<u16>,
    /// Further facts by name.
    pub facts: Vec<(Fact, String)>,
}

/// Names of the further facts of an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fact {
    /// A path on the local disk.
    Path,
    /// The digest that was asked for.
    Expected,
    /// The digest that was found.
    Found,
}

impl HttpError {
    /// An error of this kind.
    pub fn new(kind: Kind, message: impl fmt::Display) -> Self {
        Self {
            kind,
            message: message.to_string(),
            url: None,
            status: None,
            facts: Vec::new(),
        }
    }

    /// The same error with a further fact.
    #[must_use]
    pub fn with(mut self, fact: Fact, value: impl fmt::Display) -> Self {
        self.facts.push((fact, value.to_string()));
        self
    }

    /// The same error, about this remote unless it names one.
    #[must_use]
    pub fn about(mut self, url: &str) -> Self {
        self.url.get_or_insert_with(|| url.to_owned());
        self
    }

    /// An error of the local disk.
    pub fn io(path: &Path, error: &std::io::Error) -> Self {
        let kind = match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Kind::DiskFull,
            ErrorKind::NotFound => Kind::NotFound,
            _ => Kind::Io,
        };
        Self::new(kind, format!("{}: {error}", path.display())).with(Fact::Path, path.display())
    }

    /// The error of a status that is none of success.
    pub(super) fn of_status(status: u16) -> Self {
        let (kind, message) = match status {
            401 | 403 => (
                Kind::AuthFailed,
                "the server wants credentials, or refuses those that it got",
            ),
            404 | 410 => (Kind::NotFound, "the server has nothing at this url"),
            429 | 500..=599 => (Kind::Status, "the server can't answer now"),
            _ => (Kind::Status, "the server refuses the request"),
        };
        let mut error = Self::new(kind, format!("{message} (status {status})"));
        error.status = Some(status);
        error
    }

    /// What a failed call of the client means.
    pub(super) fn of_client(error: &ureq::Error) -> Self {
        use ureq::{Error, Timeout};
        match error {
            Error::Io(error) => Self::of_connection(error),
            Error::HostNotFound => Self::new(Kind::Unreachable, "the host's name isn't known"),
            Error::Timeout(Timeout::Connect | Timeout::Resolve) => Self::new(
                Kind::Unreachable,
                "the server doesn't accept the connection in time",
            ),
            Error::Timeout(_) => Self::new(Kind::Broken, "the server was silent for too long"),
            Error::ConnectProxyFailed(reason) => {
                Self::new(Kind::Unreachable, format!("the proxy refuses: {reason}"))
            }
            Error::NativeTls(error) => Self::of_tls(&error.to_string()),
            Error::Tls(reason) => Self::of_tls(reason),
            Error::Http(_) | Error::BadUri(_) => {
                Self::new(Kind::BadUrl, "the url holds what no request can carry")
            }
            Error::Protocol(_) | Error::LargeResponseHeader(..) => Self::new(
                Kind::Protocol,
                format!("the server's answer is no HTTP: {error}"),
            ),
            _ => Self::new(Kind::Unreachable, "the connection failed"),
        }
    }

    fn of_tls(text: &str) -> Self {
        let kind = match text.contains("certificate") {
            true => Kind::Certificate,
            false => Kind::Tls,
        };
        let hint = match kind {
            Kind::Certificate => "; name the CA of a private server with git_ca_file",
            _ => "",
        };
        Self::new(
            kind,
            format!("no trusted connection to the server: {text}{hint}"),
        )
    }

    pub(super) fn of_connection(error: &std::io::Error) -> Self {
        let never = matches!(
            error.kind(),
            ErrorKind::ConnectionRefused
                | ErrorKind::HostUnreachable
                | ErrorKind::NetworkUnreachable
                | ErrorKind::AddrNotAvailable
        );
        // A name that nobody knows has no kind of its own in the standard library, only this text.
        let unknown = error.to_string().starts_with("failed to lookup address");
        match never || unknown {
            true => Self::new(
                Kind::Unreachable,
                format!("no connection to the server: {error}"),
            ),
            false => Self::new(Kind::Broken, format!("the connection broke: {error}")),
        }
    }
}

impl From<Stop> for HttpError {
    fn from(stop: Stop) -> Self {
        let kind = match stop {
            Stop::Cancelled => Kind::Cancelled,
            Stop::Timeout => Kind::Timeout,
        };
        Self::new(kind, stop)
    }
}

impl From<Failure> for HttpError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Stopped(stop) => stop.into(),
            Failure::Refused => Self::new(Kind::Unreachable, failure),
            Failure::Crashed | Failure::NoThread(_) => Self::new(Kind::Io, failure),
        }
    }
}

impl From<UrlError> for HttpError {
    fn from(error: UrlError) -> Self {
        Self::new(Kind::BadUrl, error.message).about(&error.url)
    }
}

/// Credentials are git's: their errors are ours under the same names.
impl From<GitError> for HttpError {
    fn from(error: GitError) -> Self {
        let kind = match error.kind {
            GitKind::AuthFailed => Kind::AuthFailed,
            GitKind::Certificate => Kind::Certificate,
            _ => Kind::Io,
        };
        let mut same = Self::new(kind, error.message);
        same.url = error.url;
        same
    }
}

/// The result of this room's functions.
pub type Result<T> = std::result::Result<T, HttpError>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_has_a_name_of_its_own() {
        let kind = |code| {
            let error = std::io::Error::from_raw_os_error(code);
            HttpError::io(Path::new("/x"), &error).kind
        };
        let (enospc, edquot, erofs) = (28, 122, 30);
        assert_eq!([kind(enospc), kind(edquot)], [Kind::DiskFull; 2]);
        assert_eq!(kind(erofs), Kind::Io);
    }

    #[test]
    fn a_name_that_nobody_knows_is_no_broken_connection() {
        use std::net::ToSocketAddrs;
        let error = ("files.example.invalid", 1).to_socket_addrs().unwrap_err();
        assert_eq!(HttpError::of_connection(&error).kind, Kind::Unreachable);
        let reset = std::io::Error::from(ErrorKind::ConnectionReset);
        assert_eq!(HttpError::of_connection(&reset).kind, Kind::Broken);
    }

    #[test]
    fn statuses() {
        for (status, kind) in [
            (401, Kind::AuthFailed),
            (410, Kind::NotFound),
            (500, Kind::Status),
        ] {
            assert_eq!(HttpError::of_status(status).kind, kind);
        }
    }
}
