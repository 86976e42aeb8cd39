//! Code that changes while it runs: what is known of modules and builds, and the plan.

use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use bc_gitops_core::beam::{self, Info};
use bc_gitops_core::hot::{
    self, AppChanges, Coming, Comparison, ModuleChange, Options, Plan, PrivateChanges, Reason,
    ReasonKind, Script, Step, Strategy, Verdict,
};
use rustler::{Atom, Binary, Encoder, Env, Error, NifResult, Term};

use crate::atoms;
use crate::errors::{Failure, binary};
use crate::files::as_path;
use crate::records::{optional, term, text};
use crate::spec::{VmAtoms, capped, make_atoms};
use crate::terms::{map, need};

#[rustler::nif(schedule = "DirtyIo")]
fn beam_info<'a>(env: Env<'a>, path: Binary<'a>) -> Result<Term<'a>, Failure> {
    Ok(info(env, &beam::info(as_path(&path))?))
}

#[rustler::nif(schedule = "DirtyIo")]
fn build_compare<'a>(env: Env<'a>, old: Binary<'a>, new: Binary<'a>) -> Result<Term<'a>, Failure> {
    Ok(comparison(
        env,
        &hot::compare(as_path(&old), as_path(&new))?,
    ))
}

#[rustler::nif(schedule = "DirtyIo")]
fn hot_plan<'a>(
    env: Env<'a>,
    builds: Vec<(Binary<'a>, Binary<'a>)>,
    options: Term<'a>,
) -> NifResult<Result<Term<'a>, Failure>> {
    let options = Options {
        strategy: strategy(need(options, atoms::strategy())?)?,
        toolchain_same: need(options, atoms::toolchain_same())?,
        script: script(options)?,
    };
    let path = |dir: &Binary<'_>| as_path(dir).to_path_buf();
    let pairs: Vec<(PathBuf, PathBuf)> = builds
        .iter()
        .map(|(old, new)| (path(old), path(new)))
        .collect();
    let plan = hot::plan(&pairs, &options);
    let from = match options.script {
        Some(_) => atoms::appup(),
        None => atoms::computed(),
    };
    Ok(plan
        .map(|plan| encode_plan(env, &plan, from))
        .map_err(Failure::from))
}

#[rustler::nif(schedule = "DirtyCpu")]
fn hot_steps<'a>(
    env: Env<'a>,
    coming: Vec<(Binary<'a>, Binary<'a>, bool)>,
    gone: Vec<String>,
) -> Result<Vec<Term<'a>>, Failure> {
    let coming: Vec<Coming<'_>> = coming
        .iter()
        .map(|(path, bytes, replaces)| Coming {
            path: as_path(path),
            bytes,
            replaces: *replaces,
        })
        .collect();
    let steps = hot::steps_to(&coming, &gone)?;
    Ok(steps.iter().map(|found| step(env, found)).collect())
}

fn strategy(name: Atom) -> NifResult<Strategy> {
    if name == atoms::auto() {
        Ok(Strategy::Auto)
    } else if name == atoms::hot() {
        Ok(Strategy::Hot)
    } else if name == atoms::restart() {
        Ok(Strategy::Restart)
    } else {
        Err(Error::BadArg)
    }
}

/// The instructions of an appup; a list of something else is the caller's mistake.
fn script(options: Term<'_>) -> NifResult<Option<Script>> {
    let given: Term<'_> = need(options, atoms::appup())?;
    if atoms::none() == given {
        return Ok(None);
    }
    let script = Script::of_external(&given.to_binary());
    script.map(Some).ok_or(Error::BadArg)
}

#[rustler::nif(schedule = "DirtyIo")]
fn appup_read<'a>(env: Env<'a>, path: Binary<'a>, room: usize) -> Result<Term<'a>, Failure> {
    let appup = hot::appup(as_path(&path), capped(room), &VmAtoms)?;
    make_atoms(env, &appup.new_atoms);
    Ok(term(env, &appup.external))
}

fn encode_plan<'a>(env: Env<'a>, plan: &Plan, from: Atom) -> Term<'a> {
    let builds: Vec<Term<'a>> = plan
        .builds
        .iter()
        .map(|build| comparison(env, build))
        .collect();
    let notes = map(
        env,
        &[
            (atoms::from(), from.to_term(env)),
            (atoms::builds(), builds.encode(env)),
        ],
    );
    match &plan.verdict {
        Verdict::Hot(steps) => {
            let steps: Vec<Term<'a>> = steps.iter().map(|found| step(env, found)).collect();
            (atoms::hot(), steps, notes).encode(env)
        }
        Verdict::Restart(reasons) => {
            let reasons: Vec<Term<'a>> = reasons.iter().map(|found| reason(env, found)).collect();
            (atoms::restart(), reasons, notes).encode(env)
        }
    }
}

fn info<'a>(env: Env<'a>, info: &Info) -> Term<'a> {
    let exports: Vec<(&str, u32)> = info
        .exports
        .iter()
        .map(|(name, arity)| (name.as_str(), *arity))
        .collect();
    let vsn = match &info.vsn {
        Some(external) => binary(env, external),
        None => atoms::undefined().to_term(env),
    };
    map(
        env,
        &[
            (atoms::module(), text(env, &info.module)),
            (atoms::md5(), binary(env, &info.md5)),
            (atoms::behaviours(), info.behaviours.encode(env)),
            (atoms::exports(), exports.encode(env)),
            (atoms::imports(), info.imports.encode(env)),
            (atoms::nif(), info.nif.encode(env)),
            (atoms::stripped(), info.stripped.encode(env)),
            (atoms::vsn(), vsn),
        ],
    )
}

