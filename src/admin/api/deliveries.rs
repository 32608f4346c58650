//! `/v1/deliveries`: what is on its way to the app, what was given up, and delivering it again.

use axum::{
    Extension, Json,
    extract::{Path, State},
    http::StatusCode,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Api, Parts, Route, view::DeliveryView};
use crate::{
    admin::{
        Trouble,
        audit::{Action, Actor, Order as Audited},
        extract::{Body, Params},
        kinds,
        page::{Limit, MAX_CURSOR, Page, Place, place},
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
        Route::get("/deliveries", "listDeliveries", list)
            .does("Lists deliveries to the app, the newest first.")
            .asks::<Which>()
            .answers::<Page<DeliveryView>>(200, "A page of them.")
            .fails(&[kinds::INCONSISTENT_RECORD, kinds::STORE_UNAVAILABLE]),
        Route::get("/deliveries/{id}", "showDelivery", show)
            .does("Shows one delivery.")
            .answers::<DeliveryView>(200, "The delivery.")
            .fails(&[
                kinds::UNKNOWN_DELIVERY,
                kinds::INCONSISTENT_RECORD,
                kinds::STORE_UNAVAILABLE,
            ]),
        Route::post("/deliveries/{id}/replay", "replayDelivery", replay)
            .does("Delivers one again.")
            .with("The app gets it with the `webhook-id` that it had.")
            .answers::<Sent>(202, "It is on its way.")
            .fails(&[
                kinds::UNKNOWN_DELIVERY,
                kinds::UNROUTED_DELIVERY,
                kinds::STORE_UNAVAILABLE,
            ]),
        Route::post("/deliveries/replay", "replayDeliveries", replay_all)
            .does("Delivers all again that fit, the oldest first.")
            .with(
                "The app gets each with the `webhook-id` that it had. What was delivered already needs a \
                 `user` or a `from`.",
            )
            .takes::<Order>()
            .answers::<Sent>(202, "They are on their way.")
            .fails(&[kinds::INCONSISTENT_RECORD, kinds::STORE_UNAVAILABLE]),
    ]
}

/// Which deliveries.
#[derive(Deserialize, JsonSchema)]
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
    /// Where the page begins: the `next_cursor` of the one before.
    #[schemars(length(max = MAX_CURSOR))]
    cursor: Option<String>,
    #[serde(default)]
    limit: Limit,
}

/// What to deliver again: all that fit.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ReplayOrder", example = serde_json::json!({
    "status": "dead", "from": "2026-11-25T18:00:00Z",
}))]
struct Order {
    /// Dead letters if absent. What is `unrouted` has nobody to be delivered to.
    status: Option<StatusWord>,
    /// Only this user's.
    user: Option<UserId>,
    /// Only this provider's.
    provider: Option<ProviderName>,
    /// Only of events accepted at or after this.
    from: Option<Timestamp>,
    /// Only of events accepted before this.
    until: Option<Timestamp>,
}

/// How far a delivery is.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "DeliveryStatus")]
pub(super) enum StatusWord {
    /// On its way.
    Pending,
    /// The app has said 2xx.
    Delivered,
    /// Given up: a dead letter.
    Dead,
    /// Genuine, but nobody's so far.
    Unrouted,
}

/// How many are on their way again.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Replayed")]
struct Sent {
    /// So many.
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
    Extension(actor): Extension<Actor>,
    Path(id): Path<String>,
) -> Result<(StatusCode, Json<Sent>), Trouble> {
    api.replay(actor, number(&id)?).await?;
    Ok((StatusCode::ACCEPTED, Json(Sent { replayed: 1 })))
}

async fn replay_all(
    State(api): State<Api>,
    Extension(actor): Extension<Actor>,
    Body(order): Body<Order>,
) -> Result<(StatusCode, Json<Sent>), Trouble> {
    let replayed = api.replay_all(actor, order.filter()?).await?;
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
        let wanted = limit.and_one();
        let found = self.store.deliveries(filter, before, wanted).await?;
        let end = |last: &Delivery| Last(Number(last.id.0));
        Ok(Page::of(found, limit, end, Into::into))
    }

    /// The delivery, with its sealed payload.
    pub(in crate::admin) async fn delivery(&self, id: DeliveryId) -> Result<Claimed, Trouble> {
        let found = self.store.delivery(id).await?;
        found.ok_or(Trouble::UnknownDelivery)
    }

    /// Delivers one again.
    pub(in crate::admin) async fn replay(
        &self,
        actor: Actor,
        id: DeliveryId,
    ) -> Result<(), Trouble> {
        let order = Audited::to(Action::ReplayDelivery).with(format!("delivery {}", id.0));
        let replays = self.replays.clone();
        let sending = async move {
            match replays.one(id).await? {
                Replayed::Sent => Ok(()),
                Replayed::Nobodys => Err(Trouble::NobodysDelivery),
                Replayed::Unknown => Err(Trouble::UnknownDelivery),
            }
        };
        self.audited(actor, order, sending, |()| None).await
    }

    /// Delivers all again that fit `filter`; how many.
    pub(in crate::admin) async fn replay_all(
        &self,
        actor: Actor,
        filter: DeliveryFilter,
    ) -> Result<u64, Trouble> {
        let status = filter.status.unwrap_or(DeliveryStatus::Dead);
        let order = Audited::to(Action::ReplayDeliveries)
            .about_some(filter.provider.clone(), filter.user.clone())
            .with(status.as_str().to_owned());
        let replays = self.replays.clone();
        let sending = async move { Ok(replays.all(&filter).await?) };
        let tell = |sent: &u64| Some(format!("{sent} replayed"));
        self.audited(actor, order, sending, tell).await
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
