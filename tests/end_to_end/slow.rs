//! Callers that send a head by the byte, at the listeners that others can reach.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, sleep, timeout},
};

use crate::world::World;

/// How long a head may take, and how late a busy machine may be with that.
const HEAD: Duration = Duration::from_secs(15);
const LATE: Duration = Duration::from_secs(15);

/// How long a caller at `address` is let that says `begins`, and then a byte of `drips` each second.
async fn is_let(address: &str, begins: &[u8], drips: &[u8]) -> Duration {
    let address = address.trim_start_matches("http://");
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut from, mut to) = stream.into_split();
    to.write_all(begins).await.unwrap();
    let begun = Instant::now();
    let dripping = async {
        for byte in drips {
            sleep(Duration::from_secs(1)).await;
            // Which may be after it was closed.
            drop(to.write_all(&[*byte]).await);
        }
    };
    let mut got = Vec::new();
    let reading = timeout(HEAD + LATE, from.read_to_end(&mut got));
    let (_dripped, read) = tokio::join!(dripping, async {
        let closed = reading.await;
        assert!(closed.is_ok(), "it is not closed");
        begun.elapsed()
    });
    read
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_sends_a_head_by_the_byte_is_closed_at_every_listener() {
    let world = World::open().await;
    let sidecar = world.sidecar().await;
    let slow: [(&[u8], &[u8]); 3] = [
        (b"GET /calendly/users/me HTTP/1.1\r\n", b"x-user-id: anna"),
        (b"POST /webhooks/calendly HTTP/1.1\r\n", b""),
        (b"PRI * HTT", b"P/2.0\r\n\r\nSM\r"),
    ];
    let listeners = [&sidecar.outbound, &sidecar.ingress, &sidecar.admin];
    let callers = listeners
        .iter()
        .flat_map(|address| slow.map(|(begins, drips)| is_let(address, begins, drips)));
    for let_for in join_all(callers).await {
        assert!(
            let_for >= HEAD.saturating_sub(Duration::from_secs(1)),
            "{let_for:?}"
        );
    }
    sidecar.admin("/livez").await.must_be(200);
}
