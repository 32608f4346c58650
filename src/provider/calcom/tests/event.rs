//! What Cal.com's webhooks are read as.

use proptest::prelude::*;

use super::*;
use crate::{
    base::clock::Timestamp,
    provider::{
        About, Addressees, AttendeeStatus, Attendees, Coverage, Event, MeetingStatus, NotJson,
        calcom::event::read,
    },
};

fn envelope(trigger: &str) -> Value {
    json!({"triggerEvent": trigger, "createdAt": "2026-05-04T09:00:00.123Z", "payload": {
        "type": "intro", "title": "Intro between Al and Ada", "uid": "uid1", "bookingId": 11,
        "startTime": "2026-05-05T10:00:00Z", "endTime": "2026-05-05T10:30:00Z",
        "organizer": {"id": 7, "name": "Al", "email": "Al@Example.org", "username": "al"},
        "attendees": [{"name": "Ada", "email": "ada@example.org", "timeZone": "Europe/Berlin"}],
        "location": "integrations:daily", "status": "ACCEPTED",
        "metadata": {"videoCallUrl": "https://video.example/1"},
    }})
}

fn flat(trigger: &str) -> Value {
    json!({"triggerEvent": trigger, "id": 11, "uid": "uid1", "userId": 7,
        "userPrimaryEmail": "al@example.org", "title": "Intro",
        "startTime": "2026-05-05T10:00:00.000Z", "endTime": "2026-05-05T10:30:00.000Z",
        "status": "ACCEPTED", "createdAt": "2026-05-01T00:00:00.000Z",
        "user": {"email": "al@example.org", "username": "al"}})
}

fn read_json(envelope: &Value) -> Event {
    read(envelope.to_string().as_bytes()).unwrap()
}

fn about(envelope: &Value) -> About {
    read_json(envelope).names.about
}

fn accounts(id: &str) -> About {
    About::Accounts(vec![id.to_owned()])
}

#[test]
fn a_booking_is_read_whole() {
    let event = read_json(&envelope("BOOKING_CREATED"));
    assert_eq!(event.name, "BOOKING_CREATED");
    let sent = Timestamp::parse("2026-05-04T09:00:00.123Z");
    assert_eq!(event.occurred_at, sent);
    assert_eq!(event.meeting_id.as_deref(), Some("uid1"));
    let meeting = event.meeting.unwrap();
    assert_eq!(meeting.id, "uid1");
    assert_eq!(meeting.title, "Intro between Al and Ada");
    assert_eq!(meeting.status, MeetingStatus::Confirmed);
    assert_eq!(meeting.join_url.as_deref(), Some("https://video.example/1"));
    assert_eq!(
        meeting.location, None,
        "the name of an integration is no place"
    );
    assert_eq!(meeting.hosts, ["7"]);
    assert_eq!(Some(meeting.updated_at), sent);
    assert!(matches!(&meeting.attendees, Attendees::All(all) if all.len() == 1));
}

#[test]
fn each_trigger_has_its_status() {
    for (trigger, status, expected) in [
        ("BOOKING_CREATED", "ACCEPTED", MeetingStatus::Confirmed),
        ("BOOKING_CREATED", "PENDING", MeetingStatus::Pending),
        ("BOOKING_REQUESTED", "PENDING", MeetingStatus::Pending),
        ("BOOKING_REQUESTED", "ACCEPTED", MeetingStatus::Pending),
        ("BOOKING_RESCHEDULED", "ACCEPTED", MeetingStatus::Confirmed),
        ("BOOKING_PAID", "ACCEPTED", MeetingStatus::Confirmed),
        ("BOOKING_PAYMENT_INITIATED", "", MeetingStatus::Pending),
        // Told before it is written down.
        ("BOOKING_CANCELLED", "ACCEPTED", MeetingStatus::Canceled),
        ("BOOKING_REJECTED", "PENDING", MeetingStatus::Rejected),
        ("SOMETHING_NEW", "CANCELLED", MeetingStatus::Canceled),
    ] {
        let mut envelope = envelope(trigger);
        envelope["payload"]["status"] = json!(status);
        let meeting = read_json(&envelope).meeting.unwrap();
        assert_eq!(meeting.status, expected, "{trigger} {status}");
    }
}

