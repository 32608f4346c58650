//! A scheduled event and its invitees: how they look, and what can happen to them (§3, §5).
//!
//! An event has one invitee, or in a group event several, each of whom comes and goes alone. It takes
//! place as long as one of them does.

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
    /// How many invitees it has room for.
    seats: usize,
    pub(crate) invitees: Vec<Invitee>,
}

#[derive(Clone, Debug)]
pub(crate) struct Invitee {
    pub(crate) id: String,
    pub(crate) email: String,
    created: Timestamp,
    updated: Timestamp,
    /// Why they do not come.
    canceled: Option<String>,
    missed: Option<Timestamp>,
    /// The URI of the invitee this one replaces.
    old: Option<String>,
    /// The URI of the invitee that replaces this one.
    new: Option<String>,
}

/// Something to be told to the subscribers.
#[derive(Clone, Debug)]
pub(crate) struct News {
    pub(crate) event: String,
    pub(crate) hosts: Vec<String>,
    pub(crate) payload: Value,
    /// When it happened, by the provider's clock.
    pub(crate) at: Timestamp,
}

/// What an action leaves behind: the event, the invitee it was about, and what is told of it.
struct Outcome {
    event: Event,
    invitee: Option<String>,
    news: Vec<News>,
}

// === impl Event ===

impl Event {
    pub(crate) fn uri(&self, base: &str) -> String {
        format!("{base}/scheduled_events/{}", self.id)
    }

    pub(crate) fn status(&self) -> &'static str {
        let reason = self.cancellation();
        if reason.is_some() {
            "canceled"
        } else {
            "active"
        }
    }

    /// Why nobody comes any more.
    fn cancellation(&self) -> Option<&Invitee> {
        let coming = self.invitees.iter().any(|one| one.canceled.is_none());
        self.invitees.last().filter(|_| !coming)
    }

    /// §3.
    pub(crate) fn shown(&self, base: &str, state: &State) -> Value {
        let hosts = self.hosts.iter().filter_map(|id| state.users.get(id));
        let kind = self.hosts.first().map(String::as_str).unwrap_or_default();
        let active = self.invitees.iter().filter(|one| one.canceled.is_none());
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
            "invitees_counter": {"total": self.invitees.len(), "active": active.count(),
                "limit": self.seats},
            "created_at": dates::micros(self.created),
            "updated_at": dates::micros(self.updated),
            "event_memberships": hosts.map(|host| membership(host, base)).collect::<Vec<_>>(),
            "event_guests": [],
            "calendar_event": null,
        });
        if let (Value::Object(map), Some(last)) = (&mut shown, self.cancellation()) {
            map.insert("cancellation".to_owned(), last.cancellation());
        }
        shown
    }

    /// §5.2, without `scheduled_event`.
    pub(crate) fn shown_invitee(&self, invitee: &Invitee, base: &str) -> Value {
        let uri = invitee.uri(self, base);
        let mut shown = json!({
            "uri": uri,
            "email": invitee.email,
            "first_name": null,
            "last_name": null,
            "name": "Guest",
            "status": invitee.status(),
            "questions_and_answers": [],
            "timezone": "Europe/Berlin",
            "event": self.uri(base),
            "created_at": dates::micros(invitee.created),
            "updated_at": dates::micros(invitee.updated),
            "tracking": {"utm_campaign": null, "utm_source": null, "utm_medium": null,
                "utm_content": null, "utm_term": null, "salesforce_uuid": null},
            "text_reminder_number": null,
            "rescheduled": invitee.new.is_some(),
            "old_invitee": invitee.old,
            "new_invitee": invitee.new,
            "cancel_url": format!("https://calendly.com/cancellations/{}", invitee.id),
            "reschedule_url": format!("https://calendly.com/reschedulings/{}", invitee.id),
            "routing_form_submission": null,
            "payment": null,
            "no_show": invitee.missed.map(|at| json!({
                "uri": format!("{base}/invitee_no_shows/{}", invitee.id),
                "created_at": dates::micros(at),
            })),
            "reconfirmation": null,
            "scheduling_method": null,
            "invitee_scheduled_by": null,
        });
        if let (Value::Object(map), true) = (&mut shown, invitee.canceled.is_some()) {
            map.insert("cancellation".to_owned(), invitee.cancellation());
        }
        shown
    }

    fn news(&self, event: &str, invitee: &Invitee, base: &str, state: &State) -> News {
        let mut payload = self.shown_invitee(invitee, base);
        if let Value::Object(map) = &mut payload {
            map.insert("scheduled_event".to_owned(), self.shown(base, state));
        }
        News {
            event: event.to_owned(),
            hosts: self.hosts.clone(),
            payload,
            at: invitee.updated,
        }
    }

    /// The invitees that an order is about, by their places.
    fn concerned(&self, order: &BookingOrder) -> Result<Vec<usize>, String> {
        let wanted = order.attendee_email.as_ref();
        let places: Vec<_> = self
            .invitees
            .iter()
            .enumerate()
            .filter(|(_, one)| one.canceled.is_none())
            .filter(|(_, one)| wanted.is_none_or(|email| one.email == *email))
            .map(|(place, _)| place)
            .collect();
        match (places.is_empty(), self.status()) {
            (false, _) => Ok(places),
            (true, "canceled") => Err("Event is already canceled".to_owned()),
            (true, _) => Err("there is no such invitee".to_owned()),
        }
    }
}

