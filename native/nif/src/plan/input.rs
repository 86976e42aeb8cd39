//! Desired state, current state and options of a plan.
//!
//! Terms are read where they lie: names stay atoms, versions and fingerprints stay in their binaries.

use std::collections::HashSet;

use bc_gitops_core::plan::{Broken, Current, Desired, Isolation, Notes, Options};
use bc_gitops_core::snapshot::{App, Snapshot};
use bc_gitops_core::spec;
use rustler::types::tuple::get_tuple;
use rustler::{Atom, Binary, Env, Error, ListIterator, NifResult, Term};

use crate::atoms;
use crate::spec::existing_atom;

fn decode_list<'a, T>(
    term: Term<'a>,
    decode: impl Fn(Term<'a>) -> NifResult<T>,
) -> NifResult<Vec<T>> {
    let mut items = Vec::with_capacity(term.list_length()?);
    for item in term.decode::<ListIterator>()? {
        items.push(decode(item)?);
    }
    Ok(items)
}

/// `[{Name, Dir, Version, SourceFp, EnvFp, Isolation, DependsOn}]`
pub fn desired(term: Term<'_>) -> NifResult<Vec<Desired<'_, Atom>>> {
    decode_list(term, decode_desired)
}

/// `[{Name, Dir, Status, Version, SourceFp, EnvFp, Isolation, DependsOn, Notes}]`
pub fn current(term: Term<'_>) -> NifResult<Vec<Current<'_, Atom>>> {
    decode_list(term, decode_current)
}

fn decode_desired<'a>(term: Term<'a>) -> NifResult<Desired<'a, Atom>> {
    let fields = get_tuple(term)?;
    let [name, dir, version, source, env, isolation, depends_on] = fields[..] else {
        return Err(Error::BadArg);
    };
    Ok(Desired {
        name: name.decode()?,
        dir: decode_bytes(dir)?,
        version: decode_bytes(version)?,
        source: decode_bytes(source)?,
        env: decode_bytes(env)?,
        isolation: decode_isolation(isolation)?,
        depends_on: decode_atoms(depends_on)?,
    })
}

fn decode_current<'a>(term: Term<'a>) -> NifResult<Current<'a, Atom>> {
    let fields = get_tuple(term)?;
    let [
        name,
        dir,
        status,
        version,
        source,
        env,
        isolation,
        depends_on,
        notes,
    ] = fields[..]
    else {
        return Err(Error::BadArg);
    };
    Ok(Current {
        name: name.decode()?,
        dir: decode_known(dir)?,
        running: decode_either(status, atoms::running(), atoms::stopped())?,
        version: decode_known(version)?,
        source: decode_known(source)?,
        env: decode_known(env)?,
        isolation: decode_isolation(isolation)?,
        depends_on: decode_atoms(depends_on)?,
        notes: decode_notes(notes)?,
    })
}

fn decode_bytes<'a>(term: Term<'a>) -> NifResult<&'a [u8]> {
    Ok(term.decode::<Binary<'a>>()?.as_slice())
}

/// `undefined` stands for what is not known.
fn decode_known<'a>(term: Term<'a>) -> NifResult<Option<&'a [u8]>> {
    if atoms::undefined() == term {
        return Ok(None);
    }
    decode_bytes(term).map(Some)
}

fn decode_atoms(term: Term<'_>) -> NifResult<Vec<Atom>> {
    decode_list(term, |item| item.decode())
}

fn decode_either(term: Term<'_>, yes: Atom, no: Atom) -> NifResult<bool> {
    let atom: Atom = term.decode()?;
    if atom == yes {
        Ok(true)
    } else if atom == no {
        Ok(false)
    } else {
        Err(Error::BadArg)
    }
}

fn decode_isolation(term: Term<'_>) -> NifResult<Isolation> {
    let embedded = decode_either(term, atoms::embedded(), atoms::vm())?;
    Ok(if embedded {
        Isolation::Embedded
    } else {
        Isolation::Vm
    })
}

fn decode_notes(term: Term<'_>) -> NifResult<Notes> {
    let mut notes = Notes::default();
    for item in term.decode::<ListIterator>()? {
        let note: Atom = item.decode()?;
        if note == atoms::moved() {
            notes.moved = true;
        } else if note == atoms::pinned() {
            notes.pinned = true;
        } else if note == atoms::unhealthy() {
            notes.unhealthy = true;
        } else if note == atoms::drift() {
            notes.drift = true;
        } else {
            return Err(Error::BadArg);
        }
    }
    Ok(notes)
}

