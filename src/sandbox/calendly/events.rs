//! Events, invitees and event types over the API (§3).

use std::sync::Arc;

use axum::{
    Router,
    body::Bytes,
    extract::{Path, RawQuery, State},
    response::Response,
    routing::{get, post},
};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use super::{
    Calendly,
    answer::{Refusal, denied, invalid, missing, resource},
    auth::Caller,
    event::Event,
    paging::Asked,
};
use crate::{
    base::clock::Timestamp,
    sandbox::{Action, BookingOrder, dates, wire::query},
};

type Answer = Result<Response, Refusal>;
type Cal = State<Arc<Calendly>>;

const NOT_YOURS: &str = "You do not have permission to access this resource.";
const NAME_ORGANIZATION: &str =
    "Please also specify organization when requesting events for a user within your organization.";
const NOT_IN_ORGANIZATION: &str = "This user is not in your organization";

pub(crate) fn routes() -> Router<Arc<Calendly>> {
    Router::new()
        .route("/scheduled_events", get(list))
        .route("/scheduled_events/{id}", get(read))
        .route("/scheduled_events/{id}/invitees", get(invitees))
        .route("/scheduled_events/{id}/invitees/{invitee}", get(invitee))
        .route("/scheduled_events/{id}/cancellation", post(cancel))
        .route("/invitees", post(book))
        .route("/event_types", get(event_types))
}

async fn list(State(calendly): Cal, headers: HeaderMap, RawQuery(raw): RawQuery) -> Answer {
    let caller = calendly.caller(&headers)?.need("scheduled_events:read")?;
    let asked = query(raw.as_deref().unwrap_or_default());
    let base = &calendly.stage.base_url;
    let hosts = calendly.asked_hosts(&caller, &asked)?;
    let times = Window::of(&asked)?;
    let state = calendly.state.lock();
    let mut found: Vec<&Event> = state
        .events
        .values()
        .filter(|event| event.hosts.iter().any(|host| hosts.contains(host)))
        .filter(|event| times.holds(event) && admits(event, &asked))
        .collect();
    match asked.get("sort").map(String::as_str) {
        None | Some("start_time:asc") => found.sort_by_key(|event| event.start),
        Some("start_time:desc") => found.sort_by_key(|event| std::cmp::Reverse(event.start)),
        Some(_) => return Err(invalid("sort", "is invalid")),
    }
    let items = found
        .iter()
        .map(|event| event.shown(base, &state))
        .collect();
    calendly.page("/scheduled_events", &asked, items)
}

async fn read(State(calendly): Cal, Path(id): Path<String>, headers: HeaderMap) -> Answer {
    let caller = calendly.caller(&headers)?.need("scheduled_events:read")?;
    let event = calendly.event(&caller, &id)?;
    let shown = event.shown(&calendly.stage.base_url, &calendly.state.lock());
    Ok(resource(StatusCode::OK, &shown))
}

async fn invitees(
    State(calendly): Cal,
    Path(id): Path<String>,
    headers: HeaderMap,
    RawQuery(raw): RawQuery,
) -> Answer {
    let caller = calendly.caller(&headers)?.need("scheduled_events:read")?;
    let asked = query(raw.as_deref().unwrap_or_default());
    let event = calendly.event(&caller, &id)?;
    let is = |name: &str, value: &str| asked.get(name).is_none_or(|wanted| wanted == value);
    let wanted = event
        .invitees
        .iter()
        .filter(|one| is("email", &one.email) && is("status", one.status()));
    let items = wanted.map(|one| event.shown_invitee(one, &calendly.stage.base_url));
    calendly.page(
        &format!("/scheduled_events/{id}/invitees"),
        &asked,
        items.collect(),
    )
}

async fn invitee(
    State(calendly): Cal,
    Path((id, invitee)): Path<(String, String)>,
    headers: HeaderMap,
) -> Answer {
    let caller = calendly.caller(&headers)?.need("scheduled_events:read")?;
    let event = calendly.event(&caller, &id)?;
    let mut invitees = event.invitees.iter();
    let found = invitees.find(|one| one.id == invitee).ok_or_else(missing)?;
    let shown = event.shown_invitee(found, &calendly.stage.base_url);
    Ok(resource(StatusCode::OK, &shown))
}

async fn cancel(
    State(calendly): Cal,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let caller = calendly.caller(&headers)?.need("scheduled_events:write")?;
    calendly.event(&caller, &id)?;
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let reason = body
        .get("reason")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let order = BookingOrder {
        reason: Some(reason.to_owned()),
        ..BookingOrder::to(Action::Cancel, &id)
    };
    calendly.booked(&order).map_err(|why| denied(&why))?;
    Ok(resource(
        StatusCode::CREATED,
        &json!({"canceled_by": caller.name, "reason": reason, "canceler_type": "host",
            "created_at": dates::micros(calendly.stage.now())}),
    ))
}

