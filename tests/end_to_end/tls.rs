//! Providers on real TLS, under a certificate authority that only `tls.ca_file` knows.

use std::{fs, sync::Arc};

use daypass::{http::tls::install_crypto, sandbox::Options};
use parking_lot::RwLock;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{
    ServerConfig,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use crate::{
    reloading::{Volume, under_load, until_reloaded},
    world::World,
};

/// What a server shows of itself, which may be exchanged.
#[derive(Debug)]
struct Shown(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for Shown {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read()))
    }
}

/// A new authority's certificate as PEM, and one for `localhost` that it has signed.
fn papers() -> (String, Arc<CertifiedKey>) {
    install_crypto();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let leaf = leaf.signed_by(&key, &issuer).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key).unwrap();
    let certified = CertifiedKey::new(vec![leaf.der().clone()], key);
    (issuer.pem(), Arc::new(certified))
}

/// With the old authority alone, nothing that is connected anew later would be trusted.
#[tokio::test(flavor = "multi_thread")]
async fn an_authority_that_is_replaced_is_trusted_at_once_and_fails_no_call() {
    let ((old_ca, old), (new_ca, new)) = (papers(), papers());
    let shown = Arc::new(Shown(RwLock::new(old)));
    let server = ServerConfig::builder()
        .with_no_client_auth()
        .with_cert_resolver(Arc::clone(&shown) as Arc<dyn ResolvesServerCert>);
    let options = Options {
        tls: Some(Arc::new(server)),
        ..Options::default()
    };
    let folder = tempfile::tempdir().unwrap();
    let mut volume = Volume::mount(folder.path().join("tls"), &[("ca.pem", &old_ca)]);
    let setting = format!("tls.ca_file={}", volume.path("ca.pem"));
    let world = World::open_with(options).await.with(&setting);
    world.valid_at_calendly("anna").await;
    world.expired_at_calendly("ben").await;
    world.managed("mona").await;
    let sidecar = world.sidecar().await;
    let story = async {
        volume.swap(&[("ca.pem", &new_ca)]);
        until_reloaded(&sidecar, 1).await;
        *shown.0.write() = new;
        // Nobody has called the token endpoint before, nor Cal.com: these connections are new.
        sidecar.get("ben", "/calendly/users/me").await.must_be(200);
        sidecar.get("mona", "/calcom/v2/me").await.must_be(200);
    };
    under_load(&sidecar, ("anna", "/calendly/users/me"), story).await;
    assert_eq!(world.calendly_calls().len(), 1);
}

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
