//! Connections that close, or speak unasked, while nobody uses them; and callers that leave.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt, stream};
use http_body_util::BodyExt;
use tokio::sync::mpsc;

use super::world::*;
use crate::http::{
    body::Body,
    client::{Error, pool::ROUND},
};

#[tokio::test]
async fn a_connection_that_closed_while_it_was_idle_is_not_used() {
    let world = World::new(|nth, mut peer| async move {
        peer.head().await;
        peer.say(ok(&nth.to_string())).await;
        settle().await;
    })
    .await;
    for nth in 1..=5 {
        assert_eq!(world.get().await, nth.to_string());
        settle().await;
        settle().await;
    }
}

#[tokio::test]
async fn a_request_with_a_body_moves_whole_to_a_connection_that_is_alive() {
    let world = World::new(|_, mut peer| async move {
        peer.head().await;
        let body = peer.exactly(5).await.unwrap();
        peer.say(ok(&String::from_utf8(body).unwrap())).await;
        settle().await;
    })
    .await;
    for _ in 0..3 {
        let sent = world.send("POST", Body::from(bytes("hello"))).await;
        assert_eq!(text(sent.unwrap()).await, "hello");
        settle().await;
        settle().await;
    }
    assert_eq!(world.connections(), 3);
}

#[tokio::test]
async fn many_that_closed_while_they_were_idle_cost_one_request_nothing() {
    let together = Arc::new(tokio::sync::Barrier::new(8));
    let world = World::new(move |nth, mut peer| {
        let together = Arc::clone(&together);
        async move {
            peer.head().await;
            if nth <= 8 {
                together.wait().await;
            }
            peer.say(ok("fine")).await;
            settle().await;
        }
    })
    .await;
    let burst = (0..8).map(|_| world.get());
    drop(futures_util::future::join_all(burst).await);
    settle().await;
    settle().await;
    assert_eq!(world.get().await, "fine");
    assert_eq!(world.connections(), 9);
}

#[tokio::test]
async fn a_request_that_may_have_been_read_is_not_sent_again() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let world = World::new(move |_, mut peer| {
        let tell = tell.clone();
        async move {
            peer.head().await;
            peer.say(ok("first")).await;
            if let Some(head) = peer.head().await {
                tell.send(head).unwrap();
            }
        }
    })
    .await;
    assert_eq!(world.get().await, "first");
    let error = world.send("GET", Body::empty()).await.unwrap_err();
    assert!(matches!(error, Error::Broken(_)), "{error:?}");
    assert!(told.recv().await.is_some());
    assert!(told.try_recv().is_err(), "it was sent twice");
    assert_eq!(world.connections(), 1);
}

#[tokio::test]
async fn an_answer_that_nobody_asked_for_is_given_to_nobody() {
    let world = World::new(|nth, mut peer| async move {
        peer.head().await;
        peer.say(ok("asked")).await;
        if nth == 1 {
            settle().await;
            peer.say(ok("evil")).await;
        }
        peer.closed().await;
    })
    .await;
    assert_eq!(world.get().await, "asked");
    settle().await;
    settle().await;
    assert_eq!(world.get().await, "asked");
    assert_eq!(world.connections(), 2);
}

#[tokio::test]
async fn what_follows_an_answer_is_no_answer() {
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nasked",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nasked\r\n0\r\n\r\n",
    ] {
        let world = World::new(move |nth, mut peer| async move {
            peer.head().await;
            let evil = if nth == 1 { ok("evil") } else { String::new() };
            peer.say(format!("{answer}{evil}")).await;
            peer.closed().await;
        })
        .await;
        assert_eq!(world.get().await, "asked");
        assert_eq!(world.get().await, "asked");
        assert_eq!(world.connections(), 2, "{answer}");
    }
}

#[tokio::test]
async fn a_single_byte_too_many_ends_the_connection() {
    let world = World::new(|_, mut peer| async move {
        while peer.head().await.is_some() {
            peer.say(ok("fine") + "\n").await;
        }
    })
    .await;
    for nth in 1..=2 {
        assert_eq!(world.get().await, "fine");
        assert_eq!(world.connections(), nth);
    }
}

/// A provider that tells when the client closes a connection, and does `say` before.
async fn closes(say: &'static str) -> (World, mpsc::UnboundedReceiver<()>) {
    let (tell, told) = mpsc::unbounded_channel();
    let world = World::new(move |nth, mut peer| {
        let tell = tell.clone();
        async move {
            peer.head().await;
            if nth == 1 {
                peer.say(say).await;
                peer.closed().await;
                tell.send(()).unwrap();
            } else {
                peer.say(ok("fine")).await;
                peer.closed().await;
            }
        }
    })
    .await;
    (world, told)
}

#[tokio::test]
async fn a_caller_that_leaves_before_the_answer_takes_the_connection_along() {
    let (world, mut closed) = closes("").await;
    let call = world.call("GET", Body::empty());
    assert!(
        tokio::time::timeout(Duration::from_millis(50), call)
            .await
            .is_err()
    );
    soon(closed.recv()).await.unwrap();
    assert_eq!(world.get().await, "fine");
    assert_eq!(world.connections(), 2);
}

