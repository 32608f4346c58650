//! The way of traces to the collector: a bounded queue, and one task that empties it.
//!
//! 1. Nobody waits for the collector. What does not fit in the queue is dropped and counted.
//! 2. Spans go in batches, at most a second after the first of them. A batch that is not taken is
//!    sent once more if that may help, and then given up and counted.
//! 3. When everything else has ended, what is left is sent, for a few seconds at most.

use std::{fmt, sync::Arc, time::Duration};

use http::{StatusCode, header};
use prometheus_client::metrics::counter::Counter;
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep, timeout, timeout_at},
};
use url::Url;

use super::{Config, Span, Tracer, Value, otlp};
use crate::{
    base::{clock::SharedClock, lifecycle::Lifecycle, random::SharedRandom},
    telemetry::metrics::{Metrics, label::Trace as Fate},
};

/// Traces that wait, of some four spans each: with these at their longest about 10 MB.
const QUEUE: usize = 2048;
/// Spans of one request.
const BATCH: usize = 512;
/// How long a span waits for others.
const GATHER: Duration = Duration::from_secs(1);
/// How long the collector may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Before a batch is sent once more.
const PAUSE: Duration = Duration::from_secs(1);

/// What goes through the queue.
enum Order {
    Send(Vec<Span>),
    /// Everything before it is to be sent, and then the sender be told.
    Flush(oneshot::Sender<()>),
}

/// Where traces are handed over.
pub(super) struct Queue {
    orders: mpsc::Sender<Order>,
    dropped: Counter,
}

/// Sends traces to a collector; see the [module docs](self).
pub struct Exporter {
    tracer: Tracer,
    orders: mpsc::Sender<Order>,
}

/// The end of the queue.
struct Sender {
    orders: mpsc::Receiver<Order>,
    http: reqwest::Client,
    endpoint: Url,
    resource: Vec<(&'static str, Value)>,
    exported: Counter,
    failed: Counter,
    /// Whether the collector took the last batch, for all that is known.
    is_well: bool,
}

// === impl Queue ===

impl Queue {
    /// Hands spans over, or drops them.
    pub(super) fn offer(&self, spans: Vec<Span>) {
        let count = spans.len() as u64;
        if self.orders.try_send(Order::Send(spans)).is_err() {
            self.dropped.inc_by(count);
        }
    }
}

// === impl Exporter ===

impl Exporter {
    /// Sends to the collector that `config` names, if it names one, until `lifecycle` stops.
    pub fn start(
        config: &Config,
        http: reqwest::Client,
        metrics: &Metrics,
        (clock, random): (SharedClock, SharedRandom),
        lifecycle: &Lifecycle,
    ) -> Option<Self> {
        let endpoint = traces_of(config.endpoint.as_ref()?);
        let (orders, waiting) = mpsc::channel(QUEUE);
        let instance = uuid::Builder::from_random_bytes(random.bytes::<16>()).into_uuid();
        let sender = Sender {
            orders: waiting,
            http,
            endpoint,
            resource: vec![
                ("service.name", "daypass".into()),
                ("service.version", env!("CARGO_PKG_VERSION").into()),
                ("service.instance.id", instance.to_string().into()),
            ],
            exported: metrics.traces(Fate::Exported),
            failed: metrics.traces(Fate::Failed),
            is_well: true,
        };
        lifecycle.spawn_unwatched(sender.run());
        let queue = Queue {
            orders: orders.clone(),
            dropped: metrics.traces(Fate::Dropped),
        };
        let tracer = Tracer::new(config, clock, random, queue);
        Some(Self { tracer, orders })
    }

    /// Begins traces that are sent.
    pub const fn tracer(&self) -> &Tracer {
        &self.tracer
    }

    /// Sends what was handed over so far, within `limit`.
    pub async fn flush(&self, limit: Duration) {
        let (done, told) = oneshot::channel();
        let flushed = async {
            self.orders.send(Order::Flush(done)).await.ok()?;
            told.await.ok()
        };
        if timeout(limit, flushed).await.ok().flatten().is_none() {
            tracing::warn!("not all traces could be sent before the end");
        }
    }
}

impl fmt::Debug for Exporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exporter").finish_non_exhaustive()
    }
}

/// Where a collector takes traces: at `/v1/traces` below its address (OTLP 1.x, "OTLP/HTTP Request").
fn traces_of(endpoint: &Url) -> Url {
    let mut endpoint = endpoint.clone();
    let path = endpoint.path().trim_end_matches('/');
    if !path.ends_with("/v1/traces") {
        let path = format!("{path}/v1/traces");
        endpoint.set_path(&path);
    }
    endpoint
}

// === impl Sender ===

impl Sender {
    async fn run(mut self) {
        while let Some(order) = self.orders.recv().await {
            let (mut spans, mut told) = (Vec::new(), None);
            let until = Instant::now() + GATHER;
            let mut next = Some(order);
            while let Some(order) = next {
                match order {
                    Order::Send(more) => spans.extend(more),
                    Order::Flush(done) => told = Some(done),
                }
                if told.is_some() || spans.len() >= BATCH {
                    break;
                }
                next = timeout_at(until, self.orders.recv()).await.ok().flatten();
            }
            if !spans.is_empty() {
                self.send(&spans).await;
            }
            if let Some(told) = told {
                // Who no longer waits need not know.
                let _left = told.send(());
            }
        }
    }

