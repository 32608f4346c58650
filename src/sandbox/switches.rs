//! The switches: how mean an emulated provider is, and for how long.
//!
//! Everything is off, or as the real service does it, until switched. A fault is taken once per
//! matching request until its `times` are used up; without `times` it stays until removed. Faults are
//! tried in order, and one request meets at most one.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How one emulated provider behaves. The JSON of `GET` and `PATCH /_sandbox/switches`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Switches {
    /// Milliseconds a token call waits *before* it commits; a race happens inside this gap.
    pub token_latency_ms: u64,
    /// Milliseconds a token call waits *after* the tokens were rotated.
    pub token_latency_after_ms: u64,
    /// Milliseconds an API call waits before it is handled.
    pub api_latency_ms: u64,
    /// Seconds by which the provider's clock is ahead (negative: behind). Moves `Date`, `iat`, `exp`
    /// and absolute times.
    pub clock_skew_secs: i64,
    /// Seconds an access token lives; `null` means as the real service.
    pub access_lifetime_secs: Option<u64>,
    /// Seconds a refresh token lives where the service ages them; `null` means as the real service.
    pub refresh_lifetime_secs: Option<u64>,
    /// API calls per minute and bucket; zero switches the limit off.
    pub api_per_minute: u32,
    /// Token calls per minute and bucket (Cal.com: address, Calendly: user); zero switches it off.
    pub token_per_minute: u32,
    /// The redirect URIs that are registered; none means that any loopback URI is.
    pub redirect_uris: Vec<String>,
    /// The secret of the OAuth client. Changing it refuses the old one at once.
    pub client_secret: String,
    /// What the provider's staff think of the OAuth client.
    pub client_status: ClientStatus,
    /// The consent page approves by itself, as this user; `null` shows the page.
    pub consent_as: Option<String>,
    /// Whoever approves grants this scope in place of what was asked for; `null` grants it all.
    pub consent_scope: Option<String>,
    /// The consent page refuses by itself.
    pub consent_denied: bool,
    /// Faults of token calls.
    pub token_faults: Vec<TokenFault>,
    /// Faults of API calls.
    pub api_faults: Vec<ApiFault>,
    /// Webhook retry delays are divided by this, so that 24 h fit into a test.
    pub webhook_compression: u32,
    /// What only Cal.com has.
    pub calcom: CalcomSwitches,
    /// What only Calendly has.
    pub calendly: CalendlySwitches,
}

/// Switches that only the emulated Cal.com heeds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub struct CalcomSwitches {
    /// Whether `OAuth2` refresh tokens are single use (lineage B) or reusable (lineage A).
    pub oauth2_rotation: bool,
    /// Whether managed expiry times are floored to the minute and the day. Never applied to a
    /// lifetime that was set by hand.
    pub floor_times: bool,
    /// Whether killed managed tokens are still in the validity cache, so that the refusal reads
    /// `OAuth client not found given the access token`.
    pub cached_kills: bool,
    /// The secret of the platform client.
    pub platform_client_secret: String,
    /// Whether webhooks are refused with 403, as a plan or a role may have it.
    pub no_webhooks: bool,
    /// Whether it is an older server: it knows fewer triggers, and can neither filter nor sort bookings
    /// by change.
    pub old_server: bool,
    /// Milliseconds between telling a cancellation and writing it down.
    pub cancel_lag_ms: u64,
}

/// Switches that only the emulated Calendly heeds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub struct CalendlySwitches {
    /// Whether a refresh revokes the access token that was issued with the spent refresh token.
    pub old_access_dies: bool,
    /// Whether the app predates granular scopes and accepts only `default` or none.
    pub legacy_app: bool,
    /// The status of `invalid_grant`: 400 or 401.
    pub spent_status: u16,
    /// The app-wide webhook signing key, used for subscriptions without one of their own.
    pub app_signing_key: Option<String>,
    /// Whether nobody has a paid plan, hence no webhooks.
    pub free_plan: bool,
    /// What makes two webhook subscriptions the same, so that the second is refused.
    pub same_webhook: SameWebhook,
    /// Whether `event_type.*` cannot be subscribed to, as one of two documents has it.
    pub no_event_types: bool,
}

