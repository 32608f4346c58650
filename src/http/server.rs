//! The accept loop of every listener: TCP or unix socket, HTTP/1.1 and prior-knowledge HTTP/2.
//!
//! 1. Connections are cut by [`guard`](super::guard) when they say nothing, stop midway through a
//!    head, or send a request that two parsers could read differently.
//! 2. At most [`MAX_CONNECTIONS`] at once; beyond that, callers wait in the backlog.
//! 3. An accept error never ends the loop: with descriptors used up it waits a little.
//! 4. A drain stops accepting, lets requests under way finish (`Connection: close`, GOAWAY), and
//!    cuts what is left when the [`Lifecycle`] says stop. So does a connection whose request may be on
//!    its way: one that was just accepted, or kept alive, is given a moment before it is closed.
//! 5. While the process parts, answers of HTTP/1 say `Connection: close`, so that few connections are
//!    left when the drain begins.
//! 6. Of a connection without a request for a while only the socket is kept, and its
//!    [guard](Guard::is_at_rest): hyper's buffers take ten times as much. It is served anew when its caller
//!    asks again.
//! 7. A unix socket file is removed at the start only if nobody answers on it, and at the end. A socket
//!    that was handed over is neither made nor removed here.

use std::{
    fs,
    future::poll_fn,
    io,
    net::{self as std_tcp, SocketAddr},
    os::unix::{fs::PermissionsExt, net as std_unix},
    path::{Path, PathBuf},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, Version, header::CONNECTION};
use http_body::Body as HttpBody;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::conn::auto::{Builder, Connection},
};
use pin_project_lite::pin_project;
use tokio::{
    net::{TcpListener, UnixListener},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::sleep,
};
use tower::BoxError;

use super::{
    Listen,
    accepted::Accepted,
    executor::Executor,
    guard::{Guard, Requests, Underway},
    service::Service,
    serving::{Again, Serving},
};
use crate::base::lifecycle::{Lifecycle, Parting};

/// More than a pod's app opens; few enough to stay below common descriptor limits together with the
/// connections to providers.
pub const MAX_CONNECTIONS: usize = 8192;
/// How long to leave `accept` alone when it fails for want of descriptors or memory.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);
/// Connections the kernel keeps waiting.
const BACKLOG: u32 = 1024;
/// Requests at once on one HTTP/2 connection.
const MAX_STREAMS: u32 = 256;
/// A quiet HTTP/2 caller is asked this often whether it lives, and has so long to answer.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a drain waits for the first request of a connection: whoever has just connected is about to
/// send it, on a machine that may be busy.
const FIRST_REQUEST: Duration = Duration::from_secs(1);
/// How long a drain waits for another request of a connection that was kept alive: one that was sent
/// before its caller could know. As long as the way through a cluster takes, many times over.
const NEXT_REQUEST: Duration = Duration::from_millis(100);

/// A socket that listens already, so that the address is known and held before anything starts.
#[derive(Debug)]
pub struct Bound {
    socket: Socket,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener, SocketAddr),
    Unix(UnixListener, SocketFile),
    /// Its file is somebody else's.
    UnixHanded(UnixListener, PathBuf),
}

/// A listening socket that somebody else has opened, and keeps.
#[derive(Debug)]
pub enum Handed {
    /// On a TCP address.
    Tcp(std_tcp::TcpListener),
    /// On a unix socket.
    Unix(std_unix::UnixListener),
}

/// Removes its socket file when dropped.
#[derive(Debug)]
struct SocketFile(PathBuf);

/// Tells the guard of a connection which of its requests are under way, and callers when to leave.
#[derive(Clone, Debug)]
struct Counted<S> {
    service: S,
    requests: Requests,
    parting: Parting,
}

pin_project! {
    /// Response future of [`Counted`].
    struct CountedFuture<F> {
        #[pin]
        inner: F,
        underway: Option<Underway>,
        // Whether its caller is to be told to leave.
        last: bool,
    }
}

pin_project! {
    /// A body whose end is the end of its request.
    struct CountedBody<B> {
        #[pin]
        inner: B,
        underway: Option<Underway>,
    }
}

