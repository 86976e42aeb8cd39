//! Binaries and bitstrings: `<<"text"/utf8, 1:4, 2.5/float-little>>`, after `erl_bits`
//! (defaults and conflicts of segment types) and `eval_bits` (what a segment becomes).

use std::borrow::Cow;

use super::super::limits;
use super::super::problem::{Fault, Kind};
use super::super::value::{Big, Value};
use super::parser::Parser;

/// What a segment is made from.
enum Item<'a> {
    Text(Cow<'a, str>),
    Number(Value<'a>),
    Bits(Writer),
}

#[derive(Clone, Copy, PartialEq)]
enum Type {
    Integer,
    Float,
    Binary,
    Utf8,
    Utf16,
    Utf32,
}

#[derive(Clone, Copy, PartialEq)]
enum Size {
    Default,
    All,
    Undefined,
    Units(u64),
}

/// The type list of a segment as it was written.
#[derive(Default, Clone, Copy)]
struct Spec {
    kind: Option<Type>,
    unit: Option<u64>,
    little: Option<Endian>,
    signed: Option<bool>,
}

#[derive(Clone, Copy, PartialEq)]
enum Endian {
    Big,
    Little,
    Native,
}

/// A segment's type with its defaults filled in.
struct Layout {
    kind: Type,
    size: Size,
    unit: u64,
    little: bool,
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

impl Spec {
    /// Adds one word of a type list; false when it is unknown or contradicts one before it.
    fn add(&mut self, name: &str, unit: Option<u64>) -> bool {
        if let Some(unit) = unit {
            return name == "unit" && merge(&mut self.unit, unit);
        }
        match name {
            "integer" => merge(&mut self.kind, Type::Integer),
            "float" => merge(&mut self.kind, Type::Float),
            "binary" => merge(&mut self.kind, Type::Binary),
            "bytes" => merge(&mut self.kind, Type::Binary) && merge(&mut self.unit, 8),
            "bitstring" | "bits" => merge(&mut self.kind, Type::Binary) && merge(&mut self.unit, 1),
            "utf8" => merge(&mut self.kind, Type::Utf8),
            "utf16" => merge(&mut self.kind, Type::Utf16),
            "utf32" => merge(&mut self.kind, Type::Utf32),
            "big" => merge(&mut self.little, Endian::Big),
            "little" => merge(&mut self.little, Endian::Little),
            "native" => merge(&mut self.little, Endian::Native),
            "signed" => merge(&mut self.signed, true),
            "unsigned" => merge(&mut self.signed, false),
            _ => false,
        }
    }

    /// Defaults of `erl_bits:apply_defaults`.
    fn layout(self, size: Size) -> Option<Layout> {
        let kind = self.kind.unwrap_or(Type::Integer);
        let little = match self.little {
            Some(Endian::Little) => true,
            Some(Endian::Native) => cfg!(target_endian = "little"),
            Some(Endian::Big) | None => false,
        };
        let (size, unit) = match (kind, size, self.unit) {
            (Type::Utf8 | Type::Utf16 | Type::Utf32, Size::Default | Size::Undefined, None) => {
                (Size::Undefined, 1)
            }
            (Type::Utf8 | Type::Utf16 | Type::Utf32, ..) => return None,
            (Type::Integer | Type::Float, Size::Default, Some(_)) => return None,
            (Type::Integer, Size::Default, None) => (Size::Units(8), 1),
            (Type::Float, Size::Default, None) => (Size::Units(64), 1),
            (Type::Binary, Size::Default, unit) => (Size::All, unit.unwrap_or(8)),
            (Type::Binary, size, unit) => (size, unit.unwrap_or(8)),
            (_, size, unit) => (size, unit.unwrap_or(1)),
        };
        Some(Layout {
            kind,
            size,
            unit,
            little,
        })
    }
}

fn merge<T: PartialEq + Copy>(slot: &mut Option<T>, new: T) -> bool {
    let fits = slot.is_none_or(|old| old == new);
    *slot = Some(new);
    fits
}

/// Why a segment is not written.
enum Refused {
    Value,
    Room,
}

impl Layout {
    fn bit_size(&self) -> Result<u64, Refused> {
        match self.size {
            Size::Units(units) => units.checked_mul(self.unit).ok_or(Refused::Room),
            _ => Err(Refused::Value),
        }
    }

    /// A string is one segment per character.
    fn text(&self, text: &str, out: &mut Writer, room: u64) -> Result<(), Refused> {
        if self.kind == Type::Utf8 {
            out.bytes_of(text.as_bytes());
            return Ok(());
        }
        if text.is_empty() {
            // Faults are found even when nothing is written.
            return self.number(&Value::Int(0), &mut Writer::default(), room);
        }
        let start = out.bit_count();
        for c in text.chars() {
            if out.bit_count() - start > room {
                return Err(Refused::Room);
            }
            self.number(&Value::Int(i64::from(u32::from(c))), out, room)?;
        }
        Ok(())
    }

    fn number(&self, number: &Value<'_>, out: &mut Writer, room: u64) -> Result<(), Refused> {
        match self.kind {
            Type::Integer => {
                let bits = self.bit_size()?;
                let Some(bytes) = integer_bytes(number) else {
                    return Err(Refused::Value);
                };
                if bits > room {
                    return Err(Refused::Room);
                }
                out.integer(bytes, bits, self.little);
                Ok(())
            }
            Type::Float => self.float(number, out),
            Type::Binary => Err(Refused::Value),
            _ => self.code_point(number, out),
        }
    }

    fn float(&self, number: &Value<'_>, out: &mut Writer) -> Result<(), Refused> {
        let value = match number {
            Value::Float(value) => *value,
            Value::Int(value) => *value as f64,
            Value::Big(value) => value.to_f64(),
            _ => return Err(Refused::Value),
        };
        let mut bytes = match self.bit_size()? {
            64 => value.to_be_bytes().to_vec(),
            32 => (value as f32).to_be_bytes().to_vec(),
            16 => half(value).to_be_bytes().to_vec(),
            _ => return Err(Refused::Value),
        };
        let finite = match bytes.len() {
            8 => value.is_finite(),
            4 => (value as f32).is_finite(),
            _ => half(value) & 0x7C00 != 0x7C00,
        };
        if !finite {
            return Err(Refused::Value);
        }
        if self.little {
            bytes.reverse();
        }
        out.bytes_of(&bytes);
        Ok(())
    }

    fn code_point(&self, number: &Value<'_>, out: &mut Writer) -> Result<(), Refused> {
        let Value::Int(code) = number else {
            return Err(Refused::Value);
        };
        let c = u32::try_from(*code)
            .ok()
            .and_then(char::from_u32)
            .ok_or(Refused::Value)?;
        let swap = |mut bytes: Vec<u8>| {
            if self.little {
                bytes.reverse();
            }
            bytes
        };
        match self.kind {
            Type::Utf8 => out.bytes_of(c.encode_utf8(&mut [0; 4]).as_bytes()),
            Type::Utf16 => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    out.bytes_of(&swap(unit.to_be_bytes().to_vec()));
                }
            }
            _ => out.bytes_of(&swap(u32::from(c).to_be_bytes().to_vec())),
        }
        Ok(())
    }

    fn bits(&self, bits: &Writer, out: &mut Writer) -> Result<(), Refused> {
        if self.kind != Type::Binary {
            return Err(Refused::Value);
        }
        let have = bits.bit_count();
        let take = match self.size {
            Size::All if have % self.unit == 0 => have,
            Size::All => return Err(Refused::Value),
            _ => self.bit_size()?,
        };
        if take > have {
            return Err(Refused::Value);
        }
        out.append(&bits.bytes, take);
        Ok(())
    }
}

