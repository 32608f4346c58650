//! Intake over real sockets: what is taken, what is refused, and whose it becomes.

use std::time::Duration;

use daypass::{base::ids::EventId, store::sqlite::Options};
use futures_util::future::join_all;
use serde_json::json;

use crate::{
    ingress::{ALICE, BOB, CALENDLY_KEY, Ingress, UNROUTED, calendly_signature, invitee, pending},
    world::START,
};

#[tokio::test]
async fn a_genuine_event_is_durable_for_its_host_before_it_is_acknowledged() {
    let ingress = Ingress::start().await;
    ingress.connect("calendly", "alice", Some(ALICE)).await;
    ingress.connect("calendly", "bob", Some(BOB)).await;
    assert_eq!(ingress.calendly(&invitee(1, ALICE, &[ALICE])).await, 200);
    assert_eq!(ingress.deliveries().await, [pending("alice")]);
    let took = ingress.witness.took.lock().clone();
    assert_eq!(took.len(), 1);
    assert_eq!(took[0].1, "invitee.created");
}

/// W1: Nango skipped verification where no secret was configured.
#[tokio::test]
async fn without_a_key_everything_is_refused() {
    let ingress = Ingress::start_with(Options::default(), false).await;
    ingress.connect("calendly", "alice", Some(ALICE)).await;
    assert_eq!(ingress.calendly(&invitee(1, ALICE, &[ALICE])).await, 401);
    assert_eq!(ingress.calcom(b"{}").await, 401);
    let unsigned = [("x-cal-signature-256", "no-secret-provided")];
    assert_eq!(ingress.post("calcom", &unsigned, b"{}").await.0, 401);
    assert_eq!(ingress.deliveries().await, []);
}

#[tokio::test]
async fn what_is_not_proven_genuine_is_refused_and_leaves_nothing() {
    let ingress = Ingress::start().await;
    ingress.connect("calendly", "alice", Some(ALICE)).await;
    let body = invitee(1, ALICE, &[ALICE]).to_string();
    let body = body.as_bytes();
    let good = calendly_signature(CALENDLY_KEY, START, body);
    let forged = calendly_signature("another key", START, body);
    let other = calendly_signature(CALENDLY_KEY, START, b"{}");
    let name = "calendly-webhook-signature";
    let cases: [(&str, Vec<(&str, &str)>); 7] = [
        ("unsigned", vec![]),
        ("signed by another key", vec![(name, &forged)]),
        ("signed for another body", vec![(name, &other)]),
        ("signed twice", vec![(name, &good), (name, &good)]),
        ("empty", vec![(name, "")]),
        ("nonsense", vec![(name, "t=now,v1=zz")]),
        ("only a time", vec![(name, "t=1800000000")]),
    ];
    for (what, headers) in cases {
        let (status, problem) = ingress.post("calendly", &headers, body).await;
        assert_eq!(
            (status, &problem["type"]),
            (401, &json!("urn:daypass:problem:bad-signature")),
            "{what}"
        );
    }
    let unsigned = [("x-cal-signature-256", "no-secret-provided")];
    assert_eq!(ingress.post("calcom", &unsigned, b"{}").await.0, 401);
    assert_eq!(ingress.deliveries().await, []);
}

#[tokio::test]
async fn a_signature_is_good_for_three_minutes_either_way() {
    let ingress = Ingress::start().await;
    let body = invitee(1, ALICE, &[ALICE]).to_string();
    let minute = Duration::from_mins(1);
    for (at, expected) in [
        (START.saturating_sub(minute * 4), 401),
        (START.saturating_add(minute * 4), 401),
        (START.saturating_sub(minute * 2), 202),
        (START.saturating_add(minute * 2), 202),
    ] {
        assert_eq!(
            ingress.calendly_at(at, body.as_bytes()).await.0,
            expected,
            "{at}"
        );
    }
}

