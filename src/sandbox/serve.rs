//! The accept loop of the sandbox: plain or TLS, HTTP/1.1 and HTTP/2, drained with the process.
//!
//! A handler that returns [`Vanished`] makes the connection close without an answer (HTTP/1.1) or
//! the stream reset (HTTP/2).

use std::{future::Future, io, sync::Arc, time::Duration};

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

/// Serves until the drain begins.
pub(crate) fn serve<H, F>(
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    lifecycle: &Lifecycle,
    handler: H,
) where
    H: Fn(Request<Body>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Result<Response<Body>, Vanished>> + Send + 'static,
{
    let acceptor = tls.map(TlsAcceptor::from);
    let tasks = lifecycle.clone();
    lifecycle.spawn_until_drain(async move {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let connection =
                        connection(stream, acceptor.clone(), tasks.clone(), handler.clone());
                    drop(tasks.spawn(connection));
                }
                // Out of file descriptors, most likely: a pause lets some come free.
                Err(_) => sleep(Duration::from_millis(20)).await,
            }
        }
    });
}

async fn connection<H, F>(
    stream: TcpStream,
    acceptor: Option<TlsAcceptor>,
    lifecycle: Lifecycle,
    handler: H,
) where
    H: Fn(Request<Body>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Result<Response<Body>, Vanished>> + Send + 'static,
{
    // Without it small answers wait for an acknowledgement; a failure costs only latency.
    let _set = stream.set_nodelay(true);
    match acceptor {
        None => speak(stream, &lifecycle, handler).await,
        Some(acceptor) => {
            let accepted: io::Result<_> = acceptor.accept(stream).await;
            if let Ok(stream) = accepted {
                speak(stream, &lifecycle, handler).await;
            }
        }
    }
}

async fn speak<S, H, F>(stream: S, lifecycle: &Lifecycle, handler: H)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Fn(Request<Body>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Result<Response<Body>, Vanished>> + Send + 'static,
{
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
