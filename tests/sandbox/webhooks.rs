//! Webhooks and consent, in the corners where the services differ from what one would expect.

use daypass::sandbox::{Announcement, Disable, SameWebhook};

use super::*;

async fn calendly_hook(room: &Room, who: &Created, mut body: Value) -> (StatusCode, Value) {
    if let Value::Object(fields) = &mut body {
        fields.insert("organization".to_owned(), json!(who.organization));
    }
    let call = room.http.post(room.calendly("/webhook_subscriptions"));
    let call = call.bearer_auth(&who.access_token).json(&body);
    read(call.send().await.unwrap()).await
}

async fn calcom_hook(room: &Room, who: &Created, url: &str, triggers: &[&str]) -> StatusCode {
    let body = json!({"active": true, "subscriberUrl": url, "triggers": triggers, "secret": "s"});
    let call = room.http.post(room.calcom("/v2/webhooks"));
    let call = call.bearer_auth(&who.access_token).json(&body);
    call.send().await.unwrap().status()
}

fn told(got: &Got) -> (String, String) {
    let body = got.json();
    let who = text(&body, "/payload/email");
    (text(&body, "/event").to_owned(), who.to_owned())
}

#[tokio::test]
async fn invitees_of_a_group_event_come_and_go_one_by_one() {
    let room = Room::open().await;
    let calendly = room.sandbox.calendly();
    let alice = calendly.create_user(&NewUser::named("alice")).unwrap();
    let mut inbox = Inbox::open(StatusCode::OK).await;
    let body = json!({"url": inbox.url, "scope": "user", "user": alice.external_id,
        "events": ["invitee.created", "invitee.canceled", "invitee_no_show.created"]});
    assert_eq!(calendly_hook(&room, &alice, body).await.0, 201);
    let order = BookingOrder {
        seats: Some(2),
        attendee_email: Some("a@x.test".to_owned()),
        ..BookingOrder::create("alice")
    };
    let event = calendly.book(&order).unwrap();
    let to = |action, email: &str| BookingOrder {
        attendee_email: Some(email.to_owned()),
        ..BookingOrder::to(action, &event.id)
    };
    calendly.book(&to(Action::Join, "b@x.test")).unwrap();
    assert!(calendly.book(&to(Action::Join, "c@x.test")).is_err());
    let created = |email: &str| ("invitee.created".to_owned(), email.to_owned());
    let mut two = [told(&inbox.next().await), told(&inbox.next().await)];
    two.sort();
    assert_eq!(two, [created("a@x.test"), created("b@x.test")]);
    let canceled = calendly.book(&to(Action::Cancel, "a@x.test")).unwrap();
    assert_eq!(canceled.deliveries, 1);
    let got = inbox.next().await.json();
    assert_eq!(text(&got, "/payload/status"), "canceled");
    assert_eq!(text(&got, "/payload/scheduled_event/status"), "active");
    let counter = &got["payload"]["scheduled_event"]["invitees_counter"];
    assert_eq!(*counter, json!({"total": 2, "active": 1, "limit": 2}));
    calendly.book(&to(Action::Miss, "b@x.test")).unwrap();
    let got = inbox.next().await.json();
    assert_eq!(text(&got, "/event"), "invitee_no_show.created");
    assert!(got["payload"]["no_show"].is_object());
    calendly
        .book(&BookingOrder::to(Action::Cancel, &event.id))
        .unwrap();
    let got = inbox.next().await.json();
    assert_eq!(text(&got, "/payload/scheduled_event/status"), "canceled");
    let path = format!("/scheduled_events/{}/invitees", event.id);
    let (_, listed) = room.get(&room.calendly(&path), &alice.access_token).await;
    assert_eq!(listed["collection"].as_array().unwrap().len(), 2);
    assert!(
        calendly
            .book(&BookingOrder::to(Action::Cancel, &event.id))
            .is_err()
    );
}

