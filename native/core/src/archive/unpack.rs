//! Unpacking: each entry is judged by what came before it, then written.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::job::{Control, Task};

use super::error::{ArchiveError, Kind, Result};
use super::links;
use super::name::Name;
use super::reader::{self, Entry, What};
use super::sink::{Disk, Sink};
use super::stream::{BLOCK, Limits, Stream};

/// Progress is reported at most this often.
const REPORT_EVERY: Duration = Duration::from_millis(250);

/// The longest target of a link.
const MAX_TARGET: usize = 1024;

/// Unpacking as a job.
#[derive(Debug, Clone)]
pub struct Unpack {
    /// The archive.
    pub archive: PathBuf,
    /// The directory that it becomes; it is not there yet.
    pub path: PathBuf,
    /// What it may be.
    pub limits: Limits,
}

/// What was unpacked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Unpacked {
    /// Files, directories and links.
    pub entries: usize,
    /// The bytes of all files.
    pub bytes: u64,
}

/// How far it is.
pub type Progress = Unpacked;

impl Task for Unpack {
    type Output = Unpacked;
    type Error = ArchiveError;
    type Progress = Progress;

    fn run(&self, control: &Arc<Control>, progress: &dyn Fn(Progress)) -> Result<Unpacked> {
        file(&self.archive, &self.path, &self.limits, control, progress)
    }
}

/// Unpacks an archive into a new directory. When anything fails there is no such directory.
pub fn file(
    archive: &Path,
    path: &Path,
    limits: &Limits,
    control: &Control,
    progress: &dyn Fn(Progress),
) -> Result<Unpacked> {
    let unreadable = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            ArchiveError::new(Kind::NotFound, format!("{}: {error}", archive.display()))
        }
        _ => ArchiveError::io(archive, &error),
    };
    let metadata = std::fs::metadata(archive).map_err(unreadable)?;
    if !metadata.is_file() {
        let why = format!("{} is no file", archive.display());
        return Err(ArchiveError::new(Kind::NotFound, why));
    }
    let source = File::open(archive).map_err(unreadable)?;
    stream((source, metadata.len()), path, limits, control, progress)
}

/// The same for an archive that is a part of something else; `source` comes with its length.
pub fn stream(
    (source, packed): (impl Read, u64),
    path: &Path,
    limits: &Limits,
    control: &Control,
    progress: &dyn Fn(Progress),
) -> Result<Unpacked> {
    let stream = Stream::new(source, packed, limits, control)?;
    let mut disk = Disk::create(path)?;
    let unpacked = Unpacking::new(stream, limits, progress, &mut disk).run()?;
    control.check()?;
    disk.keep();
    Ok(unpacked)
}

/// What stands under a name so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kept {
    Dir,
    File,
    Link,
}

struct Unpacking<'a, S: Sink> {
    stream: Stream<'a>,
    limits: &'a Limits,
    progress: &'a dyn Fn(Progress),
    sink: &'a mut S,
    names: HashMap<Name, Kept>,
    /// Made last: nothing is ever written through one.
    links: BTreeMap<Name, String>,
    done: Unpacked,
    reported: Instant,
}

impl<'a, S: Sink> Unpacking<'a, S> {
    fn new(
        stream: Stream<'a>,
        limits: &'a Limits,
        progress: &'a dyn Fn(Progress),
        sink: &'a mut S,
    ) -> Self {
        Self {
            stream,
            limits,
            progress,
            sink,
            names: HashMap::new(),
            links: BTreeMap::new(),
            done: Unpacked::default(),
            reported: Instant::now(),
        }
    }

    fn run(mut self) -> Result<Unpacked> {
        while let Some(entry) = reader::next(&mut self.stream)? {
            let shown = entry.name.clone();
            self.place(entry).map_err(|error| error.about(&shown))?;
            if self.reported.elapsed() >= REPORT_EVERY {
                self.reported = Instant::now();
                (self.progress)(self.done);
            }
        }
        links::check(&self.links, self.stream.control())?;
        for (name, target) in &self.links {
            self.sink.symlink(name, target)?;
        }
        Ok(self.done)
    }

    fn count(&mut self) -> Result<()> {
        self.done.entries += 1;
        if self.done.entries <= self.limits.entries {
            return Ok(());
        }
        let why = format!("the archive has more than {} entries", self.limits.entries);
        Err(ArchiveError::new(Kind::TooMany, why))
    }

    fn place(&mut self, entry: Entry) -> Result<()> {
        let name = Name::parse(&entry.name)?;
        if name.is_root() {
            return match entry.what {
                What::Dir => Ok(()),
                _ => Err(ArchiveError::new(Kind::BadPath, "an entry has no name")),
            };
        }
        if entry.what == What::File && name.is_apple_double() {
            self.count()?;
            return self.stream.pass(entry.size, |_| Ok(()));
        }
        for parent in name.parents() {
            self.dir(parent)?;
        }
        if entry.what == What::Dir {
            return self.dir(name);
        }
        if self.names.contains_key(&name) {
            let why = "two entries of the archive have one name";
            return Err(ArchiveError::new(Kind::Duplicate, why));
        }
        self.count()?;
        match entry.what {
            What::File => self.file(&name, &entry)?,
            What::HardLink(ref target) => self.hard_link(&name, target)?,
            What::Symlink(ref target) => return self.symlink(name, target),
            What::Dir => {}
        }
        self.names.insert(name, Kept::File);
        Ok(())
    }

