//! Repositories as they are configured: where they are, whose signature counts, which key they
//! want.

use std::path::PathBuf;

use super::error::{Fact, HexError, Kind, Result};
use super::names;
use super::signature::Key;
use crate::url::Secret;

/// The name of the public repository, whose public key is known.
pub const HEXPM: &str = "hexpm";

/// One repository.
#[derive(Debug, Clone)]
pub struct Repo {
    /// Its name: `hexpm`, `acme`, or `hexpm:acme` for an organization of hex.pm.
    pub name: String,
    /// Where it is, without a slash at the end.
    pub url: String,
    /// Its public key in PEM; `hexpm` and its organizations need none here.
    pub public_key: Option<String>,
    /// Where its auth key is, if it wants one.
    pub auth_key: Option<AuthKey>,
}

/// Where an auth key is found.
#[derive(Debug, Clone)]
pub enum AuthKey {
    /// In a file, as its only line.
    File(PathBuf),
    /// In an environment variable.
    Env(String),
}

impl Repo {
    /// The name inside of signed payloads: `acme` for `hexpm:acme`.
    pub(super) fn signed_name(&self) -> &str {
        self.name.rsplit(':').next().unwrap_or(&self.name)
    }

    fn is_of_hexpm(&self) -> bool {
        self.name.split(':').next() == Some(HEXPM)
    }

    /// The key that signs its answers.
    pub(super) fn key(&self) -> Result<Key> {
        let bad =
            |message: String| HexError::new(Kind::BadKey, message).with(Fact::Repo, &self.name);
        match &self.public_key {
            Some(pem) => Key::from_pem(pem).ok_or_else(|| {
                bad(format!(
                    "the public_key of repository {} is no RSA public key in PEM",
                    self.name
                ))
            }),
            None if self.is_of_hexpm() => {
                Key::hexpm().ok_or_else(|| bad("the key of hex.pm cannot be read".into()))
            }
            None => Err(bad(format!(
                "repository {} has no public_key in hex_repos",
                self.name
            ))),
        }
    }

    /// Reads its auth key, for this job alone.
    pub(super) fn secret(&self) -> Result<Option<Secret>> {
        let (key, place) = match &self.auth_key {
            None => return Ok(None),
            Some(AuthKey::File(path)) => {
                let key = std::fs::read_to_string(path).map_err(|error| error.to_string());
                (key, format!("file {}", path.display()))
            }
            Some(AuthKey::Env(name)) => {
                let key = std::env::var(name).map_err(|_| "it is not set".to_owned());
                (key, format!("environment variable {name}"))
            }
        };
        let key = key.and_then(|key| usable(&key).ok_or("it holds no key".to_owned()));
        key.map(Some).map_err(|reason| {
            let message = format!(
                "the auth key of repository {} in {place}: {reason}",
                self.name
            );
            HexError::new(Kind::BadKey, message).with(Fact::Repo, &self.name)
        })
    }
}

/// A key goes into a header: one line of visible characters.
fn usable(text: &str) -> Option<Secret> {
    let key = text.trim();
    let visible = key
        .bytes()
        .all(|byte| byte.is_ascii_graphic() || byte == b' ');
    (!key.is_empty() && visible).then(|| Secret(key.to_owned()))
}

/// Checks names and urls of the repositories of a request.
pub(super) fn check(repos: &[Repo]) -> Result<()> {
    for (index, repo) in repos.iter().enumerate() {
        let twice = repos[..index].iter().any(|other| other.name == repo.name);
        if twice || !names::is_repo(&repo.name) {
            let name = names::shown(&repo.name);
            let message = format!("{name:?} is no repository name, or stands twice");
            return Err(HexError::new(Kind::BadName, message).with(Fact::Repo, &repo.name));
        }
    }
    Ok(())
}

/// The repository of this name as a package of `from` means it: `acme` inside of `hexpm:acme` is
/// that organization, and `hexpm` is always the public one.
pub(super) fn find(repos: &[Repo], name: &str, from: Option<usize>) -> Result<usize> {
    let exact = repos.iter().position(|repo| repo.name == name);
    let same = from.filter(|&from| repos[from].signed_name() == name && name != HEXPM);
    same.or(exact).ok_or_else(|| {
        let message = format!("repository {name} is not configured; add it to hex_repos");
        HexError::new(Kind::UnknownRepo, message).with(Fact::Repo, name)
    })
}

/// The repository of what a package of `from` needs.
pub(super) fn of_dependency(repos: &[Repo], named: Option<&str>, from: usize) -> Result<usize> {
    named.map_or(Ok(from), |name| find(repos, name, Some(from)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repo(name: &str) -> Repo {
        Repo {
            name: name.into(),
            url: String::new(),
            public_key: None,
            auth_key: None,
        }
    }

    #[test]
    fn names_in_payloads_find_their_repository() {
        let repos = [repo("hexpm"), repo("hexpm:acme"), repo("own")];
        assert_eq!(find(&repos, "hexpm", Some(1)).unwrap(), 0);
        assert_eq!(find(&repos, "acme", Some(1)).unwrap(), 1);
        assert_eq!(find(&repos, "own", Some(1)).unwrap(), 2);
        assert_eq!(
            find(&repos, "acme", Some(0)).unwrap_err().kind,
            Kind::UnknownRepo
        );
        assert_eq!(
            check(&[repo("a"), repo("a")]).unwrap_err().kind,
            Kind::BadName
        );
    }

    #[test]
    fn only_hexpm_has_a_known_key() {
        assert!(repo("hexpm").key().is_ok() && repo("hexpm:acme").key().is_ok());
        assert_eq!(
            repo("own").key().err().map(|error| error.kind),
            Some(Kind::BadKey)
        );
    }

    #[test]
    fn a_key_is_read_from_its_file_and_shown_by_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        std::fs::write(&path, "s3cret\n").unwrap();
        let with = |path: &std::path::Path| Repo {
            auth_key: Some(AuthKey::File(path.to_owned())),
            ..repo("own")
        };
        let secret = with(&path).secret().unwrap().unwrap();
        assert_eq!(secret.0, "s3cret");
        assert!(!format!("{secret:?}").contains("s3cret"));
        std::fs::write(&path, "s3cret\r\nX-Header: 1\n").unwrap();
        let error = with(&path).secret().unwrap_err();
        assert_eq!(error.kind, Kind::BadKey);
        assert!(!error.message.contains("s3cret"));
        assert!(with(&dir.path().join("none")).secret().is_err());
    }
}
