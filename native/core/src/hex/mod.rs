//! Packages of Hex: resolved, fetched and verified here, by no build tool. So no auth key ever
//! reaches a build, a build needs no network, and a dependency that many applications share is
//! fetched once.
//!
//! ```text
//! resolve ─▶ lock ─(complete)──────────────────────────────▶ the lock as it is
//!                └▶ registry (transport, signature, package) ─▶ solve ─▶ a new lock
//! plugins ─▶ tarballs ─▶ their rebar.config ─▶ registry ─▶ solve ─▶ a lock of their own
//! fetch   ─▶ cache ─(not there)─▶ transport ─▶ checksums ─▶ tarball, metadata ─▶ unpacked files
//! ```
//! Formats are those of <https://github.com/hexpm/specifications>: `registry-v2.md` and
//! `registry/package.proto` (registry files), `package_tarball.md` and `package_metadata.md`
//! (tarballs), `dependency_resolution.md` (what is chosen), `endpoints.md` (where things are).
//! Versions and requirements are those of Elixir's `Version` module, except that `and` binds before
//! `or`.
//!
//! What is trusted: a repository's public key, and a lock that the caller kept. Everything else is
//! verified against one of them, also what comes from the cache.

mod answer;
mod cache;
mod config;
pub mod error;
mod fetch;
pub mod limits;
mod lock;
mod metadata;
mod names;
mod package;
mod parcel;
mod plugins;
mod proto;
mod registry;
pub mod repo;
mod report;
mod request;
mod requirement;
mod resolve;
mod script;
mod signature;
mod slots;
mod solve;
mod tarball;
#[cfg(test)]
mod tests;
mod transport;
mod version;
mod web;

pub use config::{Called, Plugin, Source};
pub use error::HexError;
pub use fetch::{Fetch, Fetched, Progress};
pub use lock::Locked;
pub use metadata::Metadata;
pub use package::{Dependency, Retirement};
pub use plugins::Plugins;
pub use repo::Repo;
pub use request::{Op, Outcome, Request};
pub use requirement::Requirement;
pub use resolve::{Resolve, Resolved, Retired};
pub use version::{Identifier, Version};

/// Bytes as small hex digits.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Fuzz entry: the first byte chooses what the rest is read as.
pub fn fuzz(bytes: &[u8]) {
    let Some((first, rest)) = bytes.split_first() else {
        return;
    };
    match first % 5 {
        0 => registry::fuzz(rest),
        1 => metadata::fuzz(rest),
        2 => tarball::fuzz(rest),
        3 => config::fuzz(rest),
        _ => {
            if let Ok(text) = std::str::from_utf8(rest) {
                let _ = (Version::parse(text), Requirement::parse(text));
            }
        }
    }
}