// === impl Invitee ===

impl Invitee {
    fn new(id: String, email: Option<&str>, now: Timestamp) -> Self {
        Self {
            id,
            email: email.unwrap_or("guest@example.com").to_owned(),
            created: now,
            updated: now,
            canceled: None,
            missed: None,
            old: None,
            new: None,
        }
    }

    fn uri(&self, event: &Event, base: &str) -> String {
        format!("{}/invitees/{}", event.uri(base), self.id)
    }

    pub(crate) const fn status(&self) -> &'static str {
        if self.canceled.is_some() {
            "canceled"
        } else {
            "active"
        }
    }

    fn cancellation(&self) -> Value {
        json!({
            "canceled_by": "Guest", "reason": self.canceled, "canceler_type": "invitee",
            "created_at": dates::micros(self.updated),
        })
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
        let outcome = match order.action {
            Action::Create => self.made(&mut state, order)?,
            Action::Join => self.joined(&mut state, order)?,
            Action::Cancel => self.canceled(&mut state, order)?,
            Action::Reschedule => self.moved(&mut state, order)?,
            Action::Miss => self.missed(&mut state, order, true)?,
            Action::Attend => self.missed(&mut state, order, false)?,
            Action::Start | Action::End => {
                return Err("Calendly does not tell when a meeting begins or ends".to_owned());
            }
            Action::Request | Action::Confirm | Action::Reject => {
                return Err("Calendly knows no requests".to_owned());
            }
        };
        drop(state);
        let deliveries = outcome.news.iter().map(|news| self.tell(news)).sum();
        Ok(Booked {
            uri: Some(outcome.event.uri(base)),
            invitee: outcome.invitee,
            id: outcome.event.id,
            deliveries,
        })
    }

    fn made(&self, state: &mut State, order: &BookingOrder) -> Result<Outcome, String> {
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
        let invitee = Invitee::new(self.stage.uuid(), order.attendee_email.as_deref(), now);
        let event = Event {
            id: self.stage.uuid(),
            hosts,
            start,
            end: start.saturating_add(length),
            created: now,
            updated: now,
            seats: order.seats.map_or(1, |seats| seats.max(1) as usize),
            invitees: vec![invitee],
        };
        state.events.insert(event.id.clone(), event.clone());
        Ok(self.outcome(state, event, "invitee.created", &[0]))
    }

    fn joined(&self, state: &mut State, order: &BookingOrder) -> Result<Outcome, String> {
        let now = self.stage.now();
        let invitee = Invitee::new(self.stage.uuid(), order.attendee_email.as_deref(), now);
        let event = known(state, &order.id)?;
        let taken = event.invitees.iter().filter(|one| one.canceled.is_none());
        if taken.count() >= event.seats {
            return Err("every seat is taken".to_owned());
        }
        event.invitees.push(invitee);
        let (event, place) = (event.clone(), event.invitees.len() - 1);
        Ok(self.outcome(state, event, "invitee.created", &[place]))
    }

    fn canceled(&self, state: &mut State, order: &BookingOrder) -> Result<Outcome, String> {
        let now = self.stage.now();
        let event = known(state, &order.id)?;
        let places = event.concerned(order)?;
        for invitee in chosen(event, &places) {
            invitee.canceled = Some(order.reason.clone().unwrap_or_default());
            invitee.updated = now;
        }
        if event.cancellation().is_some() {
            event.updated = now;
        }
        let event = event.clone();
        Ok(self.outcome(state, event, "invitee.canceled", &places))
    }

    /// §5.2: a cancellation that names the new invitee, and a creation that names the old one.
    fn moved(&self, state: &mut State, order: &BookingOrder) -> Result<Outcome, String> {
        let base = &self.stage.base_url;
        let now = self.stage.now();
        let (new_id, invitee_id) = (self.stage.uuid(), self.stage.uuid());
        let old = known(state, &order.id)?;
        let places: Vec<_> = old.concerned(order)?.into_iter().take(1).collect();
        let later = old.start.saturating_add(Duration::from_hours(24));
        let start = order.start.unwrap_or(later);
        let mut new = Event {
            id: new_id,
            start,
            end: start.saturating_add(old.end.saturating_since(old.start)),
            created: now,
            updated: now,
            invitees: Vec::new(),
            ..old.clone()
        };
        let before = old.clone();
        for invitee in chosen(old, &places) {
            let mut moved = Invitee::new(invitee_id.clone(), Some(&invitee.email), now);
            moved.old = Some(invitee.uri(&before, base));
            invitee.new = Some(moved.uri(&new, base));
            invitee.canceled = Some(order.reason.clone().unwrap_or_default());
            invitee.updated = now;
            new.invitees.push(moved);
        }
        if old.cancellation().is_some() {
            old.updated = now;
        }
        let old = old.clone();
        let mut news = self.outcome(state, old, "invitee.canceled", &places).news;
        state.events.insert(new.id.clone(), new.clone());
        let made = self.outcome(state, new, "invitee.created", &[0]);
        news.extend(made.news);
        Ok(Outcome { news, ..made })
    }

    fn missed(
        &self,
        state: &mut State,
        order: &BookingOrder,
        missed: bool,
    ) -> Result<Outcome, String> {
        let now = self.stage.now();
        let event = known(state, &order.id)?;
        let places = event.concerned(order)?;
        for invitee in chosen(event, &places) {
            invitee.missed = missed.then_some(now);
            invitee.updated = now;
        }
        let event = event.clone();
        let name = if missed {
            "invitee_no_show.created"
        } else {
            "invitee_no_show.deleted"
        };
        Ok(self.outcome(state, event, name, &places))
    }

    fn outcome(&self, state: &State, event: Event, name: &str, places: &[usize]) -> Outcome {
        let base = &self.stage.base_url;
        let invitees = places.iter().filter_map(|place| event.invitees.get(*place));
        Outcome {
            invitee: invitees
                .clone()
                .next_back()
                .map(|one| one.uri(&event, base)),
            news: invitees
                .map(|one| event.news(name, one, base, state))
                .collect(),
            event,
        }
    }
}

fn chosen<'a>(event: &'a mut Event, places: &'a [usize]) -> impl Iterator<Item = &'a mut Invitee> {
    let all = event.invitees.iter_mut().enumerate();
    all.filter(|(place, _)| places.contains(place))
        .map(|(_, invitee)| invitee)
}

fn known<'a>(state: &'a mut State, id: &str) -> Result<&'a mut Event, String> {
    let event = state.events.get_mut(id);
    event.ok_or_else(|| format!("there is no event {id}"))
}
