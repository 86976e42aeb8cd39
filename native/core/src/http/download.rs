//! Downloads into a file: streamed, resumed after a broken connection, with a limit and a digest.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::git::auth::Auth;
use crate::job::{Control, Task};

use super::client::{Client, Get, Response};
use super::error::{Fact, HttpError, Kind, Result};
use super::partial::Partial;

/// The most bytes of a download when nothing else is said.
pub const DEFAULT_MAX_BYTES: u64 = 2 << 30;

/// How many connections in a row may break and bring nothing that was not there before.
const IDLE_TRIES: u32 = 5;

/// What counts as nothing.
const STEP: u64 = 64 * 1024;

/// The pause after a connection that broke; it doubles with each that brought nothing.
const PAUSE: Duration = Duration::from_millis(100);

/// Progress is reported at most this often.
const REPORT_EVERY: Duration = Duration::from_millis(250);

/// A download as a job.
#[derive(Debug, Clone)]
pub struct Download {
    /// https, http as far as it is allowed, `file://` or an absolute path likewise.
    pub url: String,
    /// Where it goes.
    pub target: Target,
    /// Credentials, CA file and which urls are allowed.
    pub auth: Auth,
}

/// What a download becomes.
#[derive(Debug, Clone)]
pub struct Target {
    /// The file; it is there when everything was received and right, and not before.
    pub path: PathBuf,
    /// The most bytes.
    pub max_bytes: u64,
    /// What its SHA-256 must be.
    pub sha256: Option<[u8; 32]>,
    /// Where a download of that SHA-256 that was not finished is left, and taken up by the next.
    pub unfinished: Option<PathBuf>,
}

/// A finished download.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Downloaded {
    /// Its length.
    pub bytes: u64,
    /// Its SHA-256.
    pub sha256: [u8; 32],
    /// How many times it was resumed or begun anew.
    pub resumed: u32,
}

/// How far a download is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// What is there.
    pub received_bytes: u64,
    /// What there will be, where the server says so.
    pub total_bytes: Option<u64>,
}

impl Task for Download {
    type Output = Downloaded;
    type Error = HttpError;
    type Progress = Progress;

    fn run(&self, control: &Arc<Control>, progress: &dyn Fn(Progress)) -> Result<Downloaded> {
        let client = Client::new(&self.auth, control)?;
        to_file(&client, &Get::new(&self.url), &self.target, progress)
    }

    fn about(&self, error: HttpError) -> HttpError {
        error.about(&crate::url::redact(&self.url))
    }
}

/// Downloads to a file.
pub fn to_file(
    client: &Client,
    get: &Get,
    target: &Target,
    progress: &dyn Fn(Progress),
) -> Result<Downloaded> {
    let url = client.parse(get.url())?;
    let local = url.local_path();
    let left = target.unfinished.as_deref();
    let partial = match left.filter(|_| local.is_none() && target.sha256.is_some()) {
        Some(left) => Partial::take_up(&target.path, left, client.control())?,
        None => Partial::create(&target.path)?,
    };
    let mut transfer = Transfer {
        client,
        get,
        target,
        progress,
        partial,
        validator: None,
        total: None,
        reported: None,
    };
    let resumed = match local {
        Some(path) => transfer.copy(path).map(|()| 0),
        None => transfer.receive_right(),
    };
    let finished = match resumed {
        Ok(resumed) => transfer.finish(resumed),
        Err(error) => Err(transfer.abandon(error)),
    };
    finished.map_err(|error| error.about(url.shown()))
}

struct Transfer<'a> {
    client: &'a Client,
    get: &'a Get,
    target: &'a Target,
    progress: &'a dyn Fn(Progress),
    partial: Partial,
    /// What names the content that the first bytes are of.
    validator: Option<String>,
    total: Option<u64>,
    reported: Option<Instant>,
}

