//! Which credentials are offered, to whom, and in which order.
//!
//! Tokens and passphrases are read from their file or variable at the moment of use and live no
//! longer than the connection. A token goes to the hosts it is meant for and to no other: a hostile
//! repository may name any url as a source or a submodule.

use std::path::{Path, PathBuf};

use git2::{Cred, CredentialType};

use super::error::{Fact, GitError, Kind, Result};
use crate::url::{Policy, Scheme, Secret, Url};

/// The user name of a token when none is configured: what the large forges document.
const TOKEN_USER: &str = "x-access-token";

/// The user name of an SSH remote when none is given.
const SSH_USER: &str = "git";

/// A token or passphrase file is never larger.
const MAX_SECRET: u64 = 64 * 1024;

/// Credentials and what is allowed. Holds names of files and variables, never their contents.
#[derive(Debug, Clone, Default)]
pub struct Auth {
    /// A private key.
    pub ssh_key: Option<PathBuf>,
    /// The file with the passphrase of the private key.
    pub ssh_passphrase_file: Option<PathBuf>,
    /// The known_hosts file; the user's own when none.
    pub known_hosts: Option<PathBuf>,
    /// The user name, for SSH, tokens and basic authentication.
    pub username: Option<String>,
    /// The file with the token or password.
    pub token_file: Option<PathBuf>,
    /// The environment variable with the token or password.
    pub token_env: Option<String>,
    /// Certificates trusted besides those of the system.
    pub ca_file: Option<PathBuf>,
    /// The hosts (`host` or `host:port`) that may get the token; the url's own when not said.
    pub hosts: Option<Vec<String>>,
    /// Urls allowed beyond https and ssh.
    pub policy: Policy,
}

impl Auth {
    /// The same, with the token meant for the host of this url unless other hosts are named.
    #[must_use]
    pub(crate) fn bound_to(&self, url: &Url) -> Self {
        let mut bound = self.clone();
        bound.hosts.get_or_insert_with(|| vec![authority(url)]);
        bound
    }

    fn may_know(&self, url: &Url) -> bool {
        let (host, full) = (&url.host, authority(url));
        self.hosts.as_ref().is_some_and(|hosts| {
            hosts.iter().any(|allowed| {
                let allowed = allowed.to_ascii_lowercase();
                allowed == full || (&allowed == host && url.port.is_none())
            })
        })
    }

    /// Whether a token or password may be sent to this url.
    pub(crate) fn has_password_for(&self, url: &Url) -> bool {
        url.password.is_some()
            || url.user.is_some() && url.scheme != Scheme::Ssh
            || (self.token_file.is_some() || self.token_env.is_some()) && self.may_know(url)
    }

    fn ssh_user(&self, url: &Url) -> String {
        let from_url = url.user.as_ref().map(|Secret(user)| user.clone());
        from_url
            .or_else(|| self.username.clone())
            .unwrap_or_else(|| SSH_USER.to_owned())
    }

    /// User name and password for a url over https.
    pub(crate) fn basic(&self, url: &Url) -> Result<(String, Secret)> {
        match (&url.user, &url.password) {
            (Some(Secret(user)), Some(password)) => return Ok((user.clone(), password.clone())),
            // `https://TOKEN@host/…` is how forges write a token into a url.
            (Some(token), None) if !self.has_token() => {
                return Ok((token.0.clone(), Secret(String::new())));
            }
            _ => {}
        }
        let user = url.user.as_ref().map(|Secret(user)| user.clone());
        let user = user
            .or_else(|| self.username.clone())
            .unwrap_or_else(|| TOKEN_USER.to_owned());
        Ok((user, self.token()?))
    }

    fn has_token(&self) -> bool {
        self.token_file.is_some() || self.token_env.is_some()
    }

    fn token(&self) -> Result<Secret> {
        if let Some(file) = &self.token_file {
            return read_secret(file, "token");
        }
        let name = self.token_env.as_deref().unwrap_or_default();
        match std::env::var(name) {
            Ok(token) if !token.trim().is_empty() => Ok(Secret(token.trim().to_owned())),
            _ => Err(GitError::new(
                Kind::AuthFailed,
                format!("the environment variable {name} holds no token"),
            )),
        }
    }

    fn ssh_keys(&self) -> Vec<SshKey> {
        if let Some(key) = &self.ssh_key {
            return vec![SshKey::File(key.clone())];
        }
        let mut keys = vec![SshKey::Agent];
        if let Some(home) = std::env::home_dir() {
            let names = ["id_ed25519", "id_ecdsa", "id_rsa"];
            let files = names
                .iter()
                .map(|name| home.join(".ssh").join(name))
                .filter(|file| file.is_file());
            keys.extend(files.map(SshKey::File));
        }
        keys
    }
}

/// `host` or `host:port`, as a url writes it.
fn authority(url: &Url) -> String {
    match url.port {
        Some(port) => format!("{}:{port}", url.host),
        None => url.host.clone(),
    }
}

enum SshKey {
    Agent,
    File(PathBuf),
}

/// The credentials of one connection: each is offered once.
pub(crate) struct Offers<'a> {
    auth: &'a Auth,
    url: &'a Url,
    keys: std::vec::IntoIter<SshKey>,
    tried: Vec<String>,
}

