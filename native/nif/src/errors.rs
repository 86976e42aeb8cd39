//! Errors of the core as Erlang has them: `{Kind, #{message => binary(), ...}}`.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use bc_gitops_core::archive;
use bc_gitops_core::beam::{BeamError, BeamErrorKind};
use bc_gitops_core::digest::DigestError;
use bc_gitops_core::git::error::{Fact, GitError, Kind};
use bc_gitops_core::hex::{self, HexError};
use bc_gitops_core::hot::HotError;
use bc_gitops_core::http;
use bc_gitops_core::snapshot::{SnapshotError, SnapshotErrorKind};
use bc_gitops_core::store::StoreError;
use rustler::{Atom, Encoder, Env, NewBinary, Term};

use crate::atoms;

/// One error on its way to Erlang. It holds no term, so it may cross threads.
pub struct Failure {
    kind: Atom,
    details: Vec<(Atom, Detail)>,
}

/// The value of a detail.
pub enum Detail {
    /// A binary.
    Bytes(Vec<u8>),
    /// An integer.
    Number(u64),
}

impl Failure {
    pub fn new(kind: Atom, message: impl ToString) -> Self {
        let message = Detail::Bytes(message.to_string().into_bytes());
        Self {
            kind,
            details: vec![(atoms::message(), message)],
        }
    }

    /// A file or directory that cannot be read.
    pub fn io(path: &Path, error: &std::io::Error) -> Self {
        let message = format!("{} cannot be read: {error}", path.display());
        Failure::new(io_kind(error), message).with_path(path)
    }

    pub fn with(mut self, key: Atom, value: Detail) -> Self {
        self.details.push((key, value));
        self
    }

    pub fn with_path(self, path: &Path) -> Self {
        self.with(
            atoms::path(),
            Detail::Bytes(path.as_os_str().as_bytes().to_vec()),
        )
    }
}

impl Encoder for Detail {
    fn encode<'a>(&self, env: Env<'a>) -> Term<'a> {
        match self {
            Detail::Bytes(bytes) => binary(env, bytes),
            Detail::Number(number) => number.encode(env),
        }
    }
}

impl Encoder for Failure {
    fn encode<'a>(&self, env: Env<'a>) -> Term<'a> {
        let details = self
            .details
            .iter()
            .fold(Term::map_new(env), |map, (key, value)| {
                map.map_put(*key, value).unwrap_or(map)
            });
        (self.kind, details).encode(env)
    }
}

/// `bytes` as a binary of their own.
pub fn binary<'a>(env: Env<'a>, bytes: &[u8]) -> Term<'a> {
    let mut binary = NewBinary::new(env, bytes.len());
    binary.as_mut_slice().copy_from_slice(bytes);
    binary.into()
}

pub fn io_kind(error: &std::io::Error) -> Atom {
    use std::io::ErrorKind::{NotFound, QuotaExceeded, StorageFull};
    match error.kind() {
        NotFound => atoms::not_found(),
        StorageFull | QuotaExceeded => atoms::disk_full(),
        _ => atoms::io(),
    }
}

impl From<BeamError> for Failure {
    fn from(error: BeamError) -> Self {
        let kind = match &error.kind {
            BeamErrorKind::Io(error) => io_kind(error),
            BeamErrorKind::NotAFile => atoms::not_a_file(),
            BeamErrorKind::TooLarge => atoms::too_large(),
            BeamErrorKind::TooMany => atoms::too_many(),
            BeamErrorKind::NotBeam => atoms::not_beam(),
            BeamErrorKind::Malformed(_) | BeamErrorKind::MalformedChunk { .. } => {
                atoms::malformed()
            }
            BeamErrorKind::MissingChunk(_) => atoms::missing_chunk(),
        };
        Failure::new(kind, &error).with_path(&error.path)
    }
}

