//! The known_hosts file that libgit2 reads before it connects, to ask the server for a key of a type
//! that is known. It reads the one below the home directory, which is an option of the whole process.
//! So that home is a private directory, set once before the first SSH connection; it stands while
//! connections are made, and has the lines of all files in use. Which key is trusted is decided in
//! `known_hosts`; without this file the server may show a key of a type that the job's file lacks.
#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs::{self, DirBuilder};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use super::{known_hosts, options};

const PREFIX: &str = "bc_gitops-ssh-";

/// The files in use, and how often.
static USED: Mutex<BTreeMap<PathBuf, usize>> = Mutex::new(BTreeMap::new());

/// Keeps a known_hosts file in use until it is dropped.
pub(crate) struct SshHome(PathBuf);

impl SshHome {
    /// Puts a file to use; without one, the user's own.
    pub(crate) fn with(file: Option<&Path>) -> Self {
        let file = file
            .map(Path::to_owned)
            .or_else(known_hosts::user_file)
            .unwrap_or_default();
        let mut used = used();
        let count = used.entry(file.clone()).or_insert(0);
        *count += 1;
        if *count == 1 {
            // Without the directory libgit2's own order of key types holds.
            let _ = write(home(), used.keys());
        }
        Self(file)
    }
}

impl Drop for SshHome {
    fn drop(&mut self) {
        let mut used = used();
        if let Some(count) = used.get_mut(&self.0) {
            *count -= 1;
            if *count == 0 {
                used.remove(&self.0);
            }
        }
        if used.is_empty() {
            // It holds public keys only; a leftover goes with the next process.
            let _ = fs::remove_dir_all(home());
        }
    }
}

fn used() -> MutexGuard<'static, BTreeMap<PathBuf, usize>> {
    USED.lock().unwrap_or_else(PoisonError::into_inner)
}

fn write<'a>(home: &Path, files: impl Iterator<Item = &'a PathBuf>) -> std::io::Result<()> {
    let dir = home.join(".ssh");
    if !dir.exists() {
        let mut private = DirBuilder::new();
        private.mode(0o700);
        private.create(home)?;
        private.create(&dir)?;
    }
    let mut text = Vec::new();
    for file in files {
        // A missing file is told where the key is checked.
        text.extend(fs::read(file).unwrap_or_default());
        text.push(b'\n');
    }
    let new = dir.join("new");
    fs::write(&new, text)?;
    fs::rename(&new, dir.join("known_hosts"))
}

/// The directory of this process, which libgit2 takes for the home.
fn home() -> &'static Path {
    static HOME: OnceLock<PathBuf> = OnceLock::new();
    HOME.get_or_init(|| {
        let temp = std::env::temp_dir();
        remove_leftovers(&temp);
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default();
        let home = temp.join(format!("{PREFIX}{}-{}", std::process::id(), now.as_nanos()));
        point_to(&home);
        home
    })
}

/// Removes the directories of processes that have ended; other users' stay.
fn remove_leftovers(temp: &Path) {
    let Ok(entries) = fs::read_dir(temp) else {
        return;
    };
    for entry in entries.filter_map(|entry| entry.ok()) {
        let name = entry.file_name();
        let owner = name
            .to_str()
            .and_then(|name| name.strip_prefix(PREFIX)?.split('-').next());
        let proc = Path::new("/proc");
        if owner.is_some_and(|pid| proc.join("self").exists() && !proc.join(pid).exists()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn point_to(home: &Path) {
    let Ok(home) = CString::new(home.as_os_str().as_bytes()) else {
        return;
    };
    options::set();
    // SAFETY: called once, before the first SSH connection of this process, so nothing reads the
    // option meanwhile; libgit2 copies the text.
    unsafe {
        libgit2_sys::git_libgit2_opts(
            libgit2_sys::GIT_OPT_SET_HOMEDIR as std::ffi::c_int,
            home.as_ptr(),
        );
    }
}
