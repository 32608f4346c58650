//! Traces through the binary, over a real socket to a collector: what belongs to what, what is told,
//! and what a collector that is down costs.

use std::time::Duration;

use daypass::sandbox::{Killed, Revoke};
use http::Method;
use opentelemetry_proto::tonic::trace::v1::Span;
use tokio::time::Instant;

use crate::{
    collector::{Collector, attribute},
    sidecar::{Answer, Sidecar, until},
    world::World,
};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";

async fn world_and_collector() -> (World, Collector) {
    let collector = Collector::open().await;
    let endpoint = format!("telemetry.otlp_endpoint={}", collector.url);
    (World::open().await.with(&endpoint), collector)
}

/// A call as part of the app's trace.
async fn traced(sidecar: &Sidecar, user: &str, path: &str, flags: &str) -> Answer {
    let request = sidecar
        .request(Method::GET, user, path)
        .header("traceparent", format!("00-{TRACE}-{SPAN}-{flags}"))
        .header("tracestate", "vendor=1")
        .header("baggage", "secret-of-the-app=1");
    Answer::read(request).await
}

fn named<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    let found = spans.iter().find(|span| span.name == name);
    found.unwrap_or_else(|| panic!("no {name} in {spans:#?}"))
}

fn is_within(inner: &Span, outer: &Span) -> bool {
    inner.parent_span_id == outer.span_id
        && inner.start_time_unix_nano >= outer.start_time_unix_nano
        && inner.end_time_unix_nano <= outer.end_time_unix_nano
}

