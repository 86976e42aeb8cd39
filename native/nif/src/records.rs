//! Terms out of what the core writes, among them the public records.

use bc_gitops_core::spec::{AppSpec, Value, etf};
use rustler::types::tuple::{get_tuple, make_tuple};
use rustler::{Env, NifResult, Term};

use crate::atoms;
use crate::errors::binary;

/// Where `#app_spec.env` stands in the tuple, counted from 0.
const ENV_FIELD: usize = 6;

/// A term from its external format.
pub fn term<'a>(env: Env<'a>, external: &[u8]) -> Term<'a> {
    trusted(env, external).map_or_else(|| undefined(env), |(term, _)| term)
}

/// The term that bytes begin with, and how many of them it is.
pub fn trusted<'a>(env: Env<'a>, external: &[u8]) -> Option<(Term<'a>, usize)> {
    // SAFETY: the bytes are of our own encoder, which writes well-formed terms only, or came from
    // this VM. The flag lifted by this call guards against new atoms, and those are counted.
    unsafe { env.binary_to_term_trusted(external) }
}

pub fn name<'a>(env: Env<'a>, name: &str) -> Term<'a> {
    term(env, &etf::to_bytes(&Value::atom(name)))
}

pub fn record<'a>(env: Env<'a>, spec: &AppSpec) -> Term<'a> {
    term(env, &spec.record())
}

/// `#app_spec{}` with an environment that is a term already.
pub fn record_with<'a>(env: Env<'a>, spec: &AppSpec, given: Term<'a>) -> NifResult<Term<'a>> {
    let mut fields = get_tuple(record(env, spec))?;
    if let Some(field) = fields.get_mut(ENV_FIELD) {
        *field = given;
    }
    Ok(make_tuple(env, &fields))
}

pub fn undefined(env: Env<'_>) -> Term<'_> {
    atoms::undefined().to_term(env)
}

pub fn text<'a>(env: Env<'a>, text: &str) -> Term<'a> {
    binary(env, text.as_bytes())
}

pub fn optional<'a>(env: Env<'a>, value: Option<&str>) -> Term<'a> {
    value.map_or_else(|| undefined(env), |value| text(env, value))
}