#[tokio::test]
async fn a_caller_that_leaves_in_its_upload_takes_the_connection_along() {
    let (world, mut closed) = closes("").await;
    let body = body_of(stream::iter([bytes("half")]).chain(stream::pending()));
    let call = world.call("POST", body);
    assert!(
        tokio::time::timeout(Duration::from_millis(50), call)
            .await
            .is_err()
    );
    soon(closed.recv()).await.unwrap();
    assert_eq!(world.get().await, "fine");
    assert_eq!(world.connections(), 2);
}

#[tokio::test]
async fn a_caller_that_leaves_in_the_answer_takes_the_connection_along() {
    let begins = "HTTP/1.1 200 OK\r\ncontent-length: 90\r\n\r\nhalf";
    let (world, mut closed) = closes(begins).await;
    let response = world.send("GET", Body::empty()).await.unwrap();
    let mut body = response.into_body();
    let first = soon(body.frame()).await.unwrap().unwrap();
    assert_eq!(first.into_data().unwrap(), "half");
    assert!(closed.try_recv().is_err());
    drop(body);
    soon(closed.recv()).await.unwrap();
    assert_eq!(world.get().await, "fine");
    assert_eq!(world.connections(), 2);
}

#[tokio::test]
async fn a_caller_that_does_not_want_a_whole_body_leaves_a_clean_connection() {
    let world = World::new(|_, mut peer| async move {
        while peer.head().await.is_some() {
            peer.say(ok("whole")).await;
        }
    })
    .await;
    for _ in 0..3 {
        drop(world.send("GET", Body::empty()).await.unwrap());
    }
    assert_eq!(world.get().await, "whole");
    assert_eq!(world.connections(), 1);
}

#[tokio::test]
async fn an_upload_that_breaks_off_breaks_the_connection_and_no_other() {
    let world = World::new(|_, mut peer| async move {
        while let Some(head) = peer.head().await {
            if head.starts_with("GET") {
                peer.say(ok("fine")).await;
            }
        }
    })
    .await;
    let gone = stream::iter([Ok(http_body::Frame::data(bytes("a"))), Err("gone".into())]);
    let body = Body::boxed(http_body_util::StreamBody::new(
        gone.map(|frame: Result<_, tower::BoxError>| frame),
    ));
    let error = world.send("POST", body).await.unwrap_err();
    assert!(matches!(error, Error::Broken(_)), "{error:?}");
    assert_eq!(world.get().await, "fine");
    assert_eq!(world.connections(), 2);
}

/// Lets the time of one look at the idle connections pass, and the look happen.
async fn a_round() {
    tokio::time::advance(ROUND + Duration::from_millis(2)).await;
    for _ in 0..9 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn an_idle_connection_is_closed_in_time() {
    let (tell, mut closed) = mpsc::unbounded_channel();
    let world = World::new(move |_, mut peer| {
        let tell = tell.clone();
        async move {
            while peer.head().await.is_some() {
                peer.say(ok("fine")).await;
            }
            tell.send(()).unwrap();
        }
    })
    .await;
    assert_eq!(world.get().await, "fine");
    settle().await;
    tokio::time::pause();
    for _ in 0..12 {
        a_round().await;
    }
    assert!(closed.try_recv().is_err(), "too early");
    a_round().await;
    tokio::time::resume();
    soon(closed.recv()).await.unwrap();
    assert_eq!(world.get().await, "fine");
    assert_eq!(world.connections(), 2);
}

#[tokio::test]
async fn a_connection_that_speaks_while_it_is_idle_is_closed_before_anybody_asks() {
    let (tell, mut closed) = mpsc::unbounded_channel();
    let world = World::new(move |_, mut peer| {
        let tell = tell.clone();
        async move {
            peer.head().await;
            peer.say(ok("fine")).await;
            settle().await;
            peer.say("x").await;
            peer.closed().await;
            tell.send(()).unwrap();
        }
    })
    .await;
    assert_eq!(world.get().await, "fine");
    settle().await;
    settle().await;
    tokio::time::pause();
    a_round().await;
    tokio::time::resume();
    soon(closed.recv()).await.unwrap();
}

#[tokio::test]
async fn idle_connections_end_with_the_client() {
    let (tell, mut closed) = mpsc::unbounded_channel();
    let World { client, .. } = {
        let world = World::new(move |_, mut peer| {
            let tell = tell.clone();
            async move {
                peer.head().await;
                peer.say(ok("fine")).await;
                peer.closed().await;
                tell.send(()).unwrap();
            }
        })
        .await;
        assert_eq!(world.get().await, "fine");
        world
    };
    settle().await;
    assert!(closed.try_recv().is_err());
    drop(client);
    soon(closed.recv()).await.unwrap();
}