/// What makes two webhook subscriptions at Calendly the same, which is not documented.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SameWebhook {
    /// The address, the scope and whose it is.
    Owner,
    /// The address alone.
    Url,
    /// Nothing: there may be any number.
    Never,
}

/// What the provider's staff think of an OAuth client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientStatus {
    /// Works.
    Approved,
    /// Waits for approval: `unauthorized_client`, on refresh too.
    Pending,
    /// Turned down: `unauthorized_client`, on refresh too.
    Rejected,
}

/// Which token call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Call {
    /// Exchange of an authorization code.
    Code,
    /// Redemption of a refresh token.
    Refresh,
    /// Cal.com's client-secret call that kills every earlier token.
    ForceRefresh,
    /// Creation of a managed user.
    CreateUser,
    /// Revocation.
    Revoke,
    /// Introspection.
    Introspect,
    /// A call whose grant type was missing or unknown.
    Unknown,
}

/// A fault of the token endpoints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenFault {
    /// How many calls it still meets; absent means all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u32>,
    /// Only these calls; absent means all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<Call>,
    /// What goes wrong.
    #[serde(flatten)]
    pub what: TokenMischief,
}

/// What goes wrong at a token endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum TokenMischief {
    /// Tokens are rotated, then the connection is closed without an answer.
    DropAfter,
    /// The connection is closed; nothing happened.
    DropBefore,
    /// Tokens are rotated, and no answer ever comes.
    HangAfter,
    /// This answer; nothing happened.
    Answer(Canned),
    /// Tokens are rotated, then this answer.
    AnswerAfter(Canned),
    /// Tokens are rotated, and the 200 is broken.
    Malformed {
        /// In which way.
        how: Malformation,
    },
    /// 404 with an HTML page, as if the route did not exist.
    Missing,
    /// The provider's own refusal of the client.
    InvalidClient,
    /// The provider's own `unauthorized_client`.
    UnauthorizedClient,
    /// The provider's own refusal of the grant, without touching it.
    InvalidGrant,
    /// Cal.com managed: the answer to the loser of a race, 404 `NOT_FOUND`.
    RaceLost,
}

/// How a 200 is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Malformation {
    /// No body.
    Empty,
    /// An HTML page.
    Html,
    /// JSON cut in the middle.
    Truncated,
    /// JSON without the access token.
    NoAccessToken,
    /// JSON without the refresh token.
    NoRefreshToken,
    /// JSON without any expiry.
    NoExpiry,
}

/// A fault of the API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiFault {
    /// How many calls it still meets; absent means all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u32>,
    /// Only calls of this sandbox user; absent means all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Only paths that start with this; absent means all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// What goes wrong.
    #[serde(flatten)]
    pub what: ApiMischief,
}

/// What goes wrong at the API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ApiMischief {
    /// This answer.
    Answer(Canned),
    /// The provider's 401 for a bad token.
    Unauthorized,
    /// Cal.com's 498 for an expired token; elsewhere a 401.
    Expired,
    /// Cal.com's 403 that carries the token in its text; elsewhere a 401.
    LeakingForbidden,
    /// 403: the token lacks a scope.
    InsufficientScope,
    /// 429.
    RateLimited {
        /// Any text as `Retry-After`; absent means no such header.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_after: Option<String>,
    },
    /// 500 in the provider's own shape.
    ServerError,
    /// 403 with an HTML page, as an edge makes it.
    HtmlForbidden,
    /// The connection is closed without an answer.
    Drop,
    /// No answer ever comes.
    Hang,
}

/// A prepared answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Canned {
    /// 100–599; anything else becomes 500.
    pub status: u16,
    /// The body.
    pub body: String,
    /// More headers, `content-type` and `retry-after` among them; invalid ones are left out.
    pub headers: BTreeMap<String, String>,
}

// === impl Switches ===

impl Default for Switches {
    fn default() -> Self {
        Self {
            token_latency_ms: 0,
            token_latency_after_ms: 0,
            api_latency_ms: 0,
            clock_skew_secs: 0,
            access_lifetime_secs: None,
            refresh_lifetime_secs: None,
            api_per_minute: 500,
            token_per_minute: 120,
            redirect_uris: Vec::new(),
            client_secret: "sandbox-client-secret".to_owned(),
            client_status: ClientStatus::Approved,
            consent_as: None,
            consent_scope: None,
            consent_denied: false,
            token_faults: Vec::new(),
            api_faults: Vec::new(),
            webhook_compression: 1,
            calcom: CalcomSwitches::default(),
            calendly: CalendlySwitches::default(),
        }
    }
}

