//! YAML 1.2 with the core schema, read from the events of `saphyr-parser`, which know their places.
//!
//! What differs from YAML 1.1: `yes`, `no`, `on` and `off` are strings, and so is `010`. Merge keys
//! (`<<`), further documents, infinities and keys that are no scalars are refused. Keys are always
//! strings (`8080: x` has the key "8080"). Besides YAML's own tags there are `!atom`, `!charlist`
//! and `!tuple`. What aliases repeat counts against [`limits::NODES`].

mod scalar;

use std::collections::HashMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span, StrInput, Tag};

use super::limits;
use super::problem::{Fault, Kind, shown};
use super::value::{Node, Value};
use scalar::{TagKind, binary, kind_of, scalar, wrong_tag};

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