impl<'a> Offers<'a> {
    pub(crate) fn new(auth: &'a Auth, url: &'a Url) -> Self {
        Self {
            auth,
            url,
            keys: auth.ssh_keys().into_iter(),
            tried: Vec::new(),
        }
    }

    /// The next credential that the server may accept.
    pub(crate) fn next(&mut self, allowed: CredentialType) -> Result<Cred> {
        let credential = match self.url.scheme {
            Scheme::Ssh if allowed.is_ssh_key() => self.next_key(),
            Scheme::Ssh if allowed.is_username() => self.user_name(),
            Scheme::Https if allowed.is_user_pass_plaintext() => self.password(),
            Scheme::Http => Err(refused(
                "the server wants credentials, which are not sent over plain http",
            )),
            _ => Err(refused(
                "the server accepts no kind of credential that is supported here",
            )),
        };
        credential.map_err(|error| error.about(&self.url.clean))
    }

    fn user_name(&mut self) -> Result<Cred> {
        Cred::username(&self.auth.ssh_user(self.url)).map_err(|error| refused(error.message()))
    }

    fn next_key(&mut self) -> Result<Cred> {
        let user = self.auth.ssh_user(self.url);
        match self.keys.next() {
            Some(SshKey::Agent) => {
                self.tried.push("the agent's keys".into());
                Cred::ssh_key_from_agent(&user).map_err(|error| refused(error.message()))
            }
            Some(SshKey::File(file)) => {
                self.tried.push(file.display().to_string());
                let passphrase = self.passphrase()?;
                let passphrase = passphrase.as_ref().map(|Secret(text)| text.as_str());
                if let Err(error) = std::fs::File::open(&file) {
                    return Err(
                        refused(format!("the private key {}: {error}", file.display()))
                            .with(Fact::Path, file.display()),
                    );
                }
                Cred::ssh_key(&user, None, &file, passphrase)
                    .map_err(|error| refused(error.message()))
            }
            None => Err(refused(format!(
                "the server refused {}",
                self.tried.join(", ")
            ))),
        }
    }

    fn passphrase(&self) -> Result<Option<Secret>> {
        self.auth
            .ssh_passphrase_file
            .as_deref()
            .map(|file| read_secret(file, "passphrase"))
            .transpose()
    }

    fn password(&mut self) -> Result<Cred> {
        if !self.auth.has_password_for(self.url) {
            let message =
                "the server wants a user name and a token, and none is configured for this host";
            return Err(refused(message).with(Fact::Host, authority(self.url)));
        }
        if !self.tried.is_empty() {
            return Err(refused(format!(
                "the server refused {}",
                self.tried.join(", ")
            )));
        }
        self.tried.push("the user name and token".into());
        let (user, Secret(password)) = self.auth.basic(self.url)?;
        Cred::userpass_plaintext(&user, &password).map_err(|error| refused(error.message()))
    }

    /// Whether a credential was offered.
    pub(crate) fn tried(&self) -> bool {
        !self.tried.is_empty()
    }
}

fn refused(message: impl std::fmt::Display) -> GitError {
    GitError::new(Kind::AuthFailed, message)
}

fn read_secret(file: &Path, what: &str) -> Result<Secret> {
    use std::io::Read;
    let fail = |why: &dyn std::fmt::Display| {
        refused(format!("the {what} file {}: {why}", file.display()))
            .with(Fact::Path, file.display())
    };
    let mut text = String::new();
    let open = std::fs::File::open(file).map_err(|error| fail(&error))?;
    open.take(MAX_SECRET)
        .read_to_string(&mut text)
        .map_err(|error| fail(&error))?;
    match text.trim() {
        "" => Err(fail(&"is empty")),
        text if text.chars().any(char::is_control) => Err(fail(&"holds more than one line")),
        text => Ok(Secret(text.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text, Policy::default()).unwrap()
    }

    #[test]
    fn a_token_goes_to_its_host_only() {
        let auth = Auth {
            token_env: Some("X".into()),
            ..Auth::default()
        }
        .bound_to(&url("https://Good.example/x"));
        assert!(auth.has_password_for(&url("https://good.example/other")));
        for other in [
            "https://evil.example/x",
            "https://good.example:8443/x",
            "https://good.example.evil/x",
        ] {
            assert!(!auth.has_password_for(&url(other)), "{other}");
        }
    }

    #[test]
    fn a_token_in_a_url() {
        let (user, password) = Auth::default().basic(&url("https://tok@h/x")).unwrap();
        assert_eq!((user.as_str(), password.0.as_str()), ("tok", ""));
        let (user, password) = Auth::default().basic(&url("https://u:p@h/x")).unwrap();
        assert_eq!((user.as_str(), password.0.as_str()), ("u", "p"));
    }

    #[test]
    fn secrets_are_read_from_files() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        std::fs::write(&file, " secret\n").unwrap();
        assert_eq!(read_secret(&file, "token").unwrap().0, "secret");
        std::fs::write(&file, "a\nb").unwrap();
        assert_eq!(
            read_secret(&file, "token").unwrap_err().kind,
            Kind::AuthFailed
        );
        assert!(read_secret(&dir.path().join("none"), "token").is_err());
    }
}
