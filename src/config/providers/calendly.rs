//! `[providers.<name>]` with `kind = "calendly"`.

use toml::de::DeValue;
use url::form_urlencoded;

use super::{is_given, secret_needs_id};
use crate::{
    base::ids::ProviderName,
    config::{
        context::did_you_mean,
        secret::visible,
        section::{Section, Value},
    },
    provider::calendly::{Config, WebhookScope},
};

/// What apps with Calendly already have in their environment.
pub(super) const FALLBACKS: [(&str, &str); 3] = [
    ("client_id", "CALENDLY_OAUTH_CLIENT_ID"),
    ("client_secret", "CALENDLY_OAUTH_CLIENT_SECRET"),
    ("redirect_uri", "CALENDLY_OAUTH_REDIRECT_URI"),
];

/// Calendly's scopes (developer.calendly.com/scopes, read 2026-10); one unknown scope breaks the
/// whole consent page. `default` is what legacy apps have.
const SCOPES: [&str; 24] = [
    "activity_log:read",
    "availability:read",
    "availability:write",
    "contacts:read",
    "contacts:write",
    "data_compliance:write",
    "default",
    "event_types:read",
    "event_types:write",
    "groups:read",
    "locations:read",
    "meeting_recaps:read",
    "organizations:read",
    "organizations:write",
    "outgoing_communications:read",
    "routing_forms:read",
    "scheduled_events:read",
    "scheduled_events:write",
    "scheduling_links:write",
    "shares:write",
    "users:read",
    "users:write",
    "webhooks:read",
    "webhooks:write",
];

/// Parameters the authorize request already has; a second one would contradict it.
const TAKEN: [&str; 7] = [
    "client_id",
    "code_challenge",
    "code_challenge_method",
    "redirect_uri",
    "response_type",
    "scope",
    "state",
];

pub(super) fn read(section: &Section<'_>, name: ProviderName) -> Option<Config> {
    let api_base = section.api_base("api_base", "https://api.calendly.com");
    // Not `calendly.com/oauth`, which is the server of another product.
    let auth_base = section.api_base("auth_base", "https://auth.calendly.com");
    let client_id = section.optional_text("client_id");
    let client_secret = section.secret("client_secret", visible);
    let redirect_uri = section.optional_secure_url("redirect_uri");
    // Legacy apps accept no scope but this.
    let scope = section.text("scope", "", |text| Ok(text.trim().to_owned()));
    let authorize_params = authorize_params(section);
    let webhook_signing_key = section.secret("webhook_signing_key", visible);
    let scopes = [
        ("user", WebhookScope::User),
        ("organization", WebhookScope::Organization),
    ];
    // Needs no admin, and its events name one user.
    let webhook_scope = section.choice("webhook_scope", "user", &scopes);
    secret_needs_id(section, "client_secret", "client_id");
    if section.find("client_id").is_none() {
        section.warning(
            "client_id",
            "tokens of this provider cannot be renewed without it",
        );
    } else if !is_given(section, "client_secret") {
        section.warning(
            "client_id",
            "has no client_secret, which every app but a native one needs",
        );
    }
    for entry in scope.iter().flat_map(|scope| scope.split_whitespace()) {
        if !SCOPES.contains(&entry) {
            let hint = did_you_mean(entry, SCOPES.into_iter());
            section.warning(
                "scope",
                format!("Calendly documents no scope \"{entry}\", and refuses unknown ones{hint}"),
            );
        }
    }
    Some(Config {
        name,
        api_base: api_base?,
        auth_base: auth_base?,
        client_id,
        client_secret,
        redirect_uri,
        scope: scope?,
        authorize_params: authorize_params?,
        webhook_signing_key,
        webhook_scope: webhook_scope?,
    })
}

/// A table in the file, `a=b&c=d` elsewhere.
fn authorize_params(section: &Section<'_>) -> Option<Vec<(String, String)>> {
    const KEY: &str = "authorize_params";
    section.declare(KEY, "table", Some("{ prompt = \"consent\" }"));
    let pairs = match section.find(KEY).map(|found| found.value) {
        None => Some(vec![("prompt".to_owned(), "consent".to_owned())]),
        Some(Value::Text(text)) => Some(
            form_urlencoded::parse(text.as_bytes())
                .into_owned()
                .collect(),
        ),
        Some(Value::Typed(DeValue::Table(table))) => {
            let pair =
                |name: &str, value| Some((name.to_owned(), Value::Typed(value).text()?.to_owned()));
            table
                .iter()
                .map(|(name, value)| pair(name.get_ref(), value.get_ref()))
                .collect()
        }
        Some(Value::Typed(_)) => None,
    };
    let Some(pairs) = pairs else {
        section.problem(
            KEY,
            "expected a table of texts, such as { prompt = \"consent\" }",
        );
        return None;
    };
    if pairs.iter().any(|(name, _)| TAKEN.contains(&name.as_str())) {
        section.problem(
            KEY,
            format!(
                "may not have what Daypass sends itself: {}",
                TAKEN.join(", ")
            ),
        );
        return None;
    }
    Some(pairs)
}
