//! `daypass run`: the sidecar, until it is told to stop.

use std::{path::Path, time::Duration};

use clap::Args;

use super::{Context, Outcome, block_on, duration, ended};
use crate::{
    app::{Handover, Sidecar, Signals, StartError, Supervisor, Surroundings},
    base::steps,
    telemetry::log,
};

/// Names the file of [`steps::hold_as_told_in`]; for the tests of this crate, and nobody else.
const HOLD_VARIABLE: &str = "TEST_HOLD_FILE";

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
    // Before anything is started: see there.
    let handover = Handover::take(context.environment).map_err(StartError::from)?;
    let loaded = context.loaded()?;
    log::init(&loaded.settings.telemetry)?;
    if let Some(file) = context.environment.get(HOLD_VARIABLE) {
        steps::hold_as_told_in(Path::new(file));
    }
    if let Some(file) = &loaded.file {
        tracing::info!(file = %file.display(), "configuration");
    } else {
        tracing::info!("no configuration file: defaults and environment");
    }
    for warning in &loaded.warnings {
        tracing::warn!("{}", warning.to_string().replace("\n    ", ": "));
    }
    let supervisor = Supervisor::of(context.environment);
    block_on(async move {
        let mut signals = Signals::new()?;
        if supervisor.is_there() {
            signals.reload_at_hangup()?;
        }
        let surroundings = Surroundings {
            handover,
            supervisor,
        };
        let starting = Sidecar::start_in(surroundings, &loaded.settings);
        let Some(started) = signals.unless(starting).await else {
            return Ok(());
        };
        let sidecar = started?;
        let tokens = sidecar.core().tokens.clone();
        let changed = move || tokens.credentials_changed();
        let reload = loaded.secrets.watch(sidecar.lifecycle(), changed);
        let ending = sidecar.run_until_signal(&mut signals, linger, &reload);
        ended(ending.await)
    })?
}
