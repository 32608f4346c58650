//! Webhooks as the emulated services really send them: verified, read, and given to whom they are for.

use std::time::Duration;

use daypass::{
    base::secret::Secret,
    provider::{
        Addressees, Attendees, Coverage, Event, Forged, Genuine, MeetingStatus, Received,
        Subscribed, Wanted, Webhooks, calendly::WebhookScope,
    },
    sandbox::{Action, Announcement, BookingOrder, NewUser},
};
use http::{HeaderMap, StatusCode};
use serde_json::json;

use crate::world::{Inbox, NOW, User, World, secret};

const TOLERANCE: Duration = Duration::from_mins(3);

fn verified(
    webhooks: &dyn Webhooks,
    (headers, body): &(HeaderMap, Vec<u8>),
    keys: &[&Secret<String>],
) -> Result<Genuine, Forged> {
    webhooks.verify(&Received {
        headers,
        body,
        keys,
        at: NOW,
        tolerance: TOLERANCE,
    })
}

/// Takes the next webhook, which must be signed with `key`.
async fn taken(webhooks: &dyn Webhooks, inbox: &mut Inbox, key: &Secret<String>) -> Event {
    let webhook = inbox.next().await;
    let genuine = verified(webhooks, &webhook, &[&secret("other"), key]);
    assert_eq!(genuine, Ok(Genuine { key: 1 }));
    webhooks.read(&webhook.1).unwrap()
}

async fn subscribed(webhooks: &dyn Webhooks, user: &User, inbox: &Inbox, key: &Secret<String>) {
    let wanted = Wanted {
        account: &user.account,
        granted: user.scope.as_deref(),
        url: &inbox.url,
        secret: key,
    };
    let subscribed = webhooks.subscribe(&user.token, &wanted).await.unwrap();
    assert!(matches!(subscribed, Subscribed::Made(_)));
}

fn to(user: &User) -> Addressees {
    Addressees::Accounts(vec![user.account.external_id.clone().unwrap()])
}

#[tokio::test]
async fn calendlys_webhooks_are_genuine_and_readable() {
    let world = World::open().await;
    let (calendly, key) = (world.calendly(), secret("key"));
    let mut inbox = world.inbox(StatusCode::OK).await;
    let alice = world.calendly_user(&NewUser::named("alice"));
    subscribed(&calendly, &alice, &inbox, &key).await;
    let sandbox = world.sandbox.calendly();
    let booked = sandbox.book(&BookingOrder::create("alice")).unwrap();
    let event = taken(&calendly, &mut inbox, &key).await;
    assert_eq!(event.name, "invitee.created");
    assert_eq!(event.occurred_at, Some(NOW));
    assert_eq!(
        event.addressees(Coverage::User, Some(&alice.account)),
        to(&alice)
    );
    assert_eq!(event.meeting_id, booked.uri);
    let meeting = event.meeting.unwrap();
    assert_eq!(meeting.status, MeetingStatus::Confirmed);
    assert_eq!(meeting.location.as_deref(), Some("Sandbox street 1"));
    // Moved: two webhooks in any order, which lead to each other.
    let moved = sandbox
        .book(&BookingOrder::to(Action::Reschedule, &booked.id))
        .unwrap();
    for _ in 0..2 {
        let event = taken(&calendly, &mut inbox, &key).await;
        let meeting = event.meeting.unwrap();
        if event.name == "invitee.canceled" {
            assert_eq!(meeting.status, MeetingStatus::Canceled);
            assert_eq!(meeting.rescheduled_to, moved.uri);
        } else {
            assert_eq!(meeting.rescheduled_from, booked.uri);
            assert_eq!(Some(meeting.id), moved.uri);
        }
    }
}

