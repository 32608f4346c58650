//! What the tests stand on: a scripted provider, scripted tokens, the proxy between, raw callers.

use std::{
    collections::VecDeque,
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, Request, Response, StatusCode, Uri};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    base::{
        clock::{ManualClock, Timestamp},
        ids::{ConnectionKey, Generation, ProviderName},
        lifecycle::Lifecycle,
        secret::Secret,
    },
    http::{
        Listen, access_log, body::Body, client::Client, server, server::Bound, service::Ready, tls,
    },
    provider::{self, ApiBase, Judgement, Kind, Minted, Provider, Verdict},
    proxy::{Config, ConnectLink, ConnectionView, Force, LinkError, LocalCalls, Wiring, stack},
    token::{self, Bearer, TokenFuture, TokenSource},
};

pub(super) const OLD: &str = "old-token-0001";
pub(super) const NEW: &str = "new-token-0002";

/// What a provider answers to the n-th request.
pub(super) type Script = Arc<dyn Fn(Seen) -> Response<Body> + Send + Sync>;

/// A request as the provider saw it.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) uri: Uri,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) trailers: Option<HeaderMap>,
}

impl Seen {
    pub(super) fn bearer(&self) -> &str {
        self.headers["authorization"].to_str().unwrap()
    }
}

/// A provider called `calendly` or otherwise, whose token rule is: 401 by head, 403 by body.
#[derive(Debug)]
pub(in crate::proxy) struct Scripted {
    pub(super) name: ProviderName,
    pub(in crate::proxy) base: ApiBase,
    pub(super) page_links: bool,
}

#[async_trait]
impl Provider for Scripted {
    fn name(&self) -> &ProviderName {
        &self.name
    }
    fn kind(&self) -> Kind {
        Kind::Calendly
    }
    fn api_base(&self) -> &ApiBase {
        &self.base
    }
    fn judge(&self, status: StatusCode, _: &HeaderMap) -> Judgement {
        match status.as_u16() {
            401 => Judgement::Refused,
            403 => Judgement::ReadBody { limit: 16 * 1024 },
            _ => Judgement::Passed,
        }
    }
    fn judge_body(&self, _: StatusCode, body: &[u8]) -> Verdict {
        if body.starts_with(b"refused") {
            Verdict::Refused
        } else if body.starts_with(b"gone") {
            Verdict::AccountGone
        } else {
            Verdict::Passed
        }
    }
    fn has_absolute_page_links(&self) -> bool {
        self.page_links
    }
    async fn refresh(
        &self,
        _: &provider::Account,
        _: &Secret<String>,
    ) -> Result<Minted, provider::CallError> {
        panic!("the proxy never refreshes by itself")
    }
    fn can_force(&self, _: &provider::Account) -> bool {
        false
    }
    async fn force_refresh(&self, _: &provider::Account) -> Result<Minted, provider::CallError> {
        panic!("the proxy never refreshes by itself")
    }
    async fn revoke(&self, _: &Secret<String>) -> Result<bool, provider::CallError> {
        Ok(false)
    }
    fn default_lifetime(&self, _: &provider::Account) -> Duration {
        Duration::ZERO
    }
    fn background_calls_per_minute(&self) -> u32 {
        1
    }
}

/// Tokens by script: generation 1 is [`OLD`]; what follows a refusal is taken from `next`.
#[derive(Default)]
pub(super) struct Tokens {
    pub(super) miss: Mutex<Option<token::Error>>,
    pub(super) cold: std::sync::atomic::AtomicBool,
    pub(super) next: Mutex<VecDeque<Result<&'static str, token::Error>>>,
    pub(super) renewals: AtomicUsize,
    pub(super) gone: AtomicUsize,
}

impl TokenSource for Tokens {
    fn cached(&self, _: &ProviderName, _: &str) -> Option<Arc<Bearer>> {
        let hit = self.miss.lock().is_none() && !self.cold.load(Ordering::SeqCst);
        hit.then(|| Bearer::for_tests(OLD, 1))
    }
    fn bearer(&self, _: ConnectionKey) -> TokenFuture {
        let answer = match self.miss.lock().clone() {
            Some(error) => Err(error),
            None => Ok(Bearer::for_tests(OLD, 1)),
        };
        Box::pin(async move { answer })
    }
    fn newer_than(&self, _: ConnectionKey, refused: Generation) -> TokenFuture {
        assert_eq!(refused.get(), 1);
        self.renewals.fetch_add(1, Ordering::SeqCst);
        let next = self.next.lock().pop_front().unwrap_or(Ok(NEW));
        Box::pin(async move { next.map(|token| Bearer::for_tests(token, 2)) })
    }
    fn account_gone(&self, _: ConnectionKey, used: &Arc<Bearer>) {
        assert_eq!(used.generation().get(), 1);
        self.gone.fetch_add(1, Ordering::SeqCst);
    }
}