#[test]
fn a_rescheduled_booking_names_the_one_it_replaces() {
    let mut envelope = envelope("BOOKING_RESCHEDULED");
    envelope["payload"]["rescheduleUid"] = json!("uid0");
    let meeting = read_json(&envelope).meeting.unwrap();
    assert_eq!(meeting.rescheduled_from.as_deref(), Some("uid0"));
}

#[test]
fn a_flat_body_is_read_too() {
    for trigger in ["MEETING_STARTED", "MEETING_ENDED"] {
        let event = read_json(&flat(trigger));
        assert_eq!(event.names.about, accounts("7"));
        assert_eq!(event.meeting_id.as_deref(), Some("uid1"));
        let meeting = event.meeting.unwrap();
        assert_eq!(meeting.status, MeetingStatus::Confirmed);
        assert_eq!(meeting.hosts, ["7"]);
        assert_eq!(meeting.attendees, Attendees::Unknown);
        // Its `createdAt` is the booking's, so that it overrides nothing newer.
        assert_eq!(
            Some(meeting.updated_at),
            Timestamp::parse("2026-05-01T00:00:00Z")
        );
    }
}

#[test]
fn whom_each_event_is_about() {
    let event = |trigger: &str, payload: Value| json!({"triggerEvent": trigger, "createdAt": "2026-05-04T09:00:00Z", "payload": payload});
    let address = About::Address("al@example.org".to_owned());
    for (envelope, expected) in [
        (envelope("BOOKING_CREATED"), accounts("7")),
        // A number is worth more than an address, also written as text.
        (
            event(
                "BOOKING_PAID",
                json!({"organizer": {"id": "7", "email": "x@example.org"}}),
            ),
            accounts("7"),
        ),
        (
            event(
                "RECORDING_READY",
                json!({"uid": "u", "organizer": {"email": "Al@Example.org"}}),
            ),
            address.clone(),
        ),
        (
            event(
                "BOOKING_NO_SHOW_UPDATED",
                json!({"bookingUid": "u", "attendees": []}),
            ),
            About::Hosts,
        ),
        (
            event("AFTER_HOSTS_CAL_VIDEO_NO_SHOW", json!({"bookingUid": "u"})),
            About::Hosts,
        ),
        (
            event("OOO_CREATED", json!({"oooEntry": {"user": {"id": 7}}})),
            accounts("7"),
        ),
        (
            event("DELEGATION_CREDENTIAL_ERROR", json!({"user": {"id": 7}})),
            accounts("7"),
        ),
        // Elsewhere a user may be anybody.
        (
            event("WRONG_ASSIGNMENT_REPORT", json!({"user": {"id": 7}})),
            About::Nobody,
        ),
        (
            event("FORM_SUBMITTED", json!({"teamId": null, "formId": "f"})),
            About::Nobody,
        ),
        (
            event("INSTANT_MEETING", json!({"title": "t"})),
            About::Nobody,
        ),
        (flat("MEETING_ENDED"), accounts("7")),
        (
            json!({"triggerEvent": "MEETING_ENDED", "uid": "u", "user": {"email": "al@example.org"}}),
            address,
        ),
    ] {
        assert_eq!(about(&envelope), expected, "{}", envelope["triggerEvent"]);
    }
}

#[test]
fn a_users_own_subscription_is_for_that_user_and_their_number_is_checked() {
    let event = read_json(&envelope("BOOKING_CREATED"));
    let account = |id: &str| Account {
        external_id: Some(id.to_owned()),
        ..Account::default()
    };
    let seven = Addressees::Accounts(vec!["7".to_owned()]);
    let for_whom = event.addressees(Coverage::User, Some(&account("7")));
    assert_eq!(for_whom, seven);
    let for_whom = event.addressees(Coverage::User, Some(&account("8")));
    assert_eq!(for_whom, Addressees::Nobody);
    assert_eq!(event.addressees(Coverage::Client, None), seven);
    // An address proves nothing, and excludes nobody.
    let mut envelope = envelope("BOOKING_CREATED");
    envelope["payload"]["organizer"]["id"] = Value::Null;
    let event = read_json(&envelope);
    let for_whom = event.addressees(Coverage::User, Some(&account("8")));
    assert_eq!(for_whom, Addressees::Subscriber);
}

