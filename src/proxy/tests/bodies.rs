//! Bodies in both directions, and what bounds them.

use std::{convert::Infallible, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{HeaderMap, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Incoming;
use hyper_util::{client::legacy, rt::TokioExecutor};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UnixStream},
    time::timeout,
};
use tower::BoxError;

use super::world::*;
use crate::{
    base::lifecycle::{Drained, Lifecycle},
    http::{Listen, access_log::Outcome, body::Body},
};

const SOON: Duration = Duration::from_secs(10);
const GIB: usize = 1 << 30;
const PIECE: usize = 1 << 18;

fn frames(
    frames: impl stream::Stream<Item = Frame<Bytes>> + Send + 'static,
) -> StreamBody<impl stream::Stream<Item = Result<Frame<Bytes>, BoxError>> + Send> {
    StreamBody::new(frames.map(Ok))
}

/// A body that begins and never ends.
fn endless(first: &'static str) -> Body {
    let begin = stream::iter([Frame::data(Bytes::from_static(first.as_bytes()))]);
    Body::boxed(frames(begin.chain(stream::pending())))
}

fn with_trailers() -> Body {
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", "7".parse().unwrap());
    let parts = [
        Frame::data(Bytes::from_static(b"ab")),
        Frame::trailers(trailers),
    ];
    Body::boxed(frames(stream::iter(parts)))
}

#[tokio::test]
async fn trailers_pass_both_ways() {
    let world = World::new(|_| {
        let mut response = Response::new(with_trailers());
        response
            .headers_mut()
            .insert("trailer", "x-sum".parse().unwrap());
        response
    });
    let got = world
        .raw(format!(
            "POST /calendly/x HTTP/1.1\r\nhost: {}\r\nx-user-id: u\r\nte: trailers\r\n\
             connection: te, close\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n\
             2\r\nab\r\n0\r\nx-sum: 7\r\n\r\n",
            world.address
        ))
        .await;
    assert_eq!(world.seen()[0].trailers.as_ref().unwrap()["x-sum"], "7");
    assert_eq!(world.seen()[0].body, "ab");
    assert!(got.contains("0\r\nx-sum: 7\r\n\r\n"), "{got}");
}

fn h2c() -> legacy::Client<legacy::connect::HttpConnector, Body> {
    legacy::Client::builder(TokioExecutor::new())
        .http2_only(true)
        .build_http()
}

#[tokio::test]
async fn http2_callers_are_served_with_trailers() {
    let world = World::new(|_| {
        let mut response = Response::new(with_trailers());
        response
            .headers_mut()
            .insert("trailer", "x-sum".parse().unwrap());
        response
    });
    let request = Request::post(format!("http://{}/calendly/x", world.address))
        .header("x-user-id", "u_1")
        .header("trailer", "x-sum")
        .body(with_trailers())
        .unwrap();
    let response = h2c().request(request).await.unwrap();
    assert_eq!(response.version(), http::Version::HTTP_2);
    assert_eq!(response.status(), 200);
    let collected = response.into_body().collect().await.unwrap();
    assert_eq!(collected.trailers().unwrap()["x-sum"], "7");
    assert_eq!(world.seen()[0].trailers.as_ref().unwrap()["x-sum"], "7");
    assert_eq!(world.seen()[0].headers["via"], "2 daypass");
}

