//! Trust in the platform: its roots, or the compiled-in Mozilla roots where the image has none.
//!
//! 1. Reading and parsing some 140 certificates takes longer than all the rest of a start. So they are
//!    read once, and only when they are asked for: by the first certificate to verify, or ahead of it by
//!    [`read_ahead`].
//! 2. What is offered to a peer does not depend on them.

use std::sync::{Arc, LazyLock};

use rustls::{
    RootCertStore,
    client::{VerifierBuilderError, WebPkiServerVerifier},
    crypto::aws_lc_rs,
};

use super::verify::Trust;

static ROOTS: LazyLock<Arc<RootCertStore>> = LazyLock::new(|| Arc::new(read()));

static VERIFIER: LazyLock<Result<Arc<WebPkiServerVerifier>, VerifierBuilderError>> =
    LazyLock::new(|| {
        let provider = Arc::new(aws_lc_rs::default_provider());
        WebPkiServerVerifier::builder_with_provider(Arc::clone(&ROOTS), provider).build()
    });

/// Trusts the platform's roots.
#[derive(Debug)]
pub(super) struct Platform;

/// Reads the roots now, which takes some milliseconds of whoever calls.
pub fn read_ahead() {
    LazyLock::force(&VERIFIER);
}

pub(super) fn roots() -> &'static Arc<RootCertStore> {
    &ROOTS
}

fn read() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let (added, _) =
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if added == 0 {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    roots
}

impl Trust for Platform {
    fn verifier(&self) -> Result<Arc<WebPkiServerVerifier>, rustls::Error> {
        match &*VERIFIER {
            Ok(verifier) => Ok(Arc::clone(verifier)),
            Err(error) => Err(rustls::Error::General(error.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use rustls::{
        CertificateError,
        client::danger::ServerCertVerifier,
        pki_types::{ServerName, UnixTime},
    };

    use super::{super::verify::By, *};

    #[test]
    fn a_stranger_is_refused_and_the_offer_is_the_verifiers_own() {
        let platform = By::new(Platform);
        let offered = platform.supported_verify_schemes();
        let own = Platform.verifier().unwrap().supported_verify_schemes();
        assert_eq!(offered, own);
        let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let verified =
            platform.verify_server_cert(own.cert.der(), &[], &name, &[], UnixTime::now());
        let unknown = rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer);
        assert_eq!(verified.unwrap_err(), unknown);
    }

    #[test]
    fn there_are_roots() {
        assert!(roots().len() > 50);
    }
}
