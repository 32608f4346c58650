//! Webhook subscriptions over the API (§4).

use std::sync::Arc;

use axum::{
    Router,
    body::Bytes,
    extract::{Path, RawQuery, State},
    response::{IntoResponse, Response},
    routing::get,
};
use http::{HeaderMap, HeaderValue, StatusCode, header::LOCATION};
use serde_json::{Value, json};

use super::{
    Calendly,
    answer::{Refusal, denied, invalid, missing, problem, resource, upgrade},
    auth::Caller,
};
use crate::{
    base::clock::Timestamp,
    sandbox::{dates, switches::SameWebhook, wire::query},
};

type Answer = Result<Response, Refusal>;
type Cal = State<Arc<Calendly>>;

const NOT_YOURS: &str = "You do not have permission to access this resource.";

/// §4: the event, the scopes it can be subscribed in, and the scope of the grant it also needs.
const FAMILIES: [(&str, &[&str], &str); 6] = [
    (
        "invitee",
        &["organization", "user", "group"],
        "scheduled_events:read",
    ),
    (
        "invitee_no_show",
        &["organization", "user", "group"],
        "scheduled_events:read",
    ),
    (
        "event_type",
        &["organization", "user", "group"],
        "event_types:read",
    ),
    (
        "routing_form_submission",
        &["organization"],
        "routing_forms:read",
    ),
    ("meeting_recap", &["user"], "meeting_recaps:read"),
    (
        "contact",
        &["organization", "user", "group"],
        "contacts:read",
    ),
];

#[derive(Clone, Debug)]
pub(crate) struct Subscription {
    pub(crate) id: String,
    pub(crate) url: String,
    pub(crate) events: Vec<String>,
    /// `organization`, `user` or `group`.
    pub(crate) scope: String,
    /// Id of the organization.
    pub(crate) organization: String,
    /// Id of the user, in user scope.
    pub(crate) user: Option<String>,
    /// Name of the group, in group scope.
    pub(crate) group: Option<String>,
    /// Id of whoever made it: the `created_by` of its deliveries.
    pub(crate) creator: String,
    pub(crate) key: Option<String>,
    pub(crate) disabled: bool,
    pub(crate) retry_started: Option<Timestamp>,
    pub(crate) created: Timestamp,
}

pub(crate) fn routes() -> Router<Arc<Calendly>> {
    Router::new()
        .route("/webhook_subscriptions", get(list).post(create))
        .route("/webhook_subscriptions/{id}", get(read).delete(remove))
}

async fn list(State(calendly): Cal, headers: HeaderMap, RawQuery(raw): RawQuery) -> Answer {
    let caller = calendly.caller(&headers)?.need("webhooks:read")?;
    let asked = query(raw.as_deref().unwrap_or_default());
    let scope = asked
        .get("scope")
        .ok_or_else(|| invalid("scope", "is missing"))?;
    let base = &calendly.stage.base_url;
    calendly.check_owner(&caller, scope, &|name| asked.get(name).map(String::as_str))?;
    let state = calendly.state.lock();
    let items = state
        .subscriptions
        .iter()
        .filter(|one| one.scope == *scope && one.organization == caller.organization)
        .filter(|one| {
            let user = one.user.as_ref().map(|id| format!("{base}/users/{id}"));
            let group = one.group.as_ref().map(|id| format!("{base}/groups/{id}"));
            (scope != "user" || user.as_ref() == asked.get("user"))
                && (scope != "group" || group.as_ref() == asked.get("group"))
        })
        .map(|one| one.shown(base))
        .collect();
    calendly.page("/webhook_subscriptions", &asked, items)
}

async fn create(State(calendly): Cal, headers: HeaderMap, body: Bytes) -> Answer {
    let caller = calendly.caller(&headers)?.need("webhooks:write")?;
    let all_free = calendly
        .stage
        .switch(|switches| switches.calendly.free_plan);
    if caller.free_plan || all_free {
        return Err(upgrade());
    }
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let subscription = calendly.wanted(&caller, &body)?;
    let base = &calendly.stage.base_url;
    let same = calendly
        .stage
        .switch(|switches| switches.calendly.same_webhook);
    let mut state = calendly.state.lock();
    let taken = |one: &Subscription| {
        let owner = one.scope == subscription.scope
            && one.organization == subscription.organization
            && one.user == subscription.user
            && one.group == subscription.group;
        one.url == subscription.url
            && match same {
                SameWebhook::Owner => owner,
                SameWebhook::Url => true,
                SameWebhook::Never => false,
            }
    };
    if state.subscriptions.iter().any(taken) {
        let message = "Hook with this url already exists";
        return Err(problem(StatusCode::CONFLICT, "Already Exists", message));
    }
    let mut response = resource(StatusCode::CREATED, &subscription.shown(base));
    if let Ok(value) = HeaderValue::from_str(&subscription.uri(base)) {
        response.headers_mut().insert(LOCATION, value);
    }
    state.subscriptions.push(subscription);
    Ok(response)
}

async fn read(State(calendly): Cal, Path(id): Path<String>, headers: HeaderMap) -> Answer {
    let caller = calendly.caller(&headers)?.need("webhooks:read")?;
    let at = calendly.own(&caller, &id)?;
    let state = calendly.state.lock();
    let one = state.subscriptions.get(at).ok_or_else(missing)?;
    Ok(resource(
        StatusCode::OK,
        &one.shown(&calendly.stage.base_url),
    ))
}

