//! Printed and read again, every value is the same; and what is read is what the usual readers of
//! the formats read.

use std::borrow::Cow;

use bc_gitops_core::spec::{Node, Value, erlang, etf, json, yaml};
use proptest::prelude::*;

/// A value that all three formats can say.
fn data() -> impl Strategy<Value = serde_json::Value> {
    use serde_json::{Value as Json, json};
    let text = prop_oneof![
        "[ -~é日]{0,12}",
        "\\PC{0,8}",
        Just("no".to_owned()),
        Just("010".to_owned()),
        Just("~".to_owned())
    ];
    let leaf = prop_oneof![
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        any::<f64>()
            .prop_filter("finite", |f| f.is_finite())
            .prop_map(|f| json!(f)),
        text.clone().prop_map(Json::from),
        Just(Json::Null),
    ];
    leaf.prop_recursive(4, 40, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Json::from),
            prop::collection::btree_map("[a-z][a-z0-9_ ]{0,6}", inner, 0..5)
                .prop_map(|map| Json::Object(map.into_iter().collect())),
        ]
    })
}

fn node(value: Value<'static>) -> Node<'static> {
    Node::new(0, value)
}

/// What our readers are to make of it.
fn expected(value: &serde_json::Value) -> Value<'static> {
    use serde_json::Value as Json;
    match value {
        Json::Null => Value::atom("undefined"),
        Json::Bool(true) => Value::atom("true"),
        Json::Bool(false) => Value::atom("false"),
        Json::Number(number) => match number.as_i64() {
            Some(integer) => Value::Int(integer),
            None => Value::Float(number.as_f64().expect("a float")),
        },
        Json::String(text) => Value::Binary(Cow::Owned(text.clone().into_bytes())),
        Json::Array(items) => Value::List(items.iter().map(|item| node(expected(item))).collect()),
        Json::Object(map) => Value::Map(
            map.iter()
                .map(|(key, value)| {
                    (
                        node(Value::Binary(Cow::Owned(key.clone().into_bytes()))),
                        node(expected(value)),
                    )
                })
                .collect(),
        ),
    }
}

/// Values as Erlang writes them.
fn printed(value: &Value<'_>) -> String {
    let all = |nodes: &[Node<'_>]| {
        nodes
            .iter()
            .map(|node| printed(&node.value))
            .collect::<Vec<_>>()
            .join(", ")
    };
    match value {
        Value::Int(integer) => integer.to_string(),
        Value::Float(float) => {
            let text = format!("{float:e}");
            let (mantissa, exponent) = text.split_once('e').expect("an exponent");
            let point = if mantissa.contains('.') { "" } else { ".0" };
            format!("{mantissa}{point}e{exponent}")
        }
        Value::Atom(name) => format!("'{}'", escaped(name, '\'')),
        Value::Binary(bytes) => {
            let bytes: Vec<String> = bytes.iter().map(u8::to_string).collect();
            format!("<<{}>>", bytes.join(","))
        }
        Value::Chars(chars) => format!("\"{}\"", escaped(chars, '"')),
        Value::List(items) => format!("[{}]", all(items)),
        Value::Tuple(items) => format!("{{{}}}", all(items)),
        Value::Map(pairs) => {
            let pairs: Vec<String> = pairs
                .iter()
                .map(|(k, v)| format!("{} => {}", printed(&k.value), printed(&v.value)))
                .collect();
            format!("#{{{}}}", pairs.join(", "))
        }
        other => unreachable!("{other:?} is not generated"),
    }
}

fn escaped(text: &str, quote: char) -> String {
    text.chars()
        .flat_map(|c| {
            if c == quote || c == '\\' {
                vec!['\\', c]
            } else {
                vec![c]
            }
        })
        .collect()
}

fn term() -> impl Strategy<Value = Value<'static>> {
    let leaf = prop_oneof![
        any::<i64>().prop_map(Value::Int),
        any::<f64>()
            .prop_filter("finite", |f| f.is_finite())
            .prop_map(Value::Float),
        "[ -~é日\n]{0,12}".prop_map(|name| Value::Atom(Cow::Owned(name))),
        prop::collection::vec(any::<u8>(), 0..12)
            .prop_map(|bytes| Value::Binary(Cow::Owned(bytes))),
        "[ -~é日\n]{1,12}".prop_map(|chars| Value::Chars(Cow::Owned(chars))),
    ];
    leaf.prop_recursive(4, 40, 5, |inner| {
        let nodes = prop::collection::vec(inner.clone().prop_map(node), 0..5);
        prop_oneof![
            nodes.clone().prop_map(Value::List),
            nodes.prop_map(Value::Tuple),
            prop::collection::vec((inner.clone().prop_map(node), inner.prop_map(node)), 0..4)
                .prop_map(Value::Map),
        ]
    })
}