fn comparison<'a>(env: Env<'a>, found: &Comparison) -> Term<'a> {
    let names = |names: Vec<&str>| names.encode(env);
    let consolidated = either(env, found.consolidated, atoms::changed(), atoms::same());
    let appup = either(env, found.appup, atoms::found(), atoms::none());
    map(
        env,
        &[
            (atoms::app(), app(env, &found.app)),
            (atoms::added(), names(found.added().collect())),
            (atoms::removed(), names(found.removed().collect())),
            (atoms::changed(), names(found.changed().collect())),
            (atoms::attributes_only(), found.attributes_only.encode(env)),
            (atoms::nif(), names(found.nif().collect())),
            (atoms::modules(), modules(env, found)),
            (atoms::priv_(), private(env, &found.private)),
            (atoms::consolidated(), consolidated),
            (atoms::appup(), appup),
        ],
    )
}

fn app<'a>(env: Env<'a>, found: &AppChanges) -> Term<'a> {
    let version = |version: &Option<String>| optional(env, version.as_deref());
    map(
        env,
        &[
            (atoms::name(), text(env, &found.name)),
            (atoms::old_version(), version(&found.old_version)),
            (atoms::new_version(), version(&found.new_version)),
            (atoms::changed(), found.changed.encode(env)),
        ],
    )
}

fn modules<'a>(env: Env<'a>, found: &Comparison) -> Term<'a> {
    let pairs = found.modules.iter();
    let (keys, values): (Vec<Term<'a>>, Vec<Term<'a>>) = pairs
        .map(|(name, change)| (text(env, name), sides(env, change)))
        .unzip();
    Term::map_from_term_arrays(env, &keys, &values).unwrap_or_else(|_| Term::map_new(env))
}

fn either<'a>(env: Env<'a>, yes: bool, then: Atom, other: Atom) -> Term<'a> {
    (if yes { then } else { other }).to_term(env)
}

fn sides<'a>(env: Env<'a>, change: &ModuleChange) -> Term<'a> {
    let sides = [(atoms::old(), &change.old), (atoms::new(), &change.new)];
    let there: Vec<(Atom, Term<'a>)> = sides
        .into_iter()
        .filter_map(|(key, side)| Some((key, info(env, side.as_ref()?))))
        .collect();
    map(env, &there)
}

fn private<'a>(env: Env<'a>, found: &PrivateChanges) -> Term<'a> {
    let paths = |paths: &[PathBuf]| {
        let paths = paths
            .iter()
            .map(|path| binary(env, path.as_os_str().as_bytes()));
        paths.collect::<Vec<Term<'a>>>().encode(env)
    };
    map(
        env,
        &[
            (atoms::added(), paths(&found.added)),
            (atoms::removed(), paths(&found.removed)),
            (atoms::changed(), paths(&found.changed)),
        ],
    )
}

fn step<'a>(env: Env<'a>, step: &Step) -> Term<'a> {
    let of = |atom: Atom, module: &str| (atom, module).encode(env);
    match step {
        Step::Add(module) => of(atoms::add_module(), module),
        Step::Delete(module) => of(atoms::delete_module(), module),
        Step::Load(module) => of(atoms::load_module(), module),
        Step::UpdateSupervisor(module) => {
            (atoms::update(), module.as_str(), atoms::supervisor()).encode(env)
        }
        Step::Update(module) => {
            let change = (atoms::advanced(), Term::list_new_empty(env));
            (atoms::update(), module.as_str(), change).encode(env)
        }
    }
}

fn reason<'a>(env: Env<'a>, reason: &Reason) -> Term<'a> {
    let mut pairs = vec![
        (atoms::kind(), kind(reason.kind).to_term(env)),
        (atoms::app(), text(env, &reason.app)),
        (atoms::message(), text(env, &reason.message)),
    ];
    if let Some(module) = &reason.module {
        pairs.push((atoms::module(), text(env, module)));
    }
    if let Some(path) = &reason.path {
        pairs.push((atoms::path(), text(env, path)));
    }
    map(env, &pairs)
}

fn kind(kind: ReasonKind) -> Atom {
    match kind {
        ReasonKind::Asked => atoms::asked(),
        ReasonKind::ToolchainChanged => atoms::toolchain_changed(),
        ReasonKind::VersionChanged => atoms::version_changed(),
        ReasonKind::CallbackModule => atoms::callback_module(),
        ReasonKind::NifChanged => atoms::nif_changed(),
        ReasonKind::PrivChanged => atoms::priv_changed(),
        ReasonKind::ModChanged => atoms::mod_changed(),
        ReasonKind::StartPhasesChanged => atoms::start_phases_changed(),
        ReasonKind::IncludedChanged => atoms::included_changed(),
        ReasonKind::ApplicationsChanged => atoms::applications_changed(),
        ReasonKind::ConsolidatedChanged => atoms::consolidated_changed(),
        ReasonKind::AppupIncomplete => atoms::appup_incomplete(),
        ReasonKind::AppupRestart => atoms::appup_restart(),
    }
}