impl From<DigestError> for Failure {
    fn from(error: DigestError) -> Self {
        match &error {
            DigestError::Io { path, error: io } => {
                Failure::new(io_kind(io), &error).with_path(path)
            }
            DigestError::NotAFile(path) => {
                Failure::new(atoms::not_a_file(), &error).with_path(path)
            }
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let (kind, path) = match &error {
            StoreError::Io { path, error } => (io_kind(error), path),
            StoreError::Special(path) => (atoms::special_file(), path),
            StoreError::TooMany(path) => (atoms::too_many_files(), path),
            StoreError::TooDeep(path) => (atoms::too_deep(), path),
            StoreError::Damaged { path, .. } => (atoms::build_damaged(), path),
        };
        Failure::new(kind, &error).with_path(path)
    }
}

impl From<HotError> for Failure {
    fn from(error: HotError) -> Self {
        let message = error.to_string();
        let (kind, path) = match error {
            HotError::Beam(error) => return error.into(),
            HotError::Files(error) => return error.into(),
            HotError::Io { path, error } => (io_kind(&error), path),
            HotError::TooLarge(path) => (atoms::too_large(), path),
            HotError::TooManyAtoms(path) => (atoms::atom_quota(), path),
            HotError::Term { path, .. } => (atoms::invalid_terms(), path),
        };
        Failure::new(kind, message).with_path(&path)
    }
}

impl From<GitError> for Failure {
    fn from(error: GitError) -> Self {
        let bytes = |text: String| Detail::Bytes(text.into_bytes());
        let mut failure = Failure::new(git_kind(error.kind), &error.message);
        if let Some(url) = error.url {
            failure = failure.with(atoms::url(), bytes(url));
        }
        error
            .facts
            .into_iter()
            .fold(failure, |failure, (fact, value)| {
                failure.with(git_fact(fact), bytes(value))
            })
    }
}

fn git_kind(kind: Kind) -> Atom {
    match kind {
        Kind::Unreachable => atoms::unreachable(),
        Kind::Timeout => atoms::timeout(),
        Kind::Cancelled => atoms::cancelled(),
        Kind::AuthFailed => atoms::auth_failed(),
        Kind::HostKey => atoms::host_key(),
        Kind::Certificate => atoms::certificate(),
        Kind::NotFound => atoms::not_found(),
        Kind::BranchNotFound => atoms::branch_not_found(),
        Kind::EmptyRepository => atoms::empty_repository(),
        Kind::BadUrl => atoms::bad_url(),
        Kind::BadRef => atoms::bad_ref(),
        Kind::BadPath => atoms::bad_path(),
        Kind::BadTree => atoms::bad_tree(),
        Kind::TooLarge => atoms::too_large(),
        Kind::RefNotFound => atoms::ref_not_found(),
        Kind::Submodule => atoms::submodule(),
        Kind::Corrupt => atoms::corrupt(),
        Kind::Locked => atoms::locked(),
        Kind::Io => atoms::io(),
    }
}

fn git_fact(fact: Fact) -> Atom {
    match fact {
        Fact::Path => atoms::path(),
        Fact::Ref => atoms::ref_(),
        Fact::Fingerprint => atoms::fingerprint(),
        Fact::Host => atoms::host(),
        Fact::Submodule => atoms::submodule(),
    }
}

impl From<http::HttpError> for Failure {
    fn from(error: http::HttpError) -> Self {
        let bytes = |text: String| Detail::Bytes(text.into_bytes());
        let mut failure = Failure::new(http_kind(error.kind), &error.message);
        if let Some(url) = error.url {
            failure = failure.with(atoms::url(), bytes(url));
        }
        if let Some(status) = error.status {
            failure = failure.with(atoms::status(), Detail::Number(status.into()));
        }
        error
            .facts
            .into_iter()
            .fold(failure, |failure, (fact, value)| {
                let key = match fact {
                    http::Fact::Path => atoms::path(),
                    http::Fact::Expected => atoms::expected(),
                    http::Fact::Found => atoms::found(),
                };
                failure.with(key, bytes(value))
            })
    }
}

fn http_kind(kind: http::Kind) -> Atom {
    use http::Kind;
    match kind {
        Kind::Unreachable => atoms::unreachable(),
        Kind::Broken => atoms::connection_broken(),
        Kind::Timeout => atoms::timeout(),
        Kind::Cancelled => atoms::cancelled(),
        Kind::Certificate => atoms::certificate(),
        Kind::Tls => atoms::tls(),
        Kind::AuthFailed => atoms::auth_failed(),
        Kind::NotFound => atoms::not_found(),
        Kind::Status => atoms::http_status(),
        Kind::Protocol => atoms::protocol(),
        Kind::Redirect => atoms::redirect(),
        Kind::BadUrl => atoms::bad_url(),
        Kind::TooLarge => atoms::too_large(),
        Kind::DigestMismatch => atoms::digest_mismatch(),
        Kind::DiskFull => atoms::disk_full(),
        Kind::Io => atoms::io(),
    }
}

impl From<HexError> for Failure {
    fn from(error: HexError) -> Self {
        let failure = Failure::new(hex_kind(error.kind), &error.message);
        let facts = error.facts.into_iter();
        facts.fold(failure, |failure, (fact, value)| {
            failure.with(hex_fact(fact), Detail::Bytes(value.into_bytes()))
        })
    }
}

fn hex_kind(kind: hex::error::Kind) -> Atom {
    use hex::error::Kind;
    match kind {
        Kind::PackageNotFound => atoms::package_not_found(),
        Kind::VersionNotFound => atoms::version_not_found(),
        Kind::VersionRetired => atoms::version_retired(),
        Kind::NoResolution => atoms::no_resolution(),
        Kind::ChecksumMismatch => atoms::checksum_mismatch(),
        Kind::ChecksumChanged => atoms::checksum_changed(),
        Kind::Tampered => atoms::tampered(),
        Kind::BadSignature => atoms::bad_signature(),
        Kind::BadRegistry => atoms::bad_registry(),
        Kind::BadMetadata => atoms::bad_metadata(),
        Kind::BadLock => atoms::bad_lock(),
        Kind::BadName => atoms::bad_name(),
        Kind::BadKey => atoms::bad_key(),
        Kind::RegistryUnreachable => atoms::registry_unreachable(),
        Kind::RegistryUnauthorized => atoms::registry_unauthorized(),
        Kind::UnknownRepo => atoms::unknown_repo(),
        Kind::TooLarge => atoms::too_large(),
        Kind::Timeout => atoms::timeout(),
        Kind::Cancelled => atoms::cancelled(),
        Kind::DiskFull => atoms::disk_full(),
        Kind::Io => atoms::io(),
    }
}

fn hex_fact(fact: hex::error::Fact) -> Atom {
    use hex::error::Fact;
    match fact {
        Fact::Package => atoms::package(),
        Fact::Version => atoms::version(),
        Fact::Versions => atoms::versions(),
        Fact::Repo => atoms::repo(),
        Fact::Reason => atoms::reason(),
        Fact::Path => atoms::path(),
        Fact::Expected => atoms::expected(),
        Fact::Found => atoms::found(),
    }
}

impl From<archive::ArchiveError> for Failure {
    fn from(error: archive::ArchiveError) -> Self {
        use archive::Kind;
        let kind = match error.kind {
            Kind::BadArchive => atoms::bad_archive(),
            Kind::BadPath => atoms::bad_path(),
            Kind::LinkOutside => atoms::link_outside(),
            Kind::SpecialFile => atoms::special_file(),
            Kind::Duplicate => atoms::duplicate_entry(),
            Kind::TooLarge => atoms::too_large(),
            Kind::TooMany => atoms::too_many_files(),
            Kind::TooDeep => atoms::too_deep(),
            Kind::NotFound => atoms::not_found(),
            Kind::Exists => atoms::exists(),
            Kind::DiskFull => atoms::disk_full(),
            Kind::Io => atoms::io(),
            Kind::Timeout => atoms::timeout(),
            Kind::Cancelled => atoms::cancelled(),
        };
        let failure = Failure::new(kind, &error.message);
        match error.entry {
            Some(entry) => failure.with(atoms::entry(), Detail::Bytes(entry.into_bytes())),
            None => failure,
        }
    }
}

impl From<SnapshotError> for Failure {
    fn from(error: SnapshotError) -> Self {
        let kind = match error.kind {
            SnapshotErrorKind::NotFound => atoms::not_found(),
            SnapshotErrorKind::BadArgument => atoms::bad_argument(),
            SnapshotErrorKind::CommitMissing => atoms::commit_missing(),
            SnapshotErrorKind::AppsDirMissing => atoms::apps_dir_missing(),
            SnapshotErrorKind::AppsDirEmpty => atoms::apps_dir_empty(),
            SnapshotErrorKind::AppsDirInvalid => atoms::apps_dir_invalid(),
            SnapshotErrorKind::TooMany => atoms::too_many(),
            SnapshotErrorKind::Corrupt => atoms::corrupt(),
        };
        Failure::new(kind, error.message)
    }
}
