//! Binaries and bitstrings: `<<"text"/utf8, 1:4, 2.5/float-little>>`, after `erl_bits`
//! (defaults and conflicts of segment types) and `eval_bits` (what a segment becomes).

use std::borrow::Cow;

use super::super::limits;
use super::super::problem::{Fault, Kind};
use super::super::value::{Big, Value};
use super::parser::Parser;
use super::segment::{Refused, Size, Spec};
use super::writer::Writer;

/// What a segment is made from.
enum Item<'a> {
    Text(Cow<'a, str>),
    Number(Value<'a>),
    Bits(Writer),
}

impl<'a> Parser<'a> {
    /// A binary; the cursor is on `<<`.
    pub(super) fn bitstring(&mut self) -> Result<Value<'a>, Fault> {
        if let Some(plain) = self.plain_binary() {
            return Ok(plain);
        }
        Ok(self.segments()?.into_value())
    }

    /// `<<>>`, `<<"ascii">>` and `<<"text"/utf8>>` without escapes: borrowed from the text.
    fn plain_binary(&mut self) -> Option<Value<'a>> {
        let rest = &self.bytes[self.pos..];
        if rest.starts_with(b"<<>>") {
            self.pos += 4;
            return Some(Value::Binary(Cow::Borrowed(b"")));
        }
        let body = rest.strip_prefix(b"<<\"")?;
        let end = body
            .iter()
            .position(|&byte| byte == b'"' || byte == b'\\' || byte >= 0x80)?;
        let (content, tail) = (&body[..end], &body[end..]);
        let length = match tail {
            [b'"', b'>', b'>', ..] => 3,
            [b'"', b'/', b'u', b't', b'f', b'8', b'>', b'>', ..] => 8,
            _ => return None,
        };
        self.pos += 3 + end + length;
        Some(Value::Binary(Cow::Borrowed(content)))
    }

    fn segments(&mut self) -> Result<Writer, Fault> {
        self.pos += 2;
        let mut out = Writer::default();
        self.skip()?;
        if self.closes() {
            return Ok(out);
        }
        loop {
            self.segment(&mut out)?;
            self.skip()?;
            if self.closes() {
                return Ok(out);
            }
            self.expect(b',', "`,` or `>>`")?;
        }
    }

    fn closes(&mut self) -> bool {
        let found = self.bytes[self.pos..].starts_with(b">>");
        self.pos += if found { 2 } else { 0 };
        found
    }

    fn segment(&mut self, out: &mut Writer) -> Result<(), Fault> {
        self.skip()?;
        let at = self.pos;
        let item = self.item(0)?;
        let size = self.size()?;
        let spec = self.types()?;
        let layout = spec.layout(size).ok_or_else(|| {
            Fault::syntax(
                at,
                self.excerpt(at, self.pos),
                "a segment whose size and type go together",
            )
        })?;
        let before = out.bit_count();
        let room = self.bit_room as u64 * 8;
        let written = match &item {
            Item::Text(text) => layout.text(text, out, room),
            Item::Number(number) => layout.number(number, out, room),
            Item::Bits(bits) => layout.bits(bits, out),
        };
        match written {
            Ok(()) => {
                let bytes = out.bit_count().saturating_sub(before).div_ceil(8) as usize;
                self.bit_room = self.bit_room.saturating_sub(bytes);
                Ok(())
            }
            Err(Refused::Room) => {
                let expected = format!(
                    "at most {} bytes of binaries in a file",
                    limits::BITSTRING_BYTES
                );
                Err(Fault::new(
                    Kind::TooLarge,
                    at,
                    self.excerpt(at, self.pos),
                    expected,
                ))
            }
            Err(Refused::Value) => Err(Fault::syntax(
                at,
                self.excerpt(at, self.pos),
                "a value that fits the type of its segment",
            )),
        }
    }

    fn item(&mut self, depth: usize) -> Result<Item<'a>, Fault> {
        self.skip()?;
        if depth > limits::DEPTH {
            let expected = format!("at most {} levels of nesting", limits::DEPTH);
            return Err(Fault::new(
                Kind::TooDeep,
                self.pos,
                "deeper nesting",
                expected,
            ));
        }
        match self.byte() {
            Some(b'(') => {
                self.pos += 1;
                let item = self.item(depth + 1)?;
                self.expect(b')', "`)`")?;
                Ok(item)
            }
            Some(b'"') => Ok(Item::Text(self.string_literal()?)),
            Some(b'~') => Ok(match self.sigil_content()? {
                (false, text) => Item::Text(text),
                (true, text) => Item::Bits(Writer {
                    bytes: text.into_owned().into_bytes(),
                    used: 0,
                }),
            }),
            Some(b'<') if self.byte_at(1) == Some(b'<') => match self.term()?.value {
                Value::Binary(bytes) => Ok(Item::Bits(Writer {
                    bytes: bytes.into_owned(),
                    used: 0,
                })),
                Value::Bits(bytes, used) => Ok(Item::Bits(Writer { bytes, used })),
                _ => Err(Fault::syntax(self.pos, self.here(), "a binary")),
            },
            Some(b'0'..=b'9' | b'$' | b'-' | b'+') => Ok(Item::Number(self.term()?.value)),
            _ => Err(Fault::syntax(
                self.pos,
                self.here(),
                "a number, a string or a binary",
            )),
        }
    }

    fn size(&mut self) -> Result<Size, Fault> {
        self.skip()?;
        if self.byte() != Some(b':') || matches!(self.byte_at(1), Some(b':' | b'=')) {
            return Ok(Size::Default);
        }
        self.pos += 1;
        self.skip()?;
        let at = self.pos;
        if matches!(self.byte(), Some(b'-' | b'+')) {
            return Err(Fault::syntax(at, self.here(), "a size"));
        }
        match self.term()?.value {
            Value::Int(size) if size >= 0 => Ok(Size::Units(size as u64)),
            Value::Big(Big {
                negative: false, ..
            }) => Ok(Size::Units(u64::MAX)),
            Value::Atom(name) if name == "all" => Ok(Size::All),
            Value::Atom(name) if name == "undefined" => Ok(Size::Undefined),
            _ => Err(Fault::syntax(
                at,
                self.excerpt(at, self.pos),
                "a size that is not negative",
            )),
        }
    }

    fn types(&mut self) -> Result<Spec, Fault> {
        self.skip()?;
        let mut spec = Spec::default();
        if self.byte() != Some(b'/') || self.byte_at(1) == Some(b'=') {
            return Ok(spec);
        }
        loop {
            self.pos += 1;
            self.skip()?;
            let at = self.pos;
            if !matches!(self.byte(), Some(b'a'..=b'z' | b'\'')) {
                return Err(Fault::syntax(at, self.here(), "a type of a segment"));
            }
            let Value::Atom(name) = self.term()?.value else {
                return Err(Fault::syntax(at, self.here(), "a type of a segment"));
            };
            self.skip()?;
            let unit = match self.byte() {
                Some(b':') => Some(self.unit()?),
                _ => None,
            };
            if !spec.add(&name, unit) {
                let expected =
                    "types that exist and go together (integer, utf8, little, unit:8 and the like)";
                return Err(Fault::syntax(at, self.excerpt(at, self.pos), expected));
            }
            self.skip()?;
            if self.byte() != Some(b'-') || matches!(self.byte_at(1), Some(b'-' | b'>')) {
                return Ok(spec);
            }
        }
    }

    fn unit(&mut self) -> Result<u64, Fault> {
        self.pos += 1;
        self.skip()?;
        match self.byte() {
            Some(b'0'..=b'9') => match self.number()? {
                Value::Int(unit @ 1..=256) => Ok(unit as u64),
                _ => Err(Fault::syntax(self.pos, self.here(), "a unit from 1 to 256")),
            },
            _ => Err(Fault::syntax(self.pos, self.here(), "a unit from 1 to 256")),
        }
    }
}