    fn dir(&mut self, name: Name) -> Result<()> {
        match self.names.get(&name) {
            Some(Kept::Dir) => Ok(()),
            Some(Kept::File | Kept::Link) => {
                let why = "an entry of the archive lies in what is no directory";
                Err(ArchiveError::new(Kind::Duplicate, why))
            }
            None => {
                self.count()?;
                self.sink.dir(&name)?;
                self.names.insert(name, Kept::Dir);
                Ok(())
            }
        }
    }

    fn file(&mut self, name: &Name, entry: &Entry) -> Result<()> {
        self.done.bytes = self.done.bytes.saturating_add(entry.size);
        if entry.size > self.limits.file_bytes || self.done.bytes > self.limits.bytes {
            let why = format!(
                "a file has more than {} bytes, or all have more than {}",
                self.limits.file_bytes, self.limits.bytes
            );
            return Err(ArchiveError::new(Kind::TooLarge, why));
        }
        // No setuid, nothing that others may write; its owner can read what it unpacked.
        let bits = if entry.executable { 0o755 } else { 0o644 };
        self.sink
            .begin_file(name, entry.mode & bits | bits & 0o700)?;
        let sink = &mut self.sink;
        self.stream.pass(entry.size, |bytes| sink.write(bytes))?;
        self.sink.end_file()
    }

    fn hard_link(&mut self, name: &Name, target: &[u8]) -> Result<()> {
        let target = Name::parse(target).map_err(|error| ArchiveError {
            kind: Kind::LinkOutside,
            ..error
        })?;
        match self.names.get(&target) {
            Some(Kept::File) => self.sink.hard_link(name, &target),
            _ => {
                let why = "a hard link of the archive leads to no file before it";
                Err(ArchiveError::new(Kind::LinkOutside, why))
            }
        }
    }

    fn symlink(&mut self, name: Name, target: &[u8]) -> Result<()> {
        match std::str::from_utf8(target) {
            Ok(text) if !text.chars().any(char::is_control) && text.len() <= MAX_TARGET => {
                self.names.insert(name.clone(), Kept::Link);
                self.links.insert(name, text.to_owned());
                Ok(())
            }
            _ => Err(ArchiveError::new(
                Kind::BadPath,
                "the target of a link is malformed",
            )),
        }
    }
}

/// Fuzz entry: any bytes are unpacked within the limits or refused, and what is unpacked is inside;
/// the same with the sums of all headers made right, which hardly any change leaves so.
pub fn fuzz(bytes: &[u8]) {
    let mut summed = bytes.to_vec();
    for block in summed.chunks_exact_mut(BLOCK) {
        let sum = reader::sum(block);
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
    for bytes in [bytes, &summed] {
        imagine(bytes);
    }
}

fn imagine(bytes: &[u8]) {
    let limits = Limits {
        entries: 100,
        file_bytes: 1 << 16,
        bytes: 1 << 18,
        ratio: 200,
    };
    let control = Control::new(0, Duration::from_secs(3600));
    let Ok(stream) = Stream::new(bytes, bytes.len() as u64, &limits, &control) else {
        return;
    };
    let mut sink = Imagined::default();
    if let Ok(done) = Unpacking::new(stream, &limits, &|_| (), &mut sink).run() {
        assert!(done.entries <= limits.entries && done.bytes <= limits.bytes);
    }
}

/// A sink without a disk that looks whether it is asked for what it must not do.
#[derive(Default)]
struct Imagined {
    dirs: Vec<Name>,
    linked: bool,
}

impl Imagined {
    fn look(&self, name: &Name) -> Result<()> {
        assert!(!self.linked, "links come last");
        assert!(
            !name
                .parts()
                .iter()
                .any(|part| part.is_empty() || part == ".." || part.contains('/'))
        );
        assert!(name.parent().is_root() || self.dirs.contains(&name.parent()));
        Ok(())
    }
}

impl Sink for Imagined {
    fn dir(&mut self, name: &Name) -> Result<()> {
        self.dirs.push(name.clone());
        self.look(name)
    }

    fn begin_file(&mut self, name: &Name, mode: u32) -> Result<()> {
        assert_eq!(mode & !0o755, 0);
        self.look(name)
    }

    fn write(&mut self, _bytes: &[u8]) -> Result<()> {
        Ok(())
    }

    fn end_file(&mut self) -> Result<()> {
        Ok(())
    }

    fn hard_link(&mut self, name: &Name, _existing: &Name) -> Result<()> {
        self.look(name)
    }

    fn symlink(&mut self, _name: &Name, target: &str) -> Result<()> {
        self.linked = true;
        assert!(!target.starts_with('/'));
        Ok(())
    }
}

/// For tests: an archive that is in memory.
#[cfg(test)]
pub(super) fn bytes(
    archive: impl std::io::Read,
    packed: u64,
    path: &Path,
    limits: &Limits,
) -> Result<Unpacked> {
    let control = Control::new(0, Duration::from_secs(3600));
    let stream = Stream::new(archive, packed, limits, &control)?;
    let mut disk = Disk::create(path)?;
    let done = Unpacking::new(stream, limits, &|_| (), &mut disk).run()?;
    disk.keep();
    Ok(done)
}
