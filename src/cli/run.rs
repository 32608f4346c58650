//! `daypass run`: the sidecar, until it is told to stop.

use std::time::Duration;

use clap::Args;

use super::{Context, Outcome, block_on, duration, ended};
use crate::{
    app::{Sidecar, Signals},
    telemetry::log,
};

/// How to end.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// Serve on for this long after the first signal, not ready, and drain then: where services are told
    /// later than a pod that it ends, or apps end beside their sidecar
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "0s")]
    linger: Duration,
}

/// Runs until SIGTERM or SIGINT, then drains.
pub(super) fn run(options: &Options, context: &Context<'_>) -> Outcome {
    let linger = options.linger;
    let loaded = context.loaded()?;
    log::init(&loaded.settings.telemetry)?;
    if let Some(file) = &loaded.file {
        tracing::info!(file = %file.display(), "configuration");
    } else {
        tracing::info!("no configuration file: defaults and environment");
    }
    for warning in &loaded.warnings {
        tracing::warn!("{}", warning.to_string().replace("\n    ", ": "));
    }
    block_on(async move {
        let mut signals = Signals::new()?;
        let Some(started) = signals.unless(Sidecar::start(&loaded.settings)).await else {
            return Ok(());
        };
        let sidecar = started?;
        let tokens = sidecar.core().tokens.clone();
        let changed = move || tokens.credentials_changed();
        loaded.secrets.watch(sidecar.lifecycle(), changed);
        ended(sidecar.run_until_signal(&mut signals, linger).await)
    })?
}
