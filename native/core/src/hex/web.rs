//! The transport over HTTP.

use std::path::Path;
use std::sync::Arc;

use super::error::{HexError, Kind, Result};
use super::repo::Repo;
use super::transport::{Answer, Transport, Trouble};
use crate::git::auth::Auth;
use crate::http::{self, Client, Get, HttpError, Target};
use crate::job::Control;

/// Requests of one job.
pub(super) struct Web {
    client: Client,
}

impl Web {
    /// `auth` has the CA file and which urls are allowed; keys are those of the repositories.
    pub(super) fn new(auth: &Auth, control: &Arc<Control>) -> Result<Self> {
        let client = Client::new(auth, control)
            .map_err(|error| HexError::new(Kind::BadKey, error.message))?;
        Ok(Self { client })
    }

    fn request(repo: &Repo, path: &str) -> std::result::Result<Get, Trouble> {
        let get = Get::new(&format!("{}/{path}", repo.url.trim_end_matches('/')));
        let secret = repo.secret().map_err(Trouble::Other)?;
        Ok(match secret {
            Some(secret) => get.authorization(secret),
            None => get,
        })
    }
}

impl Transport for Web {
    fn get(
        &self,
        repo: &Repo,
        path: &str,
        etag: Option<&str>,
        limit: u64,
    ) -> std::result::Result<Answer, Trouble> {
        let get = Self::request(repo, path)?;
        let get = match etag {
            Some(etag) => get.unless_etag(etag),
            None => get,
        };
        let answer = self
            .client
            .get(&get)
            .map_err(|error| trouble(error, repo))?;
        match answer.status {
            304 => Ok(Answer::Unchanged),
            200 => {
                let etag = answer.header("etag").map(str::to_owned);
                let limit = usize::try_from(limit).unwrap_or(usize::MAX);
                let body = answer.bytes(limit).map_err(|error| trouble(error, repo))?;
                Ok(Answer::Found { body, etag })
            }
            status => Err(Trouble::Unreachable(format!(
                "it answers with status {status}"
            ))),
        }
    }

    fn download(
        &self,
        repo: &Repo,
        path: &str,
        to: &Path,
        limit: u64,
        progress: &dyn Fn(u64, Option<u64>),
    ) -> std::result::Result<(), Trouble> {
        let target = Target {
            path: to.to_owned(),
            max_bytes: limit,
            sha256: None,
        };
        let tell = |now: http::Progress| progress(now.received_bytes, now.total_bytes);
        let done = http::to_file(&self.client, &Self::request(repo, path)?, &target, &tell);
        done.map(drop).map_err(|error| trouble(error, repo))
    }
}

/// What an error of HTTP means here. hex.pm answers 403 to somebody without a key for a file that is
/// not there.
fn trouble(error: HttpError, repo: &Repo) -> Trouble {
    let other = |kind| Trouble::Other(HexError::new(kind, &error.message));
    match (error.kind, error.status) {
        (http::Kind::NotFound, Some(_)) => Trouble::NotFound,
        (http::Kind::AuthFailed, Some(403)) if repo.auth_key.is_none() => Trouble::NotFound,
        (http::Kind::AuthFailed, Some(_)) => Trouble::Unauthorized,
        (http::Kind::TooLarge, _) => Trouble::TooLarge,
        (http::Kind::Timeout, _) => other(Kind::Timeout),
        (http::Kind::Cancelled, _) => other(Kind::Cancelled),
        (http::Kind::DiskFull, _) => other(Kind::DiskFull),
        (http::Kind::Io, _) => other(Kind::Io),
        _ => Trouble::Unreachable(error.message),
    }
}