#[tokio::test]
async fn a_group_subscription_hears_of_its_members_only() {
    let room = Room::open().await;
    let calendly = room.sandbox.calendly();
    let alice = calendly.create_user(&NewUser::named("alice")).unwrap();
    let member = |name: &str, group: Option<&str>| NewUser {
        colleague_of: Some("alice".to_owned()),
        group: group.map(ToOwned::to_owned),
        ..NewUser::named(name)
    };
    calendly.create_user(&member("bob", Some("sales"))).unwrap();
    calendly.create_user(&member("carol", None)).unwrap();
    let group = |name: &str| {
        json!({"url": "http://127.0.0.1:9/", "scope": "group",
        "events": ["invitee.created"], "group": format!("{}/groups/{name}", room.sandbox.calendly_url())})
    };
    let (status, made) = calendly_hook(&room, &alice, group("sales")).await;
    assert_eq!(status, 201);
    assert!(text(&made, "/resource/group").ends_with("/groups/sales"));
    assert_eq!(calendly_hook(&room, &alice, group("nobody")).await.0, 403);
    let mut nameless = group("sales");
    nameless["group"] = Value::Null;
    assert_eq!(calendly_hook(&room, &alice, nameless).await.0, 400);
    assert_eq!(
        calendly
            .book(&BookingOrder::create("bob"))
            .unwrap()
            .deliveries,
        1
    );
    for other in ["alice", "carol"] {
        let booked = calendly.book(&BookingOrder::create(other)).unwrap();
        assert_eq!(booked.deliveries, 0, "{other}");
    }
}

#[tokio::test]
async fn families_are_offered_where_they_are_documented_to_be() {
    let room = Room::open().await;
    let calendly = room.sandbox.calendly();
    let all = NewUser {
        scope: Some("default".to_owned()),
        ..NewUser::named("alice")
    };
    let alice = calendly.create_user(&all).unwrap();
    let mut number = 0;
    let mut subscribe = async |scope: &str, event: &str| {
        number += 1;
        let body = json!({"url": format!("http://127.0.0.1:9/{number}"), "scope": scope,
            "user": alice.external_id, "events": [event]});
        calendly_hook(&room, &alice, body).await.0.as_u16()
    };
    assert_eq!(subscribe("user", "meeting_recap.created").await, 201);
    assert_eq!(
        subscribe("organization", "meeting_recap.created").await,
        400
    );
    assert_eq!(
        subscribe("organization", "routing_form_submission.created").await,
        201
    );
    assert_eq!(
        subscribe("user", "routing_form_submission.created").await,
        400
    );
    assert_eq!(subscribe("user", "contact.created").await, 201);
    assert_eq!(subscribe("user", "event_type.created").await, 201);
    calendly.set(|switches| switches.calendly.no_event_types = true);
    assert_eq!(subscribe("user", "event_type.created").await, 400);
    calendly.set(|switches| switches.calendly.free_plan = true);
    assert_eq!(subscribe("user", "contact.created").await, 403);
}

#[tokio::test]
async fn an_address_may_be_had_once_per_scope_once_at_all_or_as_often_as_wanted() {
    let room = Room::open().await;
    let calendly = room.sandbox.calendly();
    let alice = calendly.create_user(&NewUser::named("alice")).unwrap();
    let subscribe = async |scope: &str, url: &str| {
        let body = json!({"url": url, "scope": scope, "user": alice.external_id,
            "events": ["invitee.created"]});
        calendly_hook(&room, &alice, body).await.0.as_u16()
    };
    assert_eq!(subscribe("user", "http://127.0.0.1:9/a").await, 201);
    assert_eq!(subscribe("organization", "http://127.0.0.1:9/a").await, 201);
    calendly.set(|switches| switches.calendly.same_webhook = SameWebhook::Url);
    assert_eq!(subscribe("user", "http://127.0.0.1:9/b").await, 201);
    assert_eq!(subscribe("organization", "http://127.0.0.1:9/b").await, 409);
    calendly.set(|switches| switches.calendly.same_webhook = SameWebhook::Never);
    assert_eq!(subscribe("user", "http://127.0.0.1:9/b").await, 201);
}

