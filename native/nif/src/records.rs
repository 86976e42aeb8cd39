//! The public records, their fields in the order of include/bc_gitops.hrl.

use bc_gitops_core::spec::{AppSpec, Icon, SourceSpec, SourceType, Value, etf};
use rustler::types::tuple::make_tuple;
use rustler::{Encoder, Env, Term};

use crate::atoms;
use crate::errors::binary;

/// A term from its external format.
pub fn term<'a>(env: Env<'a>, external: &[u8]) -> Term<'a> {
    // SAFETY: the bytes are of our own encoder, which writes well-formed terms only, or came from
    // this VM. The flag lifted by this call guards against new atoms, and those are counted.
    match unsafe { env.binary_to_term_trusted(external) } {
        Some((term, _)) => term,
        None => atoms::undefined().to_term(env),
    }
}

pub fn name<'a>(env: Env<'a>, name: &str) -> Term<'a> {
    term(env, &etf::to_bytes(&Value::atom(name)))
}

pub fn record<'a>(env: Env<'a>, spec: &AppSpec) -> Term<'a> {
    record_with(env, spec, None)
}

/// `#app_spec{}`: the fields in the order of include/bc_gitops.hrl.
pub fn record_with<'a>(env: Env<'a>, spec: &AppSpec, given_env: Option<Term<'a>>) -> Term<'a> {
    let depends_on: Vec<Term<'a>> = spec
        .depends_on
        .iter()
        .map(|other| name(env, other))
        .collect();
    make_tuple(
        env,
        &[
            atoms::app_spec().to_term(env),
            name(env, &spec.name),
            text(env, &spec.version),
            optional(env, spec.description.as_deref()),
            icon(env, spec),
            source(env, &spec.source),
            given_env.unwrap_or_else(|| term(env, spec.env.external())),
            health(env, spec),
            depends_on.encode(env),
            name(env, spec.isolation.name()),
            vm_config(env, spec),
        ],
    )
}

fn icon<'a>(env: Env<'a>, spec: &AppSpec) -> Term<'a> {
    let drawn;
    let icon = match &spec.icon {
        Some(icon) => icon,
        None => {
            drawn = Icon::drawn(&spec.name);
            &drawn
        }
    };
    make_tuple(
        env,
        &[
            atoms::icon_spec().to_term(env),
            name(env, icon.kind.name()),
            optional(env, icon.value.as_deref()),
            optional(env, icon.mime_type.as_deref()),
        ],
    )
}

fn source<'a>(env: Env<'a>, source: &SourceSpec) -> Term<'a> {
    make_tuple(
        env,
        &[
            atoms::source_spec().to_term(env),
            name(env, SourceType::name(source.kind)),
            optional(env, source.url.as_deref()),
            optional(env, source.sha256.as_deref()),
            optional(env, source.reference.as_deref()),
            optional(env, source.mcid.as_deref()),
        ],
    )
}

fn health<'a>(env: Env<'a>, spec: &AppSpec) -> Term<'a> {
    let Some(health) = &spec.health else {
        return undefined(env);
    };
    make_tuple(
        env,
        &[
            atoms::health_spec().to_term(env),
            name(env, health.kind.name()),
            health.port.encode(env),
            optional(env, health.path.as_deref()),
            health.interval.encode(env),
            health.timeout.encode(env),
            health
                .module
                .as_deref()
                .map_or_else(|| undefined(env), |module| name(env, module)),
        ],
    )
}

fn vm_config<'a>(env: Env<'a>, spec: &AppSpec) -> Term<'a> {
    let Some(config) = &spec.vm_config else {
        return undefined(env);
    };
    let number =
        |value: Option<u32>| value.map_or_else(|| undefined(env), |value| value.encode(env));
    let extra_args: Vec<Term<'a>> = config
        .extra_args
        .iter()
        .map(|argument| text(env, argument))
        .collect();
    make_tuple(
        env,
        &[
            atoms::vm_config().to_term(env),
            number(config.memory_limit),
            number(config.scheduler_limit),
            optional(env, config.node_prefix.as_deref()),
            extra_args.encode(env),
        ],
    )
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
