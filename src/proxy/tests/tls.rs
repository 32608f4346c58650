//! Providers behind TLS, by HTTP/1.1 and HTTP/2.

use std::{convert::Infallible, sync::Arc};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::world::*;
use crate::{
    base::lifecycle::Lifecycle,
    http::{body::Body, client::Client, tls},
    provider::ApiBase,
};

/// A provider at `localhost` that offers `alpn` and tells which protocol a request came by.
async fn provider(lifecycle: &Lifecycle, alpn: &[u8]) -> (std::net::SocketAddr, String) {
    tls::install_crypto();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = made.signing_key.serialize_der().try_into().unwrap();
    let mut config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    config.alpn_protocols = vec![alpn.to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let tasks = lifecycle.clone();
    lifecycle.spawn_until_drain(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let acceptor = acceptor.clone();
            drop(tasks.spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else {
                    return;
                };
                let told = hyper::service::service_fn(|request: Request<Incoming>| async move {
                    let text = format!(
                        "{:?} {:?}",
                        request.version(),
                        request.headers().get("authorization")
                    );
                    Ok::<_, Infallible>(Response::new(Body::from(bytes::Bytes::from(text))))
                });
                let serving = Builder::new(TokioExecutor::new());
                drop(serving.serve_connection(TokioIo::new(stream), told).await);
            }));
        }
    });
    (address, made.cert.pem())
}

async fn call(alpn: &[u8], trusted: bool) -> String {
    let lifecycle = Lifecycle::new();
    let (address, pem) = provider(&lifecycle, alpn).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), pem).unwrap();
    let ca = trusted.then(|| file.path());
    let client = Client::new(
        tls::client_config(ca, tls::Alpn::Unset).unwrap(),
        &lifecycle,
    );
    let mut provider = scripted(address);
    provider.base = ApiBase::parse(&format!("https://localhost:{}", address.port())).unwrap();
    let providers: Vec<crate::provider::SharedProvider> = vec![Arc::new(provider)];
    let world = World::through(
        client,
        config(),
        lifecycle,
        providers,
        Arc::default(),
        address,
    );
    world.get("/calendly/x", "").await
}

#[tokio::test]
async fn a_provider_is_reached_by_either_protocol() {
    for (alpn, version) in [(&b"h2"[..], "HTTP/2.0"), (b"http/1.1", "HTTP/1.1")] {
        let got = call(alpn, true).await;
        assert_eq!(status(&got), 200, "{got}");
        assert!(body(&got).starts_with(version), "{got}");
        assert!(body(&got).contains(OLD), "{got}");
    }
}

#[tokio::test]
async fn a_certificate_nobody_vouches_for_is_refused() {
    let got = call(b"h2", false).await;
    assert_eq!(status(&got), 502);
    assert!(
        body(&got).contains("urn:daypass:problem:upstream-unreachable"),
        "{got}"
    );
}
