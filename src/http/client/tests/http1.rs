//! What is sent and read on one connection, and when it is used again.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use futures_util::stream;
use http_body_util::BodyExt;
use tokio::sync::Semaphore;

use super::world::*;
use crate::http::{
    body::Body,
    client::{Error, NoAddress},
};

/// Answers every request with `answer`, on every connection.
async fn always(answer: &'static str) -> World {
    World::new(move |_, mut peer| async move {
        while peer.head().await.is_some() {
            peer.say(answer).await;
        }
    })
    .await
}

#[tokio::test]
async fn one_connection_serves_one_request_after_another() {
    let world = World::new(|_, mut peer| async move {
        while let Some(head) = peer.head().await {
            peer.say(ok(&head)).await;
        }
    })
    .await;
    let sent = format!("GET /x?y HTTP/1.1\r\nhost: {}\r\n\r\n", world.address);
    for _ in 0..5 {
        assert_eq!(world.get().await, sent);
    }
    assert_eq!(world.connections(), 1);
}

#[tokio::test]
async fn the_connection_that_was_used_last_is_used_next() {
    let together = Arc::new(Semaphore::new(0));
    let gate = Arc::clone(&together);
    let world = World::new(move |nth, mut peer| {
        let gate = Arc::clone(&gate);
        async move {
            while peer.head().await.is_some() {
                gate.acquire().await.unwrap().forget();
                peer.say(ok(&nth.to_string())).await;
            }
        }
    })
    .await;
    let open = || async {
        together.add_permits(3);
        tokio::join!(world.get(), world.get(), world.get())
    };
    drop(open().await);
    assert_eq!(world.connections(), 3);
    together.add_permits(9);
    let used = world.get().await;
    for _ in 0..3 {
        assert_eq!(world.get().await, used);
    }
    assert_eq!(world.connections(), 3);
}

#[tokio::test]
async fn news_before_the_answer_are_not_the_answer() {
    let world = always(
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n\
         HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n\
         HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
    )
    .await;
    for _ in 0..3 {
        assert_eq!(world.get().await, "ok");
    }
    assert_eq!(world.connections(), 1);
}

#[tokio::test]
async fn answers_without_a_body_leave_the_connection_usable() {
    for (method, answer) in [
        ("HEAD", "HTTP/1.1 200 OK\r\ncontent-length: 5000\r\n\r\n"),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n"),
        (
            "GET",
            "HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n",
        ),
        ("GET", "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"),
    ] {
        let world = always(answer).await;
        for _ in 0..3 {
            let response = world.send(method, Body::empty()).await.unwrap();
            assert_eq!(text(response).await, "");
        }
        assert_eq!(world.connections(), 1, "{answer}");
    }
}

#[tokio::test]
async fn a_body_that_comes_in_pieces_is_whole_and_its_connection_is_used_again() {
    let world = World::new(|_, mut peer| async move {
        while peer.head().await.is_some() {
            peer.say("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
                .await;
            for _ in 0..20 {
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
                peer.say("5\r\nhello\r\n").await;
            }
            peer.say("0\r\nx-sum: 7\r\n\r\n").await;
        }
    })
    .await;
    for _ in 0..3 {
        let response = world.send("GET", Body::empty()).await.unwrap();
        let body = soon(response.into_body().collect()).await.unwrap();
        assert_eq!(body.trailers().unwrap()["x-sum"], "7");
        assert_eq!(body.to_bytes(), "hello".repeat(20));
    }
    assert_eq!(world.connections(), 1);
}

#[tokio::test]
async fn a_body_that_lasts_until_the_connection_closes_is_whole() {
    let world = World::new(|_, mut peer| async move {
        peer.head().await;
        peer.say("HTTP/1.1 200 OK\r\n\r\nhel").await;
        settle().await;
        peer.say("lo").await;
    })
    .await;
    for nth in 1..=3 {
        assert_eq!(world.get().await, "hello");
        assert_eq!(world.connections(), nth);
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_is_an_error() {
    let world = World::new(|_, mut peer| async move {
        peer.head().await;
        peer.say("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhel")
            .await;
        settle().await;
    })
    .await;
    let response = world.send("GET", Body::empty()).await.unwrap();
    soon(response.into_body().collect()).await.unwrap_err();
}

#[tokio::test]
async fn an_answer_that_is_not_http_is_an_error_and_the_connection_is_not_used_again() {
    let world = World::new(|nth, mut peer| async move {
        while peer.head().await.is_some() {
            let answer = ok("fine");
            peer.say(if nth == 1 {
                "220 mail\r\n\r\n"
            } else {
                &answer
            })
            .await;
        }
    })
    .await;
    let error = world.send("GET", Body::empty()).await.unwrap_err();
    assert!(matches!(error, Error::Broken(_)), "{error:?}");
    assert_eq!(world.get().await, "fine");
    assert_eq!(world.connections(), 2);
}

#[tokio::test]
async fn a_provider_that_wants_to_close_is_let() {
    let world = always("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok").await;
    for nth in 1..=3 {
        assert_eq!(world.get().await, "ok");
        assert_eq!(world.connections(), nth);
    }
}

#[tokio::test]
async fn uploads_arrive_whole_and_their_connection_is_used_again() {
    let world = World::new(|_, mut peer| async move {
        while peer.head().await.is_some() {
            let body = peer.until("\r\n0\r\n\r\n").await.unwrap();
            peer.say(ok(&body.len().to_string())).await;
        }
    })
    .await;
    for _ in 0..3 {
        let piece = bytes::Bytes::from(vec![b'x'; 0x1_0000]);
        let body = body_of(stream::iter(vec![piece; 16]));
        let response = world.send("POST", body).await.unwrap();
        let length: usize = text(response).await.parse().unwrap();
        assert!(length > 1 << 20, "{length}");
    }
    assert_eq!(world.connections(), 1);
}

#[tokio::test]
async fn whoever_cannot_be_reached_was_not_sent_the_request() {
    let world = always("").await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = taken.local_addr().unwrap();
    drop(taken);
    let address = format!("http://{nobody}/");
    let mut client = world.client.clone();
    let call = tower::Service::call(&mut client, request("GET", &address, Body::empty()));
    let error = soon(call).await.unwrap_err();
    assert!(matches!(error, Error::Unreachable(_)), "{error:?}");
    let call = tower::Service::call(&mut client, request("GET", "/x", Body::empty()));
    let error = soon(call).await.unwrap_err();
    assert!(
        matches!(&error, Error::Unreachable(cause) if cause.is::<NoAddress>()),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_reader_that_pauses_loses_nothing() {
    let sent = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&sent);
    let world = World::new(move |_, mut peer| {
        let count = Arc::clone(&count);
        async move {
            while peer.head().await.is_some() {
                let piece = vec![b'x'; 1 << 16];
                peer.say(format!(
                    "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n",
                    64 << 16
                ))
                .await;
                for _ in 0..64 {
                    peer.say(&piece).await;
                    count.fetch_add(1, Ordering::SeqCst);
                }
            }
        }
    })
    .await;
    for _ in 0..2 {
        let response = world.send("GET", Body::empty()).await.unwrap();
        let mut body = response.into_body();
        let mut length = 0;
        while let Some(frame) = soon(body.frame()).await {
            length += frame.unwrap().data_ref().map_or(0, bytes::Bytes::len);
            tokio::task::yield_now().await;
        }
        assert_eq!(length, 64 << 16);
    }
    assert_eq!(world.connections(), 1);
}