/// How connections are served.
struct Builders {
    first: Builder<Executor>,
    /// What has spoken HTTP/1.1 goes on so: its guard looks for nothing else.
    again: Arc<Builder<Executor>>,
}

/// Serves a connection that was at rest.
struct Start<S> {
    builder: Arc<Builder<Executor>>,
    guard: Guard<Accepted>,
    counted: Counted<S>,
}

// === impl Bound ===

impl Bound {
    /// Starts to listen. Must be called on the runtime.
    ///
    /// A unix socket gets mode 0660: the app and the sidecar may run as different users of one group.
    pub fn bind(listen: &Listen) -> io::Result<Self> {
        let socket = match listen {
            Listen::Tcp(address) => {
                let listener = bind_tcp(*address)?;
                let address = listener.local_addr()?;
                Socket::Tcp(listener, address)
            }
            Listen::Unix(path) => {
                remove_stale(path)?;
                let listener = UnixListener::bind(path)?;
                let file = SocketFile(path.clone());
                fs::set_permissions(path, fs::Permissions::from_mode(0o660))?;
                Socket::Unix(listener, file)
            }
        };
        Ok(Self { socket })
    }

    /// Takes over a socket that listens already. Must be called on the runtime.
    pub fn adopt(handed: Handed) -> io::Result<Self> {
        let socket = match handed {
            Handed::Tcp(listener) => {
                let address = listener.local_addr()?;
                listener.set_nonblocking(true)?;
                Socket::Tcp(TcpListener::from_std(listener)?, address)
            }
            Handed::Unix(listener) => {
                let address = listener.local_addr()?;
                let path = address
                    .as_pathname()
                    .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "it has no path"))?;
                listener.set_nonblocking(true)?;
                Socket::UnixHanded(UnixListener::from_std(listener)?, path.to_owned())
            }
        };
        Ok(Self { socket })
    }

    /// Where it listens; a port that was given as 0 has become the real one.
    pub fn local_addr(&self) -> Listen {
        match &self.socket {
            Socket::Tcp(_, address) => Listen::Tcp(*address),
            Socket::Unix(_, file) => Listen::Unix(file.0.clone()),
            Socket::UnixHanded(_, path) => Listen::Unix(path.clone()),
        }
    }

    async fn accept(&self) -> io::Result<Accepted> {
        match &self.socket {
            Socket::Tcp(listener, _) => {
                let (stream, _) = listener.accept().await?;
                // An error means that the peer is gone already, which reading will show.
                let _gone = stream.set_nodelay(true);
                Ok(Accepted::Tcp(stream))
            }
            Socket::Unix(listener, _) | Socket::UnixHanded(listener, _) => {
                Ok(Accepted::Unix(listener.accept().await?.0))
            }
        }
    }
}

fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let domain = socket2::Domain::for_address(address);
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None)?;
    // A restarted sidecar must not wait for its predecessor's connections to time out.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG.cast_signed())?;
    TcpListener::from_std(socket.into())
}

fn remove_stale(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::FileTypeExt;

    let is_socket = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata.file_type().is_socket(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    // Anything else than a socket is somebody's file: binding fails and says so.
    if is_socket
        && let Err(error) = std_unix::UnixStream::connect(path)
        && error.kind() == io::ErrorKind::ConnectionRefused
    {
        fs::remove_file(path)?;
    }
    Ok(())
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Somebody may have removed it; that is what was wanted.
        let _missing = fs::remove_file(&self.0);
    }
}

/// Serves `service` on `bound` until `lifecycle` drains. Returns at once; the work is in tasks.
pub fn serve<S, B>(bound: Bound, lifecycle: &Lifecycle, service: S)
where
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let tasks = lifecycle.clone();
    lifecycle.spawn_until_drain(async move {
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let builders = builders(&tasks);
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else {
                return;
            };
            match bound.accept().await {
                Ok(stream) => connection(&tasks, &builders, stream, service.clone(), place),
                Err(error) => rest(&error).await,
            }
        }
    });
}

fn builders(lifecycle: &Lifecycle) -> Builders {
    let mut builder = Builder::new(Executor(lifecycle.clone()));
    // Answers are small: one buffer written at once beats several system-call vectors (measured).
    // Times are kept by the guard, which also covers what comes before the first byte.
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        // So that hyper does not read while a request is under way: the guard sees who leaves.
        .half_close(true)
        .writev(false);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .adaptive_window(true);
    Builders {
        again: Arc::new(builder.clone().http1_only()),
        first: builder,
    }
}