impl Transfer<'_> {
    /// Receives everything, and once more from the beginning when that began with what an earlier
    /// download left and is not what was asked for: that may have been of something else.
    fn receive_right(&mut self) -> Result<u32> {
        if self.partial.length() == 0 {
            return self.receive();
        }
        let wanted = self.target.sha256;
        let is_right = |partial: &Partial| wanted == Some(partial.digest());
        if is_right(&self.partial) {
            return Ok(1);
        }
        let resumed = 1 + self.receive()?;
        if is_right(&self.partial) {
            return Ok(resumed);
        }
        self.start_over()?;
        Ok(resumed + 1 + self.receive()?)
    }

    /// What was received stays for the next try where that can go on with it.
    fn abandon(self, error: HttpError) -> HttpError {
        let may_go_on = match error.kind {
            Kind::Broken | Kind::Unreachable | Kind::Timeout | Kind::Cancelled => true,
            Kind::Status => error.status.is_some_and(is_of_the_moment),
            _ => false,
        };
        match (&self.target.unfinished, self.target.sha256) {
            (Some(left), Some(_)) if may_go_on => self.partial.leave(left),
            _ => {}
        }
        error
    }

    /// Receives everything; answers how many times it was resumed.
    fn receive(&mut self) -> Result<u32> {
        let (mut best, mut idle) = (self.partial.length(), 0);
        for resumed in 0.. {
            let error = match self.attempt() {
                Ok(()) => return Ok(resumed),
                Err(error) => error,
            };
            idle += 1;
            if self.partial.length() >= best + STEP {
                (best, idle) = (self.partial.length(), 0);
            }
            if idle >= IDLE_TRIES || !self.may_pass(&error) {
                return Err(error);
            }
            self.client.control().pause(PAUSE * (1 << idle))?;
        }
        unreachable!("there is a last try, or a whole file")
    }

    /// Whether another try makes sense now. A server that was never reached is not tried again here:
    /// who asked for the download knows better when.
    fn may_pass(&self, error: &HttpError) -> bool {
        match error.kind {
            Kind::Broken => true,
            Kind::Unreachable => self.partial.length() > 0,
            Kind::Status => self.partial.length() > 0 && error.status.is_some_and(is_of_the_moment),
            _ => false,
        }
    }

    /// One connection: from what is there to the end.
    fn attempt(&mut self) -> Result<()> {
        // Without a validator nothing but the digest can tell that two halves are of one whole.
        if self.validator.is_none() && self.target.sha256.is_none() {
            self.start_over()?;
        }
        let from = self.partial.length();
        let get = match from {
            0 => self.get.clone(),
            from => self.get.clone().from(from, self.validator.as_deref()),
        };
        let mut response = self.client.get(&get)?;
        match response.status {
            206 if from > 0 => self.continue_with(&response, from)?,
            200 => {
                self.start_over()?;
                self.validator = validator(&response);
                self.total = response.length();
            }
            416 => {
                self.start_over()?;
                return Err(broken(
                    "the server no longer has what the download was begun with",
                ));
            }
            status => {
                let message = format!("the server answers with status {status} instead of content");
                return Err(HttpError::new(Kind::Protocol, message));
            }
        }
        self.read_all(&mut response)
    }

    fn start_over(&mut self) -> Result<()> {
        self.validator = None;
        self.total = None;
        self.partial.clear()
    }

    /// What comes is the rest of what is there; else everything is asked for again.
    fn continue_with(&mut self, response: &Response, from: u64) -> Result<()> {
        let range = response.header("content-range").and_then(parse_range);
        let total = range.and_then(|(_, total)| total);
        let same = self.validator.is_none()
            || validator(response).is_none_or(|now| self.validator == Some(now));
        let fits = self.total.is_none() || total.is_none() || self.total == total;
        if range.is_some_and(|(start, _)| start == from) && same && fits {
            self.total = self.total.or(total);
            return Ok(());
        }
        self.start_over()?;
        Err(broken(
            "the server sends another part than the one that was asked for",
        ))
    }

    fn read_all(&mut self, response: &mut Response) -> Result<()> {
        let mut buffer = vec![0; 64 * 1024];
        self.check_size(self.total.unwrap_or(0))?;
        loop {
            let count = response.read(&mut buffer)?;
            if count == 0 {
                break;
            }
            self.take(&buffer[..count])?;
        }
        match self.total {
            Some(total) if self.partial.length() < total => {
                Err(broken("the server ends before everything was sent"))
            }
            _ => Ok(()),
        }
    }

    fn take(&mut self, bytes: &[u8]) -> Result<()> {
        self.check_size(self.partial.length() + bytes.len() as u64)?;
        self.partial.append(bytes)?;
        self.report();
        Ok(())
    }

    fn check_size(&self, size: u64) -> Result<()> {
        if size <= self.target.max_bytes {
            return Ok(());
        }
        let message = format!("it has more than {} bytes", self.target.max_bytes);
        Err(HttpError::new(Kind::TooLarge, message))
    }

    fn report(&mut self) {
        let now = Instant::now();
        if self
            .reported
            .is_none_or(|last| now.duration_since(last) >= REPORT_EVERY)
        {
            self.reported = Some(now);
            (self.progress)(Progress {
                received_bytes: self.partial.length(),
                total_bytes: self.total,
            });
        }
    }

    /// A local file is copied: what is checked is then what is used.
    fn copy(&mut self, path: &Path) -> Result<()> {
        use std::io::Read;
        let io = |error| HttpError::io(path, &error);
        let metadata = std::fs::metadata(path).map_err(io)?;
        if !metadata.is_file() {
            let message = format!("{} is no file", path.display());
            return Err(HttpError::new(Kind::NotFound, message).with(Fact::Path, path.display()));
        }
        self.check_size(metadata.len())?;
        self.total = Some(metadata.len());
        let mut file = std::fs::File::open(path).map_err(io)?;
        let mut buffer = vec![0; 256 * 1024];
        loop {
            self.client.control().check()?;
            match file.read(&mut buffer).map_err(io)? {
                0 => return Ok(()),
                count => self.take(&buffer[..count])?,
            }
        }
    }

    fn finish(self, resumed: u32) -> Result<Downloaded> {
        let bytes = self.partial.length();
        let found = self.partial.digest();
        if let Some(expected) = self.target.sha256
            && expected != found
        {
            let message = "its SHA-256 is not the one that was asked for: it was changed, or the \
                           wrong one is written down";
            return Err(HttpError::new(Kind::DigestMismatch, message)
                .with(Fact::Expected, hex(&expected))
                .with(Fact::Found, hex(&found)));
        }
        self.client.control().check()?;
        self.partial.keep(&self.target.path)?;
        Ok(Downloaded {
            bytes,
            sha256: found,
            resumed,
        })
    }
}

/// What a server says that is busy or broken: nothing of the content.
fn is_of_the_moment(status: u16) -> bool {
    status == 429 || status >= 500
}

fn broken(message: &str) -> HttpError {
    HttpError::new(Kind::Broken, message)
}

/// What names this content: a strong entity tag, else the time of its last change (RFC 9110, 13.1.5).
fn validator(response: &Response) -> Option<String> {
    let tag = response.header("etag").filter(|tag| tag.starts_with('"'));
    tag.or_else(|| response.header("last-modified"))
        .map(str::to_owned)
}

/// `bytes 5-9/10` as 5 and 10, `bytes 5-9/*` as 5.
fn parse_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
    let start = range.split_once('-')?.0.trim().parse().ok()?;
    Some((start, total.trim().parse().ok()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
