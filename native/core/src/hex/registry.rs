//! The registry files of all repositories of a job: fetched once, verified, kept on disk for the
//! next job under their entity tags.
//!
//! Source: `registry-v2.md` of <https://github.com/hexpm/specifications>. `packages/NAME` is gzip
//! over a `Signed` message whose payload is a `Package`. Names inside the payload are compared with
//! those that were asked for, so that a mirror cannot answer with another package that is signed
//! well.

use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use flate2::read::GzDecoder;
use sha2::{Digest, Sha256};

use super::cache;
use super::error::{Fact, HexError, Kind, Result};
use super::package::{self, Package};
use super::repo::Repo;
use super::signature::{self, Key, Refused};
use super::transport::{Answer, Transport, Trouble};
use super::{limits, names};

/// Requests to one repository at the same time.
const PARALLEL: usize = 8;

/// A package in the repository of this index.
pub(super) type Id = (usize, String);

type Answered = Result<Arc<Package>>;

/// The registries of a job.
pub(super) struct Registry<'a> {
    pub(super) repos: &'a [Repo],
    transport: &'a dyn Transport,
    cache: &'a Path,
    known: Mutex<HashMap<Id, Answered>>,
}

impl<'a> Registry<'a> {
    pub(super) fn new(repos: &'a [Repo], transport: &'a dyn Transport, cache: &'a Path) -> Self {
        Self {
            repos,
            transport,
            cache,
            known: Mutex::default(),
        }
    }

    /// The package, asked for once in the life of this value.
    pub(super) fn package(&self, id: &Id) -> Answered {
        if let Some(answered) = self.known().get(id) {
            return answered.clone();
        }
        let answered = self.fetch(id).map(Arc::new);
        self.known().entry(id.clone()).or_insert(answered).clone()
    }

    /// Has it know a package that no repository has, in the place of what it knew.
    pub(super) fn add(&self, id: Id, package: Package) {
        self.known().insert(id, Ok(Arc::new(package)));
    }

    /// How many packages were asked for.
    pub(super) fn size(&self) -> usize {
        self.known().len()
    }

    /// Asks for several packages side by side; errors show when one is needed.
    pub(super) fn prefetch(&self, ids: &[Id]) {
        let known = self.known();
        let missing: Vec<&Id> = ids.iter().filter(|id| !known.contains_key(*id)).collect();
        drop(known);
        let count = missing.len();
        if count < 2 {
            return;
        }
        let queue = Mutex::new(missing.into_iter());
        let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
        std::thread::scope(|scope| {
            for _ in 0..PARALLEL.min(count) {
                // No thread to be had: the packages are asked for one by one when needed.
                let spawned = std::thread::Builder::new().spawn_scoped(scope, || {
                    while let Some(id) = next() {
                        drop(self.package(id));
                    }
                });
                drop(spawned);
            }
        });
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashMap<Id, Answered>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fetch(&self, (repo, name): &Id) -> Result<Package> {
        let repo = &self.repos[*repo];
        names::checked(name)?;
        let key = repo.key()?;
        let file = self.file(repo, name);
        // What is damaged or signed by another key than today's is not asked about.
        let whole = |kept: Kept| Some((read(&kept.body, &key, repo, name).ok()?, kept.etag?));
        let kept = Kept::read(&file).and_then(whole);
        let etag = kept.as_ref().map(|(_, etag)| etag.as_str());
        let (path, what) = (format!("packages/{name}"), format!("package {name}"));
        match self
            .transport
            .get(repo, &path, etag, limits::REGISTRY_BYTES)
        {
            Ok(Answer::Found { body, etag }) => {
                let package = read(&body, &key, repo, name)?;
                Kept { etag, body }.write(self.cache, &file);
                Ok(package)
            }
            Ok(Answer::Unchanged) => kept.map(|(package, _)| package).ok_or_else(|| {
                let reason = "the answer says that it has not changed, and nobody asked that";
                bad(Kind::BadRegistry, repo, name, reason)
            }),
            Err(Trouble::NotFound) => Err(not_found(repo, name)),
            Err(trouble) => Err(trouble.about(repo, &what).with(Fact::Package, name)),
        }
    }

    /// Another url or key is another repository, whatever its name.
    fn file(&self, repo: &Repo, name: &str) -> PathBuf {
        let mut hash = Sha256::new();
        hash.update(&repo.url);
        hash.update([0]);
        hash.update(repo.public_key.as_deref().unwrap_or_default());
        let place = super::hex(&hash.finalize()[..16]);
        self.cache.join("registry").join(place).join(name)
    }
}

/// A registry file on disk: its entity tag as the first line, then its bytes. It is verified like
/// one that was just received.
struct Kept {
    etag: Option<String>,
    body: Vec<u8>,
}

impl Kept {
    fn read(file: &Path) -> Option<Self> {
        let bytes = std::fs::read(file).ok()?;
        let end = bytes.iter().position(|&byte| byte == b'\n')?;
        let etag = std::str::from_utf8(&bytes[..end]).ok()?;
        let etag = (!etag.is_empty()).then(|| etag.to_owned());
        Some(Self {
            etag,
            body: bytes[end + 1..].to_vec(),
        })
    }

