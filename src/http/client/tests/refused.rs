//! Requests that a provider of HTTP/2 says it did not process, and those of which it says nothing.
//!
//! The provider is frames by hand (RFC 9113 §4, §6): no server library says what these do on purpose.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use futures_util::stream;
use http::{Request, Response};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::server::TlsStream;
use tower::Service;

use super::world::*;
use crate::{
    base::lifecycle::Lifecycle,
    http::{
        body::Body,
        client::{Client, Error, connect::Connector, http2::Http2, pool::Pool},
        replay::ReplayBody,
    },
};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
const REFUSED_STREAM: u32 = 7;
const CANCEL: u32 = 8;

/// What a connection does with each request.
#[derive(Clone, Copy)]
enum Does {
    /// 200, with the request's body.
    Answer,
    /// Resets the stream when its head has come.
    Reset(u32),
    /// Resets the stream when all of it has come.
    ResetLate(u32),
    /// Says which stream was the last, and closes.
    GoAway { last: u32 },
}

struct Provider {
    client: Client,
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    /// The connection of each request that came.
    requests: Arc<Mutex<Vec<usize>>>,
    _lifecycle: Lifecycle,
}

impl Provider {
    /// Each connection does what stands at its place, or what stands last.
    async fn new(does: &'static [Does]) -> Self {
        let (acceptor, config) = localhost(b"h2");
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let lifecycle = Lifecycle::new();
        let (connections, requests) = (Arc::default(), Arc::default());
        let (tasks, count, log) = (
            lifecycle.clone(),
            Arc::clone(&connections),
            Arc::clone(&requests),
        );
        lifecycle.spawn_until_drain(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let nth = AtomicUsize::fetch_add(&count, 1, Ordering::SeqCst);
                let does = does[nth.min(does.len() - 1)];
                let (acceptor, log) = (acceptor.clone(), Arc::clone(&log));
                tasks.spawn_unwatched(async move {
                    let stream = acceptor.accept(stream).await.unwrap();
                    // The client may close at any time.
                    drop(serve(stream, nth + 1, does, log).await);
                });
            }
        });
        Self {
            client: Client::new(config, &lifecycle),
            address,
            connections,
            requests,
            _lifecycle: lifecycle,
        }
    }

    async fn send(&self, body: Body, keep: usize) -> Result<Response<Body>, Error> {
        let request = Request::builder()
            .method("POST")
            .uri(format!("https://localhost:{}/", self.address.port()))
            .header("x-test", "1")
            .body(ReplayBody::new(body, keep).0)
            .unwrap();
        soon(self.client.clone().call(request)).await
    }

    async fn echo(&self, body: Body) -> String {
        text(self.send(body, 100).await.unwrap()).await
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    fn requests(&self) -> Vec<usize> {
        self.requests.lock().clone()
    }
}

async fn serve(
    mut stream: TlsStream<TcpStream>,
    nth: usize,
    does: Does,
    log: Arc<Mutex<Vec<usize>>>,
) -> std::io::Result<()> {
    let mut preface = [0; 24];
    stream.read_exact(&mut preface).await?;
    frame(&mut stream, SETTINGS, 0, 0, &[]).await?;
    let mut body = Vec::new();
    loop {
        let (kind, flags, id, payload) = next(&mut stream).await?;
        match kind {
            SETTINGS if flags == 0 => frame(&mut stream, SETTINGS, 1, 0, &[]).await?,
            HEADERS => {
                log.lock().push(nth);
                refuse(&mut stream, does, id).await?;
            }
            DATA => body.extend(payload),
            _ => {}
        }
        if matches!(kind, HEADERS | DATA) && flags & END_STREAM != 0 {
            end(&mut stream, does, id, &body).await?;
            body.clear();
        }
    }
}

/// The next frame: its kind, flags, stream and payload.
async fn next(stream: &mut TlsStream<TcpStream>) -> std::io::Result<(u8, u8, u32, Vec<u8>)> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).await?;
    let [.., kind, flags, a, b, c, d] = head;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let mut payload = vec![0; length as usize];
    stream.read_exact(&mut payload).await?;
    Ok((kind, flags, u32::from_be_bytes([a, b, c, d]), payload))
}

/// What is said as soon as the head of a request has come.
async fn refuse(stream: &mut TlsStream<TcpStream>, does: Does, id: u32) -> std::io::Result<()> {
    match does {
        Does::Reset(code) => frame(stream, RST_STREAM, 0, id, &code.to_be_bytes()).await,
        Does::GoAway { last } => {
            let said = [last.to_be_bytes(), [0; 4]].concat();
            frame(stream, GOAWAY, 0, 0, &said).await?;
            stream.shutdown().await
        }
        Does::Answer | Does::ResetLate(_) => Ok(()),
    }
}

