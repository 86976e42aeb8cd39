//! The processes of this machine as /proc shows them.

use rustix::process::{Pid, getpid, getsid};
use std::collections::HashMap;
use std::fs;

/// One process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its id.
    pub pid: Pid,
    /// Its parent's id, 0 for none.
    pub parent: i32,
    /// Its process group.
    pub group: Pid,
    /// Its session.
    pub session: i32,
    /// It ended and waits for its parent to look.
    pub zombie: bool,
    /// How many threads it has.
    pub threads: u64,
    /// Pages of memory that it holds.
    pub resident: u64,
}

/// All processes that can be seen.
pub fn all() -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter(|entry| {
            entry
                .file_name()
                .as_encoded_bytes()
                .iter()
                .all(u8::is_ascii_digit)
        })
        .filter_map(|entry| parse(&fs::read_to_string(entry.path().join("stat")).ok()?))
        .collect()
}

/// Every living process below this one. What shares our session is not of the command: it has its
/// own, and so a group's signal never reaches us.
pub fn descendants() -> Vec<Process> {
    let own_session = getsid(None).map_or(0, Pid::as_raw_pid);
    let processes = all();
    let mut children: HashMap<i32, Vec<&Process>> = HashMap::new();
    for process in &processes {
        children.entry(process.parent).or_default().push(process);
    }
    let mut found = Vec::new();
    let mut parents = vec![getpid().as_raw_pid()];
    while let Some(parent) = parents.pop() {
        for process in children.remove(&parent).unwrap_or_default() {
            parents.push(process.pid.as_raw_pid());
            if !process.zombie && process.session != own_session {
                found.push(process.clone());
            }
        }
    }
    found
}

/// `pid (name) state parent group session …`; the name may hold anything, so look from its end.
fn parse(stat: &str) -> Option<Process> {
    let pid = stat.split(' ').next()?.parse().ok()?;
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    let group = fields.next()?.parse().ok()?;
    let session = fields.next()?.parse().ok()?;
    // Fields 20 and 24 of proc(5), the session being the 6th.
    let threads = fields.nth(13)?.parse().ok()?;
    let resident = fields.nth(3)?.parse().ok()?;
    Some(Process {
        pid: Pid::from_raw(pid)?,
        parent,
        group: Pid::from_raw(group)?,
        session,
        zombie: matches!(state, "Z" | "X"),
        threads,
        resident,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_anything() {
        let stat = "42 (a) Z (b) S 7 42 40 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 9 0 11 2000 300 18";
        let process = parse(stat).unwrap();
        assert_eq!(
            (process.pid.as_raw_pid(), process.parent, process.session),
            (42, 7, 40)
        );
        assert!(!process.zombie);
        assert_eq!((process.threads, process.resident), (9, 300));
        assert_eq!(parse("nothing"), None);
    }

    #[test]
    fn this_test_is_among_them() {
        assert!(all().iter().any(|process| process.pid == getpid()));
    }
}
