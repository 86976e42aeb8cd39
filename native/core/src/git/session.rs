//! One remote within a job: connecting, listing, downloading, with limits and one error for each
//! thing that can go wrong.

use std::cell::{Cell, RefCell};
use std::path::Path;
use std::time::{Duration, Instant};

use git2::cert::{Cert, CertHostkey};
use git2::{
    AutotagOption, CertificateCheckStatus, Direction, ErrorClass, ErrorCode, FetchOptions, Oid,
    ProxyOptions, Remote, RemoteCallbacks, RemoteConnection, RemoteRedirect,
};

use crate::job::Control;

use super::auth::{Auth, Offers};
use super::error::{Fact, GitError, Kind, Result};
use super::known_hosts::{self, ServerKey};
use super::options;
use super::request::{MAX_OBJECTS, Progress};
use super::ssh_home::SshHome;
use crate::url::{Scheme, Url};

/// A remote with more branches and tags than this is refused.
const MAX_REFS: usize = 500_000;

/// Progress is reported at most this often.
const REPORT_EVERY: Duration = Duration::from_millis(250);

/// What a job may receive and has received, over all its remotes.
pub(crate) struct Budget<'a> {
    max_bytes: u64,
    received: Cell<u64>,
    reported: Cell<Option<Instant>>,
    untold: Cell<Option<Progress>>,
    progress: &'a dyn Fn(Progress),
}

impl<'a> Budget<'a> {
    pub(crate) fn new(max_bytes: u64, progress: &'a dyn Fn(Progress)) -> Self {
        Self {
            max_bytes,
            received: Cell::new(0),
            reported: Cell::new(None),
            untold: Cell::new(None),
            progress,
        }
    }

    pub(crate) fn received(&self) -> u64 {
        self.received.get()
    }

    pub(crate) fn max_bytes(&self) -> u64 {
        self.max_bytes
    }

    fn check(&self, before: u64, objects: usize, bytes: u64) -> Result<()> {
        let too_large = |what| {
            Err(GitError::new(
                Kind::TooLarge,
                format!("the remote sends more than {what}"),
            ))
        };
        if before.saturating_add(bytes) > self.max_bytes {
            return too_large(format!("{} bytes", self.max_bytes));
        }
        if objects > MAX_OBJECTS {
            return too_large(format!("{MAX_OBJECTS} objects"));
        }
        Ok(())
    }

    fn report(&self, progress: Progress) {
        let now = Instant::now();
        let due = |last| now.duration_since(last) >= REPORT_EVERY;
        self.untold.set(Some(progress));
        if self.reported.get().is_none_or(due) {
            self.reported.set(Some(now));
            self.tell();
        }
    }

    /// The last numbers of a download are told whenever they came.
    fn tell(&self) {
        if let Some(progress) = self.untold.take() {
            (self.progress)(progress);
        }
    }
}

/// One branch, tag or other ref of a remote.
#[derive(Debug, Clone)]
pub(crate) struct Head {
    pub(crate) name: String,
    pub(crate) id: Oid,
    pub(crate) target: Option<String>,
}

/// A remote and what a job may do with it.
pub(crate) struct Session<'a> {
    pub(crate) url: &'a Url,
    auth: &'a Auth,
    control: &'a Control,
    budget: &'a Budget<'a>,
    /// The reason of a failure that libgit2 hides behind a text of its own.
    reason: RefCell<Option<GitError>>,
    tried: Cell<bool>,
    /// Held while libgit2 may read the known_hosts file of this job.
    _ssh_home: Option<SshHome>,
}

impl<'a> Session<'a> {
    pub(crate) fn new(
        url: &'a Url,
        auth: &'a Auth,
        control: &'a Control,
        budget: &'a Budget<'a>,
    ) -> Result<Self> {
        options::set();
        if let (Scheme::Https, Some(file)) = (url.scheme, &auth.ca_file) {
            options::trust(file)?;
        }
        let known_hosts = auth
            .known_hosts
            .as_deref()
            .filter(|_| url.scheme == Scheme::Ssh);
        Ok(Self {
            _ssh_home: (url.scheme == Scheme::Ssh).then(|| SshHome::with(known_hosts)),
            url,
            auth,
            control,
            budget,
            reason: RefCell::new(None),
            tried: Cell::new(false),
        })
    }

