//! Hostile files are refused in bounded time and memory.

use bc_gitops_core::spec::{Checked, Format, Kind, NoAtoms, limits, parse};
use rustix::time::{ClockId, clock_gettime};

use crate::AllAtoms;

/// Seconds of the processor, far more than any of them needs without optimisation. What else the
/// machine does is not counted.
const PATIENCE: i64 = 5;

fn refused(text: &[u8], format: Format) -> Checked {
    let seconds = || clock_gettime(ClockId::ThreadCPUTime).tv_sec;
    let started = seconds();
    let checked = parse(text, format, &AllAtoms);
    assert!(seconds() - started < PATIENCE, "{} s", seconds() - started);
    assert!(checked.spec.is_none());
    checked
}

fn kind_of(text: &[u8], format: Format) -> Kind {
    refused(text, format).errors[0].kind
}

/// Specs are parsed on threads with 8 MiB of stack; unoptimised code needs more than a test has.
fn on_a_large_stack(work: fn()) {
    let thread = std::thread::Builder::new()
        .stack_size(8 << 20)
        .spawn(work)
        .expect("a thread");
    thread.join().expect("no panic");
}

#[test]
fn deep_nesting_is_refused_in_every_format() {
    on_a_large_stack(deep_nesting);
}

fn deep_nesting() {
    let deep = |open: &str, close: &str| {
        format!("{}{}", open.repeat(100_000), close.repeat(100_000)).into_bytes()
    };
    assert_eq!(kind_of(&deep("[", "]"), Format::Erlang), Kind::TooDeep);
    assert_eq!(kind_of(&deep("{a,", "}"), Format::Erlang), Kind::TooDeep);
    assert_eq!(kind_of(&deep("#{a=>", "}"), Format::Erlang), Kind::TooDeep);
    assert_eq!(kind_of(&deep("(", ")"), Format::Erlang), Kind::TooDeep);
    assert_eq!(kind_of(&deep("<<", ">>"), Format::Erlang), Kind::TooDeep);
    assert_eq!(kind_of(&deep("<<(", ")>>"), Format::Erlang), Kind::TooDeep);
    assert_eq!(kind_of(&deep("[", "]"), Format::Json), Kind::TooDeep);
    assert_eq!(kind_of(&deep("{\"a\":", "}"), Format::Json), Kind::TooDeep);
    for text in [
        deep("[", "]"),
        deep("{a: ", "}"),
        deep("- ", ""),
        deep("? ", ""),
    ] {
        refused(&text, Format::Yaml);
    }
}

#[test]
fn alias_bombs_are_refused() {
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for level in 1..20 {
        let aliases = vec![format!("*a{}", level - 1); 9].join(", ");
        bomb.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
    }
    assert_eq!(kind_of(bomb.as_bytes(), Format::Yaml), Kind::TooLarge);
    assert_eq!(kind_of(b"a: &a [*a]\n", Format::Yaml), Kind::Unsupported);
    // Anchors inside of anchors cost a copy each.
    let chain = "&a [".repeat(150) + "x" + &"]".repeat(150);
    refused(chain.as_bytes(), Format::Yaml);
}

#[test]
fn huge_numbers_are_refused() {
    let spec = |value: &str| {
        format!("#{{name => a, version => <<\"1\">>, env => #{{x => {value}}}}}.").into_bytes()
    };
    for value in ["1.0e400", "-1.0e999999999999", "37#1", "1#0"] {
        assert_eq!(
            kind_of(&spec(value), Format::Erlang),
            Kind::Syntax,
            "{value}"
        );
    }
    let digits = "F".repeat(900_000);
    assert_eq!(
        kind_of(&spec(&format!("16#{digits}")), Format::Erlang),
        Kind::TooLarge
    );
    for value in [
        "<<0:99999999999999999999>>",
        "<<0:80000000000>>",
        "<<1:4611686018427387904/unit:8>>",
    ] {
        assert_eq!(
            kind_of(&spec(value), Format::Erlang),
            Kind::TooLarge,
            "{value}"
        );
    }
    let many = vec!["<<0:800000>>"; 1_000].join(",");
    assert_eq!(
        kind_of(&spec(&format!("[{many}]")), Format::Erlang),
        Kind::TooLarge
    );
    let wide = format!("<<\"{}\":65536>>", "x".repeat(500_000));
    assert_eq!(kind_of(&spec(&wide), Format::Erlang), Kind::TooLarge);
    refused(
        b"{\"name\": \"a\", \"version\": \"1\", \"env\": {\"x\": 1e400}}",
        Format::Json,
    );
    refused(b"name: a\nversion: '1'\nenv: {x: 1e400}\n", Format::Yaml);
    refused(b"name: a\nversion: '1'\nenv: {x: .inf}\n", Format::Yaml);
}

