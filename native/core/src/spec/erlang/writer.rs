//! Bits one after the other.

use std::borrow::Cow;

use super::super::value::Value;

/// Bits, most significant first; `used` counts those of the last byte, 0 when it is whole.
#[derive(Default, Clone)]
pub(super) struct Writer {
    pub(super) bytes: Vec<u8>,
    pub(super) used: u8,
}

impl Writer {
    pub(super) fn bit_count(&self) -> u64 {
        match self.used {
            0 => self.bytes.len() as u64 * 8,
            used => (self.bytes.len() as u64 - 1) * 8 + u64::from(used),
        }
    }

    pub(super) fn bytes_of(&mut self, bytes: &[u8]) {
        self.append(bytes, bytes.len() as u64 * 8);
    }

    /// Appends the first `bits` bits of `bytes`.
    pub(super) fn append(&mut self, bytes: &[u8], bits: u64) {
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
    pub(super) fn push(&mut self, byte: u8, bits: u8) {
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
    pub(super) fn integer(&mut self, (low, fill): (Vec<u8>, u8), bits: u64, little: bool) {
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

    pub(super) fn into_value(self) -> Value<'static> {
        match self.used {
            0 => Value::Binary(Cow::Owned(self.bytes)),
            used => Value::Bits(self.bytes, used),
        }
    }
}
