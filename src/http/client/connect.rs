//! New connections: name lookup, TCP, TLS; all in one limit of time.

use std::{fmt, time::Duration};

use http::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::ClientConfig;
use thiserror::Error;
use tower::{BoxError, Service, ServiceExt};

use super::pool::IDLE_TIMEOUT;

/// How long name lookup, TCP and TLS may take together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection that nothing has been said on yet.
pub(super) type Stream = <HttpsConnector<HttpConnector> as Service<Uri>>::Response;

/// Makes connections.
#[derive(Clone)]
pub(super) struct Connector(HttpsConnector<HttpConnector>);

/// No connection came about in time.
#[derive(Debug, Error)]
#[error("no connection within {} s", CONNECT_TIMEOUT.as_secs())]
pub struct ConnectTimeout(());

// === impl Connector ===

impl Connector {
    /// Offers HTTP/2 and HTTP/1.1 by ALPN, which `tls` must leave unset.
    pub(super) fn new(tls: ClientConfig) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(IDLE_TIMEOUT));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_all_versions()
            .wrap_connector(tcp);
        Self(connector)
    }

    /// Connects to the host of `address`, with TLS if its scheme says so.
    pub(super) async fn connect(&self, address: Uri) -> Result<Stream, BoxError> {
        let connecting = self.0.clone().oneshot(address);
        match tokio::time::timeout(CONNECT_TIMEOUT, connecting).await {
            Ok(connected) => connected,
            Err(_) => Err(ConnectTimeout(()).into()),
        }
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connector")
    }
}
