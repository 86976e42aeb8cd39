//! Looks, again and again, whether a running command is past one of its limits. What the kernel
//! counts for each process alone (or, for root, not at all) is counted here over all of them.

use crate::args::Limits;
use crate::frame::End;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

/// A process that takes memory as fast as it can gets some hundred megabytes in that time.
#[cfg(target_os = "linux")]
const PROCESS_PAUSE: Duration = Duration::from_millis(100);
const DISK_PAUSE: Duration = Duration::from_millis(500);
/// Looking takes at most one part in this many of a processor.
const SHARE: u32 = 20;

/// Begins to look; the first limit that is passed comes over the channel.
pub fn start(limits: &Limits) -> Receiver<End> {
    let (sender, receiver) = channel();
    #[cfg(target_os = "linux")]
    if limits.processes.is_some() || limits.memory.is_some() {
        let limits = limits.clone();
        repeat(PROCESS_PAUSE, sender.clone(), move || {
            linux::processes_passed(&limits)
        });
    }
    if limits.disk.is_some() || limits.files.is_some() {
        let limits = limits.clone();
        repeat(DISK_PAUSE, sender, move || disk_passed(&limits));
    }
    receiver
}

fn repeat(pause: Duration, to: Sender<End>, look: impl Fn() -> Option<End> + Send + 'static) {
    thread::spawn(move || {
        loop {
            let begun = Instant::now();
            if let Some(end) = look() {
                // Nobody listens where the run has ended meanwhile.
                let _over = to.send(end);
                return;
            }
            thread::sleep(pause.max(begun.elapsed() * SHARE));
        }
    });
}

/// Whether files are past their limits now.
pub fn disk_passed(limits: &Limits) -> Option<End> {
    #[cfg(target_os = "linux")]
    let (nameless, many) = linux::open_files(limits.files.unwrap_or(u64::MAX));
    #[cfg(not(target_os = "linux"))]
    let (nameless, many) = (0, false);
    if many {
        return Some(End::FilesLimit);
    }
    let (limit, scratch) = (limits.disk?, limits.scratch.as_ref()?);
    crate::disk::is_past(scratch, nameless, limit).then_some(End::DiskLimit)
}

#[cfg(target_os = "linux")]
mod linux {
    use crate::args::Limits;
    use crate::frame::End;
    use crate::processes::{self, Process};
    use std::collections::HashSet;
    use std::fs::{self, Metadata};
    use std::os::unix::fs::MetadataExt;

    /// Every scheduler of a VM is a thread, and some machines have many.
    const THREADS_EACH: u64 = 32;

    pub fn processes_passed(limits: &Limits) -> Option<End> {
        let living = processes::descendants();
        let sum = |part: fn(&Process) -> u64| living.iter().map(part).sum::<u64>();
        let most = limits.processes.unwrap_or(u64::MAX);
        if living.len() as u64 > most
            || sum(|process| process.threads) > most.saturating_mul(THREADS_EACH)
        {
            return Some(End::ProcessLimit);
        }
        let page = rustix::param::page_size() as u64;
        let memory = sum(|process| process.resident).saturating_mul(page);
        (memory > limits.memory.unwrap_or(u64::MAX)).then_some(End::MemoryLimit)
    }

    /// The bytes of files that are open and have no name any more, and whether a process has as
    /// many files open as it may.
    pub fn open_files(most: u64) -> (u64, bool) {
        let (mut bytes, mut many, mut seen) = (0, false, HashSet::new());
        for process in processes::descendants() {
            let files = format!("/proc/{}/fd", process.pid.as_raw_pid());
            let entries: Vec<_> = fs::read_dir(files)
                .into_iter()
                .flatten()
                .flatten()
                .collect();
            many |= entries.len() as u64 >= most;
            for metadata in entries
                .iter()
                .filter_map(|entry| fs::metadata(entry.path()).ok())
            {
                if is_nameless(&metadata) && seen.insert((metadata.dev(), metadata.ino())) {
                    bytes += crate::disk::bytes_of(&metadata);
                }
            }
        }
        (bytes, many)
    }

    fn is_nameless(metadata: &Metadata) -> bool {
        metadata.is_file() && metadata.nlink() == 0
    }
}
