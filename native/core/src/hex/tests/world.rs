//! Repositories in memory, with keys made here: packages that need one another, and ways to break
//! them.

use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::path::Path;
use std::sync::{Mutex, OnceLock};

use flate2::Compression;
use flate2::write::GzEncoder;
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::sign::Signer;
use sha2::{Digest, Sha256};

use super::super::package::Retirement;
use super::super::repo::Repo;
use super::super::transport::{Answer, Transport, Trouble};

/// A key pair; made once for each name.
pub(super) fn key(name: &'static str) -> PKey<Private> {
    static KEYS: OnceLock<Mutex<HashMap<&str, PKey<Private>>>> = OnceLock::new();
    let mut keys = KEYS.get_or_init(Mutex::default).lock().unwrap();
    let make = || PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
    keys.entry(name).or_insert_with(make).clone()
}

#[derive(Clone)]
struct Release {
    tarball: Vec<u8>,
    needs: Vec<Need>,
    retired: Option<(u64, &'static str)>,
}

#[derive(Clone)]
struct Need {
    name: String,
    requirement: String,
    optional: bool,
    repo: Option<String>,
}

type Releases = BTreeMap<(String, String), BTreeMap<String, Release>>;

/// What can go wrong, for everything that is asked for.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Weather {
    Fine,
    Down,
    Locked,
}

/// The repositories `hexpm` and `acme`.
pub(super) struct World {
    releases: Mutex<Releases>,
    replaced: Mutex<HashMap<String, Vec<u8>>>,
    asked: Mutex<Vec<String>>,
    weather: Mutex<Weather>,
}

impl World {
    pub(super) fn new() -> Self {
        Self {
            releases: Mutex::default(),
            replaced: Mutex::default(),
            asked: Mutex::default(),
            weather: Mutex::new(Weather::Fine),
        }
    }

    /// `top` needs `mid` and `low`, `mid` needs `low` and `util`; each has 1.0.0 and 1.1.0.
    pub(super) fn usual() -> Self {
        let world = Self::new();
        for version in ["1.0.0", "1.1.0"] {
            world.add("low", version, &[]);
            world.add("util", version, &[]);
            world.add("mid", version, &["low ~> 1.0", "util ~> 1.0"]);
            world.add("top", version, &["mid ~> 1.0", "low ~> 1.0"]);
        }
        world
    }

    pub(super) fn repos(&self) -> Vec<Repo> {
        ["hexpm", "acme"].map(|name| self.repo(name, name)).into()
    }

    pub(super) fn repo(&self, name: &str, key_name: &'static str) -> Repo {
        let pem = key(key_name).public_key_to_pem().unwrap();
        Repo {
            name: name.into(),
            url: format!("memory://{name}"),
            public_key: Some(String::from_utf8(pem).unwrap()),
            auth_key: None,
        }
    }

    /// A release of `hexpm`. Needs read `name requirement`, `name? requirement` for an optional
    /// one, `repo/name requirement` for one from elsewhere.
    pub(super) fn add(&self, name: &str, version: &str, needs: &[&str]) {
        self.add_to("hexpm", name, version, needs);
    }

    pub(super) fn add_to(&self, repo: &str, name: &str, version: &str, needs: &[&str]) {
        let needs: Vec<Need> = needs.iter().map(|text| need(text)).collect();
        let tarball = tarball(&metadata(name, version, &needs), &contents(name, version));
        let release = Release {
            tarball,
            needs,
            retired: None,
        };
        let mut releases = self.releases.lock().unwrap();
        let package = releases.entry((repo.into(), name.into())).or_default();
        package.insert(version.into(), release);
    }

    /// The number of the reason as the registry writes it.
    pub(super) fn retire(&self, name: &str, version: &str, reason: u64) {
        self.change(name, version, |release| {
            release.retired = Some((reason, "use another"))
        });
    }

    /// The same version with another `rebar.config`.
    pub(super) fn configure(&self, name: &str, version: &str, config: &str) {
        self.with_file(name, version, ("rebar.config", config));
    }

    /// The same version with nothing but a `rebar.config.script`.
    pub(super) fn script(&self, name: &str, version: &str, script: &str) {
        self.with_file(name, version, ("rebar.config.script", script));
    }

    fn with_file(&self, name: &str, version: &str, (file, text): (&str, &str)) {
        let files = gzip(&tar(&[(file, text.as_bytes())]));
        self.change(name, version, |release| {
            release.tarball = tarball(&metadata(name, version, &release.needs), &files);
        });
    }

