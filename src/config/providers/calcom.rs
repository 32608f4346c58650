//! `[providers.<name>]` with `kind = "calcom"`.

use super::{is_given, secret_needs_id};
use crate::{
    base::ids::ProviderName,
    config::{secret::visible, section::Section},
    provider::calcom::Config,
};

/// What apps with Cal.com's platform already have in their environment.
pub(super) const FALLBACKS: [(&str, &str); 2] = [
    ("platform_client_id", "NEXT_PUBLIC_CAL_CLIENT_ID"),
    ("platform_client_secret", "CAL_CLIENT_SECRET"),
];

/// The hosted regions: the API's host, and the web app that asks for consent.
const REGIONS: [(&str, &str); 2] = [
    ("api.cal.com", "https://app.cal.com/auth/oauth2/authorize"),
    ("api.cal.eu", "https://app.cal.eu/auth/oauth2/authorize"),
];

pub(super) fn read(section: &Section<'_>, name: ProviderName) -> Option<Config> {
    let api_base = section.api_base("api_base", "https://api.cal.com");
    let base = api_base
        .as_ref()
        .map_or_else(String::new, ToString::to_string);
    let region = REGIONS.iter().find(|(host, _)| {
        api_base
            .as_ref()
            .is_some_and(|base| base.authority().as_str() == *host)
    });
    let [(_, authorize_default), _] = REGIONS;
    let authorize_url = section.secure_url(
        "authorize_url",
        authorize_default,
        region.map_or(authorize_default, |(_, url)| url),
    );
    if region.is_none() && api_base.is_some() && section.find("authorize_url").is_none() {
        section.warning(
            "authorize_url",
            format!(
                "users are asked for consent at {authorize_default}, although api_base is elsewhere"
            ),
        );
    }
    // Cal.com moved this endpoint several times, hence a whole URL.
    let token_default = format!("{base}/v2/auth/oauth2/token");
    let token_url = match &api_base {
        Some(_) => section.secure_url(
            "token_url",
            "{api_base}/v2/auth/oauth2/token",
            &token_default,
        ),
        None => section.optional_secure_url("token_url"),
    };
    let client_id = section.optional_text("client_id");
    let client_secret = section.secret("client_secret", visible);
    let redirect_uri = section.optional_secure_url("redirect_uri");
    let scope = section.text("scope", "", |text| Ok(text.trim().to_owned()));
    let platform_client_id = section.optional_text("platform_client_id");
    let platform_client_secret = section.secret("platform_client_secret", visible);
    let webhook_secret = section.secret("webhook_secret", webhook_secret);
    // The version whose booking answers Daypass's own reads are written for.
    let api_version = section.text("api_version", "2024-08-13", api_version);
    check_clients(section);
    Some(Config {
        name,
        api_base: api_base?,
        authorize_url: authorize_url?,
        token_url: token_url?,
        client_id,
        client_secret,
        redirect_uri,
        scope: scope?,
        platform_client_id,
        platform_client_secret,
        webhook_secret,
        api_version: api_version?,
    })
}

fn check_clients(section: &Section<'_>) {
    secret_needs_id(section, "client_secret", "client_id");
    secret_needs_id(section, "platform_client_secret", "platform_client_id");
    let has_platform = section.find("platform_client_id").is_some();
    if has_platform && !is_given(section, "platform_client_secret") {
        section.warning(
            "platform_client_id",
            "managed users cannot be renewed without platform_client_secret",
        );
    }
    if !has_platform && section.find("client_id").is_none() {
        section.warning(
            "client_id",
            "neither client_id nor platform_client_id is set: tokens of this provider cannot be renewed",
        );
    }
}

/// Cal.com signs with this literal where a webhook has no secret, so anybody can.
fn webhook_secret(text: &str) -> Result<(), &'static str> {
    match text {
        "no-secret-provided" => Err("is what Cal.com uses for webhooks without a secret"),
        text => visible(text),
    }
}

fn api_version(text: &str) -> Result<String, String> {
    let shaped = text.len() == 10
        && text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'-');
    if shaped {
        Ok(text.to_owned())
    } else {
        Err("expected a date such as \"2024-08-13\"".to_owned())
    }
}
