//! Numbers: `42`, `1_000`, `16#FF`, `1.5e-3`, with a sign before them or in parentheses.

use super::super::limits;
use super::super::problem::{Fault, Kind};
use super::super::value::{Big, Value};
use super::parser::Parser;

impl<'a> Parser<'a> {
    /// A number whose first digit stands at the cursor.
    pub(super) fn number(&mut self) -> Result<Value<'a>, Fault> {
        let start = self.pos;
        self.digits(10);
        match (self.byte(), self.byte_at(1)) {
            (Some(b'.'), Some(b'0'..=b'9')) => self.fraction(start),
            (Some(b'#'), _) => self.based(start),
            _ => self.integer(start, start, 10),
        }
    }

    /// Takes digits of a base; single underscores between two of them are skipped.
    fn digits(&mut self, base: u32) {
        let is_digit = |byte: Option<u8>| byte.is_some_and(|byte| (byte as char).is_digit(base));
        while is_digit(self.byte()) {
            self.pos += 1;
            if self.byte() == Some(b'_') && is_digit(self.byte_at(1)) {
                self.pos += 1;
            }
        }
    }

    fn integer(&self, start: usize, from: usize, base: u32) -> Result<Value<'a>, Fault> {
        let digits = &self.bytes[from..self.pos];
        let mut small: i64 = 0;
        for &byte in digits {
            let Some(digit) = (byte as char).to_digit(base) else {
                continue;
            };
            match small
                .checked_mul(i64::from(base))
                .and_then(|value| value.checked_add(i64::from(digit)))
            {
                Some(value) => small = value,
                None => return self.big(start, digits, base),
            }
        }
        Ok(Value::Int(small))
    }

    fn big(&self, start: usize, digits: &[u8], base: u32) -> Result<Value<'a>, Fault> {
        if digits.len() > limits::DIGITS {
            return Err(too_long(start, digits.len()));
        }
        let digits: Vec<u8> = digits
            .iter()
            .copied()
            .filter(|&byte| byte != b'_')
            .collect();
        Ok(Big::from_digits(false, &digits, base).into_value())
    }

    fn based(&mut self, start: usize) -> Result<Value<'a>, Fault> {
        let base = match self.integer(start, start, 10)? {
            Value::Int(base @ 2..=36) => base as u32,
            _ => {
                let found = self.excerpt(start, self.pos);
                return Err(Fault::syntax(start, found, "a base from 2 to 36 before #"));
            }
        };
        self.pos += 1;
        let from = self.pos;
        self.digits(base);
        if from == self.pos {
            return Err(Fault::syntax(
                from,
                self.here(),
                format!("digits of base {base}"),
            ));
        }
        self.integer(start, from, base)
    }

    fn fraction(&mut self, start: usize) -> Result<Value<'a>, Fault> {
        self.pos += 1;
        self.digits(10);
        if let Some(b'e' | b'E') = self.byte() {
            self.pos += 1;
            if let Some(b'+' | b'-') = self.byte() {
                self.pos += 1;
            }
            if !self.byte().is_some_and(|byte| byte.is_ascii_digit()) {
                return Err(Fault::syntax(
                    self.pos,
                    self.here(),
                    "digits of the exponent",
                ));
            }
            self.digits(10);
        }
        let text = &self.text[start..self.pos];
        if text.len() > limits::DIGITS {
            return Err(too_long(start, text.len()));
        }
        let parsed = match text.contains('_') {
            true => text.replace('_', "").parse::<f64>(),
            false => text.parse(),
        };
        match parsed {
            Ok(value) if value.is_finite() => Ok(Value::Float(value)),
            _ => Err(Fault::syntax(
                start,
                self.excerpt(start, self.pos),
                "a float that 64 bits can hold",
            )),
        }
    }

    /// What a sign may stand before: a number or character literal, parentheses around it allowed.
    pub(super) fn signed_number(&mut self) -> Result<Value<'a>, Fault> {
        let negative = self.byte() == Some(b'-');
        let sign = self.pos;
        let doubled = if negative {
            matches!(self.byte_at(1), Some(b'-' | b'>'))
        } else {
            self.byte_at(1) == Some(b'+')
        };
        self.pos += 1;
        if doubled {
            return Err(Fault::syntax(sign, self.excerpt(sign, sign + 2), "a term"));
        }
        let value = self.unsigned_number()?;
        Ok(match value {
            Value::Int(small) if negative => Value::Int(-small),
            Value::Float(float) if negative => Value::Float(-float),
            Value::Big(big) if negative => Big {
                negative: true,
                ..big
            }
            .into_value(),
            other => other,
        })
    }

    fn unsigned_number(&mut self) -> Result<Value<'a>, Fault> {
        let mut open = 0;
        loop {
            self.skip()?;
            match self.byte() {
                Some(b'(') => {
                    self.pos += 1;
                    open += 1;
                }
                Some(b'0'..=b'9') => break,
                Some(b'$') => break,
                _ => {
                    return Err(Fault::syntax(
                        self.pos,
                        self.here(),
                        "a number after the sign",
                    ));
                }
            }
        }
        let value = if self.byte() == Some(b'$') {
            self.character()?
        } else {
            self.number()?
        };
        for _ in 0..open {
            self.expect(b')', "`)`")?;
        }
        Ok(value)
    }
}

fn too_long(at: usize, digits: usize) -> Fault {
    let expected = format!("at most {} digits", limits::DIGITS);
    Fault::new(
        Kind::TooLarge,
        at,
        format!("a number of {digits} digits"),
        expected,
    )
}
