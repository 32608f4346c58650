//! `daypass health`: for exec probes.

use std::{io::Write, time::Duration};

use clap::Args;

use super::{Context, Error, Outcome, block_on, write};
use crate::http::Listen;

/// How long a probe waits; Kubernetes gives it one second by default.
const TIMEOUT: Duration = Duration::from_millis(900);

/// What to ask.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// Ask whether the process lives, not whether it is ready
    #[arg(long)]
    live: bool,
}

/// Asks the admin listener of the running sidecar; fails unless it says yes.
pub(super) fn run(options: &Options, context: &Context<'_>, out: &mut dyn Write) -> Outcome {
    let loaded = context.loaded()?;
    let listen = &loaded.settings.admin.listen;
    let path = if options.live { "/livez" } else { "/readyz" };
    let (status, body) = block_on(ask(listen, path))??;
    write(out, &format!("{}\n", body.trim_end()))?;
    if status.is_success() {
        return Ok(());
    }
    Err(Error::Failed(format!(
        "the sidecar at {listen} answers {status} to {path}"
    )))
}

async fn ask(listen: &Listen, path: &str) -> Result<(http::StatusCode, String), Error> {
    let failed = |error: reqwest::Error| {
        let error = error.without_url();
        let why = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
        Error::Failed(format!(
            "no answer from the sidecar at {listen} ({error}{})",
            why.unwrap_or_default()
        ))
    };
    let builder = reqwest::Client::builder().no_proxy().timeout(TIMEOUT);
    let (builder, authority) = match listen {
        Listen::Tcp(address) => (builder, address.to_string()),
        Listen::Unix(socket) => (
            builder.unix_socket(socket.as_path()),
            "localhost".to_owned(),
        ),
    };
    let client = builder.build().map_err(failed)?;
    let answer = client
        .get(format!("http://{authority}{path}"))
        .send()
        .await
        .map_err(failed)?;
    let status = answer.status();
    Ok((status, answer.text().await.map_err(failed)?))
}