/// `#{remove_orphans => boolean(), host => [atom()], broken => [{Dir, Name | undefined}]}`
pub fn options<'a>(env: Env<'a>, term: Term<'a>) -> NifResult<Options<'a, Atom>> {
    let mut options = Options::default();
    if let Ok(remove) = term.map_get(atoms::remove_orphans()) {
        options.remove_orphans = remove.decode()?;
    }
    if let Ok(host) = term.map_get(atoms::host()) {
        options.host = decode_atoms(host)?.into_iter().collect::<HashSet<Atom>>();
    }
    if let Ok(broken) = term.map_get(atoms::broken()) {
        options.broken = decode_list(broken, |item| decode_broken(env, item))?;
    }
    Ok(options)
}

fn decode_broken<'a>(env: Env<'a>, term: Term<'a>) -> NifResult<Broken<'a, Atom>> {
    let (dir, name): (Term<'a>, Atom) = term.decode()?;
    let name = if name == atoms::undefined() {
        None
    } else {
        Some(name)
    };
    broken(env, decode_bytes(dir)?, name)
}

/// A specification that cannot be read: without a name it may be called as its directory is.
fn broken<'a>(env: Env<'a>, dir: &'a [u8], name: Option<Atom>) -> NifResult<Broken<'a, Atom>> {
    let base = dir.rsplit(|byte| *byte == b'/').next().unwrap_or(dir);
    let named = match name {
        Some(name) => Some(name),
        None => std::str::from_utf8(base)
            .ok()
            .and_then(|base| existing_atom(env, base)),
    };
    Ok(Broken {
        dir,
        name: named,
        certain: name.is_some(),
    })
}

/// The applications of a snapshot; the directories that it could not read go into `options`.
pub fn snapshot<'a>(
    env: Env<'_>,
    snapshot: &'a Snapshot,
    options: &mut Options<'a, Atom>,
) -> NifResult<Vec<Desired<'a, Atom>>> {
    let mut desired = Vec::with_capacity(snapshot.apps().len());
    for app in snapshot.apps() {
        desired.push(snapshot_app(env, app)?);
    }
    let mut refused = HashSet::new();
    for duplicate in snapshot.duplicates() {
        let Ok(name) = atom(env, &duplicate.name) else {
            continue;
        };
        for dir in &duplicate.dirs {
            refused.insert(dir.as_str());
            desired.push(duplicate_app(name, dir));
        }
    }
    let unread = |broken: &&bc_gitops_core::snapshot::Broken| {
        !broken.stale && !refused.contains(broken.dir.as_str())
    };
    for directory in snapshot.broken().iter().filter(unread) {
        let named = directory.name.as_deref();
        // A name without an atom is that of nothing here.
        let name = atom(env, named.unwrap_or(&directory.dir)).ok();
        options.broken.push(Broken {
            dir: directory.dir.as_bytes(),
            name,
            certain: named.is_some(),
        });
    }
    Ok(desired)
}

fn snapshot_app<'a>(env: Env<'_>, app: &'a App) -> NifResult<Desired<'a, Atom>> {
    let spec = app.spec();
    let depends_on: NifResult<Vec<Atom>> =
        spec.depends_on.iter().map(|name| atom(env, name)).collect();
    Ok(Desired {
        name: atom(env, &spec.name)?,
        dir: app.dir.as_bytes(),
        version: spec.version.as_bytes(),
        source: app.source_fingerprint(),
        env: app.env_fingerprint(),
        isolation: match spec.isolation {
            spec::Isolation::Embedded => Isolation::Embedded,
            spec::Isolation::Vm => Isolation::Vm,
        },
        depends_on: depends_on?,
    })
}

/// Nothing but its name and directory counts: the planner refuses it.
fn duplicate_app(name: Atom, dir: &str) -> Desired<'_, Atom> {
    Desired {
        name,
        dir: dir.as_bytes(),
        version: b"",
        source: b"",
        env: b"",
        isolation: Isolation::Embedded,
        depends_on: Vec::new(),
    }
}

/// An atom that the VM has: those of a good specification passed the quota before.
fn atom(env: Env<'_>, name: &str) -> NifResult<Atom> {
    existing_atom(env, name).ok_or(Error::BadArg)
}