#[tokio::test]
async fn what_has_no_address_size_or_form_is_refused() {
    let ingress = Ingress::start().await;
    let headers = [];
    assert_eq!(ingress.post("zoom", &headers, b"{}").await.0, 404);
    assert_eq!(
        ingress
            .post("calendly/no-such-route", &headers, b"{}")
            .await
            .0,
        404
    );
    let large = vec![b' '; 10 << 20];
    // The answer may come before all of it was sent.
    let request = ingress
        .http
        .post(format!("{}/calendly", ingress.url))
        .body(large);
    if let Ok(answer) = request.send().await {
        assert_eq!(answer.status().as_u16(), 413);
    }
    assert_eq!(ingress.calendly_at(START, b"no json").await.0, 400);
    assert_eq!(ingress.deliveries().await, []);
}

#[tokio::test]
async fn an_event_that_nobody_has_heard_of_is_delivered_all_the_same() {
    let ingress = Ingress::start().await;
    ingress.connect("calendly", "alice", Some(ALICE)).await;
    let mut event = invitee(1, ALICE, &[ALICE]);
    event["event"] = json!("invitee.teleported");
    assert_eq!(ingress.calendly(&event).await, 200);
    assert_eq!(ingress.all().await[0].name, "invitee.teleported");
    // Of another shape altogether: kept, and nobody's.
    assert_eq!(ingress.calendly(&json!({ "hello": "world" })).await, 202);
    assert_eq!(ingress.deliveries().await, [pending("alice"), UNROUTED]);
}

/// W5: duplicates were told by an unsigned header elsewhere. W11: two checks raced.
#[tokio::test]
async fn the_same_content_is_one_event_however_often_and_whenever_it_comes() {
    let ingress = Ingress::start().await;
    ingress.connect("calendly", "alice", Some(ALICE)).await;
    let body = invitee(1, ALICE, &[ALICE]).to_string();
    let posts = (0..20).map(|second| {
        let at = START.saturating_add(Duration::from_secs(second));
        ingress.calendly_at(at, body.as_bytes())
    });
    let answers = join_all(posts).await;
    assert!(
        answers.iter().all(|(status, _)| *status == 200),
        "{answers:?}"
    );
    let accepted = answers
        .iter()
        .filter(|(_, body)| body["status"] == "accepted")
        .count();
    assert_eq!(accepted, 1, "{answers:?}");
    assert_eq!(ingress.deliveries().await, [pending("alice")]);
    assert_eq!(ingress.witness.took.lock().len(), 1);
}

/// W6: Pipedream dropped all invitees of a group event but the first.
#[tokio::test]
async fn each_invitee_of_a_group_event_is_an_event() {
    let ingress = Ingress::start().await;
    ingress.connect("calendly", "alice", Some(ALICE)).await;
    for number in 1..=3 {
        assert_eq!(
            ingress.calendly(&invitee(number, ALICE, &[ALICE])).await,
            200
        );
    }
    assert_eq!(ingress.users().await, ["alice", "alice", "alice"]);
}

/// W8: Nango took who subscribed for the host. W9: the seed of this project gave it to anybody active.
#[tokio::test]
async fn an_event_is_its_hosts_and_not_of_who_subscribed() {
    let ingress = Ingress::start().await;
    ingress.connect("calendly", "alice", Some(ALICE)).await;
    ingress.connect("calendly", "bob", Some(BOB)).await;
    ingress.connect("calendly", "carol", None).await;
    assert_eq!(ingress.calendly(&invitee(1, ALICE, &[BOB])).await, 200);
    assert_eq!(ingress.users().await, ["bob"]);
    assert_eq!(
        ingress.calendly(&invitee(2, ALICE, &[ALICE, BOB])).await,
        200
    );
    let mut users = ingress.users().await;
    users.sort();
    assert_eq!(users, ["alice", "bob", "bob"]);
    let stranger = "https://api.calendly.com/users/NOBODY";
    assert_eq!(ingress.calendly(&invitee(3, ALICE, &[stranger])).await, 202);
    assert_eq!(ingress.users().await.len(), 3, "it is given to nobody");
}

