//! Any valid sequence of requests passes however it is split; each bad shape is refused likewise.

use bytes::Bytes;
use http::Response;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::{scan::Violation, *};

/// Feeds `bytes` in pieces that end at `cuts`.
fn scan(bytes: &[u8], cuts: &[usize]) -> Result<Scan, (usize, Violation)> {
    let mut scan = Scan::new();
    let mut from = 0;
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
    ends.push(bytes.len());
    ends.sort_unstable();
    for end in ends {
        scan.advance(&bytes[from..end])
            .map_err(|(at, violation)| (from + at, violation))?;
        from = end;
    }
    Ok(scan)
}

fn request() -> impl Strategy<Value = Vec<u8>> {
    let body = prop::collection::vec(any::<u8>(), 0..40);
    let headers = prop::collection::vec("[a-zA-Z][a-z-]{0,12}x: ?[ -~]{0,20}", 0..4);
    (0..4, body, headers, 1_usize..9).prop_map(|(kind, body, headers, chunk)| {
        let mut text = Vec::new();
        text.extend_from_slice(b"POST /a?b HTTP/1.1\r\nHost: h\r\n");
        for header in headers {
            text.extend_from_slice(header.as_bytes());
            text.extend_from_slice(b"\r\n");
        }
        match kind {
            0 => text.extend_from_slice(b"\r\n"),
            1 => {
                text.extend_from_slice(
                    format!("content-LENGTH:  {} \r\n\r\n", body.len()).as_bytes(),
                );
                text.extend_from_slice(&body);
            }
            _ => {
                text.extend_from_slice(b"Transfer-Encoding: Chunked\r\n\r\n");
                for piece in body.chunks(chunk) {
                    text.extend_from_slice(format!("{:X};e=\"v\"\r\n", piece.len()).as_bytes());
                    text.extend_from_slice(piece);
                    text.extend_from_slice(b"\r\n");
                }
                text.extend_from_slice(if kind == 2 {
                    b"0\r\n\r\n"
                } else {
                    b"00\r\nx-sum: 1\r\n\r\n"
                });
            }
        }
        text
    })
}

const BAD: [(&[u8], Violation); 26] = [
    (b"GET / HTTP/1.1\nhost: h\r\n\r\n", Violation::BareLf),
    (b"GET / HTTP/1.1\r\nhost: h\n\r\n", Violation::BareLf),
    (b"GET / HTTP/1.1\r\nhost: h\r\n\n", Violation::BareLf),
    (
        b"GET / HTTP/1.1\r\na: b\rc: d\r\n\r\n",
        Violation::StrayControl,
    ),
    (b"GET / HTTP/1.1\r\na: b\0\r\n\r\n", Violation::StrayControl),
    (b"GET / HTTP/1.1\r\na: b\r\n c\r\n\r\n", Violation::ObsFold),
    (b"GET / HTTP/1.1\r\na: b\r\n\tc\r\n\r\n", Violation::ObsFold),
    (b"GET / HTTP/1.1\r\n a: b\r\n\r\n", Violation::ObsFold),
    (b"GET / HTTP/1.1\r\na : b\r\n\r\n", Violation::BadName),
    (b"GET / HTTP/1.1\r\n: b\r\n\r\n", Violation::BadName),
    (b"GET / HTTP/1.1\r\nab\r\n\r\n", Violation::BadName),
    (
        b"GET / HTTP/1.1\r\nhost: a\r\nHOST: a\r\n\r\n",
        Violation::Host,
    ),
    (
        b"P / HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 1\r\n\r\nx",
        Violation::ContentLength,
    ),
    (
        b"P / HTTP/1.1\r\ncontent-length: +1\r\n\r\nx",
        Violation::ContentLength,
    ),
    (
        b"P / HTTP/1.1\r\ncontent-length: 1, 1\r\n\r\nx",
        Violation::ContentLength,
    ),
    (
        b"P / HTTP/1.1\r\ncontent-length: 0x1\r\n\r\nx",
        Violation::ContentLength,
    ),
    (
        b"P / HTTP/1.1\r\ncontent-length:\r\n\r\nx",
        Violation::ContentLength,
    ),
    (
        b"P / HTTP/1.1\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
        Violation::BothFramings,
    ),
    (
        b"P / HTTP/1.1\r\ntransfer-encoding: chunked\r\ncontent-length: 1\r\n\r\n",
        Violation::BothFramings,
    ),
    (
        b"P / HTTP/1.1\r\ntransfer-encoding: gzip, chunked\r\n\r\n",
        Violation::TransferEncoding,
    ),
    (
        b"P / HTTP/1.1\r\ntransfer-encoding: xchunked\r\n\r\n",
        Violation::TransferEncoding,
    ),
    (
        b"P / HTTP/1.1\r\ntransfer-encoding: identity\r\n\r\n",
        Violation::TransferEncoding,
    ),
    (
        b"P / HTTP/1.1\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n",
        Violation::TransferEncoding,
    ),
    (
        b"P / HTTP/1.1\r\ntransfer-encoding: \x0bchunked\r\n\r\n",
        Violation::TransferEncoding,
    ),
    (b"PRI * HTTP/2.0\r\nx\r\n\r\n", Violation::StrayControl),
    (b"PRI * HTTP/2.0\n", Violation::BareLf),
];

