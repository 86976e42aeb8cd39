//! What is wrong with a spec, where, and what was expected instead.

use std::borrow::Cow;

/// One finding in a spec file. Errors and warnings have the same shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What kind of problem it is.
    pub kind: Kind,
    /// Line, from 1; 0 where the problem has no place in a text.
    pub line: u32,
    /// Column in characters, from 1; 0 where the problem has no place in a text.
    pub column: u32,
    /// The field, dotted (`source.url`); empty for the file as a whole.
    pub path: String,
    /// What stands there.
    pub found: String,
    /// What should stand there.
    pub expected: String,
    /// A proposal, where there is a near one.
    pub hint: Option<String>,
    /// The expected type as one word (`binary`, `map`), for callers that match on it.
    pub expected_type: &'static str,
    /// What stands there, as a term in external format.
    pub got: Vec<u8>,
}

/// The kinds of problems. The border turns each into the atom of the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The text is not of its format.
    Syntax,
    /// Bytes that are not of the file's encoding.
    Encoding,
    /// A `fun` term: code, not data.
    FunTerm,
    /// Nested deeper than allowed.
    TooDeep,
    /// A file, number, name, string or collection larger than allowed.
    TooLarge,
    /// Something the format can say and a spec cannot (tags, several documents, infinities).
    Unsupported,
    /// A required field is not there.
    MissingField,
    /// A field holds another type than it takes.
    InvalidType,
    /// A field holds a value that it does not take.
    InvalidValue,
    /// The same key twice.
    DuplicateKey,
    /// More new atoms than a file or the VM may make.
    AtomQuota,
    /// The spec is a symbolic link.
    Symlink,
    /// The spec or its directory is a submodule.
    Submodule,
    /// The file cannot be read.
    Unreadable,
    /// Two directories name the same application.
    DuplicateName,
    /// Warning: a key that nothing reads.
    UnknownKey,
    /// Warning: a field that only another type uses.
    UnusedField,
    /// Warning: a login where everybody can read it.
    Secret,
}

impl Kind {
    /// The name of the kind, as it crosses the border.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Syntax => "syntax",
            Kind::Encoding => "encoding",
            Kind::FunTerm => "fun_term",
            Kind::TooDeep => "too_deep",
            Kind::TooLarge => "too_large",
            Kind::Unsupported => "unsupported",
            Kind::MissingField => "missing_field",
            Kind::InvalidType => "invalid_type",
            Kind::InvalidValue => "invalid_value",
            Kind::DuplicateKey => "duplicate_key",
            Kind::AtomQuota => "atom_quota",
            Kind::Symlink => "symlink",
            Kind::Submodule => "submodule",
            Kind::Unreadable => "unreadable",
            Kind::DuplicateName => "duplicate_name",
            Kind::UnknownKey => "unknown_key",
            Kind::UnusedField => "unused_field",
            Kind::Secret => "secret",
        }
    }
}

impl Problem {
    /// The problem as one sentence that begins with its place, as compilers do.
    pub fn message(&self, file: &str) -> String {
        match self.line {
            0 => format!("{file}: {}", self.sentence()),
            _ => format!("{file}:{}:{}: {}", self.line, self.column, self.sentence()),
        }
    }

    /// The field as one word: what `path` ends with, without an index.
    pub fn field(&self) -> &str {
        let last = self.path.rsplit('.').next().unwrap_or_default();
        let word = last.split('[').next().unwrap_or_default();
        if word.is_empty() { "spec" } else { word }
    }

    fn sentence(&self) -> String {
        let place = if self.path.is_empty() {
            String::new()
        } else {
            format!("{}: ", self.path)
        };
        let hint = self
            .hint
            .as_ref()
            .map(|hint| format!("; {hint}"))
            .unwrap_or_default();
        match self.kind {
            Kind::MissingField => format!("{place}is missing, expected {}{hint}", self.expected),
            Kind::UnknownKey => format!("{place}unknown key, expected {}{hint}", self.expected),
            Kind::UnusedField => format!("{place}is not used, expected {}{hint}", self.expected),
            _ => format!(
                "{place}found {}, expected {}{hint}",
                self.found, self.expected
            ),
        }
    }
}

/// A problem that ends the reading of a text: nothing sensible can be said about what follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Its kind.
    pub kind: Kind,
    /// Offset in the text.
    pub at: usize,
    /// What stands there.
    pub found: String,
    /// What should stand there.
    pub expected: Cow<'static, str>,
}

impl Fault {
    pub(crate) fn new(
        kind: Kind,
        at: usize,
        found: impl Into<String>,
        expected: impl Into<Cow<'static, str>>,
    ) -> Self {
        Fault {
            kind,
            at,
            found: found.into(),
            expected: expected.into(),
        }
    }

    pub(crate) fn syntax(
        at: usize,
        found: impl Into<String>,
        expected: impl Into<Cow<'static, str>>,
    ) -> Self {
        Fault::new(Kind::Syntax, at, found, expected)
    }
}

/// A text and how offsets in it are counted.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    text: &'a str,
    characters: bool,
}

impl<'a> Source<'a> {
    /// Offsets are bytes.
    pub fn bytes(text: &'a str) -> Self {
        Source {
            text,
            characters: false,
        }
    }

    /// Offsets are characters.
    pub fn characters(text: &'a str) -> Self {
        Source {
            text,
            characters: true,
        }
    }

    /// The word that stands at an offset: up to white space or a delimiter.
    pub fn word(&self, at: usize) -> &'a str {
        let rest = self.text.get(self.byte_offset(at)..).unwrap_or_default();
        let end = rest
            .find(|c: char| c.is_whitespace() || ",}])>#;\"'".contains(c))
            .unwrap_or(rest.len());
        &rest[..end]
    }

    fn byte_offset(&self, at: usize) -> usize {
        match self.characters {
            true => self
                .text
                .char_indices()
                .nth(at)
                .map_or(self.text.len(), |(index, _)| index),
            false => at.min(self.text.len()),
        }
    }

    /// Line and column (in characters) of an offset, both from 1.
    pub fn place(&self, at: usize) -> (u32, u32) {
        let before = &self.text.as_bytes()[..self.byte_offset(at)];
        let line = before.iter().filter(|&&byte| byte == b'\n').count() + 1;
        let start = before
            .iter()
            .rposition(|&byte| byte == b'\n')
            .map_or(0, |newline| newline + 1);
        // Continuation bytes of UTF-8 are no characters of their own.
        let column = before[start..]
            .iter()
            .filter(|&&byte| byte & 0xC0 != 0x80)
            .count()
            + 1;
        (line as u32, column as u32)
    }
}

/// Shortens what is shown of a file: hostile files do not fill logs.
pub(crate) fn shown(text: &str) -> String {
    const LIMIT: usize = 60;
    let mut out: String = text
        .chars()
        .take(LIMIT)
        .map(|c| if c.is_control() { '\u{FFFD}' } else { c })
        .collect();
    if text.chars().nth(LIMIT).is_some() {
        out.push('…');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_lines_and_characters_from_one() {
        let source = Source::bytes("aé\nxé?");
        assert_eq!(source.place(0), (1, 1));
        assert_eq!(source.place(4), (2, 1));
        assert_eq!(source.place(7), (2, 3));
        assert_eq!(Source::characters("aé\nxé?").place(5), (2, 3));
        assert_eq!(source.place(99), (2, 4));
    }
}
