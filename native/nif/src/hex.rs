//! Jobs over Hex repositories.

use bc_gitops_core::git::auth::Auth;
use bc_gitops_core::hex::repo::AuthKey;
use bc_gitops_core::hex::{
    Called, Dependency, Fetch, Fetched, Locked, Op, Outcome, Plugin, Plugins, Progress, Repo,
    Request, Resolve, Resolved, Retired, Source, limits,
};
use bc_gitops_core::url::Policy;
use rustler::{Atom, Binary, Encoder, Env, Error, LocalPid, NifResult, Term};

use crate::atoms;
use crate::errors::binary;
use crate::job::{self, Spoken};
use crate::terms::{map, need, optional, path_of, text};

impl Spoken for Request {
    fn answer(env: Env<'_>, outcome: Outcome) -> Term<'_> {
        match outcome {
            Outcome::Resolved(resolved) => encode_resolved(env, &resolved),
            Outcome::Fetched(fetched) => {
                let packages = list(env, &fetched, encode_fetched);
                map(env, &[(atoms::packages(), packages)])
            }
        }
    }

    fn progress(env: Env<'_>, progress: Progress) -> Term<'_> {
        map(
            env,
            &[
                (atoms::package(), words(env, &progress.package)),
                (atoms::received_bytes(), progress.received_bytes.encode(env)),
                (
                    atoms::total_bytes(),
                    or_undefined(env, progress.total_bytes),
                ),
            ],
        )
    }
}

// Locks may be long.
#[rustler::nif(schedule = "DirtyCpu")]
fn hex_start<'a>(
    env: Env<'a>,
    request: Term<'a>,
    pid: LocalPid,
    reference: Term<'a>,
) -> NifResult<Term<'a>> {
    job::start(env, request, decode_request(request)?, (pid, reference))
}

fn decode_request(term: Term<'_>) -> NifResult<Request> {
    let repos: Vec<Term> = need(term, atoms::repos())?;
    let ca_file = optional::<Binary>(term, atoms::ca_file())?;
    Ok(Request {
        op: decode_op(need(term, atoms::op())?, term)?,
        repos: repos
            .into_iter()
            .map(decode_repo)
            .collect::<NifResult<_>>()?,
        cache: path_of(&need(term, atoms::cache())?),
        auth: Auth {
            ca_file: ca_file.map(|path| path_of(&path)),
            policy: Policy {
                allow_http: optional(term, atoms::allow_http())?.unwrap_or(false),
                allow_local: false,
            },
            ..Auth::default()
        },
    })
}

fn decode_op(op: Atom, term: Term<'_>) -> NifResult<Op> {
    if op == atoms::resolve() {
        Ok(Op::Resolve(Resolve {
            name: text(term, atoms::name())?,
            version: text(term, atoms::version())?,
            repo: optional_text(term, atoms::repo())?,
            lock: decode_lock(optional(term, atoms::lock())?.unwrap_or_default())?,
        }))
    } else if op == atoms::plugins() {
        Ok(Op::Plugins(Plugins {
            name: text(term, atoms::name())?,
            packages: decode_lock(need(term, atoms::packages())?)?,
            lock: decode_lock(optional(term, atoms::lock())?.unwrap_or_default())?,
            max_bytes: optional(term, atoms::max_bytes())?.unwrap_or(limits::TARBALL_BYTES),
        }))
    } else if op == atoms::fetch() {
        Ok(Op::Fetch(Fetch {
            packages: decode_lock(need(term, atoms::packages())?)?,
            dir: path_of(&need(term, atoms::dir())?),
            max_bytes: optional(term, atoms::max_bytes())?.unwrap_or(limits::TARBALL_BYTES),
        }))
    } else {
        Err(Error::BadArg)
    }
}

fn decode_repo(term: Term<'_>) -> NifResult<Repo> {
    let file = optional::<Binary>(term, atoms::auth_key_file())?;
    let name = optional_text(term, atoms::auth_key_env())?;
    Ok(Repo {
        name: text(term, atoms::name())?,
        url: text(term, atoms::url())?,
        public_key: optional_text(term, atoms::public_key())?,
        auth_key: match file {
            Some(path) => Some(AuthKey::File(path_of(&path))),
            None => name.map(AuthKey::Env),
        },
    })
}

fn decode_lock(entries: Vec<Term<'_>>) -> NifResult<Vec<Locked>> {
    entries.into_iter().map(decode_locked).collect()
}

fn decode_locked(term: Term<'_>) -> NifResult<Locked> {
    let name = text(term, atoms::name())?;
    let requirements = optional::<Vec<Term>>(term, atoms::requirements())?;
    let decode = |entries: Vec<Term>| entries.into_iter().map(decode_dependency).collect();
    Ok(Locked {
        app: optional_text(term, atoms::app())?.unwrap_or_else(|| name.clone()),
        version: text(term, atoms::version())?,
        repo: text(term, atoms::repo())?,
        sha256: text(term, atoms::sha256())?,
        requirements: requirements.map(decode).transpose()?,
        name,
    })
}

