//! The refresh URL of Cal.com's atoms: components in a browser that hold a managed user's access token,
//! and ask here for the next one when it has ended.
//!
//! What a browser shows is a token that has very likely ended; nothing else says who it is (Cal.com,
//! atoms' contract). Hence:
//!
//! 1. A token is recognised by its digest, among those that were issued in the last days
//!    ([`IssuedTokens`]). Whoever has one gets the present one, so having an old token is worth as much
//!    as having a new one for [`REMEMBERED`]. It is off unless origins are configured.
//! 2. Only for the managed user that the token was issued to. A user who has consented since, or has
//!    another managed account by now, gets nothing: browsers never see tokens of a consent.
//! 3. A present token that is newer than the one shown is given as it is: many tabs cost one renewal.
//!    If it is the very one shown, it was refused, and is renewed as for a refused call.
//! 4. Browsers are let in by origin (CORS), and every user and all together are limited. Never a
//!    refresh token.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::{Path, State},
    response::{IntoResponse, Response},
    routing::get,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use tokio::time::sleep;
use url::Url;
use zeroize::Zeroizing;

use super::{
    Room,
    limiter::Limiter,
    records::{Records, digest},
    told::Reader,
    trouble::Trouble,
    visit::{Log, note},
};
use crate::{
    base::{
        backoff::Backoff,
        ids::{ConnectionKey, ProviderName, UserId},
        lifecycle::Lifecycle,
        random::SharedRandom,
        secret::Secret,
    },
    store::{Digest, Expiring, Purpose, seal::KeyRing},
    token::{self, Bearer, Issued, TokenSource},
};

/// How long an issued token is remembered: a tab that was left open over a weekend works on.
pub const REMEMBERED: Duration = Duration::from_hours(24 * 3);

/// Of one user: several tabs at once, and then one call in six seconds. Atoms ask at most every ten.
const PER_USER: (u32, Duration) = (10, Duration::from_secs(6));

/// Of everybody, known or not: each call costs a look into the store.
const OVERALL: (u32, Duration) = (200, Duration::from_millis(10));

/// How long a browser may keep what a preflight said, in seconds.
const PREFLIGHT_AGE: &str = "600";

/// Longer tokens are none of Cal.com's.
const MAX_TOKEN_LEN: usize = 8192;

/// Between tries to remember a token.
const RETRY: Backoff = Backoff {
    first: Duration::from_secs(1),
    max: Duration::from_secs(30),
};

/// How often at most: beyond that the token has nearly ended.
const TRIES: u32 = 20;

/// `Sec-Fetch-Site` (Fetch metadata): browsers send no `Origin` with a read of their own origin.
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Remembers tokens that browsers may show later. Clones share everything.
#[derive(Clone)]
#[expect(missing_debug_implementations, reason = "holds keys")]
pub struct IssuedTokens {
    records: Records,
    random: SharedRandom,
    lifecycle: Lifecycle,
}

/// Lets browsers in.
#[derive(Debug)]
pub(super) struct Atoms {
    /// As browsers write them.
    origins: Vec<String>,
    per_user: Limiter<ConnectionKey>,
    overall: Limiter<()>,
}

/// To whom a token was issued.
#[derive(Serialize, Deserialize)]
struct Holder {
    user: UserId,
    managed_user_id: i64,
}

/// What an atom reads.
#[derive(Serialize)]
struct Refreshed<'a> {
    #[serde(rename = "accessToken")]
    access_token: &'a str,
}

// === impl IssuedTokens ===

impl IssuedTokens {
    /// Keeps them in `store`.
    pub fn new(
        store: Arc<dyn Expiring>,
        keys: Arc<KeyRing>,
        random: SharedRandom,
        lifecycle: Lifecycle,
    ) -> Self {
        Self {
            records: Records::new(store, keys, Arc::clone(&random)),
            random,
            lifecycle,
        }
    }

    /// Remembers the token. Returns at once; the work is in a task.
    pub fn remember(&self, issued: &Issued<'_>) {
        let holder = Holder {
            user: issued.key.user.clone(),
            managed_user_id: issued.managed_user_id,
        };
        let (provider, digest) = (issued.key.provider.clone(), issued.digest);
        let (records, random) = (self.records.clone(), Arc::clone(&self.random));
        self.lifecycle.spawn_until_drain(async move {
            let mut failures = 0;
            let put = || {
                let purpose = Purpose::IssuedToken;
                records.put(purpose, &provider, &digest, &holder, REMEMBERED)
            };
            while let Err(error) = put().await {
                failures += 1;
                if failures == TRIES {
                    tracing::warn!(
                        %provider, user = %holder.user, error = &error as &dyn std::error::Error,
                        "a new token could not be remembered: atoms that hold it cannot renew it",
                    );
                    return;
                }
                sleep(RETRY.after(failures, &*random)).await;
            }
        });
    }
}

// === impl Atoms ===

impl Atoms {
    /// Lets in browsers of `origins`.
    pub(super) fn new(origins: &[Url]) -> Self {
        let (per_user, overall) = (PER_USER, OVERALL);
        Self {
            origins: origins
                .iter()
                .map(|url| url.origin().ascii_serialization())
                .collect(),
            per_user: Limiter::new(per_user.0, per_user.1),
            overall: Limiter::new(overall.0, overall.1),
        }
    }