/// Runs one connection in a task of its own.
fn connection<S, B>(
    lifecycle: &Lifecycle,
    builders: &Builders,
    stream: Accepted,
    service: S,
    place: OwnedSemaphorePermit,
) where
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let requests = Requests::default();
    let guard = Guard::new(stream, requests.clone());
    let io = TokioIo::new(guard.clone());
    let counted = Counted {
        service,
        requests: requests.clone(),
        parting: lifecycle.parting(),
    };
    let connection = builders.first.serve_connection(io, counted.clone());
    let connection = Box::pin(connection.into_owned());
    let again = Start {
        builder: Arc::clone(&builders.again),
        guard: guard.clone(),
        counted,
    };
    // Boxed, because each task around it would keep room for it twice: once as what it was given, once
    // as what it runs.
    let mut serving = Box::pin(Serving::new(connection, again, guard, requests.clone()));
    let draining = lifecycle.draining();
    drop(lifecycle.spawn(async move {
        let ended = tokio::select! {
            biased;
            ended = serving.as_mut() => Some(ended),
            () = draining => None,
        };
        let ended = match ended {
            Some(ended) => Some(ended),
            // Boxed, because an idle connection would keep room for it.
            None => Box::pin(until_a_request(serving.as_mut(), &requests)).await,
        };
        let ended = if let Some(ended) = ended {
            ended
        } else {
            let connection = serving.as_mut().end();
            if let Some(connection) = connection {
                connection.as_mut().graceful_shutdown();
            }
            serving.await
        };
        if let Err(error) = ended {
            tracing::debug!(error = %error, "a caller's connection broke");
        }
        drop(place);
    }));
}

/// Serves until a request is under way, or none will come any more; `Some` if that was the end.
async fn until_a_request<F: Future>(
    mut serving: Pin<&mut F>,
    requests: &Requests,
) -> Option<F::Output> {
    let patience = if requests.any_begun() {
        NEXT_REQUEST
    } else {
        FIRST_REQUEST
    };
    let mut over = pin!(sleep(patience));
    poll_fn(|cx| {
        if let Poll::Ready(ended) = serving.as_mut().poll(cx) {
            return Poll::Ready(Some(ended));
        }
        if requests.none() {
            ready!(over.as_mut().poll(cx));
        }
        Poll::Ready(None)
    })
    .await
}

/// Waits as long as `error` deserves before the next `accept`.
async fn rest(error: &io::Error) {
    let of_one_connection = matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    );
    if !of_one_connection {
        tracing::warn!(error = %error, "no connection can be accepted just now");
        sleep(ACCEPT_BACKOFF).await;
    }
}

// === impl Start ===

impl<S, B> Again for Start<S>
where
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    type Connection = Connection<'static, TokioIo<Guard<Accepted>>, Counted<S>, Executor>;

    fn again(&self) -> Pin<Box<Self::Connection>> {
        let io = TokioIo::new(self.guard.clone());
        let connection = self.builder.serve_connection(io, self.counted.clone());
        Box::pin(connection.into_owned())
    }
}

// === impl Counted ===

impl<S, B> Service<Request<Incoming>> for Counted<S>
where
    S: Service<Request<Incoming>, Response = Response<B>>,
{
    type Response = Response<CountedBody<B>>;
    type Error = S::Error;
    type Future = CountedFuture<S::Future>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        CountedFuture {
            underway: Some(self.requests.begin()),
            // In HTTP/2 the drain itself tells, without losing anything.
            last: self.parting.has_begun() && request.version() <= Version::HTTP_11,
            inner: self.service.call(request),
        }
    }
}

impl<F, B, E> Future for CountedFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<CountedBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut response = ready!(this.inner.poll(cx))?;
        if *this.last {
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(CONNECTION, close);
        }
        let underway = this.underway.take();
        Poll::Ready(Ok(response.map(|inner| CountedBody { inner, underway })))
    }
}

impl<B: HttpBody> HttpBody for CountedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        self.project().inner.poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
