//! `daypass store …`: the store as a whole.

use std::io::Write;

use clap::Subcommand;

use super::{Context, Outcome, operator};
use crate::telemetry::{self, log};

mod migrate;
mod odd;
mod rest;
mod transfer;
mod verify;
mod walk;

/// What to do with the store.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Move all connections to another store, and verify that they are there
    ///
    /// Tokens stay sealed, and ids, generations and marks stay as they are. The source is not changed.
    /// A run that was killed is repeated, and goes on from where it was. Stop every sidecar first; or use
    /// --follow, and stop them when all but the last changes are copied. What is not named here is
    /// store.url of the configuration: `daypass store migrate --to-file new-url`.
    Migrate(migrate::Options),
}

/// Runs the command.
pub(super) fn run(command: &Command, context: &Context<'_>, out: &mut dyn Write) -> Outcome {
    let loaded = context.loaded()?;
    log::init(&telemetry::Config {
        log: "off,daypass::audit=warn".to_owned(),
        ..loaded.settings.telemetry.clone()
    })?;
    match command {
        Command::Migrate(options) => {
            let operator = operator::of(context.environment);
            migrate::run(options, &loaded, &operator, context.global.json, out)
        }
    }
}