async fn sample(sidecar: &Sidecar, start: &str) -> u64 {
    let text = sidecar.admin("/metrics").await.body;
    let line = text.lines().find(|line| line.starts_with(start));
    let value = line.and_then(|line| line.rsplit(' ').next());
    value.map_or(0, |value| value.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_continues_the_apps_trace_and_the_provider_hears_nothing_of_it() {
    let (world, collector) = world_and_collector().await;
    let anna = world.valid_at_calendly("anna").await;
    let sidecar = world.sidecar().await;
    let answer = traced(&sidecar, "anna", "/calendly/_echo?private=1", "01").await;
    let echoed = answer.must_be(200).json().to_string();
    for word in ["traceparent", "tracestate", "baggage", TRACE] {
        assert!(!echoed.contains(word), "{echoed}");
    }
    let spans = collector.trace_with("GET calendly").await;
    let server = named(&spans, "GET calendly");
    assert_eq!(hex::encode(&server.trace_id), TRACE);
    assert_eq!(hex::encode(&server.parent_span_id), SPAN);
    assert_eq!((server.kind, server.trace_state.as_str()), (2, "vendor=1"));
    assert_eq!(server.flags, 0x301, "sampled, and its parent is elsewhere");
    assert!(server.status.is_none());
    for (name, value) in [
        ("http.request.method", "GET"),
        ("http.response.status_code", "200"),
        ("url.path", "/calendly/_echo"),
        ("daypass.provider", "calendly"),
        ("daypass.replayed", "false"),
        ("daypass.outcome", "done"),
    ] {
        assert_eq!(attribute(server, name), value, "{server:#?}");
    }
    let (lookup, upstream) = (named(&spans, "lookup"), named(&spans, "GET"));
    assert!(
        is_within(lookup, server) && is_within(upstream, server),
        "{spans:#?}"
    );
    assert!(lookup.end_time_unix_nano <= upstream.start_time_unix_nano);
    assert_eq!((lookup.kind, upstream.kind), (1, 3));
    let full = format!("{}/_echo", world.sandbox.calendly_url());
    assert_eq!(attribute(upstream, "url.full"), full);
    assert_eq!(attribute(upstream, "server.address"), "127.0.0.1");
    assert_eq!(collector.resource()["service.name"], "daypass");

    let told = format!("{:?}", collector.spans());
    for secret in [&*anna.access_token, "private", "anna", "secret-of-the-app"] {
        assert!(!told.contains(secret), "{secret} in {told}");
    }
    // The line of the access log says where to look.
    let line = sidecar.log.request("").await;
    assert_eq!(line["trace_id"], TRACE, "{line}");
    assert_eq!(line["span_id"], hex::encode(&server.span_id), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_and_the_renewal_behind_it_are_told_and_linked() {
    let (world, collector) = world_and_collector().await;
    let world = world.with("telemetry.trace_users=plain");
    world.valid_at_calendly("anna").await;
    let sidecar = world.sidecar().await;
    let revoked = Revoke {
        user: "anna".to_owned(),
        what: Killed::Access,
    };
    world.sandbox.calendly().revoke(&revoked).unwrap();
    traced(&sidecar, "anna", "/calendly/users/me", "01")
        .await
        .must_be(200);
    let spans = collector.trace_with("GET calendly").await;
    let server = named(&spans, "GET calendly");
    assert_eq!(attribute(server, "daypass.replayed"), "true");
    assert_eq!(attribute(server, "user.id"), "anna");
    let replay = named(&spans, "replay");
    assert!(is_within(replay, server), "{spans:#?}");
    assert_eq!(attribute(replay, "daypass.replay.outcome"), "recovered");
    let attempts: Vec<_> = spans.iter().filter(|span| span.name == "GET").collect();
    let [first, second] = attempts[..] else {
        panic!("{spans:#?}")
    };
    assert!(
        is_within(first, server) && is_within(second, replay),
        "{spans:#?}"
    );
    let told = |span, name| attribute(span, name);
    assert_eq!(told(first, "http.response.status_code"), "401");
    assert_eq!(first.status.as_ref().unwrap().code, 2);
    assert_eq!(told(first, "http.request.resend_count"), "");
    assert_eq!(told(second, "http.response.status_code"), "200");
    assert_eq!(told(second, "http.request.resend_count"), "1");
    let lookups = spans.iter().filter(|span| span.name == "lookup");
    let waited = lookups
        .into_iter()
        .find(|span| span.parent_span_id == replay.span_id)
        .unwrap();

    let flight = collector.trace_with("renewal").await;
    let (renewal, call) = (named(&flight, "renewal"), named(&flight, "token call"));
    assert_ne!(renewal.trace_id, server.trace_id, "it serves others, too");
    assert!(is_within(call, renewal), "{flight:#?}");
    assert_eq!(call.kind, 3);
    assert_eq!(attribute(call, "daypass.outcome"), "renewed");
    assert_eq!(attribute(call, "daypass.redemption"), "standard");
    let links = |span: &Span| -> Vec<_> {
        let links = span.links.iter();
        links
            .map(|link| (link.trace_id.clone(), link.span_id.clone()))
            .collect()
    };
    let place = |span: &Span| (span.trace_id.clone(), span.span_id.clone());
    assert_eq!(links(renewal), [place(server)], "what it was begun for");
    assert_eq!(links(waited), [place(renewal)], "what was waited for");
    let line = sidecar.log.line("renewal").unwrap();
    assert_eq!(line["trace_id"], hex::encode(&renewal.trace_id), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_app_and_the_ratio_decide_what_is_recorded() {
    let (world, collector) = world_and_collector().await;
    let world = world.with("telemetry.trace_ratio=0");
    world.valid_at_calendly("anna").await;
    let sidecar = world.sidecar().await;
    sidecar.get("anna", "/calendly/users/me").await.must_be(200);
    traced(&sidecar, "anna", "/calendly/_sink", "00").await;
    traced(&sidecar, "anna", "/calendly/users/me", "01")
        .await
        .must_be(200);
    let spans = collector.trace_with("GET calendly").await;
    Collector::patience().await;
    assert_eq!(collector.spans().len(), spans.len(), "one trace");
    assert_eq!(
        attribute(named(&spans, "GET calendly"), "url.path"),
        "/calendly/users/me"
    );
    // The log says which trace it is even if that is not recorded.
    let log = &sidecar.log;
    assert_eq!(log.request("/calendly/_sink").await["trace_id"], TRACE);
    assert_eq!(
        log.request("/calendly/users/me").await.get("trace_id"),
        None
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_is_told_the_trace_if_it_is_to_be() {
    let (world, collector) = world_and_collector().await;
    let world = world.with("telemetry.propagate_to_providers=true");
    world.valid_at_calendly("anna").await;
    let sidecar = world.sidecar().await;
    let answer = traced(&sidecar, "anna", "/calendly/_echo", "01").await;
    let echoed = answer.must_be(200).json();
    let spans = collector.trace_with("GET calendly").await;
    let upstream = hex::encode(&named(&spans, "GET").span_id);
    let headers = &echoed["headers"];
    let traceparent = format!("00-{TRACE}-{upstream}-01");
    assert_eq!(headers["traceparent"][0], traceparent, "{headers}");
    assert_eq!(headers["tracestate"][0], "vendor=1");
    assert_eq!(headers["baggage"][0], "secret-of-the-app=1");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_collector_the_context_still_ends_here() {
    let world = World::open().await;
    world.valid_at_calendly("anna").await;
    let sidecar = world.sidecar().await;
    let answer = traced(&sidecar, "anna", "/calendly/_echo", "01").await;
    assert!(
        !answer.must_be(200).body.contains("traceparent"),
        "{answer:?}"
    );
    let line = sidecar.log.request("").await;
    assert_eq!(line.get("trace_id"), None);
    let metrics = sidecar.admin("/metrics").await.body;
    assert!(!metrics.contains("trace_id"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_duration_leads_to_the_trace_of_its_request() {
    let (world, _collector) = world_and_collector().await;
    world.valid_at_calendly("anna").await;
    let sidecar = world.sidecar().await;
    traced(&sidecar, "anna", "/calendly/users/me", "01")
        .await
        .must_be(200);
    for metric in ["daypass_request_duration", "daypass_upstream_duration"] {
        let start = format!("{metric}_seconds_bucket");
        let exemplar = format!("# {{trace_id=\"{TRACE}\",span_id=\"");
        until(metric, async || {
            let text = sidecar.admin("/metrics").await.body;
            let mut buckets = text.lines().filter(|line| line.starts_with(&start));
            buckets.any(|line| line.contains(&exemplar)).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_hangs_costs_no_request_and_what_is_lost_is_counted() {
    let (world, collector) = world_and_collector().await;
    world.valid_at_calendly("anna").await;
    let sidecar = world.sidecar().await;
    collector.answers(0);
    let begun = Instant::now();
    // More than the queue has room for.
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let http = world.http.clone();
        let url = format!("{}/calendly/-nothing-here", sidecar.outbound);
        callers.spawn(async move {
            for _ in 0..400 {
                let sent = http.get(&url).header("x-user-id", "nobody").send().await;
                assert_eq!(sent.unwrap().status(), 424);
            }
        });
    }
    callers.join_all().await;
    assert!(
        begun.elapsed() < Duration::from_secs(30),
        "{:?}",
        begun.elapsed()
    );
    let dropped = sample(&sidecar, "daypass_trace_spans_total{outcome=\"dropped\"}").await;
    assert!(dropped > 100, "{dropped}");
    collector.answers(400);
    until("it is given up", async || {
        let failed = sample(&sidecar, "daypass_trace_spans_total{outcome=\"failed\"}").await;
        (failed > 0).then_some(())
    })
    .await;
    assert!(
        sidecar
            .log
            .text()
            .contains("the collector does not take traces")
    );
    collector.answers(200);
    sidecar.get("anna", "/calendly/users/me").await.must_be(200);
    collector.trace_with("GET").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_is_sent_when_the_process_ends() {
    let (world, collector) = world_and_collector().await;
    world.valid_at_calendly("anna").await;
    let mut sidecar = world.sidecar().await;
    sidecar.get("anna", "/calendly/users/me").await.must_be(200);
    sidecar.terminate();
    assert_eq!(sidecar.ended().await, Some(0));
    let spans = collector.spans();
    let server = named(&spans, "GET calendly");
    assert!(server.parent_span_id.is_empty(), "the first of its trace");
    assert_eq!(server.flags, 0x101);
}