    /// Connects and runs a function with the connection; it is closed afterwards.
    pub(crate) fn connected<T>(
        &self,
        remote: &mut Remote<'_>,
        run: impl FnOnce(&mut RemoteConnection<'_, '_, '_>) -> Result<T>,
    ) -> Result<T> {
        self.control.check()?;
        self.check_local()?;
        let proxy = self.proxy()?;
        let connected = remote.connect_auth(Direction::Fetch, Some(self.callbacks()), Some(proxy));
        let mut connection = connected.map_err(|error| self.failure(&error))?;
        self.control.check()?;
        run(&mut connection)
    }

    /// Of a path that is gone libgit2 says that its protocol is unknown.
    fn check_local(&self) -> Result<()> {
        let written = self.url.clean.strip_prefix("file://");
        let path = written.unwrap_or(&self.url.clean);
        let is_coded = written.is_some_and(|path| path.contains('%'));
        let looks_like_one = ["HEAD", ".git"]
            .iter()
            .any(|part| Path::new(path).join(part).exists());
        let with_ending = || Path::new(&format!("{path}.git")).exists();
        if !self.url.is_local() || is_coded || looks_like_one || with_ending() {
            return Ok(());
        }
        let message = format!("the path does not exist or is no git repository: {path}");
        Err(GitError::new(Kind::NotFound, message)
            .with(Fact::Path, path)
            .about(&self.url.clean))
    }

    /// The refs of a connected remote.
    pub(crate) fn heads(&self, connection: &RemoteConnection<'_, '_, '_>) -> Result<Vec<Head>> {
        let heads = connection.list().map_err(|error| self.failure(&error))?;
        if heads.len() > MAX_REFS {
            return Err(GitError::new(
                Kind::TooLarge,
                format!("the remote has more than {MAX_REFS} refs"),
            ));
        }
        Ok(heads
            .iter()
            .map(|head| Head {
                name: head.name().to_owned(),
                id: head.oid(),
                target: head.symref_target().map(str::to_owned),
            })
            .collect())
    }

    /// Downloads what the refspecs name. Writes objects and no ref.
    pub(crate) fn download(
        &self,
        remote: &mut Remote<'_>,
        refspecs: &[String],
        depth: Option<i32>,
    ) -> Result<()> {
        let mut options = FetchOptions::new();
        options
            .remote_callbacks(self.callbacks())
            .proxy_options(self.proxy()?)
            .follow_redirects(RemoteRedirect::None)
            .download_tags(AutotagOption::None)
            .update_fetchhead(false);
        if let Some(depth) = depth.filter(|_| !self.url.is_local()) {
            options.depth(depth);
        }
        let before = self.budget.received();
        let result = remote
            .download(refspecs, Some(&mut options))
            .map_err(|error| self.failure(&error));
        self.budget.tell();
        let received = remote.stats().received_bytes() as u64;
        self.budget.received.set(before.saturating_add(received));
        result?;
        self.may_go_on()
    }

    fn may_go_on(&self) -> Result<()> {
        Ok(self.control.check()?)
    }

    fn proxy(&self) -> Result<ProxyOptions<'a>> {
        let unusable = |name: String| {
            let why = format!("the environment variable {name} names no http proxy");
            GitError::new(Kind::Unreachable, why).about(&self.url.clean)
        };
        let mut options = ProxyOptions::new();
        if let Some(proxy) = crate::url::proxy::for_url(self.url).map_err(unusable)? {
            options.url(&proxy);
        }
        Ok(options)
    }

