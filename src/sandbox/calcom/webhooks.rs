//! Webhooks (§5): subscriptions of users and of the platform client, and their deliveries.
//!
//! One POST per subscription, signed over the exact bytes, never retried. Without a secret the
//! signature header says `no-secret-provided`.

use std::sync::Arc;

use axum::{
    Router,
    body::Bytes,
    extract::{Path, RawQuery, State},
    response::Response,
    routing::get,
};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::{Value, json};

use super::{
    Calcom,
    answer::{Refusal, success, with_status},
    auth::Guard,
    booking::News,
    bookings::bounded,
    state::PLATFORM_CLIENT,
};
use crate::sandbox::{deliver::Parcel, jwt::hmac_hex, wire};

/// §5: the enum of the `OpenAPI` document; any other trigger is a 400.
const TRIGGERS: [&str; 21] = [
    "BOOKING_CREATED",
    "BOOKING_PAYMENT_INITIATED",
    "BOOKING_PAID",
    "BOOKING_RESCHEDULED",
    "BOOKING_REQUESTED",
    "BOOKING_CANCELLED",
    "BOOKING_REJECTED",
    "BOOKING_NO_SHOW_UPDATED",
    "FORM_SUBMITTED",
    "MEETING_ENDED",
    "MEETING_STARTED",
    "RECORDING_READY",
    "INSTANT_MEETING",
    "RECORDING_TRANSCRIPTION_GENERATED",
    "OOO_CREATED",
    "AFTER_HOSTS_CAL_VIDEO_NO_SHOW",
    "AFTER_GUESTS_CAL_VIDEO_NO_SHOW",
    "FORM_SUBMITTED_NO_EVENT",
    "ROUTING_FORM_FALLBACK_HIT",
    "DELEGATION_CREDENTIAL_ERROR",
    "WRONG_ASSIGNMENT_REPORT",
];

/// What servers knew before the rest came to be.
const OLD_TRIGGERS: [&str; 7] = [
    "BOOKING_CREATED",
    "BOOKING_RESCHEDULED",
    "BOOKING_REQUESTED",
    "BOOKING_CANCELLED",
    "BOOKING_REJECTED",
    "MEETING_ENDED",
    "MEETING_STARTED",
];

/// Whose subscription it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    User(i64),
    Platform,
}

#[derive(Clone, Debug)]
pub(crate) struct Webhook {
    id: String,
    owner: Owner,
    pub(crate) url: String,
    triggers: Vec<String>,
    pub(crate) active: bool,
    secret: Option<String>,
}

pub(crate) fn routes() -> Router<Arc<Calcom>> {
    Router::new()
        .route("/v2/webhooks", get(list).post(create))
        .route("/v2/webhooks/{id}", get(read).patch(change).delete(remove))
        .route(
            "/v2/oauth-clients/{client}/webhooks",
            get(client_list).post(client_create).delete(client_clear),
        )
        .route(
            "/v2/oauth-clients/{client}/webhooks/{id}",
            get(client_read).patch(client_change).delete(client_remove),
        )
}

type Calc = State<Arc<Calcom>>;
type Answer = Result<Response, Refusal>;

async fn list(State(calcom): Calc, headers: HeaderMap, RawQuery(raw): RawQuery) -> Answer {
    let owner = calcom.hook_owner(&headers, "WEBHOOK_READ")?;
    calcom.page_of_hooks(owner, raw.as_deref())
}

async fn create(State(calcom): Calc, headers: HeaderMap, body: Bytes) -> Answer {
    let owner = calcom.hook_owner(&headers, "WEBHOOK_WRITE")?;
    calcom.subscribe(owner, &body)
}

async fn read(State(calcom): Calc, Path(id): Path<String>, headers: HeaderMap) -> Answer {
    let owner = calcom.hook_owner(&headers, "WEBHOOK_READ")?;
    calcom.hook(owner, &id, |_| Ok(()))
}

async fn change(
    State(calcom): Calc,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let owner = calcom.hook_owner(&headers, "WEBHOOK_WRITE")?;
    let old = calcom.is_old();
    calcom.hook(owner, &id, |hook| hook.change(&body, old))
}

async fn remove(State(calcom): Calc, Path(id): Path<String>, headers: HeaderMap) -> Answer {
    let owner = calcom.hook_owner(&headers, "WEBHOOK_WRITE")?;
    calcom.unsubscribe(owner, &id)
}

