//! Reads the pair of tokens out of a success, in whichever dress it comes.
//!
//! Token endpoints of one provider have answered in several shapes over the years (Cal.com, token
//! endpoints): camel or snake case, flat or wrapped in `{status, data}`. One tolerant reader takes
//! all.
//!
//! 1. No access token that could be sent as a header, no pair.
//! 2. No refresh token: the old one stays in use.
//! 3. Lifetimes: a relative one first; then an absolute one, less the moment of the answer by the
//!    provider's own clock; then what the token says of itself, if it is a JWT; else unknown. A
//!    lifetime that makes no sense is as good as none.
//!
//! JWT signatures are not checked: the secret is the provider's, and the token came from there.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value};

use super::{Account, CallError, Headroom, Minted, Unclear, call};
use crate::{
    base::{clock::Timestamp, ids::ProviderName, secret::Secret},
    provider::call::Answer,
};

const DAY: Duration = Duration::from_hours(24);

/// No provider's access token lives longer (two hours at most); more is a unit mistaken.
const MAX_ACCESS: Duration = DAY.saturating_mul(366);

/// Refresh tokens of a year are documented (Cal.com, rotation); ten leave room.
const MAX_REFRESH: Duration = DAY.saturating_mul(3660);

/// Absolute times above this are milliseconds, below it seconds: as seconds it is the year 5138, as
/// milliseconds 1973.
const MILLIS_ABOVE: i64 = 100_000_000_000;

/// What a success holds.
pub(super) struct Success {
    /// The pair, with the account left open.
    pub minted: Minted,
    /// The answer's other fields.
    pub fields: Map<String, Value>,
    /// What the access token says of itself.
    pub claims: Option<Claims>,
}

/// The payload of a JWT.
pub(super) struct Claims(Map<String, Value>);

/// Reads the pair; an answer without one is ambiguous, for the provider may have rotated.
pub(super) fn read(provider: &ProviderName, answer: &Answer) -> Result<Success, CallError> {
    let mut success = parse(&answer.body, answer.at)
        .ok_or_else(|| call::ambiguous(provider, Unclear::NoToken))?;
    success.minted.headroom = answer.headroom;
    Ok(success)
}

fn parse(body: &[u8], at: Timestamp) -> Option<Success> {
    let Value::Object(mut fields) = serde_json::from_slice(body).ok()? else {
        return None;
    };
    if let Some(Value::Object(data)) = fields.remove("data") {
        fields = data;
    }
    let access = token(&mut fields, ["access_token", "accessToken"])?;
    // Visible ASCII, or no request could carry it.
    if !access.bytes().all(|byte| byte.is_ascii_graphic()) {
        return None;
    }
    let refresh = token(&mut fields, ["refresh_token", "refreshToken"]);
    let claims = Claims::of(&access);
    let minted = Minted {
        expires_in: relative(&fields, ["expires_in", "expiresIn"], MAX_ACCESS)
            .or_else(|| {
                let names = ["access_token_expires_at", "accessTokenExpiresAt"];
                absolute(&fields, names, at, MAX_ACCESS)
            })
            .or_else(|| claims.as_ref()?.lifetime(at, MAX_ACCESS)),
        refresh_expires_in: refresh.as_ref().and_then(|refresh| {
            let names = ["refresh_token_expires_at", "refreshTokenExpiresAt"];
            absolute(&fields, names, at, MAX_REFRESH)
                .or_else(|| Claims::of(refresh)?.lifetime(at, MAX_REFRESH))
        }),
        scope: scope(&fields),
        account: Account::default(),
        headroom: Headroom::default(),
        access: Secret::new(access),
        refresh: refresh.map(Secret::new),
    };
    Some(Success {
        minted,
        fields,
        claims,
    })
}

/// Takes the token out of `fields`, so that no second copy stays behind.
fn token(fields: &mut Map<String, Value>, names: [&str; 2]) -> Option<String> {
    names.iter().find_map(|name| match fields.remove(*name) {
        Some(Value::String(token)) if !token.trim().is_empty() => Some(token),
        _ => None,
    })
}

fn relative(fields: &Map<String, Value>, names: [&str; 2], max: Duration) -> Option<Duration> {
    let secs = names.iter().find_map(|name| number(fields.get(*name)?))?;
    sensible(secs.checked_mul(1000)?, max)
}

fn absolute(
    fields: &Map<String, Value>,
    names: [&str; 2],
    at: Timestamp,
    max: Duration,
) -> Option<Duration> {
    let end = names.iter().find_map(|name| number(fields.get(*name)?))?;
    sensible(millis(end).checked_sub(at.as_millis())?, max)
}

fn sensible(millis: i64, max: Duration) -> Option<Duration> {
    let lifetime = Duration::from_millis(u64::try_from(millis).ok()?);
    (!lifetime.is_zero() && lifetime <= max).then_some(lifetime)
}

const fn millis(time: i64) -> i64 {
    if time > MILLIS_ABOVE {
        time
    } else {
        time.saturating_mul(1000)
    }
}

/// A whole number, also if it is written as text or with decimals.
fn number(value: &Value) -> Option<i64> {
    let written = match value {
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.trim().to_owned(),
        _ => return None,
    };
    let (whole, _) = written.split_once('.').unwrap_or((&written, ""));
    whole.parse().ok()
}

fn scope(fields: &Map<String, Value>) -> Option<String> {
    match fields.get("scope")? {
        Value::String(scope) => Some(scope.clone()),
        Value::Array(scopes) => {
            let names: Vec<_> = scopes.iter().filter_map(Value::as_str).collect();
            Some(names.join(" "))
        }
        _ => None,
    }
}

// === impl Claims ===

impl Claims {
    fn of(token: &str) -> Option<Self> {
        let mut parts = token.split('.');
        let (_header, payload) = (parts.next()?, parts.next()?);
        let (_signature, None) = (parts.next()?, parts.next()) else {
            return None;
        };
        let bytes = URL_SAFE_NO_PAD.decode(payload).ok()?;
        Some(Self(serde_json::from_slice(&bytes).ok()?))
    }

    /// An identifier among the claims, whether it is written as a number or as text.
    pub(super) fn id(&self, name: &str) -> Option<String> {
        match self.0.get(name)? {
            Value::String(id) if !id.is_empty() => Some(id.clone()),
            Value::Number(id) => Some(id.to_string()),
            _ => None,
        }
    }

    /// From issue to end; from `at` if the token does not say when it was issued. `exp` is of RFC
    /// 7519 §4.1.4, `expiresAt` is what Cal.com's managed tokens carry in its stead (Cal.com, token
    /// endpoints).
    fn lifetime(&self, at: Timestamp, max: Duration) -> Option<Duration> {
        let start = self.time("iat").unwrap_or(at.as_millis());
        sensible(self.end()?.checked_sub(start)?, max)
    }

    fn end(&self) -> Option<i64> {
        self.time("exp").or_else(|| self.time("expiresAt"))
    }

    /// In milliseconds since the Unix epoch.
    fn time(&self, name: &str) -> Option<i64> {
        Some(millis(number(self.0.get(name)?)?))
    }
}

/// When a token says that it ends, if it is a JWT; for tokens that came without their times.
pub fn jwt_expiry(token: &Secret<String>) -> Option<Timestamp> {
    Claims::of(token.danger_expose())?
        .end()
        .map(Timestamp::from_millis)
}

#[cfg(test)]
mod tests;