const CHUNKED: &[u8] = b"P / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n";
const BAD_BODIES: [(&[u8], Violation); 15] = [
    (b"\r\n", Violation::Chunk),
    (b"x\r\n", Violation::Chunk),
    (b"0x1\r\na\r\n", Violation::Chunk),
    (b"+1\r\na\r\n", Violation::Chunk),
    (b" 1\r\na\r\n", Violation::Chunk),
    (b"1 \r\na\r\n", Violation::Chunk),
    (b"1\na\r\n", Violation::BareLf),
    (b"1\r\nab\r\n", Violation::Chunk),
    (b"1\r\na\n0\r\n", Violation::Chunk),
    (b"fffffffffffffffff\r\n", Violation::Chunk),
    (b"1;a=\rb\r\na\r\n", Violation::StrayControl),
    (b"0\r\ncontent-length: 5\r\n\r\n", Violation::Trailer),
    (
        b"0\r\ntransfer-encoding: chunked\r\n\r\n",
        Violation::Trailer,
    ),
    (b"0\r\na: b\n\r\n", Violation::BareLf),
    (b"0\r\na: b\r\n c\r\n\r\n", Violation::ObsFold),
];

proptest! {
    #[test]
    fn valid_requests_pass_however_they_are_split(
        requests in prop::collection::vec(request(), 1..4),
        cuts in prop::collection::vec(any::<usize>(), 0..12),
    ) {
        let bytes = requests.concat();
        let scan = scan(&bytes, &cuts);
        prop_assert!(scan.is_ok(), "{:?}", scan.err());
        prop_assert_eq!(scan.unwrap().within(), Within::Between);
    }

    #[test]
    fn bad_shapes_are_refused_however_they_are_split(
        before in prop::collection::vec(request(), 0..3),
        which in 0..BAD.len(),
        cuts in prop::collection::vec(any::<usize>(), 0..12),
    ) {
        let (shape, violation) = BAD[which];
        let bytes = [before.concat().as_slice(), shape].concat();
        let start = bytes.len() - shape.len();
        let refused = scan(&bytes, &cuts);
        prop_assert!(
            matches!(refused, Err((at, why)) if at >= start && (why == violation || shape.starts_with(b"PRI"))),
            "{:?}", refused
        );
        // Wherever it was noticed, hyper has not seen the end of the head.
        let (at, _) = refused.unwrap_err();
        let passed = &bytes[start..at];
        prop_assert!(!passed.windows(4).any(|end| end == b"\r\n\r\n"), "{}", at);
    }

    #[test]
    fn bad_chunks_are_refused_however_they_are_split(
        which in 0..BAD_BODIES.len(),
        cuts in prop::collection::vec(any::<usize>(), 0..12),
    ) {
        let (body, violation) = BAD_BODIES[which];
        let refused = scan(&[CHUNKED, body].concat(), &cuts);
        prop_assert!(matches!(refused, Err((_, why)) if why == violation), "{:?}", refused);
    }

    #[test]
    fn http2_is_not_looked_at(
        after in prop::collection::vec(any::<u8>(), 0..50),
        cuts in prop::collection::vec(any::<usize>(), 0..6),
    ) {
        let bytes = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(), &after].concat();
        prop_assert_eq!(scan(&bytes, &cuts).unwrap().within(), Within::Http2);
    }

    /// The guard and hyper must agree on where messages begin and end: whatever bytes they get, hyper
    /// never sees a request that the scan did not.
    #[test]
    fn hyper_sees_the_same_messages(
        requests in prop::collection::vec(request(), 1..4),
        cuts in prop::collection::vec(1_usize..60, 0..8),
        flip in prop::option::of((any::<usize>(), any::<u8>())),
    ) {
        let mut bytes = requests.concat();
        if let Some((at, byte)) = flip {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        let heads = heads(&bytes);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (seen, _) = runtime.block_on(serve(&bytes, &cuts));
        prop_assert!(seen <= heads, "hyper saw {seen} requests, the guard {heads}");
        if flip.is_none() {
            prop_assert_eq!(seen, requests.len());
        }
    }
}

/// How many heads the scan takes for complete.
fn heads(bytes: &[u8]) -> usize {
    let mut scan = Scan::new();
    let mut heads = 0;
    for byte in bytes {
        let before = scan.within();
        if scan.advance(&[*byte]).is_err() {
            break;
        }
        let ended = before == Within::Head && *byte == b'\n';
        heads += usize::from(ended && scan.within() != Within::Head);
    }
    heads
}

