//! The checked specification of one application.

use std::borrow::Cow;

use super::value::{Node, Value};
use super::{etf, record};
use crate::hot::Strategy;
use crate::url::Login;

/// What a record usually takes with its identicon.
pub(crate) const RECORD_BYTES: usize = 3_000;

/// What a directory of the repository asks for. Text fields have passed their grammar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppSpec {
    /// The application's name.
    pub name: String,
    /// The version it is to run.
    pub version: String,
    /// What it is, for people.
    pub description: Option<String>,
    /// Its picture; `None` is the identicon of the name.
    pub icon: Option<Icon>,
    /// Where its code comes from.
    pub source: SourceSpec,
    /// Its environment.
    pub env: Env,
    /// How its health is found out; `None` is no check beyond running.
    pub health: Option<Health>,
    /// Managed applications that must run before it.
    pub depends_on: Vec<String>,
    /// Where it runs.
    pub isolation: Isolation,
    /// Limits of its own VM.
    pub vm_config: Option<VmConfig>,
    /// How new code takes the place of old code.
    pub upgrade: Upgrade,
}

/// How new code takes the place of old code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Upgrade {
    /// While it runs, or by a restart.
    pub strategy: Strategy,
    /// Whether processes that still run older code may be ended.
    pub force: bool,
}

impl Default for Upgrade {
    fn default() -> Self {
        Upgrade {
            strategy: Strategy::Auto,
            force: false,
        }
    }
}

/// Where an application runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// In this VM.
    Embedded,
    /// In a VM of its own.
    Vm,
}

/// The kinds of sources.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceType {
    /// A release archive at an url.
    Release,
    /// A git repository.
    Git,
    /// A package of hex.pm.
    Hex,
    /// A content id of the mesh.
    Mesh,
}

/// Where code comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceSpec {
    /// The kind of source.
    pub kind: SourceType,
    /// Repository or archive, without a login.
    pub url: Option<String>,
    /// The login that stood in the url; no part of what is kept or shown.
    pub login: Option<Login>,
    /// SHA-256 of the archive, hexadecimal.
    pub sha256: Option<String>,
    /// Branch, tag or commit; for hex the package's version.
    pub reference: Option<String>,
    /// Content id.
    pub mcid: Option<String>,
}

/// The kinds of health checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HealthType {
    /// A GET that answers 2xx.
    Http,
    /// A connection that is taken.
    Tcp,
    /// A module of the user.
    Custom,
}

/// How the health of an application is found out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// The kind of check.
    pub kind: HealthType,
    /// Port on the local host.
    pub port: u16,
    /// Path of the http check.
    pub path: Option<String>,
    /// Milliseconds between checks.
    pub interval: u32,
    /// Milliseconds a check may take.
    pub timeout: u32,
    /// Module of the custom check.
    pub module: Option<String>,
}

/// The kinds of icons.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IconType {
    /// An address.
    Url,
    /// The image itself.
    Base64,
    /// Drawn from the name.
    Identicon,
}

/// A picture of the application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Icon {
    /// The kind of icon.
    pub kind: IconType,
    /// Address or image.
    pub value: Option<String>,
    /// Its media type.
    pub mime_type: Option<String>,
}

/// Limits of a VM of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VmConfig {
    /// Megabytes.
    pub memory_limit: Option<u32>,
    /// Schedulers.
    pub scheduler_limit: Option<u32>,
    /// Prefix of the node's name.
    pub node_prefix: Option<String>,
    /// Further arguments of the emulator.
    pub extra_args: Vec<String>,
}

/// An environment: a map in canonical external term format, so that equal ones have equal bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Env(Vec<u8>);

impl Env {
    /// From a map; its keys are atoms.
    pub fn new(map: &Value<'_>) -> Self {
        Env(etf::to_bytes(map))
    }

    /// The map in external term format.
    pub fn external(&self) -> &[u8] {
        &self.0
    }

    /// Appends the map without the version byte.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0[1..]);
    }

    /// A number that changes exactly when the environment does.
    pub fn fingerprint(&self) -> [u8; 32] {
        *blake3::hash(&self.0).as_bytes()
    }
}

impl Default for Env {
    fn default() -> Self {
        Env::new(&Value::Map(Vec::new()))
    }
}