async fn remove(State(calendly): Cal, Path(id): Path<String>, headers: HeaderMap) -> Answer {
    let caller = calendly.caller(&headers)?.need("webhooks:write")?;
    calendly.own(&caller, &id)?;
    calendly
        .state
        .lock()
        .subscriptions
        .retain(|one| one.id != id);
    Ok(StatusCode::NO_CONTENT.into_response())
}

fn text<'a>(body: &'a Value, name: &str) -> Option<&'a str> {
    body.get(name).and_then(Value::as_str)
}

// === impl Subscription ===

impl Subscription {
    pub(crate) fn uri(&self, base: &str) -> String {
        format!("{base}/webhook_subscriptions/{}", self.id)
    }

    /// §4: the signing key is not part of it.
    fn shown(&self, base: &str) -> Value {
        json!({
            "uri": self.uri(base),
            "callback_url": self.url,
            "created_at": dates::micros(self.created),
            "updated_at": dates::micros(self.created),
            "retry_started_at": self.retry_started.map(dates::micros),
            "state": if self.disabled { "disabled" } else { "active" },
            "events": self.events,
            "scope": self.scope,
            "organization": format!("{base}/organizations/{}", self.organization),
            "user": self.user.as_ref().map(|id| format!("{base}/users/{id}")),
            "group": self.group.as_ref().map(|id| format!("{base}/groups/{id}")),
            "creator": format!("{base}/users/{}", self.creator),
        })
    }
}

// === impl Calendly ===

impl Calendly {
    fn wanted(&self, caller: &Caller, body: &Value) -> Result<Subscription, Refusal> {
        let need = |name: &str| {
            text(body, name)
                .map(ToOwned::to_owned)
                .ok_or_else(|| invalid(name, "is missing"))
        };
        let (url, scope) = (need("url")?, need("scope")?);
        if url::Url::parse(&url).is_err() {
            return Err(invalid("url", "is not a valid url"));
        }
        self.check_owner(caller, &scope, &|name| text(body, name))?;
        let no_event_types = self
            .stage
            .switch(|switches| switches.calendly.no_event_types);
        let events = checked_events(caller, body, &scope)?;
        if no_event_types && events.iter().any(|one| one.starts_with("event_type.")) {
            return Err(invalid("events", "is invalid"));
        }
        let group = text(body, "group").filter(|_| scope == "group");
        let group = group.and_then(|uri| uri.rsplit('/').next());
        Ok(Subscription {
            id: self.stage.uuid(),
            url,
            events,
            user: (scope == "user").then(|| caller.id.clone()),
            group: group.map(ToOwned::to_owned),
            scope,
            organization: caller.organization.clone(),
            creator: caller.id.clone(),
            key: text(body, "signing_key").map(ToOwned::to_owned),
            disabled: false,
            retry_started: None,
            created: self.stage.now(),
        })
    }

    /// §4: `organization` always; `user` in user scope, and only oneself; `group` in group scope; the
    /// rest is for owners.
    fn check_owner<'a>(
        &self,
        caller: &Caller,
        scope: &str,
        given: &dyn Fn(&str) -> Option<&'a str>,
    ) -> Result<(), Refusal> {
        let base = &self.stage.base_url;
        let need = |name: &str| given(name).ok_or_else(|| invalid(name, "is missing"));
        if need("organization")? != format!("{base}/organizations/{}", caller.organization) {
            return Err(denied(NOT_YOURS));
        }
        let allowed = match scope {
            "user" => need("user")? == format!("{base}/users/{}", caller.id),
            "organization" => caller.owner,
            "group" => caller.owner && self.is_group(caller, need("group")?),
            _ => return Err(invalid("scope", "must be organization, user or group")),
        };
        if allowed {
            Ok(())
        } else {
            Err(denied(NOT_YOURS))
        }
    }

    /// Whether `uri` is a group of the caller's organization, which it is if it has a member.
    fn is_group(&self, caller: &Caller, uri: &str) -> bool {
        let state = self.state.lock();
        let mut colleagues = state.users.values();
        colleagues.any(|user| {
            let group = user.group.as_ref();
            user.organization == caller.organization
                && group.is_some_and(|id| uri == format!("{}/groups/{id}", self.stage.base_url))
        })
    }

    fn own(&self, caller: &Caller, id: &str) -> Result<usize, Refusal> {
        let state = self.state.lock();
        let at = state.subscriptions.iter().position(|one| one.id == id);
        let at = at.ok_or_else(missing)?;
        let mine = state.subscriptions.get(at).is_some_and(|one| {
            one.creator == caller.id
                || one.user.as_ref() == Some(&caller.id)
                || caller.owner && one.organization == caller.organization
        });
        if mine { Ok(at) } else { Err(denied(NOT_YOURS)) }
    }
}

/// A missing read scope is a 400 here, not a 403 (§2).
fn checked_events(caller: &Caller, body: &Value, scope: &str) -> Result<Vec<String>, Refusal> {
    let wrong = || invalid("events", "is invalid");
    let list = body
        .get("events")
        .and_then(Value::as_array)
        .ok_or_else(wrong)?;
    if list.is_empty() {
        return Err(wrong());
    }
    list.iter()
        .map(|one| {
            let name = one.as_str().ok_or_else(wrong)?;
            let (family, _) = name.split_once('.').ok_or_else(wrong)?;
            let (_, scopes, needed) = FAMILIES
                .iter()
                .find(|(known, ..)| *known == family)
                .ok_or_else(wrong)?;
            if scopes.contains(&scope) && caller.may(needed) {
                Ok(name.to_owned())
            } else {
                Err(invalid("events", "is not available for this scope"))
            }
        })
        .collect()
}