/// Two's complement of an integer, least significant byte first, and the byte that continues it.
fn integer_bytes(number: &Value<'_>) -> Option<(Vec<u8>, u8)> {
    match number {
        Value::Int(value) => Some((
            value.to_le_bytes().to_vec(),
            if *value < 0 { 0xFF } else { 0 },
        )),
        Value::Big(big) if !big.negative => Some((big.magnitude.clone(), 0)),
        Value::Big(big) => {
            let mut carry = true;
            let bytes = big.magnitude.iter().map(|byte| {
                let (sum, over) = (!byte).overflowing_add(u8::from(carry));
                carry = over;
                sum
            });
            Some((bytes.collect(), 0xFF))
        }
        _ => None,
    }
}

/// IEEE 754 half precision, rounded to nearest even.
fn half(value: f64) -> u16 {
    let bits = value.to_bits();
    let sign = ((bits >> 48) & 0x8000) as u16;
    let exponent = ((bits >> 52) & 0x7FF) as i32 - 1023;
    let mantissa = (bits & 0x000F_FFFF_FFFF_FFFF) | 0x0010_0000_0000_0000;
    let (shift, base) = match exponent {
        16.. => return sign | 0x7C00,
        -14.. => (42, ((exponent + 15) as u16) << 10),
        -25.. => (42 + (-14 - exponent) as u32, 0),
        _ => return sign,
    };
    let kept = (mantissa >> shift) as u16;
    let rest = mantissa & ((1u64 << shift) - 1);
    let halfway = 1u64 << (shift - 1);
    let up = rest > halfway || (rest == halfway && kept & 1 == 1);
    let body = if base == 0 {
        kept
    } else {
        base + (kept & 0x3FF)
    };
    sign | (body + u16::from(up))
}