fn decode_dependency(term: Term<'_>) -> NifResult<Dependency> {
    let name = text(term, atoms::name())?;
    Ok(Dependency {
        app: optional_text(term, atoms::app())?.unwrap_or_else(|| name.clone()),
        requirement: text(term, atoms::requirement())?,
        optional: optional(term, atoms::optional())?.unwrap_or(false),
        repository: optional_text(term, atoms::repo())?,
        name,
    })
}

fn optional_text(term: Term<'_>, key: Atom) -> NifResult<Option<String>> {
    let bytes = optional::<Binary>(term, key)?;
    Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

fn encode_resolved<'a>(env: Env<'a>, resolved: &Resolved) -> Term<'a> {
    map(
        env,
        &[
            (atoms::lock(), list(env, &resolved.lock, encode_locked)),
            (
                atoms::retired(),
                list(env, &resolved.retired, encode_retired),
            ),
        ],
    )
}

fn encode_locked<'a>(env: Env<'a>, locked: &Locked) -> Term<'a> {
    let mut pairs = vec![
        (atoms::name(), words(env, &locked.name)),
        (atoms::app(), words(env, &locked.app)),
        (atoms::version(), words(env, &locked.version)),
        (atoms::repo(), words(env, &locked.repo)),
        (atoms::sha256(), words(env, &locked.sha256)),
    ];
    if let Some(requirements) = &locked.requirements {
        let requirements = list(env, requirements, encode_dependency);
        pairs.push((atoms::requirements(), requirements));
    }
    map(env, &pairs)
}

fn encode_dependency<'a>(env: Env<'a>, needed: &Dependency) -> Term<'a> {
    let repo = needed.repository.as_ref().map(|repo| words(env, repo));
    map(
        env,
        &[
            (atoms::name(), words(env, &needed.name)),
            (atoms::app(), words(env, &needed.app)),
            (atoms::requirement(), words(env, &needed.requirement)),
            (atoms::optional(), needed.optional.encode(env)),
            (atoms::repo(), or_undefined(env, repo)),
        ],
    )
}

fn encode_retired<'a>(env: Env<'a>, retired: &Retired) -> Term<'a> {
    let message = retired.retirement.message.as_ref();
    map(
        env,
        &[
            (atoms::name(), words(env, &retired.name)),
            (atoms::version(), words(env, &retired.version)),
            (atoms::reason(), words(env, &retired.retirement.reason)),
            (
                atoms::message(),
                or_undefined(env, message.map(|message| words(env, message))),
            ),
        ],
    )
}

fn encode_fetched<'a>(env: Env<'a>, fetched: &Fetched) -> Term<'a> {
    use std::os::unix::ffi::OsStrExt;
    let (locked, metadata) = (&fetched.locked, &fetched.metadata);
    let elixir = metadata.elixir.as_ref().map(|elixir| words(env, elixir));
    map(
        env,
        &[
            (atoms::name(), words(env, &locked.name)),
            (atoms::app(), words(env, &metadata.app)),
            (atoms::version(), words(env, &locked.version)),
            (atoms::repo(), words(env, &locked.repo)),
            (atoms::sha256(), words(env, &locked.sha256)),
            (atoms::inner_sha256(), words(env, &fetched.inner)),
            (
                atoms::path(),
                binary(env, fetched.path.as_os_str().as_bytes()),
            ),
            (atoms::cached(), fetched.cached.encode(env)),
            (
                atoms::build_tools(),
                list(env, &metadata.build_tools, |env, tool| words(env, tool)),
            ),
            (atoms::elixir(), or_undefined(env, elixir)),
            (
                atoms::requirements(),
                list(env, &metadata.requirements, encode_dependency),
            ),
            (atoms::plugins(), list(env, &fetched.plugins, encode_plugin)),
        ],
    )
}

fn encode_plugin<'a>(env: Env<'a>, plugin: &Plugin) -> Term<'a> {
    let source = match plugin.source {
        Source::Hex { .. } => atoms::hex(),
        Source::Elsewhere => atoms::elsewhere(),
    };
    let called = match plugin.called {
        Called::No => atoms::no(),
        Called::Perhaps => atoms::perhaps(),
        Called::Yes => atoms::yes(),
    };
    map(
        env,
        &[
            (atoms::app(), words(env, &plugin.app)),
            (atoms::source(), source.encode(env)),
            (atoms::called(), called.encode(env)),
        ],
    )
}

fn list<'a, T>(env: Env<'a>, items: &[T], encode: impl Fn(Env<'a>, &T) -> Term<'a>) -> Term<'a> {
    items
        .iter()
        .map(|item| encode(env, item))
        .collect::<Vec<_>>()
        .encode(env)
}

fn words<'a>(env: Env<'a>, text: &str) -> Term<'a> {
    binary(env, text.as_bytes())
}

fn or_undefined<'a>(env: Env<'a>, value: Option<impl Encoder>) -> Term<'a> {
    value.map_or(atoms::undefined().encode(env), |value| value.encode(env))
}
