//! Specs and snapshots.

use std::cell::RefCell;
use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use bc_gitops_core::snapshot::{App, Options, Snapshot};
use bc_gitops_core::spec::{self, AppSpec, Atoms, Checked, Value, etf};
use bc_gitops_core::url::vault;
use rustler::{
    Atom, Binary, Encoder, Env, Error, NifResult, OwnedEnv, Resource, ResourceArc, Term,
};

use crate::atoms;
use crate::errors::{Failure, binary};
use crate::external::Reader;
use crate::problems::{bare_error, problem, spec_error};
use crate::records::{name, record, record_with, term, text};

/// Atoms that a thread remembers.
const ATOMS_SEEN: usize = 4_096;

/// Atoms that repositories may add to one VM.
const ATOMS_PER_VM: usize = 100_000;

/// How many they have added.
static ATOMS_MADE: AtomicUsize = AtomicUsize::new(0);

/// A snapshot as Erlang holds it.
pub struct SnapshotResource(pub Snapshot);

#[rustler::resource_impl]
impl Resource for SnapshotResource {}

/// The last reference goes on whichever scheduler collects the garbage.
impl Drop for SnapshotResource {
    fn drop(&mut self) {
        std::mem::take(&mut self.0).release();
    }
}

/// The atoms of this VM. Its table of them is locked at each look, and an atom never goes: each
/// thread remembers some that it saw.
pub struct VmAtoms;

impl Atoms for VmAtoms {
    fn known(&self, name: &str) -> bool {
        thread_local! {
            static ENV: OwnedEnv = OwnedEnv::new();
            static SEEN: RefCell<HashSet<String>> = RefCell::default();
        }
        SEEN.with_borrow_mut(|seen| {
            if seen.contains(name) {
                return true;
            }
            let known = ENV.with(|owned| owned.run(|env| existing_atom(env, name).is_some()));
            if known && seen.len() < ATOMS_SEEN {
                seen.insert(name.to_owned());
            }
            known
        })
    }
}

/// The atom of that name, if the VM has it.
pub fn existing_atom(env: Env<'_>, name: &str) -> Option<Atom> {
    match name.is_ascii() {
        true => Atom::existing_from_bytes(env, name.as_bytes()).ok(),
        false => {
            let (term, _) = env.binary_to_term(&etf::to_bytes(&Value::atom(name)))?;
            term.decode().ok()
        }
    }
}

#[rustler::nif(schedule = "DirtyCpu")]
fn snapshot_open<'a>(
    env: Env<'a>,
    path: Binary<'a>,
    commit: &str,
    options: Term<'a>,
    previous: Term<'a>,
) -> NifResult<Result<ResourceArc<SnapshotResource>, Failure>> {
    let apps_dir: &str = options.map_get(atoms::apps_dir())?.decode()?;
    let room: usize = options.map_get(atoms::atom_room())?.decode()?;
    let previous: Option<ResourceArc<SnapshotResource>> = if atoms::undefined() == previous {
        None
    } else {
        Some(previous.decode()?)
    };
    let options = Options {
        apps_dir: apps_dir.to_owned(),
        atom_room: capped(room),
    };
    let opened = Snapshot::open(
        as_path(&path),
        commit,
        &options,
        previous.as_ref().map(|p| &p.0),
        &VmAtoms,
    );
    Ok(opened.map_err(Failure::from).map(|snapshot| {
        make_atoms(env, snapshot.new_atoms());
        let logins = snapshot.logins();
        vault::follow(logins.map(|(url, login)| (url.to_owned(), login.clone())));
        ResourceArc::new(SnapshotResource(snapshot))
    }))
}

#[rustler::nif(schedule = "DirtyCpu")]
fn snapshot_summary<'a>(
    env: Env<'a>,
    snapshot: ResourceArc<SnapshotResource>,
) -> NifResult<Term<'a>> {
    let snapshot = &snapshot.0;
    let errors: Vec<Term<'a>> = snapshot
        .broken()
        .iter()
        .map(|broken| spec_error(env, broken))
        .collect();
    let warnings: Vec<Term<'a>> = snapshot
        .warnings()
        .iter()
        .map(|(file, warning)| problem(env, file, warning))
        .collect();
    Term::map_from_pairs(
        env,
        &[
            (atoms::commit(), snapshot.commit().encode(env)),
            (atoms::parsed(), snapshot.parsed().encode(env)),
            (atoms::reused(), snapshot.reused().encode(env)),
            (atoms::apps(), snapshot.apps().len().encode(env)),
            (atoms::errors(), errors.encode(env)),
            (atoms::warnings(), warnings.encode(env)),
        ],
    )
}

#[rustler::nif(schedule = "DirtyCpu")]
fn snapshot_names(env: Env<'_>, snapshot: ResourceArc<SnapshotResource>) -> Vec<Term<'_>> {
    snapshot
        .0
        .apps()
        .iter()
        .map(|app| name(env, &app.spec().name))
        .collect()
}

#[rustler::nif(schedule = "DirtyCpu")]
fn snapshot_spec<'a>(
    env: Env<'a>,
    snapshot: ResourceArc<SnapshotResource>,
    app: Atom,
) -> NifResult<Term<'a>> {
    let wanted = app.to_term(env).atom_to_string()?;
    match snapshot.0.app(&wanted) {
        Some(app) => Ok((atoms::ok(), record(env, app.spec()), meta(env, app)?).encode(env)),
        None => Ok((atoms::error(), atoms::not_found()).encode(env)),
    }
}

