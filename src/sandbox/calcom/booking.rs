//! A booking: what it is, how it looks in an answer and in a webhook, what can happen to it.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use tokio::time::sleep;

use super::{
    Calcom,
    state::{PLATFORM_CLIENT, State, User},
};
use crate::{
    base::clock::Timestamp,
    sandbox::{Action, Booked, BookingOrder, dates},
};

#[derive(Clone, Debug)]
pub(crate) struct Booking {
    pub(crate) id: i64,
    pub(crate) uid: String,
    /// The host.
    pub(crate) user: i64,
    pub(crate) start: Timestamp,
    pub(crate) end: Timestamp,
    /// `accepted`, `cancelled`, `rejected` or `pending`.
    pub(crate) status: &'static str,
    pub(crate) attendee_email: String,
    pub(crate) created: Timestamp,
    pub(crate) updated: Timestamp,
    /// The attendee did not come.
    absent: bool,
    reason: Option<String>,
    from: Option<String>,
    to: Option<String>,
}

/// An event to be told to the subscribers.
#[derive(Clone, Debug)]
pub(crate) struct News {
    pub(crate) trigger: String,
    pub(crate) user: i64,
    pub(crate) body: Value,
}

// === impl Booking ===

impl Booking {
    /// §6.
    pub(crate) fn shown(&self, host: Option<&User>) -> Value {
        let kind = self.user * 10 + 1;
        json!({
            "id": self.id,
            "uid": self.uid,
            "title": self.title(host),
            "description": "",
            "hosts": host.map(|host| json!([{
                "id": host.id, "name": host.name, "email": host.email,
                "displayEmail": host.email, "username": host.name, "timeZone": host.time_zone,
            }])).unwrap_or_default(),
            "status": self.status,
            "start": dates::millis(self.start),
            "end": dates::millis(self.end),
            "duration": self.end.saturating_since(self.start).as_secs() / 60,
            "eventTypeId": kind,
            "eventType": {"id": kind, "slug": "intro"},
            "attendees": [self.attendee()],
            "guests": [],
            "location": self.video(),
            "meetingUrl": self.video(),
            "absentHost": false,
            "createdAt": dates::millis(self.created),
            "updatedAt": dates::millis(self.updated),
            "rescheduledFromUid": self.from,
            "rescheduledToUid": self.to,
            "cancellationReason": self.reason,
            "icsUid": format!("{}@sandbox.test", self.uid),
            "metadata": {},
            "bookingFieldsResponses": {"email": self.attendee_email, "name": "Guest"},
        })
    }

    /// Where Cal.com's own video calls are.
    fn video(&self) -> String {
        format!("https://app.cal.com/video/{}", self.uid)
    }

    fn title(&self, host: Option<&User>) -> String {
        let host = host.map_or("nobody", |host| host.name.as_str());
        format!("Intro between {host} and {}", self.attendee_email)
    }

    fn attendee(&self) -> Value {
        json!({
            "name": "Guest", "email": self.attendee_email, "displayEmail": self.attendee_email,
            "timeZone": "Europe/Berlin", "language": "en", "absent": self.absent, "phoneNumber": null,
        })
    }

    /// §5: the envelope of `BOOKING_*`.
    fn envelope(&self, trigger: &str, host: &User, at: Timestamp, before: Option<&Self>) -> Value {
        let mut payload = json!({
            "type": "intro",
            "title": self.title(Some(host)),
            "startTime": dates::millis(self.start),
            "endTime": dates::millis(self.end),
            "organizer": {
                "id": host.id, "email": host.email, "username": host.name,
                "usernameInOrg": null, "name": host.name, "timeZone": host.time_zone,
                "language": {"locale": "en"},
            },
            "attendees": [self.attendee()],
            "uid": self.uid,
            "bookingId": self.id,
            "eventTypeId": host.id * 10 + 1,
            "organizationId": null,
            "status": self.status.to_uppercase(),
            "location": "integrations:daily",
            "cancellationReason": self.reason,
            "metadata": {"videoCallUrl": self.video()},
        });
        if let Value::Object(map) = &mut payload {
            if host.managed {
                map.insert("platformClientId".to_owned(), json!(PLATFORM_CLIENT));
            }
            if let Some(before) = before {
                map.insert("rescheduleId".to_owned(), json!(before.id));
                map.insert("rescheduleUid".to_owned(), json!(before.uid));
                let start = dates::millis(before.start);
                map.insert("rescheduleStartTime".to_owned(), json!(start));
                map.insert(
                    "rescheduleEndTime".to_owned(),
                    json!(dates::millis(before.end)),
                );
            }
        }
        json!({"triggerEvent": trigger, "createdAt": dates::millis(at), "payload": payload})
    }

