//! `/v1/deliveries`: what is on its way to the app, what was given up, and delivering it again.

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use serde::{Deserialize, Serialize};

use super::{Api, Parts, Route, view::DeliveryView};
use crate::{
    admin::{
        Trouble,
        extract::{Body, Params},
        page::{Limit, Page, Place, place},
    },
    base::{
        clock::Timestamp,
        ids::{ProviderName, UserId},
    },
    store::{Claimed, Delivery, DeliveryFilter, DeliveryId, DeliveryStatus},
    webhook::Replayed,
};

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::get("/deliveries", list),
        Route::get("/deliveries/{id}", show),
        Route::post("/deliveries/{id}/replay", replay),
        Route::post("/deliveries/replay", replay_all),
    ]
}

/// Which deliveries.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Which {
    /// Only those that are so far.
    status: Option<StatusWord>,
    /// Only this user's.
    user: Option<UserId>,
    /// Only this provider's.
    provider: Option<ProviderName>,
    /// Only of events accepted at or after this.
    from: Option<Timestamp>,
    /// Only of events accepted before this.
    until: Option<Timestamp>,
    cursor: Option<String>,
    #[serde(default)]
    limit: Limit,
}

/// What to deliver again: all that fit.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    /// Dead letters if absent.
    status: Option<StatusWord>,
    user: Option<UserId>,
    provider: Option<ProviderName>,
    from: Option<Timestamp>,
    until: Option<Timestamp>,
}

/// How far a delivery is.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StatusWord {
    Pending,
    Delivered,
    Dead,
    Unrouted,
}

/// How many are on their way again.
#[derive(Serialize)]
struct Sent {
    replayed: u64,
}

/// The last delivery of a page.
#[derive(Serialize, Deserialize)]
struct Last(Number);

/// A delivery's number, as any store can count.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(try_from = "u64")]
struct Number(u64);

impl Place for Last {
    const LIST: &'static str = "deliveries";
}

async fn list(
    State(api): State<Api>,
    Params(which): Params<Which>,
) -> Result<Json<Page<DeliveryView>>, Trouble> {
    let filter = DeliveryFilter {
        status: which.status.map(Into::into),
        user: which.user,
        provider: which.provider,
        since: which.from,
        until: which.until,
    };
    let cursor = which.cursor.as_deref();
    Ok(Json(api.deliveries(&filter, cursor, which.limit).await?))
}

async fn show(
    State(api): State<Api>,
    Path(id): Path<String>,
) -> Result<Json<DeliveryView>, Trouble> {
    let found = api.delivery(number(&id)?).await?;
    Ok(Json(found.delivery.into()))
}

async fn replay(
    State(api): State<Api>,
    Path(id): Path<String>,
) -> Result<(StatusCode, Json<Sent>), Trouble> {
    api.replay(number(&id)?).await?;
    Ok((StatusCode::ACCEPTED, Json(Sent { replayed: 1 })))
}

async fn replay_all(
    State(api): State<Api>,
    Body(order): Body<Order>,
) -> Result<(StatusCode, Json<Sent>), Trouble> {
    let replayed = api.replay_all(order.filter()?).await?;
    Ok((StatusCode::ACCEPTED, Json(Sent { replayed })))
}

/// Reads a delivery's number.
pub(in crate::admin) fn number(text: &str) -> Result<DeliveryId, Trouble> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse::<u64>().map(Number::try_from) {
        Ok(Ok(Number(id))) if digits => Ok(DeliveryId(id)),
        _ => Err(Trouble::Parameter {
            name: Some("id".to_owned()),
            what: "a delivery has a number".to_owned(),
        }),
    }
}

// === impl Parts ===

impl Parts {
    /// A page of those that `filter` selects.
    pub(in crate::admin) async fn deliveries(
        &self,
        filter: &DeliveryFilter,
        cursor: Option<&str>,
        limit: Limit,
    ) -> Result<Page<DeliveryView>, Trouble> {
        let before = place(cursor)?.map(|Last(number)| DeliveryId(number.0));
        let found = self
            .store
            .deliveries(filter, before, limit.and_one())
            .await?;
        let end = |last: &Delivery| Last(Number(last.id.0));
        Ok(Page::of(found, limit, end, Into::into))
    }

    /// The delivery, with its sealed payload.
    pub(in crate::admin) async fn delivery(&self, id: DeliveryId) -> Result<Claimed, Trouble> {
        let found = self.store.delivery(id).await?;
        found.ok_or(Trouble::UnknownDelivery)
    }

    /// Delivers one again.
    pub(in crate::admin) async fn replay(&self, id: DeliveryId) -> Result<(), Trouble> {
        let replays = self.replays.clone();
        let sending = async move { Ok(replays.one(id).await?) };
        match self.finish(sending).await? {
            Replayed::Sent => Ok(()),
            Replayed::Nobodys => Err(Trouble::NobodysDelivery),
            Replayed::Unknown => Err(Trouble::UnknownDelivery),
        }
    }

    /// Delivers all again that fit `filter`; how many.
    pub(in crate::admin) async fn replay_all(
        &self,
        filter: DeliveryFilter,
    ) -> Result<u64, Trouble> {
        let replays = self.replays.clone();
        let sending = async move { Ok(replays.all(&filter).await?) };
        self.finish(sending).await
    }
}

// === impl Order ===

impl Order {
    fn filter(self) -> Result<DeliveryFilter, Trouble> {
        let bad = |what: &str| Trouble::Body {
            field: Some("status".to_owned()),
            what: what.to_owned(),
        };
        let is_bounded = self.user.is_some() || self.from.is_some();
        match self.status {
            Some(StatusWord::Unrouted) => {
                return Err(bad("what is unrouted has nobody to be delivered to"));
            }
            // One slip would send everything that was ever delivered.
            Some(StatusWord::Delivered) if !is_bounded => {
                return Err(bad(
                    "what was delivered is sent again for a user or from a time on",
                ));
            }
            _ => {}
        }
        Ok(DeliveryFilter {
            status: self.status.map(Into::into),
            user: self.user,
            provider: self.provider,
            since: self.from,
            until: self.until,
        })
    }
}

// === impl StatusWord, Number ===

impl From<StatusWord> for DeliveryStatus {
    fn from(word: StatusWord) -> Self {
        match word {
            StatusWord::Pending => Self::Pending,
            StatusWord::Delivered => Self::Delivered,
            StatusWord::Dead => Self::Dead,
            StatusWord::Unrouted => Self::Unrouted,
        }
    }
}

impl TryFrom<u64> for Number {
    type Error = &'static str;

    fn try_from(number: u64) -> Result<Self, Self::Error> {
        if i64::try_from(number).is_ok() {
            Ok(Self(number))
        } else {
            Err("no store counts so far")
        }
    }
}
