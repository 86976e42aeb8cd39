//! The branches and tags of a remote, without a local repository.

use std::collections::BTreeMap;

use git2::Remote;

use crate::job::Control;

use super::error::{GitError, Result};
use super::request::{Listing, Request};
use super::session::{Budget, Head, Session};
use crate::url::Url;

/// Lists a remote: all of it, or the branches and tags of the given short names.
pub(crate) fn run(
    request: &Request,
    url: &str,
    only: &[String],
    control: &Control,
) -> Result<Listing> {
    let url = Url::parse(url, request.auth.policy)?;
    let auth = request.auth.bound_to(&url);
    let quiet = |_| {};
    let budget = Budget::new(request.max_bytes, &quiet);
    let session = Session::new(&url, &auth, control, &budget)?;
    let mut remote = Remote::create_detached(url.clean.as_str())
        .map_err(|error| GitError::local(&error).about(&url.clean))?;
    let heads = session.connected(&mut remote, |connection| session.heads(connection))?;
    let mut listing = collect(&heads);
    if !only.is_empty() {
        let head = listing.head.clone();
        let wanted = |name: &str| {
            only.iter()
                .any(|only| only == name || only == "HEAD" && head.as_deref() == Some(name))
        };
        listing
            .refs
            .retain(|name, _| short(name).is_some_and(wanted));
    }
    Ok(listing)
}

fn short(name: &str) -> Option<&str> {
    name.strip_prefix("refs/heads/")
        .or_else(|| name.strip_prefix("refs/tags/"))
}

/// Branches and tags by full name; a tag's peeled entry (`^{}`) stands for the tag.
pub(crate) fn collect(heads: &[Head]) -> Listing {
    let mut refs = BTreeMap::new();
    let mut peeled = BTreeMap::new();
    for head in heads.iter().filter(|head| short(&head.name).is_some()) {
        match head.name.strip_suffix("^{}") {
            Some(name) => peeled.insert(name.to_owned(), head.id.to_string()),
            None => refs.insert(head.name.clone(), head.id.to_string()),
        };
    }
    refs.extend(peeled);
    Listing {
        head: default_branch(heads),
        refs,
    }
}

/// The branch that the remote's HEAD names; servers that don't say are read by the commit id.
pub(crate) fn default_branch(heads: &[Head]) -> Option<String> {
    let head = heads.iter().find(|head| head.name == "HEAD")?;
    let branches = || {
        heads
            .iter()
            .filter(|other| other.name.starts_with("refs/heads/") && other.id == head.id)
    };
    let name = head.target.as_deref().or_else(|| {
        let preferred = branches()
            .find(|other| matches!(other.name.as_str(), "refs/heads/main" | "refs/heads/master"));
        preferred
            .or_else(|| branches().next())
            .map(|other| other.name.as_str())
    })?;
    name.strip_prefix("refs/heads/").map(str::to_owned)
}