async fn client_list(
    State(calcom): Calc,
    Path(id): Path<String>,
    headers: HeaderMap,
    RawQuery(raw): RawQuery,
) -> Answer {
    calcom.platform(&headers, &id)?;
    calcom.page_of_hooks(Owner::Platform, raw.as_deref())
}

async fn client_create(
    State(calcom): Calc,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    calcom.platform(&headers, &id)?;
    calcom.subscribe(Owner::Platform, &body)
}

async fn client_clear(State(calcom): Calc, Path(id): Path<String>, headers: HeaderMap) -> Answer {
    calcom.platform(&headers, &id)?;
    let answer = calcom.hooks(Owner::Platform);
    let mut state = calcom.state.lock();
    state.webhooks.retain(|hook| hook.owner != Owner::Platform);
    Ok(answer)
}

async fn client_read(
    State(calcom): Calc,
    Path((client, id)): Path<(String, String)>,
    headers: HeaderMap,
) -> Answer {
    calcom.platform(&headers, &client)?;
    calcom.hook(Owner::Platform, &id, |_| Ok(()))
}

async fn client_change(
    State(calcom): Calc,
    Path((client, id)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    calcom.platform(&headers, &client)?;
    let old = calcom.is_old();
    calcom.hook(Owner::Platform, &id, |hook| hook.change(&body, old))
}

async fn client_remove(
    State(calcom): Calc,
    Path((client, id)): Path<(String, String)>,
    headers: HeaderMap,
) -> Answer {
    calcom.platform(&headers, &client)?;
    calcom.unsubscribe(Owner::Platform, &id)
}

fn missing(id: &str) -> Refusal {
    Refusal::not_found(format!("Webhook with id={id} not found"))
}

fn triggers(body: &Value, old: bool) -> Result<Vec<String>, Refusal> {
    let list = body.get("triggers").and_then(Value::as_array);
    let known = |one: &Value| {
        let text = one.as_str().filter(|text| TRIGGERS.contains(text))?;
        let fits = !old || OLD_TRIGGERS.contains(&text);
        fits.then(|| text.to_owned())
    };
    list.and_then(|list| list.iter().map(known).collect())
        .ok_or_else(|| Refusal::bad_request("each value in triggers must be a known trigger"))
}

fn parsed(body: &[u8]) -> Result<Value, Refusal> {
    match serde_json::from_slice(body) {
        Ok(Value::Object(map)) => Ok(Value::Object(map)),
        _ => Err(Refusal::bad_request("body must be a JSON object")),
    }
}

// === impl Webhook ===

impl Webhook {
    /// §5: the secret is echoed in clear.
    fn shown(&self) -> Value {
        let (user, client) = match self.owner {
            Owner::User(id) => (Some(id), None),
            Owner::Platform => (None, Some(PLATFORM_CLIENT)),
        };
        json!({
            "id": self.id,
            "userId": user,
            "oAuthClientId": client,
            "triggers": self.triggers,
            "subscriberUrl": self.url,
            "active": self.active,
            "payloadTemplate": null,
            "secret": self.secret,
        })
    }

    fn change(&mut self, body: &[u8], old: bool) -> Result<(), Refusal> {
        let body = parsed(body)?;
        if body.get("triggers").is_some() {
            self.triggers = triggers(&body, old)?;
        }
        let text = |name: &str| {
            body.get(name)
                .and_then(Value::as_str)
                .map(ToOwned::to_owned)
        };
        if let Some(url) = text("subscriberUrl") {
            self.url = url;
        }
        if let Some(secret) = text("secret") {
            self.secret = Some(secret);
        }
        if let Some(active) = body.get("active").and_then(Value::as_bool) {
            self.active = active;
        }
        Ok(())
    }

    fn hears(&self, news: &News, managed: bool) -> bool {
        let concerned = match self.owner {
            Owner::User(id) => id == news.user,
            Owner::Platform => managed,
        };
        self.active && concerned && self.triggers.contains(&news.trigger)
    }
}

// === impl Calcom ===

impl Calcom {
    fn hook_owner(&self, headers: &HeaderMap, scope: &str) -> Result<Owner, Refusal> {
        let caller = self.caller(headers, Guard::Plain)?.need(scope)?;
        if self.stage.switch(|switches| switches.calcom.no_webhooks) {
            return Err(Refusal::forbidden("You are not allowed to use webhooks."));
        }
        Ok(Owner::User(caller.id))
    }

    fn is_old(&self) -> bool {
        self.stage.switch(|switches| switches.calcom.old_server)
    }

    /// §5: `take` up to 250, `skip`.
    fn page_of_hooks(&self, owner: Owner, query: Option<&str>) -> Answer {
        let asked = wire::query(query.unwrap_or_default());
        let take = bounded(&asked, "take", 250, 1, 250)?;
        let skip = bounded(&asked, "skip", 0, 0, usize::MAX)?;
        let state = self.state.lock();
        let mine = state.webhooks.iter().filter(|hook| hook.owner == owner);
        let page = mine.skip(skip).take(take);
        Ok(success(&page.map(Webhook::shown).collect()))
    }

    fn hooks(&self, owner: Owner) -> Response {
        let state = self.state.lock();
        let mine = state.webhooks.iter().filter(|hook| hook.owner == owner);
        success(&mine.map(Webhook::shown).collect())
    }

    fn subscribe(&self, owner: Owner, body: &[u8]) -> Answer {
        let body = parsed(body)?;
        let url = body
            .get("subscriberUrl")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let active = body.get("active").and_then(Value::as_bool);
        let (Some(active), Ok(_)) = (active, url::Url::parse(url)) else {
            return Err(Refusal::bad_request(
                "active must be a boolean value, subscriberUrl must be a URL address",
            ));
        };
        let hook = Webhook {
            id: self.stage.uuid(),
            owner,
            url: url.to_owned(),
            triggers: triggers(&body, self.is_old())?,
            active,
            secret: body
                .get("secret")
                .and_then(Value::as_str)
                .map(ToOwned::to_owned),
        };
        let mut state = self.state.lock();
        let taken = |one: &Webhook| one.owner == owner && one.url == hook.url;
        if state.webhooks.iter().any(taken) {
            return Err(Refusal::conflict(
                "Webhook with this subscriberUrl already exists for this user",
            ));
        }
        let shown = hook.shown();
        state.webhooks.push(hook);
        Ok(with_status(StatusCode::CREATED, &shown))
    }

    fn hook(
        &self,
        owner: Owner,
        id: &str,
        act: impl FnOnce(&mut Webhook) -> Result<(), Refusal>,
    ) -> Answer {
        let mut state = self.state.lock();
        let mut mine = state.webhooks.iter_mut().filter(|hook| hook.owner == owner);
        let hook = mine.find(|hook| hook.id == id).ok_or_else(|| missing(id))?;
        act(hook)?;
        Ok(success(&hook.shown()))
    }

    fn unsubscribe(&self, owner: Owner, id: &str) -> Answer {
        let mut state = self.state.lock();
        let found = |hook: &Webhook| hook.owner == owner && hook.id == id;
        let at = state
            .webhooks
            .iter()
            .position(found)
            .ok_or_else(|| missing(id))?;
        Ok(success(&state.webhooks.remove(at).shown()))
    }

    /// Sends `news` to everyone who listens; how many that are.
    pub(crate) fn tell(self: &Arc<Self>, news: &News) -> usize {
        let listening: Vec<_> = {
            let state = self.state.lock();
            let managed = state.users.get(&news.user).is_some_and(|user| user.managed);
            let hears = |hook: &&Webhook| hook.hears(news, managed);
            state.webhooks.iter().filter(hears).cloned().collect()
        };
        let body = news.body.to_string();
        for hook in &listening {
            let headers = signed(hook, &body);
            let parcel = Parcel {
                url: hook.url.clone(),
                event: news.trigger.clone(),
                body: body.clone(),
                subscription: hook.id.clone(),
            };
            let calcom = Arc::clone(self);
            self.stage.lifecycle.spawn_until_drain(async move {
                calcom.stage.deliver(&parcel, headers, 1).await;
            });
        }
        listening.len()
    }
}

fn signed(hook: &Webhook, body: &str) -> HeaderMap {
    let signature = hook.secret.as_ref().map_or_else(
        || "no-secret-provided".to_owned(),
        |secret| hmac_hex(secret.as_bytes(), body.as_bytes()),
    );
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_str(&signature) {
        headers.insert("x-cal-signature-256", value);
    }
    headers.insert(
        "x-cal-webhook-version",
        HeaderValue::from_static("2021-10-20"),
    );
    headers
}
