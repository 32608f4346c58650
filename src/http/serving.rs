//! One caller's connection, as long as the caller is there.
//!
//! Of a connection [at rest](Guard::is_at_rest) only the socket and its guard are kept: hyper's buffers
//! take ten times as much, whether anybody speaks or not. When the caller asks again, it is served anew.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;
use thiserror::Error;
use tokio::io::AsyncRead;
use tower::BoxError;

use super::guard::{Guard, Requests};

pin_project! {
    /// See the [module docs](self).
    pub(super) struct Serving<T, A: Again> {
        // `None` while it is at rest.
        connection: Option<Pin<Box<A::Connection>>>,
        again: A,
        guard: Guard<T>,
        requests: Requests,
        // Whether it ends as soon as it is at rest.
        is_last: bool,
    }
}

/// Serves a connection again, whose caller has asked after a rest.
pub(super) trait Again {
    /// What hyper has of a connection.
    type Connection: Future<Output = Result<(), BoxError>>;

    /// Begins with the next request.
    fn again(&self) -> Pin<Box<Self::Connection>>;
}

/// The caller has left before its request was answered.
#[derive(Debug, Error)]
#[error("the caller has left")]
struct Left(());

// === impl Serving ===

impl<T, A: Again> Serving<T, A> {
    /// Serves by `connection`, and by one that `again` makes whenever its caller wakes it.
    pub(super) const fn new(
        connection: Pin<Box<A::Connection>>,
        again: A,
        guard: Guard<T>,
        requests: Requests,
    ) -> Self {
        Self {
            connection: Some(connection),
            again,
            guard,
            requests,
            is_last: false,
        }
    }

    /// Sees to it that it ends as soon as it is at rest. What is to be told to end, if it is not.
    pub(super) fn end(self: Pin<&mut Self>) -> Option<&mut Pin<Box<A::Connection>>> {
        let this = self.project();
        *this.is_last = true;
        this.connection.as_mut()
    }
}

impl<T: AsyncRead + Unpin, A: Again> Future for Serving<T, A> {
    type Output = Result<(), BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        loop {
            if let Some(connection) = this.connection {
                if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
                    return Poll::Ready(ended);
                }
                if !this.requests.none() {
                    ready!(this.guard.poll_left(cx));
                    return Poll::Ready(Err(Left(()).into()));
                }
                if !this.guard.is_at_rest() {
                    return Poll::Pending;
                }
                *this.connection = None;
            }
            if *this.is_last || !ready!(this.guard.poll_woken(cx)) {
                return Poll::Ready(Ok(()));
            }
            *this.connection = Some(this.again.again());
        }
    }
}