#[tokio::test]
async fn anything_can_be_told_and_a_disabled_address_is_told_nothing() {
    let room = Room::open().await;
    let mut inbox = Inbox::open(StatusCode::OK).await;
    let (calendly, calcom) = (room.sandbox.calendly(), room.sandbox.calcom());
    let all = NewUser {
        scope: Some("default".to_owned()),
        ..NewUser::named("alice")
    };
    let alice = calendly.create_user(&all).unwrap();
    let body = json!({"url": inbox.url, "scope": "organization",
        "events": ["routing_form_submission.created"]});
    assert_eq!(calendly_hook(&room, &alice, body).await.0, 201);
    let news = Announcement {
        event: "routing_form_submission.created".to_owned(),
        user: "alice".to_owned(),
        payload: json!({"uri": "x"}),
        ..Announcement::default()
    };
    assert_eq!(calendly.announce(&news).unwrap().deliveries, 1);
    let got = inbox.next().await.json();
    assert_eq!(got["payload"], json!({"uri": "x"}));
    assert_eq!(text(&got, "/created_by"), alice.external_id);
    let off = Disable {
        url: inbox.url.clone(),
    };
    calendly.disable(&off).unwrap();
    assert_eq!(calendly.announce(&news).unwrap().deliveries, 0);

    let al = calcom.create_user(&NewUser::named("al")).unwrap();
    assert_eq!(
        calcom_hook(&room, &al, &inbox.url, &["OOO_CREATED"]).await,
        201
    );
    let news = Announcement {
        event: "OOO_CREATED".to_owned(),
        user: "al".to_owned(),
        payload: json!({"oooEntry": {"user": {"id": 7}}}),
        ..Announcement::default()
    };
    assert_eq!(calcom.announce(&news).unwrap().deliveries, 1);
    let got = inbox.next().await.json();
    assert_eq!(got["payload"]["oooEntry"]["user"]["id"], 7);
    let flat = Announcement { flat: true, ..news };
    calcom.announce(&flat).unwrap();
    assert_eq!(inbox.next().await.json()["oooEntry"]["user"]["id"], 7);
    calcom.disable(&off).unwrap();
    assert_eq!(calcom.announce(&flat).unwrap().deliveries, 0);
    assert!(
        calcom
            .disable(&Disable {
                url: "x".to_owned()
            })
            .is_err()
    );
    let nobody = Announcement {
        user: "nobody".to_owned(),
        ..flat
    };
    assert!(calcom.announce(&nobody).is_err() && calendly.announce(&nobody).is_err());
}

#[tokio::test]
async fn lists_of_webhooks_come_in_pages() {
    let room = Room::open().await;
    let alice = room
        .sandbox
        .calcom()
        .create_user(&NewUser::named("alice"))
        .unwrap();
    for number in 0..3 {
        let url = format!("http://127.0.0.1:9/{number}");
        assert_eq!(
            calcom_hook(&room, &alice, &url, &["BOOKING_CREATED"]).await,
            201
        );
    }
    let list = async |query: &str| {
        let url = room.calcom(&format!("/v2/webhooks{query}"));
        let (status, body) = room.get(&url, &alice.access_token).await;
        (status.as_u16(), body["data"].as_array().map_or(0, Vec::len))
    };
    assert_eq!(list("").await, (200, 3));
    assert_eq!(list("?take=2").await, (200, 2));
    assert_eq!(list("?take=2&skip=2").await, (200, 1));
    assert_eq!(list("?take=251").await.0, 400);
}

#[tokio::test]
async fn webhooks_may_be_refused_and_old_servers_know_fewer_triggers() {
    let room = Room::open().await;
    let calcom = room.sandbox.calcom();
    let alice = calcom.create_user(&NewUser::named("alice")).unwrap();
    calcom.set(|switches| switches.calcom.old_server = true);
    let url = "http://127.0.0.1:9/";
    assert_eq!(calcom_hook(&room, &alice, url, &["OOO_CREATED"]).await, 400);
    assert_eq!(
        calcom_hook(&room, &alice, url, &["MEETING_ENDED"]).await,
        201
    );
    calcom.set(|switches| switches.calcom.no_webhooks = true);
    assert_eq!(
        calcom_hook(&room, &alice, url, &["MEETING_ENDED"]).await,
        403
    );
}

