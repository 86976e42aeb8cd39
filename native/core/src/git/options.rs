//! The options of libgit2 that hold for the whole process. They are set once, before any other call.
#![allow(unsafe_code)]

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, Once, PoisonError};

use git2::{ConfigLevel, opts};

use super::error::{Fact, GitError, Kind, Result};

/// How long one connection attempt may be silent.
const CONNECT_TIMEOUT_MS: i32 = 15_000;

/// How long one read or write may be silent: a server that packs a large repository says nothing
/// for a while, so this is generous; jobs have deadlines of their own.
const SERVER_TIMEOUT_MS: i32 = 45_000;

static SET: Once = Once::new();
static CA_FILES: Mutex<Option<HashSet<PathBuf>>> = Mutex::new(None);

/// Sets timeouts, and leaves the configuration of the machine and of the user out: no setting of
/// theirs (`url.insteadOf`, proxies, credential helpers) changes what a job does.
pub fn set() {
    SET.call_once(|| {
        // SAFETY: `Once` orders these calls before every other use of libgit2 in this process, for
        // jobs and local calls come here first. Each fails for want of memory only, and then
        // libgit2's defaults hold.
        unsafe {
            for level in [
                ConfigLevel::System,
                ConfigLevel::XDG,
                ConfigLevel::Global,
                ConfigLevel::ProgramData,
            ] {
                let _ = opts::set_search_path(level, "");
            }
            let _ = opts::set_server_connect_timeout_in_milliseconds(CONNECT_TIMEOUT_MS);
            let _ = opts::set_server_timeout_in_milliseconds(SERVER_TIMEOUT_MS);
            // The check keeps a stranger's hooks and settings from running; libgit2 runs none, and
            // a local repository of another user is a remote like any other.
            let _ = opts::set_verify_owner_validation(false);
        }
    });
}

/// Trusts the certificates of a PEM file, besides those of the system.
///
/// libgit2 has one certificate store per process: what one job adds, all later ones trust.
pub fn trust(ca_file: &Path) -> Result<()> {
    set();
    let mut trusted = CA_FILES.lock().unwrap_or_else(PoisonError::into_inner);
    let trusted = trusted.get_or_insert_with(HashSet::new);
    if trusted.contains(ca_file) {
        return Ok(());
    }
    // SAFETY: the lock above makes this the only writer; OpenSSL's store has a lock of its own
    // towards the connections that read it.
    unsafe { opts::set_ssl_cert_file(ca_file) }.map_err(|error| {
        GitError::new(
            Kind::Certificate,
            format!(
                "{}: no readable CA file: {}",
                ca_file.display(),
                error.message()
            ),
        )
        .with(Fact::Path, ca_file.display())
    })?;
    trusted.insert(ca_file.to_owned());
    Ok(())
}
