//! Manifests and trees: what is read, what is refused, and that what is published comes back.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use proptest::prelude::*;

use super::manifest::{MAX_CHUNKS, MAX_CONTENT, MAX_FILES, Manifest};
use super::mcid::hex;
use super::{Kind, Laid, Mcid, MeshError, Published, admit, lay_out, publish, verify};

const A: &str = "abababababababababababababababababababababababababababababababab";
const B: &str = "cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd";
const EMPTY: &str = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262";

fn files(entries: &str) -> String {
    format!("{{\"bc_gitops_manifest\": 1, \"files\": [{entries}]}}")
}

fn file(path: &str) -> String {
    format!("{{\"path\": \"{path}\", \"size\": 1, \"blake3\": \"{A}\"}}")
}

/// Why a text is refused.
fn refused(text: &str) -> String {
    match Manifest::parse(text.as_bytes()) {
        Err(MeshError::BadManifest(why)) => why,
        other => panic!("{text} gave {other:?}"),
    }
}

fn on_all(dir: &Path, f: &mut dyn FnMut(&Path)) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            on_all(&path, f);
        } else {
            f(&path);
        }
    }
}

/// Every file of a tree with its bytes and whether it is a program.
fn tree(dir: &Path) -> Vec<(String, Vec<u8>, bool)> {
    let mut found = Vec::new();
    on_all(dir, &mut |path| {
        let name = path.strip_prefix(dir).unwrap().to_str().unwrap().to_owned();
        let mode = path.metadata().unwrap().permissions().mode();
        found.push((name, std::fs::read(path).unwrap(), mode & 0o100 != 0));
    });
    found.sort();
    found
}

/// Takes what was published out of its store again, as a source does.
fn take(store: &Path, published: &Published, to: &Path) -> super::Result<Laid> {
    let work = tempfile::tempdir().unwrap();
    let go_on = &mut |_: u64| Ok(());
    let stored = store.join(published.id.to_string());
    verify(&stored, &published.id, u64::MAX, go_on)?;
    if published.id.kind() == Kind::Raw {
        let bytes = admit(&stored, to, &published.id, u64::MAX, go_on)?;
        return Ok(Laid { files: 1, bytes });
    }
    let manifest = Manifest::parse(&std::fs::read(&stored).unwrap())?;
    for piece in manifest.pieces() {
        let id = Mcid::of(Kind::Raw, &piece.digest);
        let place = work.path().join(hex(&piece.digest));
        admit(&store.join(id.to_string()), &place, &id, piece.size, go_on)?;
    }
    lay_out(&manifest, work.path(), to, go_on)
}

