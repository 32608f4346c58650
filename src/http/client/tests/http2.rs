//! Shared connections: limits of streams, flow control, connections that end.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::{future::join_all, stream};
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::{body::Incoming, server::conn::http2::Builder, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    net::TcpListener,
    sync::{Notify, Semaphore},
};
use tower::Service;

use super::world::*;
use crate::{
    base::lifecycle::Lifecycle,
    http::{
        body::Body,
        client::{Client, Error},
    },
};

/// A provider at `localhost` that speaks HTTP/2 only.
struct Provider {
    lifecycle: Lifecycle,
    client: Client,
    address: SocketAddr,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    connections: AtomicUsize,
    /// How many of them have ended.
    ended: AtomicUsize,
    /// The most requests that were ever at one connection at once.
    most: AtomicUsize,
    requests: AtomicUsize,
    /// Ends all connections, each with a GOAWAY.
    go_away: Notify,
}

impl Provider {
    async fn new(max_streams: Option<u32>) -> Self {
        let (acceptor, config) = localhost(b"h2");
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (lifecycle, seen) = (Lifecycle::new(), Arc::<Seen>::default());
        let (tasks, log) = (lifecycle.clone(), Arc::clone(&seen));
        lifecycle.spawn_until_drain(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (acceptor, log) = (acceptor.clone(), Arc::clone(&log));
                tasks.spawn_unwatched(async move {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        serve(stream, Arc::clone(&log), max_streams).await;
                        log.ended.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
        });
        Self {
            client: Client::new(config, &lifecycle),
            lifecycle,
            address,
            seen,
        }
    }

    async fn send(&self, path: &str, body: Body) -> Result<Response<Body>, Error> {
        let address = format!("https://localhost:{}{path}", self.address.port());
        let request = request("POST", &address, body);
        soon(self.client.clone().call(request)).await
    }

    async fn get(&self, path: &str) -> String {
        text(self.send(path, Body::empty()).await.unwrap()).await
    }

    fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }
}

async fn serve(
    stream: tokio_rustls::server::TlsStream<tokio::net::TcpStream>,
    seen: Arc<Seen>,
    max_streams: Option<u32>,
) {
    seen.connections.fetch_add(1, Ordering::SeqCst);
    let at_once = Arc::<AtomicUsize>::default();
    let log = Arc::clone(&seen);
    let service = service_fn(move |request: Request<Incoming>| {
        let (log, at_once) = (Arc::clone(&log), Arc::clone(&at_once));
        async move {
            let now = at_once.fetch_add(1, Ordering::SeqCst) + 1;
            log.most.fetch_max(now, Ordering::SeqCst);
            log.requests.fetch_add(1, Ordering::SeqCst);
            let answer = answer(request).await;
            at_once.fetch_sub(1, Ordering::SeqCst);
            answer
        }
    });
    let mut builder = Builder::new(TokioExecutor::new());
    builder.max_concurrent_streams(max_streams);
    let mut serving = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        _ = serving.as_mut() => return,
        () = seen.go_away.notified() => {}
    }
    serving.as_mut().graceful_shutdown();
    drop(serving.await);
}

/// Makes the server reset a stream.
#[derive(Debug, thiserror::Error)]
#[error("reset")]
struct Reset;

