//! Webhook subscriptions at Cal.com.
//!
//! 1. Lists and answers show the secret in clear: they are read field by field and dropped.
//! 2. What is there is mended in place, for Cal.com lets it be changed. Only a `payloadTemplate`, which
//!    breaks the shape of what is sent, cannot be taken away: then it is deleted and made anew.
//! 3. One unknown trigger refuses them all. An older server is asked again, for those that every server
//!    knows.

use std::sync::Arc;

use async_trait::async_trait;
use http::StatusCode;
use serde_json::{Value, json};

use super::{Calcom, consent::grants, event, signature};
use crate::{
    base::secret::{ReloadableSecret, Secret},
    provider::{
        ApiError, Coverage, Denial, Event, Forged, Genuine, Health, NotJson, Received, Subscribed,
        Subscription, Wanted, Webhooks, api, api::Question, field,
    },
};

/// Every trigger of the documented enumeration (Cal.com, webhooks).
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

/// Those without which meetings would not stay true; the oldest servers have them.
const CORE: [&str; 5] = [
    "BOOKING_CREATED",
    "BOOKING_RESCHEDULED",
    "BOOKING_REQUESTED",
    "BOOKING_CANCELLED",
    "BOOKING_REJECTED",
];

const PATH: [&str; 2] = ["v2", "webhooks"];

/// The largest page (Cal.com, webhooks API).
const TAKE: usize = 250;

/// So many pages are looked through for our own subscription; a user has a handful.
const MAX_PAGES: usize = 20;

#[async_trait]
impl Webhooks for Calcom {
    fn shared_key(&self) -> Option<Arc<Secret<String>>> {
        let key = self.config.webhook_secret.as_ref();
        key.map(ReloadableSecret::current)
    }

    fn coverage(&self) -> Coverage {
        Coverage::User
    }

    async fn subscribe(
        &self,
        token: &Secret<String>,
        wanted: &Wanted<'_>,
    ) -> Result<Subscribed, ApiError> {
        let needed = ["WEBHOOK_READ", "WEBHOOK_WRITE"].into_iter();
        let missing: Vec<_> = needed
            .filter(|scope| !grants(wanted.granted, scope))
            .map(ToOwned::to_owned)
            .collect();
        if !missing.is_empty() {
            return Ok(Subscribed::Unavailable(Denial::Scope { missing }));
        }
        match self.settle(token, wanted).await {
            Err(ApiError::Forbidden { denial, .. }) => Ok(Subscribed::Unavailable(denial)),
            done => done,
        }
    }

    async fn inspect(
        &self,
        token: &Secret<String>,
        id: &str,
        wanted: &Wanted<'_>,
    ) -> Result<Health, ApiError> {
        let path = ["v2", "webhooks", self.hook(id)?];
        let body = match self.ask(token, Question::get(&path)).await {
            Ok(reply) => reply.body,
            Err(ApiError::NotFound { .. }) => return Ok(Health::Gone),
            Err(error) => return Err(error),
        };
        let hook = body.get("data").ok_or_else(|| self.unreadable())?;
        Ok(match hook.get("active") {
            Some(Value::Bool(true)) if is_ours(hook, wanted) && is_sound(hook, wanted) => {
                Health::Active
            }
            Some(Value::Bool(true)) => Health::Altered,
            Some(Value::Bool(false)) => Health::Disabled,
            _ => return Err(self.unreadable()),
        })
    }

