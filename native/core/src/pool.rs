//! The threads that parse. Their stacks are large enough for the nesting that specs may have,
//! which those of the VM's dirty schedulers are not.

use std::sync::OnceLock;

use rayon::{ThreadPool, ThreadPoolBuilder};

const STACK: usize = 8 << 20;

/// Runs work on the pool; parallel iterators inside of it use the pool's threads.
pub fn run<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    static POOL: OnceLock<Option<ThreadPool>> = OnceLock::new();
    let name = |index| format!("bc_gitops-{index}");
    let pool = POOL.get_or_init(|| {
        ThreadPoolBuilder::new()
            .stack_size(STACK)
            .thread_name(name)
            .build()
            .ok()
    });
    match pool {
        Some(pool) => pool.install(work),
        // No threads to be had: rayon's own way of saying so would be a panic.
        None => work(),
    }
}
