//! Specs in a directory on disk: what `bc_gitops_parser:parse_apps_dir/1` reads.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::problem::{Kind, Problem};
use super::{Atoms, Checked, Format, limits, parse};
use crate::pool;

/// Names of spec files in the order in which they are looked for.
pub const FILE_NAMES: &[&str] = &[
    "app.config",
    "app.yaml",
    "app.yml",
    "app.json",
    "config.yaml",
    "config.yml",
    "config.json",
    "config",
];

/// A spec of a directory.
#[derive(Debug, Clone)]
pub struct SpecFile {
    /// Name of its directory.
    pub dir: String,
    /// Path of the file.
    pub file: String,
    /// What came of it.
    pub checked: Checked,
}

/// A problem that has no place in a text.
pub fn placeless(kind: Kind, found: impl Into<String>, expected: impl Into<String>) -> Problem {
    Problem {
        kind,
        line: 0,
        column: 0,
        path: String::new(),
        found: found.into(),
        expected: expected.into(),
        hint: None,
        expected_type: "file",
        got: Vec::new(),
    }
}

pub(crate) fn broken(kind: Kind, found: impl Into<String>, expected: impl Into<String>) -> Checked {
    Checked {
        errors: vec![placeless(kind, found, expected)],
        ..Checked::default()
    }
}

/// Reads a file by the rules of its name.
pub fn read_file(path: &Path, atoms: &dyn Atoms) -> Checked {
    let name = path
        .file_name()
        .map(|name| name.to_string_lossy())
        .unwrap_or_default();
    match read_bytes(path) {
        Ok(bytes) => parse(&bytes, Format::of_file(&name), atoms),
        Err(checked) => *checked,
    }
}

/// Reads one file for a VM with so much room for new atoms.
pub fn read_one(path: &Path, atom_room: usize, atoms: &dyn Atoms) -> Checked {
    pool::run(|| within(read_file(path, atoms), atom_room))
}

/// Refuses a spec that would make more atoms than the VM has room for.
pub(crate) fn within(checked: Checked, atom_room: usize) -> Checked {
    let fresh = checked.new_atoms.len();
    if checked.spec.is_none() || fresh <= atom_room {
        return checked;
    }
    Checked {
        name: checked.name,
        ..no_room(fresh, atom_room)
    }
}

/// A file whose new atoms do not fit the VM.
pub(crate) fn no_room(fresh: usize, room: usize) -> Checked {
    let expected = format!("at most {room} (100,000 per VM, none past 80 % of its limit)");
    broken(
        Kind::AtomQuota,
        format!("{fresh} atoms that the VM does not know yet"),
        expected,
    )
}

fn read_bytes(path: &Path) -> Result<Vec<u8>, Box<Checked>> {
    match open(CWD, path) {
        Ok(Opened::File(file, size)) => contents(file, size).map_err(unreadable),
        Ok(Opened::Other) => Err(Box::new(no_file())),
        Err(error) => Err(unreadable(error)),
    }
}

fn unreadable(error: io::Error) -> Box<Checked> {
    Box::new(broken(
        Kind::Unreadable,
        error.to_string(),
        "a file that can be read",
    ))
}

fn no_file() -> Checked {
    broken(
        Kind::Symlink,
        "a symbolic link or special file",
        "a regular file",
    )
}

enum Opened {
    File(File, usize),
    Other,
}

/// Opens a regular file and follows no link; a pipe is not waited for.
fn open(dir: BorrowedFd<'_>, path: &Path) -> io::Result<Opened> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let opened = rustix::io::retry_on_intr(|| rustix::fs::openat(dir, path, flags, Mode::empty()));
    let file = match opened {
        Ok(file) => file,
        Err(Errno::LOOP) => return Ok(Opened::Other),
        Err(error) => return Err(error.into()),
    };
    let stat = rustix::fs::fstat(&file)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => {
            let size = usize::try_from(stat.st_size).unwrap_or(usize::MAX);
            Ok(Opened::File(file.into(), size))
        }
        _ => Ok(Opened::Other),
    }
}

fn contents(mut file: File, size: usize) -> io::Result<Vec<u8>> {
    if size > limits::FILE_BYTES {
        // Too large is said by who reads the bytes: one more than allowed is enough for that.
        return Ok(vec![0; limits::FILE_BYTES + 1]);
    }
    let mut bytes = vec![0; size];
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Reads the specs of all directories in a directory, sorted by name; directories without one are
/// passed over. Symbolic links are refused, as they are in a commit. Each spec is handed over on the
/// thread that read it.
pub(crate) fn read_dir<T: Send>(
    path: &Path,
    atoms: &dyn Atoms,
    finish: fn(SpecFile) -> T,
) -> io::Result<Vec<T>> {
    let mut dirs = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() || kind.is_symlink() {
            dirs.push((entry.file_name(), kind.is_symlink()));
        }
    }
    dirs.sort();
    let handle = File::open(path)?;
    let root = Root {
        path,
        fd: handle.as_fd(),
    };
    let specs = dirs.par_iter().with_min_len(16).filter_map(|(name, link)| {
        let text = name.to_string_lossy().into_owned();
        match link {
            true => linked_dir(&path.join(name), text),
            false => spec_of(&root, name, text, atoms),
        }
    });
    Ok(specs.map(finish).collect())
}

/// The directory of applications, and what short paths below it are looked up from.
struct Root<'p> {
    path: &'p Path,
    fd: BorrowedFd<'p>,
}

/// A link to a file beside the directories means nothing; one to a directory looks like an app.
fn linked_dir(dir: &Path, name: String) -> Option<SpecFile> {
    let checked = || broken(Kind::Symlink, "a symbolic link", "a directory");
    dir.is_dir().then(|| SpecFile {
        dir: name,
        file: dir.to_string_lossy().into_owned(),
        checked: checked(),
    })
}

fn spec_of(root: &Root<'_>, dir: &OsStr, name: String, atoms: &dyn Atoms) -> Option<SpecFile> {
    let mut path = PathBuf::with_capacity(dir.len() + 16);
    for candidate in FILE_NAMES {
        path.clear();
        path.push(dir);
        path.push(candidate);
        let checked = match open(root.fd, &path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Ok(Opened::Other) if is_dir(&root.path.join(&path)) => continue,
            Ok(Opened::Other) => no_file(),
            Ok(Opened::File(file, size)) => match contents(file, size) {
                Ok(bytes) => parse(&bytes, Format::of_file(candidate), atoms),
                Err(error) => *unreadable(error),
            },
            Err(error) => *unreadable(error),
        };
        return Some(SpecFile {
            dir: name,
            file: root.path.join(&path).to_string_lossy().into_owned(),
            checked,
        });
    }
    None
}

fn is_dir(path: &Path) -> bool {
    path.is_dir() && !path.is_symlink()
}
