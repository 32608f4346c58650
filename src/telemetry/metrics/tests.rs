//! What the endpoint says, and that its documentation says the same.
//!
//! `DAYPASS_WRITE_DOCS=1 cargo test --lib metrics` adds the rows that are new, and puts all in order.

use std::{collections::BTreeSet, fmt::Write as _, time::Duration};

use super::{
    label::{
        Check, Concern, Delivery, Label, Lookup, Objection, Outcome, Redeem, Renewal, Replay,
        Status, Trace, Webhook,
    },
    *,
};
use crate::{
    base::clock::{ManualClock, Timestamp},
    telemetry::trace::SpanContext,
};

fn metrics() -> Metrics {
    Metrics::new(&ManualClock::new(Timestamp::from_secs(1_795_239_363)))
}

fn calcom() -> ProviderName {
    ProviderName::parse("calcom").unwrap()
}

/// Every sample's name, and every label name, of everything that can be recorded.
fn names(text: &str) -> BTreeSet<String> {
    let typed = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    typed
        .map(|line| {
            let (name, kind) = line.split_once(' ').unwrap();
            match kind {
                "counter" => format!("{name}_total"),
                "info" => format!("{name}_info"),
                _ => name.to_owned(),
            }
        })
        .collect()
}

#[test]
fn what_is_recorded_is_what_is_told() {
    let metrics = metrics();
    let proxy = metrics.proxy(&calcom());
    metrics.in_flight().inc();
    proxy.request(
        Outcome::of_status(http::StatusCode::OK),
        Duration::from_millis(3),
        None,
    );
    proxy.upstream(Duration::from_millis(2), None);
    proxy.replay(Replay::Recovered);
    proxy.objection(Check::PerUser, Objection::Observed);
    let token = metrics.token(&calcom());
    token.lookup(Lookup::Hit);
    token.lookup(Lookup::Hit);
    token.renewal(Redeem::Force, Renewal::Renewed, Duration::from_secs(1));
    token.connections(Status::NeedsReauth, 4);
    metrics
        .token(&calcom())
        .waiting(9_000, Duration::from_millis(4_700));
    metrics.spool_files().set(2);
    metrics.store_errors().inc();
    metrics.store_concerns(Concern::Eviction).set(1);
    let text = metrics.encode().unwrap();
    for line in [
        "daypass_requests_total{provider=\"calcom\",outcome=\"2xx\"} 1",
        "daypass_requests_in_flight 1",
        "daypass_request_duration_seconds_count{provider=\"calcom\"} 1",
        "daypass_upstream_duration_seconds_count{provider=\"calcom\"} 1",
        "daypass_replays_total{provider=\"calcom\",outcome=\"recovered\"} 1",
        "daypass_policy_objections_total{provider=\"calcom\",check=\"per_user\",outcome=\"observed\"} 1",
        "daypass_token_lookups_total{provider=\"calcom\",result=\"hit\"} 2",
        "daypass_renewals_total{provider=\"calcom\",redemption=\"force\",outcome=\"renewed\"} 1",
        "daypass_connections{provider=\"calcom\",status=\"needs_reauth\"} 4",
        "daypass_renewals_waiting{provider=\"calcom\"} 9000",
        "daypass_renewals_oldest_wait_seconds{provider=\"calcom\"} 4",
        "daypass_spool_files 2",
        "daypass_store_errors_total 1",
        "daypass_store_concerns{concern=\"eviction\"} 1",
        "process_start_time_seconds 1795239363",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
    }
}

