//! Segments of bitstrings: the defaults and conflicts of their types (`erl_bits`), and what a value
//! becomes in one (`eval_bits`).

use super::super::value::Value;
use super::writer::Writer;

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Type {
    Integer,
    Float,
    Binary,
    Utf8,
    Utf16,
    Utf32,
}

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Size {
    Default,
    All,
    Undefined,
    Units(u64),
}

/// The type list of a segment as it was written.
#[derive(Default, Clone, Copy)]
pub(super) struct Spec {
    kind: Option<Type>,
    unit: Option<u64>,
    little: Option<Endian>,
    signed: Option<bool>,
}

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Endian {
    Big,
    Little,
    Native,
}

/// A segment's type with its defaults filled in.
pub(super) struct Layout {
    kind: Type,
    size: Size,
    unit: u64,
    little: bool,
}

impl Spec {
    /// Adds one word of a type list; false when it is unknown or contradicts one before it.
    pub(super) fn add(&mut self, name: &str, unit: Option<u64>) -> bool {
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
    pub(super) fn layout(self, size: Size) -> Option<Layout> {
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
pub(super) enum Refused {
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
    pub(super) fn text(&self, text: &str, out: &mut Writer, room: u64) -> Result<(), Refused> {
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

    pub(super) fn number(
        &self,
        number: &Value<'_>,
        out: &mut Writer,
        room: u64,
    ) -> Result<(), Refused> {
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

    pub(super) fn bits(&self, bits: &Writer, out: &mut Writer) -> Result<(), Refused> {
        if self.kind != Type::Binary {
            return Err(Refused::Value);
        }
        let have = bits.bit_count();
        let take = match self.size {
            Size::All if have.is_multiple_of(self.unit) => have,
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
