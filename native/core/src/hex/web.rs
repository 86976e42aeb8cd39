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
        Ok(match repo.secret().map_err(Trouble::Other)? {
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
        let get = etag.map_or(get.clone(), |etag| get.unless_etag(etag));
        let trouble = |error| trouble(error, repo);
        let answer = self.client.get(&get).map_err(trouble)?;
        match answer.status {
            304 => Ok(Answer::Unchanged),
            200 => {
                let etag = answer.header("etag").map(str::to_owned);
                let body = answer.bytes(usize::try_from(limit).unwrap_or(usize::MAX));
                let body = body.map_err(trouble)?;
                Ok(Answer::Found { body, etag })
            }
            status => {
                let why = format!("its answer has status {status}");
                Err(Trouble::Unreachable(why))
            }
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
            unfinished: None,
        };
        let tell = |now: http::Progress| progress(now.received_bytes, now.total_bytes);
        let done = http::to_file(&self.client, &Self::request(repo, path)?, &target, &tell);
        done.map(drop).map_err(|error| trouble(error, repo))
    }
}

/// What an error of HTTP means here. hex.pm answers 403 to somebody without a key for a file that
/// is not there.
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

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;
    use std::time::Duration;

    use super::super::repo::AuthKey;
    use super::*;

    /// Asks a server that gives this answer; the request's lines and what became of it.
    fn ask(
        answer: &'static str,
        key: Option<AuthKey>,
    ) -> (Vec<String>, std::result::Result<Answer, Trouble>) {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let repo = Repo {
            name: "own".into(),
            url: format!("http://{}/repo/", server.local_addr().unwrap()),
            public_key: None,
            auth_key: key,
        };
        let serving = std::thread::spawn(move || {
            let (mut stream, _) = server.accept().unwrap();
            let lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let lines = lines
                .map_while(std::io::Result::ok)
                .take_while(|line| !line.is_empty());
            let lines: Vec<String> = lines.map(|line| line.to_lowercase()).collect();
            stream.write_all(answer.as_bytes()).unwrap();
            lines
        });
        let control = Arc::new(Control::new(u64::MAX, Duration::from_secs(60)));
        let web = Web::new(&Auth::default(), &control).unwrap();
        let result = web.get(&repo, "packages/a", Some("\"tag\""), 10);
        (serving.join().unwrap(), result)
    }

    fn key() -> Option<AuthKey> {
        // A variable that every process has.
        Some(AuthKey::Env("PATH".into()))
    }

    #[test]
    fn a_request_shows_the_tag_and_the_key() {
        let found = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\netag: \"new\"\r\n\r\nhi";
        let (lines, result) = ask(found, key());
        let answer = Answer::Found {
            body: b"hi".to_vec(),
            etag: Some("\"new\"".into()),
        };
        assert_eq!(result, Ok(answer));
        assert_eq!(lines[0], "get /repo/packages/a http/1.1");
        assert!(lines.contains(&"if-none-match: \"tag\"".to_owned()));
        let path = std::env::var("PATH").unwrap().to_lowercase();
        assert!(lines.contains(&format!("authorization: {path}")));
    }

    #[test]
    fn statuses_mean_what_hex_means_by_them() {
        let answers = [
            (
                "HTTP/1.1 304 Not Modified\r\n\r\n",
                None,
                Ok(Answer::Unchanged),
            ),
            (
                "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
                None,
                Err(Trouble::NotFound),
            ),
            (
                "HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n",
                None,
                Err(Trouble::NotFound),
            ),
            (
                "HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n",
                key(),
                Err(Trouble::Unauthorized),
            ),
            (
                "HTTP/1.1 401 No\r\ncontent-length: 0\r\n\r\n",
                None,
                Err(Trouble::Unauthorized),
            ),
            (
                "HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\nhello world",
                None,
                Err(Trouble::TooLarge),
            ),
        ];
        for (answer, key, expected) in answers {
            assert_eq!(ask(answer, key).1, expected, "{answer}");
        }
        let failed = ask("HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n", None).1;
        assert!(matches!(failed, Err(Trouble::Unreachable(why)) if why.contains("500")));
    }
}
