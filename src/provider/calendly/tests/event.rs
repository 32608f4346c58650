//! What Calendly's webhooks are read as.

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::{
    base::clock::Timestamp,
    provider::{
        About, Addressees, AttendeeStatus, Attendees, Coverage, Event, MeetingStatus, NotJson,
        calendly::event::read,
    },
};

const ALICE: &str = "https://api.calendly.com/users/ALICE";
const BOB: &str = "https://api.calendly.com/users/BOB";
const EVENT: &str = "https://api.calendly.com/scheduled_events/E1";

/// An envelope whose subscription is Alice's and whose hosts are `hosts`.
fn invitee(name: &str, uuid: &str, hosts: &[&str]) -> Value {
    let hosts: Vec<_> = hosts
        .iter()
        .map(|user| json!({"user": user, "user_email": "h@example.org", "user_name": "Host"}))
        .collect();
    json!({
        "event": name, "created_at": "2023-11-14T22:13:20.000000Z", "created_by": ALICE,
        "payload": {
            "uri": format!("{EVENT}/invitees/{uuid}"), "event": EVENT,
            "name": "Ada", "email": "ada@example.org", "status": "active",
            "created_at": "2023-11-14T22:13:19.000000Z",
            "updated_at": "2023-11-14T22:13:19.500000Z",
            "old_invitee": null, "new_invitee": null, "rescheduled": false, "no_show": null,
            "scheduled_event": {
                "uri": EVENT, "name": "Intro", "status": "active",
                "start_time": "2023-11-20T10:00:00.000000Z",
                "end_time": "2023-11-20T10:30:00.000000Z",
                "location": {"type": "zoom", "location": null,
                    "join_url": "https://zoom.example/j/1", "data": {"password": "SENTINEL"}},
                "invitees_counter": {"total": 1, "active": 1, "limit": 1},
                "event_memberships": hosts, "event_guests": [],
                "created_at": "2023-11-14T22:13:19.000000Z",
                "updated_at": "2023-11-14T22:13:19.000000Z",
            },
        },
    })
}

fn read_json(envelope: &Value) -> Event {
    read(envelope.to_string().as_bytes()).unwrap()
}

fn to(ids: &[&str]) -> Addressees {
    Addressees::Accounts(ids.iter().map(|id| (*id).to_owned()).collect())
}

#[test]
fn a_booking_is_read_whole() {
    let event = read_json(&invitee("invitee.created", "I1", &[ALICE]));
    assert_eq!(event.name, "invitee.created");
    let at = Timestamp::from_secs(1_700_000_000);
    assert_eq!(event.occurred_at, Some(at));
    assert_eq!(event.names.subscriber.as_deref(), Some(ALICE));
    assert_eq!(event.meeting_id.as_deref(), Some(EVENT));
    let meeting = event.meeting.unwrap();
    assert_eq!(meeting.id, EVENT);
    assert_eq!(meeting.title, "Intro");
    assert_eq!(meeting.status, MeetingStatus::Confirmed);
    assert_eq!(
        meeting.end.saturating_since(meeting.start),
        Duration::from_mins(30)
    );
    assert_eq!(
        meeting.join_url.as_deref(),
        Some("https://zoom.example/j/1")
    );
    assert_eq!(meeting.location, None);
    assert_eq!(meeting.hosts, [ALICE]);
    // The later of the event's and the invitee's.
    assert_eq!(
        meeting.updated_at,
        Timestamp::from_millis(1_699_999_999_500)
    );
    let Attendees::All(attendees) = &meeting.attendees else {
        panic!("one of one");
    };
    assert_eq!(attendees[0].email.as_deref(), Some("ada@example.org"));
    assert_eq!(attendees[0].status, AttendeeStatus::Confirmed);
}

#[test]
fn a_user_subscription_is_for_its_user_whoever_hosts_beside_them() {
    let event = read_json(&invitee("invitee.created", "I1", &[BOB, ALICE]));
    assert_eq!(event.addressees(Coverage::User, None), to(&[ALICE]));
}

/// W8 of the regressions.
#[test]
fn an_organizations_subscription_is_for_the_hosts_and_not_for_who_made_it() {
    for (hosts, expected) in [
        (&[BOB][..], to(&[BOB])),
        (&[BOB, ALICE], to(&[BOB, ALICE])),
        (&[], to(&[])),
    ] {
        let names = [
            "invitee.created",
            "invitee.canceled",
            "invitee_no_show.created",
            "new.thing",
        ];
        for name in names {
            let event = read_json(&invitee(name, "I1", hosts));
            for coverage in [Coverage::Organization, Coverage::Group, Coverage::Client] {
                assert_eq!(event.addressees(coverage, None), expected, "{name}");
            }
        }
    }
}

