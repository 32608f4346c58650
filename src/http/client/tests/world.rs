//! What the tests stand on: providers that are scripted by connection, and a client.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tower::{BoxError, Service};

use crate::{
    base::lifecycle::Lifecycle,
    http::{
        body::Body,
        client::{Client, Error, ResponseFuture},
        replay::ReplayBody,
        tls,
    },
};

/// Nothing here takes that long unless it hangs.
const SOON: Duration = Duration::from_secs(10);

pub(super) struct World {
    pub(super) lifecycle: Lifecycle,
    pub(super) client: Client,
    pub(super) address: SocketAddr,
    pub(super) connections: Arc<AtomicUsize>,
}

impl World {
    /// A provider that does `script` with its n-th connection, counted from 1.
    pub(super) async fn new<F>(
        script: impl Fn(usize, Peer) -> F + Clone + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let lifecycle = Lifecycle::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let (count, tasks) = (Arc::clone(&connections), lifecycle.clone());
        lifecycle.spawn_until_drain(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let nth = count.fetch_add(1, Ordering::SeqCst) + 1;
                tasks.spawn_unwatched(script(nth, Peer::new(stream)));
            }
        });
        let config = tls::client_config(None, tls::Alpn::Unset).unwrap();
        Self {
            client: Client::new(config, &lifecycle),
            lifecycle,
            address,
            connections,
        }
    }

    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub(super) fn request(&self, method: &str, body: Body) -> Request<ReplayBody> {
        let address = format!("http://{}/x?y", self.address);
        request(method, &address, body)
    }

    pub(super) fn call(&self, method: &str, body: Body) -> ResponseFuture {
        self.client.clone().call(self.request(method, body))
    }

    pub(super) async fn send(&self, method: &str, body: Body) -> Result<Response<Body>, Error> {
        soon(self.call(method, body)).await
    }

    /// What a `GET` is answered.
    pub(super) async fn get(&self) -> String {
        let response = self.send("GET", Body::empty()).await.unwrap();
        text(response).await
    }
}

/// A server for `localhost` that agrees on `protocol`, and a client that trusts it.
pub(super) fn localhost(protocol: &[u8]) -> (TlsAcceptor, rustls::ClientConfig) {
    tls::install_crypto();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = made.signing_key.serialize_der().try_into().unwrap();
    let mut config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    config.alpn_protocols = vec![protocol.to_vec()];
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), made.cert.pem()).unwrap();
    let client = tls::client_config(Some(file.path()), tls::Alpn::Unset).unwrap();
    (TlsAcceptor::from(Arc::new(config)), client)
}

pub(super) fn request(method: &str, address: &str, body: Body) -> Request<ReplayBody> {
    Request::builder()
        .method(method)
        .uri(address)
        .body(ReplayBody::new(body, 1 << 20).0)
        .unwrap()
}

pub(super) async fn soon<F: Future>(future: F) -> F::Output {
    timeout(SOON, future).await.expect("it does not hang")
}

pub(super) async fn text(response: Response<Body>) -> String {
    let body = soon(response.into_body().collect()).await.unwrap();
    String::from_utf8(body.to_bytes().to_vec()).unwrap()
}

/// A body of these frames, of a length that is not known before.
pub(super) fn body_of(frames: impl Stream<Item = Bytes> + Send + 'static) -> Body {
    let frames = frames.map(|bytes| Ok::<_, BoxError>(Frame::data(bytes)));
    Body::boxed(StreamBody::new(frames))
}

pub(super) fn bytes(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

/// A whole answer.
pub(super) fn ok(body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// What has arrived at a socket by now is known to the runtime, too.
pub(super) async fn settle() {
    tokio::time::sleep(Duration::from_millis(30)).await;
}

/// The provider's end of a connection.
pub(super) struct Peer {
    pub(super) stream: TcpStream,
    read: Vec<u8>,
}

impl Peer {
    fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            read: Vec::new(),
        }
    }

    /// The next request's head; `None` if the connection was closed.
    pub(super) async fn head(&mut self) -> Option<String> {
        self.until("\r\n\r\n").await
    }

    /// All up to and including `mark`; `None` if the connection was closed before.
    pub(super) async fn until(&mut self, mark: &str) -> Option<String> {
        loop {
            let found = memchr::memmem::find(&self.read, mark.as_bytes());
            if let Some(at) = found {
                let rest = self.read.split_off(at + mark.len());
                let taken = std::mem::replace(&mut self.read, rest);
                return Some(String::from_utf8(taken).unwrap());
            }
            if !self.more().await {
                return None;
            }
        }
    }

    /// Exactly `length` bytes; `None` if the connection was closed before.
    pub(super) async fn exactly(&mut self, length: usize) -> Option<Vec<u8>> {
        while self.read.len() < length {
            if !self.more().await {
                return None;
            }
        }
        let rest = self.read.split_off(length);
        Some(std::mem::replace(&mut self.read, rest))
    }

    /// Whether something was read and not taken, or can be read.
    pub(super) fn has_more(&mut self) -> bool {
        let _ = self.stream.try_read_buf(&mut self.read);
        !self.read.is_empty()
    }

    pub(super) async fn say(&mut self, text: impl AsRef<[u8]>) {
        drop(self.stream.write_all(text.as_ref()).await);
    }

    /// Waits until the client closes; what it sends before that is not looked at.
    pub(super) async fn closed(&mut self) {
        while self.more().await {
            self.read.clear();
        }
    }

    async fn more(&mut self) -> bool {
        matches!(self.stream.read_buf(&mut self.read).await, Ok(read) if read > 0)
    }
}