#[tokio::test]
async fn a_request_is_confirmed_or_rejected_and_a_guest_may_not_come() {
    let room = Room::open().await;
    let calcom = room.sandbox.calcom();
    let alice = calcom.create_user(&NewUser::named("alice")).unwrap();
    let mut inbox = Inbox::open(StatusCode::OK).await;
    let triggers = [
        "BOOKING_REQUESTED",
        "BOOKING_CREATED",
        "BOOKING_REJECTED",
        "BOOKING_NO_SHOW_UPDATED",
    ];
    assert_eq!(calcom_hook(&room, &alice, &inbox.url, &triggers).await, 201);
    let status = async |uid: &str| {
        let url = room.calcom(&format!("/v2/bookings/{uid}"));
        let (_, body) = room.get(&url, &alice.access_token).await;
        text(&body, "/data/status").to_owned()
    };
    let mut heard = async || text(&inbox.next().await.json(), "/triggerEvent").to_owned();
    let request = BookingOrder {
        action: Action::Request,
        ..BookingOrder::create("alice")
    };
    let asked = calcom.book(&request).unwrap();
    assert_eq!(
        (heard().await.as_str(), status(&asked.id).await.as_str()),
        ("BOOKING_REQUESTED", "pending")
    );
    calcom
        .book(&BookingOrder::to(Action::Confirm, &asked.id))
        .unwrap();
    assert_eq!(
        (heard().await.as_str(), status(&asked.id).await.as_str()),
        ("BOOKING_CREATED", "accepted")
    );
    assert!(
        calcom
            .book(&BookingOrder::to(Action::Reject, &asked.id))
            .is_err()
    );
    calcom
        .book(&BookingOrder::to(Action::Miss, &asked.id))
        .unwrap();
    assert_eq!(heard().await, "BOOKING_NO_SHOW_UPDATED");
    let asked = calcom.book(&request).unwrap();
    heard().await;
    calcom
        .book(&BookingOrder::to(Action::Reject, &asked.id))
        .unwrap();
    assert_eq!(
        (heard().await.as_str(), status(&asked.id).await.as_str()),
        ("BOOKING_REJECTED", "rejected")
    );
}

#[tokio::test]
async fn a_cancellation_may_be_told_before_it_is_written_down() {
    let room = Room::open().await;
    let calcom = room.sandbox.calcom();
    let alice = calcom.create_user(&NewUser::named("alice")).unwrap();
    let booked = calcom.book(&BookingOrder::create("alice")).unwrap();
    calcom.set(|switches| switches.calcom.cancel_lag_ms = 300);
    let url = room.calcom(&format!("/v2/bookings/{}", booked.id));
    let status = async || {
        let (_, body) = room.get(&url, &alice.access_token).await;
        text(&body, "/data/status").to_owned()
    };
    calcom
        .book(&BookingOrder::to(Action::Cancel, &booked.id))
        .unwrap();
    assert_eq!(status().await, "accepted");
    for _ in 0..200 {
        if status().await == "cancelled" {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("it was never written down");
}

#[tokio::test]
async fn a_person_may_grant_less_than_was_asked_for_or_nothing() {
    let room = Room::open().await;
    let calendly = room.sandbox.calendly();
    calendly.set(|switches| {
        switches.consent_as = Some("alice".to_owned());
        switches.consent_scope = Some("users:read".to_owned());
    });
    let url = room.calendly(
        "/oauth/authorize?client_id=sandbox-calendly-client&response_type=code&state=s\
        &redirect_uri=http%3A%2F%2Flocalhost%3A9%2Fback&scope=users%3Aread%20webhooks%3Awrite",
    );
    let location = async || {
        let response = room.http.get(&url).send().await.unwrap();
        response.headers()["location"].to_str().unwrap().to_owned()
    };
    let back = location().await;
    let code = back.split(['=', '&']).nth(1).unwrap();
    let call = room.http.post(room.calendly("/oauth/token"));
    let call = call.basic_auth("sandbox-calendly-client", Some("sandbox-client-secret"));
    let form = [
        ("grant_type", "authorization_code"),
        ("code", code),
        ("redirect_uri", "http://localhost:9/back"),
    ];
    let (_, body) = read(call.form(&form).send().await.unwrap()).await;
    assert_eq!(text(&body, "/scope"), "users:read");
    calendly.set(|switches| switches.consent_denied = true);
    assert!(location().await.contains("error=access_denied"));
}
