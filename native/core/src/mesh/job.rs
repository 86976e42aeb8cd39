//! The work of this room as jobs: it reads and writes as much as content is large.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::manifest::{MAX_BYTES, Manifest, Piece};
use super::{Laid, Mcid, MeshError, Published, Result, admit, lay_out, publish, verify};
use crate::job::{Control, Failure, Task};

/// Progress is reported at most this often.
const REPORT_EVERY: Duration = Duration::from_millis(250);

/// What to do.
#[derive(Debug, Clone)]
pub enum Op {
    /// Look whether a file has the bytes of a content id.
    Verify {
        /// The file.
        path: PathBuf,
        /// The content id.
        id: Mcid,
        /// The most bytes.
        limit: u64,
    },
    /// Copy a file if it has the bytes of a content id.
    Admit {
        /// The file.
        from: PathBuf,
        /// Where it goes.
        to: PathBuf,
        /// The content id.
        id: Mcid,
        /// The most bytes.
        limit: u64,
    },
    /// Read a manifest.
    Manifest {
        /// Where it stands.
        path: PathBuf,
    },
    /// Put the content of a manifest together.
    LayOut {
        /// The manifest.
        manifest: PathBuf,
        /// The directory of its pieces, each under its digest.
        pieces: PathBuf,
        /// Where the tree or the archive goes.
        to: PathBuf,
    },
    /// Make content of a file or a tree.
    Publish {
        /// The file or the tree.
        from: PathBuf,
        /// The directory of the store.
        store: PathBuf,
        /// Larger files become pieces of this size.
        chunk: Option<u64>,
    },
}

/// What came of it.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// The file is right, and so large.
    Verified(u64),
    /// What a manifest lists.
    Listed {
        /// Whether it is one archive.
        is_archive: bool,
        /// Bytes of all content.
        bytes: u64,
        /// What must be fetched.
        pieces: Vec<Piece>,
    },
    /// The content stands.
    Laid(Laid),
    /// The content is in the store.
    Published(Published),
}

impl Task for Op {
    type Output = Outcome;
    type Error = MeshError;
    /// Bytes that were read or written.
    type Progress = u64;

    fn run(&self, control: &Arc<Control>, progress: &dyn Fn(u64)) -> Result<Outcome> {
        let (mut moved, mut reported) = (0, Instant::now());
        let step = &mut |count: u64| {
            moved += count;
            if reported.elapsed() >= REPORT_EVERY {
                reported = Instant::now();
                progress(moved);
            }
            control
                .check()
                .map_err(|stop| Failure::Stopped(stop).into())
        };
        match self {
            Op::Verify { path, id, limit } => verify(path, id, *limit, step).map(Outcome::Verified),
            Op::Admit {
                from,
                to,
                id,
                limit,
            } => admit(from, to, id, *limit, step).map(Outcome::Verified),
            Op::Manifest { path } => read(path).map(|manifest| Outcome::Listed {
                is_archive: matches!(manifest, Manifest::Archive(_)),
                bytes: manifest.size(),
                pieces: manifest.pieces(),
            }),
            Op::LayOut {
                manifest,
                pieces,
                to,
            } => lay_out(&read(manifest)?, pieces, to, step).map(Outcome::Laid),
            Op::Publish { from, store, chunk } => {
                publish(from, store, *chunk, step).map(Outcome::Published)
            }
        }
    }
}

fn read(path: &std::path::Path) -> Result<Manifest> {
    use std::io::Read;
    let mut bytes = Vec::new();
    let file = super::content::open(path, MAX_BYTES)?;
    file.take(MAX_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(MeshError::io(path))?;
    Manifest::parse(&bytes)
}
