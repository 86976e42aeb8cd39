//! Strings, quoted atoms, characters, and OTP 27's triple-quoted strings and sigils.

use std::borrow::Cow;

use super::super::problem::Fault;
use super::super::value::{Node, Value};
use super::parser::{Parser, is_white_space};

/// Which content a sigil has: bytes or characters, escapes read or not.
struct Sigil {
    binary: bool,
    verbatim: bool,
}

impl<'a> Parser<'a> {
    /// A string term: adjacent literals are one.
    pub(super) fn string(&mut self) -> Result<Value<'a>, Fault> {
        Ok(chars(self.string_literal()?))
    }

    /// The characters of one or more adjacent string literals.
    pub(super) fn string_literal(&mut self) -> Result<Cow<'a, str>, Fault> {
        let mut whole = self.one_string()?;
        loop {
            self.skip()?;
            if self.byte() != Some(b'"') {
                return Ok(whole);
            }
            let next = self.one_string()?;
            whole.to_mut().push_str(&next);
        }
    }

    fn one_string(&mut self) -> Result<Cow<'a, str>, Fault> {
        match self.bytes[self.pos..].starts_with(b"\"\"\"") {
            true => self.triple_quoted(true),
            false => self.quoted(b'"'),
        }
    }

    /// What stands between two quotes; the cursor is on the first one.
    pub(super) fn quoted(&mut self, quote: u8) -> Result<Cow<'a, str>, Fault> {
        let opening = self.pos;
        self.pos += 1;
        self.delimited(opening, quote, false)
    }

    /// Content up to a closing byte; borrowed as long as there is no escape.
    fn delimited(
        &mut self,
        opening: usize,
        close: u8,
        verbatim: bool,
    ) -> Result<Cow<'a, str>, Fault> {
        let mut start = self.pos;
        let mut out: Option<String> = None;
        while let Some(&byte) = self.bytes.get(self.pos) {
            match byte {
                _ if byte == close => {
                    let part = &self.text[start..self.pos];
                    self.pos += 1;
                    return Ok(match out {
                        None => Cow::Borrowed(part),
                        Some(text) => Cow::Owned(text + part),
                    });
                }
                b'\\' if !verbatim => {
                    let text = out.get_or_insert_default();
                    text.push_str(&self.text[start..self.pos]);
                    self.pos += 1;
                    text.push(self.escape()?);
                    start = self.pos;
                }
                0xEF if self.is_noncharacter() => return Err(self.noncharacter()),
                _ => self.pos += 1,
            }
        }
        let found = format!(
            "the end of the file in what {} begins",
            self.excerpt(opening, opening + 1)
        );
        Err(Fault::syntax(
            opening,
            found,
            format!("a closing `{}`", close as char),
        ))
    }

    /// A character literal; the cursor is on `$`.
    pub(super) fn character(&mut self) -> Result<Value<'a>, Fault> {
        let at = self.pos;
        self.pos += 1;
        let c = match self.next_char() {
            Some('\\') => self.escape()?,
            Some(c) if is_character(c) => c,
            _ => {
                return Err(Fault::syntax(
                    at,
                    "`$` without a character",
                    "a character after `$`",
                ));
            }
        };
        Ok(Value::Int(i64::from(u32::from(c))))
    }

    fn next_char(&mut self) -> Option<char> {
        let c = self.text[self.pos..].chars().next()?;
        self.pos += c.len_utf8();
        Some(c)
    }

    /// What a backslash stands for; the cursor is behind it.
    fn escape(&mut self) -> Result<char, Fault> {
        let at = self.pos - 1;
        let illegal = |parser: &Self| {
            Fault::syntax(
                at,
                parser.excerpt(at, parser.pos.min(parser.text.len())),
                "an escape sequence",
            )
        };
        match self.next_char() {
            Some(first @ '0'..='7') => Ok(self.octal(first)),
            Some('x') => self.hexadecimal().ok_or_else(|| illegal(self)),
            Some('^') => match self.next_char() {
                Some('\n') => Ok('\n'),
                Some(c) => Ok(char::from((u32::from(c) & 31) as u8)),
                None => Err(illegal(self)),
            },
            Some('n') => Ok('\n'),
            Some('r') => Ok('\r'),
            Some('t') => Ok('\t'),
            Some('v') => Ok('\u{0B}'),
            Some('b') => Ok('\u{08}'),
            Some('f') => Ok('\u{0C}'),
            Some('e') => Ok('\u{1B}'),
            Some('s') => Ok(' '),
            Some('d') => Ok('\u{7F}'),
            Some(c) if is_character(c) => Ok(c),
            _ => Err(illegal(self)),
        }
    }

    /// Up to three octal digits.
    fn octal(&mut self, first: char) -> char {
        let mut value = first as u32 - '0' as u32;
        for _ in 0..2 {
            let Some(digit @ b'0'..=b'7') = self.byte() else {
                break;
            };
            value = value * 8 + u32::from(digit - b'0');
            self.pos += 1;
        }
        char::from_u32(value).unwrap_or('\0')
    }

    /// `\xHH` or `\x{H…}`.
    fn hexadecimal(&mut self) -> Option<char> {
        let (digits, length) = match self.byte() {
            Some(b'{') => {
                self.pos += 1;
                let end = self.bytes[self.pos..]
                    .iter()
                    .position(|byte| !byte.is_ascii_hexdigit())?;
                (end, end + 1)
            }
            _ => (2, 2),
        };
        let hex = self.bytes.get(self.pos..self.pos + digits)?;
        if !hex.iter().all(u8::is_ascii_hexdigit)
            || (length > digits && self.byte_at(digits) != Some(b'}'))
        {
            return None;
        }
        let text = std::str::from_utf8(hex).ok()?.trim_start_matches('0');
        if hex.is_empty() || text.len() > 6 {
            return None;
        }
        let code = if text.is_empty() {
            0
        } else {
            u32::from_str_radix(text, 16).ok()?
        };
        self.pos += length;
        char::from_u32(code).filter(|&c| is_character(c))
    }

    /// A sigil of OTP 27; the cursor is on `~`.
    pub(super) fn sigil(&mut self) -> Result<Value<'a>, Fault> {
        let (binary, content) = self.sigil_content()?;
        Ok(match (binary, content) {
            (false, content) => chars(content),
            (true, Cow::Borrowed(text)) => Value::Binary(Cow::Borrowed(text.as_bytes())),
            (true, Cow::Owned(text)) => Value::Binary(Cow::Owned(text.into_bytes())),
        })
    }

    /// Whether a sigil is a binary, and its characters.
    pub(super) fn sigil_content(&mut self) -> Result<(bool, Cow<'a, str>), Fault> {
        let at = self.pos;
        self.pos += 1;
        let prefix = self.name();
        let triple = self.bytes[self.pos..].starts_with(b"\"\"\"");
        let sigil = match prefix {
            "" => Sigil {
                binary: true,
                verbatim: triple,
            },
            "b" => Sigil {
                binary: true,
                verbatim: false,
            },
            "B" => Sigil {
                binary: true,
                verbatim: true,
            },
            "s" => Sigil {
                binary: false,
                verbatim: false,
            },
            "S" => Sigil {
                binary: false,
                verbatim: true,
            },
            _ => {
                return Err(Fault::syntax(
                    at,
                    format!("the sigil ~{prefix}"),
                    "~, ~b, ~B, ~s or ~S",
                ));
            }
        };
        let content = match triple {
            true => self.triple_quoted(sigil.verbatim)?,
            false => self.sigil_delimited(sigil.verbatim)?,
        };
        let suffix = self.pos;
        if !self.name().is_empty() {
            return Err(Fault::syntax(
                suffix,
                self.excerpt(suffix, self.pos),
                "no suffix after a sigil",
            ));
        }
        Ok((sigil.binary, content))
    }

    fn sigil_delimited(&mut self, verbatim: bool) -> Result<Cow<'a, str>, Fault> {
        let opening = self.pos;
        let close = match self.byte() {
            Some(b'(') => b')',
            Some(b'[') => b']',
            Some(b'{') => b'}',
            Some(b'<') => b'>',
            Some(same @ (b'/' | b'|' | b'\'' | b'"' | b'`' | b'#')) => same,
            _ => {
                return Err(Fault::syntax(
                    self.pos,
                    self.here(),
                    "a delimiter of a sigil",
                ));
            }
        };
        self.pos += 1;
        self.delimited(opening, close, verbatim)
    }

    /// Lines between two rows of at least three quotes, without the indentation of the closing row.
    fn triple_quoted(&mut self, verbatim: bool) -> Result<Cow<'a, str>, Fault> {
        let opening = self.pos;
        let quotes = self.bytes[self.pos..]
            .iter()
            .take_while(|&&byte| byte == b'"')
            .count();
        let rest = &self.text[self.pos + quotes..];
        let first = rest.find('\n').unwrap_or(rest.len());
        if !rest[..first].chars().all(is_white_space) || first == rest.len() {
            let at = self.pos + quotes;
            return Err(Fault::syntax(
                at,
                "text behind the opening quotes",
                "a line break after the opening quotes",
            ));
        }
        let mut lines = Vec::new();
        let mut at = self.pos + quotes + first + 1;
        loop {
            let line_end = self.text[at..].find('\n').map(|length| at + length);
            let line = &self.text[at..line_end.unwrap_or(self.text.len())];
            let indent = line.len() - line.trim_start_matches(is_white_space).len();
            let closing = line[indent..]
                .bytes()
                .take_while(|&byte| byte == b'"')
                .count()
                >= quotes;
            if closing {
                self.pos = at + indent + quotes;
                return self.joined(&lines, &line[..indent], verbatim);
            }
            lines.push((at, line));
            match line_end {
                Some(end) => at = end + 1,
                None => {
                    return Err(Fault::syntax(
                        opening,
                        "the end of the file",
                        "a line with the closing quotes",
                    ));
                }
            }
        }
    }

    fn joined(
        &self,
        lines: &[(usize, &'a str)],
        indent: &str,
        verbatim: bool,
    ) -> Result<Cow<'a, str>, Fault> {
        let mut text = String::new();
        for (index, &(at, line)) in lines.iter().enumerate() {
            let blank = line.chars().all(is_white_space);
            let content = match line.strip_prefix(indent) {
                Some(content) => content,
                None if blank => "",
                None => {
                    return Err(Fault::syntax(
                        at,
                        "less indentation",
                        "the indentation of the closing quotes",
                    ));
                }
            };
            if index > 0 {
                text.push('\n');
            }
            text.push_str(content);
        }
        if text.ends_with('\r') {
            text.pop();
        }
        match verbatim {
            true => Ok(Cow::Owned(text)),
            false => unescaped(&text).map(Cow::Owned).map_err(|fault| Fault {
                at: lines[0].0,
                ..fault
            }),
        }
    }
}

/// Reads the escapes of a text that was put together.
fn unescaped(text: &str) -> Result<String, Fault> {
    let mut parser = Parser::new(text);
    let mut out = String::with_capacity(text.len());
    while let Some(c) = parser.next_char() {
        out.push(if c == '\\' { parser.escape()? } else { c });
    }
    Ok(out)
}

fn chars(text: Cow<'_, str>) -> Value<'_> {
    match text.is_empty() {
        true => Value::List(Vec::<Node<'_>>::new()),
        false => Value::Chars(text),
    }
}

/// Surrogates are no `char` anyway; these two erl_scan refuses as well.
fn is_character(c: char) -> bool {
    !matches!(c, '\u{FFFE}' | '\u{FFFF}')
}
