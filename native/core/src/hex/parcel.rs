//! One package of a lock on its way: found in the cache or downloaded, verified, unpacked.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::mpsc::Sender;

use super::answer;
use super::cache::{self, Scratch, Turn};
use super::config::{self, Plugin};
use super::error::{Fact, HexError, Kind, Result};
use super::fetch::{Fetch, Fetched, Progress};
use super::limits;
use super::lock::Locked;
use super::metadata::Metadata;
use super::registry::Registry;
use super::repo::{self, Repo};
use super::resolve::Tools;
use super::tarball::{self, Refused, Tarball};
use super::transport::Trouble;
use super::version::Version;
use crate::archive::{self, ArchiveError, Limits};

/// What the files of one package may be; hex.pm takes 128 MiB at most.
const UNPACKED: Limits = Limits {
    entries: 50_000,
    file_bytes: limits::UNPACKED_BYTES,
    bytes: limits::UNPACKED_BYTES,
    ratio: 200,
};

/// What is needed to fetch one package.
pub(super) struct Parcel<'a> {
    pub(super) request: &'a Fetch,
    pub(super) tools: &'a Tools<'a>,
    pub(super) locked: &'a Locked,
    pub(super) tell: &'a Sender<Progress>,
}

/// What a package says about itself.
pub(super) struct Looked {
    pub(super) locked: Locked,
    pub(super) metadata: Metadata,
    pub(super) plugins: Vec<Plugin>,
}

