//! Removes a directory whatever a build made of it: deeper than a path can name, without rights.
//! Nothing else works in it any more.

use crate::args::Remove;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, chmodat, fchmod, openat, renameat, unlinkat};
use rustix::io::{Errno, Result};
use std::ffi::{CStr, CString};
use std::process::ExitCode;

/// A file is open for each level; what is deeper is moved up first.
const MAX_DEPTH: usize = 64;

/// Removes the directory; the exit status says whether it is gone.
pub fn run(remove: &Remove) -> ExitCode {
    match remove_tree(remove) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bc_gitops_runner: {}: {error}", remove.dir.display());
            ExitCode::FAILURE
        }
    }
}

fn remove_tree(remove: &Remove) -> Result<()> {
    let name = CString::new(remove.dir.as_os_str().as_encoded_bytes()).map_err(|_| Errno::INVAL)?;
    let top = open(CWD, &name)?;
    let mut clearing = Clearing {
        top: top.as_fd(),
        moved: 0,
    };
    loop {
        let before = clearing.moved;
        clearing.clear(top.as_fd(), 0)?;
        if clearing.moved == before {
            return unlinkat(CWD, &name, AtFlags::REMOVEDIR);
        }
    }
}

/// Opens a directory so that it can be read and written.
fn open(parent: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let dir = match openat(parent, name, flags, Mode::empty()) {
        Err(Errno::ACCESS) => {
            chmodat(parent, name, Mode::RWXU, AtFlags::empty())?;
            openat(parent, name, flags, Mode::empty())?
        }
        opened => opened?,
    };
    fchmod(&dir, Mode::RWXU)?;
    Ok(dir)
}

struct Clearing<'a> {
    top: BorrowedFd<'a>,
    moved: u64,
}

impl Clearing<'_> {
    fn clear(&mut self, dir: BorrowedFd<'_>, depth: usize) -> Result<()> {
        for name in names(dir)? {
            match unlinkat(dir, &name, AtFlags::empty()) {
                // Linux says the first of a directory, others the second.
                Err(Errno::ISDIR | Errno::PERM) => self.clear_directory(dir, &name, depth)?,
                Err(Errno::NOENT) | Ok(()) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn clear_directory(&mut self, dir: BorrowedFd<'_>, name: &CStr, depth: usize) -> Result<()> {
        if depth == MAX_DEPTH {
            return self.move_up(dir, name);
        }
        let child = open(dir, name)?;
        self.clear(child.as_fd(), depth + 1)?;
        unlinkat(dir, name, AtFlags::REMOVEDIR)
    }

    fn move_up(&mut self, dir: BorrowedFd<'_>, name: &CStr) -> Result<()> {
        loop {
            self.moved += 1;
            let new = format!("moved-{}", self.moved);
            match renameat(dir, name, self.top, new) {
                Err(Errno::EXIST | Errno::NOTEMPTY | Errno::NOTDIR) => {}
                result => return result,
            }
        }
    }
}

fn names(dir: BorrowedFd<'_>) -> Result<Vec<CString>> {
    let all = Dir::read_from(dir)?;
    let names = all.map(|entry| Ok(entry?.file_name().to_owned()));
    names
        .filter(|name: &Result<CString>| {
            !matches!(name.as_ref().map(|name| name.to_bytes()), Ok(b"." | b".."))
        })
        .collect()
}