    fn callbacks(&self) -> RemoteCallbacks<'_> {
        let mut callbacks = RemoteCallbacks::new();
        let mut offers = Offers::new(self.auth, self.url);
        let before = self.budget.received();
        callbacks
            .credentials(move |_url, _user, allowed| {
                self.noted(self.may_go_on())?;
                let credential = offers.next(allowed);
                self.tried.set(offers.tried());
                self.noted(credential)
            })
            .certificate_check(move |certificate, host| {
                self.noted(self.check_server(certificate, host))
            })
            .transfer_progress(move |stats| {
                let bytes = stats.received_bytes();
                self.budget.report(Progress {
                    received_objects: stats.received_objects(),
                    total_objects: stats.total_objects(),
                    received_bytes: bytes,
                });
                let checked = self.may_go_on().and_then(|()| {
                    self.budget
                        .check(before, stats.total_objects(), bytes as u64)
                });
                self.noted(checked).is_ok()
            })
            .sideband_progress(move |_text| self.noted(self.may_go_on()).is_ok());
        callbacks
    }

    /// Keeps the reason of a failure aside, for libgit2 may lose it.
    fn noted<T>(&self, result: Result<T>) -> std::result::Result<T, git2::Error> {
        result.map_err(|error| {
            let text = git2::Error::from_str(&error.message);
            self.reason.borrow_mut().get_or_insert(error);
            text
        })
    }

    fn check_server(&self, certificate: &Cert<'_>, host: &str) -> Result<CertificateCheckStatus> {
        self.control.check()?;
        if let Some(key) = certificate.as_hostkey() {
            return self.check_host_key(key);
        }
        let expected = self.url.host.as_str();
        if !host.eq_ignore_ascii_case(expected) && self.auth.has_password_for(self.url) {
            let message =
                format!("{expected} redirects to {host}; credentials are not sent to another host");
            return Err(GitError::new(Kind::AuthFailed, message).with(Fact::Host, host));
        }
        Ok(CertificateCheckStatus::CertificatePassthrough)
    }

    /// `CertificateOk` overrules libgit2, which knows the user's own file only: it is said for a key
    /// that was found in the right file and for no other.
    fn check_host_key(&self, key: &CertHostkey<'_>) -> Result<CertificateCheckStatus> {
        let (Some(bytes), Some(sha256)) = (key.hostkey(), key.hash_sha256()) else {
            return Err(GitError::new(
                Kind::HostKey,
                "the server's host key can't be read",
            ));
        };
        let server = ServerKey {
            host: &self.url.host,
            port: self.url.port,
            key: bytes,
            sha256,
        };
        known_hosts::check(&server, self.auth.known_hosts.as_deref())?;
        Ok(CertificateCheckStatus::CertificateOk)
    }

    /// The one error of a failed network call.
    fn failure(&self, error: &git2::Error) -> GitError {
        let failure = match self.reason.borrow_mut().take() {
            Some(reason) => reason,
            None => self
                .may_go_on()
                .err()
                .unwrap_or_else(|| self.classify(error)),
        };
        failure.about(&self.url.clean)
    }

    fn classify(&self, error: &git2::Error) -> GitError {
        let message = match error.message() {
            text if text.starts_with("proxy authentication") => {
                "the proxy refuses: it wants a login, or another one than its variable holds"
            }
            text => text,
        };
        let kind = match (error.class(), error.code()) {
            (_, ErrorCode::Auth) if message.starts_with("the proxy") => Kind::Unreachable,
            (_, ErrorCode::Auth) => Kind::AuthFailed,
            (_, ErrorCode::Certificate) if self.url.scheme == Scheme::Ssh => Kind::HostKey,
            (_, ErrorCode::Certificate) => Kind::Certificate,
            (_, ErrorCode::Timeout) => Kind::Timeout,
            (ErrorClass::Ssh | ErrorClass::Net, _)
                if self.url.scheme == Scheme::Ssh && is_missing(message) =>
            {
                Kind::NotFound
            }
            (ErrorClass::Http | ErrorClass::Net, _) if self.url.scheme != Scheme::Local => {
                http_kind(message)
            }
            (ErrorClass::Ssl, _) if message.contains("certificate") => Kind::Certificate,
            (ErrorClass::Ssh, _) if self.tried.get() && !message.contains("channel") => {
                Kind::AuthFailed
            }
            (ErrorClass::Ssl | ErrorClass::Ssh, _) => Kind::Unreachable,
            (ErrorClass::Os | ErrorClass::Repository | ErrorClass::Net, _)
                if self.url.is_local() =>
            {
                Kind::NotFound
            }
            (ErrorClass::Os, _) => Kind::Unreachable,
            _ => GitError::local(error).kind,
        };
        GitError::new(kind, message)
    }
}

/// An SSH server says so in words: git itself, and the large forges.
fn is_missing(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    [
        "does not appear to be a git repository",
        "not found",
        "does not exist",
    ]
    .iter()
    .any(|text| message.contains(text))
}

/// libgit2 gives the status of an HTTP answer in its text only.
fn http_kind(message: &str) -> Kind {
    let status = message
        .split("status code: ")
        .nth(1)
        .map(|rest| rest.chars().take(3).collect::<String>());
    match status.as_deref() {
        Some("401" | "403") => Kind::AuthFailed,
        Some("404" | "410") => Kind::NotFound,
        _ => Kind::Unreachable,
    }
}