/// W6 of the regressions.
#[test]
fn each_invitee_of_one_meeting_is_an_event_of_its_own() {
    let one = read_json(&invitee("invitee.created", "I1", &[ALICE])).key;
    let two = read_json(&invitee("invitee.created", "I2", &[ALICE])).key;
    assert_ne!(one, two);
}

#[test]
fn the_same_event_has_the_same_key_however_it_comes() {
    let one = invitee("invitee.created", "I1", &[ALICE]);
    let key = read_json(&one).key;
    // By another subscription, and in other bytes.
    let mut other = one.clone();
    other["created_by"] = json!(BOB);
    assert_eq!(read_json(&other).key, key);
    let pretty = serde_json::to_vec_pretty(&one).unwrap();
    assert_eq!(read(&pretty).unwrap().key, key);
    for (pointer, value) in [
        ("/event", "invitee.canceled"),
        ("/created_at", "2023-11-14T22:13:21.000000Z"),
        (
            "/payload/uri",
            "https://api.calendly.com/scheduled_events/E1/invitees/I3",
        ),
    ] {
        let mut other = one.clone();
        *other.pointer_mut(pointer).unwrap() = json!(value);
        assert_ne!(read_json(&other).key, key, "{pointer}");
    }
}

#[test]
fn a_cancellation_by_moving_leads_to_the_new_meeting() {
    let mut envelope = invitee("invitee.canceled", "I1", &[ALICE]);
    let payload = &mut envelope["payload"];
    payload["status"] = json!("canceled");
    payload["rescheduled"] = json!(true);
    payload["new_invitee"] = json!("https://api.calendly.com/scheduled_events/E2/invitees/I9");
    payload["scheduled_event"]["status"] = json!("canceled");
    let meeting = read_json(&envelope).meeting.unwrap();
    assert_eq!(meeting.status, MeetingStatus::Canceled);
    let new = "https://api.calendly.com/scheduled_events/E2";
    assert_eq!(meeting.rescheduled_to.as_deref(), Some(new));
    assert_eq!(
        meeting.attendees.known()[0].status,
        AttendeeStatus::Canceled
    );
}

#[test]
fn one_of_several_invitees_who_moves_does_not_move_the_meeting() {
    let mut envelope = invitee("invitee.canceled", "I1", &[ALICE]);
    let payload = &mut envelope["payload"];
    payload["status"] = json!("canceled");
    payload["new_invitee"] = json!("https://api.calendly.com/scheduled_events/E2/invitees/I9");
    payload["scheduled_event"]["invitees_counter"] = json!({"total": 3, "active": 2, "limit": 5});
    let meeting = read_json(&envelope).meeting.unwrap();
    assert_eq!(meeting.status, MeetingStatus::Confirmed);
    assert_eq!(meeting.rescheduled_to, None);
    assert!(
        matches!(meeting.attendees, Attendees::Some(_)),
        "the others stay"
    );
}

#[test]
fn a_missed_meeting_marks_the_invitee() {
    let mut envelope = invitee("invitee_no_show.created", "I1", &[ALICE]);
    envelope["payload"]["no_show"] = json!({"uri": "x", "created_at": "2023-11-20T11:00:00Z"});
    let meeting = read_json(&envelope).meeting.unwrap();
    assert_eq!(meeting.status, MeetingStatus::Confirmed);
    assert_eq!(meeting.attendees.known()[0].status, AttendeeStatus::NoShow);
}

#[test]
fn an_event_type_is_its_owners() {
    let event = |owner: Value| {
        let payload = json!({"uri": "https://api.calendly.com/event_types/T", "profile": owner});
        read_json(
            &json!({"event": "event_type.created", "created_at": "2023-11-14T22:13:20Z",
            "created_by": ALICE, "payload": payload}),
        )
    };
    let bobs = event(json!({"type": "User", "owner": BOB}));
    assert_eq!(bobs.addressees(Coverage::Organization, None), to(&[BOB]));
    assert!(bobs.meeting.is_none() && bobs.meeting_id.is_none());
    for profile in [
        Value::Null,
        json!({"type": "Team", "owner": "https://api.calendly.com/teams/T"}),
    ] {
        let event = event(profile);
        let for_whom = event.addressees(Coverage::Organization, None);
        assert_eq!(for_whom, Addressees::Subscriber);
        assert_eq!(event.addressees(Coverage::User, None), to(&[ALICE]));
    }
}

