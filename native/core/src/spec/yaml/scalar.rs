//! Scalars and their tags: the core schema of YAML 1.2.

use std::borrow::Cow;

use saphyr_parser::{ScalarStyle, Tag};

use super::super::env::charlist;
use super::super::limits;
use super::super::problem::{Fault, Kind, shown};
use super::super::value::{Big, Value};

#[derive(Clone, Copy, PartialEq)]
pub(super) enum TagKind {
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

pub(super) fn kind_of(tag: &Tag) -> Option<TagKind> {
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

pub(super) fn wrong_tag(tag: Option<&Tag>, at: usize) -> Fault {
    let found = tag.map_or_else(
        || "no tag".to_owned(),
        |tag| format!("the tag {}", shown(&tag.to_string())),
    );
    let expected = "!atom, !charlist, !tuple or one of YAML's own tags, on a value it fits";
    Fault::new(Kind::Unsupported, at, found, expected)
}

pub(super) fn scalar<'a>(
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

pub(super) fn binary(text: Cow<'_, str>) -> Value<'_> {
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

fn number<'w>(word: &'w str, at: usize) -> Result<Option<Value<'static>>, Fault> {
    let (negative, digits) = match word.as_bytes()[0] {
        b'-' => (true, &word[1..]),
        b'+' => (false, &word[1..]),
        _ => (false, word),
    };
    let based = |digits: &'w str, base: u32| {
        let fits = !digits.is_empty() && digits.chars().all(|c| c.is_digit(base));
        fits.then_some((digits.as_bytes(), base))
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
        return Ok(Some(Big::integer(negative, digits, base)));
    }
    if !is_float(digits) {
        return Ok(None);
    }
    match word.parse::<f64>() {
        Ok(float) if float.is_finite() => Ok(Some(Value::Float(float))),
        _ => Err(Fault::syntax(
            at,
            shown(word),
            "a number that a 64 bit float can hold, or text in quotes",
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
