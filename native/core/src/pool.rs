//! The threads that work side by side: those that parse, whose stacks are large enough for the
//! nesting that specs may have (those of the VM's dirty schedulers are not), and those that wait for
//! disks, apart from the others so that a large build holds up no spec.

use std::sync::OnceLock;

use rayon::{ThreadPool, ThreadPoolBuilder};

const STACK: usize = 8 << 20;
/// Threads that mostly wait: more than cores, and not more than a disk has use for.
const DISK_THREADS: usize = 4;

/// Runs work on the pool that parses; parallel iterators inside of it use the pool's threads.
pub fn run<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    on(parsers(), work)
}

/// Runs work on the pool that reads and writes many files.
pub fn disk<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    static POOL: OnceLock<Option<ThreadPool>> = OnceLock::new();
    let threads = || std::thread::available_parallelism().map_or(DISK_THREADS, |n| n.get());
    let make = || {
        ThreadPoolBuilder::new()
            .num_threads(threads().max(DISK_THREADS))
            .thread_name(|index| format!("bc_gitops-disk-{index}"))
            .build()
            .ok()
    };
    on(POOL.get_or_init(make).as_ref(), work)
}

/// Has work done on the pool that parses and does not wait for it.
pub fn later(work: impl FnOnce() + Send + 'static) {
    match parsers() {
        Some(pool) => pool.spawn(work),
        None => work(),
    }
}

fn on<R: Send>(pool: Option<&'static ThreadPool>, work: impl FnOnce() -> R + Send) -> R {
    match pool {
        Some(pool) => pool.install(work),
        // No threads to be had: rayon's own way of saying so would be a panic.
        None => work(),
    }
}

fn parsers() -> Option<&'static ThreadPool> {
    static POOL: OnceLock<Option<ThreadPool>> = OnceLock::new();
    let made = POOL.get_or_init(|| {
        ThreadPoolBuilder::new()
            .stack_size(STACK)
            .thread_name(|index| format!("bc_gitops-{index}"))
            .build()
            .ok()
    });
    made.as_ref()
}
