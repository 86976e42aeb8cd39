//! JSON as RFC 8259 has it, strictly: one value, no comments, no trailing commas. Written here
//! because every value needs its place in the text; what is accepted is compared with serde_json.

use std::borrow::Cow;

use super::limits;
use super::problem::{Fault, Kind, shown};
use super::value::{Big, Node, Value};

/// Reads one JSON value. Strings are binaries, null is `undefined`.
pub fn read(text: &str) -> Result<Node<'_>, Fault> {
    let mut reader = Reader {
        text,
        bytes: text.as_bytes(),
        pos: 0,
        depth: 0,
        nodes: 0,
    };
    let root = reader.node()?;
    reader.skip();
    if reader.pos < text.len() {
        return Err(Fault::syntax(
            reader.pos,
            reader.here(),
            "the end of the file",
        ));
    }
    Ok(root)
}

/// Fuzz entry: any bytes are read or refused, never more than that.
pub fn fuzz(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = read(text);
    }
}

struct Reader<'a> {
    text: &'a str,
    bytes: &'a [u8],
    pos: usize,
    depth: usize,
    nodes: usize,
}

impl<'a> Reader<'a> {
    fn skip(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.byte() {
            self.pos += 1;
        }
    }

    fn byte(&self) -> Option<u8> {
        self.bytes.get(self.pos).copied()
    }

