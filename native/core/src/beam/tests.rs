use super::atoms::AtomTable;
use super::sample::{chunk, file};
use super::*;
use flate2::{Compression, write::GzEncoder};
use md5::{Digest, Md5};
use proptest::prelude::*;
use std::io::Write;

fn sample() -> Vec<Vec<u8>> {
    let mut funs = 1_u32.to_be_bytes().to_vec();
    funs.extend(1..=24);
    vec![
        chunk(b"AtU8", b"\0\0\0\x01\x04demo"),
        chunk(b"Code", b"code"),
        chunk(b"StrT", b""),
        chunk(b"ImpT", b"imp"),
        chunk(b"ExpT", b"exp"),
        chunk(b"FunT", &funs),
        chunk(b"Dbgi", b"not digested"),
    ]
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn digests_the_significant_chunks_in_order() {
    let mut md5 = Md5::new();
    md5.update(b"\0\0\0\x01\x04democodeimpexp\0\0\0\x01");
    md5.update((1..=20).collect::<Vec<u8>>());
    md5.update([0; 4]);
    let expected: [u8; 16] = md5.finalize().into();
    let plain = file(&sample());
    assert_eq!(digest(&plain).unwrap(), ("demo".to_owned(), expected));
    assert_eq!(digest(&gzip(&plain)).unwrap().1, expected);
}

#[test]
fn reads_the_long_atom_table_of_otp_28() {
    let long = [b'x'; 300];
    let mut table = (-1_i32).to_be_bytes().to_vec();
    table.extend([0b0010_1000, 44]);
    table.extend(long);
    let atoms = |data: &[u8]| AtomTable::new(data, false)?.all().map(|all| all.concat());
    assert_eq!(atoms(&table).unwrap().as_bytes(), long);
    assert_eq!(atoms(b"\xff\xff\xff\xfe\x40demo\x10x").unwrap(), "demox");
    assert_eq!(atoms(b"\xff\xff\xff\xfe\x40demo"), None);
}

#[test]
fn names_what_is_wrong() {
    let chunks = sample();
    assert!(matches!(digest(b"FOR1"), Err(BeamErrorKind::NotBeam)));
    assert!(matches!(
        digest(&file(&chunks[1..])),
        Err(BeamErrorKind::MissingChunk("AtU8"))
    ));
    assert!(matches!(
        digest(&file(&chunks[..3])),
        Err(BeamErrorKind::MissingChunk("ImpT"))
    ));
    let twice = [&chunks[..], &chunks[1..2]].concat();
    assert!(matches!(
        digest(&file(&twice)),
        Err(BeamErrorKind::Malformed(_))
    ));
    let whole = file(&chunks);
    assert!(matches!(
        digest(&whole[..whole.len() - 6]),
        Err(BeamErrorKind::Malformed(_))
    ));
    assert!(matches!(digest(&[0x1f, 0x8b]), Err(BeamErrorKind::Io(_))));
}

#[test]
fn a_gzip_bomb_stops_at_the_limit() {
    let bomb = gzip(&vec![0; MAX_BYTES as usize + 1]);
    assert!(matches!(digest(&bomb), Err(BeamErrorKind::TooLarge)));
}

#[test]
fn scans_directories_and_names_the_broken_file() {
    let dir = tempfile::tempdir().unwrap();
    let ebin = dir.path().to_path_buf();
    std::fs::write(ebin.join("demo.beam"), file(&sample())).unwrap();
    std::fs::write(ebin.join("demo.app"), b"{application, demo, []}.").unwrap();
    let found = scan(std::slice::from_ref(&ebin)).unwrap();
    assert_eq!((found.len(), found[0].name.as_str()), (1, "demo"));
    std::fs::create_dir(ebin.join("odd.beam")).unwrap();
    let one = scan(&[ebin.join("demo.beam"), ebin.join("demo.beam")]);
    assert_eq!(one.unwrap().len(), 2);
    let error = scan(&[ebin]).unwrap_err();
    assert!(matches!(error.kind, BeamErrorKind::NotAFile));
    assert!(error.path.ends_with("odd.beam"));
    assert!(matches!(
        scan(&["/no/such".into()]).unwrap_err().kind,
        BeamErrorKind::Io(_)
    ));
}

proptest! {
    #[test]
    fn never_panics_on_bytes(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let _ = digest(&bytes);
    }

    #[test]
    fn never_panics_on_a_mutated_file(at in any::<prop::sample::Index>(), byte in any::<u8>(),
                                      cut in any::<prop::sample::Index>()) {
        let mut bytes = file(&sample());
        let length = bytes.len();
        bytes[at.index(length)] = byte;
        bytes.truncate(cut.index(length) + 1);
        let _ = digest(&bytes);
    }
}
