//! The decisions of bc_gitops. This crate knows nothing of Erlang; `cargo test` alone covers it.
//!
//! ```text
//! git ──commit──▶ snapshot ──specs──▶ plan        beam ──▶ hot: builds next to each other
//!                                                digest, identicon, store: on their own
//! ```
#![deny(unsafe_code)]
#![deny(missing_docs)]

pub mod archive;
mod base64;
pub mod beam;
pub mod digest;
pub mod git;
mod graph;
pub mod hex;
pub mod hot;
pub mod http;
pub mod identicon;
pub mod job;
mod md5_lanes;
pub mod mesh;
pub mod plan;
mod pool;
pub mod snapshot;
pub mod spec;
pub mod store;
pub mod url;