#[tokio::test]
async fn the_first_event_passes_at_once() {
    let world = World::new(|_| Response::new(endless("data: 1\n\n")));
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    let request = format!(
        "GET /calendly/x HTTP/1.1\r\nhost: {}\r\nx-user-id: u\r\n\r\n",
        world.address
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut got = Vec::new();
    while !String::from_utf8_lossy(&got).contains("data: 1") {
        timeout(SOON, stream.read_buf(&mut got))
            .await
            .unwrap()
            .unwrap();
    }
}

fn rss_kib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn gibibyte() -> Body {
    let piece = Bytes::from(vec![b'x'; PIECE]);
    let pieces = std::iter::repeat_n(piece, GIB / PIECE).map(Frame::data);
    Body::boxed(frames(stream::iter(pieces)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gibibyte_passes_both_ways_in_flat_memory() {
    let lifecycle = Lifecycle::new();
    let upstream = listen(&lifecycle, |request: Request<Incoming>| async move {
        let (parts, mut body) = request.into_parts();
        let mut length = 0;
        while let Some(frame) = body.frame().await {
            length += frame.unwrap().data_ref().map_or(0, Bytes::len);
        }
        let mut response = Response::new(if parts.method == "GET" {
            gibibyte()
        } else {
            Body::empty()
        });
        response.headers_mut().insert("x-length", length.into());
        Ok::<_, Infallible>(response)
    });
    let world = World::before(
        config(),
        lifecycle,
        scripted(upstream),
        Arc::default(),
        upstream,
    );
    let client: legacy::Client<_, Body> =
        legacy::Client::builder(TokioExecutor::new()).build_http();
    let uri = format!("http://{}/calendly/x", world.address);
    let request = |method: &str, body| {
        Request::builder()
            .method(method)
            .uri(&uri)
            .header("x-user-id", "u")
            .body(body)
            .unwrap()
    };
    let before = rss_kib();

    let sent = client.request(request("POST", gibibyte())).await.unwrap();
    assert_eq!(sent.headers()["x-length"], GIB.to_string());
    let mut got = client
        .request(request("GET", Body::empty()))
        .await
        .unwrap()
        .into_body();
    let mut length = 0;
    while let Some(frame) = got.frame().await {
        length += frame.unwrap().data_ref().map_or(0, Bytes::len);
    }
    assert_eq!(length, GIB);
    let grown = rss_kib().saturating_sub(before);
    // Other tests share this process; two bodies kept would be two gibibytes.
    assert!(grown < 256 * 1024, "memory grew by {grown} KiB");
}

#[tokio::test]
async fn a_drain_lets_bodies_finish_and_takes_no_new_callers() {
    let (more, rest) = tokio::sync::oneshot::channel::<()>();
    let rest = parking_lot::Mutex::new(Some(rest));
    let world = World::new(move |_| {
        let rest = rest.lock().take().unwrap();
        let begin = stream::iter([Frame::data(Bytes::from_static(b"begin"))]);
        let end = stream::once(async {
            rest.await.unwrap();
            Frame::data(Bytes::from_static(b"end"))
        });
        Response::new(Body::boxed(frames(begin.chain(end))))
    });
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    let mut idle = TcpStream::connect(world.address).await.unwrap();
    let request = format!(
        "GET /calendly/x HTTP/1.1\r\nhost: {}\r\nx-user-id: u\r\n\r\n",
        world.address
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut got = Vec::new();
    while !String::from_utf8_lossy(&got).contains("begin") {
        timeout(SOON, stream.read_buf(&mut got))
            .await
            .unwrap()
            .unwrap();
    }
    let lifecycle = world.lifecycle.clone();
    let drain = async { lifecycle.drain(SOON).await };
    let finish = async {
        // Idle connections are closed at once, and nobody new gets in.
        timeout(SOON, idle.read(&mut [0])).await.unwrap().unwrap();
        assert!(TcpStream::connect(world.address).await.is_err());
        more.send(()).unwrap();
        timeout(SOON, stream.read_to_end(&mut got))
            .await
            .unwrap()
            .unwrap();
    };
    let (drained, ()) = tokio::join!(drain, finish);
    assert!(String::from_utf8_lossy(&got).contains("end"));
    assert_eq!(drained, Drained::Clean);
}

#[tokio::test]
async fn a_body_that_never_ends_does_not_hold_a_drain_for_ever() {
    let world = World::new(|_| Response::new(endless("x")));
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    let request = format!(
        "GET /calendly/x HTTP/1.1\r\nhost: {}\r\nx-user-id: u\r\n\r\n",
        world.address
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    stream.read_exact(&mut [0]).await.unwrap();
    assert_eq!(
        world.lifecycle.drain(Duration::from_millis(200)).await,
        Drained::Cut
    );
    let mut rest = Vec::new();
    drop(timeout(SOON, stream.read_to_end(&mut rest)).await.unwrap());
}

#[tokio::test]
async fn a_unix_socket_serves_and_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("daypass.sock");
    // A file that a dead predecessor left behind.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let mut config = config();
    config.listen = Listen::Unix(path.clone());
    let world = World::with(config, |_| answer(200, "hello"));
    let mut stream = UnixStream::connect(&path).await.unwrap();
    let request =
        "GET /calendly/x HTTP/1.1\r\nhost: localhost\r\nx-user-id: u\r\nconnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut got = String::new();
    stream.read_to_string(&mut got).await.unwrap();
    assert_eq!((status(&got), body(&got)), (200, "hello"));
    // Somebody answers there: a second listener must not take it away.
    assert!(crate::http::server::Bound::bind(&Listen::Unix(path.clone())).is_err());
    world.lifecycle.drain(SOON).await;
    assert!(!path.exists());
}

#[tokio::test]
async fn too_many_requests_are_refused_until_a_body_ends() {
    let mut config = config();
    config.max_in_flight = 1;
    let world = World::with(config, |_| Response::new(endless("x")));
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    let request = format!(
        "GET /calendly/x HTTP/1.1\r\nhost: {}\r\nx-user-id: u\r\n\r\n",
        world.address
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    stream.read_exact(&mut [0]).await.unwrap();
    let got = world.get("/calendly/x", "").await;
    assert_eq!(status(&got), 503);
    assert!(body(&got).contains("urn:daypass:problem:overloaded"));
    assert_eq!(header(&got, "retry-after"), Some("1"));

    drop(stream);
    for _ in 0..200 {
        let again = Request::get(format!("http://{}/calendly/x", world.address))
            .header("x-user-id", "u")
            .body(Body::empty())
            .unwrap();
        if h2c().request(again).await.unwrap().status() == 200 {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("the place was not given back");
}

#[tokio::test]
async fn an_abandoned_request_is_reported() {
    let world = World::new(|_| Response::new(endless("x")));
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    let request = format!(
        "GET /calendly/x?secret=1 HTTP/1.1\r\nhost: {}\r\nx-user-id: u_9\r\n\r\n",
        world.address
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    stream.read_exact(&mut [0]).await.unwrap();
    drop(stream);
    let facts = timeout(SOON, async {
        loop {
            if let Some(facts) = world.observer.0.lock().first().cloned() {
                return facts;
            }
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    assert_eq!(facts.outcome, Outcome::Abandoned);
    assert_eq!(facts.user.unwrap(), "u_9");
    assert_eq!(facts.provider.unwrap().as_str(), "calendly");
    assert_eq!(facts.generation.unwrap().get(), 1);
    assert_eq!(facts.status.unwrap(), 200);
}

#[tokio::test]
async fn a_silent_provider_is_given_up() {
    let lifecycle = Lifecycle::new();
    let upstream = listen(&lifecycle, |_| {
        std::future::pending::<Result<Response<Body>, Infallible>>()
    });
    let mut config = config();
    config.response_timeout = Duration::from_millis(50);
    let world = World::before(
        config,
        lifecycle,
        scripted(upstream),
        Arc::default(),
        upstream,
    );
    let got = world.get("/calendly/x", "").await;
    assert_eq!(status(&got), 504);
    assert!(body(&got).contains("urn:daypass:problem:upstream-timeout"));
    assert!(
        header(&got, "proxy-status")
            .unwrap()
            .contains("error=http_response_timeout")
    );
}

#[tokio::test]
async fn nobody_there_is_told_from_a_broken_answer() {
    let lifecycle = Lifecycle::new();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = listener.local_addr().unwrap();
    let world = World::before(
        config(),
        lifecycle.clone(),
        scripted(upstream),
        Arc::default(),
        upstream,
    );
    drop(lifecycle.spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _some = stream.read(&mut [0; 512]).await.unwrap();
        stream.write_all(b"SSH-2.0-x\r\n\r\n").await.unwrap();
    }));
    let broken = world.send("POST", "/calendly/x", "", "pay").await;
    assert_eq!(status(&broken), 502);
    assert!(
        body(&broken).contains("urn:daypass:problem:upstream-protocol"),
        "{broken}"
    );
    let nobody = world.get("/calendly/x", "").await;
    assert_eq!(status(&nobody), 502);
    assert!(
        body(&nobody).contains("urn:daypass:problem:upstream-unreachable"),
        "{nobody}"
    );
}

#[tokio::test]
async fn page_links_lead_back_here() {
    let world = World::new(|seen| {
        let host = seen.headers["host"].to_str().unwrap();
        let page =
            format!(r#"{{"pagination":{{"next_page":"http://{host}/events?page_token=x"}}}}"#);
        let mut response = answer(200, &page);
        let headers = response.headers_mut();
        headers.insert(
            "content-type",
            "application/json; charset=utf-8".parse().unwrap(),
        );
        headers.insert("etag", "\"1\"".parse().unwrap());
        headers.insert("location", format!("http://{host}/moved").parse().unwrap());
        response
    });
    let got = world
        .get("/calendly/events", "accept-encoding: gzip\r\n")
        .await;
    let here = format!("http://{}/calendly", world.address);
    assert_eq!(
        body(&got),
        format!(r#"{{"pagination":{{"next_page":"{here}/events?page_token=x"}}}}"#)
    );
    assert_eq!(
        header(&got, "content-length"),
        Some(&*body(&got).len().to_string())
    );
    assert_eq!(header(&got, "etag"), None);
    assert_eq!(header(&got, "location"), Some(&*format!("{here}/moved")));
    assert!(!world.seen()[0].headers.contains_key("accept-encoding"));

    let by_host = format!(
        "GET /events HTTP/1.1\r\nhost: {}\r\nx-user-id: u\r\nconnection: close\r\n\r\n",
        world.upstream
    );
    let untouched = world.raw(by_host).await;
    assert!(body(&untouched).contains(&world.upstream.to_string()));
    assert_eq!(header(&untouched, "etag"), Some("\"1\""));
}

#[tokio::test]
async fn smuggled_requests_reach_nobody() {
    let world = World::new(|_| answer(200, "x"));
    let me = format!("host: {}\r\nx-user-id: u\r\n", world.address);
    let smuggled = format!("GET /calendly/smuggled HTTP/1.1\r\n{me}\r\n");
    for framing in [
        "content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "transfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n",
        "content-length: 3\r\ncontent-length: 3\r\n\r\nabc",
        "x: y\r\n z\r\n\r\n",
        "x: y\n\r\n",
        "x : y\r\n\r\n",
        "host: other\r\n\r\n",
        "transfer-encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    ] {
        let got = world
            .raw(format!(
                "POST /calendly/x HTTP/1.1\r\n{me}{framing}{smuggled}"
            ))
            .await;
        assert!(got.starts_with("HTTP/1.1 400"), "{framing:?} {got:?}");
        assert_eq!(got.matches("HTTP/1.1").count(), 1, "{framing}");
    }
    let chunk = format!(
        "POST /calendly/x HTTP/1.1\r\n{me}transfer-encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n{smuggled}"
    );
    world.raw(chunk).await;
    assert!(world.seen().is_empty(), "{:?}", world.seen());
}

#[tokio::test]
async fn pipelined_and_kept_alive_requests_are_answered_in_order() {
    let world = World::new(|seen| answer(200, seen.uri.path()));
    let me = format!("host: {}\r\nx-user-id: u\r\n", world.address);
    let got = world
        .raw(format!(
            "GET /calendly/one HTTP/1.1\r\n{me}\r\nPOST /calendly/two HTTP/1.1\r\n{me}content-length: 3\r\n\r\nabc\
             GET /calendly/three HTTP/1.1\r\n{me}connection: close\r\n\r\n"
        ))
        .await;
    let order = ["/one", "/two", "/three"].map(|path| got.find(path).unwrap());
    assert!(order.is_sorted());
}
