//! What sends traces to the collector, where one is configured.

use std::sync::Arc;

use super::StartError;
use crate::{
    base::{clock::SystemClock, lifecycle::Lifecycle, random::OsRandom},
    config::Settings,
    http::tls::{self, Alpn},
    telemetry::{metrics::Metrics, trace::Exporter},
};

/// The metrics of a sidecar, which lead to traces if there are any.
pub(super) fn metrics(settings: &Settings) -> Metrics {
    match settings.telemetry.traces.endpoint {
        Some(_) => Metrics::with_exemplars(&SystemClock),
        None => Metrics::new(&SystemClock),
    }
}

/// The way to the collector; it runs until `lifecycle` stops.
pub(super) fn exporter(
    settings: &Settings,
    metrics: &Metrics,
    lifecycle: &Lifecycle,
) -> Result<Option<Exporter>, StartError> {
    let traces = &settings.telemetry.traces;
    if traces.endpoint.is_none() {
        return Ok(None);
    }
    let tls = tls::client_config(settings.tls_ca_file.as_deref(), Alpn::Http)?;
    let http = reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .map_err(StartError::Collector)?;
    let (clock, random) = (Arc::new(SystemClock), Arc::new(OsRandom));
    Ok(Exporter::start(
        traces,
        http,
        metrics,
        (clock, random),
        lifecycle,
    ))
}
