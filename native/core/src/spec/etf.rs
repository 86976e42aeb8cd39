//! The external term format (erts, "External Term Format"): how values leave for the VM and come
//! from it. What is written is canonical: equal terms have equal bytes, so they can be hashed.

use std::borrow::Cow;

use super::value::{Big, Node, Value, trimmed};

/// What every term in external format begins with.
pub const VERSION: u8 = 131;
/// Nesting of terms that come from the VM; they are not of a file, but recursion needs a bound.
const DEPTH: usize = 2_000;

/// Writes a value with the version byte in front.
pub fn to_bytes(value: &Value<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    out.push(VERSION);
    write(value, &mut out);
    out
}

/// Writes a value without the version byte.
pub(crate) fn write(value: &Value<'_>, out: &mut Vec<u8>) {
    match value {
        Value::Int(small) => write_int(*small, out),
        Value::Big(big) => write_big(big.negative, &big.magnitude, out),
        Value::Float(float) => {
            out.push(70);
            out.extend_from_slice(&float.to_be_bytes());
        }
        Value::Atom(name) => write_atom(name, out),
        Value::Binary(bytes) => write_binary(bytes, out),
        Value::Bits(bytes, used) => {
            out.push(77);
            write_length(bytes.len(), out);
            out.push(*used);
            out.extend_from_slice(bytes);
        }
        Value::Chars(chars) => write_chars(chars, out),
        Value::List(items) => write_list(items, out),
        Value::Improper(items, tail) => {
            out.push(108);
            write_length(items.len(), out);
            items.iter().for_each(|item| write(&item.value, out));
            write(&tail.value, out);
        }
        Value::Tuple(items) => {
            write_tuple(items.len(), out);
            items.iter().for_each(|item| write(&item.value, out));
        }
        Value::Map(pairs) => write_map(pairs, out),
        Value::Opaque(bytes) => out.extend_from_slice(bytes),
    }
}

pub(crate) fn write_binary(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(109);
    write_length(bytes.len(), out);
    out.extend_from_slice(bytes);
}

/// The head of a tuple; its elements follow.
pub(crate) fn write_tuple(arity: usize, out: &mut Vec<u8>) {
    match u8::try_from(arity) {
        Ok(arity) => out.extend_from_slice(&[104, arity]),
        Err(_) => {
            out.push(105);
            write_length(arity, out);
        }
    }
}

pub(crate) fn write_length(length: usize, out: &mut Vec<u8>) {
    // Limits on files keep every length far below 4 GiB.
    out.extend_from_slice(&(length as u32).to_be_bytes());
}

pub(crate) fn write_int(value: i64, out: &mut Vec<u8>) {
    if let Ok(byte) = u8::try_from(value) {
        out.extend_from_slice(&[97, byte]);
    } else if let Ok(word) = i32::try_from(value) {
        out.push(98);
        out.extend_from_slice(&word.to_be_bytes());
    } else {
        write_big(
            value < 0,
            &trimmed(value.unsigned_abs().to_le_bytes().to_vec()),
            out,
        );
    }
}

fn write_big(negative: bool, magnitude: &[u8], out: &mut Vec<u8>) {
    match u8::try_from(magnitude.len()) {
        Ok(length) => out.extend_from_slice(&[110, length]),
        Err(_) => {
            out.push(111);
            write_length(magnitude.len(), out);
        }
    }
    out.push(u8::from(negative));
    out.extend_from_slice(magnitude);
}

pub(crate) fn write_atom(name: &str, out: &mut Vec<u8>) {
    match u8::try_from(name.len()) {
        Ok(length) => out.extend_from_slice(&[119, length]),
        Err(_) => {
            out.push(118);
            out.extend_from_slice(&(name.len() as u16).to_be_bytes());
        }
    }
    out.extend_from_slice(name.as_bytes());
}

fn write_chars(chars: &str, out: &mut Vec<u8>) {
    let count = chars.chars().count();
    if count == 0 {
        out.push(106);
    } else if count <= 0xFFFF && chars.chars().all(|c| u32::from(c) < 256) {
        out.push(107);
        out.extend_from_slice(&(count as u16).to_be_bytes());
        out.extend(chars.chars().map(|c| u32::from(c) as u8));
    } else {
        out.push(108);
        write_length(count, out);
        chars
            .chars()
            .for_each(|c| write_int(i64::from(u32::from(c)), out));
        out.push(106);
    }
}

