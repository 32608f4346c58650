//! Webhook subscriptions at Calendly.
//!
//! 1. All pages are listed before one is made: what 409 compares is not documented (Calendly, webhook
//!    subscriptions).
//! 2. Nothing can be changed or switched on again: what is not sound is deleted and made anew.
//! 3. Only events whose read scope was granted are asked for, for one too many refuses them all. Should
//!    Calendly refuse the list nevertheless, the ones that everything rests on are asked for alone.
//! 4. `organization` is always needed, and changes when a user moves: a refusal is met by asking who
//!    the user is now, and trying once more.

use std::sync::Arc;

use async_trait::async_trait;
use http::StatusCode;
use serde_json::{Value, json};

use super::{Calendly, WebhookScope, consent::grants, event, pages::next_token, signature};
use crate::{
    base::secret::{ReloadableSecret, Secret},
    provider::{
        Account, ApiError, Consent, Coverage, Denial, Event, Forged, Genuine, Health, NotJson,
        Received, Subscribed, Subscription, Unclear, Wanted, Webhooks,
        api::{self, Question},
        field,
    },
};

/// A family of events: its events, the scope of the grant that they need, and where they can be
/// subscribed to (Calendly, event families).
struct Family {
    events: &'static [&'static str],
    needs: &'static str,
    offered: Offered,
}

/// In which scopes of a subscription a family is offered.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Offered {
    Everywhere,
    User,
    Organization,
}

/// Meetings: what everything rests on.
const CORE: Family = Family {
    events: &[
        "invitee.created",
        "invitee.canceled",
        "invitee_no_show.created",
        "invitee_no_show.deleted",
    ],
    needs: "scheduled_events:read",
    offered: Offered::Everywhere,
};

const FAMILIES: [Family; 5] = [
    CORE,
    Family {
        events: &[
            "event_type.created",
            "event_type.updated",
            "event_type.deleted",
        ],
        needs: "event_types:read",
        offered: Offered::Everywhere,
    },
    Family {
        events: &["routing_form_submission.created"],
        needs: "routing_forms:read",
        offered: Offered::Organization,
    },
    Family {
        events: &[
            "meeting_recap.created",
            "meeting_recap.updated",
            "meeting_recap.deleted",
        ],
        needs: "meeting_recaps:read",
        offered: Offered::User,
    },
    Family {
        events: &["contact.created", "contact.updated", "contact.deleted"],
        needs: "contacts:read",
        offered: Offered::Everywhere,
    },
];

const PATH: [&str; 1] = ["webhook_subscriptions"];

/// So many pages are looked through for our own subscription; an organization has far fewer.
const MAX_PAGES: usize = 50;

/// A subscription to our address, as it is listed.
struct Listed {
    subscription: Subscription,
    sound: bool,
}

/// The account, as subscriptions name it.
struct Place {
    user: String,
    organization: String,
}

#[async_trait]
impl Webhooks for Calendly {
    fn shared_key(&self) -> Option<Arc<Secret<String>>> {
        let key = self.config.webhook_signing_key.as_ref();
        key.map(ReloadableSecret::current)
    }

    fn coverage(&self) -> Coverage {
        match self.config.webhook_scope {
            WebhookScope::User => Coverage::User,
            WebhookScope::Organization => Coverage::Organization,
        }
    }

