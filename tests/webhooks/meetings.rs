//! Meetings: both providers in one shape, true in whichever order things are told, and none where none
//! are to be kept.

use std::time::Duration;

use daypass::{
    meeting::Meeting,
    sandbox::{Action, ApiFault, ApiMischief, BookingOrder},
    store::{JobKind, Jobs},
};
use serde_json::{Value, json};

use crate::{
    ingress::{CALCOM_KEY, CALENDLY_KEY, calendly_signature, hmac, invitee},
    rooms::Rooms,
    stage::{BOTH, Stage, key, meeting_id, until},
    world::START,
};

async fn one(rooms: &Rooms, user: &str, id: &str) -> Meeting {
    until("the meeting is known", async || {
        let all = rooms.meetings(user).await;
        all.into_iter().find(|meeting| meeting.external_id == id)
    })
    .await
}

/// Posts what `provider` signs with the shared key.
async fn post(stage: &Stage, provider: &str, body: &Value) -> u16 {
    let body = body.to_string();
    let (name, signature) = match provider {
        "calcom" => (
            "x-cal-signature-256",
            hex::encode(hmac(CALCOM_KEY, &[body.as_bytes()])),
        ),
        _ => (
            "calendly-webhook-signature",
            calendly_signature(CALENDLY_KEY, START, body.as_bytes()),
        ),
    };
    let request = stage
        .http
        .post(format!("{}/webhooks/{provider}", stage.public));
    let answer = request.header(name, signature).body(body).send().await;
    answer.unwrap().status().as_u16()
}

/// Made and called off, as `account`'s provider tells it; the later word has the later time either way.
fn made_and_canceled(provider: &str, account: &str) -> (String, Value, Value) {
    if provider == "calcom" {
        let told = |trigger: &str, at: &str, status: &str| {
            json!({
                "triggerEvent": trigger, "createdAt": at,
                "payload": {
                    "uid": "uid-1", "title": "Intro", "status": status,
                    "organizer": { "id": account.parse::<i64>().unwrap() },
                    "startTime": "2027-02-01T10:00:00Z", "endTime": "2027-02-01T10:30:00Z",
                    "attendees": [{ "name": "Guest", "email": "guest@x.test" }],
                },
            })
        };
        return (
            "uid-1".to_owned(),
            // Its time is later than the cancellation's: queues and clocks do that.
            told("BOOKING_CREATED", "2027-01-15T08:00:09Z", "ACCEPTED"),
            told("BOOKING_CANCELLED", "2027-01-15T08:00:05Z", "CANCELLED"),
        );
    }
    let mut made = invitee(1, account, &[account]);
    made["payload"]["scheduled_event"]["updated_at"] = json!("2027-01-15T08:00:09.000000Z");
    let mut canceled = made.clone();
    canceled["event"] = json!("invitee.canceled");
    canceled["payload"]["status"] = json!("canceled");
    canceled["payload"]["scheduled_event"]["status"] = json!("canceled");
    canceled["payload"]["scheduled_event"]["updated_at"] = json!("2027-01-15T08:00:05.000000Z");
    let id = "https://api.calendly.com/scheduled_events/E1";
    (id.to_owned(), made, canceled)
}

/// W10: a cancellation that came before its creation was undone by it.
#[tokio::test]
async fn a_creation_that_comes_late_does_not_bring_back_what_was_canceled() {
    for provider in BOTH {
        let stage = Stage::open().await;
        let rooms = stage.sidecar();
        let created = stage.connect(provider, "anna").await;
        // The provider cannot be asked: what was told is all there is.
        let fault = ApiFault {
            times: None,
            user: None,
            path: None,
            what: ApiMischief::ServerError,
        };
        stage.fault(provider, fault);
        let (id, made, canceled) = made_and_canceled(provider, &created.external_id);
        assert_eq!(post(&stage, provider, &canceled).await, 200);
        assert_eq!(one(&rooms, "anna", &id).await.status, "canceled");
        let asked = || stage.requests(provider, "GET", "/").len();
        until("the first was looked at", async || {
            (asked() > 0).then_some(())
        })
        .await;
        let before = asked();
        assert_eq!(post(&stage, provider, &made).await, 200);
        // It is kept before the provider is asked.
        until("the second was looked at", async || {
            (asked() > before).then_some(())
        })
        .await;
        let meeting = one(&rooms, "anna", &id).await;
        assert_eq!(meeting.status, "canceled", "{provider}");
        assert_eq!(stage.until_delivered(2).await, ["anna", "anna"]);
    }
}

#[tokio::test]
async fn a_booking_is_known_whole_as_soon_as_it_is_told() {
    for provider in BOTH {
        let stage = Stage::open().await;
        let (rooms, anna) = (stage.sidecar(), key(provider, "anna"));
        stage.connect(provider, "anna").await;
        rooms.subscribe(&anna).await;
        let order = BookingOrder {
            attendee_email: Some("ada@x.test".to_owned()),
            ..BookingOrder::create("anna")
        };
        let id = meeting_id(&stage.book(provider, &order));
        let guest = until("the meeting is known with its guest", async || {
            let all = rooms.meetings("anna").await;
            let meeting = all.into_iter().find(|meeting| meeting.external_id == id)?;
            let mut guests = meeting.details.attendees.into_iter();
            guests.find_map(|guest| guest.email)
        })
        .await;
        assert_eq!(guest, "ada@x.test", "{provider}");
    }
}

