//! A collector of traces: takes OTLP over HTTP, and reads it with the official types.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
    time::Duration,
};

use axum::{Router, body::Bytes, extract::State, routing::post};
use http::{HeaderMap, StatusCode};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{KeyValue, any_value::Value},
    trace::v1::Span,
};
use parking_lot::Mutex;
use prost::Message;
use tokio::net::TcpListener;

use crate::sidecar::until;

/// A collector on a free port. It ends with the test's runtime.
pub(crate) struct Collector {
    pub(crate) url: String,
    state: Shared,
}

#[derive(Clone)]
struct Shared {
    spans: Arc<Mutex<Vec<Span>>>,
    resource: Arc<Mutex<BTreeMap<String, String>>>,
    answer: Arc<AtomicU16>,
}

async fn take(State(state): State<Shared>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let answer = state.answer.load(Ordering::SeqCst);
    if answer == 0 {
        std::future::pending::<()>().await;
    }
    if answer == 200 {
        assert_eq!(headers["content-type"], "application/x-protobuf");
        let request = ExportTraceServiceRequest::decode(body).unwrap();
        for of_resource in request.resource_spans {
            let resource = of_resource.resource.unwrap();
            state
                .resource
                .lock()
                .extend(attributes(&resource.attributes));
            for of_scope in of_resource.scope_spans {
                assert_eq!(of_scope.scope.unwrap().name, "daypass");
                state.spans.lock().extend(of_scope.spans);
            }
        }
    }
    StatusCode::from_u16(answer).unwrap()
}

/// Attributes as text.
pub(crate) fn attributes(pairs: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |pair: &KeyValue| match pair.value.clone().unwrap().value.unwrap() {
        Value::StringValue(text) => text,
        Value::IntValue(number) => number.to_string(),
        Value::BoolValue(truth) => truth.to_string(),
        other => panic!("{other:?}"),
    };
    pairs
        .iter()
        .map(|pair| (pair.key.clone(), text(pair)))
        .collect()
}

/// One attribute; empty if there is none.
pub(crate) fn attribute(span: &Span, name: &str) -> String {
    attributes(&span.attributes)
        .remove(name)
        .unwrap_or_default()
}

// === impl Collector ===

impl Collector {
    pub(crate) async fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = Shared {
            spans: Arc::default(),
            resource: Arc::default(),
            answer: Arc::new(AtomicU16::new(200)),
        };
        let router = Router::new()
            .route("/v1/traces", post(take))
            .with_state(state.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, state }
    }

    /// Answers so from now on; 0 does not answer at all.
    pub(crate) fn answers(&self, status: u16) {
        self.state.answer.store(status, Ordering::SeqCst);
    }

    /// Everything that has come so far.
    pub(crate) fn spans(&self) -> Vec<Span> {
        self.state.spans.lock().clone()
    }

    /// What is said of the process.
    pub(crate) fn resource(&self) -> BTreeMap<String, String> {
        self.state.resource.lock().clone()
    }

    /// Waits for the first span of this name, and takes all that have its trace.
    pub(crate) async fn trace_with(&self, name: &str) -> Vec<Span> {
        until(name, async || {
            let spans = self.spans();
            let named = spans.iter().find(|span| span.name == name)?;
            let trace_id = named.trace_id.clone();
            let of_trace = spans.into_iter().filter(|span| span.trace_id == trace_id);
            Some(of_trace.collect())
        })
        .await
    }

    /// Longer than any span waits for others.
    pub(crate) async fn patience() {
        tokio::time::sleep(Duration::from_millis(1500)).await;
    }
}
