//! The plan: desired and current state in, a map out.

mod input;

use bc_gitops_core::plan::{
    Action, ActionKind, BlockReason, Plan, Reason, Refusal, RefusalReason, plan as make_plan,
};
use rustler::{Atom, Encoder, Env, NifResult, ResourceArc, Term};

use crate::atoms;
use crate::errors::binary;
use crate::spec::SnapshotResource;

#[rustler::nif(schedule = "DirtyCpu")]
fn plan<'a>(
    env: Env<'a>,
    desired: Term<'a>,
    current: Term<'a>,
    options: Term<'a>,
) -> NifResult<(Atom, Term<'a>)> {
    let snapshot: Option<ResourceArc<SnapshotResource>> = desired.decode().ok();
    let mut options = input::options(env, options)?;
    let desired = match &snapshot {
        Some(snapshot) => input::snapshot(env, &snapshot.0, &mut options)?,
        None => input::desired(desired)?,
    };
    let current = input::current(current)?;
    let plan = make_plan(&desired, &current, &options);
    Ok((atoms::ok(), encode_plan(env, &plan)?))
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
