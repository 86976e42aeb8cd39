//! Problems of specs as Erlang has them.

use bc_gitops_core::snapshot::Broken;
use bc_gitops_core::spec::{Kind, Problem};
use rustler::{Atom, Encoder, Env, NifResult, Term};

use crate::atoms;
use crate::records::{name, optional, term, text, undefined};

pub fn spec_error<'a>(env: Env<'a>, broken: &Broken) -> Term<'a> {
    let known =
        |name: &str| Atom::existing_from_bytes(env, name.as_bytes()).map(|atom| atom.to_term(env));
    let problems: Vec<Term<'a>> = broken
        .problems
        .iter()
        .map(|found| problem(env, &broken.file, found))
        .collect();
    // The name of a broken spec is no reason to make an atom.
    let name = broken
        .name
        .as_deref()
        .and_then(|name| known(name).ok())
        .unwrap_or_else(|| undefined(env));
    map(
        env,
        &[
            (atoms::dir(), text(env, &broken.dir)),
            (atoms::file(), text(env, &broken.file)),
            (atoms::name(), name),
            (atoms::stale(), broken.stale.encode(env)),
            (atoms::problems(), problems.encode(env)),
        ],
    )
}

pub fn problem<'a>(env: Env<'a>, file: &str, problem: &Problem) -> Term<'a> {
    map(
        env,
        &[
            (atoms::file(), text(env, file)),
            (atoms::line(), problem.line.encode(env)),
            (atoms::column(), problem.column.encode(env)),
            (atoms::path(), text(env, &problem.path)),
            (atoms::kind(), kind(problem.kind).to_term(env)),
            (atoms::found(), text(env, &problem.found)),
            (atoms::expected(), text(env, &problem.expected)),
            (atoms::hint(), optional(env, problem.hint.as_deref())),
            (atoms::message(), text(env, &problem.message(file))),
        ],
    )
}

pub fn map<'a>(env: Env<'a>, pairs: &[(Atom, Term<'a>)]) -> Term<'a> {
    Term::map_from_pairs(env, pairs).unwrap_or_else(|_| Term::map_new(env))
}

/// The errors of 0.7 for maps: `{missing_field, F}`, `{invalid_type, F, Expected, Got}`.
pub fn bare_error<'a>(env: Env<'a>, problem: &Problem) -> NifResult<Term<'a>> {
    let field = name(env, problem.field());
    let got = || {
        if problem.got.is_empty() {
            undefined(env)
        } else {
            term(env, &problem.got)
        }
    };
    Ok(match problem.kind {
        Kind::MissingField => (kind(problem.kind), field).encode(env),
        Kind::InvalidType | Kind::InvalidValue => {
            let expected = name(env, problem.expected_type);
            (kind(problem.kind), field, expected, got()).encode(env)
        }
        other => (kind(other), field).encode(env),
    })
}

fn kind(kind: Kind) -> Atom {
    match kind {
        Kind::Syntax => atoms::syntax(),
        Kind::Encoding => atoms::encoding(),
        Kind::FunTerm => atoms::fun_term(),
        Kind::TooDeep => atoms::too_deep(),
        Kind::TooLarge => atoms::too_large(),
        Kind::Unsupported => atoms::unsupported(),
        Kind::MissingField => atoms::missing_field(),
        Kind::InvalidType => atoms::invalid_type(),
        Kind::InvalidValue => atoms::invalid_value(),
        Kind::DuplicateKey => atoms::duplicate_key(),
        Kind::AtomQuota => atoms::atom_quota(),
        Kind::Symlink => atoms::symlink(),
        Kind::Submodule => atoms::submodule(),
        Kind::Unreadable => atoms::unreadable(),
        Kind::DuplicateName => atoms::duplicate_name(),
        Kind::UnknownKey => atoms::unknown_key(),
        Kind::UnusedField => atoms::unused_field(),
        Kind::Secret => atoms::secret(),
    }
}