    async fn subscribe(
        &self,
        token: &Secret<String>,
        wanted: &Wanted<'_>,
    ) -> Result<Subscribed, ApiError> {
        let events = match self.events(wanted.granted) {
            Ok(events) => events,
            Err(denial) => return Ok(Subscribed::Unavailable(denial)),
        };
        let stored = Place::of(wanted.account);
        let known = stored.is_some();
        let place = match stored {
            Some(place) => place,
            None => self.place(token).await?,
        };
        let done = self.settle(token, wanted, &place, &events).await;
        let done = match done {
            Err(ApiError::Forbidden {
                denial: Denial::Permission,
                ..
            }) if known => {
                let now = self.place(token).await?;
                if now.organization == place.organization {
                    done
                } else {
                    self.settle(token, wanted, &now, &events).await
                }
            }
            done => done,
        };
        match done {
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
        let path = ["webhook_subscriptions", self.uuid(id)?];
        let body = match self.ask(token, Question::get(&path)).await {
            Ok(reply) => reply.body,
            Err(ApiError::NotFound { .. }) => return Ok(Health::Gone),
            Err(error) => return Err(error),
        };
        let Some(state) = field::text(&body, "/resource/state") else {
            return Err(api::unclear(&self.config.name, Unclear::Unreadable));
        };
        let url = field::text(&body, "/resource/callback_url");
        Ok(if state != "active" {
            Health::Disabled
        } else if !url.is_some_and(|url| field::same_url(url, wanted.url)) {
            Health::Altered
        } else {
            match field::time(&body, "/resource/retry_started_at") {
                Some(since) => Health::Retrying { since },
                None => Health::Active,
            }
        })
    }

    async fn unsubscribe(&self, token: &Secret<String>, id: &str) -> Result<(), ApiError> {
        let path = ["webhook_subscriptions", self.uuid(id)?];
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

// === impl Calendly ===

impl Calendly {
    /// The events that can be subscribed to with this grant, the core ones first.
    fn events(&self, granted: Option<&str>) -> Result<Vec<&'static str>, Denial> {
        if !grants(granted, "webhooks:write") {
            return Err(lacks("webhooks:write"));
        }
        if !grants(granted, CORE.needs) {
            return Err(lacks(CORE.needs));
        }
        let here = match self.config.webhook_scope {
            WebhookScope::User => Offered::User,
            WebhookScope::Organization => Offered::Organization,
        };
        let offered = FAMILIES.iter().filter(|family| {
            let fits = family.offered == Offered::Everywhere || family.offered == here;
            fits && grants(granted, family.needs)
        });
        let events = offered.flat_map(|family| family.events);
        Ok(events.copied().collect())
    }

    /// Ends with one sound subscription.
    async fn settle(
        &self,
        token: &Secret<String>,
        wanted: &Wanted<'_>,
        place: &Place,
        events: &[&'static str],
    ) -> Result<Subscribed, ApiError> {
        let coverage = self.coverage();
        let ours = self.listed(token, wanted, place, coverage).await?;
        if let Some(adopted) = self.tidy(token, ours).await? {
            return Ok(Subscribed::Adopted(adopted));
        }
        let mut made = self.make(token, wanted, place, events).await;
        if is(&made, StatusCode::BAD_REQUEST) && events != CORE.events {
            made = self.make(token, wanted, place, CORE.events).await;
        }
        if is(&made, StatusCode::CONFLICT) {
            if let Some(adopted) = self.cleared(token, wanted, place).await? {
                return Ok(Subscribed::Adopted(adopted));
            }
            made = self.make(token, wanted, place, CORE.events).await;
        }
        // A read scope that is missing looks like this too (Calendly, how API calls fail).
        if is(&made, StatusCode::BAD_REQUEST) && wanted.granted.is_none() {
            return Ok(Subscribed::Unavailable(lacks(CORE.needs)));
        }
        made.map(Subscribed::Made)
    }

    async fn make(
        &self,
        token: &Secret<String>,
        wanted: &Wanted<'_>,
        place: &Place,
        events: &[&'static str],
    ) -> Result<Subscription, ApiError> {
        let mut body = json!({
            "url": wanted.url.as_str(),
            "events": events,
            "organization": place.organization,
            "scope": self.coverage().as_str(),
            "signing_key": wanted.secret.danger_expose(),
        });
        if let (Value::Object(fields), Coverage::User) = (&mut body, self.coverage()) {
            fields.insert("user".to_owned(), json!(place.user));
        }
        let reply = self.ask(token, Question::post(&PATH, &body)).await?.body;
        let Some(id) = field::text(&reply, "/resource/uri") else {
            return Err(api::unclear(&self.config.name, Unclear::Unreadable));
        };
        Ok(Subscription {
            id: id.to_owned(),
            coverage: self.coverage(),
            events: events.iter().map(|event| (*event).to_owned()).collect(),
        })
    }

    /// Makes room where there was said to be none: what stands in the way may also be a subscription of
    /// another scope, from before the configuration was changed.
    async fn cleared(
        &self,
        token: &Secret<String>,
        wanted: &Wanted<'_>,
        place: &Place,
    ) -> Result<Option<Subscription>, ApiError> {
        let (own, other) = match self.coverage() {
            Coverage::User => (Coverage::User, Coverage::Organization),
            coverage => (coverage, Coverage::User),
        };
        match self.listed(token, wanted, place, other).await {
            Ok(stale) => {
                for Listed { subscription, .. } in stale {
                    self.unsubscribe(token, &subscription.id).await?;
                }
            }
            // Only an admin may look.
            Err(ApiError::Forbidden { .. }) => {}
            Err(error) => return Err(error),
        }
        let ours = self.listed(token, wanted, place, own).await?;
        self.tidy(token, ours).await
    }

    /// Keeps one that is sound and deletes the others.
    async fn tidy(
        &self,
        token: &Secret<String>,
        ours: Vec<Listed>,
    ) -> Result<Option<Subscription>, ApiError> {
        let mut kept = None;
        for Listed {
            subscription,
            sound,
        } in ours
        {
            if sound && kept.is_none() {
                kept = Some(subscription);
            } else {
                self.unsubscribe(token, &subscription.id).await?;
            }
        }
        Ok(kept)
    }

    async fn listed(
        &self,
        token: &Secret<String>,
        wanted: &Wanted<'_>,
        place: &Place,
        coverage: Coverage,
    ) -> Result<Vec<Listed>, ApiError> {
        let mut query = vec![
            ("organization", place.organization.as_str()),
            ("scope", coverage.as_str()),
        ];
        if coverage == Coverage::User {
            query.push(("user", &place.user));
        }
        let mut ours = Vec::new();
        let mut next: Option<String> = None;
        for _page in 0..MAX_PAGES {
            let body = self.page_of(token, &PATH, &query, next.as_deref());
            let body = body.await?.body;
            let entries = field::list(&body, "/collection").iter();
            let mine = entries.filter(|entry| {
                let url = field::text(entry, "/callback_url");
                url.is_some_and(|url| field::same_url(url, wanted.url))
            });
            ours.extend(mine.filter_map(|entry| Listed::read(entry, coverage)));
            next = next_token(&body);
            if next.is_none() {
                break;
            }
        }
        Ok(ours)
    }

    async fn place(&self, token: &Secret<String>) -> Result<Place, ApiError> {
        let identity = self.identify(token).await?;
        Place::of(&identity.account).ok_or_else(|| self.impossible("the user's organization"))
    }

    /// The last segment of a URI; the URI's own host is of no interest.
    pub(super) fn uuid<'a>(&self, id: &'a str) -> Result<&'a str, ApiError> {
        let not_found = || ApiError::NotFound {
            provider: self.config.name.clone(),
        };
        api::segment(id).ok_or_else(not_found)
    }
}

// === impl Listed ===

impl Listed {
    fn read(entry: &Value, coverage: Coverage) -> Option<Self> {
        let events = field::texts(entry, "/events").map(ToOwned::to_owned);
        let subscription = Subscription {
            id: field::text(entry, "/uri")?.to_owned(),
            coverage,
            events: events.collect(),
        };
        let has = |event: &&str| subscription.events.iter().any(|one| one == event);
        // A list without the rest may be all that Calendly took.
        let sound = field::text(entry, "/state") == Some("active") && CORE.events.iter().all(has);
        Some(Self {
            subscription,
            sound,
        })
    }
}

// === impl Place ===

impl Place {
    fn of(account: &Account) -> Option<Self> {
        Some(Self {
            user: account.external_id.clone()?,
            organization: account.organization.clone()?,
        })
    }
}

fn lacks(scope: &str) -> Denial {
    Denial::Scope {
        missing: vec![scope.to_owned()],
    }
}

fn is<T>(done: &Result<T, ApiError>, status: StatusCode) -> bool {
    matches!(done, Err(ApiError::Rejected { status: answered, .. }) if *answered == status)
}
