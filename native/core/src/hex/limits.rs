//! How much of anything a repository may send. Each limit bounds memory, disk or time.

/// Bytes of a registry file as it travels, compressed.
pub const REGISTRY_BYTES: u64 = 16 << 20;
/// Bytes of a registry file once decompressed.
pub const REGISTRY_INFLATED: u64 = 64 << 20;
/// Bytes of a tarball. hex.pm takes 16 MiB at most; other repositories may be more generous.
pub const TARBALL_BYTES: u64 = 128 << 20;
/// Bytes of a tarball's `metadata.config`.
pub const METADATA_BYTES: u64 = crate::spec::limits::FILE_BYTES as u64;
/// Bytes of a package's files, unpacked.
pub const UNPACKED_BYTES: u64 = 1 << 30;
/// Releases of one package: what the solver keeps grows with their square at worst.
pub const RELEASES: usize = 3_000;
/// Dependencies of one release.
pub const DEPENDENCIES: usize = 1_000;
/// Packages in one resolution.
pub const PACKAGES: usize = 2_000;
/// Characters of a version or a requirement.
pub const TEXT: usize = 512;
/// Characters of a package's or an application's name.
pub const NAME: usize = 128;
