//! What a request whose token is in memory pays for, piece by piece, and as a whole.
//!
//! `cargo bench --bench hot_path`. Micro-figures find a step that got dearer; what a request costs is
//! measured by `peers/run` and `instructions.py`.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a bench that cannot be set up has nothing to measure"
)]

use std::{
    hint::black_box,
    io,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use criterion::Criterion;
use daypass::{
    http::{
        Listen,
        guard::{Guard, Requests},
    },
    token::TokenSource,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::TcpStream,
};

use crate::support::Bed;

mod support;

/// What a client library sends.
const HEAD: &str = "GET /calcom/v2/me HTTP/1.1\r\nHost: 127.0.0.1:7420\r\n\
    X-User-Id: user-1\r\nAccept: application/json\r\nUser-Agent: app/1.0\r\n\
    Cookie: session=abc\r\ncal-api-version: 2024-08-13\r\n\r\n";

/// A caller that sends the same head for ever.
struct Heads;

impl AsyncRead for Heads {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        buf.put_slice(HEAD.as_bytes());
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Heads {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, b: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(b.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn token_in_memory(c: &mut Criterion, bed: &Bed) {
    let tokens = &bed.sidecar.core().tokens;
    let _entered = bed.runtime.enter();
    // The first one comes from the store.
    bed.runtime
        .block_on(tokens.bearer(bed.key.clone()))
        .unwrap();
    c.bench_function("token in memory", |b| {
        b.iter(|| {
            tokens
                .cached(black_box(&bed.key.provider), black_box("user-1"))
                .unwrap()
        });
    });
}

fn guard(c: &mut Criterion, bed: &Bed) {
    let _entered = bed.runtime.enter();
    let mut guard = Guard::new(Heads, Requests::default());
    let mut room = [0; 1024];
    let mut cx = Context::from_waker(Waker::noop());
    c.bench_function("guard of one head", |b| {
        b.iter(|| {
            let mut buf = ReadBuf::new(&mut room);
            let read = Pin::new(&mut guard).poll_read(&mut cx, &mut buf);
            assert!(matches!(read, Poll::Ready(Ok(()))), "refused");
            buf.filled().len()
        });
    });
}

fn whole_request(c: &mut Criterion, bed: &Bed) {
    let Listen::Tcp(address) = *bed.sidecar.outbound() else {
        panic!("the outbound listener is not TCP");
    };
    let connected = bed.runtime.block_on(TcpStream::connect(address));
    let mut stream = connected.unwrap();
    stream.set_nodelay(true).unwrap();
    let mut answer = Vec::with_capacity(2048);
    c.bench_function("request over loopback, one caller", |b| {
        b.iter(|| bed.runtime.block_on(ask(&mut stream, &mut answer)));
    });
}

/// Sends [`HEAD`] and reads the answer, which is told by its length.
async fn ask(stream: &mut TcpStream, answer: &mut Vec<u8>) {
    answer.clear();
    stream.write_all(HEAD.as_bytes()).await.unwrap();
    while !answer.ends_with(b"xx") || answer.len() < 695 {
        assert!(stream.read_buf(answer).await.unwrap() > 0, "closed midway");
    }
    assert!(answer.starts_with(b"HTTP/1.1 200"), "not 200");
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let bed = Bed::new();
    token_in_memory(&mut criterion, &bed);
    guard(&mut criterion, &bed);
    whole_request(&mut criterion, &bed);
    criterion.final_summary();
}
