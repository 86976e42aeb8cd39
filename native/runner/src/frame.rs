//! Frames to the VM: a 4-byte big-endian length, a tag, the content.
//!
//! Tag 0 is output of the command as it comes; tag 1, once and last, is how it ended, as text:
//! `exited N`, `signalled N`, `deadline`, `output_limit`, `process_limit`, `memory_limit`,
//! `disk_limit`, `files_limit` or `cannot_run TEXT`.

use std::io::{self, Write};

const OUTPUT: u8 = 0;
const END: u8 = 1;

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(
    not(target_os = "linux"),
    expect(dead_code, reason = "nobody counts processes there")
)]
pub enum End {
    /// The command's exit status.
    Exited(i32),
    /// The signal that ended the command.
    Signalled(i32),
    /// Its time was up.
    Deadline,
    /// It wrote more than it may.
    OutputLimit,
    /// More processes, or threads, than there may be.
    ProcessLimit,
    /// Its processes held more memory than they may.
    MemoryLimit,
    /// It wrote more to disk than it may.
    DiskLimit,
    /// A process had as many files open as it may.
    FilesLimit,
    /// It could not be started.
    CannotRun(String),
    /// Nobody waits for it any more; not reported.
    Cancelled,
}

/// Sends output.
pub fn output(to: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    frame(to, OUTPUT, bytes)
}

/// Sends how it ended.
pub fn end(to: &mut impl Write, end: &End) -> io::Result<()> {
    let text = match end {
        End::Exited(status) => format!("exited {status}"),
        End::Signalled(signal) => format!("signalled {signal}"),
        End::Deadline => "deadline".into(),
        End::OutputLimit => "output_limit".into(),
        End::ProcessLimit => "process_limit".into(),
        End::MemoryLimit => "memory_limit".into(),
        End::DiskLimit => "disk_limit".into(),
        End::FilesLimit => "files_limit".into(),
        End::CannotRun(message) => format!("cannot_run {message}"),
        End::Cancelled => return Ok(()),
    };
    frame(to, END, text.as_bytes())
}

fn frame(to: &mut impl Write, tag: u8, content: &[u8]) -> io::Result<()> {
    let length = u32::try_from(content.len() + 1).map_err(io::Error::other)?;
    to.write_all(&length.to_be_bytes())?;
    to.write_all(&[tag])?;
    to.write_all(content)?;
    to.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_carry_length_tag_and_content() {
        let mut bytes = Vec::new();
        output(&mut bytes, b"hi").unwrap();
        end(&mut bytes, &End::Exited(3)).unwrap();
        end(&mut bytes, &End::Cancelled).unwrap();
        assert_eq!(bytes, b"\0\0\0\x03\0hi\0\0\0\x09\x01exited 3");
    }
}
