//! `[app]` and `[webhooks]`: delivery to the app.

use std::time::Duration;

use base64::{Engine, prelude::BASE64_STANDARD};
use url::Url;
use zeroize::Zeroizing;

use super::section::Section;
use crate::{base::secret::ReloadableSecret, webhook::Config};

/// The app's half of [`Config`].
pub(super) struct App {
    url: Option<Url>,
    signing_secret: Option<ReloadableSecret>,
    timeout: Option<Duration>,
}

pub(super) fn read_app(section: &Section<'_>) -> App {
    let url = section.optional_url("webhook_url");
    let signing_secret = section.secret("signing_secret", standard_webhooks_secret);
    let given =
        section.find("signing_secret").is_some() || section.find("signing_secret_file").is_some();
    if url.is_some() && !given {
        section.warning(
            "webhook_url",
            "without app.signing_secret the app cannot tell deliveries of Daypass from forged ones",
        );
    }
    App {
        url,
        signing_secret,
        timeout: section.duration("timeout", "10s"),
    }
}

pub(super) fn read(section: &Section<'_>, app: App) -> Option<Config> {
    // Calendly's own advice for its signature's timestamp.
    let tolerance = section.duration("tolerance", "3m");
    // An app that broke on a Friday evening is mended on Monday.
    let retry_for = section.duration("retry_for", "72h");
    // Longer than any provider retries one event.
    let dedupe_for = section.duration("dedupe_for", "7d");
    Some(Config {
        app_url: app.url,
        signing_secret: app.signing_secret,
        app_timeout: app.timeout?,
        tolerance: tolerance?,
        retry_for: retry_for?,
        dedupe_for: dedupe_for?,
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
