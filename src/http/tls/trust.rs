//! Who is trusted beside the platform: a file of certificates, which may change while connections are
//! made.
//!
//! 1. All that name one file share what was read of it: whoever hears that it has changed tells all of
//!    them ([`replace`]). What has no usable certificate leaves everything as it was.
//! 2. New connections go by what is trusted then. Connections that are open stay.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, LazyLock},
};

use base64::{Engine, prelude::BASE64_STANDARD as STANDARD};
use parking_lot::{Mutex, RwLock};
use rustls::{
    RootCertStore,
    client::WebPkiServerVerifier,
    pki_types::{CertificateDer, pem::PemObject},
};

use super::{Error, platform, verify::Trust};

/// What is trusted by the file that says so. There is one such file in a process, and more in tests.
static FILES: LazyLock<Mutex<BTreeMap<PathBuf, Arc<Trusted>>>> = LazyLock::new(Mutex::default);

/// What a file says at this moment.
#[derive(Debug)]
pub(super) struct Trusted(RwLock<Held>);

#[derive(Debug)]
struct Held {
    /// As read.
    file: Arc<[u8]>,
    verifier: Arc<WebPkiServerVerifier>,
    /// With the platform's, for clients that take nothing else.
    pem: Arc<[u8]>,
}

/// What the file at `path` says, which is read now if nobody has named it before.
pub(super) fn of(path: &Path) -> Result<Arc<Trusted>, Error> {
    let pem = fs::read(path).map_err(|source| Error::Unreadable {
        path: path.display().to_string(),
        source,
    })?;
    let held = Held::read(path, &pem)?;
    let mut files = FILES.lock();
    if let Some(known) = files.get(path) {
        *known.0.write() = held;
        return Ok(Arc::clone(known));
    }
    let trusted = Arc::new(Trusted(RwLock::new(held)));
    files.insert(path.to_owned(), Arc::clone(&trusted));
    Ok(trusted)
}

/// The platform's certificates and those of the file at `path` in PEM, as far as anybody trusts it. The
/// same until it changes.
pub fn pem_of(path: &Path) -> Option<Arc<[u8]>> {
    let files = FILES.lock();
    files
        .get(path)
        .map(|trusted| Arc::clone(&trusted.0.read().pem))
}

/// Trusts `pem` in the place of what the file at `path` said before; whether that is something new.
pub fn replace(path: &Path, pem: &str) -> Result<bool, Error> {
    let held = Held::read(path, pem.as_bytes())?;
    let files = FILES.lock();
    let Some(trusted) = files.get(path) else {
        return Ok(false);
    };
    let mut now = trusted.0.write();
    // A file may end with a line, or without one.
    let is_new = now.file.trim_ascii() != held.file.trim_ascii();
    if is_new {
        *now = held;
    }
    Ok(is_new)
}

// === impl Held ===

impl Held {
    fn read(path: &Path, file: &[u8]) -> Result<Self, Error> {
        let none = || Error::NoCertificate {
            path: path.display().to_string(),
        };
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(file).collect();
        let mut roots = RootCertStore::clone(platform::roots());
        let (added, refused) = match certificates {
            Ok(certificates) => roots.add_parsable_certificates(certificates),
            Err(_) => (0, 0),
        };
        if added == 0 || refused > 0 {
            return Err(none());
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider);
        Ok(Self {
            file: file.into(),
            verifier: verifier.build().map_err(|_no_root| none())?,
            pem: with_platform(file.to_vec()).into(),
        })
    }
}

fn with_platform(mut pem: Vec<u8>) -> Vec<u8> {
    for certificate in rustls_native_certs::load_native_certs().certs {
        // The strict reader of such a client stops at one that the lenient one would skip.
        if RootCertStore::empty().add(certificate.clone()).is_ok() {
            pem.extend_from_slice(b"\n-----BEGIN CERTIFICATE-----\n");
            pem.extend_from_slice(STANDARD.encode(&certificate).as_bytes());
            pem.extend_from_slice(b"\n-----END CERTIFICATE-----\n");
        }
    }
    pem
}

// === impl Trusted ===

impl Trust for Arc<Trusted> {
    fn verifier(&self) -> Result<Arc<WebPkiServerVerifier>, rustls::Error> {
        Ok(Arc::clone(&self.0.read().verifier))
    }
}
