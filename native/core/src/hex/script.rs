//! `rebar.config.script` of a package: the plugins and hooks that stand in it as plain terms.
//!
//! A script is a program, and nobody runs it here. Most of those that matter add terms that they
//! have written down: `CONFIG ++ [{plugins, [{pc, "~> 1.0"}]}, {provider_hooks, […]}]`.

use crate::spec::erlang;

/// What is looked for.
const KEYS: [&str; 2] = ["plugins", "provider_hooks"];

/// Terms that are looked at; each costs the time to find its end.
const MOST: usize = 64;

/// The terms of a script as the text of a configuration, and whether it makes hooks in another way.
pub(super) fn terms(script: &str) -> (String, bool) {
    let literals = literals(script);
    let mut keys = literals.iter().filter_map(|term| key(term));
    let has_more = script.contains("provider_hooks") && keys.all(|key| key != "provider_hooks");
    let text = literals.iter().map(|term| format!("{term}.\n")).collect();
    (text, has_more)
}

fn literals(script: &str) -> Vec<&str> {
    let (mut found, mut tried, mut at) = (Vec::new(), 0, 0);
    while at < script.len() && tried < MOST {
        let begins = script.as_bytes()[at] == b'{' && key(&script[at..]).is_some();
        tried += usize::from(begins);
        match begins.then(|| end(script.as_bytes(), at)).flatten() {
            Some(end) if erlang::read_terms(&format!("{}.", &script[at..end])).is_ok() => {
                found.push(&script[at..end]);
                at = end;
            }
            _ => at = next(script.as_bytes(), at),
        }
    }
    found
}

/// The key of a pair.
fn key(term: &str) -> Option<&'static str> {
    let inside = term.strip_prefix('{')?.trim_start();
    let is_first = |key: &&&str| {
        let rest = inside.strip_prefix(**key);
        rest.is_some_and(|rest| rest.trim_start().starts_with(','))
    };
    KEYS.iter().find(is_first).copied()
}

/// Where the bracket at this place is closed.
fn end(text: &[u8], start: usize) -> Option<usize> {
    let (mut depth, mut at) = (0_usize, start);
    while at < text.len() {
        match text[at] {
            b'{' | b'[' | b'(' => depth += 1,
            b'}' | b']' | b')' => depth -= 1,
            _ => {}
        }
        at = next(text, at);
        if depth == 0 {
            return Some(at);
        }
    }
    None
}

/// The next place that is in no comment, text, quoted atom or character.
fn next(text: &[u8], at: usize) -> usize {
    let closed_by = |quote: u8| {
        let mut at = at + 1;
        while at < text.len() && text[at] != quote {
            at += if text[at] == b'\\' { 2 } else { 1 };
        }
        at + 1
    };
    match text[at] {
        b'%' => closed_by_line(text, at),
        b'$' if text.get(at + 1) == Some(&b'\\') => at + 3,
        b'$' => at + 2,
        quote @ (b'"' | b'\'') => closed_by(quote),
        _ => at + 1,
    }
}

fn closed_by_line(text: &[u8], at: usize) -> usize {
    let line = text[at..].iter().position(|&byte| byte == b'\n');
    line.map_or(text.len(), |length| at + length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_terms_are_found_in_a_script() {
        let script = "% {plugins, [commented]}\nIs2 = \"{plugins, [text]}\" =:= [$\", $\\\", ${],\n\
            case Is2 of\n  true -> Config2;\n  false -> Config2 ++ [\n\
            {plugins, [{pc, \"~> 1.0\"}]}, {artifacts, [\"priv/j.so\"]},\n\
            { provider_hooks , [\n {post, [{compile, {pc, compile}}, % more\n \
            {clean, {pc, clean}}]}]}]\nend.\n";
        let (text, has_more) = terms(script);
        assert!(text.starts_with("{plugins, [{pc, \"~> 1.0\"}]}.\n{ provider_hooks"));
        assert_eq!(erlang::read_terms(&text).unwrap().len(), 2);
        assert!(!has_more);
    }

    #[test]
    fn what_is_no_plain_term_is_left_alone() {
        let script = "[{plugins, Plugins}, {plugins, [pc | More]}, {provider_hooks, hooks()}].";
        assert_eq!(terms(script), (String::new(), true));
        assert_eq!(terms("{plugins, ["), (String::new(), false));
        assert_eq!(terms("CONFIG."), (String::new(), false));
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_a_script(text in "([{}\\[\\]()$%'\"\\\\, ä\n]|plugins|provider_hooks){0,60}") {
            let _ = erlang::read_terms(&terms(&text).0).unwrap();
        }
    }
}
