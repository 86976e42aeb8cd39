//! From a tree to an [`AppSpec`]: every field, every problem at once.
//!
//! The tree is the same for the three formats, and so are the checks.

mod fields;
mod report;
mod rules;

use std::collections::HashSet;

use super::Format;
use super::app::{
    AppSpec, Env, Health, HealthType, Icon, IconType, Isolation, SourceSpec, SourceType, Upgrade,
    VmConfig,
};
use super::atoms::{Admission, Atoms};
use super::env::EnvReader;
use super::problem::{Fault, Kind, Problem, Source, shown};
use super::value::Node;
use crate::hot::Strategy;
use crate::url::Login;
use crate::url::Url;
use fields::{Path, Section, is_null};
use rules::*;

pub(super) use fields::{into_name, is_property, property, repeated};

/// What a url of a source is to be when it holds a login.
const NO_LOGIN: &str = "a url without one, for whoever reads the repository reads it: configure \
                        git_token_file or git_token_env and name its host in git_auth_hosts";

/// What came of a file.
#[derive(Debug, Default, Clone)]
pub struct Checked {
    /// The spec, when nothing is wrong with it.
    pub spec: Option<AppSpec>,
    /// The name it gives itself, even when something else is wrong.
    pub name: Option<String>,
    /// What is wrong.
    pub errors: Vec<Problem>,
    /// What is odd.
    pub warnings: Vec<Problem>,
    /// Atoms that the VM does not have yet.
    pub new_atoms: Vec<String>,
}

/// Checks the tree of a file.
pub fn check(root: Node<'_>, format: Format, source: Source<'_>, atoms: &dyn Atoms) -> Checked {
    let mut checker = Checker {
        format,
        source,
        admission: Admission::new(atoms),
        out: Checked::default(),
    };
    let spec = checker.app(root);
    let mut out = checker.out;
    out.new_atoms = checker.admission.into_new();
    out.spec = spec.filter(|_| out.errors.is_empty());
    out
}

/// A file that could not even be read as its format.
pub fn refused(fault: Fault, source: Source<'_>) -> Checked {
    let (line, column) = source.place(fault.at);
    let problem = Problem {
        kind: fault.kind,
        line,
        column,
        path: String::new(),
        found: fault.found,
        expected: fault.expected.into_owned(),
        hint: None,
        expected_type: "term",
        got: Vec::new(),
    };
    Checked {
        errors: vec![problem],
        ..Checked::default()
    }
}

struct Checker<'c> {
    format: Format,
    source: Source<'c>,
    admission: Admission<'c>,
    out: Checked,
}

impl<'c> Checker<'c> {
    fn app(&mut self, root: Node<'_>) -> Option<AppSpec> {
        let mut fields = self.section(root, "", APP_KEYS)?;
        let name = self.required(&mut fields, "name", &NAME, true);
        self.out.name.clone_from(&name);
        let version = self.required(&mut fields, "version", &VERSION, false);
        let description = self.text(&mut fields, "description", &TEXT);
        let icon = fields.take("icon").and_then(|node| self.icon(node));
        let source = match fields.take("source") {
            None => Some(SourceSpec {
                kind: SourceType::Hex,
                url: None,
                login: None,
                sha256: None,
                reference: None,
                mcid: None,
            }),
            Some(node) => self.source(node),
        };
        let env = fields
            .take("env")
            .map_or_else(|| Some(Env::default()), |node| self.env(node));
        let health = fields.take("health").and_then(|node| self.health(node));
        let depends_on = fields
            .take("depends_on")
            .map_or_else(Vec::new, |node| self.depends_on(node));
        let isolation = self
            .member(&mut fields, "isolation")
            .unwrap_or(Isolation::Embedded);
        let vm_config = fields
            .take("vm_config")
            .and_then(|node| self.vm_config(node));
        let upgrade = fields
            .take("upgrade")
            .map_or_else(Upgrade::default, |node| self.upgrade(node));
        self.unknown(fields);
        let (name, version, mut source, env) = (name?, version?, source?, env?);
        if source.kind == SourceType::Hex && source.reference.is_none() {
            source.reference = Some(version.clone());
        }
        Some(AppSpec {
            name,
            version,
            description,
            icon,
            source,
            env,
            health,
            depends_on,
            isolation,
            vm_config,
            upgrade,
        })
    }

    fn upgrade(&mut self, node: Node<'_>) -> Upgrade {
        let Some(mut fields) = self.section(node, "upgrade", UPGRADE_KEYS) else {
            return Upgrade::default();
        };
        let given = Upgrade {
            strategy: self
                .member(&mut fields, "strategy")
                .unwrap_or(Strategy::Auto),
            force: self.boolean(&mut fields, "force").unwrap_or(false),
        };
        self.unknown(fields);
        given
    }