#[test]
fn the_test_of_the_settings_page_makes_no_meeting() {
    let mut envelope = envelope("BOOKING_CREATED");
    envelope["payload"]["organizer"] = json!({"name": "Cal", "email": "no-reply@cal.com"});
    let event = read_json(&envelope);
    assert!(event.meeting.is_none() && event.meeting_id.is_none());
    assert_eq!(event.names.about, About::Nobody);
}

#[test]
fn the_same_bytes_are_the_same_event() {
    let one = envelope("BOOKING_CREATED").to_string();
    let key = |body: &str| read(body.as_bytes()).unwrap().key;
    assert_eq!(key(&one), key(&one));
    assert_ne!(key(&one), key(&format!("{one} ")));
}

#[test]
fn places_are_told_from_links() {
    let read = |location: &str, video: Value| {
        let mut envelope = envelope("BOOKING_CREATED");
        envelope["payload"]["location"] = json!(location);
        envelope["payload"]["metadata"] = json!({ "videoCallUrl": video });
        let meeting = read_json(&envelope).meeting.unwrap();
        (meeting.join_url, meeting.location)
    };
    let text = |text: &str| Some(text.to_owned());
    let link = "https://meet.example/1";
    assert_eq!(read(link, Value::Null), (text(link), None));
    assert_eq!(read("integrations:zoom", json!(link)), (text(link), None));
    assert_eq!(
        read("Main street 1", Value::Null),
        (None, text("Main street 1"))
    );
    assert_eq!(
        read("Main street 1", json!(link)),
        (text(link), text("Main street 1"))
    );
    assert_eq!(read("javascript:x", Value::Null).0, None);
}

#[test]
fn json_of_another_shape_is_an_event_all_the_same() {
    for body in [
        "{}",
        "[]",
        "null",
        "{\"triggerEvent\":{},\"payload\":\"x\"}",
    ] {
        let event = read(body.as_bytes()).unwrap();
        assert_eq!(
            (event.name.as_str(), event.names.about),
            ("", About::Nobody)
        );
    }
    assert_eq!(read(b"triggerEvent=BOOKING_CREATED").unwrap_err(), NotJson);
}

proptest! {
    #[test]
    fn no_body_makes_it_panic(body in "[ -~]{0,200}") {
        let _ = read(body.as_bytes());
    }
}

fn shown() -> Value {
    json!({"id": 11, "uid": "uid1", "title": "Intro", "status": "accepted",
        "hosts": [{"id": 7, "email": "al@example.org"}],
        "start": "2026-05-05T10:00:00.000Z", "end": "2026-05-05T10:30:00.000Z",
        "attendees": [{"name": "Ada", "email": "ada@example.org", "absent": true}],
        "guests": ["ada@example.org", "bo@example.org"],
        "location": "https://video.example/1", "meetingUrl": "https://video.example/1",
        "createdAt": "2026-05-01T00:00:00.000Z", "updatedAt": "2026-05-02T00:00:00.000Z",
        "rescheduledFromUid": "uid0", "rescheduledToUid": "uid2"})
}

#[test]
fn a_booking_of_the_api_is_read_whole() {
    let meeting = booking::shown(&shown()).unwrap();
    assert_eq!(meeting.id, "uid1");
    assert_eq!(meeting.status, MeetingStatus::Confirmed);
    assert_eq!(meeting.hosts, ["7"]);
    assert_eq!(meeting.join_url.as_deref(), Some("https://video.example/1"));
    assert_eq!(meeting.rescheduled_from.as_deref(), Some("uid0"));
    assert_eq!(meeting.rescheduled_to.as_deref(), Some("uid2"));
    assert_eq!(
        Some(meeting.updated_at),
        Timestamp::parse("2026-05-02T00:00:00Z")
    );
    let Attendees::All(attendees) = &meeting.attendees else {
        panic!("the API tells all");
    };
    let emails: Vec<_> = attendees
        .iter()
        .filter_map(|one| one.email.as_deref())
        .collect();
    assert_eq!(emails, ["ada@example.org", "bo@example.org"]);
    assert_eq!(attendees[0].status, AttendeeStatus::NoShow);
}

#[test]
fn a_booking_without_uid_or_times_is_none() {
    for field in ["uid", "start"] {
        let mut booking = shown();
        booking[field] = Value::Null;
        assert!(booking::shown(&booking).is_none(), "{field}");
    }
}
