//! The one tree that Erlang terms, YAML and JSON are read into.
//!
//! A node borrows from the text of its file where it can and remembers where it stood, so that
//! the checks that follow can point at it whatever the format was.

use std::borrow::Cow;

/// A value and its place in the text.
#[derive(Debug, Clone, PartialEq)]
pub struct Node<'a> {
    /// Offset in the text; bytes or characters, as the [`Source`](super::Source) of the file says.
    pub at: u32,
    /// What stands there.
    pub value: Value<'a>,
}

/// Everything that is data on the BEAM.
#[derive(Debug, Clone, PartialEq)]
pub enum Value<'a> {
    /// A small integer.
    Int(i64),
    /// An integer outside of `i64`.
    Big(Big),
    /// A finite float.
    Float(f64),
    /// An atom by its name; no atom is made in the VM by it.
    Atom(Cow<'a, str>),
    /// A binary.
    Binary(Cow<'a, [u8]>),
    /// A bitstring that is no binary: its bytes and how many bits of the last one count (1 to 7).
    Bits(Vec<u8>, u8),
    /// A list of characters that was written as a string; never empty.
    Chars(Cow<'a, str>),
    /// A proper list.
    List(Vec<Node<'a>>),
    /// A list whose tail is no list.
    Improper(Vec<Node<'a>>, Box<Node<'a>>),
    /// A tuple.
    Tuple(Vec<Node<'a>>),
    /// A map in the order of the text; of equal keys the last one counts.
    Map(Vec<(Node<'a>, Node<'a>)>),
    /// A term that has no text (pid, reference, fun): its external format without the version byte.
    Opaque(Cow<'a, [u8]>),
}

/// An integer of any size: sign and magnitude, least significant byte first, no leading zeros.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Big {
    /// Below zero.
    pub negative: bool,
    /// The magnitude, little endian.
    pub magnitude: Vec<u8>,
}

impl<'a> Node<'a> {
    /// A node at an offset.
    pub fn new(at: usize, value: Value<'a>) -> Self {
        Node {
            at: u32::try_from(at).unwrap_or(u32::MAX),
            value,
        }
    }
}

impl<'a> Value<'a> {
    /// An atom of the program's own text.
    pub fn atom(name: &'a str) -> Self {
        Value::Atom(Cow::Borrowed(name))
    }

    /// A string value as binaries, charlists and atoms may give it; `None` for anything else.
    pub fn text(&self) -> Option<Cow<'_, str>> {
        match self {
            Value::Binary(bytes) => std::str::from_utf8(bytes).ok().map(Cow::Borrowed),
            Value::Chars(chars) => Some(Cow::Borrowed(chars)),
            Value::List(items) => list_text(items).map(Cow::Owned),
            _ => None,
        }
    }

    /// The kind of the value, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::Int(_) | Value::Big(_) => "integer",
            Value::Float(_) => "float",
            Value::Atom(name) if matches!(name.as_ref(), "true" | "false") => "boolean",
            Value::Atom(_) => "atom",
            Value::Binary(_) => "binary",
            Value::Bits(..) => "bitstring",
            Value::Chars(_) => "string",
            Value::List(_) | Value::Improper(..) => "list",
            Value::Tuple(_) => "tuple",
            Value::Map(_) => "map",
            Value::Opaque(_) => "term",
        }
    }
}

/// A list of code points is a string in Erlang; the empty list is the empty string.
fn list_text(items: &[Node<'_>]) -> Option<String> {
    items
        .iter()
        .map(|item| match item.value {
            Value::Int(code) => u32::try_from(code).ok().and_then(char::from_u32),
            _ => None,
        })
        .collect()
}

impl Big {
    /// The integer that digits of a base (2 to 36) write; the caller has checked that they are digits of it.
    pub fn integer(negative: bool, digits: &[u8], base: u32) -> Value<'static> {
        // 36^12 < 2^63
        if digits.len() > 12 {
            return Big::from_digits(negative, digits, base).into_value();
        }
        let digit = |byte: u8| i64::from((byte as char).to_digit(base).unwrap_or(0));
        let magnitude = digits
            .iter()
            .fold(0, |value, &byte| value * i64::from(base) + digit(byte));
        Value::Int(if negative { -magnitude } else { magnitude })
    }

    /// Reads digits of a base (2 to 36); the caller has checked that they are digits of it.
    pub fn from_digits(negative: bool, digits: &[u8], base: u32) -> Self {
        // As many digits at once as fit a limb: quadratic work over few steps.
        let group = (1..)
            .take_while(|&n| u64::from(base).pow(n) <= u64::from(u32::MAX))
            .count()
            .max(1);
        let mut limbs: Vec<u32> = Vec::new();
        for digits in digits.chunks(group) {
            let mut carry = digits.iter().fold(0u64, |value, &digit| {
                value * u64::from(base) + u64::from((digit as char).to_digit(36).unwrap_or(0))
            });
            let scale = u64::from(base).pow(digits.len() as u32);
            for limb in &mut limbs {
                let product = u64::from(*limb) * scale + carry;
                *limb = product as u32;
                carry = product >> 32;
            }
            if carry > 0 {
                limbs.push(carry as u32);
            }
        }
        let bytes = limbs.iter().flat_map(|limb| limb.to_le_bytes()).collect();
        Big {
            negative,
            magnitude: trimmed(bytes),
        }
    }

    /// The float nearest to it; infinite when out of range.
    pub fn to_f64(&self) -> f64 {
        // Decimal text is the exact way: summing limbs would round more than once.
        self.to_decimal().parse().unwrap_or(f64::INFINITY)
    }

    /// Decimal digits with the sign.
    pub fn to_decimal(&self) -> String {
        let mut limbs: Vec<u32> = self
            .magnitude
            .chunks(4)
            .map(|chunk| {
                let mut word = [0; 4];
                word[..chunk.len()].copy_from_slice(chunk);
                u32::from_le_bytes(word)
            })
            .collect();
        let mut groups = Vec::new();
        while !limbs.is_empty() {
            let mut rest = 0u64;
            for limb in limbs.iter_mut().rev() {
                let value = (rest << 32) | u64::from(*limb);
                *limb = (value / 1_000_000_000) as u32;
                rest = value % 1_000_000_000;
            }
            groups.push(rest as u32);
            while limbs.last() == Some(&0) {
                limbs.pop();
            }
        }
        let mut text = String::from(if self.negative { "-" } else { "" });
        match groups.pop() {
            Some(first) => text.push_str(&first.to_string()),
            None => text.push('0'),
        }
        for group in groups.iter().rev() {
            text.push_str(&format!("{group:09}"));
        }
        text
    }

    /// As a value: small where it fits.
    pub fn into_value(self) -> Value<'static> {
        if self.magnitude.len() <= 8 {
            let mut word = [0; 8];
            word[..self.magnitude.len()].copy_from_slice(&self.magnitude);
            let magnitude = i128::from(u64::from_le_bytes(word));
            let signed = if self.negative { -magnitude } else { magnitude };
            if let Ok(small) = i64::try_from(signed) {
                return Value::Int(small);
            }
        }
        Value::Big(self)
    }
}

/// Removes leading zeros of a little-endian magnitude.
pub(crate) fn trimmed(mut bytes: Vec<u8>) -> Vec<u8> {
    while bytes.last() == Some(&0) {
        bytes.pop();
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_of_any_size_keep_their_digits() {
        for digits in [
            "9223372036854775808",
            "340282366920938463463374607431768211456",
        ] {
            assert_eq!(
                Big::from_digits(false, digits.as_bytes(), 10).to_decimal(),
                digits
            );
        }
        assert_eq!(
            Big::from_digits(true, b"9223372036854775808", 10).into_value(),
            Value::Int(i64::MIN)
        );
        assert_eq!(Big::integer(true, b"ff", 16), Value::Int(-255));
        assert_eq!(
            Big::integer(false, b"9223372036854775808", 10).kind(),
            "integer"
        );
    }
}
