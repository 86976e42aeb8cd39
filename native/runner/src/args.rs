//! The command line. Only bc_gitops itself calls this program, so every flag is required in full.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// What to do.
#[derive(Debug)]
pub enum Mode {
    /// Run a command.
    Run(Run),
    /// End the processes that a dead run left.
    Reap(Reap),
    /// Remove a directory.
    Remove(Remove),
}

/// A command and its limits.
#[derive(Debug)]
pub struct Run {
    /// The whole run may take this long.
    pub deadline: Duration,
    /// From TERM to KILL.
    pub grace: Duration,
    /// Output past this ends the run.
    pub max_output: u64,
    /// What its processes may use.
    pub limits: Limits,
    /// Where the command runs.
    pub cd: Option<PathBuf>,
    /// Absolute path of the program.
    pub program: OsString,
    /// Its arguments.
    pub args: Vec<OsString>,
}

/// What all processes of a command may use together; `None` is no limit.
#[derive(Debug, Clone, Default)]
pub struct Limits {
    /// How many there may be at a time.
    pub processes: Option<u64>,
    /// Bytes of memory that they hold.
    pub memory: Option<u64>,
    /// Bytes on disk below `scratch`, and in files that they hold open without a name.
    pub disk: Option<u64>,
    /// Where a command writes.
    pub scratch: Option<PathBuf>,
    /// Open files of each.
    pub files: Option<u64>,
}

/// Whose processes to end.
#[derive(Debug)]
pub struct Reap {
    /// A scratch directory: processes whose environment or working directory is in it.
    pub marker: PathBuf,
    /// How long runners may take to end by themselves.
    pub wait: Duration,
}

/// What to remove.
#[derive(Debug)]
pub struct Remove {
    /// An absolute directory.
    pub dir: PathBuf,
}

/// Reads the arguments after the program's name.
pub fn parse(mut args: impl Iterator<Item = OsString>) -> Result<Mode, String> {
    match args.next().as_ref().and_then(|mode| mode.to_str()) {
        Some("run") => parse_run(args).map(Mode::Run),
        Some("reap") => parse_reap(args).map(Mode::Reap),
        Some("remove") => parse_remove(args).map(Mode::Remove),
        _ => Err("expected run, reap or remove".into()),
    }
}

fn parse_run(mut args: impl Iterator<Item = OsString>) -> Result<Run, String> {
    let (mut deadline, mut grace, mut max_output, mut cd) = (None, None, None, None);
    let mut limits = Limits::default();
    while let Some(flag) = args.next() {
        match flag.to_str() {
            Some("--deadline") => deadline = Some(number(&mut args)?),
            Some("--grace") => grace = Some(number(&mut args)?),
            Some("--max-output") => max_output = Some(number(&mut args)?),
            Some("--processes") => limits.processes = Some(number(&mut args)?),
            Some("--memory") => limits.memory = Some(number(&mut args)?),
            Some("--disk") => limits.disk = Some(number(&mut args)?),
            Some("--scratch") => limits.scratch = Some(PathBuf::from(value(&mut args)?)),
            Some("--files") => limits.files = Some(number(&mut args)?),
            Some("--cd") => cd = Some(PathBuf::from(value(&mut args)?)),
            Some("--") => {
                return Ok(Run {
                    deadline: Duration::from_millis(deadline.ok_or("no --deadline")?),
                    grace: Duration::from_millis(grace.ok_or("no --grace")?),
                    max_output: max_output.ok_or("no --max-output")?,
                    limits,
                    cd,
                    program: args.next().ok_or("no program")?,
                    args: args.collect(),
                });
            }
            _ => return Err(format!("unknown argument {flag:?}")),
        }
    }
    Err("no -- before the program".into())
}

fn parse_reap(mut args: impl Iterator<Item = OsString>) -> Result<Reap, String> {
    let (mut marker, mut wait) = (None, None);
    while let Some(flag) = args.next() {
        match flag.to_str() {
            Some("--marker") => marker = Some(PathBuf::from(value(&mut args)?)),
            Some("--wait") => wait = Some(number(&mut args)?),
            _ => return Err(format!("unknown argument {flag:?}")),
        }
    }
    let marker = below_another(marker.ok_or("no --marker")?)?;
    let wait = Duration::from_millis(wait.ok_or("no --wait")?);
    Ok(Reap { marker, wait })
}

fn parse_remove(mut args: impl Iterator<Item = OsString>) -> Result<Remove, String> {
    let dir = below_another(PathBuf::from(value(&mut args)?))?;
    match args.next() {
        None => Ok(Remove { dir }),
        Some(more) => Err(format!("unknown argument {more:?}")),
    }
}

fn below_another(dir: PathBuf) -> Result<PathBuf, String> {
    if dir.is_absolute() && dir.components().count() >= 3 {
        Ok(dir)
    } else {
        Err(format!(
            "{} is not an absolute directory below another",
            dir.display()
        ))
    }
}

fn value(args: &mut impl Iterator<Item = OsString>) -> Result<OsString, String> {
    args.next().ok_or_else(|| "a value is missing".into())
}

fn number(args: &mut impl Iterator<Item = OsString>) -> Result<u64, String> {
    let text = value(args)?;
    let number = text.to_str().and_then(|digits| digits.parse().ok());
    number.ok_or_else(|| format!("{text:?} is not a number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_words(line: &str) -> Result<Mode, String> {
        parse(line.split(' ').map(OsString::from))
    }

    #[test]
    fn a_command_is_what_follows_the_two_dashes() {
        let line = "run --deadline 1 --grace 2 --max-output 3 --cd /tmp -- /bin/sh -c --grace";
        let Ok(Mode::Run(run)) = parse_words(line) else {
            panic!("not parsed");
        };
        assert_eq!(run.program, "/bin/sh");
        assert_eq!(run.args, ["-c", "--grace"]);
        assert_eq!(run.grace, Duration::from_millis(2));
    }

    #[test]
    fn nonsense_is_refused() {
        for line in [
            "",
            "run",
            "run --deadline x -- a",
            "reap --marker / --wait 1",
            "reap",
            "remove",
            "remove /",
            "remove /tmp",
            "remove tmp/a/b",
            "remove /tmp/a /tmp/b",
        ] {
            assert!(parse_words(line).is_err(), "{line}");
        }
    }
}
