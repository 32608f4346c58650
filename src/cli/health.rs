//! `daypass health`: for exec probes.

use std::{io::Write, time::Duration};

use clap::Args;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::{Context, Error, Outcome, block_on, duration, write, write_json};
use crate::http::Listen;

/// How long a probe waits; Kubernetes gives it one second by default.
const TIMEOUT: Duration = Duration::from_millis(900);

/// How often `--wait` asks.
const ASK_EVERY: Duration = Duration::from_millis(100);

/// What to ask.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// Ask whether the process lives, not whether it is ready
    #[arg(long)]
    live: bool,
    /// Ask again for up to this long until the answer is yes
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "0s")]
    wait: Duration,
}

/// Asks the admin listener of the running sidecar; fails unless it says yes.
pub(super) fn run(options: &Options, context: &Context<'_>, out: &mut dyn Write) -> Outcome {
    let loaded = context.loaded()?;
    let listen = &loaded.settings.admin.listen;
    let path = if options.live { "/livez" } else { "/readyz" };
    let (status, body) = block_on(ask_for(listen, path, options.wait))??;
    if context.global.json {
        let plain = || json!({ "status": body.trim_end() });
        write_json(
            out,
            &serde_json::from_str(&body).unwrap_or_else(|_| plain()),
        )?;
    } else {
        write(out, &as_text(&body))?;
    }
    if status.is_success() {
        return Ok(());
    }
    Err(Error::Failed(format!(
        "the sidecar at {listen} answers {status} to {path}"
    )))
}

/// One line for the whole, and one for each component that is not well.
fn as_text(body: &str) -> String {
    let Ok(report) = serde_json::from_str::<Value>(body) else {
        return format!("{}\n", body.trim_end());
    };
    let text = |value: &Value, field| {
        let text = value.get(field).and_then(Value::as_str);
        text.unwrap_or_default().to_owned()
    };
    let mut lines = format!("{}\n", text(&report, "status"));
    let components = report.get("components").and_then(Value::as_object);
    for (name, component) in components.into_iter().flatten() {
        let (status, reason) = (text(component, "status"), text(component, "reason"));
        if !reason.is_empty() {
            lines = lines + "  " + name + " is " + &status + ": " + &reason + "\n";
        }
    }
    lines
}

/// Asks until the answer is yes, or `wait` is over: the last answer.
async fn ask_for(
    listen: &Listen,
    path: &str,
    wait: Duration,
) -> Result<(http::StatusCode, String), Error> {
    let until = Instant::now() + wait;
    loop {
        let answer = ask(listen, path).await;
        let is_well = answer.as_ref().is_ok_and(|(status, _)| status.is_success());
        if is_well || Instant::now() >= until {
            return answer;
        }
        sleep(ASK_EVERY).await;
    }
}

async fn ask(listen: &Listen, path: &str) -> Result<(http::StatusCode, String), Error> {
    let failed = |error: reqwest::Error| {
        let mut root: &dyn std::error::Error = &error;
        while let Some(cause) = root.source() {
            root = cause;
        }
        Error::Failed(format!(
            "no answer from the sidecar at {listen} ({root}): does it run, and with the same \
             configuration?"
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