    /// The origin to let in; `None` for a page of our own origin.
    fn admit(&self, headers: &HeaderMap) -> Result<Option<HeaderValue>, Trouble> {
        let Some(origin) = headers.get(header::ORIGIN) else {
            let own = headers
                .get(FETCH_SITE)
                .is_some_and(|site| site == "same-origin");
            return own.then_some(None).ok_or(Trouble::OriginNotAllowed);
        };
        if self
            .origins
            .iter()
            .any(|allowed| origin == allowed.as_str())
        {
            Ok(Some(origin.clone()))
        } else {
            Err(Trouble::OriginNotAllowed)
        }
    }
}

/// The routes of atoms; none unless it is switched on.
pub(super) fn routes(room: &Arc<Room>) -> Router {
    if room.atoms.origins.is_empty() {
        return Router::new();
    }
    Router::new()
        .route("/atoms/{provider}/refresh", get(refresh).options(preflight))
        .with_state(Arc::clone(room))
}

async fn preflight(State(room): State<Arc<Room>>, headers: HeaderMap) -> Response {
    let origin = match room.atoms.admit(&headers) {
        Ok(origin) => origin,
        Err(trouble) => return trouble.answer(Reader::Program),
    };
    let allowed = [
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET"),
        (
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            "authorization, content-type",
        ),
        (header::ACCESS_CONTROL_MAX_AGE, PREFLIGHT_AGE),
    ];
    let answer = (StatusCode::NO_CONTENT, allowed).into_response();
    opened(answer, origin)
}

async fn refresh(
    State(room): State<Arc<Room>>,
    Path(provider): Path<String>,
    headers: HeaderMap,
    log: Log,
) -> Response {
    let origin = match room.atoms.admit(&headers) {
        Ok(origin) => origin,
        Err(trouble) => return trouble.answer(Reader::Program),
    };
    let answer = match room.present_token(&provider, &headers, &log).await {
        Ok(bearer) => refreshed(&bearer),
        Err(trouble) => trouble.answer(Reader::Program),
    };
    opened(answer, origin)
}

/// Lets the page of `origin` read the answer.
fn opened(mut answer: Response, origin: Option<HeaderValue>) -> Response {
    let headers = answer.headers_mut();
    headers.append(header::VARY, HeaderValue::from_static("origin"));
    if let Some(origin) = origin {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    }
    answer
}

fn refreshed(bearer: &Bearer) -> Response {
    let token = bearer.danger_token();
    let body = Zeroizing::new(
        serde_json::to_vec(&Refreshed {
            access_token: token.danger_expose(),
        })
        .unwrap_or_default(),
    );
    let json = [(header::CONTENT_TYPE, "application/json")];
    (json, Body::from(body.to_vec())).into_response()
}

// === impl Room ===

impl Room {
    /// The present token of whoever was issued the one in `headers`.
    async fn present_token(
        &self,
        provider: &str,
        headers: &HeaderMap,
        log: &Log,
    ) -> Result<Arc<Bearer>, Trouble> {
        self.atoms
            .overall
            .admit(())
            .map_err(Trouble::AskedTooOften)?;
        let provider = ProviderName::parse(provider)
            .ok()
            .filter(|name| self.providers.contains_key(name))
            .ok_or(Trouble::UnknownProvider)?;
        let shown = digest(
            bearer(headers)
                .ok_or(Trouble::TokenUnknown)?
                .danger_expose(),
        );
        let holder = self
            .records
            .peek::<Holder>(Purpose::IssuedToken, &provider, &shown)
            .await?
            .ok_or(Trouble::TokenUnknown)?;
        let key = ConnectionKey {
            provider,
            user: holder.user,
        };
        note(log, &key);
        self.atoms
            .per_user
            .admit(key.clone())
            .map_err(Trouble::AskedTooOften)?;
        let connection = self.tokens.connection(&key).await?;
        let managed = connection.and_then(|connection| connection.managed_user_id);
        if managed != Some(holder.managed_user_id) {
            return Err(Trouble::TokenUnknown);
        }
        Ok(self.other_than(&key, &shown).await?)
    }

    /// A token of `key` that can be used and is not the one shown.
    async fn other_than(
        &self,
        key: &ConnectionKey,
        shown: &Digest,
    ) -> Result<Arc<Bearer>, token::Error> {
        let present = self.tokens.bearer(key.clone()).await?;
        let same = digest(present.danger_token().danger_expose());
        if bool::from(same.0.ct_eq(&shown.0)) {
            let refused = present.generation();
            self.tokens.newer_than(key.clone(), refused).await
        } else {
            Ok(present)
        }
    }
}

/// The one token in `Authorization`.
fn bearer(headers: &HeaderMap) -> Option<Secret<String>> {
    let mut lines = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else {
        return None;
    };
    let (scheme, token) = line.to_str().ok()?.split_once(' ')?;
    let fits = scheme.eq_ignore_ascii_case("bearer") && (1..=MAX_TOKEN_LEN).contains(&token.len());
    fits.then(|| Secret::new(token.to_owned()))
}