/// Bits, most significant first; `used` counts those of the last byte, 0 when it is whole.
#[derive(Default, Clone)]
struct Writer {
    bytes: Vec<u8>,
    used: u8,
}

impl Writer {
    fn bit_count(&self) -> u64 {
        match self.used {
            0 => self.bytes.len() as u64 * 8,
            used => (self.bytes.len() as u64 - 1) * 8 + u64::from(used),
        }
    }

    fn bytes_of(&mut self, bytes: &[u8]) {
        self.append(bytes, bytes.len() as u64 * 8);
    }

    /// Appends the first `bits` bits of `bytes`.
    fn append(&mut self, bytes: &[u8], bits: u64) {
        let whole = (bits / 8) as usize;
        let rest = (bits % 8) as u8;
        match self.used {
            0 => self.bytes.extend_from_slice(&bytes[..whole]),
            _ => bytes[..whole].iter().for_each(|&byte| self.push(byte, 8)),
        }
        if rest > 0 {
            self.push(bytes[whole], rest);
        }
    }

    /// Appends the first `bits` (1 to 8) bits of a byte.
    fn push(&mut self, byte: u8, bits: u8) {
        let byte = byte & (0xFFu16 << (8 - bits)) as u8;
        match self.used {
            0 => self.bytes.push(byte),
            used => {
                if let Some(last) = self.bytes.last_mut() {
                    *last |= byte >> used;
                }
                if used + bits > 8 {
                    self.bytes.push(byte << (8 - used));
                }
            }
        }
        self.used = (self.used + bits) % 8;
    }

    /// An integer in so many bits, its high bits cut off or its sign continued.
    fn integer(&mut self, (low, fill): (Vec<u8>, u8), bits: u64, little: bool) {
        let count = bits.div_ceil(8) as usize;
        let rest = (bits % 8) as u8;
        let byte = |index: usize| low.get(index).copied().unwrap_or(fill);
        if little {
            (0..bits as usize / 8).for_each(|index| self.push(byte(index), 8));
            if rest > 0 {
                self.push(byte(count - 1) << (8 - rest), rest);
            }
            return;
        }
        for index in (0..count).rev() {
            match index + 1 == count && rest > 0 {
                true => self.push(byte(index) << (8 - rest), rest),
                false => self.push(byte(index), 8),
            }
        }
    }

    fn into_value(self) -> Value<'static> {
        match self.used {
            0 => Value::Binary(Cow::Owned(self.bytes)),
            used => Value::Bits(self.bytes, used),
        }
    }
}
