//! YAML 1.2 with the core schema, read from the events of `saphyr-parser`, which know their places.
//!
//! What differs from YAML 1.1: `yes`, `no`, `on` and `off` are strings, and so is `010`. Merge keys
//! (`<<`), further documents, infinities and keys that are no scalars are refused. Keys are always
//! strings (`8080: x` has the key "8080"). Besides YAML's own tags there are `!atom`, `!charlist`
//! and `!tuple`. What aliases repeat counts against [`limits::NODES`].

use std::borrow::Cow;
use std::collections::HashMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span, StrInput, Tag};

use super::env::charlist;
use super::limits;
use super::problem::{Fault, Kind, shown};
use super::value::{Big, Node, Value};

/// Reads the one document of a file. Strings are binaries, null is `undefined`. Places are counted
/// in characters.
pub fn read(text: &str) -> Result<Node<'_>, Fault> {
    let mut reader = Reader {
        events: Parser::new_from_str(text),
        anchors: HashMap::new(),
        nodes: 0,
        depth: 0,
    };
    reader.document()
}

/// Fuzz entry: any bytes are read or refused, never more than that.
pub fn fuzz(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = read(text);
    }
}

struct Reader<'a> {
    events: Parser<'a, StrInput<'a>>,
    /// Anchored nodes and how many nodes each is.
    anchors: HashMap<usize, (Node<'a>, usize)>,
    nodes: usize,
    depth: usize,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Span), Fault> {
        match self.events.next() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => {
                let expected = "YAML that is well formed";
                Err(Fault::syntax(
                    error.marker().index(),
                    shown(error.info()),
                    expected,
                ))
            }
            None => Ok((Event::StreamEnd, Span::empty(Marker::default()))),
        }
    }

    fn document(&mut self) -> Result<Node<'a>, Fault> {
        loop {
            match self.next()? {
                (Event::StreamStart | Event::Nothing | Event::DocumentStart(_), _) => (),
                (Event::StreamEnd, span) => {
                    return Err(Fault::syntax(
                        span.start.index(),
                        "no document",
                        "one map in the file",
                    ));
                }
                event => {
                    let root = self.node(event)?;
                    return self.end(root);
                }
            }
        }
    }

    fn end(&mut self, root: Node<'a>) -> Result<Node<'a>, Fault> {
        loop {
            match self.next()? {
                (Event::StreamEnd, _) => return Ok(root),
                (Event::DocumentStart(_), span) => {
                    let at = span.start.index();
                    return Err(Fault::new(
                        Kind::Unsupported,
                        at,
                        "a second document",
                        "one document in the file",
                    ));
                }
                _ => (),
            }
        }
    }

    fn node(&mut self, (event, span): (Event<'a>, Span)) -> Result<Node<'a>, Fault> {
        let at = span.start.index();
        let before = self.nodes;
        self.spend(1, at)?;
        if self.depth >= limits::DEPTH {
            let expected = format!("at most {} levels of nesting", limits::DEPTH);
            return Err(Fault::new(Kind::TooDeep, at, "deeper nesting", expected));
        }
        self.depth += 1;
        let (value, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                (scalar(text, style, tag.as_deref(), at)?, anchor)
            }
            Event::SequenceStart(anchor, tag) => (self.sequence(tag.as_deref(), at)?, anchor),
            Event::MappingStart(anchor, tag) => (self.mapping(tag.as_deref(), at)?, anchor),
            Event::Alias(anchor) => (self.alias(anchor, at)?, 0),
            _ => return Err(Fault::syntax(at, "no value", "a value")),
        };
        self.depth -= 1;
        let node = Node::new(at, value);
        if anchor > 0 {
            // The copy is paid for, or a row of anchors would cost more than its text.
            let size = self.nodes - before;
            self.spend(size, at)?;
            self.anchors.insert(anchor, (node.clone(), size));
        }
        Ok(node)
    }

    fn spend(&mut self, nodes: usize, at: usize) -> Result<(), Fault> {
        self.nodes += nodes;
        match self.nodes > limits::NODES {
            true => Err(Fault::new(
                Kind::TooLarge,
                at,
                "more values",
                format!("at most {} values", limits::NODES),
            )),
            false => Ok(()),
        }
    }

    fn alias(&mut self, anchor: usize, at: usize) -> Result<Value<'a>, Fault> {
        let Some((_, size)) = self.anchors.get(&anchor) else {
            return Err(Fault::new(
                Kind::Unsupported,
                at,
                "an alias inside of what it names",
                "a finite value",
            ));
        };
        self.spend(*size, at)?;
        match self.anchors.get(&anchor) {
            Some((node, _)) => Ok(node.value.clone()),
            None => Ok(Value::atom("undefined")),
        }
    }

    fn sequence(&mut self, tag: Option<&Tag>, at: usize) -> Result<Value<'a>, Fault> {
        let tuple = match tag.map(kind_of) {
            None | Some(Some(TagKind::Sequence)) => false,
            Some(Some(TagKind::Tuple)) => true,
            _ => return Err(wrong_tag(tag, at)),
        };
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => break,
                event => items.push(self.node(event)?),
            }
        }
        Ok(if tuple {
            Value::Tuple(items)
        } else {
            Value::List(items)
        })
    }

    fn mapping(&mut self, tag: Option<&Tag>, at: usize) -> Result<Value<'a>, Fault> {
        if !matches!(tag.map(kind_of), None | Some(Some(TagKind::Mapping))) {
            return Err(wrong_tag(tag, at));
        }
        let mut pairs = Vec::with_capacity(8);
        loop {
            match self.next()? {
                (Event::MappingEnd, _) => return Ok(Value::Map(pairs)),
                key => {
                    let key = self.key(key)?;
                    let value = self.next()?;
                    pairs.push((key, self.node(value)?));
                }
            }
        }
    }

    fn key(&mut self, (event, span): (Event<'a>, Span)) -> Result<Node<'a>, Fault> {
        let at = span.start.index();
        self.spend(1, at)?;
        let unsupported = |found: &str| Fault::new(Kind::Unsupported, at, found, "a string as key");
        match event {
            Event::Scalar(text, ScalarStyle::Plain, 0, None) if text == "<<" => Err(Fault::new(
                Kind::Unsupported,
                at,
                "a merge key",
                "keys that are written out",
            )),
            Event::Scalar(text, ScalarStyle::Plain, ..) if text.is_empty() => {
                Err(unsupported("no key"))
            }
            Event::Scalar(text, _, anchor, tag) => {
                if !matches!(
                    tag.as_deref().map(kind_of),
                    None | Some(Some(TagKind::Text))
                ) {
                    return Err(wrong_tag(tag.as_deref(), at));
                }
                let key = Node::new(at, binary(text));
                if anchor > 0 {
                    self.anchors.insert(anchor, (key.clone(), 1));
                }
                Ok(key)
            }
            Event::Alias(_) => Err(unsupported("an alias as key")),
            _ => Err(unsupported("a collection as key")),
        }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum TagKind {
    Text,
    Integer,
    Float,
    Boolean,
    Null,
    Sequence,
    Mapping,
    Atom,
    Charlist,
    Tuple,
}

fn kind_of(tag: &Tag) -> Option<TagKind> {
    let name = match (tag.handle.as_str(), tag.suffix.as_str()) {
        ("tag:yaml.org,2002:", suffix) => suffix,
        ("", suffix) => suffix
            .strip_prefix("tag:yaml.org,2002:")
            .unwrap_or(if suffix == "!" { "str" } else { "" }),
        ("!", "") => "str",
        ("!", local @ ("atom" | "charlist" | "tuple")) => local,
        _ => "",
    };
    Some(match name {
        "str" => TagKind::Text,
        "int" => TagKind::Integer,
        "float" => TagKind::Float,
        "bool" => TagKind::Boolean,
        "null" => TagKind::Null,
        "seq" => TagKind::Sequence,
        "map" => TagKind::Mapping,
        "atom" => TagKind::Atom,
        "charlist" => TagKind::Charlist,
        "tuple" => TagKind::Tuple,
        _ => return None,
    })
}

fn wrong_tag(tag: Option<&Tag>, at: usize) -> Fault {
    let found = tag.map_or_else(
        || "no tag".to_owned(),
        |tag| format!("the tag {}", shown(&tag.to_string())),
    );
    let expected = "!atom, !charlist, !tuple or one of YAML's own tags, on a value it fits";
    Fault::new(Kind::Unsupported, at, found, expected)
}

fn scalar<'a>(
    text: Cow<'a, str>,
    style: ScalarStyle,
    tag: Option<&Tag>,
    at: usize,
) -> Result<Value<'a>, Fault> {
    let plain = style == ScalarStyle::Plain;
    let Some(tag) = tag else {
        return if plain {
            resolved(text, at)
        } else {
            Ok(binary(text))
        };
    };
    let fits = |value: Result<Value<'a>, Fault>, wanted: fn(&Value<'_>) -> bool| match value {
        Ok(value) if wanted(&value) => Ok(value),
        Ok(_) => Err(wrong_tag(Some(tag), at)),
        Err(fault) => Err(fault),
    };
    match kind_of(tag) {
        Some(TagKind::Text) => Ok(binary(text)),
        Some(TagKind::Atom) if text.chars().count() <= limits::ATOM_CHARACTERS => {
            Ok(Value::Atom(text))
        }
        Some(TagKind::Charlist) => Ok(charlist(text)),
        Some(TagKind::Integer) => fits(resolved(text, at), |value| {
            matches!(value, Value::Int(_) | Value::Big(_))
        }),
        Some(TagKind::Float) => fits(resolved(text, at).map(as_float), |value| {
            matches!(value, Value::Float(_))
        }),
        Some(TagKind::Boolean) => fits(resolved(text, at), |value| value.kind() == "boolean"),
        Some(TagKind::Null) => fits(resolved(text, at), |value| {
            *value == Value::atom("undefined")
        }),
        _ => Err(wrong_tag(Some(tag), at)),
    }
}

