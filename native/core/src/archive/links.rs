//! Where symbolic links lead, found out without the disk.

use std::collections::BTreeMap;

use crate::job::Control;

use super::error::{ArchiveError, Kind, Result};
use super::name::Name;

/// As many as the kernel follows for one name.
const MAX_FOLLOWED: usize = 40;

/// Deeper than any entry.
const MAX_DEPTH: usize = 64;

/// Checks that no link leads out of the archive's root, whatever other links are on its way.
pub(super) fn check(links: &BTreeMap<Name, String>, control: &Control) -> Result<()> {
    for (name, target) in links {
        control.check()?;
        let mut at = name.parent().parts().to_vec();
        let mut followed = 0;
        let inside = walk(&mut at, target, links, &mut followed);
        inside.map_err(|why| {
            ArchiveError::new(Kind::LinkOutside, why).about(name.to_text().as_bytes())
        })?;
    }
    Ok(())
}

fn walk(
    at: &mut Vec<String>,
    target: &str,
    links: &BTreeMap<Name, String>,
    followed: &mut usize,
) -> std::result::Result<(), &'static str> {
    *followed += 1;
    if *followed > MAX_FOLLOWED {
        return Err("links of the archive lead in a circle");
    }
    if target.is_empty() || target.starts_with('/') {
        return Err("a link of the archive leads to an absolute path");
    }
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(at.pop().ok_or("a link leads out of the archive")?),
            _ if at.len() > MAX_DEPTH => return Err("a link of the archive leads too deep"),
            part => {
                at.push(part.to_owned());
                if let Some(next) = links.get(&Name::of_parts(at)) {
                    at.pop();
                    walk(at, next, links, followed)?;
                }
            }
        }
    }
    Ok(())
}
