//! A scheduled event and its invitee: how they look, and what can happen to them (§3, §5).

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};

use super::{
    Calendly,
    state::{State, User},
};
use crate::{
    base::clock::Timestamp,
    sandbox::{Action, Booked, BookingOrder, dates},
};

#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) id: String,
    /// Ids of the hosts; the first one owns the event type.
    pub(crate) hosts: Vec<String>,
    pub(crate) start: Timestamp,
    pub(crate) end: Timestamp,
    pub(crate) created: Timestamp,
    pub(crate) updated: Timestamp,
    pub(crate) canceled: Option<String>,
    pub(crate) invitee: Invitee,
}

#[derive(Clone, Debug)]
pub(crate) struct Invitee {
    pub(crate) id: String,
    pub(crate) email: String,
    /// The URI of the invitee this one replaces.
    old: Option<String>,
    /// The URI of the invitee that replaces this one.
    new: Option<String>,
}

/// Something to be told to the subscribers.
#[derive(Clone, Debug)]
pub(crate) struct News {
    pub(crate) event: &'static str,
    pub(crate) hosts: Vec<String>,
    pub(crate) payload: Value,
    /// When it happened, by the provider's clock.
    pub(crate) at: Timestamp,
}

// === impl Event ===

impl Event {
    pub(crate) fn uri(&self, base: &str) -> String {
        format!("{base}/scheduled_events/{}", self.id)
    }

    pub(crate) fn invitee_uri(&self, base: &str) -> String {
        format!("{}/invitees/{}", self.uri(base), self.invitee.id)
    }

    pub(crate) const fn status(&self) -> &'static str {
        if self.canceled.is_some() {
            "canceled"
        } else {
            "active"
        }
    }

    /// §3.
    pub(crate) fn shown(&self, base: &str, state: &State) -> Value {
        let hosts = self.hosts.iter().filter_map(|id| state.users.get(id));
        let kind = self.hosts.first().map(String::as_str).unwrap_or_default();
        let active = u8::from(self.canceled.is_none());
        let mut shown = json!({
            "uri": self.uri(base),
            "name": "Intro",
            "meeting_notes_plain": null,
            "meeting_notes_html": null,
            "status": self.status(),
            "start_time": dates::micros(self.start),
            "end_time": dates::micros(self.end),
            "event_type": format!("{base}/event_types/INTRO{kind}"),
            "location": {"type": "physical", "location": "Sandbox street 1"},
            "invitees_counter": {"total": 1, "active": active, "limit": 1},
            "created_at": dates::micros(self.created),
            "updated_at": dates::micros(self.updated),
            "event_memberships": hosts.map(|host| membership(host, base)).collect::<Vec<_>>(),
            "event_guests": [],
            "calendar_event": null,
        });
        if let (Value::Object(map), Some(reason)) = (&mut shown, &self.canceled) {
            map.insert("cancellation".to_owned(), self.cancellation(reason));
        }
        shown
    }

    fn cancellation(&self, reason: &str) -> Value {
        json!({
            "canceled_by": "Guest", "reason": reason, "canceler_type": "invitee",
            "created_at": dates::micros(self.updated),
        })
    }

    /// §5.2, without `scheduled_event`.
    pub(crate) fn shown_invitee(&self, base: &str) -> Value {
        let mut shown = json!({
            "uri": self.invitee_uri(base),
            "email": self.invitee.email,
            "first_name": null,
            "last_name": null,
            "name": "Guest",
            "status": self.status(),
            "questions_and_answers": [],
            "timezone": "Europe/Berlin",
            "event": self.uri(base),
            "created_at": dates::micros(self.created),
            "updated_at": dates::micros(self.updated),
            "tracking": {"utm_campaign": null, "utm_source": null, "utm_medium": null,
                "utm_content": null, "utm_term": null, "salesforce_uuid": null},
            "text_reminder_number": null,
            "rescheduled": self.invitee.new.is_some(),
            "old_invitee": self.invitee.old,
            "new_invitee": self.invitee.new,
            "cancel_url": format!("https://calendly.com/cancellations/{}", self.invitee.id),
            "reschedule_url": format!("https://calendly.com/reschedulings/{}", self.invitee.id),
            "routing_form_submission": null,
            "payment": null,
            "no_show": null,
            "reconfirmation": null,
            "scheduling_method": null,
            "invitee_scheduled_by": null,
        });
        if let (Value::Object(map), Some(reason)) = (&mut shown, &self.canceled) {
            map.insert("cancellation".to_owned(), self.cancellation(reason));
        }
        shown
    }

    fn news(&self, event: &'static str, base: &str, state: &State) -> News {
        let mut payload = self.shown_invitee(base);
        if let Value::Object(map) = &mut payload {
            map.insert("scheduled_event".to_owned(), self.shown(base, state));
        }
        News {
            event,
            hosts: self.hosts.clone(),
            payload,
            at: self.updated,
        }
    }
}