    async fn send(&mut self, spans: &[Span]) {
        let body = bytes::Bytes::from(otlp::encode(&self.resource, spans));
        let mut outcome = self.post(body.clone()).await;
        if let Err(trouble) = &outcome
            && trouble.may_pass()
        {
            sleep(PAUSE).await;
            outcome = self.post(body).await;
        }
        let count = spans.len() as u64;
        match outcome {
            Ok(()) => {
                self.exported.inc_by(count);
                if !std::mem::replace(&mut self.is_well, true) {
                    tracing::info!("the collector takes traces again");
                }
            }
            Err(trouble) => {
                self.failed.inc_by(count);
                if std::mem::replace(&mut self.is_well, false) {
                    tracing::warn!(
                        endpoint = %self.endpoint,
                        error = &trouble as &dyn std::error::Error,
                        "the collector does not take traces: they are given up, and nothing waits for it",
                    );
                }
            }
        }
    }

    async fn post(&self, body: bytes::Bytes) -> Result<(), Trouble> {
        let sent = self
            .http
            .post(self.endpoint.clone())
            .header(header::CONTENT_TYPE, "application/x-protobuf")
            .timeout(TIMEOUT)
            .body(body)
            .send()
            .await
            .map_err(|error| Trouble::Unsent(Arc::new(error.without_url())))?;
        match sent.status() {
            status if status.is_success() => Ok(()),
            status => Err(Trouble::Refused(status)),
        }
    }
}

/// Why a batch was not taken.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("the collector cannot be reached")]
    Unsent(#[source] Arc<reqwest::Error>),
    #[error("the collector answered {0}")]
    Refused(StatusCode),
}

// === impl Trouble ===

impl Trouble {
    /// Whether the same request may be taken later (OTLP 1.x, "Retryable Response Codes").
    fn may_pass(&self) -> bool {
        match self {
            Self::Unsent(_) => true,
            Self::Refused(status) => matches!(status.as_u16(), 429 | 502 | 503 | 504),
        }
    }
}

#[cfg(test)]
impl Tracer {
    /// One whose spans are lost; for tests of other files.
    pub(in crate::telemetry) fn for_tests() -> Self {
        let queue = Queue {
            orders: mpsc::channel(1).0,
            dropped: Counter::default(),
        };
        let clock = Arc::new(crate::base::clock::SystemClock);
        let random = Arc::new(crate::base::random::SeededRandom::new(7));
        Self::new(&Config::default(), clock, random, queue)
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;
    use crate::{
        base::{
            clock::{ManualClock, Timestamp},
            random::SeededRandom,
        },
        telemetry::trace::{Kind, Users},
    };

    fn tracer(config: &Config, room: usize) -> (Tracer, mpsc::Receiver<Order>, Counter) {
        let (orders, waiting) = mpsc::channel(room);
        let dropped = Counter::default();
        let queue = Queue {
            orders,
            dropped: dropped.clone(),
        };
        let clock = Arc::new(ManualClock::new(Timestamp::EPOCH));
        let random = Arc::new(SeededRandom::new(7));
        let tracer = Tracer::new(config, clock, random, queue);
        (tracer, waiting, dropped)
    }

    #[test]
    fn the_address_of_a_collector_may_have_the_path_of_traces_or_not() {
        for (given, meant) in [
            ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces"),
            ("http://c.internal/", "http://c.internal/v1/traces"),
            ("http://c.internal/otlp", "http://c.internal/otlp/v1/traces"),
            ("http://c.internal/v1/traces", "http://c.internal/v1/traces"),
        ] {
            let url = traces_of(&given.parse().unwrap());
            assert_eq!(url.as_str(), meant);
        }
    }

    #[test]
    fn so_many_requests_are_drawn_as_the_ratio_says() {
        for (ratio, few, many) in [(0.0, 0, 0), (0.25, 150, 350), (1.0, 1000, 1000)] {
            let config = Config {
                ratio,
                ..Config::default()
            };
            let (tracer, _waiting, _) = tracer(&config, 1);
            let draw = || tracer.request(&HeaderMap::new()).is_some();
            let drawn = (0..1000).filter(|_| draw()).count();
            assert!((few..=many).contains(&drawn), "{ratio}: {drawn}");
        }
    }

    #[test]
    fn what_does_not_fit_is_dropped_and_counted() {
        let (tracer, mut waiting, dropped) = tracer(&Config::default(), 2);
        for _ in 0..5 {
            let trace = tracer.background(None).unwrap();
            let open = trace.open("a", Kind::Internal, trace.context().span_id, Instant::now());
            open.end(|_| ());
            trace.finish("b", Kind::Internal, |_| ());
        }
        assert_eq!(dropped.get(), 6, "three of two spans");
        assert!(matches!(waiting.try_recv(), Ok(Order::Send(spans)) if spans.len() == 2));
    }

    #[test]
    fn a_user_is_told_as_configured() {
        // SHA-256 of "anna", by `printf anna | sha256sum`.
        let hash = "55579b557896d0ce1764c47fed644f9b";
        for (users, told) in [
            (Users::Absent, None),
            (Users::Hashed, Some(("user.hash", hash))),
            (Users::Plain, Some(("user.id", "anna"))),
        ] {
            let config = Config {
                users,
                ..Config::default()
            };
            let (tracer, ..) = tracer(&config, 1);
            let told = told.map(|(name, text)| (name, Value::from(text)));
            assert_eq!(tracer.user("anna"), told);
        }
    }
}