struct NoConnections;

#[async_trait]
impl LocalCalls for NoConnections {
    async fn connection(&self, _: ConnectionKey) -> Result<Option<ConnectionView>, token::Error> {
        Ok(None)
    }
    async fn refresh(&self, key: ConnectionKey, _: Force) -> Result<ConnectionView, token::Error> {
        Ok(ConnectionView {
            provider: key.provider,
            user: key.user,
            status: ConnectionView::ACTIVE,
            reason: None,
            since: None,
            generation: Generation::new(2),
            expires_at: None,
            external_id: None,
            organization: None,
            managed: false,
            scope: None,
            subscription: None,
            sync: None,
        })
    }
    async fn connect_link(
        &self,
        _: ConnectionKey,
        return_to: Option<String>,
    ) -> Result<ConnectLink, LinkError> {
        match return_to {
            Some(elsewhere) => Err(LinkError::ReturnTo(elsewhere)),
            None => Ok(ConnectLink {
                url: "http://127.0.0.1:7421/connect/ticket".to_owned(),
                expires_at: Timestamp::EPOCH,
            }),
        }
    }
    fn connect_url(&self, key: &ConnectionKey) -> Option<String> {
        Some(format!("http://127.0.0.1:7421/connect/of-{}", key.user))
    }
}

/// Collects what is reported of requests.
#[derive(Default)]
pub(super) struct Observer(pub(super) Mutex<Vec<access_log::Facts>>);

impl access_log::Observe for Observer {
    fn begun(&self) {}
    fn ended(&self, facts: &access_log::Facts) {
        self.0.lock().push(facts.clone());
    }
}

pub(super) struct World {
    pub(super) lifecycle: Lifecycle,
    pub(super) address: SocketAddr,
    pub(super) tokens: Arc<Tokens>,
    pub(super) seen: Arc<Mutex<Vec<Seen>>>,
    pub(super) observer: Arc<Observer>,
    pub(super) upstream: SocketAddr,
}

pub(in crate::proxy) fn config() -> Config {
    Config {
        listen: Listen::Tcp("127.0.0.1:0".parse().unwrap()),
        user_header: HeaderName::from_static("x-user-id"),
        allow_remote: false,
        token_reads: false,
        replay_body_bytes: 1024,
        response_timeout: Duration::from_secs(5),
        max_in_flight: 64,
        propagate_trace_context: false,
        policies: std::collections::BTreeMap::new(),
    }
}

/// Any hyper service, served where the test wants a provider.
pub(super) fn listen<S, F, B>(lifecycle: &Lifecycle, service: S) -> SocketAddr
where
    S: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Result<Response<B>, Infallible>> + Send + 'static,
    B: http_body::Body<Data = Bytes, Error: Into<tower::BoxError>> + Send + 'static,
{
    let bound = Bound::bind(&config().listen).unwrap();
    let Listen::Tcp(address) = bound.local_addr() else {
        panic!("not TCP")
    };
    server::serve(bound, lifecycle, Ready(tower::service_fn(service)));
    address
}

pub(in crate::proxy) fn scripted(address: SocketAddr) -> Scripted {
    Scripted {
        name: ProviderName::parse("calendly").unwrap(),
        base: ApiBase::parse(&format!("http://{address}")).unwrap(),
        page_links: true,
    }
}

impl World {
    pub(super) fn new(script: impl Fn(Seen) -> Response<Body> + Send + Sync + 'static) -> Self {
        Self::with(config(), script)
    }

