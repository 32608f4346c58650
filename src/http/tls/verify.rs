//! Verifies a server by whatever is trusted at that moment, which may not even have been read before.
//!
//! 1. What is asked of a peer is this house's, whoever is trusted: it depends on no
//!    certificate.

use std::{fmt, sync::Arc};

use rustls::{
    DigitallySignedStruct, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{WebPkiSupportedAlgorithms, aws_lc_rs},
    pki_types::{CertificateDer, ServerName, UnixTime},
};

/// Says who is trusted.
pub(super) trait Trust: fmt::Debug + Send + Sync {
    /// What knows them, now.
    fn verifier(&self) -> Result<Arc<WebPkiServerVerifier>, rustls::Error>;
}

/// Verifies by a [`Trust`]; see the [module docs](self).
#[derive(Debug)]
pub(super) struct By<T> {
    trust: T,
    verifies: WebPkiSupportedAlgorithms,
}

// === impl By ===

impl<T> By<T> {
    pub(super) fn new(trust: T) -> Self {
        Self {
            trust,
            verifies: aws_lc_rs::default_provider().signature_verification_algorithms,
        }
    }
}

impl<T: Trust> ServerCertVerifier for By<T> {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verifier = self.trust.verifier()?;
        verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let verifier = self.trust.verifier()?;
        verifier.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let verifier = self.trust.verifier()?;
        verifier.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifies.supported_schemes()
    }
}