fn write_list(items: &[Node<'_>], out: &mut Vec<u8>) {
    if items.is_empty() {
        return out.push(106);
    }
    let byte = |item: &Node<'_>| match item.value {
        Value::Int(value) => u8::try_from(value).ok(),
        _ => None,
    };
    if items.len() <= 0xFFFF && items.iter().all(|item| byte(item).is_some()) {
        out.push(107);
        out.extend_from_slice(&(items.len() as u16).to_be_bytes());
        return out.extend(items.iter().filter_map(byte));
    }
    out.push(108);
    write_length(items.len(), out);
    items.iter().for_each(|item| write(&item.value, out));
    out.push(106);
}

/// Pairs in the order of their keys' bytes; of equal keys the last one counts.
fn write_map(pairs: &[(Node<'_>, Node<'_>)], out: &mut Vec<u8>) {
    let mut bytes = Vec::with_capacity(pairs.len() * 16);
    let mut spans: Vec<(usize, usize, usize)> = Vec::with_capacity(pairs.len());
    for (index, (key, _)) in pairs.iter().enumerate() {
        let start = bytes.len();
        write_key(&key.value, &mut bytes);
        spans.push((start, bytes.len(), index));
    }
    spans.sort_by(|a, b| bytes[a.0..a.1].cmp(&bytes[b.0..b.1]).then(b.2.cmp(&a.2)));
    spans.dedup_by(|next, kept| bytes[next.0..next.1] == bytes[kept.0..kept.1]);
    out.push(116);
    write_length(spans.len(), out);
    for (start, end, index) in spans {
        out.extend_from_slice(&bytes[start..end]);
        write(&pairs[index].1.value, out);
    }
}

/// Up to OTP 26 the zeros are one key; a map that held both could not be read there.
fn write_key(key: &Value<'_>, out: &mut Vec<u8>) {
    match key {
        Value::Float(float) if *float == 0.0 => write(&Value::Float(0.0), out),
        other => write(other, out),
    }
}

/// Reads a term in external format, version byte first. `None` when it is not one or nested too deep.
pub fn from_bytes(bytes: &[u8]) -> Option<Value<'_>> {
    let mut reader = Reader {
        bytes: bytes.strip_prefix(&[VERSION])?,
        depth: 0,
    };
    let value = reader.value()?;
    reader.bytes.is_empty().then_some(value)
}

