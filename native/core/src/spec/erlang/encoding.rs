//! The encoding of a file of terms: UTF-8 unless a comment in the first two lines says latin-1
//! (the rule of `epp:read_encoding/1`, its limit of 512 bytes included).

use std::borrow::Cow;

use super::super::problem::{Fault, Kind};

/// The part that `epp` looks at: 16 reads of 32 bytes.
const LOOKED_AT: usize = 512;
/// Up to here the end of the file comes before the last of these reads.
const END_SEEN: usize = 480;

/// The text of a file of terms.
pub fn decode(bytes: &[u8]) -> Result<Cow<'_, str>, Fault> {
    if declares_latin1(bytes) {
        return Ok(match std::str::from_utf8(bytes) {
            Ok(text) if text.is_ascii() => Cow::Borrowed(text),
            _ => Cow::Owned(bytes.iter().map(|&byte| byte as char).collect()),
        });
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(Cow::Borrowed(text)),
        Err(error) => {
            let at = error.valid_up_to();
            let expected = "UTF-8, or a first line with %% coding: latin-1";
            Err(Fault::new(
                Kind::Encoding,
                at,
                format!("byte 16#{:02X}", bytes[at]),
                expected,
            ))
        }
    }
}

fn declares_latin1(bytes: &[u8]) -> bool {
    let head = &bytes[..bytes.len().min(LOOKED_AT)];
    let mut lines = head
        .split_inclusive(|&byte| byte == b'\n')
        .scan(0, |start, line| {
            let at = *start;
            *start += line.len();
            Some((at, line))
        });
    // The name may run over the end of its line's slice only at the end of what is looked at.
    lines
        .by_ref()
        .take(2)
        .find_map(|(at, line)| {
            let comment = line.iter().position(|&byte| byte == b'%')?;
            declaration(&head[at + comment + 1..at + line.len()])
        })
        .is_some_and(|(name, at_end)| {
            let cut = at_end
                && name.as_ptr_range().end == head.as_ptr_range().end
                && bytes.len() > END_SEEN;
            !cut && is_latin1(name)
        })
}

/// The first `coding: NAME` of a comment, and whether the name ends with the comment.
fn declaration(comment: &[u8]) -> Option<(&[u8], bool)> {
    let mut rest = comment;
    loop {
        let at = rest.windows(6).position(|window| window == b"coding")?;
        rest = &rest[at + 6..];
        let after = trim_spaces(rest);
        if let [b':' | b'=', name @ ..] = after {
            let name = trim_spaces(name);
            let end = name
                .iter()
                .position(|byte| !(byte.is_ascii_alphanumeric() || *byte == b'-'));
            return Some((&name[..end.unwrap_or(name.len())], end.is_none()));
        }
    }
}

fn trim_spaces(bytes: &[u8]) -> &[u8] {
    let start = bytes
        .iter()
        .position(|&byte| byte != b' ')
        .unwrap_or(bytes.len());
    &bytes[start..]
}

fn is_latin1(name: &[u8]) -> bool {
    let mut parts = name.split(|&byte| byte == b'-');
    parts
        .next()
        .is_some_and(|part| part.eq_ignore_ascii_case(b"latin"))
        && parts.next().is_some_and(|part| part == b"1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_in_the_first_two_lines_declares_latin1() {
        for head in [
            "%% coding: latin-1\n",
            "%% -*- coding: latin-1 -*-\n",
            "\n% coding=Latin-1\n",
        ] {
            let mut bytes = head.as_bytes().to_vec();
            bytes.push(0xE9);
            assert!(
                decode(&bytes).is_ok_and(|text| text.ends_with('é')),
                "{head}"
            );
        }
        for head in [
            "",
            "\n\n%% coding: latin-1\n",
            "%% coding: utf-8\n",
            "coding: latin-1\n",
        ] {
            let mut bytes = head.as_bytes().to_vec();
            bytes.push(0xE9);
            assert!(decode(&bytes).is_err(), "{head}");
        }
    }
}
