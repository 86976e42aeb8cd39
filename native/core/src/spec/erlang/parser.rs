//! The grammar: one method per kind of term, recursion bounded by [`limits::DEPTH`].

use std::borrow::Cow;

use super::super::limits;
use super::super::problem::{Fault, Kind, shown};
use super::super::value::{Node, Value};

/// A cursor over a text of terms.
pub(super) struct Parser<'a> {
    pub(super) text: &'a str,
    pub(super) bytes: &'a [u8],
    pub(super) pos: usize,
    depth: usize,
    /// Bytes that sized segments of bitstrings may still take.
    pub(super) bit_room: usize,
}

impl<'a> Parser<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Parser {
            text,
            bytes: text.as_bytes(),
            pos: 0,
            depth: 0,
            bit_room: limits::BITSTRING_BYTES,
        }
    }

    /// The next term and its dot, or `None` at the end of the text.
    pub(super) fn next_term(&mut self) -> Result<Option<Node<'a>>, Fault> {
        self.skip()?;
        if self.pos == self.bytes.len() {
            return Ok(None);
        }
        let term = self.term()?;
        self.skip()?;
        if self.byte() == Some(b'.') && self.ends_a_term(self.pos + 1) {
            self.pos += 1;
            return Ok(Some(term));
        }
        Err(Fault::syntax(
            self.pos,
            self.here(),
            "a dot at the end of the term",
        ))
    }

    fn ends_a_term(&self, at: usize) -> bool {
        match self.text[at..].chars().next() {
            None | Some('%') => true,
            Some(c) => is_white_space(c),
        }
    }

    /// One term, whatever it is.
    pub(super) fn term(&mut self) -> Result<Node<'a>, Fault> {
        self.skip()?;
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
        let value = self.value()?;
        self.depth -= 1;
        Ok(Node::new(at, value))
    }

    fn value(&mut self) -> Result<Value<'a>, Fault> {
        match self.byte() {
            Some(b'a'..=b'z') => self.bare_atom(),
            Some(b'0'..=b'9') => self.number(),
            Some(b'"') => self.string(),
            Some(b'\'') => self.quoted_atom(),
            Some(b'{') => self.tuple(),
            Some(b'[') => self.list(),
            Some(b'#') => self.map(),
            Some(b'<') if self.byte_at(1) == Some(b'<') => self.bitstring(),
            Some(b'$') => self.character(),
            Some(b'-' | b'+') => self.signed_number(),
            Some(b'(') => self.parenthesised(),
            Some(b'~') => self.sigil(),
            _ => match self.text[self.pos..].chars().next() {
                Some('ß'..='ö' | 'ø'..='ÿ') => self.bare_atom(),
                _ => Err(Fault::syntax(self.pos, self.here(), "a term")),
            },
        }
    }

    fn parenthesised(&mut self) -> Result<Value<'a>, Fault> {
        self.pos += 1;
        let term = self.term()?;
        self.expect(b')', "`)`")?;
        Ok(term.value)
    }

    fn bare_atom(&mut self) -> Result<Value<'a>, Fault> {
        let start = self.pos;
        let name = self.name();
        if is_reserved(name) {
            return Err(match name {
                "fun" => Fault::new(Kind::FunTerm, start, "a fun", "data; a spec holds no code"),
                _ => Fault::syntax(
                    start,
                    format!("the reserved word {name}"),
                    "a term (an atom of this name is quoted)",
                ),
            });
        }
        self.atom(start, Cow::Borrowed(name))
    }

    /// The characters of a name: ASCII and Latin-1 letters, digits, `_` and `@`.
    pub(super) fn name(&mut self) -> &'a str {
        let start = self.pos;
        loop {
            match self.bytes.get(self.pos) {
                Some(b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'@') => self.pos += 1,
                // U+00C0 to U+00FF without the signs of multiplication and division
                Some(0xC3) if !matches!(self.bytes.get(self.pos + 1), Some(0x97 | 0xB7)) => {
                    self.pos += 2
                }
                _ => return &self.text[start..self.pos],
            }
        }
    }

    fn quoted_atom(&mut self) -> Result<Value<'a>, Fault> {
        let start = self.pos;
        let name = self.quoted(b'\'')?;
        self.atom(start, name)
    }

    fn atom(&self, at: usize, name: Cow<'a, str>) -> Result<Value<'a>, Fault> {
        if name.len() > limits::ATOM_CHARACTERS && name.chars().count() > limits::ATOM_CHARACTERS {
            let expected = format!("an atom of at most {} characters", limits::ATOM_CHARACTERS);
            return Err(Fault::new(Kind::TooLarge, at, "a longer atom", expected));
        }
        Ok(Value::Atom(name))
    }

    fn tuple(&mut self) -> Result<Value<'a>, Fault> {
        self.pos += 1;
        self.skip()?;
        if self.take(b'}') {
            return Ok(Value::Tuple(Vec::new()));
        }
        let mut items = Vec::with_capacity(2);
        loop {
            items.push(self.term()?);
            self.skip()?;
            if self.take(b'}') {
                return Ok(Value::Tuple(items));
            }
            self.expect(b',', "`,` or `}`")?;
        }
    }

    fn list(&mut self) -> Result<Value<'a>, Fault> {
        self.pos += 1;
        self.skip()?;
        if self.take(b']') {
            return Ok(Value::List(Vec::new()));
        }
        let mut items = Vec::with_capacity(4);
        loop {
            items.push(self.term()?);
            self.skip()?;
            match self.byte() {
                Some(b']') => {
                    self.pos += 1;
                    return Ok(Value::List(items));
                }
                Some(b'|') if self.byte_at(1) != Some(b'|') => return self.tail(items),
                _ => self.expect(b',', "`,`, `|` or `]`")?,
            }
        }
    }

    /// What follows `|`: a list continues the one before it, anything else makes it improper.
    fn tail(&mut self, mut items: Vec<Node<'a>>) -> Result<Value<'a>, Fault> {
        self.pos += 1;
        let tail = self.term()?;
        self.skip()?;
        self.expect(b']', "`]`")?;
        Ok(match tail.value {
            Value::List(rest) => {
                items.extend(rest);
                Value::List(items)
            }
            Value::Chars(chars) => {
                items.extend(chars.chars().map(|c| Node {
                    at: tail.at,
                    value: Value::Int(i64::from(u32::from(c))),
                }));
                Value::List(items)
            }
            Value::Improper(rest, end) => {
                items.extend(rest);
                Value::Improper(items, end)
            }
            value => Value::Improper(items, Box::new(Node { at: tail.at, value })),
        })
    }

    fn map(&mut self) -> Result<Value<'a>, Fault> {
        self.pos += 1;
        self.skip()?;
        self.expect(b'{', "`{` after `#`")?;
        self.skip()?;
        if self.take(b'}') {
            return Ok(Value::Map(Vec::new()));
        }
        let mut pairs = Vec::with_capacity(8);
        loop {
            let key = self.term()?;
            self.skip()?;
            if !self.text[self.pos..].starts_with("=>") {
                return Err(Fault::syntax(self.pos, self.here(), "`=>`"));
            }
            self.pos += 2;
            pairs.push((key, self.term()?));
            self.skip()?;
            if self.take(b'}') {
                return Ok(Value::Map(pairs));
            }
            self.expect(b',', "`,` or `}`")?;
        }
    }

    /// Skips white space and comments.
    pub(super) fn skip(&mut self) -> Result<(), Fault> {
        loop {
            match self.bytes.get(self.pos) {
                Some(0..=b' ') => self.pos += 1,
                Some(b'%') => self.comment()?,
                // U+0080 to U+00A0 are white space to erl_scan
                Some(0xC2) if matches!(self.bytes.get(self.pos + 1), Some(0x80..=0xA0)) => {
                    self.pos += 2
                }
                _ => return Ok(()),
            }
        }
    }

    fn comment(&mut self) -> Result<(), Fault> {
        while let Some(&byte) = self.bytes.get(self.pos) {
            match byte {
                b'\n' => return Ok(()),
                0xEF if self.is_noncharacter() => return Err(self.noncharacter()),
                _ => self.pos += 1,
            }
        }
        Ok(())
    }

    /// U+FFFE and U+FFFF, which erl_scan refuses everywhere.
    pub(super) fn is_noncharacter(&self) -> bool {
        matches!(
            self.bytes.get(self.pos..self.pos + 3),
            Some([0xEF, 0xBF, 0xBE | 0xBF])
        )
    }

    pub(super) fn noncharacter(&self) -> Fault {
        Fault::syntax(self.pos, "a code point that is no character", "text")
    }

    pub(super) fn byte(&self) -> Option<u8> {
        self.bytes.get(self.pos).copied()
    }

    pub(super) fn byte_at(&self, ahead: usize) -> Option<u8> {
        self.bytes.get(self.pos + ahead).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.byte() == Some(byte);
        self.pos += usize::from(found);
        found
    }

    /// Takes a byte after white space, or says what was expected.
    pub(super) fn expect(&mut self, byte: u8, expected: &'static str) -> Result<(), Fault> {
        self.skip()?;
        if self.take(byte) {
            return Ok(());
        }
        Err(Fault::syntax(self.pos, self.here(), expected))
    }

    /// What stands at the cursor, for messages.
    pub(super) fn here(&self) -> String {
        let rest = &self.text[self.pos..];
        let Some(first) = rest.chars().next() else {
            return "the end of the file".into();
        };
        let word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '@');
        let end = match word(first) {
            true => rest.find(|c| !word(c)).unwrap_or(rest.len()),
            false => first.len_utf8(),
        };
        format!("`{}`", shown(&rest[..end]))
    }

    /// A part of the text, for messages.
    pub(super) fn excerpt(&self, from: usize, to: usize) -> String {
        format!("`{}`", shown(self.text.get(from..to).unwrap_or_default()))
    }
}

fn is_reserved(name: &str) -> bool {
    matches!(
        name,
        "after"
            | "and"
            | "andalso"
            | "band"
            | "begin"
            | "bnot"
            | "bor"
            | "bsl"
            | "bsr"
            | "bxor"
            | "case"
            | "catch"
            | "cond"
            | "div"
            | "end"
            | "fun"
            | "if"
            | "let"
            | "not"
            | "of"
            | "or"
            | "orelse"
            | "receive"
            | "rem"
            | "try"
            | "when"
            | "xor"
    )
}

/// White space as erl_scan has it.
pub(super) fn is_white_space(c: char) -> bool {
    matches!(c, '\0'..=' ' | '\u{80}'..='\u{A0}')
}