/// Fuzz entry: any bytes are read or refused; what was read is written and read again the same.
pub fn fuzz(bytes: &[u8]) {
    if let Some(value) = from_bytes(bytes) {
        let written = to_bytes(&value);
        let again = from_bytes(&written).map(|value| to_bytes(&value));
        assert_eq!(again.as_deref(), Some(written.as_slice()));
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    depth: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.bytes.split_at_checked(count)?;
        self.bytes = rest;
        Some(head)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    fn u16(&mut self) -> Option<usize> {
        self.take(2)
            .map(|bytes| usize::from(u16::from_be_bytes([bytes[0], bytes[1]])))
    }

    fn u32(&mut self) -> Option<usize> {
        self.take(4)
            .map(|bytes| u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize)
    }

    fn value(&mut self) -> Option<Value<'a>> {
        if self.depth > DEPTH {
            return None;
        }
        self.depth += 1;
        let value = self.tagged();
        self.depth -= 1;
        value
    }

    fn tagged(&mut self) -> Option<Value<'a>> {
        let start = self.bytes;
        match self.u8()? {
            97 => Some(Value::Int(i64::from(self.u8()?))),
            98 => self
                .take(4)
                .map(|b| Value::Int(i64::from(i32::from_be_bytes([b[0], b[1], b[2], b[3]])))),
            70 => {
                let bytes = self.take(8)?.try_into().ok()?;
                Some(Value::Float(f64::from_be_bytes(bytes)))
            }
            110 => {
                let length = usize::from(self.u8()?);
                self.big(length)
            }
            111 => {
                let length = self.u32()?;
                self.big(length)
            }
            tag @ (100 | 115 | 118 | 119) => self.atom(tag),
            109 => {
                let length = self.u32()?;
                self.take(length)
                    .map(|bytes| Value::Binary(Cow::Borrowed(bytes)))
            }
            77 => {
                let length = self.u32()?;
                let used = self.u8()?;
                self.take(length)
                    .map(|bytes| Value::Bits(bytes.to_vec(), used))
            }
            106 => Some(Value::List(Vec::new())),
            107 => {
                let length = self.u16()?;
                let bytes = self.take(length)?;
                Some(Value::List(
                    bytes
                        .iter()
                        .map(|&byte| Node::new(0, Value::Int(i64::from(byte))))
                        .collect(),
                ))
            }
            108 => self.list(),
            104 => {
                let arity = usize::from(self.u8()?);
                self.nodes(arity).map(Value::Tuple)
            }
            105 => {
                let arity = self.u32()?;
                self.nodes(arity).map(Value::Tuple)
            }
            116 => {
                let count = self.u32()?;
                let mut pairs = Vec::with_capacity(count.min(self.bytes.len()));
                for _ in 0..count {
                    pairs.push((Node::new(0, self.value()?), Node::new(0, self.value()?)));
                }
                Some(Value::Map(pairs))
            }
            tag => self.opaque(tag, start),
        }
    }

    fn big(&mut self, length: usize) -> Option<Value<'a>> {
        let negative = self.u8()? != 0;
        let magnitude = trimmed(self.take(length)?.to_vec());
        Some(
            Big {
                negative,
                magnitude,
            }
            .into_value(),
        )
    }

    fn atom(&mut self, tag: u8) -> Option<Value<'a>> {
        let length = if matches!(tag, 100 | 118) {
            self.u16()?
        } else {
            usize::from(self.u8()?)
        };
        let bytes = self.take(length)?;
        Some(Value::Atom(match tag {
            118 | 119 => Cow::Borrowed(std::str::from_utf8(bytes).ok()?),
            _ => Cow::Owned(bytes.iter().map(|&byte| byte as char).collect()),
        }))
    }

    fn nodes(&mut self, count: usize) -> Option<Vec<Node<'a>>> {
        let mut nodes = Vec::with_capacity(count.min(self.bytes.len()));
        for _ in 0..count {
            nodes.push(Node::new(0, self.value()?));
        }
        Some(nodes)
    }

    fn list(&mut self) -> Option<Value<'a>> {
        let count = self.u32()?;
        let mut items = self.nodes(count)?;
        Some(match self.value()? {
            Value::List(rest) => {
                items.extend(rest);
                Value::List(items)
            }
            Value::Improper(rest, tail) => {
                items.extend(rest);
                Value::Improper(items, tail)
            }
            tail => Value::Improper(items, Box::new(Node::new(0, tail))),
        })
    }

    /// Terms that live in a VM: their bytes are kept as they are.
    fn opaque(&mut self, tag: u8, start: &'a [u8]) -> Option<Value<'a>> {
        match tag {
            88 => self.parts(&[1], 12)?,  // NEW_PID
            103 => self.parts(&[1], 9)?,  // PID
            89 => self.parts(&[1], 8)?,   // NEW_PORT
            102 => self.parts(&[1], 5)?,  // PORT
            120 => self.parts(&[1], 12)?, // V4_PORT
            101 => self.parts(&[1], 5)?,  // REFERENCE
            90 | 114 => {
                let words = self.u16()?;
                self.parts(&[1], if tag == 90 { 4 } else { 1 } + 4 * words)?;
            }
            113 => self.parts(&[1, 1, 1], 0)?, // EXPORT
            112 => {
                let size = self.u32()?;
                self.take(size.checked_sub(4)?)?;
            }
            _ => return None,
        }
        Some(Value::Opaque(Cow::Borrowed(
            &start[..start.len() - self.bytes.len()],
        )))
    }

    /// Skips terms, then bytes.
    fn parts(&mut self, terms: &[u8], bytes: usize) -> Option<()> {
        for _ in terms {
            self.value()?;
        }
        self.take(bytes).map(|_| ())
    }
}