#[tokio::test]
async fn several_users_with_one_account_each_get_theirs() {
    let ingress = Ingress::start().await;
    for user in ["alice", "alice-too"] {
        ingress.connect("calendly", user, Some(ALICE)).await;
    }
    assert_eq!(ingress.calendly(&invitee(1, ALICE, &[ALICE])).await, 200);
    let mut users = ingress.users().await;
    users.sort();
    assert_eq!(users, ["alice", "alice-too"]);
    let events: Vec<EventId> = ingress
        .all()
        .await
        .iter()
        .map(|found| found.event)
        .collect();
    assert_eq!(events[0], events[1], "one event, two deliveries");
}

#[tokio::test]
async fn an_event_of_a_broken_connection_is_kept_and_delivered_to_nobody() {
    let ingress = Ingress::start().await;
    let alice = ingress.connect("calendly", "alice", Some(ALICE)).await;
    ingress.connect("calendly", "bob", Some(BOB)).await;
    ingress.break_grant(&alice).await;
    assert_eq!(ingress.calendly(&invitee(1, ALICE, &[ALICE])).await, 202);
    assert_eq!(ingress.deliveries().await, [UNROUTED]);
    // It waits for whoever connects the account.
    assert_eq!(ingress.store.adopt(ALICE, &alice).await.unwrap(), 1);
    assert_eq!(ingress.deliveries().await, [pending("alice")]);
}

#[tokio::test]
async fn a_store_that_takes_no_more_is_503_and_the_event_is_taken_when_it_does() {
    let mut options = Options::default();
    options.max_pages = Some(120);
    let ingress = Ingress::start_with(options, true).await;
    ingress.connect("calendly", "alice", Some(ALICE)).await;
    let mut number = 0;
    let full = loop {
        number += 1;
        let mut event = invitee(number, ALICE, &[ALICE]);
        event["payload"]["text"] = json!("x".repeat(20_000));
        let body = event.to_string();
        match ingress.calendly_at(START, body.as_bytes()).await {
            (200, _) => assert!(number < 1000, "it never fills"),
            other => break other,
        }
    };
    assert_eq!(full.0, 503);
    assert_eq!(full.1["type"], "urn:daypass:problem:store-unavailable");
    let kept = ingress.users().await.len();
    assert_eq!(
        u32::try_from(kept).unwrap(),
        number - 1,
        "what was acknowledged is there, and nothing else"
    );
}

#[tokio::test]
async fn events_of_calcom_go_to_the_organizer_and_flat_ones_to_their_user() {
    let ingress = Ingress::start().await;
    ingress.connect("calcom", "alice", Some("7")).await;
    ingress.connect("calcom", "bob", Some("8")).await;
    // W4: spaces and order as nobody would write them again.
    let booking = br#"{ "triggerEvent":"BOOKING_CREATED",  "createdAt":"2027-01-15T08:00:00Z",
        "payload":{"uid":"u1","organizer":{"id":8,"email":"bob@example.org"}, "title":"Intro",
        "startTime":"2027-02-01T10:00:00Z","endTime":"2027-02-01T10:30:00Z","attendees":[]}}"#;
    assert_eq!(ingress.calcom(booking).await, 200);
    let started = br#"{"triggerEvent":"MEETING_STARTED","id":1,"uid":"u2","userId":7,
        "createdAt":"2027-01-15T08:00:00Z","startTime":"2027-02-01T10:00:00Z",
        "endTime":"2027-02-01T10:30:00Z","status":"ACCEPTED","user":{"email":"alice@example.org"}}"#;
    assert_eq!(ingress.calcom(started).await, 200);
    assert_eq!(
        ingress.deliveries().await,
        [pending("bob"), pending("alice")]
    );
}

#[tokio::test]
async fn what_is_kept_does_not_show_who_took_part() {
    let ingress = Ingress::start().await;
    ingress.connect("calendly", "alice", Some(ALICE)).await;
    assert_eq!(ingress.calendly(&invitee(1, ALICE, &[ALICE])).await, 200);
    ingress.clock.advance(Duration::from_secs(1));
    for entry in std::fs::read_dir(ingress.place.path()).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        let shows = bytes.windows(17).any(|part| part == b"guest@example.org");
        assert!(!shows, "the store shows personal data");
    }
}