proptest! {
    #[test]
    fn erlang_terms_come_back(value in term()) {
        let text = format!("{}.", printed(&value));
        let terms = erlang::read_terms(&text).map_err(|fault| TestCaseError::fail(format!("{fault:?} in {text}")))?;
        prop_assert_eq!(terms.len(), 1);
        prop_assert_eq!(etf::to_bytes(&terms[0].value), etf::to_bytes(&value));
    }

    #[test]
    fn external_terms_come_back(value in term()) {
        let bytes = etf::to_bytes(&value);
        let again = etf::from_bytes(&bytes).map(|value| etf::to_bytes(&value));
        prop_assert_eq!(again, Some(bytes));
    }

    #[test]
    fn json_comes_back(value in data()) {
        for text in [value.to_string(), serde_json::to_string_pretty(&value).expect("text")] {
            let read = json::read(&text).map_err(|fault| TestCaseError::fail(format!("{fault:?} in {text}")))?;
            prop_assert_eq!(etf::to_bytes(&read.value), etf::to_bytes(&expected(&value)));
        }
    }

    #[test]
    fn yaml_comes_back(value in data()) {
        let text = serde_yaml::to_string(&value).expect("text");
        let read = yaml::read(&text).map_err(|fault| TestCaseError::fail(format!("{fault:?} in {text}")))?;
        prop_assert_eq!(etf::to_bytes(&read.value), etf::to_bytes(&expected(&value)), "{}", text);
    }

    #[test]
    fn json_is_yaml(value in data()) {
        let text = value.to_string();
        let read = yaml::read(&text).map_err(|fault| TestCaseError::fail(format!("{fault:?} in {text}")))?;
        prop_assert_eq!(etf::to_bytes(&read.value), etf::to_bytes(&expected(&value)), "{}", text);
    }

    #[test]
    fn json_is_refused_where_serde_json_refuses_it(text in "[ \\[\\]{}:,\"\\\\a-z0-9.eE+\\-\n\u{1}é]{0,16}") {
        let theirs = serde_json::from_str::<serde_json::Value>(&text).is_ok();
        prop_assert_eq!(json::read(&text).is_ok(), theirs, "{}", text);
    }

    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,60}") {
        let _ = erlang::read_terms(&text);
        let _ = json::read(&text);
        let _ = yaml::read(&text);
    }
}

/// Plain scalars mean what serde_yaml makes of them.
#[test]
fn yaml_scalars_are_those_of_serde_yaml() {
    for scalar in [
        "no",
        "yes",
        "on",
        "off",
        "010",
        "0x1F",
        "0o17",
        "0b101",
        "1_000",
        "1.5",
        ".5",
        "1e3",
        "1.",
        "-1",
        "+1",
        "-0x1f",
        "~",
        "null",
        "Null",
        "NULL",
        "true",
        "True",
        "TRUE",
        "false",
        "nan",
        "inf",
        "1.2.3",
        "1e",
        "e5",
        "+",
        "0",
        "-0",
        "00",
        "0.0",
        "12e03",
        "a b",
        "2001-01-01",
        "0x",
        "0xg",
        "1:30",
        "12:30:45",
        "<<a",
        "@a b"[1..].trim(),
        "1__0",
        "-.5",
        "+.5e-3",
        "9223372036854775807",
        "-9223372036854775808",
    ] {
        let text = format!("k: {scalar}\n");
        let theirs: serde_yaml::Value = serde_yaml::from_str(&text).expect("a map");
        let theirs = serde_json::to_value(&theirs["k"]).expect("JSON");
        let ours = yaml::read(&text).expect("a map");
        let Value::Map(pairs) = ours.value else {
            panic!("no map")
        };
        assert_eq!(pairs[0].1.value, expected(&theirs), "{scalar}");
    }
}