impl Switches {
    /// Applies a JSON merge patch (RFC 7396); unknown keys and wrong types are refused.
    pub(crate) fn patched(&self, patch: &Value) -> Result<Self, serde_json::Error> {
        let mut whole = serde_json::to_value(self)?;
        merge(&mut whole, patch);
        serde_json::from_value(whole)
    }

    pub(crate) fn take_token_fault(&mut self, call: Call) -> Option<TokenMischief> {
        let at = self
            .token_faults
            .iter()
            .position(|fault| fault.call.is_none_or(|only| only == call))?;
        let fault = self.token_faults.get_mut(at)?;
        let what = fault.what.clone();
        if spend(&mut fault.times) {
            self.token_faults.remove(at);
        }
        Some(what)
    }

    pub(crate) fn take_api_fault(&mut self, user: Option<&str>, path: &str) -> Option<ApiMischief> {
        let at = self.api_faults.iter().position(|fault| {
            fault.user.as_deref().is_none_or(|only| Some(only) == user)
                && fault
                    .path
                    .as_deref()
                    .is_none_or(|only| path.starts_with(only))
        })?;
        let fault = self.api_faults.get_mut(at)?;
        let what = fault.what.clone();
        if spend(&mut fault.times) {
            self.api_faults.remove(at);
        }
        Some(what)
    }
}

/// Uses one of `times`; true if that was the last.
fn spend(times: &mut Option<u32>) -> bool {
    let Some(left) = times else { return false };
    *left = left.saturating_sub(1);
    *left == 0
}

fn merge(whole: &mut Value, patch: &Value) {
    let (Value::Object(into), Value::Object(from)) = (&mut *whole, patch) else {
        *whole = patch.clone();
        return;
    };
    for (key, value) in from {
        merge(into.entry(key.clone()).or_insert(Value::Null), value);
    }
}

// === impl CalcomSwitches ===

impl Default for CalcomSwitches {
    fn default() -> Self {
        Self {
            oauth2_rotation: true,
            floor_times: true,
            cached_kills: false,
            platform_client_secret: "sandbox-platform-secret".to_owned(),
            no_webhooks: false,
            old_server: false,
            cancel_lag_ms: 0,
        }
    }
}

// === impl CalendlySwitches ===

impl Default for CalendlySwitches {
    fn default() -> Self {
        Self {
            old_access_dies: true,
            legacy_app: false,
            spent_status: 400,
            app_signing_key: None,
            free_plan: false,
            same_webhook: SameWebhook::Owner,
            no_event_types: false,
        }
    }
}

// === impl TokenFault ===

impl TokenFault {
    /// `what`, for the next `times` token calls of any sort.
    pub const fn next(times: u32, what: TokenMischief) -> Self {
        Self {
            times: Some(times),
            call: None,
            what,
        }
    }
}

// === impl ApiFault ===

impl ApiFault {
    /// `what`, for the next `times` API calls of anyone.
    pub const fn next(times: u32, what: ApiMischief) -> Self {
        Self {
            times: Some(times),
            user: None,
            path: None,
            what,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_patch_changes_what_it_names_and_nothing_else() {
        let patch = json!({"token_latency_ms": 7, "calcom": {"oauth2_rotation": false}});
        let patched = Switches::default().patched(&patch).unwrap();
        assert_eq!(patched.token_latency_ms, 7);
        assert!(!patched.calcom.oauth2_rotation && patched.calcom.floor_times);
    }

    #[test]
    fn an_unknown_switch_is_refused() {
        assert!(Switches::default().patched(&json!({"latency": 7})).is_err());
    }

    #[test]
    fn a_counted_fault_is_met_that_often() {
        let patch =
            json!({"token_faults": [{"kind": "drop_after", "times": 2, "call": "refresh"}]});
        let mut switches = Switches::default().patched(&patch).unwrap();
        assert_eq!(switches.take_token_fault(Call::Code), None);
        assert!(switches.take_token_fault(Call::Refresh).is_some());
        assert!(switches.take_token_fault(Call::Refresh).is_some());
        assert_eq!(switches.take_token_fault(Call::Refresh), None);
    }
}