impl AppSpec {
    /// The record in external term format.
    pub fn record(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(RECORD_BYTES);
        self.write_record(&mut out);
        out
    }

    /// Appends [`AppSpec::record`].
    pub(crate) fn write_record(&self, out: &mut Vec<u8>) {
        out.push(etf::VERSION);
        record::write(self, out);
    }

    /// A number that changes exactly when the code would come from elsewhere. The version alone is
    /// no such change: a hex source without a ref of its own takes it as its ref.
    pub fn source_fingerprint(&self) -> [u8; 32] {
        self.source.fingerprint(&self.version)
    }
}

impl SourceSpec {
    /// Its url and the login that stood in it.
    pub fn login(&self) -> Option<(&str, &Login)> {
        // A query is no part of who is asked.
        let url = self.url.as_deref()?.split('?').next()?;
        Some((url, self.login.as_ref()?))
    }

    /// See [`AppSpec::source_fingerprint`].
    pub fn fingerprint(&self, version: &str) -> [u8; 32] {
        let follows_version =
            self.kind == SourceType::Hex && self.reference.as_deref() == Some(version);
        let reference = self.reference.as_deref().filter(|_| !follows_version);
        let mut hasher = blake3::Hasher::new();
        for field in [
            Some(self.kind.name()),
            self.url.as_deref(),
            self.sha256.as_deref(),
            reference,
            self.mcid.as_deref(),
        ] {
            match field {
                None => hasher.update(&[0]),
                Some(text) => hasher
                    .update(&[1])
                    .update(&(text.len() as u64).to_be_bytes())
                    .update(text.as_bytes()),
            };
        }
        *hasher.finalize().as_bytes()
    }
}

/// See [`record_fingerprints`](super::record_fingerprints). Positions are those of the record.
pub(super) fn record_fingerprints(record: &Value<'_>) -> Option<([u8; 32], [u8; 32])> {
    let Value::Tuple(fields) = record else {
        return None;
    };
    let field = |index: usize| fields.get(index).map(|node| &node.value);
    if field(0) != Some(&Value::atom("app_spec")) {
        return None;
    }
    let version = field(2)?.text().unwrap_or_default();
    let source = match field(5)? {
        Value::Tuple(fields) => source_of_record(fields)?,
        _ => SourceSpec {
            kind: SourceType::Hex,
            url: None,
            login: None,
            sha256: None,
            reference: None,
            mcid: None,
        },
    };
    let env = Env::new(field(6)?);
    Some((source.fingerprint(&version), env.fingerprint()))
}

fn source_of_record(fields: &[Node<'_>]) -> Option<SourceSpec> {
    let text = |index: usize| {
        fields
            .get(index)
            .and_then(|node| node.value.text())
            .map(Cow::into_owned)
    };
    let kind = match &fields.get(1)?.value {
        Value::Atom(name) => SourceType::from_name(name)?,
        _ => return None,
    };
    Some(SourceSpec {
        kind,
        url: text(2),
        login: None,
        sha256: text(3),
        reference: text(4),
        mcid: text(5),
    })
}

/// An enumeration whose members have names in specs.
pub trait Named: Copy + Sized + 'static {
    /// All members with their names.
    const NAMES: &'static [(&'static str, Self)];

    /// The member of a name.
    fn from_name(name: &str) -> Option<Self> {
        Self::NAMES
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, member)| *member)
    }
}

macro_rules! named {
    ($type:ident: $($name:literal => $member:ident),+) => {
        impl Named for $type {
            const NAMES: &'static [(&'static str, Self)] = &[$(($name, $type::$member)),+];
        }
        impl $type {
            /// The name in specs.
            pub fn name(self) -> &'static str {
                match self { $($type::$member => $name),+ }
            }
        }
    };
}

named!(Strategy: "auto" => Auto, "hot" => Hot, "restart" => Restart);
named!(Isolation: "embedded" => Embedded, "vm" => Vm);
named!(SourceType: "release" => Release, "git" => Git, "hex" => Hex, "mesh" => Mesh);
named!(HealthType: "http" => Http, "tcp" => Tcp, "custom" => Custom);
named!(IconType: "url" => Url, "base64" => Base64, "identicon" => Identicon);