#[test]
fn a_duration_that_was_traced_leads_to_its_trace() {
    let clock = ManualClock::new(Timestamp::EPOCH);
    let span = SpanContext {
        trace_id: [0xab; 16],
        span_id: [0xcd; 8],
        is_sampled: true,
    };
    let took = Duration::from_millis(3);
    for (metrics, has_room) in [
        (Metrics::new(&clock), false),
        (Metrics::with_exemplars(&clock), true),
    ] {
        let proxy = metrics.proxy(&calcom());
        proxy.request(Outcome::Success, took, Some(span));
        proxy.request(Outcome::Success, Duration::from_millis(9), None);
        let text = metrics.encode().unwrap();
        let (trace_id, span_id) = ("ab".repeat(16), "cd".repeat(8));
        let exemplar = format!("# {{trace_id=\"{trace_id}\",span_id=\"{span_id}\"}} 0.003");
        let found: Vec<_> = text
            .lines()
            .filter(|line| line.contains(&exemplar))
            .collect();
        assert_eq!(found.len(), usize::from(has_room), "{text}");
        if let Some(line) = found.first() {
            let bucket =
                "daypass_request_duration_seconds_bucket{le=\"0.004\",provider=\"calcom\"} 1";
            assert!(line.starts_with(bucket), "{line}");
        }
        assert!(text.contains("daypass_request_duration_seconds_count{provider=\"calcom\"} 2"));
    }
}

#[test]
fn every_word_has_its_own_place() {
    fn check<L: Label>() {
        let words: BTreeSet<_> = L::ALL.iter().map(|label| label.as_str()).collect();
        assert_eq!(words.len(), L::ALL.len());
        for (index, label) in L::ALL.iter().enumerate() {
            assert_eq!(label.index(), index, "{}", label.as_str());
        }
    }
    check::<Outcome>();
    check::<Replay>();
    check::<Check>();
    check::<Objection>();
    check::<Lookup>();
    check::<Redeem>();
    check::<Renewal>();
    check::<Status>();
    check::<Concern>();
    check::<Webhook>();
    check::<Delivery>();
    check::<Trace>();
}

#[test]
fn two_recorders_of_one_provider_count_together() {
    let metrics = metrics();
    for recorder in [metrics.token(&calcom()), metrics.token(&calcom())] {
        recorder.lookup(Lookup::Wait);
    }
    let text = metrics.encode().unwrap();
    assert!(text.contains("result=\"wait\"} 2"), "{text}");
}

#[test]
fn the_documentation_lists_every_metric_with_its_labels_and_words() {
    let document = include_str!("../../../docs/metrics.md");
    let (document, _) = document.split_once("## What to watch").unwrap();
    let metrics = metrics();
    let (_proxy, _token) = (metrics.proxy(&calcom()), metrics.token(&calcom()));
    let _webhook = metrics.webhook(&calcom());
    metrics.store_concerns(Concern::Eviction);
    metrics.traces(Trace::Exported);
    let told = names(&metrics.encode().unwrap());
    let rows = document.lines().filter_map(|line| line.strip_prefix("| `"));
    let listed: BTreeSet<String> = rows
        .filter_map(|row| row.split('`').next())
        .filter(|name| name.starts_with("daypass_") || name.starts_with("process_"))
        .map(str::to_owned)
        .collect();
    assert_eq!(listed, told);
    words::<Outcome>("outcome", "daypass_requests_total", document);
    words::<Replay>("outcome", "daypass_replays_total", document);
    words::<Check>("check", "daypass_policy_objections_total", document);
    words::<Objection>("outcome", "daypass_policy_objections_total", document);
    words::<Lookup>("result", "daypass_token_lookups_total", document);
    words::<Redeem>("redemption", "daypass_renewals_total", document);
    words::<Renewal>("outcome", "daypass_renewals_total", document);
    words::<Status>("status", "daypass_connections", document);
    words::<Concern>("concern", "daypass_store_concerns", document);
    words::<Webhook>("outcome", "daypass_webhooks_total", document);
    words::<Delivery>("outcome", "daypass_deliveries_total", document);
    words::<Trace>("outcome", "daypass_trace_spans_total", document);
}

