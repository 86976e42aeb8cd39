//! Content that is named by its digest: content ids, the manifests that list pieces of content, and
//! trees that are laid out from them.
//!
//! ```text
//! mcid1-raw-blake3-…       the bytes themselves: an archive
//! mcid1-manifest-blake3-…  a manifest, which lists files or an archive, each with its digest
//! ```
//!
//! Bytes are copied while they are hashed, so that what is used is what was verified. A manifest
//! names bytes and never another manifest: there is one level.

mod content;
mod error;
mod job;
pub mod manifest;
mod mcid;
mod publish;
mod reader;
mod tree;

#[cfg(test)]
mod tests;

pub use content::{Step, admit, verify};
pub use error::{MeshError, Result};
pub use job::{Op, Outcome};
pub use mcid::{Kind, Mcid};
pub use publish::{Published, publish};
pub use tree::{Laid, lay_out};
