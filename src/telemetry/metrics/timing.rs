//! A histogram of durations, with or without exemplars: the trace of a request in each bucket.

use std::{fmt, time::Duration};

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeMetric, MetricEncoder},
    metrics::{
        MetricType, TypedMetric,
        exemplar::HistogramWithExemplars,
        histogram::{Histogram, exponential_buckets},
    },
};

use crate::telemetry::trace::SpanContext;

/// Durations. Clones share everything.
#[derive(Clone, Debug)]
pub(super) enum Timing {
    /// Where there are no traces: one lock less.
    Plain(Histogram),
    /// The last one of each bucket.
    WithExemplars(HistogramWithExemplars<ExemplarLabels>),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ExemplarLabels {
    trace_id: String,
    span_id: String,
}

/// 1 ms to about 65 s by doubling: from a hit on the local sandbox to past every timeout.
fn buckets() -> impl Iterator<Item = f64> {
    exponential_buckets(0.001, 2.0, 17)
}

// === impl Timing ===

impl Timing {
    pub(super) fn plain() -> Self {
        Self::Plain(Histogram::new(buckets()))
    }

    pub(super) fn with_exemplars() -> Self {
        Self::WithExemplars(HistogramWithExemplars::new(buckets()))
    }

    /// Counts a duration; `of` is the span that it was measured in, if that is recorded.
    pub(super) fn observe(&self, took: Duration, of: Option<SpanContext>) {
        let seconds = took.as_secs_f64();
        match self {
            Self::Plain(histogram) => histogram.observe(seconds),
            Self::WithExemplars(histogram) => {
                let labels = of.map(|span| ExemplarLabels {
                    trace_id: span.trace_id(),
                    span_id: span.span_id(),
                });
                histogram.observe(seconds, labels, None);
            }
        }
    }
}

impl TypedMetric for Timing {
    const TYPE: MetricType = MetricType::Histogram;
}

impl EncodeMetric for Timing {
    fn encode(&self, encoder: MetricEncoder<'_>) -> fmt::Result {
        match self {
            Self::Plain(histogram) => histogram.encode(encoder),
            Self::WithExemplars(histogram) => histogram.encode(encoder),
        }
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}