#[test]
fn the_reference_has_the_rows_of_the_code() {
    const PAGE: &str = include_str!("../../../docs/metrics.md");
    let metrics = metrics();
    let (_proxy, _token) = (metrics.proxy(&calcom()), metrics.token(&calcom()));
    let _webhook = metrics.webhook(&calcom());
    for concern in Concern::ALL {
        metrics.store_concerns(*concern);
    }
    for fate in Trace::ALL {
        metrics.traces(*fate);
    }
    let right = rewritten(PAGE, &metrics.encode().unwrap());
    #[expect(
        clippy::disallowed_methods,
        reason = "told to the test, not a setting of the product"
    )]
    let writes = std::env::var_os("DAYPASS_WRITE_DOCS").is_some();
    if writes {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");
        std::fs::write(page, right).unwrap();
    } else {
        let unlike = right.lines().zip(PAGE.lines()).find(|(a, b)| a != b);
        assert!(
            right == PAGE,
            "run DAYPASS_WRITE_DOCS=1 cargo test --lib metrics; it should be\n{unlike:#?}"
        );
    }
}

/// The page with a row for each metric of `text`, in its order: name and type as they are; labels and
/// meaning as the page has them, or what the code says if it has none.
fn rewritten(page: &str, text: &str) -> String {
    const HEAD: &str = "| metric | type | labels | meaning |\n|---|---|---|---|\n";
    let (before, rest) = page.split_once(HEAD).unwrap();
    let (rows, after) = rest.split_once("\n\n").unwrap();
    let said = |name: &str| {
        let row = rows
            .lines()
            .find(|row| row.starts_with(&format!("| `{name}` ")));
        row.and_then(|row| row.splitn(3, " | ").nth(2))
            .map(str::to_owned)
    };
    let mut table = String::new();
    for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (family, kind) = line.split_once(' ').unwrap();
        let name = match kind {
            "counter" => format!("{family}_total"),
            "info" => format!("{family}_info"),
            _ => family.to_owned(),
        };
        let help = text
            .lines()
            .find_map(|line| line.strip_prefix(&format!("# HELP {family} ")));
        let of_code = || {
            format!(
                "{} | {} |",
                labels(text, family),
                help.unwrap().trim_end_matches('.')
            )
        };
        let rest = said(&name).unwrap_or_else(of_code);
        writeln!(table, "| `{name}` | {kind} | {rest}").unwrap();
    }
    format!("{before}{HEAD}{}\n\n{after}", table.trim_end())
}

/// The labels of a family, with the words that each may have.
fn labels(text: &str, family: &str) -> String {
    let mut labels: Vec<(&str, Vec<&str>)> = Vec::new();
    let samples = text.lines().filter(|line| line.starts_with(family));
    for sample in samples.filter_map(|line| line.split_once('{')) {
        for pair in sample.1.split('}').next().unwrap().split(',') {
            let (label, word) = pair.split_once('=').unwrap();
            let word = word.trim_matches('"');
            match labels.iter_mut().find(|(known, _)| *known == label) {
                Some((_, words)) if !words.contains(&word) => words.push(word),
                Some(_) => {}
                None => labels.push((label, vec![word])),
            }
        }
    }
    let told = labels.iter().filter(|(label, _)| *label != "le");
    let told: Vec<_> = told
        .map(|(label, words)| match *label {
            "provider" | "version" => format!("`{label}`"),
            _ => format!("`{label}`: `{}`", words.join("`, `")),
        })
        .collect();
    if told.is_empty() {
        "–".to_owned()
    } else {
        told.join(", ")
    }
}

/// That the row of `metric` lists `label` with every word it may have.
fn words<L: Label>(label: &str, metric: &str, document: &str) {
    let row = document
        .lines()
        .find(|line| line.starts_with(&format!("| `{metric}` ")));
    let row = row.unwrap_or_default();
    assert!(row.contains(&format!("`{label}`")), "{metric}: {label}");
    for word in L::ALL.iter().map(|label| label.as_str()) {
        assert!(row.contains(&format!("`{word}`")), "{metric}: {word}");
    }
}