    /// The same version with another tarball.
    pub(super) fn republish(&self, name: &str, version: &str, tarball: Vec<u8>) {
        self.change(name, version, |release| release.tarball = tarball);
    }

    fn change(&self, name: &str, version: &str, change: impl FnOnce(&mut Release)) {
        let mut releases = self.releases.lock().unwrap();
        let package = releases.get_mut(&("hexpm".into(), name.into())).unwrap();
        change(package.get_mut(version).unwrap());
    }

    /// Serves other bytes at `repo/path`.
    pub(super) fn replace(&self, at: &str, bytes: Vec<u8>) {
        self.replaced.lock().unwrap().insert(at.into(), bytes);
    }

    pub(super) fn weather(&self, weather: Weather) {
        *self.weather.lock().unwrap() = weather;
    }

    /// What was asked for since the last call, in order of names.
    pub(super) fn asked(&self) -> Vec<String> {
        let mut asked = std::mem::take(&mut *self.asked.lock().unwrap());
        asked.sort();
        asked
    }

    /// What a server would answer for `repo/path`.
    pub(super) fn file(&self, at: &str) -> Option<Vec<u8>> {
        if let Some(bytes) = self.replaced.lock().unwrap().get(at) {
            return Some(bytes.clone());
        }
        let (repo, path) = at.split_once('/')?;
        let (kind, rest) = path.split_once('/')?;
        let releases = self.releases.lock().unwrap();
        if kind == "packages" {
            let package = releases.get(&(repo.into(), rest.into()))?;
            let key = key(if repo == "acme" { "acme" } else { "hexpm" });
            return Some(signed(&payload(repo, rest, package), &key));
        }
        let (name, version) = rest.strip_suffix(".tar")?.split_once('-')?;
        let package = releases.get(&(repo.into(), name.into()))?;
        package.get(version).map(|release| release.tarball.clone())
    }

    fn answer(&self, repo: &Repo, path: &str) -> Result<Vec<u8>, Trouble> {
        let at = format!("{}/{path}", repo.name);
        self.asked.lock().unwrap().push(at.clone());
        match *self.weather.lock().unwrap() {
            Weather::Fine => self.file(&at).ok_or(Trouble::NotFound),
            Weather::Down => Err(Trouble::Unreachable("no connection".into())),
            Weather::Locked => Err(Trouble::Unauthorized),
        }
    }
}

impl Transport for World {
    fn get(
        &self,
        repo: &Repo,
        path: &str,
        etag: Option<&str>,
        limit: u64,
    ) -> Result<Answer, Trouble> {
        let body = self.answer(repo, path)?;
        let now = tag(&body);
        if etag == Some(now.as_str()) {
            let at = format!("{}/{path}", repo.name);
            let mut asked = self.asked.lock().unwrap();
            // Others ask at the same time: the last entry may be theirs.
            let mine = asked.iter_mut().rfind(|entry| **entry == at).unwrap();
            mine.push_str(" unchanged");
            return Ok(Answer::Unchanged);
        }
        match body.len() as u64 <= limit {
            true => Ok(Answer::Found {
                body,
                etag: Some(now),
            }),
            false => Err(Trouble::TooLarge),
        }
    }

    fn download(
        &self,
        repo: &Repo,
        path: &str,
        to: &Path,
        limit: u64,
        progress: &dyn Fn(u64, Option<u64>),
    ) -> Result<(), Trouble> {
        let body = self.answer(repo, path)?;
        let length = body.len() as u64;
        if length > limit {
            return Err(Trouble::TooLarge);
        }
        std::fs::write(to, &body).unwrap();
        progress(length, Some(length));
        Ok(())
    }
}

/// The entity tag of some bytes.
pub(super) fn tag(bytes: &[u8]) -> String {
    format!("\"{}\"", &super::super::hex(&Sha256::digest(bytes))[..16])
}

fn need(text: &str) -> Need {
    let (name, requirement) = text.split_once(' ').unwrap();
    let (repo, name) = match name.split_once('/') {
        Some((repo, name)) => (Some(repo.to_owned()), name),
        None => (None, name),
    };
    Need {
        optional: name.ends_with('?'),
        name: name.trim_end_matches('?').into(),
        requirement: requirement.into(),
        repo,
    }
}

fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut field = vec![number << 3 | 2];
    let mut length = bytes.len();
    while length > 0x7f {
        field.push(length as u8 | 0x80);
        length >>= 7;
    }
    field.push(length as u8);
    field.extend_from_slice(bytes);
    field
}

fn number(field: u8, number: u64) -> Vec<u8> {
    assert!(number < 128);
    vec![field << 3, number as u8]
}

/// The payload of `packages/NAME`, as `package.proto` says.
fn payload(repo: &str, name: &str, releases: &BTreeMap<String, Release>) -> Vec<u8> {
    let mut payload = Vec::new();
    for (version, release) in releases {
        let mut message = field(1, version.as_bytes());
        message.extend(field(2, &[0; 32]));
        for need in &release.needs {
            message.extend(field(3, &dependency(need)));
        }
        if let Some((reason, words)) = release.retired {
            let retirement = [number(1, reason), field(2, words.as_bytes())].concat();
            message.extend(field(4, &retirement));
        }
        message.extend(field(5, &Sha256::digest(&release.tarball)));
        payload.extend(field(1, &message));
    }
    payload.extend(field(2, name.as_bytes()));
    payload.extend(field(3, repo.as_bytes()));
    payload
}

fn dependency(need: &Need) -> Vec<u8> {
    let mut message = field(1, need.name.as_bytes());
    message.extend(field(2, need.requirement.as_bytes()));
    message.extend(number(3, need.optional.into()));
    message.extend(field(4, need.name.as_bytes()));
    if let Some(repo) = &need.repo {
        message.extend(field(5, repo.as_bytes()));
    }
    message
}

/// A payload signed and compressed.
pub(super) fn signed(payload: &[u8], key: &PKey<Private>) -> Vec<u8> {
    let mut signer = Signer::new(MessageDigest::sha512(), key).unwrap();
    let signature = signer.sign_oneshot_to_vec(payload).unwrap();
    gzip(&[field(1, payload), field(2, &signature)].concat())
}

pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A tar file of these entries.
pub(super) fn tar(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, bytes) in entries {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, *bytes).unwrap();
    }
    builder.into_inner().unwrap()
}

/// A package's tarball with the right inner checksum.
pub(super) fn tarball(metadata: &str, contents: &[u8]) -> Vec<u8> {
    let inner = Sha256::digest([b"3", metadata.as_bytes(), contents].concat());
    let inner = super::super::hex(&inner).to_uppercase();
    tar(&[
        ("VERSION", b"3"),
        ("CHECKSUM", inner.as_bytes()),
        ("metadata.config", metadata.as_bytes()),
        ("contents.tar.gz", contents),
    ])
}

pub(super) fn contents(name: &str, version: &str) -> Vec<u8> {
    let app = format!("src/{name}.app.src");
    let text = format!("{{application,{name},[{{vsn,\"{version}\"}}]}}.\n");
    gzip(&tar(&[
        ("rebar.config", b"{deps, []}.\n"),
        (&app, text.as_bytes()),
    ]))
}

/// `metadata.config` as rebar3 writes it.
pub(super) fn plain_metadata(name: &str, version: &str) -> String {
    metadata(name, version, &[])
}

fn metadata(name: &str, version: &str, needs: &[Need]) -> String {
    let needs: Vec<String> = needs
        .iter()
        .map(|need| {
            let Need {
                name,
                requirement,
                optional,
                ..
            } = need;
            format!(
                "{{<<\"{name}\">>,[{{<<\"app\">>,<<\"{name}\">>}},{{<<\"optional\">>,{optional}}},\
                 {{<<\"requirement\">>,<<\"{requirement}\">>}}]}}"
            )
        })
        .collect();
    format!(
        "{{<<\"app\">>,<<\"{name}\">>}}.\n{{<<\"build_tools\">>,[<<\"rebar3\">>]}}.\n\
         {{<<\"files\">>,[<<\"rebar.config\">>,<<\"src/{name}.app.src\">>]}}.\n\
         {{<<\"name\">>,<<\"{name}\">>}}.\n{{<<\"version\">>,<<\"{version}\">>}}.\n\
         {{<<\"requirements\">>,[{}]}}.\n",
        needs.join(",")
    )
}

/// A retirement as it is read.
pub(super) fn retirement(reason: &str) -> Retirement {
    Retirement {
        reason: reason.into(),
        message: Some("use another".into()),
    }
}
