//! What a repository says about a package: its releases, read from a signed payload.
//!
//! Source: `registry/package.proto` of <https://github.com/hexpm/specifications>.

use super::limits;
use super::names;
use super::proto::{self, Malformed};
use super::version::Version;

/// A package in one repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Package {
    pub(super) name: String,
    pub(super) repository: String,
    /// In ascending order of versions.
    pub(super) releases: Vec<Release>,
}

/// One version of a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Release {
    pub(super) version: Version,
    /// SHA-256 of the tarball, in hex; releases from before it was recorded have none.
    pub(super) checksum: Option<String>,
    pub(super) retired: Option<Retirement>,
    pub(super) dependencies: Vec<Dependency>,
}

/// Why a release should not be used any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retirement {
    /// `other`, `invalid`, `security`, `deprecated`, `renamed`, or the number of a newer reason.
    pub reason: String,
    /// The owner's words.
    pub message: Option<String>,
}

/// What a release needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dependency {
    /// The package.
    pub name: String,
    /// Its OTP application.
    pub app: String,
    /// Which versions, in the words of the package.
    pub requirement: String,
    /// Only where another package needs it anyway.
    pub optional: bool,
    /// The repository, where it is another one than the package's own.
    pub repository: Option<String>,
}

impl Package {
    /// The release of this version.
    pub(super) fn release(&self, version: &Version) -> Option<&Release> {
        let index = self
            .releases
            .binary_search_by(|release| release.version.cmp(version));
        index.ok().map(|index| &self.releases[index])
    }
}

/// Reads the payload of `packages/NAME`. Releases whose version or dependencies have names outside
/// the grammar are left out: nothing could ask for them or be asked for.
pub(super) fn decode(payload: &[u8]) -> Result<Package, Malformed> {
    let (mut name, mut repository, mut releases) = (None, None, Vec::new());
    for field in proto::fields(payload) {
        match field? {
            (1, value) if releases.len() < limits::RELEASES => {
                releases.extend(release(value.bytes()?)?);
            }
            (1, _) => return Err(Malformed),
            (2, value) => name = Some(value.text()?),
            (3, value) => repository = Some(value.text()?),
            _ => {}
        }
    }
    releases.sort_by(|left, right| left.version.cmp(&right.version));
    releases.dedup_by(|left, right| left.version == right.version);
    Ok(Package {
        name: name.ok_or(Malformed)?,
        repository: repository.ok_or(Malformed)?,
        releases,
    })
}

fn release(message: &[u8]) -> Result<Option<Release>, Malformed> {
    let (mut version, mut checksum, mut retired, mut dependencies) = (None, None, None, Vec::new());
    for field in proto::fields(message) {
        match field? {
            (1, value) => version = Some(value.text()?),
            (3, value) if dependencies.len() < limits::DEPENDENCIES => {
                dependencies.push(dependency(value.bytes()?)?);
            }
            (3, _) => return Err(Malformed),
            (4, value) => retired = Some(retirement(value.bytes()?)?),
            (5, value) => checksum = Some(super::hex(value.bytes()?)),
            _ => {}
        }
    }
    let version = Version::parse(&version.ok_or(Malformed)?);
    let dependencies: Option<Vec<Dependency>> = dependencies.into_iter().collect();
    Ok(version
        .zip(dependencies)
        .map(|(version, dependencies)| Release {
            version,
            checksum,
            retired,
            dependencies,
        }))
}

fn retirement(message: &[u8]) -> Result<Retirement, Malformed> {
    let (mut reason, mut words) = (None, None);
    for field in proto::fields(message) {
        match field? {
            (1, value) => reason = Some(value.number()?),
            (2, value) => words = Some(names::shown(&value.text()?)),
            _ => {}
        }
    }
    let reason = match reason.ok_or(Malformed)? {
        0 => "other".to_owned(),
        1 => "invalid".to_owned(),
        2 => "security".to_owned(),
        3 => "deprecated".to_owned(),
        4 => "renamed".to_owned(),
        number => number.to_string(),
    };
    Ok(Retirement {
        reason,
        message: words,
    })
}

fn dependency(message: &[u8]) -> Result<Option<Dependency>, Malformed> {
    let (mut name, mut requirement, mut optional) = (None, None, false);
    let (mut app, mut repository) = (None, None);
    for field in proto::fields(message) {
        match field? {
            (1, value) => name = Some(value.text()?),
            (2, value) => requirement = Some(value.text()?),
            (3, value) => optional = value.number()? != 0,
            (4, value) => app = Some(value.text()?),
            (5, value) => repository = Some(value.text()?),
            _ => {}
        }
    }
    let name = name.ok_or(Malformed)?;
    let app = app.unwrap_or_else(|| name.clone());
    let dependency = Dependency {
        name,
        app,
        requirement: requirement.ok_or(Malformed)?,
        optional,
        repository,
    };
    Ok(is_fine(&dependency).then_some(dependency))
}

fn is_fine(needed: &Dependency) -> bool {
    names::is_name(&needed.name)
        && names::is_name(&needed.app)
        && needed.repository.as_deref().is_none_or(names::is_repo)
        && needed.requirement.len() <= limits::TEXT
}
