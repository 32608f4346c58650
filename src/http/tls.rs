//! The one TLS configuration that every outgoing connection shares: providers, stores, the app.
//!
//! 1. Trusted are the platform's roots (or the compiled-in Mozilla roots where the image has none)
//!    and, in addition, the certificates of the configured CA file. The platform's are read once.
//! 2. TLS 1.2 and 1.3; certificate and host name are always verified.

use std::{
    fs, io,
    path::Path,
    sync::{Arc, OnceLock},
};

use base64::{Engine, prelude::BASE64_STANDARD as STANDARD};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, pem::PemObject},
};
use thiserror::Error;

/// Why there is no TLS configuration.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// The CA file cannot be read.
    #[error("the CA file {path} cannot be read")]
    Unreadable {
        /// Which file.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The CA file holds no certificate, or a broken one.
    #[error("the CA file {path} holds no usable PEM certificate")]
    NoCertificate {
        /// Which file.
        path: String,
    },
    /// The TLS library refuses its own defaults.
    #[error("TLS cannot be set up")]
    Setup(#[source] rustls::Error),
}

/// Which protocols a client offers by ALPN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alpn {
    /// None: the caller's library sets its own.
    Unset,
    /// HTTP/2, then HTTP/1.1.
    Http,
}

/// Makes the cryptography of this house the process's default. Safe to call more than once.
pub fn install_crypto() {
    if CryptoProvider::get_default().is_none() {
        // Losing a race means that somebody else has just installed the same.
        let _already = rustls::crypto::aws_lc_rs::default_provider().install_default();
    }
}

/// A client configuration that trusts the platform and `ca_file`.
pub fn client_config(ca_file: Option<&Path>, alpn: Alpn) -> Result<ClientConfig, Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(Error::Setup)?
        .with_root_certificates(roots(ca_file)?)
        .with_no_client_auth();
    if alpn == Alpn::Http {
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    }
    Ok(config)
}

/// The platform's certificates and those of `ca_file` in PEM, for clients that take nothing else;
/// `None` without a file, for these trust the platform by themselves.
pub fn trusted_pem(ca_file: Option<&Path>) -> Result<Option<Vec<u8>>, Error> {
    let Some(path) = ca_file else {
        return Ok(None);
    };
    add_file(&mut RootCertStore::empty(), path)?;
    let mut pem = fs::read(path).map_err(|source| Error::Unreadable {
        path: path.display().to_string(),
        source,
    })?;
    for certificate in rustls_native_certs::load_native_certs().certs {
        // The strict reader of such a client stops at one that the lenient one would skip.
        if RootCertStore::empty().add(certificate.clone()).is_ok() {
            pem.extend_from_slice(b"\n-----BEGIN CERTIFICATE-----\n");
            pem.extend_from_slice(STANDARD.encode(&certificate).as_bytes());
            pem.extend_from_slice(b"\n-----END CERTIFICATE-----\n");
        }
    }
    Ok(Some(pem))
}

fn roots(ca_file: Option<&Path>) -> Result<Arc<RootCertStore>, Error> {
    // Reading and parsing some 140 certificates takes longer than all the rest of a start, and each
    // outgoing side asks for them.
    static PLATFORM: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    let platform = PLATFORM.get_or_init(|| Arc::new(platform_roots()));
    let Some(path) = ca_file else {
        return Ok(Arc::clone(platform));
    };
    let mut roots = RootCertStore::clone(platform);
    add_file(&mut roots, path)?;
    Ok(Arc::new(roots))
}

fn platform_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let (added, _) =
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if added == 0 {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    roots
}

fn add_file(roots: &mut RootCertStore, path: &Path) -> Result<(), Error> {
    let shown = || path.display().to_string();
    let pem = fs::read(path).map_err(|source| Error::Unreadable {
        path: shown(),
        source,
    })?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let (added, refused) = match certificates {
        Ok(certificates) => roots.add_parsable_certificates(certificates),
        Err(_) => (0, 0),
    };
    if added == 0 || refused > 0 {
        return Err(Error::NoCertificate { path: shown() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ca_file_without_a_certificate_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "not a certificate").unwrap();
        assert!(matches!(
            client_config(Some(file.path()), Alpn::Http),
            Err(Error::NoCertificate { .. })
        ));
    }

    #[test]
    fn what_is_trusted_is_written_as_every_certificate_once() {
        assert_eq!(trusted_pem(None).unwrap(), None);
        let own = rcgen::generate_simple_self_signed(["redis".to_owned()]).unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), own.cert.pem()).unwrap();
        let pem = trusted_pem(Some(file.path())).unwrap().unwrap();
        let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
        let read = read.unwrap();
        assert!(read.contains(own.cert.der()));
        for platforms in rustls_native_certs::load_native_certs().certs {
            let is_usable = RootCertStore::empty().add(platforms.clone()).is_ok();
            assert_eq!(read.contains(&platforms), is_usable);
        }
    }

    #[test]
    fn a_missing_ca_file_is_named() {
        let error = client_config(Some(Path::new("/nowhere/ca.pem")), Alpn::Http).unwrap_err();
        assert!(error.to_string().contains("/nowhere/ca.pem"));
    }
}