    pub(super) fn with(
        config: Config,
        script: impl Fn(Seen) -> Response<Body> + Send + Sync + 'static,
    ) -> Self {
        let lifecycle = Lifecycle::new();
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let (log, script): (_, Script) = (Arc::clone(&seen), Arc::new(script));
        let upstream = listen(&lifecycle, move |request: Request<Incoming>| {
            let (log, script) = (Arc::clone(&log), Arc::clone(&script));
            async move {
                let (parts, body) = request.into_parts();
                let collected = body.collect().await.unwrap();
                let trailers = collected.trailers().cloned();
                let seen = Seen {
                    uri: parts.uri,
                    headers: parts.headers,
                    body: collected.to_bytes(),
                    trailers,
                };
                log.lock().push(seen.clone());
                Ok::<_, Infallible>(script(seen))
            }
        });
        Self::before(config, lifecycle, scripted(upstream), seen, upstream)
    }

    /// A proxy before any provider.
    pub(super) fn before(
        config: Config,
        lifecycle: Lifecycle,
        provider: Scripted,
        seen: Arc<Mutex<Vec<Seen>>>,
        upstream: SocketAddr,
    ) -> Self {
        let tls = tls::client_config(None, tls::Alpn::Unset).unwrap();
        let client = Client::new(tls, &lifecycle);
        Self::through(
            client,
            config,
            lifecycle,
            vec![Arc::new(provider)],
            seen,
            upstream,
        )
    }

    pub(super) fn through(
        client: Client,
        config: Config,
        lifecycle: Lifecycle,
        providers: Vec<provider::SharedProvider>,
        seen: Arc<Mutex<Vec<Seen>>>,
        upstream: SocketAddr,
    ) -> Self {
        let tokens: Arc<Tokens> = Arc::default();
        let observer: Arc<Observer> = Arc::default();
        let bound = Bound::bind(&config.listen).unwrap();
        let address = match bound.local_addr() {
            Listen::Tcp(address) => address,
            Listen::Unix(_) => upstream,
        };
        let wiring = Wiring {
            config,
            providers,
            tokens: Arc::clone(&tokens) as Arc<dyn TokenSource>,
            local: Arc::new(NoConnections),
            client,
            clock: Arc::new(ManualClock::new(Timestamp::EPOCH)),
            observer: Arc::clone(&observer) as Arc<dyn access_log::Observe>,
            tracer: None,
        };
        server::serve(bound, &lifecycle, stack(wiring));
        Self {
            lifecycle,
            address,
            tokens,
            seen,
            observer,
            upstream,
        }
    }

    /// Sends bytes on a fresh connection and reads until it is closed.
    pub(super) async fn raw(&self, bytes: impl AsRef<[u8]>) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(bytes.as_ref()).await.unwrap();
        let mut answer = Vec::new();
        let reading = stream.read_to_end(&mut answer);
        let read = tokio::time::timeout(Duration::from_secs(10), reading).await;
        // A reset after an answer is an end like any other.
        drop(read.expect("the connection is closed"));
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// A request with a user, closing the connection afterwards.
    pub(super) async fn get(&self, target: &str, more: &str) -> String {
        self.send("GET", target, more, "").await
    }

    pub(super) async fn send(&self, method: &str, target: &str, more: &str, body: &str) -> String {
        let length = if body.is_empty() && method == "GET" {
            String::new()
        } else {
            format!("content-length: {}\r\n", body.len())
        };
        self.raw(format!(
            "{method} {target} HTTP/1.1\r\nhost: {}\r\nx-user-id: u_1\r\nconnection: close\r\n{length}{more}\r\n{body}",
            self.address
        ))
        .await
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().clone()
    }

    pub(super) fn renewals(&self) -> usize {
        self.tokens.renewals.load(Ordering::SeqCst)
    }
}

pub(super) fn status(answer: &str) -> u16 {
    let code = answer.split(' ').nth(1);
    code.and_then(|code| code.parse().ok())
        .unwrap_or_else(|| panic!("no answer: {answer:?}"))
}

/// The value of a header of a raw answer.
pub(super) fn header<'a>(answer: &'a str, name: &str) -> Option<&'a str> {
    let head = answer.split("\r\n\r\n").next()?;
    head.split("\r\n")
        .filter_map(|line| line.split_once(": "))
        .find(|(found, _)| found.eq_ignore_ascii_case(name))
        .map(|(_, value)| value)
}

pub(super) fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").map_or("", |(_, body)| body)
}

pub(super) fn answer(status: u16, body: &str) -> Response<Body> {
    Response::builder()
        .status(status)
        .body(Body::from(Bytes::copy_from_slice(body.as_bytes())))
        .unwrap()
}