    /// What cannot be written is fetched again next time.
    fn write(&self, cache: &Path, file: &Path) {
        let etag = self.etag.as_deref().unwrap_or_default();
        if !etag.contains(['\n', '\r']) {
            let bytes = [etag.as_bytes(), b"\n", &self.body].concat();
            let _ = cache::write(cache, file, &bytes);
        }
    }
}

/// Decompresses, verifies and decodes a registry file.
fn read(body: &[u8], key: &Key, repo: &Repo, name: &str) -> Result<Package> {
    let malformed = || bad(Kind::BadRegistry, repo, name, "it cannot be read");
    let message = inflate(body).ok_or_else(malformed)?;
    let payload = signature::verified(&message, key).map_err(|refused| match refused {
        Refused::Malformed => malformed(),
        Refused::BadSignature => bad(
            Kind::BadSignature,
            repo,
            name,
            "it is not signed by the repository's key; check public_key, or the mirror",
        ),
    })?;
    let package = package::decode(payload).map_err(|_| malformed())?;
    if package.repository != repo.signed_name() || package.name != name {
        let found = names::shown(&format!("{}/{}", package.repository, package.name));
        let reason = format!("it is signed for {found}");
        return Err(bad(Kind::BadSignature, repo, name, &reason).with(Fact::Found, found));
    }
    Ok(package)
}

fn inflate(body: &[u8]) -> Option<Vec<u8>> {
    let mut message = Vec::new();
    let mut reader = GzDecoder::new(body).take(limits::REGISTRY_INFLATED + 1);
    reader.read_to_end(&mut message).ok()?;
    (message.len() as u64 <= limits::REGISTRY_INFLATED).then_some(message)
}

fn bad(kind: Kind, repo: &Repo, name: &str, reason: &str) -> HexError {
    let message = format!(
        "what repository {} says about package {name}: {reason}",
        repo.name
    );
    HexError::new(kind, message)
        .with(Fact::Repo, &repo.name)
        .with(Fact::Package, name)
}

fn not_found(repo: &Repo, name: &str) -> HexError {
    let hint = match repo.auth_key {
        Some(_) => "check the name and the repository",
        None => "check the name and the repository; a private package needs an auth key",
    };
    let message = format!("repository {} has no package {name}; {hint}", repo.name);
    let error = HexError::new(Kind::PackageNotFound, message);
    error.with(Fact::Repo, &repo.name).with(Fact::Package, name)
}

/// Fuzz entry: any bytes are a registry file or not.
pub(super) fn fuzz(bytes: &[u8]) {
    let _ = package::decode(bytes);
    if let Some(key) = Key::hexpm() {
        let _ = signature::verified(bytes, &key);
    }
    let _ = inflate(bytes);
}
