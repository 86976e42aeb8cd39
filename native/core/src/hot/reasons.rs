//! What speaks against changing code while it runs.

use std::path::Path;

use super::compare::{Comparison, ModuleChange};
use super::private::is_native;
use super::{Options, Script, Strategy, roles};

/// Why an application is restarted; the border turns each into the atom of the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReasonKind {
    /// Its spec asks for it.
    Asked,
    /// The builds are of different OTPs or Elixirs.
    ToolchainChanged,
    /// Another version, and nothing says that it can be hot.
    VersionChanged,
    /// Processes hold state that this module understands.
    CallbackModule,
    /// A module that loads a native library.
    NifChanged,
    /// The native library itself.
    PrivChanged,
    /// How the application is started.
    ModChanged,
    /// In which phases it is started.
    StartPhasesChanged,
    /// What it includes.
    IncludedChanged,
    /// It needs applications that did not have to run before.
    ApplicationsChanged,
    /// Elixir's consolidated protocols.
    ConsolidatedChanged,
    /// The appup says nothing of a module that changed: its old code would stay.
    AppupIncomplete,
    /// The appup restarts the VM.
    AppupRestart,
}

/// A reason as people read it behind "restart: ".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// What kind of reason it is.
    pub kind: ReasonKind,
    /// The application.
    pub app: String,
    /// The module that it is about.
    pub module: Option<String>,
    /// The file that it is about, from the build's directory on.
    pub path: Option<String>,
    /// One clause.
    pub message: String,
}

/// Everything that speaks against it; the first is what is told when there is room for one.
pub(super) fn against(builds: &[Comparison], options: &Options) -> Vec<Reason> {
    let mut reasons = Vec::new();
    if let Some(first) = builds.first() {
        if options.strategy == Strategy::Restart {
            reasons.push(reason(
                first,
                ReasonKind::Asked,
                "its spec asks for a restart".into(),
            ));
        }
        if !options.toolchain_same {
            let message = "the builds are of different versions of OTP or Elixir";
            reasons.push(reason(first, ReasonKind::ToolchainChanged, message.into()));
        }
    }
    for (number, build) in builds.iter().enumerate() {
        let script = options.script.as_ref().filter(|_| number == 0);
        reasons.extend(of_one(build, options.strategy, script));
    }
    reasons
}

/// Whoever wrote an appup has thought of versions, processes and how the application starts.
fn of_one(build: &Comparison, strategy: Strategy, script: Option<&Script>) -> Vec<Reason> {
    let auto = strategy == Strategy::Auto && script.is_none();
    let mut reasons = Vec::new();
    if auto {
        reasons.extend(version(build));
    }
    match script {
        Some(script) => reasons.extend(left_out(build, script)),
        None => reasons.extend(start(build)),
    }
    reasons.extend(native(build));
    if build.consolidated {
        let message = format!("Elixir's protocols changed in {}", build.app.name);
        reasons.push(reason(build, ReasonKind::ConsolidatedChanged, message));
    }
    if auto {
        reasons.extend(callbacks(build));
    }
    reasons
}

fn left_out(build: &Comparison, script: &Script) -> Vec<Reason> {
    let app = &build.app.name;
    let left = build.modules.iter();
    let left = left.filter(|(name, _)| !script.covers(app, name));
    let mut reasons: Vec<Reason> = left
        .map(|(name, change)| {
            let (module, what) = (shown(name), what(change));
            let message = format!("{app}.appup leaves out {module}, which {what}");
            Reason {
                module: Some(name.clone()),
                ..reason(build, ReasonKind::AppupIncomplete, message)
            }
        })
        .collect();
    if script.emulator {
        let message = format!("{app}.appup asks for a restart of the VM");
        reasons.push(reason(build, ReasonKind::AppupRestart, message));
    }
    reasons
}

fn reason(build: &Comparison, kind: ReasonKind, message: String) -> Reason {
    Reason {
        kind,
        app: build.app.name.clone(),
        module: None,
        path: None,
        message,
    }
}

fn version(build: &Comparison) -> Option<Reason> {
    let app = &build.app;
    let text = |version: &Option<String>| version.clone().unwrap_or_else(|| "none".into());
    (app.old_version != app.new_version).then(|| {
        let message = format!(
            "the version of {} changed from {} to {}",
            app.name,
            text(&app.old_version),
            text(&app.new_version)
        );
        reason(build, ReasonKind::VersionChanged, message)
    })
}

/// What is looked at only when an application starts.
fn start(build: &Comparison) -> Vec<Reason> {
    let keys = [
        ("mod", ReasonKind::ModChanged),
        ("start_phases", ReasonKind::StartPhasesChanged),
        ("included_applications", ReasonKind::IncludedChanged),
    ];
    let changed = |key: &str| build.app.changed.iter().any(|changed| changed == key);
    let mut reasons: Vec<Reason> = keys
        .into_iter()
        .filter(|(key, _)| changed(key))
        .map(|(key, kind)| reason(build, kind, format!("{key} of {} changed", build.app.name)))
        .collect();
    if !build.app.needs.is_empty() {
        let needs = build.app.needs.join(", ");
        let message = format!("{} now needs {needs}", build.app.name);
        reasons.push(reason(build, ReasonKind::ApplicationsChanged, message));
    }
    reasons
}

/// OTP loads no native library over another one. What is only new disturbs nothing.
fn native(build: &Comparison) -> Vec<Reason> {
    let modules = build
        .nif()
        .filter(|name| build.modules[*name].old.is_some());
    let modules = modules.map(|name| {
        let what = what(&build.modules[name]);
        let message = format!("{}, which loads a native library, {what}", shown(name));
        Reason {
            module: Some(name.to_owned()),
            ..reason(build, ReasonKind::NifChanged, message)
        }
    });
    let changed = build.private.changed.iter().map(|path| (path, "changed"));
    let removed = build
        .private
        .removed
        .iter()
        .map(|path| (path, "was removed"));
    let files = changed.chain(removed).filter(|(path, _)| is_native(path));
    modules
        .chain(files.map(|(path, what)| library(build, path, what)))
        .collect()
}

fn library(build: &Comparison, path: &Path, what: &str) -> Reason {
    let path = path.to_string_lossy().into_owned();
    let message = format!("the native library {path} of {} {what}", build.app.name);
    Reason {
        path: Some(path),
        ..reason(build, ReasonKind::PrivChanged, message)
    }
}

fn callbacks(build: &Comparison) -> Vec<Reason> {
    let there = build
        .modules
        .iter()
        .filter(|(_, change)| change.old.is_some());
    there
        .filter_map(|(name, change)| {
            let role = change.infos().find_map(roles::callback).or_else(|| {
                build
                    .app
                    .callbacks
                    .contains(name)
                    .then_some("application module")
            })?;
            Some(Reason {
                module: Some(name.clone()),
                ..reason(
                    build,
                    ReasonKind::CallbackModule,
                    format!("the {role} {} {}", shown(name), what(change)),
                )
            })
        })
        .collect()
}

fn what(change: &ModuleChange) -> &'static str {
    match (&change.old, &change.new) {
        (None, _) => "is new",
        (_, None) => "was removed",
        _ => "changed",
    }
}

/// A module as people write its name.
fn shown(module: &str) -> &str {
    module.strip_prefix("Elixir.").unwrap_or(module)
}
