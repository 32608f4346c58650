//! Callers that are slow on purpose: each holds a connection for as long as it is let, and no longer.

use std::time::Duration;

use http::Response;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, sleep, timeout},
};

use super::world::*;
use crate::http::{
    body::Body,
    guard::{FIRST_BYTE, HEAD},
};

/// A caller of HTTP/2 that does not answer when it is asked whether it lives.
const DEAF: Duration = Duration::from_secs(45);
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
/// The head of a request, `:method: GET`, without the flag that says that it is whole.
const HALF_A_HEAD: [u8; 10] = [0, 0, 1, 1, 0, 0, 0, 0, 1, 0x82];

/// How long a caller is let that says `begins` and then, every few seconds, one byte more of `drips`.
async fn is_let(begins: &[u8], drips: &[u8]) -> Duration {
    let world = World::new(|_| Response::new(Body::empty()));
    let stream = TcpStream::connect(world.address).await.unwrap();
    let (mut from, mut to) = stream.into_split();
    to.write_all(begins).await.unwrap();
    let begun = Instant::now();
    let dripping = async {
        for byte in drips {
            sleep(Duration::from_secs(4)).await;
            // Which may be after it was closed.
            drop(to.write_all(&[*byte]).await);
        }
        std::future::pending::<()>().await;
    };
    let mut got = Vec::new();
    tokio::select! {
        read = timeout(5 * DEAF, from.read_to_end(&mut got)) => drop(read.expect("it is closed")),
        () = dripping => {}
    }
    assert!(world.seen().is_empty());
    Instant::now().saturating_duration_since(begun)
}

#[tokio::test(start_paused = true)]
async fn a_slow_caller_is_closed_whatever_it_is_slow_with() {
    let head: &[u8] = b"GET /calendly/x HTTP/1.1\r\nx-user-id: u_1\r\n";
    let half_a_head = [PREFACE, &SETTINGS, &HALF_A_HEAD].concat();
    let cases: [(&str, &[u8], &[u8], Duration); 8] = [
        ("silent", b"", b"", FIRST_BYTE),
        ("half a request line", b"GET /cal", b"", HEAD),
        ("half a head", head, b"", HEAD),
        ("a head by the byte", head, b"x-more: 1", HEAD),
        ("half a preface", &PREFACE[..9], b"", HEAD),
        ("a preface by the byte", &PREFACE[..9], &PREFACE[9..], HEAD),
        ("nothing after the preface", PREFACE, b"", DEAF),
        ("half a head of HTTP/2", &half_a_head, b"", DEAF),
    ];
    for (what, begins, drips, limit) in cases {
        let let_for = is_let(begins, drips).await;
        let late = let_for.saturating_sub(limit);
        assert!(
            let_for >= limit && late < Duration::from_secs(1),
            "{what}: {let_for:?} instead of {limit:?}"
        );
    }
}
