//! Unpacking of archives that strangers made: `.tar` and `.tar.gz`, read here entry by entry.
//!
//! ```text
//! bytes ─▶ stream (gzip, limits, cancel) ─▶ reader (headers, long names, pax) ─▶ rules ─▶ sink (the disk)
//! ```
//! Nothing is written outside of the directory, and nothing through a link: links are made last, when
//! all of them are known, and only those that stay inside. Devices, pipes and whatever a reader could
//! understand in two ways are refused. The directory is new, and gone when anything fails.

mod error;
mod links;
mod name;
mod pax;
mod reader;
mod sink;
mod stream;
#[cfg(test)]
mod tests;
mod unpack;

pub use error::{ArchiveError, Kind, Result};
pub use stream::Limits;
pub use unpack::{Progress, Unpack, Unpacked, file, fuzz, stream};