    /// §5: names attendees and the booking, and no host.
    fn no_show(&self, at: Timestamp) -> Value {
        json!({
            "triggerEvent": "BOOKING_NO_SHOW_UPDATED",
            "createdAt": dates::millis(at),
            "payload": {
                "message": "x marked as no-show",
                "bookingUid": self.uid,
                "bookingId": self.id,
                "attendees": [{"email": self.attendee_email, "noShow": self.absent}],
            },
        })
    }

    /// §5: `MEETING_*` has no `payload`, and `createdAt` is the booking's.
    fn flat(&self, trigger: &str, host: &User) -> Value {
        json!({
            "triggerEvent": trigger,
            "id": self.id,
            "uid": self.uid,
            "userId": host.id,
            "userPrimaryEmail": host.email,
            "title": self.title(Some(host)),
            "startTime": dates::millis(self.start),
            "endTime": dates::millis(self.end),
            "status": self.status.to_uppercase(),
            "createdAt": dates::millis(self.created),
            "user": {"email": host.email, "username": host.name, "name": host.name,
                "timeZone": host.time_zone},
        })
    }
}

// === impl Calcom ===

impl Calcom {
    pub(crate) fn booked(self: &Arc<Self>, order: &BookingOrder) -> Result<Booked, String> {
        let mut state = self.state.lock();
        let (uid, news) = match order.action {
            Action::Create => self.made(&mut state, order, "BOOKING_CREATED")?,
            Action::Request => self.made(&mut state, order, "BOOKING_REQUESTED")?,
            Action::Confirm => self.decided(&mut state, order, "BOOKING_CREATED")?,
            Action::Reject => self.decided(&mut state, order, "BOOKING_REJECTED")?,
            Action::Cancel => self.cancelled(&mut state, order)?,
            Action::Reschedule => self.moved(&mut state, order)?,
            Action::Start => self.met(&mut state, order, "MEETING_STARTED")?,
            Action::End => self.met(&mut state, order, "MEETING_ENDED")?,
            Action::Miss => self.missed(&mut state, order, true)?,
            Action::Attend => self.missed(&mut state, order, false)?,
            Action::Join => return Err("a booking has one seat".to_owned()),
        };
        drop(state);
        Ok(Booked {
            id: uid,
            uri: None,
            invitee: None,
            deliveries: self.tell(&news),
        })
    }

    fn made(
        &self,
        state: &mut State,
        order: &BookingOrder,
        trigger: &'static str,
    ) -> Result<(String, News), String> {
        let now = self.stage.now();
        let host = state
            .users
            .values()
            .find(|user| user.name == order.user)
            .cloned()
            .ok_or_else(|| format!("there is no user {}", order.user))?;
        let start = order
            .start
            .unwrap_or_else(|| now.saturating_add(Duration::from_hours(24)));
        let length = Duration::from_mins(u64::from(order.minutes.unwrap_or(30)));
        let email = order
            .attendee_email
            .as_deref()
            .unwrap_or("guest@example.com");
        let booking = Booking {
            id: state.next_id(),
            uid: self.stage.hex::<11>(),
            user: host.id,
            start,
            end: start.saturating_add(length),
            status: if trigger == "BOOKING_REQUESTED" {
                "pending"
            } else {
                "accepted"
            },
            attendee_email: email.to_owned(),
            created: now,
            updated: now,
            absent: false,
            reason: None,
            from: None,
            to: None,
        };
        let body = booking.envelope(trigger, &host, now, None);
        let uid = booking.uid.clone();
        state.bookings.insert(uid.clone(), booking);
        Ok((uid, news(trigger, host.id, body)))
    }

