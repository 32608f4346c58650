//! The one TLS configuration that every outgoing connection shares: providers, stores, the app.
//!
//! 1. Verified is by whoever is trusted then ([`verify`]). Trusted are the platform's roots ([`platform`]) and, in addition, the certificates of the configured
//!    CA file ([`trust`]).
//! 2. TLS 1.2 and 1.3; certificate and host name are always verified.

use std::{io, path::Path, sync::Arc};

use rustls::{ClientConfig, client::danger::ServerCertVerifier, crypto::CryptoProvider};
use thiserror::Error;

use self::verify::By;

mod platform;
mod trust;
mod verify;

pub use platform::read_ahead;
pub use trust::{pem_of, replace};

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

/// A client configuration that trusts the platform and what `ca_file` says, now and when it changes
/// ([`replace`]).
pub fn client_config(ca_file: Option<&Path>, alpn: Alpn) -> Result<ClientConfig, Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(Error::Setup)?;
    let mut config = builder
        .dangerous()
        .with_custom_certificate_verifier(verifier(ca_file)?)
        .with_no_client_auth();
    if alpn == Alpn::Http {
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    }
    Ok(config)
}

/// What [`client_config`] verifies with, for those who ask about another moment.
pub fn verifier(ca_file: Option<&Path>) -> Result<Arc<dyn ServerCertVerifier>, Error> {
    Ok(match ca_file {
        Some(path) => Arc::new(By::new(trust::of(path)?)),
        None => Arc::new(By::new(platform::Platform)),
    })
}

/// The platform's certificates and those of `ca_file` in PEM, for clients that take nothing else;
/// `None` without a file, for these trust the platform by themselves. Later, [`pem_of`] says what the file
/// has come to.
pub fn trusted_pem(ca_file: Option<&Path>) -> Result<Option<Arc<[u8]>>, Error> {
    let Some(path) = ca_file else {
        return Ok(None);
    };
    trust::of(path)?;
    Ok(pem_of(path))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rustls::{
        RootCertStore,
        pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
    };

    use super::*;

    #[test]
    fn a_file_that_changes_is_trusted_anew_by_all_who_name_it() {
        install_crypto();
        let make = || rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let (old, new) = (make(), make());
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), old.cert.pem()).unwrap();
        let (one, other) = (
            verifier(Some(file.path())).unwrap(),
            verifier(Some(file.path())).unwrap(),
        );
        let knows = |trusted: &Arc<dyn ServerCertVerifier>, certificate: &CertificateDer<'_>| {
            let name = ServerName::try_from("localhost").unwrap();
            let verified =
                trusted.verify_server_cert(certificate, &[], &name, &[], UnixTime::now());
            !matches!(
                verified,
                Err(rustls::Error::InvalidCertificate(
                    rustls::CertificateError::UnknownIssuer
                        | rustls::CertificateError::BadSignature
                ))
            )
        };
        let pem = pem_of(file.path()).unwrap();
        assert!(knows(&one, old.cert.der()) && !knows(&one, new.cert.der()));
        assert!(!replace(file.path(), old.cert.pem().trim_end()).unwrap());
        assert!(Arc::ptr_eq(&pem, &pem_of(file.path()).unwrap()));
        replace(file.path(), "not a certificate").unwrap_err();
        assert!(knows(&one, old.cert.der()));
        assert!(replace(file.path(), &new.cert.pem()).unwrap());
        for trusted in [one, other] {
            assert!(knows(&trusted, new.cert.der()) && !knows(&trusted, old.cert.der()));
        }
        assert!(!Arc::ptr_eq(&pem, &pem_of(file.path()).unwrap()));
    }

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
