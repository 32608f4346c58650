//! `[app]` and `[webhooks]`: delivery to the app.

use std::time::Duration;

use base64::{Engine, prelude::BASE64_STANDARD};
use zeroize::Zeroizing;

use super::{context::did_you_mean, section::Section};
use crate::{
    base::secret::ReloadableSecret,
    webhook::{Config, Destination, OwnEvent},
};

/// [`OwnEvent::ALL`], as the documents have it; a test holds the two together.
const ALL_EVENTS: &str = r#"["connection.connected", "connection.refreshed", "connection.needs_reauth", "connection.disconnected", "meetings.synced"]"#;

/// The app's half of [`Config`].
pub(super) struct App {
    destination: Option<Destination>,
    signing_secret: Option<ReloadableSecret>,
    previous_signing_secret: Option<ReloadableSecret>,
    timeout: Option<Duration>,
    own_events: Option<Vec<OwnEvent>>,
}

pub(super) fn read_app(section: &Section<'_>) -> App {
    // One app is one shard.
    let shards = section.count("shards", "1");
    let destination = section.optional("webhook_url", "URL", |text| {
        let shards = u64::try_from(shards.unwrap_or(1)).unwrap_or(1);
        Destination::parse(text.trim(), shards).map_err(|error| error.to_string())
    });
    let signing_secret = section.secret("signing_secret", standard_webhooks_secret);
    let previous_signing_secret =
        section.secret("previous_signing_secret", standard_webhooks_secret);
    let given =
        section.find("signing_secret").is_some() || section.find("signing_secret_file").is_some();
    if destination.is_some() && !given {
        section.warning(
            "webhook_url",
            "without app.signing_secret the app cannot tell deliveries of Daypass from forged ones",
        );
    }
    App {
        destination,
        signing_secret,
        previous_signing_secret,
        timeout: section.duration("timeout", "10s"),
        // An app that shows anything of a connection wants to know when it changes.
        own_events: section.list_or("events", ALL_EVENTS, OwnEvent::ALL.to_vec(), own_event),
    }
}

pub(super) fn read(section: &Section<'_>, app: App) -> Option<Config> {
    // Calendly's own advice for its signature's timestamp.
    let tolerance = section.duration("tolerance", "3m");
    // An app that broke on a Friday evening is mended on Monday.
    let retry_for = section.duration("retry_for", "72h");
    // Longer than any provider retries one event.
    let dedupe_for = section.duration("dedupe_for", "7d");
    // Long enough for somebody to come back from holidays and look.
    let keep_for = section.duration("keep_for", "30d");
    Some(Config {
        destination: app.destination,
        signing_secret: app.signing_secret,
        previous_signing_secret: app.previous_signing_secret,
        app_timeout: app.timeout?,
        own_events: app.own_events?,
        tolerance: tolerance?,
        retry_for: retry_for?,
        dedupe_for: dedupe_for?,
        keep_for: keep_for?,
    })
}

fn own_event(text: &str) -> Result<OwnEvent, String> {
    let known = OwnEvent::ALL.map(OwnEvent::as_str);
    OwnEvent::parse(text).ok_or_else(|| {
        format!(
            "there is no event {text:?}{}: there are {}",
            did_you_mean(text, known.into_iter()),
            known.join(", ")
        )
    })
}

/// Standard Webhooks, "Signature scheme": `whsec_` and 24 to 64 bytes in base64.
fn standard_webhooks_secret(text: &str) -> Result<(), &'static str> {
    const FAULT: &str = "must be \"whsec_\" followed by 24 to 64 bytes in base64";
    let encoded = text.strip_prefix("whsec_").ok_or(FAULT)?;
    match BASE64_STANDARD.decode(encoded).map(Zeroizing::new) {
        Ok(bytes) if (24..=64).contains(&bytes.len()) => Ok(()),
        _ => Err(FAULT),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_that_is_documented_is_all_events() {
        let all = OwnEvent::ALL.map(|event| format!("{:?}", event.as_str()));
        assert_eq!(ALL_EVENTS, format!("[{}]", all.join(", ")));
    }
}
