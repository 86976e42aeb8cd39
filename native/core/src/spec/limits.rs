//! How much of anything a spec may hold. Git content is hostile: each limit bounds memory or time.

/// Bytes of a spec file.
pub const FILE_BYTES: usize = 1 << 20;
/// Levels of nesting; far below what an 8 MiB stack holds.
pub const DEPTH: usize = 200;
/// Digits of a number.
pub const DIGITS: usize = 4_096;
/// Bytes that the binaries with sizes (`<<0:80>>`) of a file may take together.
pub const BITSTRING_BYTES: usize = FILE_BYTES;
/// Nodes of a file's tree, those that YAML aliases repeat included.
pub const NODES: usize = 250_000;
/// Characters of an atom: the VM's own limit.
pub const ATOM_CHARACTERS: usize = 255;
/// Atoms that one file may add to the VM.
pub const NEW_ATOMS: usize = 1_000;
/// Problems reported per file.
pub const PROBLEMS: usize = 100;
/// Directories below the directory of applications.
pub const DIRECTORIES: usize = 50_000;
