//! The plan: desired and current state as terms, the plan as a map.
//!
//! Terms are read where they lie: names stay atoms, versions and fingerprints stay in their binaries.

use std::collections::HashSet;

use bc_gitops_core::plan::{
    Action, ActionKind, BlockReason, Broken, Current, Desired, Isolation, Notes, Options, Plan,
    Reason, Refusal, RefusalReason, plan as make_plan,
};
use rustler::types::tuple::get_tuple;
use rustler::{Atom, Binary, Encoder, Env, Error, ListIterator, NifResult, Term};

use crate::atoms;
use crate::errors::binary;

#[rustler::nif(schedule = "DirtyCpu")]
fn plan<'a>(
    env: Env<'a>,
    desired: Term<'a>,
    current: Term<'a>,
    options: Term<'a>,
) -> NifResult<(Atom, Term<'a>)> {
    let desired = decode_list(desired, decode_desired)?;
    let current = decode_list(current, decode_current)?;
    let options = decode_options(env, options)?;
    let plan = make_plan(&desired, &current, &options);
    Ok((atoms::ok(), encode_plan(env, &plan)?))
}

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
fn decode_options<'a>(env: Env<'a>, term: Term<'a>) -> NifResult<Options<'a, Atom>> {
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
        None => Atom::existing_from_utf8_bytes(env, base).ok(),
    };
    Ok(Broken {
        dir,
        name: named,
        certain: name.is_some(),
    })
}

fn encode_plan<'a>(env: Env<'a>, plan: &Plan<'_, Atom>) -> NifResult<Term<'a>> {
    let keys = ActionKeys::new(env);
    let actions: NifResult<Vec<Term<'a>>> = plan
        .actions
        .iter()
        .map(|action| keys.encode(env, action))
        .collect();
    let blocked: NifResult<Vec<Term<'a>>> = plan
        .blocked
        .iter()
        .map(|(name, reason)| named_reason(env, *name, encode_block(env, reason)))
        .collect();
    let held: NifResult<Vec<Term<'a>>> = plan
        .held
        .iter()
        .map(|name| named_reason(env, *name, atoms::broken_spec().encode(env)))
        .collect();
    let visited = map(
        env,
        [
            (atoms::nodes(), plan.visited.nodes.encode(env)),
            (atoms::edges(), plan.visited.edges.encode(env)),
        ],
    )?;
    map(
        env,
        [
            (atoms::actions(), actions?.encode(env)),
            (atoms::blocked(), blocked?.encode(env)),
            (atoms::held(), held?.encode(env)),
            (
                atoms::refused(),
                encode_refused(env, plan.refused.as_ref())?,
            ),
            (atoms::unchanged(), plan.unchanged.encode(env)),
            (atoms::visited(), visited),
        ],
    )
}

fn map<'a, const N: usize>(env: Env<'a>, pairs: [(Atom, Term<'a>); N]) -> NifResult<Term<'a>> {
    let keys = pairs.map(|(key, _)| key.encode(env));
    let values = pairs.map(|(_, value)| value);
    Term::map_from_term_arrays(env, &keys, &values)
}

fn named_reason<'a>(env: Env<'a>, name: Atom, reason: Term<'a>) -> NifResult<Term<'a>> {
    map(
        env,
        [(atoms::name(), name.encode(env)), (atoms::reason(), reason)],
    )
}

/// The keys of an action, as terms: there may be many actions.
struct ActionKeys<'a>([Term<'a>; 5]);

impl<'a> ActionKeys<'a> {
    fn new(env: Env<'a>) -> Self {
        let keys = [
            atoms::action(),
            atoms::name(),
            atoms::wave(),
            atoms::after(),
            atoms::reasons(),
        ];
        Self(keys.map(|key| key.encode(env)))
    }

    fn encode(&self, env: Env<'a>, action: &Action<'_, Atom>) -> NifResult<Term<'a>> {
        let reasons: Vec<Term<'a>> = action
            .reasons
            .iter()
            .map(|reason| encode_reason(env, reason))
            .collect();
        let values = [
            action_atom(action.kind).encode(env),
            action.name.encode(env),
            action.wave.encode(env),
            action.after.encode(env),
            reasons.encode(env),
        ];
        Term::map_from_term_arrays(env, &self.0, &values)
    }
}

fn action_atom(kind: ActionKind) -> Atom {
    match kind {
        ActionKind::Deploy => atoms::deploy(),
        ActionKind::Upgrade => atoms::upgrade(),
        ActionKind::Reconfigure => atoms::reconfigure(),
        ActionKind::Remove => atoms::remove(),
    }
}

fn encode_reason<'a>(env: Env<'a>, reason: &Reason<'_>) -> Term<'a> {
    let atom = match reason {
        Reason::Version { from, to } => {
            return (atoms::version(), binary(env, from), binary(env, to)).encode(env);
        }
        Reason::Absent => atoms::absent(),
        Reason::Stopped => atoms::stopped(),
        Reason::Orphan => atoms::orphan(),
        Reason::Source => atoms::source(),
        Reason::Moved => atoms::moved(),
        Reason::Environment => atoms::environment(),
        Reason::Isolation => atoms::isolation(),
        Reason::Drift => atoms::drift(),
        Reason::Unhealthy => atoms::unhealthy(),
    };
    atom.encode(env)
}

fn encode_block<'a>(env: Env<'a>, reason: &BlockReason<'_, Atom>) -> Term<'a> {
    match reason {
        BlockReason::Cycle(names) => (atoms::cycle(), names).encode(env),
        BlockReason::SelfDependency => (atoms::self_dependency(),).encode(env),
        BlockReason::MissingDependency(names) => (atoms::missing_dependency(), names).encode(env),
        BlockReason::BlockedDependency(name) => (atoms::blocked_dependency(), *name).encode(env),
        BlockReason::Duplicate(dirs) => {
            let dirs: Vec<Term<'a>> = dirs.iter().map(|dir| binary(env, dir)).collect();
            (atoms::duplicate(), dirs).encode(env)
        }
    }
}

fn encode_refused<'a>(env: Env<'a>, refused: Option<&Refusal<Atom>>) -> NifResult<Term<'a>> {
    let Some(refusal) = refused else {
        return Ok(atoms::none().encode(env));
    };
    let reason = match refusal.reason {
        RefusalReason::AllOrphans => atoms::all_orphans(),
    };
    map(
        env,
        [
            (atoms::reason(), reason.encode(env)),
            (atoms::names(), refusal.names.encode(env)),
        ],
    )
}
