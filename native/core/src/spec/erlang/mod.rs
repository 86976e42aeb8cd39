//! Erlang terms: all that `file:consult/1` reads and that is data.
//!
//! Written after `erl_scan`, `erl_parse:normalise/1` and `eval_bits` of OTP 25, and OTP 27 for
//! triple-quoted strings and sigils, which are read on every OTP. Lexing and parsing are one pass
//! over the text, and what needs no unescaping is borrowed from it.

mod bits;
mod encoding;
mod number;
mod parser;
mod segment;
mod text;
mod writer;

use super::problem::Fault;
use super::value::Node;
use parser::Parser;

pub use encoding::decode;

/// Reads all terms of a file's text, each ended by a dot.
pub fn read_terms(text: &str) -> Result<Vec<Node<'_>>, Fault> {
    let mut parser = Parser::new(text);
    let mut terms = Vec::new();
    while let Some(term) = parser.next_term()? {
        terms.push(term);
    }
    Ok(terms)
}

/// Fuzz entry: any bytes are read or refused, never more than that.
pub fn fuzz(bytes: &[u8]) {
    if let Ok(text) = decode(bytes) {
        let _ = read_terms(&text);
    }
}
