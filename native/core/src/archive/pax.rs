//! The records of POSIX's extended headers: `LENGTH KEY=VALUE\n`, LENGTH over all of it.

use super::error::{ArchiveError, Result};

/// What of an extended header changes the entry after it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Records {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
}

pub(super) fn parse(mut bytes: &[u8]) -> Result<Records> {
    let mut records = Records::default();
    while !bytes.is_empty() {
        let (key, value, rest) = record(bytes).ok_or_else(malformed)?;
        match key {
            b"path" => once(&mut records.path, value.to_vec())?,
            b"linkpath" => once(&mut records.link, value.to_vec())?,
            b"size" => {
                let size = std::str::from_utf8(value).ok();
                let size = size.and_then(|size| size.parse().ok());
                once(&mut records.size, size.ok_or_else(malformed)?)?;
            }
            key if key.starts_with(b"GNU.sparse.") => {
                return Err(ArchiveError::bad("sparse files are not read"));
            }
            _ => {}
        }
        bytes = rest;
    }
    Ok(records)
}

fn record(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = bytes.iter().take(8).position(|byte| *byte == b' ')?;
    let length: usize = std::str::from_utf8(&bytes[..space]).ok()?.parse().ok()?;
    if length <= space + 1 || length > bytes.len() || bytes[length - 1] != b'\n' {
        return None;
    }
    let inside = &bytes[space + 1..length - 1];
    let equals = inside.iter().position(|byte| *byte == b'=')?;
    Some((&inside[..equals], &inside[equals + 1..], &bytes[length..]))
}

fn once<T>(place: &mut Option<T>, value: T) -> Result<()> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(ArchiveError::bad("an extended header says one thing twice")),
    }
}

fn malformed() -> ArchiveError {
    ArchiveError::bad("an extended header is malformed")
}
