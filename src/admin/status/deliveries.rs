//! `/deliveries`: what is on its way to the app, what was given up, and delivering it again.

use std::sync::Arc;

use axum::{
    Extension,
    extract::{Request, State},
};
use http::StatusCode;

use super::{
    Room,
    connections::{choices, href, place},
    door::{Visitor, see_other},
    fields::Fields,
    moment::Moment,
    show::{self, Answer, Badge},
    templates,
};
use crate::{
    admin::{Trouble, api::DeliveryView, page::Limit},
    base::ids::ConnectionKey,
    store::{DeliveryFilter, DeliveryStatus},
};

/// A line of the list.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) id: u64,
    pub(super) href: String,
    pub(super) name: String,
    pub(super) provider: String,
    /// Empty if it is nobody's.
    pub(super) user: String,
    /// Where the connection is.
    pub(super) user_href: String,
    pub(super) status: Badge,
    pub(super) attempts: u32,
    pub(super) accepted: Moment,
    pub(super) at: Moment,
    /// What happens, or happened, then.
    pub(super) at_is: &'static str,
    pub(super) error: Option<String>,
    /// Whether it can be delivered again.
    pub(super) is_replayable: bool,
}

/// `GET /deliveries`
pub(super) async fn page(
    State(room): State<Arc<Room>>,
    Extension(visitor): Extension<Visitor>,
    request: Request,
) -> Answer {
    let fields = Fields::of_query(&request);
    let status = fields.word("status", DeliveryStatus::parse)?;
    let provider = fields.parsed("provider")?;
    let user = fields.one("user").unwrap_or_default();
    let cursor = fields.one("cursor");
    let (of, fault) = fields.sought();
    let filter = DeliveryFilter {
        status,
        user: of,
        provider,
        ..DeliveryFilter::default()
    };
    let (lines, next) = if fault.is_some() {
        (Vec::new(), None)
    } else {
        let limit = Limit::default();
        let found = room.api.deliveries(&filter, cursor, limit).await?;
        let lines = found.items.iter().map(|one| Line::of(&room, one));
        (lines.collect(), found.next_cursor)
    };
    let at = fields.one("provider").unwrap_or_default();
    let word = fields.one("status").unwrap_or_default();
    let same = [("user", user), ("provider", at), ("status", word)];
    let is_dead = status == Some(DeliveryStatus::Dead) && !lines.is_empty();
    let page = templates::Deliveries {
        frame: room
            .frame(visitor, "deliveries", "Deliveries")
            .with_notice(super::connection::notice(&fields))
            .live(),
        user: user.to_owned(),
        providers: room.providers(filter.provider.as_ref()),
        statuses: choices(
            &[
                ("", "Any status"),
                ("pending", "On its way"),
                ("delivered", "Delivered"),
                ("dead", "Dead letter"),
                ("unrouted", "Nobody’s yet"),
            ],
            word,
        ),
        lines,
        next: next.map(|cursor| href("/deliveries", &same, &[("cursor", &cursor)])),
        first: cursor.map(|_| href("/deliveries", &same, &[])),
        replay_dead: is_dead.then(|| {
            let same = [("user", user), ("provider", at)];
            href("/deliveries/replay-dead", &same, &[])
        }),
        fault,
    };
    Ok(show::page(StatusCode::OK, &page))
}

/// `POST /deliveries/replay`: those that were chosen, the oldest first.
pub(super) async fn replay(
    State(room): State<Arc<Room>>,
    Extension(visitor): Extension<Visitor>,
    request: Request,
) -> Answer {
    let fields = Fields::of_form(&room, request).await?;
    let mut ids = fields.ids()?;
    ids.sort_unstable();
    ids.dedup();
    if ids.is_empty() {
        return Err(Trouble::NothingChosen.into());
    }
    let (one, count) = (ids.first().copied(), ids.len());
    for id in ids {
        room.api.replay(visitor.actor(), id).await?;
    }
    let count = count.to_string();
    let done = [("done", "replayed"), ("count", count.as_str())];
    let there = match (one, fields.one("back")) {
        (Some(id), Some("delivery")) => {
            let id = id.0.to_string();
            href("/delivery", &[("id", &id)], &done)
        }
        _ => href("/deliveries", &[], &done),
    };
    Ok(see_other(&there))
}

/// `GET /deliveries/replay-dead`
pub(super) async fn confirm(
    State(room): State<Arc<Room>>,
    Extension(visitor): Extension<Visitor>,
    request: Request,
) -> Answer {
    let fields = Fields::of_query(&request);
    let filter = dead(&fields)?;
    let user = filter
        .user
        .map_or_else(String::new, |user| user.to_string());
    let provider = filter
        .provider
        .map_or_else(String::new, |provider| provider.to_string());
    let same = [
        ("status", DeliveryStatus::Dead.as_str()),
        ("user", user.as_str()),
        ("provider", provider.as_str()),
    ];
    let page = templates::ReplayDead {
        frame: room.frame(visitor, "deliveries", "Replay dead letters?"),
        back: href("/deliveries", &same, &[]),
        provider,
        user,
    };
    Ok(show::page(StatusCode::OK, &page))
}

/// `POST /deliveries/replay-dead`: all dead letters of a selection.
pub(super) async fn replay_dead(
    State(room): State<Arc<Room>>,
    Extension(visitor): Extension<Visitor>,
    request: Request,
) -> Answer {
    let fields = Fields::of_form(&room, request).await?;
    let sent = room.api.replay_all(visitor.actor(), dead(&fields)?).await?;
    let count = sent.to_string();
    let done = [("done", "replayed"), ("count", count.as_str())];
    Ok(see_other(&href("/deliveries", &[], &done)))
}

fn dead(fields: &Fields) -> Result<DeliveryFilter, Trouble> {
    Ok(DeliveryFilter {
        status: Some(DeliveryStatus::Dead),
        user: fields.parsed("user")?,
        provider: fields.parsed("provider")?,
        ..DeliveryFilter::default()
    })
}

// === impl Line ===

impl Line {
    pub(super) fn of(room: &Room, one: &DeliveryView) -> Self {
        let id = one.id.to_string();
        let status = DeliveryStatus::parse(one.status).unwrap_or(DeliveryStatus::Pending);
        let (badge, at_is) = match status {
            DeliveryStatus::Pending => (Badge::new("on its way", "calm"), "next try"),
            DeliveryStatus::Delivered => (Badge::new("delivered", "good"), "delivered"),
            DeliveryStatus::Dead => (Badge::new("dead letter", "bad"), "given up"),
            DeliveryStatus::Unrouted => (Badge::new("nobody’s yet", "warn"), "since"),
        };
        let key = one.user.clone().map(|user| ConnectionKey {
            provider: one.provider.clone(),
            user,
        });
        Self {
            id: one.id,
            href: href("/delivery", &[("id", &id)], &[]),
            name: one.name.clone(),
            provider: one.provider.to_string(),
            user: one
                .user
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default(),
            user_href: key
                .map(|key| place("/connection", &key))
                .unwrap_or_default(),
            status: badge,
            attempts: one.attempts,
            accepted: room.moment(one.accepted_at),
            at: room.moment(one.at),
            at_is,
            error: one.last_error.clone(),
            is_replayable: status != DeliveryStatus::Unrouted,
        }
    }
}
