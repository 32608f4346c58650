//! Cal.com's bookings as meetings: as the API shows them in version 2024-08-13, and as webhooks do.
//!
//! 1. A cancellation is told before it is written down (Cal.com, sender reliability): its name decides,
//!    not the status beside it.
//! 2. `location` may be a link, a place, a number to call, or the name of an integration, whose link is
//!    elsewhere or nowhere.
//! 3. A rescheduled booking has a new uid and names the old one.

use serde_json::Value;

use crate::provider::{Attendee, AttendeeStatus, Attendees, Meeting, MeetingStatus, field};

/// Begins a location that names an integration.
const INTEGRATION: &str = "integrations:";

/// A booking of the API (Cal.com, sync reads).
pub(super) fn shown(booking: &Value) -> Option<Meeting> {
    let start = field::time(booking, "/start")?;
    let text = |pointer| field::text(booking, pointer).map(ToOwned::to_owned);
    let hosts = field::list(booking, "/hosts").iter();
    let (join_url, location) = place(booking, ["/location", "/meetingUrl"]);
    let guests = field::texts(booking, "/guests").map(|guest| Attendee {
        name: String::new(),
        email: Some(guest.to_owned()),
        status: AttendeeStatus::Confirmed,
    });
    let attendees: Vec<_> = attendees(booking).chain(guests).collect();
    Some(Meeting {
        id: text("/uid")?,
        title: text("/title").unwrap_or_default(),
        status: status(field::text(booking, "/status").unwrap_or_default()),
        start,
        end: field::time(booking, "/end").unwrap_or(start),
        join_url,
        location,
        hosts: hosts.filter_map(|host| field::id(host, "/id")).collect(),
        attendees: Attendees::All(unique(attendees)),
        rescheduled_from: text("/rescheduledFromUid"),
        rescheduled_to: text("/rescheduledToUid"),
        updated_at: field::time(booking, "/updatedAt")
            .or_else(|| field::time(booking, "/createdAt"))?,
        raw: booking.clone(),
    })
}

/// A booking of a webhook, in its envelope or flat.
pub(super) fn told(envelope: &Value, trigger: &str) -> Option<Meeting> {
    let payload = envelope.get("payload");
    let booking = payload.unwrap_or(envelope);
    let start = field::time(booking, "/startTime")?;
    let text = |pointer| field::text(booking, pointer).map(ToOwned::to_owned);
    let host = field::id(booking, "/organizer/id").or_else(|| field::id(booking, "/userId"));
    let link = ["/metadata/videoCallUrl", "/videoCallData/url"]
        .iter()
        .find_map(|pointer| field::text(booking, pointer).and_then(field::link));
    let (joined, location) = place(booking, ["/location", "/metadata/videoCallUrl"]);
    // What is flat tells when the booking was made, not when it was changed.
    let changed = match payload {
        Some(_) => field::time(envelope, "/createdAt"),
        None => field::time(envelope, "/updatedAt").or_else(|| field::time(envelope, "/createdAt")),
    };
    let told = booking.get("attendees").is_some();
    Some(Meeting {
        id: text("/uid")?,
        title: text("/title").unwrap_or_default(),
        status: told_status(trigger, booking),
        start,
        end: field::time(booking, "/endTime").unwrap_or(start),
        join_url: link.or(joined),
        location,
        hosts: host.into_iter().collect(),
        attendees: if told {
            Attendees::All(unique(attendees(booking).collect()))
        } else {
            Attendees::Unknown
        },
        rescheduled_from: text("/rescheduleUid").filter(|_| trigger == "BOOKING_RESCHEDULED"),
        rescheduled_to: None,
        updated_at: changed?,
        raw: booking.clone(),
    })
}

fn told_status(trigger: &str, booking: &Value) -> MeetingStatus {
    match trigger {
        "BOOKING_CANCELLED" => MeetingStatus::Canceled,
        "BOOKING_REJECTED" => MeetingStatus::Rejected,
        "BOOKING_REQUESTED" | "BOOKING_PAYMENT_INITIATED" => MeetingStatus::Pending,
        _ => status(field::text(booking, "/status").unwrap_or_default()),
    }
}

/// A word that is new takes place.
fn status(word: &str) -> MeetingStatus {
    match word.to_ascii_lowercase().as_str() {
        "cancelled" => MeetingStatus::Canceled,
        "rejected" => MeetingStatus::Rejected,
        "pending" | "awaiting_host" => MeetingStatus::Pending,
        _ => MeetingStatus::Confirmed,
    }
}

/// Where to join, and where to go.
fn place(booking: &Value, pointers: [&str; 2]) -> (Option<String>, Option<String>) {
    let texts = pointers.map(|pointer| field::text(booking, pointer));
    let mut texts = texts.into_iter().flatten();
    let link = texts.clone().find_map(field::link);
    let words = texts.find(|text| !text.starts_with(INTEGRATION) && field::link(text).is_none());
    (link, words.map(ToOwned::to_owned))
}

fn attendees(booking: &Value) -> impl Iterator<Item = Attendee> {
    field::list(booking, "/attendees").iter().map(|attendee| {
        let missed = ["absent", "noShow"]
            .iter()
            .any(|name| attendee.get(*name) == Some(&Value::Bool(true)));
        Attendee {
            name: field::text(attendee, "/name")
                .unwrap_or_default()
                .to_owned(),
            email: field::text(attendee, "/email").map(ToOwned::to_owned),
            status: if missed {
                AttendeeStatus::NoShow
            } else {
                AttendeeStatus::Confirmed
            },
        }
    })
}

/// Guests may be listed among the attendees too.
fn unique(attendees: Vec<Attendee>) -> Vec<Attendee> {
    let mut unique: Vec<Attendee> = Vec::with_capacity(attendees.len());
    for attendee in attendees {
        let known = |one: &Attendee| one.email.is_some() && one.email == attendee.email;
        if !unique.iter().any(known) {
            unique.push(attendee);
        }
    }
    unique
}
