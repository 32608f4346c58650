//! Making, listing and deleting managed users (Cal.com, token endpoints for managed users).
//!
//! 1. An address that is taken names its user, in words: that user is adopted, not fought over.
//! 2. The list takes offsets up to 250, so that no more than 500 users can be seen. It says so.
//! 3. A caller's order is taken as it is: whatever Cal.com finds wrong with it is the caller's to mend.

use async_trait::async_trait;
use http::{Method, StatusCode};
use reqwest::RequestBuilder;
use serde_json::{Map, Value};

use super::{
    Calcom,
    managed::{account, is_foreign_user},
};
use crate::provider::{
    CallError, Creation, ManagedPage, ManagedUser, ManagedUsers, Minted, More, NewManagedUser,
    field, minted,
};

/// The largest page, and the largest offset.
const LIMIT: u32 = 250;

/// Comes before the id of the user who has an address already.
const EXISTING: &str = "Existing user ID=";

#[async_trait]
impl ManagedUsers for Calcom {
    async fn create(&self, order: &NewManagedUser) -> Result<Creation, CallError> {
        let optional = [
            ("timeZone", order.time_zone.as_ref()),
            ("locale", order.locale.as_ref()),
        ];
        let given = optional
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)));
        let required = [("email", &order.email), ("name", &order.name)];
        let fields: Map<_, _> = required
            .into_iter()
            .chain(given)
            .map(|(name, value)| (name.to_owned(), Value::from(value.as_str())))
            .collect();
        let name = &self.config.name;
        let request = self.users(Method::POST, None)?.json(&fields);
        let answer = self.calls.send(name, request).await?;
        let body = answer.json().unwrap_or_default();
        match answer.status {
            status if status.is_success() => {
                let success = minted::read(name, &answer)?;
                let user = success.fields.get("user").and_then(user);
                // The pair is there, but nobody could tell whose it is.
                let user = user.ok_or_else(|| answer.unexpected(name))?;
                Ok(Creation::Made {
                    minted: Box::new(Minted {
                        account: account(user.id),
                        ..success.minted
                    }),
                    user,
                })
            }
            StatusCode::CONFLICT => match existing(&body) {
                Some(id) => Ok(Creation::Exists { id }),
                None => Err(answer.unexpected(name)),
            },
            StatusCode::BAD_REQUEST if body.get("error").is_some() => Ok(Creation::Faulty),
            _ => Err(self.managed_refusal(&answer)),
        }
    }

    async fn list(&self, after: Option<u32>) -> Result<ManagedPage, CallError> {
        let name = &self.config.name;
        let offset = after.unwrap_or(0).min(LIMIT);
        let query = format!("limit={LIMIT}&offset={offset}");
        let answer = self
            .calls
            .send(name, self.users(Method::GET, Some(&query))?);
        let answer = answer.await?;
        if !answer.status.is_success() {
            return Err(self.managed_refusal(&answer));
        }
        let body = answer.json().ok_or_else(|| answer.unexpected(name))?;
        let entries = field::list(&body, "/data");
        let full = u32::try_from(entries.len()).is_ok_and(|count| count >= LIMIT);
        Ok(ManagedPage {
            users: entries.iter().filter_map(user).collect(),
            more: match (full, offset < LIMIT) {
                (false, _) => More::End,
                (true, true) => More::After(offset.saturating_add(LIMIT).min(LIMIT)),
                (true, false) => More::OutOfReach,
            },
        })
    }

    async fn delete(&self, id: i64) -> Result<bool, CallError> {
        let name = &self.config.name;
        let user = id.to_string();
        let request = self.platform_call(Method::DELETE, None, |client| {
            vec!["v2", "oauth-clients", client, "users", &user]
        })?;
        let answer = self.calls.send(name, request).await?;
        if answer.status.is_success() {
            return Ok(true);
        }
        let body = answer.json().unwrap_or_default();
        let foreign = field::text(&body, "/error/message").is_some_and(is_foreign_user);
        if answer.status == StatusCode::NOT_FOUND && foreign {
            return Ok(false);
        }
        Err(self.managed_refusal(&answer))
    }
}

// === impl Calcom ===

impl Calcom {
    fn users(&self, method: Method, query: Option<&str>) -> Result<RequestBuilder, CallError> {
        self.platform_call(method, query, |client| {
            vec!["v2", "oauth-clients", client, "users"]
        })
    }
}

fn user(entry: &Value) -> Option<ManagedUser> {
    let text = |pointer| field::text(entry, pointer).map(ToOwned::to_owned);
    Some(ManagedUser {
        id: field::id(entry, "/id")?.parse().ok()?,
        email: text("/email"),
        name: text("/name"),
        username: text("/username"),
    })
}

fn existing(body: &Value) -> Option<i64> {
    let (_, after) = field::text(body, "/error/message")?.split_once(EXISTING)?;
    let digits = after.split(|other: char| !other.is_ascii_digit()).next()?;
    digits.parse().ok()
}