#[test]
fn a_manifest_lists_files_or_an_archive() {
    let text = files(&format!(
        "{{\"path\": \"bin/run\", \"mode\": \"755\", \"size\": 3, \"blake3\": \"{B}\",
           \"chunks\": [{{\"size\": 1, \"blake3\": \"{A}\"}}, {{\"size\": 1, \"blake3\": \"{A}\"}},
                        {{\"size\": 1, \"blake3\": \"{A}\"}}]}},
         {}, {{\"size\": 0, \"path\": \"empty\", \"blake3\": \"{EMPTY}\"}}",
        file("src/a.erl")
    ));
    let manifest = Manifest::parse(text.as_bytes()).unwrap();
    assert_eq!(manifest.size(), 4);
    let pieces: Vec<(u64, String)> = manifest
        .pieces()
        .iter()
        .map(|piece| (piece.size, hex(&piece.digest)))
        .collect();
    assert_eq!(pieces, [(1, A.to_owned())]);
    let Manifest::Files(files) = &manifest else {
        panic!("{manifest:?}")
    };
    let modes: Vec<(&str, bool)> = files
        .iter()
        .map(|file| (file.path.as_str(), file.executable))
        .collect();
    assert_eq!(
        modes,
        [("bin/run", true), ("src/a.erl", false), ("empty", false)]
    );
    let archive =
        format!("{{\"archive\": {{\"size\": 7, \"blake3\": \"{A}\"}}, \"bc_gitops_manifest\": 1}}");
    let archive = Manifest::parse(archive.as_bytes()).unwrap();
    assert_eq!((archive.size(), archive.pieces().len()), (7, 1));
}

#[test]
fn paths_stay_inside_and_are_listed_once() {
    let long = "a".repeat(256);
    let deep = ["a"; 41].join("/");
    for path in [
        "",
        "/",
        "/etc/passwd",
        "..",
        "../x",
        "a/../../x",
        "a/..",
        "./a",
        "a/.",
        "a//b",
        "a/",
        "a\\n/b",
        "a\\u0000b",
        "a\\u001bb",
        "a\\u007fb",
        "a\\u0085b",
        &long,
        &deep,
        &"a/".repeat(600),
    ] {
        let why = refused(&files(&file(path)));
        assert!(why.contains("relative path"), "{path}: {why}");
    }
    for (first, second) in [
        ("a", "a"),
        ("a", "a/b"),
        ("a/b", "a"),
        ("a/b/c", "a/b"),
        ("a/b", "a/b/c"),
    ] {
        let why = refused(&files(&format!("{}, {}", file(first), file(second))));
        assert!(why.contains("listed before"), "{first} {second}: {why}");
    }
    let fine = [
        "a/b",
        "a/c",
        "a b",
        "-a",
        "...",
        ".git/config",
        "ä/ö",
        "a/b.c/d",
    ]
    .map(file)
    .join(", ");
    assert!(Manifest::parse(files(&fine).as_bytes()).is_ok());
}

#[test]
fn what_says_one_thing_twice_or_in_another_way_is_refused() {
    let piece = |rest: &str| files(&format!("{{\"path\": \"a\", {rest}}}"));
    let chunk = |size: u64, digest: &str| format!("{{\"size\": {size}, \"blake3\": \"{digest}\"}}");
    let chunked = |size: u64, chunks: &str| {
        piece(&format!(
            "\"size\": {size}, \"blake3\": \"{B}\", \"chunks\": [{chunks}]"
        ))
    };
    let cases: Vec<(String, &str)> = vec![
        ("".into(), "expected a value"),
        ("[]".into(), "expected an object"),
        ("{}".into(), "expected the key bc_gitops_manifest"),
        (
            "{\"bc_gitops_manifest\": 2, \"files\": []}".into(),
            "the one format there is",
        ),
        (
            "{\"bc_gitops_manifest\": \"1\", \"files\": []}".into(),
            "the one format there is",
        ),
        (
            "{\"bc_gitops_manifest\": 1}".into(),
            "either files or archive",
        ),
        (
            files(&file("a")).replace("}]}", "}], \"archive\": {}}"),
            "either files or archive",
        ),
        (files(""), "a list of files that is not empty"),
        (files("1"), "expected an object"),
        (format!("{}\n1", files(&file("a"))), "line 2, column 1: "),
        (
            files(&file("a")).replace("\"size\"", "\"x\": 1, \"size\""),
            "unknown key",
        ),
        (
            files(&file("a")).replace("\"size\"", "\"manifest\": \"mcid1-\", \"size\""),
            "unknown key",
        ),
        (
            files(&file("a")).replace("\"size\"", "\"path\": \"b\", \"size\""),
            "the same key twice",
        ),
        (
            piece(&format!("\"size\": 1.0, \"blake3\": \"{A}\"")),
            "expected a size",
        ),
        (
            piece(&format!("\"size\": -1, \"blake3\": \"{A}\"")),
            "expected a size",
        ),
        (
            piece(&format!("\"size\": 1e3, \"blake3\": \"{A}\"")),
            "expected a size",
        ),
        (
            piece(&format!("\"size\": \"1\", \"blake3\": \"{A}\"")),
            "expected a size",
        ),
        (
            piece(&format!("\"size\": {}, \"blake3\": \"{A}\"", u64::MAX)),
            "expected a size",
        ),
        (
            piece(&format!("\"size\": {}0, \"blake3\": \"{A}\"", u64::MAX)),
            "expected a size",
        ),
        (piece("\"size\": 1"), "expected the key blake3"),
        (
            piece(&format!("\"blake3\": \"{A}\"")),
            "expected the key size",
        ),
        (
            piece("\"size\": 1, \"blake3\": \"abab\""),
            "64 hexadecimal digits",
        ),
        (
            piece(&format!(
                "\"size\": 1, \"blake3\": \"{}\"",
                A.to_uppercase()
            )),
            "64 hexadecimal digits",
        ),
        (
            piece(&format!("\"size\": 1, \"blake3\": \"{}é\"", &A[2..])),
            "64 hexadecimal digits",
        ),
        (piece("\"size\": 1, \"blake3\": null"), "expected a string"),
        (
            piece(&format!("\"size\": 1, \"blake3\": \"{EMPTY}\"")),
            "not one of so many bytes",
        ),
        (
            piece(&format!("\"size\": 0, \"blake3\": \"{A}\"")),
            "not one of so many bytes",
        ),
        (
            piece(&format!(
                "\"mode\": \"777\", \"size\": 1, \"blake3\": \"{A}\""
            )),
            "expected the mode",
        ),
        (
            piece(&format!("\"mode\": 420, \"size\": 1, \"blake3\": \"{A}\"")),
            "expected a string",
        ),
        (chunked(3, &chunk(2, A)), "add up: they are 2"),
        (
            chunked(1, &format!("{}, {}", chunk(1, A), chunk(1, A))),
            "add up: they are 2",
        ),
        (
            chunked(2, &format!("{}, {}", chunk(2, A), chunk(0, EMPTY))),
            "that is not empty",
        ),
        (chunked(1, ""), "a list of chunks that is not empty"),
        (
            chunked(3, &format!("{}, {}", chunk(1, A), chunk(2, A))),
            "with another size",
        ),
        (
            chunked(1, &chunk(1, A).replace('}', ", \"chunks\": []}")),
            "unknown key",
        ),
    ];
    for (text, why) in cases {
        let said = refused(&text);
        assert!(said.contains(why), "{text}: {said}");
    }
    assert!(matches!(
        Manifest::parse(b"{\"\xff\": 1}"),
        Err(MeshError::BadManifest(_))
    ));
}

#[test]
fn counts_and_sizes_have_limits() {
    let many = |count: usize| {
        files(
            &(0..count)
                .map(|n| file(&n.to_string()))
                .collect::<Vec<_>>()
                .join(","),
        )
    };
    assert!(Manifest::parse(many(MAX_FILES).as_bytes()).is_ok());
    assert!(refused(&many(MAX_FILES + 1)).contains("more files"));
    let chunks = |count: usize| {
        let chunk = format!("{{\"size\":1,\"blake3\":\"{A}\"}}");
        let chunks = vec![chunk; count].join(",");
        format!(
            "{{\"bc_gitops_manifest\":1,\"archive\":{{\"size\":{count},\"blake3\":\"{B}\",\"chunks\":[{chunks}]}}}}"
        )
    };
    let manifest = Manifest::parse(chunks(MAX_CHUNKS).as_bytes()).unwrap();
    assert_eq!(manifest.pieces().len(), 1);
    assert!(refused(&chunks(MAX_CHUNKS + 1)).contains("more chunks"));
    // Each file is within the limit, all together are not.
    let large = |path: &str| {
        format!("{{\"path\": \"{path}\", \"size\": {MAX_CONTENT}, \"blake3\": \"{A}\"}}")
    };
    assert!(Manifest::parse(files(&large("a")).as_bytes()).is_ok());
    assert!(refused(&files(&[large("a"), large("b")].join(","))).contains("bytes in all"));
    assert!(refused(&" ".repeat((8 << 20) + 1)).contains("more than 8388608 bytes"));
    // Nesting ends where the reader of JSON ends it.
    assert!(refused(&"[".repeat(100_000)).contains("levels of nesting"));
}

#[test]
fn a_piece_that_is_not_what_the_manifest_says_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let (from, store, to) = (
        dir.path().join("from"),
        dir.path().join("store"),
        dir.path().join("to"),
    );
    std::fs::create_dir_all(&store).unwrap();
    std::fs::create_dir_all(from.join("src")).unwrap();
    std::fs::write(from.join("src/a"), "first").unwrap();
    std::fs::write(from.join("b"), "second one").unwrap();
    let published = publish(&from, &store, Some(4), &mut |_| Ok(())).unwrap();
    let manifest =
        Manifest::parse(&std::fs::read(store.join(published.id.to_string())).unwrap()).unwrap();
    let pieces = dir.path().join("pieces");
    std::fs::create_dir_all(&pieces).unwrap();
    for piece in manifest.pieces() {
        let id = Mcid::of(Kind::Raw, &piece.digest);
        std::fs::copy(store.join(id.to_string()), pieces.join(id.hex())).unwrap();
    }
    assert_eq!(
        lay_out(&manifest, &pieces, &to, &mut |_| Ok(()))
            .unwrap()
            .files,
        2
    );
    assert_eq!(tree(&to), tree(&from));
    let first = pieces.join(hex(&manifest.pieces()[0].digest));
    for (wrong, again) in [
        (&b"wron"[..], "again1"),
        (b"wr", "again2"),
        (b"wrong", "again3"),
    ] {
        std::fs::write(&first, wrong).unwrap();
        let error =
            lay_out(&manifest, &pieces, &dir.path().join(again), &mut |_| Ok(())).unwrap_err();
        assert!(
            matches!(
                error,
                MeshError::Mismatch { .. } | MeshError::TooLarge { .. }
            ),
            "{error}"
        );
    }
    std::fs::remove_file(&first).unwrap();
    let missing = lay_out(&manifest, &pieces, &dir.path().join("again4"), &mut |_| {
        Ok(())
    });
    assert!(matches!(missing, Err(MeshError::Io { .. })));
}

#[test]
fn a_size_that_lies_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let digest = hex(blake3::hash(b"content").as_bytes());
    std::fs::write(dir.path().join(&digest), "content").unwrap();
    let listed = |size: u64| {
        let text = files(&format!(
            "{{\"path\": \"a\", \"size\": {size}, \"blake3\": \"{digest}\"}}"
        ));
        let manifest = Manifest::parse(text.as_bytes()).unwrap();
        lay_out(
            &manifest,
            dir.path(),
            &dir.path().join(size.to_string()),
            &mut |_| Ok(()),
        )
    };
    assert!(listed(7).is_ok());
    assert!(matches!(listed(6), Err(MeshError::TooLarge { .. })));
    assert!(matches!(listed(8), Err(MeshError::BadManifest(_))));
}

#[test]
fn chunks_in_another_order_are_not_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let halves: Vec<String> = ["ab", "cd"]
        .iter()
        .map(|half| {
            let digest = hex(blake3::hash(half.as_bytes()).as_bytes());
            std::fs::write(dir.path().join(&digest), half).unwrap();
            format!("{{\"size\": 2, \"blake3\": \"{digest}\"}}")
        })
        .collect();
    let whole = hex(blake3::hash(b"cdab").as_bytes());
    let text = |first: usize, second: usize| {
        let (first, second) = (&halves[first], &halves[second]);
        format!(
            "{{\"bc_gitops_manifest\": 1, \"archive\":
               {{\"size\": 4, \"blake3\": \"{whole}\", \"chunks\": [{first}, {second}]}}}}"
        )
    };
    let wrong = Manifest::parse(text(0, 1).as_bytes()).unwrap();
    let to = dir.path().join("to");
    assert!(matches!(
        lay_out(&wrong, dir.path(), &to, &mut |_| Ok(())),
        Err(MeshError::Mismatch { .. })
    ));
    assert!(!to.exists());
    let right = Manifest::parse(text(1, 0).as_bytes()).unwrap();
    lay_out(&right, dir.path(), &to, &mut |_| Ok(())).unwrap();
    assert_eq!(std::fs::read(&to).unwrap(), b"cdab");
}

#[test]
fn links_and_pipes_are_not_published() {
    let dir = tempfile::tempdir().unwrap();
    let (from, store) = (dir.path().join("from"), dir.path().join("store"));
    std::fs::create_dir_all(&store).unwrap();
    std::fs::create_dir_all(&from).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", from.join("link")).unwrap();
    let refused = publish(&from, &store, None, &mut |_| Ok(()));
    assert!(matches!(refused, Err(MeshError::Unpublishable { .. })));
}

#[test]
fn the_history_of_a_tree_is_not_published_and_others_may_serve_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let (from, store) = (dir.path().join("from"), dir.path().join("store"));
    for (path, text) in [
        (".git/config", "https://me:secret@host"),
        ("src/.git", "x"),
        ("a", "y"),
    ] {
        let file = from.join(path);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, text).unwrap();
    }
    std::fs::create_dir_all(&store).unwrap();
    let published = publish(&from, &store, None, &mut |_| Ok(())).unwrap();
    let stored = std::fs::read_dir(&store).unwrap();
    let stored: Vec<_> = stored.map(|entry| entry.unwrap().path()).collect();
    assert_eq!(stored.len(), 3, "the manifest and two files");
    let readers = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o044;
    for path in stored {
        assert_eq!(readers(&path), readers(&from.join("a")), "{path:?}");
    }
    let manifest = std::fs::read_to_string(store.join(published.id.to_string())).unwrap();
    assert!(!manifest.contains(".git/config"), "{manifest}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_is_published_comes_back(
        files in proptest::collection::btree_map(
            "[a-c\" é\\\\]{1,3}(/[a-b]{1,2}){0,3}",
            (proptest::collection::vec(any::<u8>(), 0..300), any::<bool>()),
            1..12,
        ),
        chunk in proptest::option::of(1_u64..200),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let (from, store) = (dir.path().join("from"), dir.path().join("store"));
        std::fs::create_dir_all(&store).unwrap();
        for (path, (bytes, executable)) in &files {
            let path = from.join(path);
            // A file may stand where another one needs a directory: then it is left out.
            if std::fs::create_dir_all(path.parent().unwrap()).is_ok() && !path.exists() {
                std::fs::write(&path, bytes).unwrap();
                let mode = if *executable { 0o755 } else { 0o644 };
                std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            }
        }
        let published = publish(&from, &store, chunk, &mut |_| Ok(())).unwrap();
        prop_assert_eq!(published.id.kind(), Kind::Manifest);
        let to = dir.path().join("to");
        let laid = take(&store, &published, &to).unwrap();
        prop_assert_eq!(laid.bytes, published.bytes);
        prop_assert_eq!(tree(&to), tree(&from));
    }

    #[test]
    fn a_single_file_comes_back(
        bytes in proptest::collection::vec(any::<u8>(), 0..2_000),
        chunk in proptest::option::of(1_u64..700),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        std::fs::write(&from, &bytes).unwrap();
        let published = publish(&from, dir.path(), chunk, &mut |_| Ok(())).unwrap();
        let many = chunk.is_some_and(|chunk| (bytes.len() as u64) > chunk);
        prop_assert_eq!(published.id.kind() == Kind::Manifest, many);
        take(dir.path(), &published, &to).unwrap();
        prop_assert_eq!(std::fs::read(&to).unwrap(), bytes);
    }
}