fn membership(host: &User, base: &str) -> Value {
    json!({
        "user": host.uri(base),
        "user_email": host.email,
        "user_name": host.name,
        "buffered_start_time": null,
        "buffered_end_time": null,
    })
}

// === impl Calendly ===

impl Calendly {
    pub(crate) fn booked(self: &Arc<Self>, order: &BookingOrder) -> Result<Booked, String> {
        let base = &self.stage.base_url;
        let mut state = self.state.lock();
        let (event, news) = match order.action {
            Action::Create => self.made(&mut state, order)?,
            Action::Cancel => self.canceled(&mut state, order)?,
            Action::Reschedule => self.moved(&mut state, order)?,
            Action::Start | Action::End => {
                return Err("Calendly does not tell when a meeting begins or ends".to_owned());
            }
        };
        drop(state);
        let deliveries = news.iter().map(|news| self.tell(news)).sum();
        Ok(Booked {
            uri: Some(event.uri(base)),
            invitee: Some(event.invitee_uri(base)),
            id: event.id,
            deliveries,
        })
    }

    fn made(&self, state: &mut State, order: &BookingOrder) -> Result<(Event, Vec<News>), String> {
        let now = self.stage.now();
        let names = std::iter::once(&order.user).chain(&order.co_hosts);
        let hosts = names
            .map(|name| {
                let user = state.by_name(name).map(|user| user.id.clone());
                user.ok_or_else(|| format!("there is no user {name}"))
            })
            .collect::<Result<Vec<_>, _>>()?;
        let tomorrow = || now.saturating_add(Duration::from_hours(24));
        let start = order.start.unwrap_or_else(tomorrow);
        let length = Duration::from_mins(u64::from(order.minutes.unwrap_or(30)));
        let email = order
            .attendee_email
            .as_deref()
            .unwrap_or("guest@example.com");
        let event = Event {
            id: self.stage.uuid(),
            hosts,
            start,
            end: start.saturating_add(length),
            created: now,
            updated: now,
            canceled: None,
            invitee: Invitee {
                id: self.stage.uuid(),
                email: email.to_owned(),
                old: None,
                new: None,
            },
        };
        let news = event.news("invitee.created", &self.stage.base_url, state);
        state.events.insert(event.id.clone(), event.clone());
        Ok((event, vec![news]))
    }

    fn canceled(
        &self,
        state: &mut State,
        order: &BookingOrder,
    ) -> Result<(Event, Vec<News>), String> {
        let event = active(state, &order.id)?;
        event.canceled = Some(order.reason.clone().unwrap_or_default());
        event.updated = self.stage.now();
        let event = event.clone();
        let news = event.news("invitee.canceled", &self.stage.base_url, state);
        Ok((event, vec![news]))
    }

    /// §5.2: a cancellation that names the new invitee, and a creation that names the old one.
    fn moved(&self, state: &mut State, order: &BookingOrder) -> Result<(Event, Vec<News>), String> {
        let base = &self.stage.base_url;
        let now = self.stage.now();
        let old = active(state, &order.id)?;
        let later = old.start.saturating_add(Duration::from_hours(24));
        let start = order.start.unwrap_or(later);
        let mut new = Event {
            id: self.stage.uuid(),
            start,
            end: start.saturating_add(old.end.saturating_since(old.start)),
            created: now,
            updated: now,
            ..old.clone()
        };
        new.invitee.id = self.stage.uuid();
        new.invitee.old = Some(old.invitee_uri(base));
        old.canceled = Some(order.reason.clone().unwrap_or_default());
        old.updated = now;
        old.invitee.new = Some(new.invitee_uri(base));
        let old = old.clone();
        let news = vec![
            old.news("invitee.canceled", base, state),
            new.news("invitee.created", base, state),
        ];
        state.events.insert(new.id.clone(), new.clone());
        Ok((new, news))
    }
}

fn active<'a>(state: &'a mut State, id: &str) -> Result<&'a mut Event, String> {
    let event = state
        .events
        .get_mut(id)
        .ok_or_else(|| format!("there is no event {id}"))?;
    if event.canceled.is_some() {
        return Err("Event is already canceled".to_owned());
    }
    Ok(event)
}
