//! From a lock to directories with the files of packages, every byte of them verified.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, PoisonError};

use super::cache::{self, Scratch, Turn};
use super::error::{Fact, HexError, Kind, Result};
use super::lock::{self, Locked};
use super::metadata::Metadata;
use super::registry::Registry;
use super::repo;
use super::requirement::Requirement;
use super::resolve::{self, Tools};
use super::tarball::{self, Refused, Tarball};
use super::transport::Trouble;
use super::version::Version;

/// Packages that are fetched at the same time.
const PARALLEL: usize = 4;

/// What is to be fetched.
#[derive(Debug, Clone)]
pub struct Fetch {
    /// A whole lock.
    pub packages: Vec<Locked>,
    /// Each package becomes a directory of its name in here; what stands there already is replaced.
    pub dir: PathBuf,
    /// The most bytes of one tarball.
    pub max_bytes: u64,
}

/// A package on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// What was asked for.
    pub locked: Locked,
    /// Where its files are.
    pub path: PathBuf,
    /// What it says about itself.
    pub metadata: Metadata,
    /// The inner checksum, in small hex digits: Mix writes it into its lock.
    pub inner: String,
    /// Whether the tarball was there already.
    pub cached: bool,
}

/// How far a download is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// The package.
    pub package: String,
    /// What is there.
    pub received_bytes: u64,
    /// What there will be, where the server says so.
    pub total_bytes: Option<u64>,
}

/// Fetches, four packages at a time; without any network when all are in the cache.
pub(super) fn run(
    request: &Fetch,
    tools: &Tools<'_>,
    progress: &dyn Fn(Progress),
) -> Result<Vec<Fetched>> {
    repo::check(tools.repos)?;
    lock::check(&request.packages)?;
    cache::sweep(&tools.cache.join("tarballs"));
    let queue = Mutex::new(request.packages.iter());
    let done = Mutex::new(Vec::new());
    let failed = AtomicBool::new(false);
    let work = |tell: Sender<Progress>| {
        while !failed.load(Ordering::Acquire) {
            let Some(locked) = queue.lock().unwrap_or_else(PoisonError::into_inner).next() else {
                break;
            };
            let result = Job {
                request,
                tools,
                locked,
                tell: &tell,
            }
            .run();
            failed.fetch_or(result.is_err(), Ordering::AcqRel);
            done.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(result);
        }
    };
    std::thread::scope(|scope| {
        let (tell, hear) = channel();
        for _ in 0..PARALLEL.min(request.packages.len()) {
            let (work, tell) = (&work, tell.clone());
            let spawned = std::thread::Builder::new().spawn_scoped(scope, move || work(tell));
            spawned.map_err(|error| HexError::new(Kind::Io, format!("no thread: {error}")))?;
        }
        drop(tell);
        hear.into_iter().for_each(progress);
        Ok::<(), HexError>(())
    })?;
    let done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    let mut fetched = done.into_iter().collect::<Result<Vec<Fetched>>>()?;
    fetched.sort_by(|left, right| left.locked.name.cmp(&right.locked.name));
    complete(&fetched)?;
    Ok(fetched)
}

/// What packages say about themselves must be satisfied by the lock as well: a lock that lost an
/// entry would else show as a strange failure of a build.
fn complete(fetched: &[Fetched]) -> Result<()> {
    let by_name: BTreeMap<&str, &Fetched> = fetched
        .iter()
        .map(|one| (one.locked.name.as_str(), one))
        .collect();
    for one in fetched {
        for needed in one
            .metadata
            .requirements
            .iter()
            .filter(|needed| !needed.optional)
        {
            let requirement = Requirement::parse(&needed.requirement);
            let found = by_name.get(needed.name.as_str()).and_then(|found| {
                let version = Version::parse(&found.locked.version)?;
                requirement
                    .is_none_or(|requirement| requirement.allows(&version))
                    .then_some(())
            });
            if found.is_none() {
                let Metadata { name, version, .. } = &one.metadata;
                let message = format!(
                    "{name} {version} needs {} {}, which the lock does not have; resolve it anew",
                    needed.name, needed.requirement
                );
                return Err(HexError::new(Kind::BadLock, message).with(Fact::Package, &needed.name));
            }
        }
    }
    Ok(())
}

/// One package of a request.
struct Job<'a> {
    request: &'a Fetch,
    tools: &'a Tools<'a>,
    locked: &'a Locked,
    tell: &'a Sender<Progress>,
}