#[rustler::nif(schedule = "DirtyCpu")]
fn snapshot_specs(env: Env<'_>, snapshot: ResourceArc<SnapshotResource>) -> NifResult<Term<'_>> {
    records(env, &snapshot.0)
}

#[rustler::nif(schedule = "DirtyCpu")]
fn spec_dir<'a>(env: Env<'a>, path: Binary<'a>, room: usize) -> NifResult<Term<'a>> {
    let snapshot = match Snapshot::of_directory(as_path(&path), capped(room), &VmAtoms) {
        Ok(snapshot) => snapshot,
        Err(error) => return Ok((atoms::error(), Failure::io(as_path(&path), &error)).encode(env)),
    };
    if !snapshot.broken().is_empty() {
        let errors: Vec<Term<'a>> = snapshot
            .broken()
            .iter()
            .map(|broken| spec_error(env, broken))
            .collect();
        return Ok((atoms::error(), (atoms::invalid_specs(), errors)).encode(env));
    }
    make_atoms(env, snapshot.new_atoms());
    for (url, login) in snapshot.logins() {
        vault::hand(url, login.clone());
    }
    let records = records(env, &snapshot)?;
    snapshot.release();
    Ok((atoms::ok(), records).encode(env))
}

#[rustler::nif(schedule = "DirtyCpu")]
fn spec_file<'a>(env: Env<'a>, path: Binary<'a>, room: usize) -> Term<'a> {
    let checked = spec::files::read_one(as_path(&path), capped(room), &VmAtoms);
    let file = String::from_utf8_lossy(&path);
    match checked.spec {
        Some(spec) => {
            make_atoms(env, &checked.new_atoms);
            remember(&spec);
            (atoms::ok(), record(env, &spec)).encode(env)
        }
        None => {
            let problems: Vec<Term<'a>> = checked
                .errors
                .iter()
                .map(|found| problem(env, &file, found))
                .collect();
            (atoms::error(), (atoms::invalid_spec(), problems)).encode(env)
        }
    }
}

#[rustler::nif(schedule = "DirtyCpu")]
fn spec_map<'a>(env: Env<'a>, map: Term<'a>, room: usize) -> NifResult<Term<'a>> {
    let external = map.to_binary();
    let Some(checked) = spec::read_term(&external, capped(room), &VmAtoms) else {
        return Ok((atoms::error(), (atoms::too_deep(), atoms::spec())).encode(env));
    };
    let Checked {
        spec: Some(spec),
        new_atoms,
        ..
    } = checked
    else {
        return match checked.errors.first() {
            Some(first) => Ok((atoms::error(), bare_error(env, first)?).encode(env)),
            None => Err(Error::BadArg),
        };
    };
    make_atoms(env, &new_atoms);
    remember(&spec);
    // Terms without a text (pids, funs) pass through untouched when the environment is a map already.
    let given = map
        .map_get(atoms::env())
        .ok()
        .filter(|given| has_atom_keys(*given));
    let record = match given {
        Some(given) => record_with(env, &spec, given)?,
        None => record(env, &spec),
    };
    Ok((atoms::ok(), record).encode(env))
}

#[rustler::nif(schedule = "DirtyCpu")]
fn url_without_login<'a>(env: Env<'a>, url: Binary<'a>) -> Term<'a> {
    match std::str::from_utf8(&url).ok().and_then(vault::take) {
        Some(clean) => binary(env, clean.as_bytes()).encode(env),
        None => url.encode(env),
    }
}

#[rustler::nif(schedule = "DirtyCpu")]
fn spec_fingerprint<'a>(env: Env<'a>, record: Term<'a>) -> NifResult<Term<'a>> {
    let external = record.to_binary();
    let (source, environment) = spec::record_fingerprints(&external).ok_or(Error::BadArg)?;
    Ok((binary(env, &source), binary(env, &environment)).encode(env))
}

fn as_path<'a>(path: &'a Binary<'_>) -> &'a Path {
    Path::new(OsStr::from_bytes(path))
}

pub fn capped(room: usize) -> usize {
    room.min(ATOMS_PER_VM.saturating_sub(ATOMS_MADE.load(Ordering::Relaxed)))
}

/// What Erlang does not get: the login of a source.
fn remember(spec: &AppSpec) {
    if let Some((url, login)) = spec.source.login() {
        vault::hand(url, login.clone());
    }
}

/// Makes atoms that passed the quotas.
pub fn make_atoms(env: Env<'_>, names: &[String]) {
    for name in names {
        term(env, &etf::to_bytes(&Value::atom(name)));
    }
    ATOMS_MADE.fetch_add(names.len(), Ordering::Relaxed);
}

fn records<'a>(env: Env<'a>, snapshot: &Snapshot) -> NifResult<Term<'a>> {
    let parts = snapshot.records();
    let mut reader = Reader::new(env);
    let mut records = Vec::with_capacity(snapshot.apps().len());
    for part in &parts {
        reader.all(part, &mut records);
    }
    let names: Vec<Term<'a>> = snapshot
        .apps()
        .iter()
        .map(|app| name(env, &app.spec().name))
        .collect();
    Term::map_from_term_arrays(env, &names, &records)
}

fn meta<'a>(env: Env<'a>, app: &App) -> NifResult<Term<'a>> {
    Term::map_from_pairs(
        env,
        &[
            (atoms::dir(), text(env, &app.dir)),
            (atoms::file(), text(env, &app.file)),
            (atoms::source_fp(), binary(env, app.source_fingerprint())),
            (atoms::env_fp(), binary(env, app.env_fingerprint())),
            (atoms::stale(), app.stale.encode(env)),
        ],
    )
}

fn has_atom_keys(term: Term<'_>) -> bool {
    rustler::MapIterator::new(term).is_some_and(|mut pairs| pairs.all(|(key, _)| key.is_atom()))
}