    async fn unsubscribe(&self, token: &Secret<String>, id: &str) -> Result<(), ApiError> {
        let path = ["v2", "webhooks", self.hook(id)?];
        match self.ask(token, Question::delete(&path)).await {
            Ok(_) | Err(ApiError::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn verify(&self, received: &Received<'_>) -> Result<Genuine, Forged> {
        signature::verify(received)
    }

    fn read(&self, body: &[u8]) -> Result<Event, NotJson> {
        event::read(body)
    }
}

// === impl Calcom ===

impl Calcom {
    async fn settle(
        &self,
        token: &Secret<String>,
        wanted: &Wanted<'_>,
    ) -> Result<Subscribed, ApiError> {
        if let Some(hook) = self.own(token, wanted).await?
            && let Some(adopted) = self.mend(token, wanted, &hook).await?
        {
            return Ok(Subscribed::Adopted(adopted));
        }
        let mut made = self.make(token, wanted, &TRIGGERS).await;
        if is(&made, StatusCode::BAD_REQUEST) {
            made = self.make(token, wanted, &CORE).await;
        }
        if is(&made, StatusCode::CONFLICT) {
            // Somebody was faster.
            if let Some(hook) = self.own(token, wanted).await?
                && let Some(adopted) = self.mend(token, wanted, &hook).await?
            {
                return Ok(Subscribed::Adopted(adopted));
            }
        }
        made.map(Subscribed::Made)
    }

    async fn make(
        &self,
        token: &Secret<String>,
        wanted: &Wanted<'_>,
        triggers: &[&'static str],
    ) -> Result<Subscription, ApiError> {
        let body = wish(wanted, triggers);
        let reply = self.ask(token, Question::post(&PATH, &body)).await?.body;
        let hook = reply.get("data").unwrap_or(&Value::Null);
        subscription(hook).ok_or_else(|| self.unreadable())
    }

    /// Makes what is there what it should be; `None` if it had to be deleted.
    async fn mend(
        &self,
        token: &Secret<String>,
        wanted: &Wanted<'_>,
        hook: &Value,
    ) -> Result<Option<Subscription>, ApiError> {
        let id = field::id(hook, "/id").ok_or_else(|| self.unreadable())?;
        if field::text(hook, "/payloadTemplate").is_some() {
            self.unsubscribe(token, &id).await?;
            return Ok(None);
        }
        let active = hook.get("active") == Some(&Value::Bool(true));
        if active && is_sound(hook, wanted) {
            return Ok(subscription(hook));
        }
        let path = ["v2", "webhooks", self.hook(&id)?];
        let change = |triggers: &'static [&'static str]| wish(wanted, triggers);
        let mut mended = self
            .ask(token, Question::patch(&path, &change(&TRIGGERS)))
            .await;
        if is(&mended, StatusCode::BAD_REQUEST) {
            mended = self
                .ask(token, Question::patch(&path, &change(&CORE)))
                .await;
        }
        match mended {
            Ok(reply) => Ok(subscription(reply.body.get("data").unwrap_or(hook))),
            Err(ApiError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The subscription to our address.
    async fn own(
        &self,
        token: &Secret<String>,
        wanted: &Wanted<'_>,
    ) -> Result<Option<Value>, ApiError> {
        let take = TAKE.to_string();
        for page in 0..MAX_PAGES {
            let skip = (page * TAKE).to_string();
            let query = [("take", take.as_str()), ("skip", skip.as_str())];
            let question = Question::get(&PATH).with_query(&query);
            let body = self.ask(token, question).await?.body;
            let hooks = field::list(&body, "/data");
            if let Some(hook) = hooks.iter().find(|hook| is_ours(hook, wanted)) {
                return Ok(Some(hook.clone()));
            }
            if hooks.len() < TAKE {
                break;
            }
        }
        Ok(None)
    }

    fn hook<'a>(&self, id: &'a str) -> Result<&'a str, ApiError> {
        let not_found = || ApiError::NotFound {
            provider: self.config.name.clone(),
        };
        api::segment(id).ok_or_else(not_found)
    }
}

fn wish(wanted: &Wanted<'_>, triggers: &[&'static str]) -> Value {
    json!({
        "active": true,
        "subscriberUrl": wanted.url.as_str(),
        "triggers": triggers,
        "secret": wanted.secret.danger_expose(),
    })
}

fn is_ours(hook: &Value, wanted: &Wanted<'_>) -> bool {
    let url = field::text(hook, "/subscriberUrl");
    url.is_some_and(|url| field::same_url(url, wanted.url))
}

/// Whether it sends what is needed in a shape and with a signature that can be read.
fn is_sound(hook: &Value, wanted: &Wanted<'_>) -> bool {
    let has = |trigger: &&str| field::texts(hook, "/triggers").any(|one| one == *trigger);
    // Not every server may show the secret; one that does shows whether it is ours.
    let secret = field::text(hook, "/secret");
    let signed = match hook.get("secret") {
        None => true,
        Some(_) => secret == Some(wanted.secret.danger_expose().as_str()),
    };
    signed && CORE.iter().all(has) && field::text(hook, "/payloadTemplate").is_none()
}

fn subscription(hook: &Value) -> Option<Subscription> {
    let events = field::texts(hook, "/triggers").map(ToOwned::to_owned);
    Some(Subscription {
        id: field::id(hook, "/id")?,
        coverage: Coverage::User,
        events: events.collect(),
    })
}

fn is<T>(done: &Result<T, ApiError>, status: StatusCode) -> bool {
    matches!(done, Err(ApiError::Rejected { status: answered, .. }) if *answered == status)
}
