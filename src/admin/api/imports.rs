//! `PUT /v1/connections/{provider}/{user}`: tokens that an operator brings from elsewhere.
//!
//! The same tokens handed in again change nothing, even after they were renewed here, so that a call
//! whose answer was lost can be made again. `?replace=true` brings them in all the same.

use std::time::Duration;

use axum::{Extension, Json, extract::State, http::StatusCode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Api, Route, view::WholeView};
use crate::{
    admin::{
        Trouble,
        audit::{Action, Actor, Order},
        extract::{Body, Key, Line, Params, Token, When},
        kinds,
    },
    base::{clock::Timestamp, ids::ConnectionKey},
    provider::Account,
    store::Saved,
    token::{Grant, GrantTokens},
};

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::put("/connections/{provider}/{user}", "importConnection", import)
            .does("Imports tokens, which connects a user.")
            .with(
                "The same tokens handed in again change nothing, even after they were renewed here. There \
                 must be a token, or a managed user whose first request mints one. What follows from a \
                 consent follows from this, too: a webhook subscription, a sync, and \
                 `connection.connected` for the app.",
            )
            .asks::<How>()
            .takes::<Import>()
            .answers::<Imported>(200, "`replaced` or `unchanged`.")
            .answers::<Imported>(201, "`created`.")
            .fails(&[
                kinds::UNKNOWN_PROVIDER,
                kinds::MANAGED_USER_TAKEN,
                kinds::NO_MANAGED_USERS,
                kinds::INCONSISTENT_RECORD,
                kinds::STORE_UNAVAILABLE,
            ]),
    ]
}

/// What is imported. There must be a token, or a managed user whose first request mints one.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(example = serde_json::json!({
    "access_token": "s.9Qk2vV7m0xT4", "refresh_token": "r.b9c4b2f0a3e1", "expires_in": 7200,
}))]
struct Import {
    /// What requests are made with. Without one, there is one at the first request.
    access_token: Option<Token>,
    /// What it is renewed with.
    refresh_token: Option<Token>,
    /// When the access token ends.
    expires_at: Option<When>,
    /// The same, in seconds from now; not both.
    expires_in: Option<Seconds>,
    /// Cal.com only. Without tokens, the first request has some minted, which ends those that others hold.
    managed_user_id: Option<ManagedUserId>,
    /// The provider's own id or URI for the account; found out if absent.
    external_id: Option<Line>,
    /// The provider's id or URI of the account's organization.
    organization: Option<Line>,
    /// What was granted, space separated.
    scope: Option<Line>,
}

/// Whether to import what was imported before.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct How {
    /// Imports what was imported before all the same.
    #[serde(default)]
    replace: bool,
}

/// A positive number.
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(try_from = "i64")]
#[schemars(inline)]
struct ManagedUserId(#[schemars(range(min = 1))] i64);

/// Up to a hundred years.
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(try_from = "u64")]
#[schemars(inline)]
struct Seconds(#[schemars(range(max = MOST_SECONDS))] u64);

/// A hundred years.
const MOST_SECONDS: u64 = 100 * 366 * 24 * 3600;

/// What came of it.
#[derive(Serialize, JsonSchema)]
struct Imported {
    /// `created`, `replaced` or `unchanged`.
    #[schemars(extend("enum" = ["created", "replaced", "unchanged"]))]
    outcome: &'static str,
    /// As it is now.
    connection: WholeView,
}

async fn import(
    State(api): State<Api>,
    Extension(actor): Extension<Actor>,
    Key(key): Key,
    Params(how): Params<How>,
    Body(import): Body<Import>,
) -> Result<(StatusCode, Json<Imported>), Trouble> {
    let replaced = how.replace.then(|| "replace".to_owned());
    let order = Order::to(Action::Import).about(&key).with(replaced);
    let grant = import.grant(key, how.replace, api.clock.now())?;
    let connect = api.connect.clone();
    let importing = async move { Ok(connect.import(&grant).await?) };
    let tell = |saved: &Saved| Some(told(saved).1.to_owned());
    let saved = api.audited(actor, order, importing, tell).await?;
    let (status, outcome) = told(&saved);
    let connection = api.whole(saved.connection()).await?;
    let imported = Imported {
        outcome,
        connection,
    };
    Ok((status, Json(imported)))
}

const fn told(saved: &Saved) -> (StatusCode, &'static str) {
    match saved {
        Saved::Created(_) => (StatusCode::CREATED, "created"),
        Saved::Replaced(_) => (StatusCode::OK, "replaced"),
        Saved::Unchanged(_) => (StatusCode::OK, "unchanged"),
    }
}

// === impl Import ===

impl Import {
    fn grant(self, key: ConnectionKey, replace: bool, now: Timestamp) -> Result<Grant, Trouble> {
        let expires_at = match (self.expires_at, self.expires_in) {
            (Some(_), Some(_)) => {
                return Err(Trouble::Body {
                    field: Some("expires_in".to_owned()),
                    what: "give either expires_at or expires_in".to_owned(),
                });
            }
            (Some(When(at)), None) => Some(at),
            (None, Some(Seconds(left))) => Some(now.saturating_add(Duration::from_secs(left))),
            (None, None) => None,
        };
        let token = |token: Option<Token>| token.map(|Token(secret)| secret);
        let (access, refresh) = (token(self.access_token), token(self.refresh_token));
        let tokens = GrantTokens::imported(access, refresh, expires_at, now);
        if tokens.is_none() && self.managed_user_id.is_none() {
            return Err(Trouble::Body {
                field: None,
                what: "there is nothing to use or to renew: give access_token, refresh_token or \
                       managed_user_id"
                    .to_owned(),
            });
        }
        let text = |line: Option<Line>| line.map(|Line(text)| text);
        Ok(Grant {
            key,
            account: Account {
                external_id: text(self.external_id),
                organization: text(self.organization),
                managed_user_id: self.managed_user_id.map(|ManagedUserId(id)| id),
            },
            tokens,
            scope: text(self.scope),
            once: !replace,
        })
    }
}

// === impl ManagedUserId, Seconds ===

impl TryFrom<i64> for ManagedUserId {
    type Error = &'static str;

    fn try_from(id: i64) -> Result<Self, Self::Error> {
        if id > 0 {
            Ok(Self(id))
        } else {
            Err("the id of a managed user is a positive number")
        }
    }
}

impl TryFrom<u64> for Seconds {
    type Error = &'static str;

    fn try_from(seconds: u64) -> Result<Self, Self::Error> {
        if seconds <= MOST_SECONDS {
            Ok(Self(seconds))
        } else {
            Err("a number of seconds, up to a hundred years")
        }
    }
}