/// What is said when all of a request has come.
async fn end(
    stream: &mut TlsStream<TcpStream>,
    does: Does,
    id: u32,
    body: &[u8],
) -> std::io::Result<()> {
    match does {
        Does::Answer => {
            // 0x88 is `:status: 200` (RFC 7541, Appendix A).
            frame(stream, HEADERS, 4, id, &[0x88]).await?;
            frame(stream, DATA, END_STREAM, id, body).await
        }
        Does::ResetLate(code) => frame(stream, RST_STREAM, 0, id, &code.to_be_bytes()).await,
        Does::Reset(_) | Does::GoAway { .. } => Ok(()),
    }
}

async fn frame(
    stream: &mut TlsStream<TcpStream>,
    kind: u8,
    flags: u8,
    id: u32,
    payload: &[u8],
) -> std::io::Result<()> {
    let [_, length @ ..] = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let whole = [&length[..], &[kind, flags], &id.to_be_bytes(), payload].concat();
    stream.write_all(&whole).await?;
    stream.flush().await
}

/// Bodies without a frame, with one, and with several.
fn bodies() -> [(Body, &'static str); 3] {
    let frames = stream::iter(vec![bytes("some"), bytes("more")]);
    [
        (Body::empty(), ""),
        (Body::from(bytes("hello")), "hello"),
        (body_of(frames), "somemore"),
    ]
}

#[tokio::test]
async fn what_was_refused_unprocessed_is_sent_whole_on_another_connection() {
    for refusal in [
        Does::Reset(REFUSED_STREAM),
        Does::ResetLate(REFUSED_STREAM),
        Does::GoAway { last: 0 },
    ] {
        for (body, sent) in bodies() {
            let provider = Provider::new(Box::leak(Box::new([refusal, Does::Answer]))).await;
            assert_eq!(provider.echo(body).await, sent);
            assert_eq!(provider.requests(), [1, 2]);
        }
    }
}

#[tokio::test]
async fn a_refusal_is_sent_once_more_and_not_again() {
    for refusal in [Does::Reset(REFUSED_STREAM), Does::GoAway { last: 0 }] {
        let provider = Provider::new(Box::leak(Box::new([refusal]))).await;
        for nth in 1..=3 {
            let error = provider.send(Body::empty(), 0).await.unwrap_err();
            assert!(matches!(error, Error::Refused(_)), "{error:?}");
            assert_eq!(provider.requests().len(), nth * 2);
        }
    }
}

#[tokio::test]
async fn a_refused_stream_ends_no_connection() {
    let provider = Provider::new(&[Does::Reset(REFUSED_STREAM), Does::Answer]).await;
    for _ in 0..3 {
        assert_eq!(provider.echo(Body::from(bytes("hello"))).await, "hello");
    }
    assert_eq!(provider.connections(), 2);
}

#[tokio::test]
async fn what_may_have_been_processed_is_not_sent_again() {
    for failure in [
        Does::Reset(CANCEL),
        // The first stream of a client is number 1, so that is not above the last.
        Does::GoAway { last: 1 },
    ] {
        let provider = Provider::new(Box::leak(Box::new([failure, Does::Answer]))).await;
        let error = provider.send(Body::empty(), 0).await.unwrap_err();
        assert!(matches!(error, Error::Broken(_)), "{error:?}");
        assert_eq!(provider.requests(), [1]);
    }
}

#[tokio::test]
async fn a_refused_request_whose_body_is_gone_is_not_sent_again() {
    let provider = Provider::new(&[Does::ResetLate(REFUSED_STREAM), Does::Answer]).await;
    let body = Body::from(bytes("hello"));
    let error = provider.send(body, 4).await.unwrap_err();
    assert!(matches!(error, Error::Refused(_)), "{error:?}");
    assert_eq!(provider.requests(), [1]);
}

#[tokio::test]
async fn a_shared_connection_that_ended_leaves_the_pool_at_once() {
    let (_, config) = localhost(b"h2");
    let (connector, lifecycle) = (Connector::new(config), Lifecycle::new());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    for look in [
        |pool: &mut Pool| drop(pool.go_round()),
        |pool: &mut Pool| assert!(pool.slot(None).is_none()),
    ] {
        let (stream, accepted) = tokio::join!(
            connector.connect(address.parse().unwrap()),
            listener.accept()
        );
        let connection = Http2::handshake(stream.unwrap(), &lifecycle).await.unwrap();
        let mut pool = Pool::default();
        let slot = pool.share(connection);
        drop(pool.go_round());
        assert!(!pool.is_empty());
        drop(accepted);
        let request = Request::new(ReplayBody::new(Body::from(Bytes::new()), 0).0);
        assert!(soon(slot.exchange(request)).await.is_err());
        settle().await;
        look(&mut pool);
        assert!(pool.is_empty());
    }
}