/// Serves `bytes`, written in pieces, and tells how many requests came of them.
async fn serve(bytes: &[u8], cuts: &[usize]) -> (usize, String) {
    let (mut caller, served) = duplex(1 << 16);
    let seen = Arc::new(Mutex::new(0));
    let count = Arc::clone(&seen);
    let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
        *count.lock() += 1;
        async move {
            drop(request.into_body().collect().await);
            Ok::<_, std::convert::Infallible>(Response::new(Full::new(Bytes::from_static(b"ok"))))
        }
    });
    let io = TokioIo::new(Guard::new(served, Requests::default()));
    let serving = hyper::server::conn::http1::Builder::new().serve_connection(io, service);
    let calling = async {
        let mut rest = bytes;
        for cut in cuts.iter().copied().chain([usize::MAX]) {
            let (piece, after) = rest.split_at(cut.min(rest.len()));
            drop(caller.write_all(piece).await);
            tokio::task::yield_now().await;
            rest = after;
        }
        drop(caller.shutdown().await);
        let mut answer = Vec::new();
        drop(caller.read_to_end(&mut answer).await);
        String::from_utf8_lossy(&answer).into_owned()
    };
    let (_, answer) = tokio::join!(serving, calling);
    let seen = *seen.lock();
    (seen, answer)
}

#[tokio::test]
async fn every_bad_head_is_answered_400() {
    for (shape, violation) in BAD {
        for cuts in [&[][..], &[5], &[24, 3]] {
            let (seen, answer) = serve(shape, cuts).await;
            assert_eq!(seen, 0, "{violation}");
            assert!(answer.starts_with("HTTP/1.1 400"), "{violation}: {answer}");
            assert!(answer.contains("connection: close"), "{answer}");
        }
    }
}

#[tokio::test]
async fn what_follows_a_bad_request_is_never_served() {
    let next = b"GET /smuggled HTTP/1.1\r\nhost: h\r\n\r\n";
    for (shape, violation) in BAD {
        let (seen, _) = serve(&[shape, next.as_slice()].concat(), &[]).await;
        assert_eq!(seen, 0, "{violation}");
    }
    for (body, violation) in BAD_BODIES {
        let (seen, _) = serve(&[CHUNKED, body, next.as_slice()].concat(), &[]).await;
        assert!(seen <= 1, "{violation}");
    }
}

async fn closed_after(guard: &mut Guard<DuplexStream>) -> Duration {
    let begun = Instant::now();
    let mut buffer = Vec::new();
    guard.read_to_end(&mut buffer).await.unwrap();
    Instant::now().saturating_duration_since(begun)
}

#[tokio::test(start_paused = true)]
async fn a_silent_connection_is_closed() {
    let (_caller, served) = duplex(64);
    let mut guard = Guard::new(served, Requests::default());
    assert_eq!(closed_after(&mut guard).await, FIRST_BYTE);
}

#[tokio::test(start_paused = true)]
async fn half_a_head_is_not_waited_for() {
    let (mut caller, served) = duplex(64);
    let mut guard = Guard::new(served, Requests::default());
    caller.write_all(b"GET / HT").await.unwrap();
    assert_eq!(closed_after(&mut guard).await, HEAD);
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_kept_for_a_while() {
    let (mut caller, served) = duplex(64);
    let mut guard = Guard::new(served, Requests::default());
    caller.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let idle = closed_after(&mut guard).await;
    assert!(idle >= IDLE && idle <= 2 * IDLE, "{idle:?}");
}

#[tokio::test(start_paused = true)]
async fn a_request_under_way_keeps_its_connection() {
    let (mut caller, served) = duplex(64);
    let requests = Requests::default();
    let underway = requests.begin();
    let mut guard = Guard::new(served, requests);
    caller.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let waited = tokio::time::timeout(10 * IDLE, closed_after(&mut guard)).await;
    assert!(waited.is_err());
    drop(underway);
    assert!(closed_after(&mut guard).await <= 2 * IDLE);
}

#[tokio::test(start_paused = true)]
async fn a_timer_that_was_asked_without_budget_is_asked_again() {
    use std::{future::poll_fn, task::Poll};

    let (mut caller, served) = duplex(64);
    let mut guard = Guard::new(served, Requests::default());
    caller.write_all(b"GET / HT").await.unwrap();
    guard.read_exact(&mut [0; 8]).await.unwrap();
    poll_fn(|cx| {
        while has_budget_remaining() {
            let _either = std::pin::pin!(tokio::task::coop::consume_budget()).poll(cx);
        }
        assert!(guard.0.lock().poll_late(cx).is_pending());
        Poll::Ready(())
    })
    .await;
    assert_eq!(closed_after(&mut guard).await, HEAD);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_another_task_took_over_is_still_closed() {
    let (_caller, served) = duplex(64);
    let mut guard = Guard::new(served, Requests::default());
    let first = tokio::time::timeout(FIRST_BYTE / 2, closed_after(&mut guard)).await;
    assert!(first.is_err());
    #[expect(clippy::disallowed_methods, reason = "a task besides this one")]
    let rest = tokio::spawn(async move { closed_after(&mut guard).await });
    assert_eq!(rest.await.unwrap(), FIRST_BYTE / 2);
}
