//! HTTP over ureq and the system's OpenSSL: one blocking client for everything that is downloaded.
//!
//! ```text
//! trust ─▶ client (get: redirects, credentials, limits) ─▶ download (resume, SHA-256)
//! ```
//! Plain http goes to this machine only, unless allowed. Credentials go to the host that they are meant
//! for and to no other, and never over plain http to another machine. No user information and no query
//! of a url is in any error. A client belongs to a job: it ends when the job must stop.

mod client;
mod download;
mod error;
mod partial;
mod trust;

pub use crate::url::HttpUrl;
pub use client::{Client, Get, Response};
pub use download::{DEFAULT_MAX_BYTES, Download, Downloaded, Progress, Target, to_file};
pub use error::{Fact, HttpError, Kind, Result};