    fn node(&mut self) -> Result<Node<'a>, Fault> {
        self.skip();
        self.nodes += 1;
        if self.nodes > limits::NODES {
            return Err(Fault::new(
                Kind::TooLarge,
                self.pos,
                "more values",
                format!("at most {} values", limits::NODES),
            ));
        }
        if self.depth >= limits::DEPTH {
            let expected = format!("at most {} levels of nesting", limits::DEPTH);
            return Err(Fault::new(
                Kind::TooDeep,
                self.pos,
                "deeper nesting",
                expected,
            ));
        }
        self.depth += 1;
        let at = self.pos;
        let value = match self.byte() {
            Some(b'{') => self.object()?,
            Some(b'[') => self.array()?,
            Some(b'"') => match self.string()? {
                Cow::Borrowed(text) => Value::Binary(Cow::Borrowed(text.as_bytes())),
                Cow::Owned(text) => Value::Binary(Cow::Owned(text.into_bytes())),
            },
            Some(b'-' | b'0'..=b'9') => self.number()?,
            Some(b't') => self.word("true", "true")?,
            Some(b'f') => self.word("false", "false")?,
            Some(b'n') => self.word("null", "undefined")?,
            _ => return Err(Fault::syntax(at, self.here(), "a value")),
        };
        self.depth -= 1;
        Ok(Node::new(at, value))
    }

    fn word(&mut self, word: &str, atom: &'static str) -> Result<Value<'a>, Fault> {
        if !self.text[self.pos..].starts_with(word) {
            return Err(Fault::syntax(self.pos, self.here(), "a value"));
        }
        self.pos += word.len();
        Ok(Value::Atom(Cow::Borrowed(atom)))
    }

    fn array(&mut self) -> Result<Value<'a>, Fault> {
        self.pos += 1;
        let mut items = Vec::new();
        if self.ends(b']') {
            return Ok(Value::List(items));
        }
        loop {
            items.push(self.node()?);
            if self.ends(b']') {
                return Ok(Value::List(items));
            }
            self.expect(b',', "`,` or `]`")?;
        }
    }

    fn object(&mut self) -> Result<Value<'a>, Fault> {
        self.pos += 1;
        let mut pairs = Vec::with_capacity(8);
        if self.ends(b'}') {
            return Ok(Value::Map(pairs));
        }
        loop {
            self.skip();
            if self.byte() != Some(b'"') {
                return Err(Fault::syntax(
                    self.pos,
                    self.here(),
                    "a key in double quotes",
                ));
            }
            let key = self.node()?;
            self.skip();
            self.expect(b':', "`:`")?;
            pairs.push((key, self.node()?));
            if self.ends(b'}') {
                return Ok(Value::Map(pairs));
            }
            self.expect(b',', "`,` or `}`")?;
        }
    }

    fn ends(&mut self, close: u8) -> bool {
        self.skip();
        let found = self.byte() == Some(close);
        self.pos += usize::from(found);
        found
    }

    fn expect(&mut self, byte: u8, expected: &'static str) -> Result<(), Fault> {
        if self.byte() != Some(byte) {
            return Err(Fault::syntax(self.pos, self.here(), expected));
        }
        self.pos += 1;
        Ok(())
    }

    fn number(&mut self) -> Result<Value<'a>, Fault> {
        let start = self.pos;
        let negative = self.byte() == Some(b'-');
        self.pos += usize::from(negative);
        let whole = self.pos;
        self.digits()?;
        if self.bytes[whole] == b'0' && self.pos > whole + 1 {
            return Err(Fault::syntax(
                start,
                self.excerpt(start),
                "a number without leading zeros",
            ));
        }
        let whole_end = self.pos;
        if self.byte() == Some(b'.') {
            self.pos += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.byte() {
            self.pos += 1;
            if let Some(b'+' | b'-') = self.byte() {
                self.pos += 1;
            }
            self.digits()?;
        }
        if self.pos - start > limits::DIGITS {
            let expected = format!("at most {} digits", limits::DIGITS);
            return Err(Fault::new(
                Kind::TooLarge,
                start,
                "a longer number",
                expected,
            ));
        }
        let text = &self.text[start..self.pos];
        if self.pos == whole_end {
            return Ok(match text.parse::<i64>() {
                Ok(small) => Value::Int(small),
                Err(_) => {
                    Big::from_digits(negative, &self.bytes[whole..whole_end], 10).into_value()
                }
            });
        }
        match text.parse::<f64>() {
            Ok(float) if float.is_finite() => Ok(Value::Float(float)),
            _ => Err(Fault::syntax(
                start,
                self.excerpt(start),
                "a number that a 64 bit float can hold",
            )),
        }
    }

    fn digits(&mut self) -> Result<(), Fault> {
        let start = self.pos;
        while self.byte().is_some_and(|byte| byte.is_ascii_digit()) {
            self.pos += 1;
        }
        match self.pos > start {
            true => Ok(()),
            false => Err(Fault::syntax(start, self.here(), "digits")),
        }
    }

    fn string(&mut self) -> Result<Cow<'a, str>, Fault> {
        let opening = self.pos;
        self.pos += 1;
        let mut start = self.pos;
        let mut out: Option<String> = None;
        loop {
            match self.byte() {
                Some(b'"') => {
                    let part = &self.text[start..self.pos];
                    self.pos += 1;
                    return Ok(match out {
                        None => Cow::Borrowed(part),
                        Some(text) => Cow::Owned(text + part),
                    });
                }
                Some(b'\\') => {
                    let text = out.get_or_insert_default();
                    text.push_str(&self.text[start..self.pos]);
                    self.pos += 1;
                    text.push(self.escape()?);
                    start = self.pos;
                }
                Some(0..=0x1F) => {
                    return Err(Fault::syntax(
                        self.pos,
                        "a control character in a string",
                        "an escape such as \\n",
                    ));
                }
                Some(_) => self.pos += 1,
                None => {
                    return Err(Fault::syntax(
                        opening,
                        "the end of the file in a string",
                        "a closing quote",
                    ));
                }
            }
        }
    }

    fn escape(&mut self) -> Result<char, Fault> {
        let at = self.pos - 1;
        let byte = self.byte();
        self.pos += 1;
        match byte {
            Some(b'"') => Ok('"'),
            Some(b'\\') => Ok('\\'),
            Some(b'/') => Ok('/'),
            Some(b'b') => Ok('\u{08}'),
            Some(b'f') => Ok('\u{0C}'),
            Some(b'n') => Ok('\n'),
            Some(b'r') => Ok('\r'),
            Some(b't') => Ok('\t'),
            Some(b'u') => self
                .unicode()
                .ok_or_else(|| Fault::syntax(at, "a broken \\u escape", "\\uXXXX, of a pair both")),
            _ => Err(Fault::syntax(
                at,
                "an unknown escape",
                "one of \\\" \\\\ \\/ \\b \\f \\n \\r \\t \\uXXXX",
            )),
        }
    }

    fn unicode(&mut self) -> Option<char> {
        let first = self.hex()?;
        if !(0xD800..0xDC00).contains(&first) {
            return char::from_u32(first);
        }
        if self.bytes.get(self.pos..self.pos + 2) != Some(b"\\u") {
            return None;
        }
        self.pos += 2;
        let second = self
            .hex()
            .filter(|second| (0xDC00..0xE000).contains(second))?;
        char::from_u32(0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00))
    }

    fn hex(&mut self) -> Option<u32> {
        let digits = self
            .bytes
            .get(self.pos..self.pos + 4)
            .filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))?;
        self.pos += 4;
        u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
    }

    fn here(&self) -> String {
        let rest = self.text.get(self.pos..).unwrap_or_default();
        let word = |c: char| c.is_alphanumeric() || c == '_';
        match rest.chars().next() {
            None => "the end of the file".into(),
            Some(first) if word(first) => format!(
                "`{}`",
                shown(&rest[..rest.find(|c| !word(c)).unwrap_or(rest.len())])
            ),
            Some(first) => format!("`{}`", shown(first.encode_utf8(&mut [0; 4]))),
        }
    }

    fn excerpt(&self, from: usize) -> String {
        format!("`{}`", shown(&self.text[from..self.pos]))
    }
}
