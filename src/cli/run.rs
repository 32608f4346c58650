//! `daypass run`: the sidecar, until it is told to stop.

use super::{Context, Outcome, block_on};
use crate::{app::Sidecar, telemetry::log};

/// Runs until SIGTERM or SIGINT, then drains.
pub(super) fn run(context: &Context<'_>) -> Outcome {
    let loaded = context.loaded()?;
    log::init(&loaded.settings.telemetry)?;
    match &loaded.file {
        Some(file) => tracing::info!(file = %file.display(), "configuration"),
        None => tracing::info!("no configuration file: defaults and environment"),
    }
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    block_on(async move {
        let sidecar = Sidecar::start(&loaded.settings).await?;
        let tokens = sidecar.core().tokens.clone();
        loaded
            .secrets
            .watch(sidecar.lifecycle(), move || tokens.credentials_changed());
        sidecar.run_until_signal().await?;
        Ok(())
    })?
}
