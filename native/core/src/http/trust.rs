//! The certificates that a client trusts: the system's, and those of a PEM file besides.

use std::path::Path;

use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, TlsProvider, parse_pem};

use super::error::{Fact, HttpError, Kind, Result};

/// The bundle of a large system has 300 KiB.
const MAX_BUNDLE: u64 = 16 << 20;

pub(super) fn config(ca_file: Option<&Path>) -> Result<TlsConfig> {
    let roots = match ca_file {
        None => RootCerts::PlatformVerifier,
        Some(file) => RootCerts::new_with_certs(&with_system(file)?),
    };
    Ok(TlsConfig::builder()
        .provider(TlsProvider::NativeTls)
        .root_certs(roots)
        .build())
}

/// A list of roots takes the place of the system's, so these are read as well: the bundle where there
/// is one, else the files of the directories.
fn with_system(file: &Path) -> Result<Vec<Certificate<'static>>> {
    let unreadable = |why: String| {
        HttpError::new(
            Kind::Certificate,
            format!("{}: no readable CA file: {why}", file.display()),
        )
        .with(Fact::Path, file.display())
    };
    let mut all = certificates(file).map_err(|error| unreadable(error.to_string()))?;
    if all.is_empty() {
        return Err(unreadable("it holds no certificate in PEM".into()));
    }
    let system = openssl_probe::probe();
    if let Some(bundle) = system.cert_file {
        all.extend(certificates(&bundle).unwrap_or_default());
        return Ok(all);
    }
    for dir in system.cert_dir {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            all.extend(certificates(&entry.path()).unwrap_or_default());
        }
    }
    Ok(all)
}

fn certificates(file: &Path) -> std::io::Result<Vec<Certificate<'static>>> {
    use std::io::Read;
    let mut pem = Vec::new();
    std::fs::File::open(file)?
        .take(MAX_BUNDLE)
        .read_to_end(&mut pem)?;
    let items = parse_pem(&pem).filter_map(|item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(certificate),
        _ => None,
    });
    Ok(items.collect())
}