impl Job<'_> {
    fn run(&self) -> Result<Fetched> {
        (self.tools.go_on)()?;
        let (file, cached) = self.tarball().map_err(|error| self.about(error))?;
        let mut tarball = self.open(file).map_err(|error| self.about(error))?;
        let path = self.request.dir.join(&self.locked.name);
        self.unpack(&mut tarball, &path)
            .map_err(|error| self.about(error))?;
        Ok(Fetched {
            locked: Locked {
                app: tarball.metadata.app.clone(),
                ..self.locked.clone()
            },
            path,
            metadata: tarball.metadata,
            inner: tarball.inner,
            cached,
        })
    }

    fn about(&self, error: HexError) -> HexError {
        let Locked {
            name,
            version,
            repo,
            ..
        } = self.locked;
        let error = if error.has(Fact::Package) {
            error
        } else {
            error.with(Fact::Package, name)
        };
        let error = if error.has(Fact::Version) {
            error
        } else {
            error.with(Fact::Version, version)
        };
        if error.has(Fact::Repo) {
            error
        } else {
            error.with(Fact::Repo, repo)
        }
    }

    /// The tarball with the lock's checksum, from the cache or from its repository; and whether it
    /// was in the cache. The checksum is that of the open file, whatever happens to its name.
    fn tarball(&self) -> Result<(File, bool)> {
        let path = cache::tarball(self.tools.cache, &self.locked.sha256);
        let _turn = Turn::take(&path, self.tools.go_on)?;
        if let Ok(file) = File::open(&path) {
            if tarball::checksum(&file).is_ok_and(|found| found == self.locked.sha256) {
                return Ok((file, true));
            }
            let _ = std::fs::remove_file(&path);
        }
        self.download(&path).map(|file| (file, false))
    }

    fn download(&self, path: &Path) -> Result<File> {
        let Locked {
            name,
            version,
            sha256,
            ..
        } = self.locked;
        let repo = repo::find(self.tools.repos, &self.locked.repo, None)?;
        let repo = &self.tools.repos[repo];
        let part = path.parent().unwrap_or(self.tools.cache);
        let io = |error| HexError::io(part, &error);
        let scratch = Scratch::new(part).map_err(io)?;
        let tell = |received_bytes, total_bytes| {
            // Nobody listens any more once the job has failed.
            let _ = self.tell.send(Progress {
                package: name.clone(),
                received_bytes,
                total_bytes,
            });
        };
        let from = format!("tarballs/{name}-{version}.tar");
        let max = self.request.max_bytes;
        let received = self
            .tools
            .transport
            .download(repo, &from, &scratch.file(), max, &tell);
        received.map_err(|trouble| match trouble {
            Trouble::NotFound => self.gone(),
            trouble => trouble.about(repo, &format!("{name} {version}")),
        })?;
        let file = File::open(scratch.file()).map_err(io)?;
        let found = tarball::checksum(&file).map_err(io)?;
        if found != *sha256 {
            return Err(self.mismatch(&found));
        }
        scratch.publish(path).map_err(io)?;
        Ok(file)
    }

    fn gone(&self) -> HexError {
        let Locked {
            name,
            version,
            repo,
            ..
        } = self.locked;
        let message = format!("repository {repo} does not have {name} {version} any more");
        HexError::new(Kind::VersionNotFound, message)
    }

    /// Who is to blame for a tarball that is not the lock's: the repository, when it vouches for
    /// another one by now, else the way from there to here.
    fn mismatch(&self, found: &str) -> HexError {
        let Locked {
            name,
            version,
            repo,
            sha256,
            ..
        } = self.locked;
        if let Some(now) = self.vouched_for().filter(|now| now != sha256) {
            return resolve::changed(self.locked, &now);
        }
        let message = format!(
            "the tarball of {name} {version} is not the one that repository {repo} vouches for: \
             it was changed on its way, or its server is broken"
        );
        HexError::new(Kind::ChecksumMismatch, message)
            .with(Fact::Expected, sha256)
            .with(Fact::Found, found)
    }

    fn vouched_for(&self) -> Option<String> {
        let Tools {
            repos,
            transport,
            cache,
            ..
        } = *self.tools;
        let repo = repo::find(repos, &self.locked.repo, None).ok()?;
        let registry = Registry::new(repos, transport, cache);
        let package = registry.package(&(repo, self.locked.name.clone())).ok()?;
        package
            .release(&Version::parse(&self.locked.version)?)?
            .checksum
            .clone()
    }

    fn open(&self, file: File) -> Result<Tarball<File>> {
        let Locked { name, version, .. } = self.locked;
        let tarball = tarball::open(file).map_err(|refused| match refused {
            Refused::Tampered(reason) => {
                let message = format!("the tarball of {name} {version} cannot be right: {reason}");
                HexError::new(Kind::Tampered, message)
            }
            Refused::Metadata(reason) => {
                let message =
                    format!("metadata.config of {name} {version} cannot be read: {reason}");
                HexError::new(Kind::BadMetadata, message)
            }
        })?;
        let Metadata {
            name: said_name,
            version: said_version,
            ..
        } = &tarball.metadata;
        if (said_name, said_version) == (name, version) {
            return Ok(tarball);
        }
        let message =
            format!("the tarball of {name} {version} says that it is {said_name} {said_version}");
        Err(HexError::new(Kind::Tampered, message))
    }

    fn unpack(&self, tarball: &mut Tarball<File>, to: &Path) -> Result<()> {
        let io = |error| HexError::io(to, &error);
        let _ = std::fs::remove_dir_all(to);
        std::fs::create_dir_all(to).map_err(io)?;
        let contents = flate2::read::GzDecoder::new(tarball.contents().map_err(io)?);
        tar::Archive::new(contents).unpack(to).map_err(io)
    }
}
