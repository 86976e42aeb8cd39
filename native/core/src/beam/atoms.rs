//! The table of a file's atoms, the first of which is the module's name.

use std::borrow::Cow;

/// A table: a count, then each atom's length and bytes. From OTP 28 on a negative count says that
/// lengths are in the compact form of operands: up to 15 in the upper half of one byte, longer ones
/// (up to 2047) in eleven bits of two.
#[derive(Clone, Copy)]
pub(super) struct AtomTable<'b> {
    count: usize,
    compact: bool,
    latin1: bool,
    rest: &'b [u8],
}

impl<'b> AtomTable<'b> {
    pub fn new(data: &'b [u8], latin1: bool) -> Option<Self> {
        let (count, rest) = data.split_first_chunk::<4>()?;
        let count = i32::from_be_bytes(*count);
        Some(Self {
            count: count.unsigned_abs() as usize,
            compact: count < 0,
            latin1,
            rest,
        })
    }

    /// The first atom.
    pub fn module(mut self) -> Option<Cow<'b, str>> {
        let name = self.take()?;
        Some(self.text(name))
    }

    /// All of them; `None` when the table ends before its count. As many as bytes may be: a count
    /// costs nothing to write.
    pub fn all(mut self) -> Option<Vec<Cow<'b, str>>> {
        let mut names = Vec::with_capacity(self.count.min(self.rest.len()));
        for _ in 0..self.count {
            let name = self.take()?;
            names.push(self.text(name));
        }
        Some(names)
    }

    fn text(&self, name: &'b [u8]) -> Cow<'b, str> {
        if self.latin1 && !name.is_ascii() {
            return name.iter().copied().map(char::from).collect();
        }
        String::from_utf8_lossy(name)
    }

    fn take(&mut self) -> Option<&'b [u8]> {
        let length = self.length()?;
        let (name, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(name)
    }

    fn length(&mut self) -> Option<usize> {
        let first = self.byte()?;
        if !self.compact {
            return Some(usize::from(first));
        }
        if first & 0b1000 == 0 {
            return Some(usize::from(first >> 4));
        }
        let second = self.byte()?;
        Some(usize::from(first & 0b1110_0000) << 3 | usize::from(second))
    }

    fn byte(&mut self) -> Option<u8> {
        let (&byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(byte)
    }
}