    /// What was asked for is confirmed or turned down.
    fn decided(
        &self,
        state: &mut State,
        order: &BookingOrder,
        trigger: &'static str,
    ) -> Result<(String, News), String> {
        let now = self.stage.now();
        let (booking, host) = live(state, &order.id)?;
        if booking.status != "pending" {
            return Err("nobody asked for it".to_owned());
        }
        booking.status = if trigger == "BOOKING_REJECTED" {
            "rejected"
        } else {
            "accepted"
        };
        booking.updated = now;
        let body = booking.envelope(trigger, &host, now, None);
        Ok((order.id.clone(), news(trigger, host.id, body)))
    }

    fn missed(
        &self,
        state: &mut State,
        order: &BookingOrder,
        absent: bool,
    ) -> Result<(String, News), String> {
        let now = self.stage.now();
        let (booking, host) = live(state, &order.id)?;
        booking.absent = absent;
        booking.updated = now;
        let body = booking.no_show(now);
        Ok((
            order.id.clone(),
            news("BOOKING_NO_SHOW_UPDATED", host.id, body),
        ))
    }

    /// §5: told before it is written down.
    fn cancelled(
        self: &Arc<Self>,
        state: &mut State,
        order: &BookingOrder,
    ) -> Result<(String, News), String> {
        let now = self.stage.now();
        let lag = self.stage.switch(|switches| switches.calcom.cancel_lag_ms);
        let (booking, host) = live(state, &order.id)?;
        let mut cancelled = booking.clone();
        cancelled.status = "cancelled";
        cancelled.updated = now;
        cancelled.reason.clone_from(&order.reason);
        let body = cancelled.envelope("BOOKING_CANCELLED", &host, now, None);
        if lag == 0 {
            *booking = cancelled;
        } else {
            let calcom = Arc::clone(self);
            self.stage.lifecycle.spawn_until_drain(async move {
                sleep(Duration::from_millis(lag)).await;
                cancelled.updated = calcom.stage.now();
                let uid = cancelled.uid.clone();
                calcom.state.lock().bookings.insert(uid, cancelled);
            });
        }
        Ok((order.id.clone(), news("BOOKING_CANCELLED", host.id, body)))
    }

    /// §6: a new uid; the old booking is cancelled and points to it.
    fn moved(&self, state: &mut State, order: &BookingOrder) -> Result<(String, News), String> {
        let now = self.stage.now();
        let uid = self.stage.hex::<11>();
        let id = state.next_id();
        let (old, host) = live(state, &order.id)?;
        old.status = "cancelled";
        old.updated = now;
        old.to = Some(uid.clone());
        let old = old.clone();
        let length = old.end.saturating_since(old.start);
        let later = || old.start.saturating_add(Duration::from_hours(24));
        let start = order.start.unwrap_or_else(later);
        let new = Booking {
            id,
            uid: uid.clone(),
            start,
            end: start.saturating_add(length),
            status: "accepted",
            created: now,
            updated: now,
            absent: false,
            reason: None,
            from: Some(old.uid.clone()),
            to: None,
            ..old.clone()
        };
        let body = new.envelope("BOOKING_RESCHEDULED", &host, now, Some(&old));
        state.bookings.insert(uid.clone(), new);
        Ok((uid, news("BOOKING_RESCHEDULED", host.id, body)))
    }

    fn met(
        &self,
        state: &mut State,
        order: &BookingOrder,
        trigger: &'static str,
    ) -> Result<(String, News), String> {
        let (booking, host) = live(state, &order.id)?;
        booking.updated = self.stage.now();
        let body = booking.flat(trigger, &host);
        Ok((order.id.clone(), news(trigger, host.id, body)))
    }
}

fn news(trigger: &str, user: i64, body: Value) -> News {
    News {
        trigger: trigger.to_owned(),
        user,
        body,
    }
}

fn live<'a>(state: &'a mut State, uid: &str) -> Result<(&'a mut Booking, User), String> {
    let booking = state
        .bookings
        .get_mut(uid)
        .ok_or_else(|| format!("there is no booking {uid}"))?;
    if booking.status == "cancelled" {
        return Err(format!(
            "Can't change booking with uid={uid} because it is cancelled"
        ));
    }
    let host = state
        .users
        .get(&booking.user)
        .cloned()
        .ok_or_else(|| "the host is gone".to_owned())?;
    Ok((booking, host))
}