async fn answer(request: Request<Incoming>) -> Result<Response<Body>, Reset> {
    let path = request.uri().path().to_owned();
    Ok(Response::new(match path.as_str() {
        "/slow" => {
            tokio::time::sleep(Duration::from_millis(20)).await;
            Body::from(bytes("slow"))
        }
        "/long" => body_of(stream::iter(vec![Bytes::from(vec![b'x'; 1 << 16]); 64])),
        "/echo" => Body::from(request.into_body().collect().await.unwrap().to_bytes()),
        "/reset" => return Err(Reset),
        _ => Body::from(Bytes::from(request.uri().to_string())),
    }))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_connection_is_made_for_all_who_ask_at_once() {
    let provider = Provider::new(None).await;
    let answers = join_all((0..50).map(|_| provider.get("/x?y"))).await;
    let address = format!("https://localhost:{}/x?y", provider.address.port());
    assert_eq!(answers, vec![address; 50]);
    assert_eq!(provider.connections(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_of_streams_is_kept_and_got_around_by_more_connections() {
    for limit in [1, 3] {
        let provider = Provider::new(Some(limit)).await;
        for _ in 0..3 {
            let answers = join_all((0..12).map(|_| provider.get("/slow"))).await;
            assert_eq!(answers, vec!["slow"; 12]);
        }
        let most = provider.seen.most.load(Ordering::SeqCst);
        assert_eq!(most, limit as usize);
        let connections = provider.connections();
        assert!(connections > 1, "{connections} for a limit of {limit}");
        // None was refused and none was sent twice.
        assert_eq!(provider.seen.requests.load(Ordering::SeqCst), 36);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_requests_than_all_connections_take_wait_for_their_turn() {
    let provider = Provider::new(Some(1)).await;
    for _ in 0..2 {
        let answers = join_all((0..60).map(|_| provider.get("/slow"))).await;
        assert_eq!(answers.len(), 60);
    }
    // How many there are depends on how fast the provider answers.
    let connections = provider.connections();
    assert!((2..=16).contains(&connections), "{connections}");
    assert_eq!(provider.seen.most.load(Ordering::SeqCst), 1);
    assert_eq!(provider.seen.requests.load(Ordering::SeqCst), 120);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_that_do_not_read_hold_up_nobody() {
    let provider = Provider::new(None).await;
    let mut stalled = Vec::new();
    for _ in 0..63 {
        stalled.push(provider.send("/long", Body::empty()).await.unwrap());
    }
    // By now the provider has sent what it may.
    settle().await;
    assert_eq!(provider.get("/long").await.len(), 64 << 16);
    assert_eq!(provider.connections(), 1);
    stalled.push(provider.send("/long", Body::empty()).await.unwrap());
    settle().await;
    assert_eq!(provider.get("/long").await.len(), 64 << 16);
    assert_eq!(
        provider.connections(),
        2,
        "64 are enough for one connection"
    );
    for response in stalled {
        assert_eq!(text(response).await.len(), 64 << 16);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_that_goes_away_is_called_anew() {
    let provider = Provider::new(None).await;
    assert_eq!(provider.get("/slow").await, "slow");
    for nth in 2..5 {
        provider.seen.go_away.notify_waiters();
        while provider.seen.ended.load(Ordering::SeqCst) < nth - 1 {
            settle().await;
        }
        let body = Body::from(bytes("hello"));
        let response = provider.send("/echo", body).await.unwrap();
        assert_eq!(text(response).await, "hello");
        assert_eq!(provider.connections(), nth);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_under_way_are_answered_by_a_provider_that_goes_away() {
    let provider = Provider::new(None).await;
    assert_eq!(provider.get("/slow").await, "slow");
    let (answers, ()) = tokio::join!(join_all((0..9).map(|_| provider.get("/slow"))), async {
        while provider.seen.requests.load(Ordering::SeqCst) < 10 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        provider.seen.go_away.notify_waiters();
    });
    assert_eq!(answers, vec!["slow"; 9]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_is_reset_breaks_its_request_only() {
    let provider = Provider::new(None).await;
    let (broken, fine) = tokio::join!(
        provider.send("/reset", Body::empty()),
        provider.get("/slow")
    );
    assert!(matches!(broken, Err(Error::Broken(_))), "{broken:?}");
    assert_eq!(fine, "slow");
    assert_eq!(provider.get("/slow").await, "slow");
    assert_eq!(provider.connections(), 1);
    assert_eq!(provider.seen.requests.load(Ordering::SeqCst), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_that_leave_free_their_places() {
    let provider = Provider::new(Some(3)).await;
    assert_eq!(provider.get("/slow").await, "slow");
    for _ in 0..20 {
        drop(provider.send("/long", Body::empty()).await.unwrap());
        let slow = provider.send("/slow", Body::empty());
        drop(tokio::time::timeout(Duration::from_millis(2), slow).await);
    }
    settle().await;
    assert_eq!(provider.get("/slow").await, "slow");
    assert_eq!(provider.connections(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_does_not_wait_for_quiet_connections() {
    let provider = Provider::new(None).await;
    assert_eq!(provider.get("/slow").await, "slow");
    let Provider {
        lifecycle, client, ..
    } = provider;
    drop(client);
    let drained = soon(lifecycle.drain(Duration::from_secs(9))).await;
    assert_eq!(drained, crate::base::lifecycle::Drained::Clean);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_handshake_is_told_to_all_who_waited_for_it() {
    let attempts = Arc::<AtomicUsize>::default();
    let all_wait = Arc::new(Semaphore::new(0));
    let (count, gate) = (Arc::clone(&attempts), Arc::clone(&all_wait));
    let world = World::new(move |_, mut peer| {
        let (count, gate) = (Arc::clone(&count), Arc::clone(&gate));
        async move {
            drop(gate.acquire().await);
            count.fetch_add(1, Ordering::SeqCst);
            peer.say("no TLS here\r\n").await;
        }
    })
    .await;
    let address = format!("https://localhost:{}/", world.address.port());
    let calls = (0..20).map(|_| {
        let sent = request("GET", &address, Body::empty());
        soon(world.client.clone().call(sent))
    });
    // Polled in this order: the provider answers when all have begun.
    let (answers, ()) = tokio::join!(biased; join_all(calls), async {
        all_wait.add_permits(1);
    });
    for answer in answers {
        let error = answer.unwrap_err();
        assert!(matches!(error, Error::Unreachable(_)), "{error:?}");
    }
    assert_eq!(attempts.load(Ordering::SeqCst), 1);
    // That speaks for those who waited, not for whoever comes later.
    let sent = request("GET", &address, Body::empty());
    soon(world.client.clone().call(sent)).await.unwrap_err();
    assert_eq!(attempts.load(Ordering::SeqCst), 2);
}