#[tokio::test]
async fn what_was_changed_on_the_way_or_kept_too_long_is_not_genuine() {
    let world = World::open().await;
    let (calendly, key) = (world.calendly(), secret("key"));
    let mut inbox = world.inbox(StatusCode::OK).await;
    let alice = world.calendly_user(&NewUser::named("alice"));
    subscribed(&calendly, &alice, &inbox, &key).await;
    world
        .sandbox
        .calendly()
        .book(&BookingOrder::create("alice"))
        .unwrap();
    let webhook = inbox.next().await;
    assert!(verified(&calendly, &webhook, &[&key]).is_ok());
    assert_eq!(verified(&calendly, &webhook, &[]), Err(Forged::NoKey));
    let mut longer = webhook.clone();
    longer.1.push(b' ');
    assert_eq!(verified(&calendly, &longer, &[&key]), Err(Forged::Wrong));
    let late = calendly.verify(&Received {
        headers: &webhook.0,
        body: &webhook.1,
        keys: &[&key],
        at: NOW.saturating_add(Duration::from_mins(4)),
        tolerance: TOLERANCE,
    });
    assert!(matches!(late, Err(Forged::TooOld { .. })));
}

/// W8 of the regressions.
#[tokio::test]
async fn a_colleagues_booking_in_an_organizations_subscription_is_the_colleagues() {
    let world = World::open().await;
    let key = secret("key");
    let calendly = world.calendly_with(|config| config.webhook_scope = WebhookScope::Organization);
    let mut inbox = world.inbox(StatusCode::OK).await;
    let admin = world.calendly_user(&NewUser::named("admin"));
    let colleague = |name: &str| NewUser {
        colleague_of: Some("admin".to_owned()),
        ..NewUser::named(name)
    };
    let bob = world.calendly_user(&colleague("bob"));
    let carol = world.calendly_user(&colleague("carol"));
    subscribed(&calendly, &admin, &inbox, &key).await;
    let sandbox = world.sandbox.calendly();
    sandbox.book(&BookingOrder::create("bob")).unwrap();
    let event = taken(&calendly, &mut inbox, &key).await;
    assert_eq!(event.names.subscriber, admin.account.external_id);
    for subscriber in [Some(&admin.account), None] {
        let for_whom = event.addressees(Coverage::Organization, subscriber);
        assert_eq!(for_whom, to(&bob));
    }
    // Two hosts are two recipients.
    let together = BookingOrder {
        co_hosts: vec!["carol".to_owned()],
        ..BookingOrder::create("bob")
    };
    sandbox.book(&together).unwrap();
    let event = taken(&calendly, &mut inbox, &key).await;
    let hosts = [&bob, &carol].map(|user| user.account.external_id.clone().unwrap());
    let for_whom = event.addressees(Coverage::Organization, Some(&admin.account));
    assert_eq!(for_whom, Addressees::Accounts(hosts.to_vec()));
}

/// W6 of the regressions.
#[tokio::test]
async fn every_invitee_of_a_group_event_is_an_event_of_its_own() {
    let world = World::open().await;
    let (calendly, key) = (world.calendly(), secret("key"));
    let mut inbox = world.inbox(StatusCode::OK).await;
    let alice = world.calendly_user(&NewUser::named("alice"));
    subscribed(&calendly, &alice, &inbox, &key).await;
    let sandbox = world.sandbox.calendly();
    let order = BookingOrder {
        seats: Some(3),
        ..BookingOrder::create("alice")
    };
    let booked = sandbox.book(&order).unwrap();
    let join = BookingOrder {
        attendee_email: Some("second@x.test".to_owned()),
        ..BookingOrder::to(Action::Join, &booked.id)
    };
    sandbox.book(&join).unwrap();
    let one = taken(&calendly, &mut inbox, &key).await;
    let two = taken(&calendly, &mut inbox, &key).await;
    assert_ne!(one.key, two.key);
    assert_eq!(one.meeting_id, two.meeting_id);
    let meeting = two.meeting.unwrap();
    assert!(
        matches!(meeting.attendees, Attendees::Some(_)),
        "the others stay"
    );
}

#[tokio::test]
async fn events_that_are_new_or_nobodys_are_taken() {
    let world = World::open().await;
    let key = secret("key");
    let calendly = world.calendly_with(|config| config.webhook_scope = WebhookScope::Organization);
    let mut inbox = world.inbox(StatusCode::OK).await;
    let all = NewUser {
        scope: Some("default".to_owned()),
        ..NewUser::named("admin")
    };
    let admin = world.calendly_user(&all);
    subscribed(&calendly, &admin, &inbox, &key).await;
    let news = Announcement {
        event: "routing_form_submission.created".to_owned(),
        user: "admin".to_owned(),
        payload: json!({"uri": "https://api.calendly.com/routing_form_submissions/1"}),
        ..Announcement::default()
    };
    world.sandbox.calendly().announce(&news).unwrap();
    let event = taken(&calendly, &mut inbox, &key).await;
    assert_eq!(event.name, news.event);
    let for_whom = event.addressees(Coverage::Organization, Some(&admin.account));
    assert_eq!(for_whom, Addressees::Subscriber);
}

