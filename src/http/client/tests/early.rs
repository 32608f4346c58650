//! Answers that come before the request has been sent whole.

use std::{
    io::{Read as _, Write as _},
    pin::Pin,
    sync::mpsc,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http_body::Frame;
use tokio::sync::mpsc::unbounded_channel;
use tower::BoxError;

use super::world::*;
use crate::http::{body::Body, client::Error};

#[tokio::test]
async fn an_answer_is_passed_on_while_the_upload_goes_on() {
    let world = World::new(|_, mut peer| async move {
        while let Some(head) = peer.head().await {
            peer.say(ok("early")).await;
            if head.starts_with("POST") {
                peer.until("0\r\n\r\n").await;
            }
        }
    })
    .await;
    let (more, upload) = unbounded_channel::<Bytes>();
    let upload = stream::unfold(upload, async |mut upload| {
        Some((upload.recv().await?, upload))
    });
    more.send(bytes("some")).unwrap();
    let response = world.send("POST", body_of(upload)).await.unwrap();
    assert_eq!(text(response).await, "early");
    // The connection is not free before all is sent.
    assert_eq!(world.get().await, "early");
    assert_eq!(world.connections(), 2);
    more.send(bytes("rest")).unwrap();
    drop(more);
    settle().await;
    let both = tokio::join!(world.get(), world.get());
    assert_eq!(both, ("early".to_owned(), "early".to_owned()));
    assert_eq!(world.connections(), 2, "both connections are used again");
}

#[tokio::test]
async fn an_upload_that_is_given_up_after_the_answer_ends_its_connection() {
    let (tell, mut closed) = unbounded_channel();
    let world = World::new(move |nth, mut peer| {
        let tell = tell.clone();
        async move {
            while peer.head().await.is_some() {
                peer.say(ok("early")).await;
                if nth == 1 {
                    peer.closed().await;
                    tell.send(()).unwrap();
                }
            }
        }
    })
    .await;
    let (more, upload) = tokio::sync::oneshot::channel::<()>();
    let gone = stream::once(async {
        drop(upload.await);
        Err::<Frame<Bytes>, BoxError>("gone".into())
    });
    let first = stream::iter([Ok(Frame::data(bytes("some")))]);
    let body = Body::boxed(http_body_util::StreamBody::new(first.chain(gone).boxed()));
    let response = world.send("POST", body).await.unwrap();
    assert_eq!(text(response).await, "early");
    assert!(closed.try_recv().is_err());
    drop(more);
    soon(closed.recv()).await.unwrap();
    assert_eq!(world.get().await, "early");
    assert_eq!(world.connections(), 2);
}

#[tokio::test]
async fn an_upload_moves_although_nobody_reads_the_answer() {
    const LONG: usize = 32 << 20;
    let (tell, mut told) = unbounded_channel();
    let world = World::new(move |_, mut peer| {
        let tell = tell.clone();
        async move {
            peer.head().await;
            peer.say("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nnot ")
                .await;
            peer.exactly(LONG).await.unwrap();
            tell.send(()).unwrap();
            peer.say("whole").await;
            peer.closed().await;
        }
    })
    .await;
    let piece = Bytes::from(vec![b'x'; 1 << 16]);
    let upload = stream::iter(vec![piece; LONG >> 16]).then(async |piece| {
        tokio::task::yield_now().await;
        piece
    });
    let response = world.send("POST", body_of(upload.boxed())).await.unwrap();
    soon(told.recv()).await.unwrap();
    assert_eq!(text(response).await, "not whole");
}

/// Each piece is handed to the client in the midst of a poll, when it cannot look at the socket.
struct Upload {
    state: usize,
    refused: mpsc::Receiver<()>,
    go_on: mpsc::Sender<()>,
}

impl http_body::Body for Upload {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.state += 1;
        match self.state {
            2 => {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            3 => {
                self.go_on.send(()).unwrap();
                self.refused.recv().unwrap();
            }
            _ => {}
        }
        Poll::Ready(Some(Ok(Frame::data(Bytes::from(vec![b'x'; 1 << 16])))))
    }
}

/// A provider that says `answer` in the midst of an upload, and resets the connection.
fn resetting(answer: &'static str) -> (std::net::SocketAddr, Upload) {
    let (tell, refused) = mpsc::channel();
    let (go_on, go) = mpsc::channel();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(crate::base::lifecycle::Lifecycle::spawn_thread(
        "provider",
        move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut head = [0; 100];
            assert!(stream.read(&mut head).unwrap() > 0);
            go.recv().unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
            // What was not read makes it a reset.
            drop(stream);
            tell.send(()).unwrap();
            // Whoever asks again finds nobody.
        },
    ));
    let upload = Upload {
        state: 0,
        refused,
        go_on,
    };
    (address, upload)
}

async fn uploaded(answer: &'static str) -> Result<http::Response<Body>, Error> {
    let world = World::new(|_, _| async {}).await;
    let (address, upload) = resetting(answer);
    let sent = request("POST", &format!("http://{address}/"), Body::boxed(upload));
    soon(tower::Service::call(&mut world.client.clone(), sent)).await
}

#[tokio::test]
async fn a_refusal_is_read_although_the_provider_reset_the_connection() {
    let refusal = "HTTP/1.1 401 Unauthorized\r\ncontent-length: 7\r\n\r\nexpired";
    let response = uploaded(refusal).await.unwrap();
    assert_eq!(response.status(), 401);
    assert_eq!(text(response).await, "expired");
}

#[tokio::test]
async fn half_a_refusal_is_not_taken_for_a_whole_one() {
    let half = "HTTP/1.1 401 Unauthorized\r\ncontent-length: 70\r\n\r\nexpired";
    let response = uploaded(half).await.unwrap();
    assert_eq!(response.status(), 401);
    let body = http_body_util::BodyExt::collect(response.into_body());
    soon(body).await.unwrap_err();
    let endless = "HTTP/1.1 401 Unauthorized\r\n\r\nexpired";
    let response = uploaded(endless).await.unwrap();
    let body = http_body_util::BodyExt::collect(response.into_body());
    soon(body).await.unwrap_err();
}

#[tokio::test]
async fn a_reset_without_an_answer_is_a_broken_connection() {
    for answer in ["", "HTTP/1.1 401 Un"] {
        let error = uploaded(answer).await.unwrap_err();
        assert!(matches!(error, Error::Broken(_)), "{error:?}");
    }
}
