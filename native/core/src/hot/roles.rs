//! What modules are to processes, by their behaviours and exports.

use crate::beam::Info;

/// Behaviours whose callbacks a process calls with its state, and what people call them.
const CALLBACKS: &[(&str, &str)] = &[
    ("gen_server", "gen_server"),
    ("gen_statem", "gen_statem"),
    ("gen_event", "gen_event"),
    ("gen_fsm", "gen_fsm"),
    ("supervisor", "supervisor"),
    ("supervisor_bridge", "supervisor_bridge"),
    ("application", "application module"),
    ("Elixir.GenServer", "GenServer"),
    ("Elixir.Supervisor", "Supervisor"),
    ("Elixir.DynamicSupervisor", "DynamicSupervisor"),
    ("Elixir.Application", "Application"),
    ("Elixir.GenStage", "GenStage"),
];
const SUPERVISORS: &[&str] = &[
    "supervisor",
    "Elixir.Supervisor",
    "Elixir.DynamicSupervisor",
];

/// Functions that only a process's callback module has.
const TELLING: &[(&str, u32)] = &[
    ("handle_call", 3),
    ("handle_cast", 2),
    ("handle_info", 2),
    ("callback_mode", 0),
];
/// Functions that change the state of processes.
const STATE: &[(&str, u32)] = &[
    ("code_change", 3),
    ("code_change", 4),
    ("system_code_change", 4),
];

/// Whether it names a supervisor's behaviour.
pub(super) fn is_supervisor(info: &Info) -> bool {
    info.behaviours
        .iter()
        .any(|name| SUPERVISORS.contains(&name.as_str()))
}

/// Whether it can change the state of a process.
pub(super) fn changes_state(info: &Info) -> bool {
    exports(info, STATE)
}

/// What people call a module that processes call with their state; `None` for another one. Without
/// attributes a supervisor shows by nothing but `init/1`.
pub(super) fn callback(info: &Info) -> Option<&'static str> {
    let named = CALLBACKS
        .iter()
        .find(|(behaviour, _)| info.behaviours.iter().any(|name| name == behaviour));
    if let Some((_, role)) = named {
        return Some(role);
    }
    let by_exports = exports(info, TELLING)
        || changes_state(info)
        || info.stripped && exports(info, &[("init", 1)]);
    by_exports.then_some("callback module")
}

fn exports(info: &Info, functions: &[(&str, u32)]) -> bool {
    info.exports
        .iter()
        .any(|(name, arity)| functions.contains(&(name.as_str(), *arity)))
}