#[tokio::test]
async fn cal_coms_webhooks_are_genuine_and_readable_for_both_families() {
    let world = World::open().await;
    let (calcom, key) = (world.calcom(), secret("key"));
    for order in [NewUser::named("al"), NewUser::managed("mia")] {
        let mut inbox = world.inbox(StatusCode::OK).await;
        let user = world.calcom_user(&order);
        subscribed(&calcom, &user, &inbox, &key).await;
        let sandbox = world.sandbox.calcom();
        let booked = sandbox.book(&BookingOrder::create(&order.name)).unwrap();
        let event = taken(&calcom, &mut inbox, &key).await;
        assert_eq!(event.name, "BOOKING_CREATED");
        for coverage in [Coverage::User, Coverage::Client] {
            let for_whom = event.addressees(coverage, Some(&user.account));
            assert_eq!(for_whom, to(&user), "{coverage:?}");
        }
        assert_eq!(event.meeting_id.as_ref(), Some(&booked.id));
        let meeting = event.meeting.unwrap();
        assert!(
            meeting
                .join_url
                .unwrap()
                .starts_with("https://app.cal.com/video/")
        );
        // Flat.
        sandbox
            .book(&BookingOrder::to(Action::Start, &booked.id))
            .unwrap();
        let event = taken(&calcom, &mut inbox, &key).await;
        assert_eq!(event.name, "MEETING_STARTED");
        assert_eq!(event.addressees(Coverage::Client, None), to(&user));
        assert!(event.meeting.is_some());
        // Names nobody but the booking.
        sandbox
            .book(&BookingOrder::to(Action::Miss, &booked.id))
            .unwrap();
        let event = taken(&calcom, &mut inbox, &key).await;
        assert_eq!(event.name, "BOOKING_NO_SHOW_UPDATED");
        let for_whom = event.addressees(Coverage::User, Some(&user.account));
        assert_eq!(for_whom, Addressees::Subscriber);
        let for_whom = event.addressees(Coverage::Client, None);
        assert_eq!(for_whom, Addressees::HostsOf(booked.id.clone()));
        // Moved: one webhook, which names the booking that it replaces.
        let moved = sandbox
            .book(&BookingOrder::to(Action::Reschedule, &booked.id))
            .unwrap();
        let meeting = taken(&calcom, &mut inbox, &key).await.meeting.unwrap();
        assert_eq!(meeting.id, moved.id);
        assert_eq!(meeting.rescheduled_from, Some(booked.id));
        sandbox
            .book(&BookingOrder::to(Action::Cancel, &moved.id))
            .unwrap();
        let meeting = taken(&calcom, &mut inbox, &key).await.meeting.unwrap();
        assert_eq!(meeting.status, MeetingStatus::Canceled);
    }
}

/// W1 of the regressions.
#[tokio::test]
async fn a_webhook_that_cal_com_signs_with_words_is_refused() {
    let world = World::open().await;
    let calcom = world.calcom();
    let mut inbox = world.inbox(StatusCode::OK).await;
    let al = world.calcom_user(&NewUser::named("al"));
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let body = json!({"subscriberUrl": inbox.url.as_str(), "active": true,
        "triggers": ["BOOKING_CREATED"]});
    let made = client
        .post(format!("{}/v2/webhooks", world.sandbox.calcom_url()))
        .bearer_auth(al.token.danger_expose())
        .json(&body)
        .send();
    assert_eq!(made.await.unwrap().status(), 201);
    world
        .sandbox
        .calcom()
        .book(&BookingOrder::create("al"))
        .unwrap();
    let webhook = inbox.next().await;
    for keys in [&[][..], &[&secret("key")], &[&secret("no-secret-provided")]] {
        assert_eq!(verified(&calcom, &webhook, keys), Err(Forged::Unsigned));
    }
}