    fn source(&mut self, node: Node<'_>) -> Option<SourceSpec> {
        let mut fields = self.section(node, "source", SOURCE_KEYS)?;
        let kind = match fields.take("type") {
            None => Some(SourceType::Hex),
            Some(node) => self.named(node, fields.path("type")),
        };
        let (used, needed): (&[&str], Option<&'static str>) = match kind {
            Some(SourceType::Git) => (&["url", "ref"], Some("url")),
            Some(SourceType::Release) => (&["url", "sha256", "ref"], Some("url")),
            Some(SourceType::Mesh) => (&["mcid"], Some("mcid")),
            Some(SourceType::Hex) => (&["ref", "sha256"], None),
            None => (SOURCE_KEYS, None),
        };
        let unused = self.unused(&fields, kind.map_or("", SourceType::name), used);
        if let Some(needed) = needed.filter(|needed| {
            !fields
                .fields
                .iter()
                .any(|(key, _, n)| key == needed && !is_null(&n.value))
        }) {
            let expected = format!(
                "{} of a {} source",
                if needed == "url" {
                    "the url"
                } else {
                    "the content id"
                },
                kind.map_or("", SourceType::name)
            );
            self.missing(&fields, needed, expected);
        }
        let grammar = match kind {
            Some(SourceType::Release) => &DOWNLOAD_URL,
            _ => &URL,
        };
        let (url, login) = self.url(&mut fields, grammar);
        let sha256 = self
            .text(&mut fields, "sha256", &SHA256)
            .and_then(|text| super::grammar::sha256(&text));
        let reference = self.text(&mut fields, "ref", &REF);
        let mcid = self.text(&mut fields, "mcid", &MCID);
        self.unknown(fields);
        self.forgive(&unused);
        Some(SourceSpec {
            kind: kind?,
            url,
            login,
            sha256,
            reference,
            mcid,
        })
    }

    /// The url without a login, and the login: it stands where everybody reads it, and works.
    fn url(&mut self, fields: &mut Section<'_>, grammar: &Rule) -> (Option<String>, Option<Login>) {
        let at = fields.at("url");
        let url = self.text(fields, "url", grammar);
        let whole = url.as_deref().unwrap_or_default();
        let front = whole.split('?').next().unwrap_or_default();
        let Some((clean, login)) = Url::without_login(front) else {
            return (url, None);
        };
        let query = whole[front.len()..].to_owned();
        let found = format!("a user name or password in \"{}\"", shown(&clean));
        let problem = self.problem(Kind::Secret, at, found, NO_LOGIN.to_owned());
        self.warning(Problem {
            path: fields.path("url").to_string(),
            ..problem
        });
        (Some(clean + &query), Some(login))
    }

    fn health(&mut self, node: Node<'_>) -> Option<Health> {
        let mut fields = self.section(node, "health", HEALTH_KEYS)?;
        let kind = match fields.take("type") {
            None => Some(HealthType::Http),
            Some(node) => self.named(node, fields.path("type")),
        };
        let used: &[&str] = match kind {
            Some(HealthType::Http) => &["port", "path", "interval", "timeout"],
            Some(HealthType::Tcp) => &["port", "interval", "timeout"],
            Some(HealthType::Custom) => &["module", "interval", "timeout"],
            None => HEALTH_KEYS,
        };
        let unused = self.unused(&fields, kind.map_or("", HealthType::name), used);
        let has_module = fields
            .fields
            .iter()
            .any(|(key, _, node)| key == "module" && !is_null(&node.value));
        if kind == Some(HealthType::Custom) && !has_module {
            self.missing(&fields, "module", "the module of a custom check".to_owned());
        }
        let health = Health {
            port: self
                .number(&mut fields, "port", 65_535)
                .map_or(8080, |port| port as u16),
            path: self.text(&mut fields, "path", &PATH),
            interval: self
                .number(&mut fields, "interval", u32::MAX)
                .unwrap_or(30_000),
            timeout: self
                .number(&mut fields, "timeout", u32::MAX)
                .unwrap_or(5_000),
            module: self.optional(&mut fields, "module", &MODULE, true),
            kind: kind.unwrap_or(HealthType::Http),
        };
        self.unknown(fields);
        self.forgive(&unused);
        Some(health)
    }

    fn icon(&mut self, node: Node<'_>) -> Option<Icon> {
        let mut fields = self.section(node, "icon", ICON_KEYS)?;
        let kind = self
            .member(&mut fields, "type")
            .unwrap_or(IconType::Identicon);
        let value = self.text(&mut fields, "value", &TEXT);
        let mime_type = self.text(&mut fields, "mime_type", &LINE);
        self.unknown(fields);
        if kind == IconType::Identicon && value.is_none() {
            // Asked for by name: the one that is drawn when nothing is asked for.
            return None;
        }
        Some(Icon {
            kind,
            value,
            mime_type,
        })
    }

    fn vm_config(&mut self, node: Node<'_>) -> Option<VmConfig> {
        let mut fields = self.section(node, "vm_config", VM_KEYS)?;
        let extra_args = fields.take("extra_args").map_or_else(Vec::new, |node| {
            self.texts(node, fields.path("extra_args"), &LINE, false)
        });
        let config = VmConfig {
            memory_limit: self.number(&mut fields, "memory_limit", u32::MAX),
            scheduler_limit: self.number(&mut fields, "scheduler_limit", 1_024),
            node_prefix: self.text(&mut fields, "node_prefix", &PREFIX),
            extra_args,
        };
        self.unknown(fields);
        Some(config)
    }

    fn env(&mut self, node: Node<'_>) -> Option<Env> {
        match EnvReader::new(self.format, &mut self.admission).read(node) {
            Ok(map) => Some(Env::new(&map)),
            Err(faults) => {
                for fault in faults {
                    let place = if fault.path.is_empty() {
                        "env".to_owned()
                    } else {
                        format!("env.{}", fault.path)
                    };
                    let problem = self.problem(fault.kind, fault.at, fault.found, fault.expected);
                    self.error(Problem {
                        path: place,
                        expected_type: "map",
                        got: fault.got,
                        ..problem
                    });
                }
                None
            }
        }
    }

    fn depends_on(&mut self, node: Node<'_>) -> Vec<String> {
        let mut names = self.texts(node, Path::of("depends_on"), &NAME, true);
        if names.len() > 1 {
            let mut seen = HashSet::new();
            names.retain(|name| seen.insert(name.clone()));
        }
        names
    }
}
