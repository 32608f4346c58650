//! `daypass sandbox`: the emulated providers alone.

use std::{io::Write, sync::Arc};

use clap::Args;

use serde_json::json;

use super::{Context, Error, Outcome, block_on, ended, write, write_json};
use crate::{
    app::Signals,
    base::{clock::SystemClock, lifecycle::Lifecycle, random::OsRandom},
    sandbox::{self, Sandbox},
};

/// Where the emulated providers listen.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// Port of the emulated Cal.com; 0 takes a free one
    #[arg(long, default_value_t = 7430, value_name = "PORT")]
    calcom_port: u16,
    /// Port of the emulated Calendly; 0 takes a free one
    #[arg(long, default_value_t = 7431, value_name = "PORT")]
    calendly_port: u16,
    /// Start without alice and bob
    #[arg(long)]
    empty: bool,
}

/// Runs until SIGTERM or SIGINT.
pub(super) fn run(options: &Options, context: &Context<'_>, out: &mut dyn Write) -> Outcome {
    context.has_its_own_configuration("sandbox")?;
    block_on(async {
        let mut signals = Signals::new()?;
        let lifecycle = Lifecycle::new();
        let sandbox = start(
            sandbox::Options {
                calcom_port: options.calcom_port,
                calendly_port: options.calendly_port,
                seed: !options.empty,
                ..sandbox::Options::default()
            },
            &lifecycle,
        )
        .await?;
        if context.global.json {
            let (calcom, calendly) = (sandbox.calcom_url(), sandbox.calendly_url());
            write_json(out, &json!({ "calcom": calcom, "calendly": calendly }))?;
        } else {
            write(out, &welcome(&sandbox))?;
        }
        signals.next().await;
        ended(signals.drain(&lifecycle).await)
    })?
}

/// Starts the emulators on the machine's own clock and randomness.
pub(super) async fn start(
    options: sandbox::Options,
    lifecycle: &Lifecycle,
) -> Result<Sandbox, Error> {
    let ports = format!("{} and {}", options.calcom_port, options.calendly_port);
    let started = Sandbox::start(
        options,
        lifecycle.clone(),
        Arc::new(SystemClock),
        Arc::new(OsRandom),
    );
    started.await.map_err(|source| Error::Io {
        what: format!(
            "the sandbox cannot listen on ports {ports}; choose others with --calcom-port and \
             --calendly-port"
        ),
        source,
    })
}

fn welcome(sandbox: &Sandbox) -> String {
    let (calcom, calendly) = (sandbox.calcom_url(), sandbox.calendly_url());
    format!(
        "The emulated providers are up. Everything they know is made up.

  Cal.com   {calcom}
  Calendly  {calendly}

What they can do, and how mean they are told to be:

  curl {calcom}/_sandbox
  curl -X POST {calcom}/_sandbox/users -d '{{\"name\":\"carol\"}}' -H content-type:application/json

Stop with Ctrl-C.
"
    )
}
