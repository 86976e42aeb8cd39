//! The fuzz entries over their corpus and seeded mutations of it. `cargo fuzz` uses the same
//! entries; what it finds belongs into `fuzz/corpus`.

use std::path::Path;

use bc_gitops_core::{archive, beam, git, hex, hot, mesh, spec, store, url};

/// Mutations per entry; `BCT_FUZZ` asks for more.
const MUTATIONS: usize = 6_000;

#[test]
fn erlang_terms_never_panic() {
    run("erlang", spec::erlang::fuzz);
}

#[test]
fn yaml_never_panics() {
    run("yaml", spec::yaml::fuzz);
}

#[test]
fn json_never_panics() {
    run("json", spec::json::fuzz);
}

#[test]
fn specs_never_panic() {
    run("spec", spec::fuzz);
}

#[test]
fn external_terms_never_panic() {
    run("etf", spec::etf::fuzz);
}

#[test]
fn object_files_never_panic() {
    run("beam", beam::fuzz);
}

#[test]
fn urls_never_panic() {
    run("url", url::fuzz);
}

#[test]
fn urls_of_downloads_never_panic() {
    run("http_url", url::web::fuzz);
}

#[test]
fn archives_never_panic() {
    run("archive", archive::fuzz);
}

#[test]
fn known_hosts_never_panic() {
    run("known_hosts", git::known_hosts::fuzz);
}

#[test]
fn manifests_never_panic() {
    run("manifest", mesh::manifest::fuzz);
}

#[test]
fn lists_of_files_never_panic() {
    run("files", store::fuzz);
}

#[test]
fn hex_never_panics() {
    run("hex", hex::fuzz);
}

#[test]
fn hot_never_panics() {
    run("hot", hot::fuzz);
}

fn run(entry: &str, fuzz: fn(&[u8])) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(entry);
    let mut corpus: Vec<Vec<u8>> = std::fs::read_dir(&dir)
        .expect("the corpus is in the repository")
        .map(|file| std::fs::read(file.expect("a file").path()).expect("its bytes"))
        .collect();
    corpus.sort();
    assert!(!corpus.is_empty());
    corpus.iter().for_each(|bytes| fuzz(bytes));
    let count = std::env::var("BCT_FUZZ")
        .ok()
        .and_then(|count| count.parse().ok())
        .unwrap_or(MUTATIONS);
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    for _ in 0..count {
        let mut bytes = corpus[random.below(corpus.len())].clone();
        for _ in 0..=random.below(4) {
            mutate(&mut bytes, &corpus, &mut random);
        }
        fuzz(&bytes);
    }
}

fn mutate(bytes: &mut Vec<u8>, corpus: &[Vec<u8>], random: &mut Random) {
    const TOKENS: &[&str] = &[
        "\"", "'", "\\", "$", "<<", ">>", "#{", "=>", "[", "]", "{", "}", "(", ")", "|", ",", ".",
        "\n", "\t", "- ", ": ", "? ", "&a ", "*a", "!t ", "---\n", "...\n", "%", "#", "~",
        "\"\"\"", "\\x{", "\\^", "\\u", "16#", "e9", "0x", "1_", "é", "\u{FFFE}", "\u{2028}",
        "\u{FEFF}", "|-\n", ">\n", "<<: ", "[[[[", "{a: ",
    ];
    let at = random.below(bytes.len() + 1);
    match random.below(6) {
        0 if at < bytes.len() => {
            bytes.remove(at);
        }
        1 => {
            let token = TOKENS[random.below(TOKENS.len())];
            bytes.splice(at..at, token.bytes());
        }
        2 if at < bytes.len() => bytes[at] = random.below(256) as u8,
        3 if at < bytes.len() => {
            let end = (at + 1 + random.below(40)).min(bytes.len());
            let part = bytes[at..end].to_vec();
            bytes.splice(at..at, part);
        }
        4 if at < bytes.len() => bytes.truncate(at),
        _ => {
            let other = &corpus[random.below(corpus.len())];
            let from = random.below(other.len() + 1);
            let to = (from + random.below(40)).min(other.len());
            bytes.splice(at..at, other[from..to].iter().copied());
        }
    }
}

/// xorshift64*: seeded, so that a failure comes again.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let value = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33;
        value as usize % limit.max(1)
    }
}
