//! Content ids: `mcid1-<kind>-blake3-<hex>`.

use std::fmt;

use super::{MeshError, Result};

/// Bytes of a digest that name content well enough; all of BLAKE3's output.
const DIGEST_BYTES: std::ops::RangeInclusive<usize> = 16..=32;
/// Characters of a wrong id that an error repeats.
const SHOWN: usize = 100;

/// What the digest of a content id covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The content itself.
    Raw,
    /// A manifest that lists the content.
    Manifest,
}

impl Kind {
    /// The word in a content id.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Raw => "raw",
            Kind::Manifest => "manifest",
        }
    }
}

/// A checked content id. Its digest may be the beginning of the full one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Mcid {
    kind: Kind,
    hex: String,
}

impl Mcid {
    /// Reads a content id; hexadecimal digits of either case.
    pub fn parse(text: &str) -> Result<Self> {
        let bad = || MeshError::BadMcid(text.chars().take(SHOWN).collect());
        let parts: Vec<&str> = text.splitn(5, '-').collect();
        let &["mcid1", kind, "blake3", hex] = parts.as_slice() else {
            return Err(bad());
        };
        let kind = match kind {
            "raw" => Kind::Raw,
            "manifest" => Kind::Manifest,
            _ => return Err(bad()),
        };
        let whole = hex.len() % 2 == 0 && DIGEST_BYTES.contains(&(hex.len() / 2));
        if !whole || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(bad());
        }
        let hex = hex.to_ascii_lowercase();
        Ok(Mcid { kind, hex })
    }

    /// The content id of bytes with this digest.
    pub fn of(kind: Kind, digest: &[u8; 32]) -> Self {
        let hex = hex(digest);
        Mcid { kind, hex }
    }

    /// What the digest covers.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The digest, or its beginning, in lower case.
    pub fn hex(&self) -> &str {
        &self.hex
    }

    /// Whether bytes with this full digest are meant.
    pub fn names(&self, digest: &[u8; 32]) -> bool {
        hex(digest).starts_with(&self.hex)
    }
}

impl fmt::Display for Mcid {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "mcid1-{}-blake3-{}", self.kind.name(), self.hex)
    }
}

/// Bytes in lower case hex.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ids_of_16_to_32_bytes_name_what_begins_with_them() {
        let digest: [u8; 32] = std::array::from_fn(|n| n as u8 * 7);
        let full = hex(&digest);
        for digits in (32..=64).step_by(2) {
            let text = format!("mcid1-raw-blake3-{}", &full[..digits]);
            let id = Mcid::parse(&text).unwrap();
            assert!(id.names(&digest), "{text}");
            assert_eq!((id.kind(), id.to_string()), (Kind::Raw, text));
            let mut other = digest;
            other[digits / 2 - 1] ^= 1;
            assert!(!id.names(&other));
        }
        let upper = format!("mcid1-manifest-blake3-{}", full.to_uppercase());
        let id = Mcid::parse(&upper).unwrap();
        assert_eq!((id.kind(), id.hex()), (Kind::Manifest, full.as_str()));
    }

    #[test]
    fn what_is_no_content_id_is_refused() {
        let hex = "5d41402abc4b2a76b9719d911017c592";
        assert!(Mcid::parse(&format!("mcid1-manifest-blake3-{hex}")).is_ok());
        for bad in [
            String::new(),
            hex.to_owned(),
            format!("mcid2-raw-blake3-{hex}"),
            format!("mcid1-chunk-blake3-{hex}"),
            format!("mcid1-RAW-blake3-{hex}"),
            format!("mcid1-raw-sha256-{hex}"),
            format!("mcid1-raw-blake3-{}", &hex[..30]),
            format!("mcid1-raw-blake3-{}", &hex[..31]),
            format!("mcid1-raw-blake3-{hex}a"),
            format!("mcid1-raw-blake3-{hex}{hex}aa"),
            format!("mcid1-raw-blake3-{hex}-{hex}"),
            format!("mcid1-raw-blake3-../{}", &hex[3..]),
            format!("mcid1-raw-blake3-{hex}\n"),
            format!(" mcid1-raw-blake3-{hex}"),
        ] {
            assert!(
                matches!(Mcid::parse(&bad), Err(MeshError::BadMcid(_))),
                "{bad:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn what_is_read_is_one_word_of_a_path(
            text in "mcid1-(raw|manifest|x)-blake3-[0-9a-fA-F./-]{0,70}",
        ) {
            if let Ok(id) = Mcid::parse(&text) {
                prop_assert_eq!(id.to_string(), text.to_lowercase());
                prop_assert!(!id.to_string().contains(['/', '.']));
            }
        }
    }
}
