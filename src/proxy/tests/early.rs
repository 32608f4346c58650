//! A provider that refuses before it has read a body, and resets the connection at once.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::world::*;
use crate::base::lifecycle::Lifecycle;

/// Whether the client is still sending when the reset arrives is a matter of luck.
const TIMES: usize = 20;

/// Refuses the old token when the head has come, and closes with the body unread, which makes it a
/// reset. With the new one it reads all, and says how much that was.
async fn refuse_early(mut stream: TcpStream) {
    let mut read = Vec::new();
    let end = loop {
        if let Some(at) = memchr::memmem::find(&read, b"\r\n\r\n") {
            break at + 4;
        }
        if !matches!(stream.read_buf(&mut read).await, Ok(1..)) {
            return;
        }
    };
    let head = String::from_utf8_lossy(&read[..end]).to_ascii_lowercase();
    if !head.contains(NEW) {
        let refusal = "HTTP/1.1 401 Unauthorized\r\ncontent-length: 7\r\n\r\nexpired";
        return drop(stream.write_all(refusal.as_bytes()).await);
    }
    let length = header(&head, "content-length").unwrap();
    let length: usize = length.parse().unwrap();
    while read.len() < end + length {
        if !matches!(stream.read_buf(&mut read).await, Ok(1..)) {
            return;
        }
    }
    let body = length.to_string();
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    drop(stream.write_all(answer.as_bytes()).await);
}

/// A proxy before such a provider, which keeps bodies of up to 1 MiB.
async fn world() -> World {
    let lifecycle = Lifecycle::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = listener.local_addr().unwrap();
    let tasks = lifecycle.clone();
    lifecycle.spawn_until_drain(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tasks.spawn_unwatched(refuse_early(stream));
        }
    });
    let mut config = config();
    config.replay_body_bytes = 1 << 20;
    World::before(
        config,
        lifecycle,
        scripted(upstream),
        std::sync::Arc::default(),
        upstream,
    )
}

/// Reads while it sends, as a caller must who wants to see an early answer.
async fn upload(world: &World, length: usize) -> String {
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    let (mut from, mut to) = stream.split();
    let head = format!(
        "POST /calendly/x HTTP/1.1\r\nhost: {}\r\nx-user-id: u_1\r\nconnection: close\r\n\
         content-length: {length}\r\n\r\n",
        world.address
    );
    let sending = async {
        to.write_all(head.as_bytes()).await?;
        to.write_all(&vec![b'x'; length]).await
    };
    let mut got = Vec::new();
    let reading = tokio::time::timeout(
        std::time::Duration::from_secs(20),
        from.read_to_end(&mut got),
    );
    // Either may end with a reset; what counts is what was read before.
    let (_sent, read) = tokio::join!(sending, reading);
    drop(read.expect("the connection is closed"));
    String::from_utf8_lossy(&got).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_was_kept_is_replayed_although_the_provider_reset_the_connection() {
    const LENGTH: usize = 1 << 20;
    for _ in 0..TIMES {
        let world = world().await;
        let got = upload(&world, LENGTH).await;
        assert_eq!(status(&got), 200, "{got}");
        assert_eq!(body(&got), LENGTH.to_string());
        assert_eq!(world.renewals(), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_of_a_body_too_long_to_keep_is_seen_although_the_provider_reset_the_connection() {
    for _ in 0..TIMES {
        let world = world().await;
        let got = upload(&world, 16 << 20).await;
        assert_eq!((status(&got), body(&got)), (401, "expired"), "{got}");
        let note = header(&got, "proxy-status").unwrap();
        assert!(note.contains("too long to keep"), "{note}");
        assert_eq!(world.renewals(), 1);
    }
}
