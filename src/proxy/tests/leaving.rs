//! Callers that leave, or go on sending, while their request is under way; and how they begin.

use std::{convert::Infallible, sync::Arc, time::Duration};

use http::{Request, Response};
use hyper::body::Incoming;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Notify,
    time::timeout,
};

use super::world::*;
use crate::{
    base::lifecycle::Lifecycle,
    http::{access_log::Outcome, body::Body},
};

const SOON: Duration = Duration::from_secs(10);

/// A proxy before a provider that answers with the path when it is let.
fn slow() -> (World, Arc<Notify>, Arc<Notify>) {
    let (asked, let_go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let lifecycle = Lifecycle::new();
    let (ask, go) = (Arc::clone(&asked), Arc::clone(&let_go));
    let upstream = listen(&lifecycle, move |request: Request<Incoming>| {
        let (ask, go) = (Arc::clone(&ask), Arc::clone(&go));
        async move {
            ask.notify_one();
            go.notified().await;
            Ok::<_, Infallible>(answer(200, request.uri().path()))
        }
    });
    let world = World::before(
        config(),
        lifecycle,
        scripted(upstream),
        Arc::default(),
        upstream,
    );
    (world, asked, let_go)
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(SOON, what).await.unwrap()
}

fn head(world: &World, line: &str, more: &str) -> String {
    format!(
        "{line} HTTP/1.1\r\nhost: {}\r\nx-user-id: u\r\n{more}\r\n",
        world.address
    )
}

/// How the first request ended.
async fn first_outcome(world: &World) -> Outcome {
    soon(async {
        loop {
            if let Some(facts) = world.observer.0.lock().first() {
                return facts.outcome;
            }
            tokio::task::yield_now().await;
        }
    })
    .await
}

#[tokio::test]
async fn a_caller_that_leaves_before_its_answer_is_not_waited_for() {
    let get = ("GET /calendly/x", "", "");
    let post = ("POST /calendly/x", "content-length: 3\r\n", "abc");
    for (line, more, body) in [get, post] {
        for closes_half in [false, true] {
            let (world, asked, _let_go) = slow();
            let mut stream = TcpStream::connect(world.address).await.unwrap();
            let request = head(&world, line, more) + body;
            stream.write_all(request.as_bytes()).await.unwrap();
            soon(asked.notified()).await;
            if closes_half {
                stream.shutdown().await.unwrap();
                assert_eq!(soon(stream.read(&mut [0])).await.unwrap(), 0);
            } else {
                drop(stream);
            }
            assert_eq!(first_outcome(&world).await, Outcome::Abandoned, "{line}");
        }
    }
}

#[tokio::test]
async fn what_is_sent_while_a_request_is_under_way_is_answered_after_it() {
    let (world, asked, let_go) = slow();
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    let first = head(&world, "GET /calendly/first", "");
    stream.write_all(first.as_bytes()).await.unwrap();
    soon(asked.notified()).await;
    let long = format!("x-long: {}\r\nconnection: close\r\n", "y".repeat(3000));
    let second = head(&world, "GET /calendly/second", &long);
    for part in second.as_bytes().chunks(700) {
        stream.write_all(part).await.unwrap();
        tokio::task::yield_now().await;
    }
    let_go.notify_one();
    soon(asked.notified()).await;
    let_go.notify_one();
    let mut got = String::new();
    soon(stream.read_to_string(&mut got)).await.unwrap();
    let order = ["/first", "/second"].map(|path| got.find(path).unwrap());
    assert!(order.is_sorted(), "{got}");
    assert_eq!(got.matches("HTTP/1.1 200").count(), 2, "{got}");
}

#[tokio::test]
async fn a_bad_head_behind_a_request_that_is_under_way_is_refused_after_it() {
    let (world, asked, let_go) = slow();
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    let first = head(&world, "GET /calendly/first", "");
    stream.write_all(first.as_bytes()).await.unwrap();
    soon(asked.notified()).await;
    let bad = head(&world, "GET /calendly/second", "host: again\r\n");
    stream.write_all(bad.as_bytes()).await.unwrap();
    let_go.notify_one();
    let mut got = String::new();
    soon(stream.read_to_string(&mut got)).await.unwrap();
    let order = ["/first", "HTTP/1.1 400"].map(|part| got.find(part).unwrap());
    assert!(order.is_sorted(), "{got}");
    assert_eq!(got.matches("HTTP/1.1").count(), 2, "{got}");
}

#[tokio::test]
async fn http2_is_recognised_however_its_preface_is_split() {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    const NO_SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    let world = World::new(|_| Response::new(Body::empty()));
    for cut in [1, 3, 10, 17, 23] {
        let mut stream = TcpStream::connect(world.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (first, rest) = PREFACE.split_at(cut);
        stream.write_all(first).await.unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
        stream.write_all(rest).await.unwrap();
        stream.write_all(&NO_SETTINGS).await.unwrap();
        let mut frame = [0; 9];
        soon(stream.read_exact(&mut frame)).await.unwrap();
        assert_eq!(frame[3], 4, "the server's settings come first: {frame:?}");
    }
}
