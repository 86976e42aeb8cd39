//! The threads that parse. Their stacks are large enough for the nesting that specs may have,
//! which those of the VM's dirty schedulers are not.

use std::sync::OnceLock;

use rayon::{ThreadPool, ThreadPoolBuilder};

const STACK: usize = 8 << 20;

/// Runs work on the pool; parallel iterators inside of it use the pool's threads.
pub fn run<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    match pool() {
        Some(pool) => pool.install(work),
        // No threads to be had: rayon's own way of saying so would be a panic.
        None => work(),
    }
}

/// Has work done on the pool and does not wait for it.
pub fn later(work: impl FnOnce() + Send + 'static) {
    match pool() {
        Some(pool) => pool.spawn(work),
        None => work(),
    }
}

fn pool() -> Option<&'static ThreadPool> {
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