impl<T, A: Again> fmt::Debug for Serving<T, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_at_rest = self.connection.is_none();
        let mut shown = f.debug_struct("Serving");
        shown
            .field("is_at_rest", &is_at_rest)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        convert::Infallible,
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        time::Duration,
    };

    use bytes::Bytes;
    use http::Response;
    use http_body_util::Full;
    use hyper::{body::Incoming, server::conn::http1, service::service_fn};
    use hyper_util::rt::TokioIo;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
        time::{Instant, sleep, timeout},
    };

    use super::*;
    use crate::http::guard::{IDLE, REST};

    const ASK: &[u8] = b"GET / HTTP/1.1\r\nhost: h\r\n\r\n";
    const LONG: usize = 50_000;

    type Connection = Pin<Box<dyn Future<Output = Result<(), BoxError>>>>;

    struct Start<F>(F);

    impl<F: Fn() -> Connection> Again for Start<F> {
        type Connection = Connection;

        fn again(&self) -> Pin<Box<Connection>> {
            Box::pin((self.0)())
        }
    }

    /// Serves one end of a pipe with `room` bytes of room, and counts how often hyper had to start.
    fn served(
        room: usize,
    ) -> (
        DuplexStream,
        Serving<DuplexStream, impl Again>,
        Arc<AtomicUsize>,
    ) {
        let (caller, end) = duplex(room);
        let starts = Arc::new(AtomicUsize::new(0));
        let requests = Requests::default();
        let guard = Guard::new(end, requests.clone());
        let start = {
            let (guard, starts, requests) = (guard.clone(), Arc::clone(&starts), requests.clone());
            move || {
                starts.fetch_add(1, Ordering::Relaxed);
                let requests = requests.clone();
                let service = service_fn(move |_: hyper::Request<Incoming>| {
                    let underway = requests.begin();
                    async move {
                        drop(underway);
                        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(vec![b'x'; LONG]))))
                    }
                });
                let io = TokioIo::new(guard.clone());
                let connection = http1::Builder::new()
                    .half_close(true)
                    .serve_connection(io, service);
                let connection = async move { connection.await.map_err(BoxError::from) };
                Box::pin(connection) as Connection
            }
        };
        let again = Start(start);
        (
            caller,
            Serving::new(again.again(), again, guard, requests),
            starts,
        )
    }

    async fn ask(caller: &mut DuplexStream, pause: Duration) -> usize {
        caller.write_all(ASK).await.unwrap();
        let mut answer = vec![0; 100];
        let mut read = caller.read(&mut answer).await.unwrap();
        // Longer than it takes to be at rest, if nobody sees that there is more to write.
        sleep(pause).await;
        while !answer.windows(4).any(|end| end == b"\r\n\r\n") {
            answer.resize(read + 100, 0);
            read += caller.read(&mut answer[read..]).await.unwrap();
        }
        let head = answer
            .windows(4)
            .position(|end| end == b"\r\n\r\n")
            .unwrap()
            + 4;
        let mut rest = vec![0; LONG + head - read];
        caller.read_exact(&mut rest).await.unwrap();
        LONG
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_who_asks_after_a_rest_is_served_anew() {
        let (mut caller, serving, starts) = served(1 << 16);
        let calling = async {
            for (pause, started) in [
                (0, 1),
                (300, 1),
                (300, 1),
                (5_000, 2),
                (300, 2),
                (60_000, 3),
            ] {
                sleep(Duration::from_millis(pause)).await;
                assert_eq!(ask(&mut caller, Duration::ZERO).await, LONG);
                assert_eq!(starts.load(Ordering::Relaxed), started, "after {pause} ms");
            }
            drop(caller);
        };
        let (ended, ()) = tokio::join!(serving, calling);
        ended.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_its_caller_is_slow_to_read_is_not_lost() {
        let (mut caller, serving, starts) = served(64);
        let calling = async {
            assert_eq!(ask(&mut caller, 20 * REST).await, LONG);
            assert_eq!(starts.load(Ordering::Relaxed), 1);
            drop(caller);
        };
        let (ended, ()) = tokio::join!(serving, calling);
        ended.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_comes_in_pieces_after_a_rest_is_served() {
        let (mut caller, serving, starts) = served(1 << 16);
        let calling = async {
            ask(&mut caller, Duration::ZERO).await;
            sleep(5 * REST).await;
            caller.write_all(b"GET / HT").await.unwrap();
            sleep(5 * REST).await;
            caller
                .write_all(b"TP/1.1\r\nhost: h\r\n\r\n")
                .await
                .unwrap();
            let mut answer = [0; 12];
            caller.read_exact(&mut answer).await.unwrap();
            assert_eq!(&answer, b"HTTP/1.1 200");
            assert_eq!(starts.load(Ordering::Relaxed), 2);
            drop(caller);
        };
        let (_ended, ()) = tokio::join!(serving, calling);
    }

    #[tokio::test(start_paused = true)]
    async fn what_two_parsers_could_read_differently_is_refused_after_a_rest_too() {
        let (mut caller, serving, _) = served(1 << 16);
        let calling = async {
            ask(&mut caller, Duration::ZERO).await;
            sleep(5 * REST).await;
            caller
                .write_all(b"GET / HTTP/1.1\nhost: h\r\n\r\n")
                .await
                .unwrap();
            let mut answer = Vec::new();
            caller.read_to_end(&mut answer).await.unwrap();
            assert!(answer.starts_with(b"HTTP/1.1 400"));
        };
        let (_ended, ()) = tokio::join!(serving, calling);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_at_rest_ends_when_its_time_is_up() {
        let (mut caller, serving, starts) = served(1 << 16);
        let begun = Instant::now();
        let calling = async {
            ask(&mut caller, Duration::ZERO).await;
            assert_eq!(caller.read(&mut [0]).await.unwrap(), 0);
            let idle = Instant::now().saturating_duration_since(begun);
            assert!(idle >= IDLE && idle <= 2 * IDLE, "{idle:?}");
            assert_eq!(starts.load(Ordering::Relaxed), 1);
        };
        let (ended, ()) = tokio::join!(serving, calling);
        ended.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_at_rest_ends_at_once_when_it_is_told_to() {
        let (mut caller, serving, _) = served(1 << 16);
        let mut serving = std::pin::pin!(serving);
        let resting = timeout(5 * REST, async {
            tokio::join!(serving.as_mut(), ask(&mut caller, Duration::ZERO))
        });
        assert!(resting.await.is_err());
        assert!(serving.as_mut().end().is_none());
        timeout(Duration::from_millis(1), serving)
            .await
            .unwrap()
            .unwrap();
    }
}
