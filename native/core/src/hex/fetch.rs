//! From a lock to directories with the files of packages, every byte of them verified.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, PoisonError};

use super::cache;
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
    cache::sweep(&tools.cache.join("tarballs"));
    let results = Mutex::default();
    let queue = Mutex::new(request.packages.iter());
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
    let failed = AtomicBool::new(false);
    let work = |tell: Sender<Progress>| {
        while !failed.load(Ordering::Acquire)
            && let Some(locked) = next()
        {
            let parcel = Parcel {
                request,
                tools,
                locked,
                tell: &tell,
            };
            let result = parcel.fetch().map_err(|error| locked.blame(error));
            failed.fetch_or(result.is_err(), Ordering::AcqRel);
            keep(&results, result);
        }
    };
    side_by_side(PARALLEL.min(request.packages.len()), &work, progress)?;
    let results: Results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    let mut fetched = results.into_iter().collect::<Result<Vec<Fetched>>>()?;
    fetched.sort_by(|left, right| left.locked.name.cmp(&right.locked.name));
    complete(&fetched)?;
    Ok(fetched)
}

type Results = Vec<Result<Fetched>>;

fn keep(results: &Mutex<Results>, result: Result<Fetched>) {
    results
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(result);
}

/// Work on several threads; what they tell is told from this one.
fn side_by_side(
    count: usize,
    work: &(impl Fn(Sender<Progress>) + Sync),
    progress: &dyn Fn(Progress),
) -> Result<()> {
    std::thread::scope(|scope| {
        let (tell, hear) = channel();
        for _ in 0..count {
            let tell = tell.clone();
            let spawned = std::thread::Builder::new().spawn_scoped(scope, move || work(tell));
            spawned.map_err(|error| HexError::new(Kind::Io, format!("no thread: {error}")))?;
        }
        drop(tell);
        hear.into_iter().for_each(progress);
        Ok(())
    })
}

/// What packages say about themselves must be satisfied by the lock as well: a lock that lost an
/// entry would else show as a strange failure of a build.
fn complete(fetched: &[Fetched]) -> Result<()> {
    let versions: BTreeMap<&str, &str> = fetched
        .iter()
        .map(|one| (one.locked.name.as_str(), one.locked.version.as_str()))
        .collect();
    let is_there = |needed: &Dependency| {
        let version = versions
            .get(needed.name.as_str())
            .copied()
            .and_then(Version::parse);
        let requirement = Requirement::parse(&needed.requirement);
        version.is_some_and(|version| requirement.is_none_or(|needed| needed.allows(&version)))
    };
    for Fetched {
        locked, metadata, ..
    } in fetched
    {
        let mut required = metadata
            .requirements
            .iter()
            .filter(|needed| !needed.optional);
        if let Some(missing) = required.find(|needed| !is_there(needed)) {
            let Dependency {
                name, requirement, ..
            } = missing;
            let message = format!(
                "{locked} needs {name} {requirement}, which the lock does not have; resolve it anew"
            );
            return Err(HexError::new(Kind::BadLock, message).with(Fact::Package, name));
        }
    }
    Ok(())
}