#[test]
fn a_routing_form_has_no_host() {
    let event = read_json(&json!({"event": "routing_form_submission.created",
        "created_at": "2023-11-14T22:13:20Z", "created_by": ALICE,
        "payload": {"uri": "https://api.calendly.com/routing_form_submissions/S",
            "submitter": "https://api.calendly.com/scheduled_events/E1/invitees/I1"}}));
    let for_whom = event.addressees(Coverage::Organization, None);
    assert_eq!(for_whom, Addressees::Subscriber);
}

#[test]
fn a_recap_is_its_subscribers_wherever_it_comes() {
    let event = read_json(&json!({"event": "meeting_recap.created",
        "created_at": "2023-11-14T22:13:20Z", "created_by": ALICE,
        "payload": {"uri": "https://api.calendly.com/meeting_recaps/R"}}));
    assert_eq!(event.addressees(Coverage::Client, None), to(&[ALICE]));
}

/// As in 2020: no `created_by`, no `scheduled_event` (Calendly, test data).
#[test]
fn the_oldest_shape_leads_to_its_hosts_by_the_event() {
    let event = read_json(
        &json!({"event": "invitee.created", "time": "2020-10-01T00:00:00Z",
        "payload": {"uri": format!("{EVENT}/invitees/I1"), "event": EVENT, "name": "Ada"}}),
    );
    assert_eq!(event.names.about, About::Hosts);
    let for_whom = event.addressees(Coverage::Organization, None);
    assert_eq!(for_whom, Addressees::HostsOf(EVENT.to_owned()));
    assert_eq!(event.occurred_at, None);
    assert!(event.meeting.is_none());
}

#[test]
fn json_of_another_shape_is_an_event_all_the_same() {
    for body in [
        "{}",
        "[]",
        "7",
        "\"x\"",
        "null",
        "{\"event\":7,\"payload\":[]}",
    ] {
        let event = read(body.as_bytes()).unwrap();
        assert_eq!(event.name, "");
        assert_eq!(event.names.about, About::Nobody);
        assert_ne!(event.key, read(b"{ }").unwrap().key, "told by its bytes");
    }
}

#[test]
fn what_is_no_json_is_told_so() {
    let deep = "[".repeat(100_000);
    for body in ["", "{", "event=invitee.created", "{}x", &deep] {
        assert_eq!(read(body.as_bytes()).unwrap_err(), NotJson);
    }
    assert_eq!(read(&[0xff, 0xfe]).unwrap_err(), NotJson);
}

#[test]
fn no_word_of_a_body_is_printed() {
    let mut envelope = invitee("invitee.created", "I1", &[ALICE]);
    for pointer in [
        "/payload/name",
        "/payload/email",
        "/payload/scheduled_event/name",
    ] {
        *envelope.pointer_mut(pointer).unwrap() = json!("SENTINEL@example.org");
    }
    let event = read_json(&envelope);
    let printed = format!("{event:?} {:?} {:?}", event.names, event.meeting);
    assert!(!printed.contains("SENTINEL"), "{printed}");
}

proptest! {
    #[test]
    fn no_body_makes_it_panic(body in "[ -~]{0,200}") {
        let _ = read(body.as_bytes());
    }

    /// Any field of a known shape may be anything.
    #[test]
    fn no_shape_makes_it_panic(at in any::<proptest::sample::Index>(), value in leaf()) {
        let mut envelope = invitee("invitee.created", "I1", &[ALICE]);
        let pointers = pointers(&envelope, String::new());
        let pointer: &String = at.get(&pointers);
        *envelope.pointer_mut(pointer).unwrap() = value;
        let event = read_json(&envelope);
        let _ = event.addressees(Coverage::Organization, None);
    }
}

fn leaf() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[ -~]{0,20}".prop_map(Value::from),
        Just(json!([])),
        Just(json!({"a": [1, {"b": "c"}]})),
    ]
}

/// Every place in `value`.
fn pointers(value: &Value, at: String) -> Vec<String> {
    let inner: Vec<String> = match value {
        Value::Object(map) => map
            .iter()
            .flat_map(|(key, value)| pointers(value, format!("{at}/{key}")))
            .collect(),
        Value::Array(list) => list
            .iter()
            .enumerate()
            .flat_map(|(key, value)| pointers(value, format!("{at}/{key}")))
            .collect(),
        _ => Vec::new(),
    };
    std::iter::once(at).chain(inner).collect()
}