#[tokio::test]
async fn a_meeting_that_was_moved_and_the_one_it_became_lead_to_each_other() {
    for provider in BOTH {
        let stage = Stage::open().await;
        let (rooms, anna) = (stage.sidecar(), key(provider, "anna"));
        stage.connect(provider, "anna").await;
        let old = stage.book(provider, &BookingOrder::create("anna"));
        stage.clock.advance(Duration::from_mins(1));
        let new = stage.book(provider, &BookingOrder::to(Action::Reschedule, &old.id));
        rooms.read_all(&anna).await;
        let (old, new) = (meeting_id(&old), meeting_id(&new));
        assert_ne!(old, new);
        let (was, is) = (
            one(&rooms, "anna", &old).await,
            one(&rooms, "anna", &new).await,
        );
        assert_eq!(
            (was.status.as_str(), is.status.as_str()),
            ("canceled", "confirmed")
        );
        assert_eq!(
            is.details.rescheduled_from.as_deref(),
            Some(old.as_str()),
            "{provider}"
        );
        assert_eq!(
            was.details.rescheduled_to.as_deref(),
            Some(new.as_str()),
            "{provider}"
        );
    }
}

#[tokio::test]
async fn both_providers_have_one_shape() {
    let stage = Stage::open().await;
    let rooms = stage.sidecar();
    let mut shapes = Vec::new();
    for provider in BOTH {
        stage.connect(provider, provider).await;
        let order = BookingOrder {
            attendee_email: Some("ada@x.test".to_owned()),
            ..BookingOrder::create(provider)
        };
        let id = meeting_id(&stage.book(provider, &order));
        rooms.read_all(&key(provider, provider)).await;
        let meeting = one(&rooms, provider, &id).await;
        let mut shown = serde_json::to_value(&meeting).unwrap();
        assert_eq!(shown["provider"], provider);
        assert_eq!(shown["user"], provider);
        assert_eq!(shown["external_id"], id.as_str());
        assert_eq!(shown["status"], "confirmed");
        assert!(!shown["title"].as_str().unwrap().is_empty());
        assert_eq!(
            meeting.end.saturating_since(meeting.start),
            Duration::from_mins(30)
        );
        assert_eq!(shown["attendees"][0]["email"], "ada@x.test");
        assert_eq!(shown["attendees"][0]["status"], "confirmed");
        let raw = shown.as_object_mut().unwrap().remove("raw").unwrap();
        assert!(raw.is_object());
        let names: Vec<String> = shown.as_object().unwrap().keys().cloned().collect();
        shapes.push(names);
    }
    assert_eq!(shapes[0], shapes[1]);
}

#[tokio::test]
async fn where_no_meetings_are_kept_the_store_holds_nothing_of_them() {
    for keeps in [true, false] {
        for provider in BOTH {
            let mut stage = Stage::open().await;
            stage.keeps_meetings = keeps;
            let (rooms, anna) = (stage.sidecar(), key(provider, "anna"));
            stage.connect(provider, "anna").await;
            rooms.subscribe(&anna).await;
            let order = BookingOrder {
                attendee_email: Some("canary-guest@x.test".to_owned()),
                ..BookingOrder::create("anna")
            };
            let booked = stage.book(provider, &order);
            assert_eq!(stage.until_delivered(1).await, ["anna"], "delivery goes on");
            assert_eq!(rooms.sync.ask_for(&anna).await.unwrap(), keeps);
            if keeps {
                // The search below would find one.
                one(&rooms, "anna", &meeting_id(&booked)).await;
                assert!(stage.store_shows(&booked.id), "{provider}");
                continue;
            }
            rooms.ring().await;
            assert_eq!(rooms.meetings("anna").await.len(), 0);
            let job = stage.store.job(JobKind::Sync, &anna).await.unwrap();
            assert_eq!(job, None);
            assert_eq!(rooms.sync.progress(&anna).await.unwrap(), None);
            let path = if provider == "calcom" {
                "/v2/bookings"
            } else {
                "/scheduled_events"
            };
            assert_eq!(
                stage.requests(provider, "GET", path).len(),
                0,
                "nor is it read"
            );
            for canary in [
                booked.id.as_str(),
                "canary-guest",
                "Intro",
                "Sandbox street",
            ] {
                assert!(!stage.store_shows(canary), "{provider}: {canary}");
            }
        }
    }
}

/// W9: the seed of this project read meetings with any active connection's token.
#[tokio::test]
async fn each_users_meeting_is_read_with_that_users_own_token() {
    for (provider, path) in [
        ("calendly", "/scheduled_events/"),
        ("calcom", "/v2/bookings/"),
    ] {
        let stage = Stage::open().await;
        let rooms = stage.sidecar();
        for user in ["anna", "ben", "cara"] {
            stage.connect(provider, user).await;
            rooms.subscribe(&key(provider, user)).await;
        }
        for user in ["ben", "anna"] {
            let booked = stage.book(provider, &BookingOrder::create(user));
            one(&rooms, user, &meeting_id(&booked)).await;
            let asked = until("it is read", async || {
                let mut asked = stage.requests(provider, "GET", path);
                asked.retain(|entry| entry.path.contains(&booked.id));
                (!asked.is_empty()).then_some(asked)
            })
            .await;
            assert!(
                asked
                    .iter()
                    .all(|entry| entry.user.as_deref() == Some(user)),
                "{provider}, {user}: {asked:?}"
            );
        }
        assert_eq!(rooms.meetings("cara").await.len(), 0);
    }
}
