//! The accept loop of the sandbox: plain or TLS, HTTP/1.1 and HTTP/2, drained with the process.
//!
//! A handler that returns [`Vanished`] makes the connection close without an answer (HTTP/1.1) or
//! the stream reset (HTTP/2).

use std::{future::Future, io, pin::Pin, sync::Arc, time::Duration};

use axum::body::Body;
use http::{Request, Response};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use rustls::ServerConfig;
use thiserror::Error;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    time::sleep,
};
use tokio_rustls::TlsAcceptor;

use crate::base::lifecycle::Lifecycle;

/// The answer is withheld.
#[derive(Clone, Copy, Debug, Error)]
#[error("the answer is withheld")]
pub(crate) struct Vanished;

/// Answers one request. Of one type for all emulators and kinds of connections, so that all of HTTP is
/// compiled for them once.
pub(crate) type Handler = Arc<dyn Fn(Request<Body>) -> Answering + Send + Sync>;

type Answering = Pin<Box<dyn Future<Output = Result<Response<Body>, Vanished>> + Send>>;

trait Io: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

/// Serves until the drain begins.
pub(crate) fn serve(
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    lifecycle: &Lifecycle,
    handler: Handler,
) {
    let acceptor = tls.map(TlsAcceptor::from);
    let tasks = lifecycle.clone();
    lifecycle.spawn_until_drain(async move {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let handler = Arc::clone(&handler);
                    let connection = connection(stream, acceptor.clone(), tasks.clone(), handler);
                    drop(tasks.spawn(connection));
                }
                // Out of file descriptors, most likely: a pause lets some come free.
                Err(_) => sleep(Duration::from_millis(20)).await,
            }
        }
    });
}

async fn connection(
    stream: TcpStream,
    acceptor: Option<TlsAcceptor>,
    lifecycle: Lifecycle,
    handler: Handler,
) {
    // Without it small answers wait for an acknowledgement; a failure costs only latency.
    let _set = stream.set_nodelay(true);
    let stream: Box<dyn Io> = match acceptor {
        None => Box::new(stream),
        Some(acceptor) => {
            let accepted: io::Result<_> = acceptor.accept(stream).await;
            let Ok(stream) = accepted else { return };
            Box::new(stream)
        }
    };
    speak(stream, &lifecycle, handler).await;
}

async fn speak(stream: Box<dyn Io>, lifecycle: &Lifecycle, handler: Handler) {
    let service = service_fn(move |request: Request<Incoming>| handler(request.map(Body::new)));
    let builder = auto::Builder::new(TokioExecutor::new());
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => return,
        () = lifecycle.draining() => {}
    }
    connection.as_mut().graceful_shutdown();
    tokio::select! {
        _ = connection => {}
        () = lifecycle.stopped() => {}
    }
}