#[test]
fn large_files_are_refused_unread() {
    for format in [Format::Erlang, Format::Yaml, Format::Json] {
        assert_eq!(
            kind_of(&vec![b' '; limits::FILE_BYTES + 1], format),
            Kind::TooLarge
        );
    }
}

#[test]
fn files_at_the_limit_cost_little() {
    let fill = |text: &str| text.repeat(limits::FILE_BYTES / text.len()).into_bytes();
    for text in [
        "a", "[", "\"", "'", "%", "<<", "$\\", "1_", "(", "-", "\\x{", "~", "a.", "{},", "16#",
        "\"\"\"\n",
    ] {
        refused(&fill(text), Format::Erlang);
    }
    for text in ["a", "[", "\"", "\\u", "1", "-", "{\"a\":", "{},", "[],"] {
        refused(&fill(text), Format::Json);
    }
    for text in [
        "a", "[", "{", "\"", "- ", "a: ", "&a ", "? ", "|\n", "a\n", "*a ", "!a ", "- a\n",
        "a:\n ", "---\n", "#", "[],", "'", "%",
    ] {
        refused(&fill(text), Format::Yaml);
    }
}

/// Once 166 s for the JSON file: each of many wrong keys had its place and its neighbours looked up.
#[test]
fn a_file_full_of_problems_costs_little() {
    let row = |text: fn(usize) -> String, separator: &str| {
        let parts: Vec<String> = (0..60_000).map(text).collect();
        parts.join(separator)
    };
    let erlang = [
        format!("#{{{}}}.", row(|n| format!("k{n}=>1"), ",")),
        format!("#{{{}}}.", row(|_| "aaa=>1".into(), ",")),
        format!("#{{{}}}.", row(|n| format!("{n}=>1"), ",")),
        format!("#{{depends_on=>[{}]}}.", row(|_| "1".into(), ",")),
        format!("#{{depends_on=>[{}]}}.", row(|_| "\"A\"".into(), ",")),
    ];
    for text in erlang {
        refused(text.as_bytes(), Format::Erlang);
    }
    let json = [
        format!("{{{}}}", row(|n| format!("\"k{n}\":1"), ",")),
        format!("{{\"env\":{{{}}}}}", row(|_| "\"aaa\":1".into(), ",")),
    ];
    for text in json {
        refused(text.as_bytes(), Format::Json);
    }
    refused(row(|n| format!("k{n}: 1"), "\n").as_bytes(), Format::Yaml);
}

#[test]
fn a_file_may_add_a_thousand_atoms() {
    let env = |count: usize| {
        (0..count)
            .map(|n| format!("k{n} => v{n}"))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let spec = |count| {
        format!(
            "#{{name => a, version => <<\"1\">>, env => #{{{}}}}}.",
            env(count)
        )
    };
    let within = parse(spec(499).as_bytes(), Format::Erlang, &NoAtoms);
    assert_eq!(
        (within.errors.len(), within.new_atoms.len()),
        (0, 999),
        "499 keys and values, and the name"
    );
    let over = parse(spec(501).as_bytes(), Format::Erlang, &NoAtoms);
    assert_eq!(
        over.errors
            .iter()
            .map(|problem| problem.kind)
            .collect::<Vec<_>>(),
        [Kind::AtomQuota]
    );
    assert!(
        parse(spec(20_000).as_bytes(), Format::Erlang, &AllAtoms)
            .spec
            .is_some(),
        "atoms that exist are free"
    );
    let yaml = (0..2_000)
        .map(|n| format!("  k{n}: 1\n"))
        .collect::<String>();
    let over = parse(
        format!("name: a\nversion: '1'\nenv:\n{yaml}").as_bytes(),
        Format::Yaml,
        &NoAtoms,
    );
    assert_eq!(
        (over.errors[0].kind, over.errors[0].line, over.errors.len()),
        (Kind::AtomQuota, 1003, 1)
    );
}
