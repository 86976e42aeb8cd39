//! From a lock to directories with the files of packages, every byte of them verified.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, PoisonError};

use super::cache;
use super::config::Plugin;
use super::error::{Fact, HexError, Kind, Result};
use super::lock::{self, Locked};
use super::metadata::Metadata;
use super::package::Dependency;
use super::parcel::Parcel;
use super::repo;
use super::requirement::Requirement;
use super::resolve::Tools;
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
    /// The rebar3 plugins that it names.
    pub plugins: Vec<Plugin>,
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

/// Fetches, several packages at a time; without any network when all are in the cache.
pub(super) fn run(
    request: &Fetch,
    tools: &Tools<'_>,
    progress: &dyn Fn(Progress),
) -> Result<Vec<Fetched>> {
    repo::check(tools.repos)?;
    lock::check(&request.packages)?;
    cache::sweep(tools.cache);
    let mut fetched = each(request, tools, progress, |parcel| parcel.fetch())?;
    fetched.sort_by(|left, right| left.locked.name.cmp(&right.locked.name));
    complete(&fetched)?;
    Ok(fetched)
}

/// What one package's work answers.
type Work<T> = fn(&Parcel<'_>) -> Result<T>;

/// Does the work for every package, several at a time; the answers are in any order.
pub(super) fn each<T: Send>(
    request: &Fetch,
    tools: &Tools<'_>,
    progress: &dyn Fn(Progress),
    work: Work<T>,
) -> Result<Vec<T>> {
    let crew = Crew {
        request,
        tools,
        work,
        next: AtomicUsize::new(0),
        results: Mutex::default(),
    };
    crew.work_side_by_side(progress)?;
    let results = crew.results.into_inner();
    let results = results.unwrap_or_else(PoisonError::into_inner);
    results.into_iter().collect()
}

/// Threads that fetch one package after the other.
struct Crew<'a, T> {
    request: &'a Fetch,
    tools: &'a Tools<'a>,
    work: Work<T>,
    /// The next package; past the last one once something has failed.
    next: AtomicUsize,
    results: Mutex<Vec<Result<T>>>,
}

impl<T: Send> Crew<'_, T> {
    /// What the threads tell is told from this one.
    fn work_side_by_side(&self, progress: &dyn Fn(Progress)) -> Result<()> {
        std::thread::scope(|scope| {
            let (tell, hear) = channel();
            for _ in 0..PARALLEL.min(self.request.packages.len()) {
                let tell = tell.clone();
                let spawned =
                    std::thread::Builder::new().spawn_scoped(scope, move || self.work(&tell));
                spawned.map_err(|error| HexError::new(Kind::Io, format!("no thread: {error}")))?;
            }
            drop(tell);
            hear.into_iter().for_each(progress);
            Ok(())
        })
    }

    fn work(&self, tell: &Sender<Progress>) {
        let (request, tools) = (self.request, self.tools);
        let all = &request.packages;
        while let Some(locked) = all.get(self.next.fetch_add(1, Ordering::Relaxed)) {
            let parcel = Parcel {
                request,
                tools,
                locked,
                tell,
            };
            let result = (self.work)(&parcel).map_err(|error| locked.blame(error));
            if result.is_err() {
                self.next.store(all.len(), Ordering::Relaxed);
            }
            let results = self.results.lock();
            results.unwrap_or_else(PoisonError::into_inner).push(result);
        }
    }
}

/// What packages say about themselves must be satisfied by the lock as well: a lock that lost an
/// entry would else show as a strange failure of a build.
fn complete(fetched: &[Fetched]) -> Result<()> {
    let versions: Versions<'_> = fetched
        .iter()
        .filter_map(|one| {
            Some((
                one.locked.name.as_str(),
                Version::parse(&one.locked.version)?,
            ))
        })
        .collect();
    for one in fetched {
        if let Some(missing) = one.missing(&versions) {
            let message = format!(
                "{} needs {} {}, which the lock does not have; resolve it anew",
                one.locked, missing.name, missing.requirement
            );
            let error = HexError::new(Kind::BadLock, message);
            return Err(error.with(Fact::Package, &missing.name));
        }
    }
    Ok(())
}

type Versions<'a> = BTreeMap<&'a str, Version>;

impl Fetched {
    /// What it cannot do without and these are not.
    fn missing(&self, versions: &Versions<'_>) -> Option<&Dependency> {
        let mut required = self
            .metadata
            .requirements
            .iter()
            .filter(|needed| !needed.optional);
        required.find(|needed| {
            let requirement = Requirement::parse(&needed.requirement);
            let allows = |version| requirement.is_none_or(|needed| needed.allows(version));
            !versions.get(needed.name.as_str()).is_some_and(allows)
        })
    }
}
