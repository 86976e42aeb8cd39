//! The differences between one desired application and what runs of it, by name.

use super::{ActionKind, Current, Desired};

/// Why an action is in a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason<'a> {
    /// Desired, and not there.
    Absent,
    /// There, and not running.
    Stopped,
    /// There, and not desired.
    Orphan,
    /// Another version is wanted.
    Version {
        /// What runs.
        from: &'a [u8],
        /// What is wanted.
        to: &'a [u8],
    },
    /// Its code comes from elsewhere now.
    Source,
    /// The ref of its source names another commit now.
    Moved,
    /// Its environment differs.
    Environment,
    /// It shall run in this VM instead of its own, or the other way round.
    Isolation,
    /// Its loaded code is not that of its build.
    Drift,
    /// Its health checks fail.
    Unhealthy,
}

/// What to do about `desired`, with the reasons; `None` when it is as it should be.
pub(super) fn action<'a, N>(
    desired: &Desired<'a, N>,
    current: Option<&Current<'a, N>>,
) -> Option<(ActionKind, Vec<Reason<'a>>)> {
    let Some(current) = current else {
        return Some((ActionKind::Deploy, vec![Reason::Absent]));
    };
    let mut reasons = Vec::new();
    if !current.running {
        reasons.push(Reason::Stopped);
    }
    code(desired, current, &mut reasons);
    let replaced = !reasons.is_empty();
    if current.env.is_some_and(|env| env != desired.env) {
        reasons.push(Reason::Environment);
    }
    let kind = match (current.running, replaced) {
        (false, _) => ActionKind::Deploy,
        (true, true) => ActionKind::Upgrade,
        (true, false) => ActionKind::Reconfigure,
    };
    if reasons.is_empty() {
        None
    } else {
        Some((kind, reasons))
    }
}

/// Differences that only new code, or a new start, removes.
fn code<'a, N>(desired: &Desired<'a, N>, current: &Current<'a, N>, reasons: &mut Vec<Reason<'a>>) {
    let notes = current.notes;
    if !notes.pinned {
        if let Some(from) = current
            .version
            .filter(|version| *version != desired.version)
        {
            reasons.push(Reason::Version {
                from,
                to: desired.version,
            });
        }
        if current
            .source
            .is_some_and(|source| source != desired.source)
        {
            reasons.push(Reason::Source);
        }
        if notes.moved {
            reasons.push(Reason::Moved);
        }
    }
    if current.isolation != desired.isolation {
        reasons.push(Reason::Isolation);
    }
    if notes.drift && current.running {
        reasons.push(Reason::Drift);
    }
    if notes.unhealthy && current.running {
        reasons.push(Reason::Unhealthy);
    }
}