impl Parcel<'_> {
    pub(super) fn fetch(&self) -> Result<Fetched> {
        self.tools.control.check()?;
        let (file, cached) = self.tarball()?;
        let mut tarball = self.open(file)?;
        let path = self.request.dir.join(&self.locked.name);
        self.unpack(&mut tarball, &path)?;
        let plugins = self.plugins(&mut tarball)?;
        let Tarball {
            metadata, inner, ..
        } = tarball;
        let locked = Locked {
            app: metadata.app.clone(),
            ..self.locked.clone()
        };
        Ok(Fetched {
            locked,
            path,
            metadata,
            inner,
            cached,
            plugins,
        })
    }

    /// What the package says about itself, without unpacking it.
    pub(super) fn look(&self) -> Result<Looked> {
        self.tools.control.check()?;
        let (file, _) = self.tarball()?;
        let mut tarball = self.open(file)?;
        Ok(Looked {
            locked: self.locked.clone(),
            plugins: self.plugins(&mut tarball)?,
            metadata: tarball.metadata,
        })
    }

    fn plugins(&self, tarball: &mut Tarball<File>) -> Result<Vec<Plugin>> {
        let contents = tarball.contents();
        let (contents, _) = contents.map_err(|error| HexError::io(self.tools.cache, &error))?;
        Ok(config::plugins(contents))
    }

    /// The tarball with the lock's checksum, from the cache or from its repository; and whether it
    /// was in the cache. The checksum is that of the open file, whatever happens to its name.
    fn tarball(&self) -> Result<(File, bool)> {
        let path = cache::tarball(self.tools.cache, &self.locked.sha256);
        let _turn = Turn::take(&path, self.tools.control)?;
        if let Ok(file) = File::open(&path) {
            if tarball::checksum(&file).is_ok_and(|found| found == self.locked.sha256) {
                return Ok((file, true));
            }
            let _ = std::fs::remove_file(&path);
        }
        self.download(&path).map(|file| (file, false))
    }

    fn download(&self, path: &Path) -> Result<File> {
        let io = |error| HexError::io(self.tools.cache, &error);
        let scratch = Scratch::new(self.tools.cache).map_err(io)?;
        self.receive(&scratch.file())?;
        let file = File::open(scratch.file()).map_err(io)?;
        let found = tarball::checksum(&file).map_err(io)?;
        if found != self.locked.sha256 {
            return Err(self.mismatch(&found));
        }
        scratch.publish(path).map_err(io)?;
        Ok(file)
    }

    fn repo(&self) -> Result<usize> {
        repo::find(self.tools.repos, &self.locked.repo, None)
    }

    fn receive(&self, to: &Path) -> Result<()> {
        let Locked { name, version, .. } = self.locked;
        let repo: &Repo = &self.tools.repos[self.repo()?];
        let tell = |received_bytes, total_bytes| {
            let progress = Progress {
                package: name.clone(),
                received_bytes,
                total_bytes,
            };
            // Nobody listens any more once the job has failed.
            let _ = self.tell.send(progress);
        };
        let from = format!("tarballs/{name}-{version}.tar");
        let max = self.request.max_bytes;
        let received = self.tools.transport.download(repo, &from, to, max, &tell);
        received.map_err(|trouble| match trouble {
            Trouble::NotFound => self.gone(),
            trouble => trouble.about(repo, &self.locked.to_string()),
        })
    }

    fn gone(&self) -> HexError {
        let (locked, repo) = (self.locked, &self.locked.repo);
        let message = format!("repository {repo} does not have {locked} any more");
        HexError::new(Kind::VersionNotFound, message)
    }

    /// Who is to blame for a tarball that is not the lock's: the repository, when it vouches for
    /// another one by now, else the way from there to here.
    fn mismatch(&self, found: &str) -> HexError {
        let expected = &self.locked.sha256;
        if let Some(now) = self.vouched_for().filter(|now| now != expected) {
            return answer::changed(self.locked, &now);
        }
        let message = format!(
            "the tarball of {} is not the one that repository {} vouches for: \
             it was changed on its way, or its server is broken",
            self.locked, self.locked.repo
        );
        let error = HexError::new(Kind::ChecksumMismatch, message);
        error
            .with(Fact::Expected, expected)
            .with(Fact::Found, found)
    }

    fn vouched_for(&self) -> Option<String> {
        let Tools {
            repos,
            transport,
            cache,
            ..
        } = *self.tools;
        let registry = Registry::new(repos, transport, cache);
        let package = registry
            .package(&(self.repo().ok()?, self.locked.name.clone()))
            .ok()?;
        let release = package.release(&Version::parse(&self.locked.version)?)?;
        release.checksum.clone()
    }

    fn open(&self, file: File) -> Result<Tarball<File>> {
        let locked = self.locked;
        let tampered = |reason: String| {
            let message = format!("the tarball of {locked} cannot be right: {reason}");
            HexError::new(Kind::Tampered, message)
        };
        let tarball = tarball::open(file).map_err(|refused| match refused {
            Refused::Tampered(reason) => tampered(reason),
            Refused::Metadata(reason) => {
                let message = format!("metadata.config of {locked} cannot be read: {reason}");
                HexError::new(Kind::BadMetadata, message)
            }
        })?;
        let said = &tarball.metadata;
        if (&said.name, &said.version) != (&locked.name, &locked.version) {
            return Err(tampered(format!(
                "it says that it is {} {:?}",
                said.name, said.version
            )));
        }
        Ok(tarball)
    }

    /// The files, in the place of what stands there.
    fn unpack(&self, tarball: &mut Tarball<File>, to: &Path) -> Result<()> {
        let io = |error| HexError::io(to, &error);
        std::fs::create_dir_all(&self.request.dir).map_err(io)?;
        if let Err(error) = std::fs::remove_dir_all(to)
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(io(error));
        }
        let contents = tarball.contents().map_err(io)?;
        archive::stream(contents, to, &UNPACKED, self.tools.control, &|_| ())
            .map(drop)
            .map_err(|error| self.not_unpacked(error))
    }

    fn not_unpacked(&self, error: ArchiveError) -> HexError {
        let kind = match error.kind {
            archive::Kind::TooLarge | archive::Kind::TooMany => Kind::TooLarge,
            archive::Kind::DiskFull => Kind::DiskFull,
            archive::Kind::Io => Kind::Io,
            archive::Kind::Timeout => Kind::Timeout,
            archive::Kind::Cancelled => Kind::Cancelled,
            _ => Kind::Tampered,
        };
        let entry = error
            .entry
            .map(|entry| format!(" ({entry})"))
            .unwrap_or_default();
        let message = format!(
            "the files of {} are not unpacked: {}{entry}",
            self.locked, error.message
        );
        HexError::new(kind, message)
    }
}
