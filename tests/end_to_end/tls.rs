//! Providers on real TLS, under a certificate authority that only `tls.ca_file` knows.

use std::{fs, sync::Arc};

use daypass::{http::tls::install_crypto, sandbox::Options};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{
    ServerConfig,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};

use crate::world::World;

/// The authority's certificate as PEM, and a server's settings with a certificate for `name`.
fn authority(name: &str, alpn: &[&str]) -> (String, Arc<ServerConfig>) {
    install_crypto();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec![name.to_owned()]).unwrap();
    let leaf = leaf.signed_by(&key, &issuer).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let mut server = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], key)
        .unwrap();
    server.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    (issuer.pem(), Arc::new(server))
}

/// A world whose providers have a certificate for `name`.
async fn world(name: &str, alpn: &[&str]) -> World {
    let (ca, server) = authority(name, alpn);
    let options = Options {
        tls: Some(server),
        ..Options::default()
    };
    let mut world = World::open_with(options).await;
    let file = world.path("ca.pem");
    fs::write(&file, ca).unwrap();
    world
        .settings
        .push(format!("tls.ca_file={}", file.display()));
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_is_called_by_http2_or_http1_as_it_offers() {
    for (alpn, version) in [
        (&["h2", "http/1.1"] as &[&str], "HTTP/2.0"),
        (&["http/1.1"], "HTTP/1.1"),
    ] {
        let world = world("localhost", alpn).await;
        world.expired_at_calendly("anna").await;
        let sidecar = world.sidecar().await;
        let answer = sidecar
            .post("anna", "/calendly/_echo", b"hello".to_vec())
            .await;
        assert_eq!(answer.must_be(200).json()["version"], version, "{answer:?}");
        assert_eq!(answer.json()["body_bytes"], 5);
        assert_eq!(world.calendly_calls().len(), 1, "renewed over TLS, too");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_for_another_name_gets_nothing() {
    let world = world("elsewhere.test", &["h2", "http/1.1"]).await;
    world.valid_at_calendly("anna").await;
    world.expired_at_calendly("ben").await;
    let sidecar = world.sidecar().await;
    let answer = sidecar.get("anna", "/calendly/users/me").await;
    answer.must_be_problem(502, "upstream-unreachable");
    let answer = sidecar.get("ben", "/calendly/users/me").await;
    answer.must_be_problem(503, "refresh-failed");
    assert_eq!(world.calendly_api_calls(), 0);
    assert_eq!(world.calendly_calls().len(), 0);
}