fn as_float(value: Value<'_>) -> Value<'_> {
    match value {
        Value::Int(integer) => Value::Float(integer as f64),
        other => other,
    }
}

fn binary(text: Cow<'_, str>) -> Value<'_> {
    match text {
        Cow::Borrowed(text) => Value::Binary(Cow::Borrowed(text.as_bytes())),
        Cow::Owned(text) => Value::Binary(Cow::Owned(text.into_bytes())),
    }
}

/// The core schema of YAML 1.2 (section 10.3.2) for plain scalars.
fn resolved(text: Cow<'_, str>, at: usize) -> Result<Value<'_>, Fault> {
    Ok(match text.as_ref() {
        "" | "~" | "null" | "Null" | "NULL" => Value::atom("undefined"),
        "true" | "True" | "TRUE" => Value::atom("true"),
        "false" | "False" | "FALSE" => Value::atom("false"),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" | "-.inf" | "-.Inf" | "-.INF"
        | ".nan" | ".NaN" | ".NAN" => {
            return Err(Fault::new(
                Kind::Unsupported,
                at,
                text.as_ref(),
                "a finite number",
            ));
        }
        word if !word.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.')) => {
            binary(text)
        }
        word => match number(word, at)? {
            Some(number) => number,
            None => binary(text),
        },
    })
}

fn number(word: &str, at: usize) -> Result<Option<Value<'static>>, Fault> {
    let (negative, digits) = match word.as_bytes()[0] {
        b'-' => (true, &word[1..]),
        b'+' => (false, &word[1..]),
        _ => (false, word),
    };
    let based = |digits: &str, base: u32| {
        let fits = !digits.is_empty() && digits.chars().all(|c| c.is_digit(base));
        fits.then(|| (digits.as_bytes().to_vec(), base))
    };
    let integer = match digits.as_bytes() {
        [b'0', b'x', ..] => based(&digits[2..], 16),
        [b'0', b'o', ..] => based(&digits[2..], 8),
        [b'0', b'b', ..] => based(&digits[2..], 2),
        // 010 is eight to some readers and ten to others: it stays text.
        [b'0', b'0'..=b'9', ..] if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            return Ok(None);
        }
        _ => based(digits, 10),
    };
    if word.len() > limits::DIGITS && (integer.is_some() || is_float(digits)) {
        let expected = format!("at most {} digits", limits::DIGITS);
        return Err(Fault::new(Kind::TooLarge, at, "a longer number", expected));
    }
    if let Some((digits, base)) = integer {
        return Ok(Some(Big::from_digits(negative, &digits, base).into_value()));
    }
    if !is_float(digits) {
        return Ok(None);
    }
    match word.parse::<f64>() {
        Ok(float) if float.is_finite() => Ok(Some(Value::Float(float))),
        _ => Err(Fault::syntax(
            at,
            shown(word),
            "a number that a 64 bit float can hold",
        )),
    }
}

/// `[0-9]*\.?[0-9]*([eE][-+]?[0-9]+)?` with a digit before the exponent.
fn is_float(text: &str) -> bool {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let exponent_fits = exponent.is_none_or(|exponent| {
        let digits = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
        !digits.is_empty() && all_digits(digits)
    });
    all_digits(whole)
        && all_digits(fraction)
        && !(whole.is_empty() && fraction.is_empty())
        && exponent_fits
}