/// Books on behalf of an invitee: `{event_type, start_time, invitee: {email}}`.
async fn book(State(calendly): Cal, headers: HeaderMap, body: Bytes) -> Answer {
    let caller = calendly.caller(&headers)?.need("scheduled_events:write")?;
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let text = |pointer: &str| body.pointer(pointer).and_then(Value::as_str);
    let start = text("/start_time").and_then(Timestamp::parse);
    let start = start.ok_or_else(|| invalid("start_time", "is invalid"))?;
    let email = text("/invitee/email").ok_or_else(|| invalid("invitee.email", "is missing"))?;
    let own = format!("{}/event_types/INTRO{}", calendly.stage.base_url, caller.id);
    if text("/event_type") != Some(own.as_str()) {
        return Err(invalid("event_type", "is invalid"));
    }
    let order = BookingOrder {
        start: Some(start),
        attendee_email: Some(email.to_owned()),
        ..BookingOrder::create(&caller.name)
    };
    let made = calendly.booked(&order).map_err(|why| denied(&why))?;
    let event = calendly.event(&caller, &made.id)?;
    let invitee = event.invitees.last().ok_or_else(missing)?;
    let shown = event.shown_invitee(invitee, &calendly.stage.base_url);
    Ok(resource(StatusCode::CREATED, &shown))
}

async fn event_types(State(calendly): Cal, headers: HeaderMap, RawQuery(raw): RawQuery) -> Answer {
    let caller = calendly.caller(&headers)?.need("event_types:read")?;
    let asked = query(raw.as_deref().unwrap_or_default());
    let base = &calendly.stage.base_url;
    let items = calendly
        .asked_hosts(&caller, &asked)?
        .iter()
        .map(|id| {
            json!({
                "uri": format!("{base}/event_types/INTRO{id}"), "name": "Intro", "active": true,
                "slug": "intro", "duration": 30, "kind": "solo", "type": "StandardEventType",
                "scheduling_url": format!("https://calendly.com/{id}/intro"),
                "profile": {"type": "User", "owner": format!("{base}/users/{id}")},
            })
        })
        .collect();
    calendly.page("/event_types", &asked, items)
}

fn admits(event: &Event, asked: &Asked) -> bool {
    asked
        .get("status")
        .is_none_or(|status| status == event.status())
        && asked
            .get("invitee_email")
            .is_none_or(|email| event.invitees.iter().any(|one| one.email == *email))
}

/// `min_start_time` and `max_start_time`.
struct Window {
    min: Option<Timestamp>,
    max: Option<Timestamp>,
}

// === impl Window ===

impl Window {
    fn of(asked: &Asked) -> Result<Self, Refusal> {
        if asked
            .get("status")
            .is_some_and(|one| !["active", "canceled"].contains(&one.as_str()))
        {
            return Err(invalid("status", "is invalid"));
        }
        let limit = |name: &str| match asked.get(name) {
            None => Ok(None),
            Some(text) => match Timestamp::parse(text) {
                Some(at) => Ok(Some(at)),
                None => Err(invalid(name, "is invalid")),
            },
        };
        Ok(Self {
            min: limit("min_start_time")?,
            max: limit("max_start_time")?,
        })
    }

    fn holds(&self, event: &Event) -> bool {
        self.min.is_none_or(|min| event.start >= min)
            && self.max.is_none_or(|max| event.start < max)
    }
}

// === impl Calendly ===

impl Calendly {
    /// Whose events are asked for (§3): one's own by `user` alone; others need `organization` too.
    fn asked_hosts(&self, caller: &Caller, asked: &Asked) -> Result<Vec<String>, Refusal> {
        let base = &self.stage.base_url;
        let own_organization = format!("{base}/organizations/{}", caller.organization);
        let organization = asked.get("organization");
        if organization.is_some_and(|one| *one != own_organization) {
            return Err(denied(NOT_YOURS));
        }
        let state = self.state.lock();
        let colleagues = state
            .users
            .values()
            .filter(|user| user.organization == caller.organization);
        let Some(user) = asked.get("user") else {
            if organization.is_none() {
                return Err(invalid("user", "either user or organization is required"));
            }
            if !caller.owner {
                return Err(denied(NOT_YOURS));
            }
            return Ok(colleagues.map(|user| user.id.clone()).collect());
        };
        if *user == format!("{base}/users/{}", caller.id) {
            return Ok(vec![caller.id.clone()]);
        }
        let Some(found) = colleagues.into_iter().find(|one| one.uri(base) == *user) else {
            return Err(denied(NOT_IN_ORGANIZATION));
        };
        match organization {
            None => Err(denied(NAME_ORGANIZATION)),
            Some(_) if !caller.owner => Err(denied(NOT_YOURS)),
            Some(_) => Ok(vec![found.id.clone()]),
        }
    }

    /// An event that `caller` may see: as a host, or as the owner of a host's organization.
    fn event(&self, caller: &Caller, id: &str) -> Result<Event, Refusal> {
        let state = self.state.lock();
        let event = state.events.get(id).ok_or_else(missing)?;
        let owns = |host: &String| {
            caller.owner
                && state
                    .users
                    .get(host)
                    .is_some_and(|user| user.organization == caller.organization)
        };
        if event.hosts.contains(&caller.id) || event.hosts.iter().any(owns) {
            Ok(event.clone())
        } else {
            Err(denied(NOT_YOURS))
        }
    }
}
