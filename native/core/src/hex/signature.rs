//! Who signed a registry file. Source: "Signing" in `registry-v2.md` of
//! <https://github.com/hexpm/specifications>: an RSA signature (PKCS #1 v1.5) over the SHA-512 of
//! the payload, both in a message `Signed`.

use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Public};
use openssl::rsa::Rsa;
use openssl::sign::Verifier;

use super::proto::{self, Malformed};

/// The key of hex.pm, as <https://hex.pm/docs/public_keys> shows it and every Hex client ships it.
const HEXPM: &str = "-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEApqREcFDt5vV21JVe2QNB
Edvzk6w36aNFhVGWN5toNJRjRJ6m4hIuG4KaXtDWVLjnvct6MYMfqhC79HAGwyF+
IqR6Q6a5bbFSsImgBJwz1oadoVKD6ZNetAuCIK84cjMrEFRkELtEIPNHblCzUkkM
3rS9+DPlnfG8hBvGi6tvQIuZmXGCxF/73hU0/MyGhbmEjIKRtG6b0sJYKelRLTPW
XgK7s5pESgiwf2YC/2MGDXjAJfpfCd0RpLdvd4eRiXtVlE9qO9bND94E7PgQ/xqZ
J1i2xWFndWa6nfFnRxZmCStCOZWYYPlaxr+FZceFbpMwzTNs4g3d4tLNUcbKAIH4
0wIDAQAB
-----END PUBLIC KEY-----
";

/// The public key of a repository.
pub(super) struct Key(PKey<Public>);

impl Key {
    /// The key of hex.pm.
    pub(super) fn hexpm() -> Option<Self> {
        Self::from_pem(HEXPM)
    }

    /// A key in PEM, either `PUBLIC KEY` or `RSA PUBLIC KEY`.
    pub(super) fn from_pem(pem: &str) -> Option<Self> {
        let rsa = Rsa::public_key_from_pem(pem.as_bytes())
            .or_else(|_| Rsa::public_key_from_pem_pkcs1(pem.as_bytes()));
        PKey::from_rsa(rsa.ok()?).ok().map(Self)
    }

    fn signed(&self, payload: &[u8], signature: &[u8]) -> bool {
        Verifier::new(MessageDigest::sha512(), &self.0)
            .and_then(|mut verifier| verifier.verify_oneshot(signature, payload))
            .unwrap_or(false)
    }
}

/// Why a signed message is not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// It is no signed message.
    Malformed,
    /// It has no signature, or one by another key.
    BadSignature,
}

impl From<Malformed> for Refused {
    fn from(Malformed: Malformed) -> Self {
        Self::Malformed
    }
}

/// The payload of a signed message, once its signature is that of the key.
pub(super) fn verified<'a>(message: &'a [u8], key: &Key) -> Result<&'a [u8], Refused> {
    let (mut payload, mut signature) = (None, None);
    for field in proto::fields(message) {
        match field? {
            (1, value) => payload = Some(value.bytes()?),
            (2, value) => signature = Some(value.bytes()?),
            _ => {}
        }
    }
    let payload = payload.ok_or(Refused::Malformed)?;
    let signature = signature.ok_or(Refused::BadSignature)?;
    key.signed(payload, signature)
        .then_some(payload)
        .ok_or(Refused::BadSignature)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_of_hexpm_is_one_and_garbage_is_none() {
        assert!(Key::hexpm().is_some());
        assert!(Key::from_pem("").is_none());
        assert!(Key::from_pem(&HEXPM.replace('M', "N")).is_none());
    }
}
