//! Reading meetings: one by one, and page by page while they change.

use std::{collections::BTreeSet, time::Duration};

use daypass::{
    provider::{
        Account, Attendees, Cursor, Meeting, MeetingStatus, Meetings, Page, Window, calcom::Calcom,
    },
    sandbox::{Action, ApiFault, ApiMischief, BookingOrder, Killed, NewUser, Revoke},
};

use crate::world::{Either, NOW, User, World, outcome};

const DAY: Duration = Duration::from_hours(24);

fn window() -> Window {
    Window::around(NOW, 30 * DAY, 365 * DAY)
}

fn booked(provider: &Either, world: &World, order: &BookingOrder) -> String {
    match provider {
        Either::Calendly(_) => world.sandbox.calendly().book(order).unwrap().uri.unwrap(),
        Either::Calcom(_) => world.sandbox.calcom().book(order).unwrap().id,
    }
}

/// Books `count` meetings in the coming hours.
fn fill(provider: &Either, world: &World, count: u64) -> BTreeSet<String> {
    let at = |hour: u64| NOW.saturating_add(Duration::from_hours(hour + 1));
    let order = |hour| BookingOrder {
        start: Some(at(hour)),
        ..BookingOrder::create("alice")
    };
    (0..count)
        .map(|hour| booked(provider, world, &order(hour)))
        .collect()
}

async fn page(
    meetings: &dyn Meetings,
    user: &User,
    window: &Window,
    cursor: Option<&Cursor>,
) -> Page {
    let page = meetings.page(&user.token, &user.account, window, cursor);
    page.await.unwrap()
}

/// Reads every page; `between` is called after each.
async fn all(
    meetings: &dyn Meetings,
    user: &User,
    window: &Window,
    mut between: impl FnMut(usize),
) -> Vec<Meeting> {
    let (mut found, mut cursor, mut count) = (Vec::new(), None, 0);
    loop {
        let page = page(meetings, user, window, cursor.as_ref()).await;
        found.extend(page.meetings);
        count += 1;
        between(count);
        assert!(count < 100, "it never ends");
        match page.next {
            Some(next) => cursor = Some(next),
            None => return found,
        }
    }
}

/// Fails if anything is missing or strange, and says how much.
fn assert_same(found: &BTreeSet<String>, made: &BTreeSet<String>) {
    let missing = made.difference(found).count();
    let strange = found.difference(made).count();
    assert_eq!(
        (missing, strange),
        (0, 0),
        "missing and strange, of {}",
        made.len()
    );
}

fn ids(meetings: &[Meeting]) -> BTreeSet<String> {
    meetings.iter().map(|meeting| meeting.id.clone()).collect()
}

#[tokio::test]
async fn one_meeting_is_read_whole() {
    let world = World::open().await;
    for (provider, user) in Either::both(&world) {
        let order = BookingOrder {
            attendee_email: Some("ada@x.test".to_owned()),
            ..BookingOrder::create("alice")
        };
        let id = booked(&provider, &world, &order);
        let meeting = provider.meetings().fetch(&user.token, &id).await.unwrap();
        assert_eq!(meeting.id, id);
        assert_eq!(meeting.status, MeetingStatus::Confirmed);
        assert_eq!(
            meeting.end.saturating_since(meeting.start),
            Duration::from_mins(30)
        );
        assert_eq!(meeting.hosts, [user.account.key().unwrap()]);
        let Attendees::All(attendees) = &meeting.attendees else {
            panic!("{:?}", meeting.attendees);
        };
        assert_eq!(attendees[0].email.as_deref(), Some("ada@x.test"));
        assert!(meeting.raw.is_object());
    }
}

#[tokio::test]
async fn a_group_event_is_read_with_all_of_its_invitees() {
    let world = World::open().await;
    let alice = world.calendly_user(&NewUser::named("alice"));
    let sandbox = world.sandbox.calendly();
    let order = BookingOrder {
        seats: Some(200),
        attendee_email: Some("0@x.test".to_owned()),
        ..BookingOrder::create("alice")
    };
    let event = sandbox.book(&order).unwrap();
    for number in 1..150 {
        let join = BookingOrder {
            attendee_email: Some(format!("{number}@x.test")),
            ..BookingOrder::to(Action::Join, &event.id)
        };
        sandbox.book(&join).unwrap();
    }
    let (calendly, id) = (world.calendly(), event.uri.unwrap());
    let meeting = calendly.fetch(&alice.token, &id).await.unwrap();
    assert!(matches!(&meeting.attendees, Attendees::All(all) if all.len() == 150));
}

#[tokio::test]
async fn moved_and_canceled_meetings_lead_to_each_other() {
    let world = World::open().await;
    for (provider, user) in Either::both(&world) {
        let id = booked(&provider, &world, &BookingOrder::create("alice"));
        let short = id.rsplit('/').next().unwrap();
        let new = booked(
            &provider,
            &world,
            &BookingOrder::to(Action::Reschedule, short),
        );
        let meetings = provider.meetings();
        let old = meetings.fetch(&user.token, &id).await.unwrap();
        assert_eq!(old.status, MeetingStatus::Canceled);
        assert_eq!(old.rescheduled_to.as_ref(), Some(&new));
        let new = meetings.fetch(&user.token, &new).await.unwrap();
        assert_eq!(new.status, MeetingStatus::Confirmed);
        assert_eq!(new.rescheduled_from, Some(id));
    }
}

#[tokio::test]
async fn what_is_not_there_or_no_id_is_not_found() {
    let world = World::open().await;
    for (provider, user) in Either::both(&world) {
        for id in ["nothing", "", "../users/me", "https://evil.example/x?y"] {
            let result = provider.meetings().fetch(&user.token, id).await;
            assert_eq!(outcome(&result), "not found", "{id}");
        }
    }
}

#[tokio::test]
async fn a_dead_token_is_told_apart_from_trouble() {
    let world = World::open().await;
    let dead = Revoke {
        user: "alice".to_owned(),
        what: Killed::Access,
    };
    for (provider, user) in Either::both(&world) {
        let meetings = provider.meetings();
        let window = window();
        let page = || meetings.page(&user.token, &user.account, &window, None);
        for (what, expected) in [
            (ApiMischief::ServerError, "transient"),
            (ApiMischief::HtmlForbidden, "transient"),
            (ApiMischief::RateLimited { retry_after: None }, "limited"),
            (ApiMischief::InsufficientScope, "forbidden"),
        ] {
            provider.fault(&world, ApiFault::next(1, what.clone()));
            assert_eq!(outcome(&page().await), expected, "{what:?}");
        }
        match &provider {
            Either::Calendly(_) => world.sandbox.calendly().revoke(&dead).unwrap(),
            // Here it is the 403 that carries the token.
            Either::Calcom(_) => world.sandbox.calcom().revoke(&dead).unwrap(),
        }
        let result = page().await;
        assert_eq!(outcome(&result), "token refused");
        let printed = format!("{:?}", result.unwrap_err());
        assert!(!printed.contains(user.token.danger_expose()), "{printed}");
    }
}

#[tokio::test]
async fn every_page_is_read_and_the_headroom_told() {
    let world = World::open().await;
    for (provider, user) in Either::both(&world) {
        let made = fill(&provider, &world, 230);
        let meetings = provider.meetings();
        let first = page(meetings, &user, &window(), None).await;
        assert_eq!(first.meetings.len(), 100);
        assert!(first.headroom.remaining.is_some_and(|left| left < 500));
        assert!(first.headroom.resets_in.is_some());
        let mut pages = 0;
        let found = all(meetings, &user, &window(), |count| pages = count).await;
        assert_same(&ids(&found), &made);
        // One more where a page begins with what ended the one before.
        assert!((3..=4).contains(&pages), "{pages}");
        let complete = meetings.pages_are_complete();
        let whole = |one: &Meeting| matches!(one.attendees, Attendees::All(_));
        assert_eq!(found.iter().all(whole), complete);
    }
}

#[tokio::test]
async fn the_window_bounds_what_is_read() {
    let world = World::open().await;
    for (provider, user) in Either::both(&world) {
        let made = fill(&provider, &world, 10);
        let narrow = Window {
            from: NOW.saturating_add(Duration::from_hours(3)),
            to: NOW.saturating_add(Duration::from_hours(7)),
            changed_since: None,
        };
        let found = ids(&all(provider.meetings(), &user, &narrow, |_| {}).await);
        assert!(found.len() >= 4 && found.len() <= 5, "{}", found.len());
        assert!(found.is_subset(&made));
    }
}

#[tokio::test]
async fn a_cursor_that_was_kept_for_days_still_leads_on() {
    for which in 0..2 {
        let world = World::open().await;
        let [calendly, calcom] = Either::both(&world);
        let (provider, user) = if which == 0 { calendly } else { calcom };
        let made = fill(&provider, &world, 230);
        let first = page(provider.meetings(), &user, &window(), None).await;
        // As a process does that was killed.
        let kept = serde_json::to_string(&first.next.unwrap()).unwrap();
        world.clock.advance(2 * DAY);
        let user = again(&provider, &world);
        let mut found = ids(&first.meetings);
        let mut cursor: Option<Cursor> = Some(serde_json::from_str(&kept).unwrap());
        while let Some(place) = cursor {
            let page = page(provider.meetings(), &user, &window(), Some(&place)).await;
            found.extend(ids(&page.meetings));
            cursor = page.next;
        }
        assert_same(&found, &made);
    }
}

/// Alice with a token that is good now.
fn again(provider: &Either, world: &World) -> User {
    let named = NewUser::named("alice");
    match provider {
        Either::Calendly(_) => world.calendly_user(&named),
        Either::Calcom(_) => world.calcom_user(&named),
    }
}

#[tokio::test]
async fn a_cursor_of_another_provider_begins_again() {
    let world = World::open().await;
    for (provider, user) in Either::both(&world) {
        let made = fill(&provider, &world, 3);
        let strange: Cursor = serde_json::from_str("\"strange\"").unwrap();
        let page = page(provider.meetings(), &user, &window(), Some(&strange)).await;
        assert_same(&ids(&page.meetings), &made);
    }
}

/// Offsets would step over as many bookings as have moved to the end.
#[tokio::test]
async fn bookings_that_change_while_they_are_read_hide_no_others() {
    let world = World::open().await;
    let provider = Either::Calcom(world.calcom());
    again(&provider, &world);
    let at = |minute: u64| NOW.saturating_add(Duration::from_mins(minute));
    let mut made = BTreeSet::new();
    for minute in 0..250 {
        world.clock.set(at(minute));
        made.extend(fill(&provider, &world, 1));
    }
    world.clock.set(at(300));
    let (alice, window) = (again(&provider, &world), window());
    let early = page(provider.meetings(), &alice, &window, None).await;
    let early: Vec<_> = early
        .meetings
        .iter()
        .take(60)
        .map(|one| one.id.clone())
        .collect();
    let found = all(provider.meetings(), &alice, &window, |count| {
        if count == 1 {
            for id in &early {
                booked(&provider, &world, &BookingOrder::to(Action::Miss, id));
            }
        }
    });
    assert_same(&ids(&found.await), &made);
}

#[tokio::test]
async fn a_whole_page_of_one_instant_does_not_stop_the_reading() {
    let world = World::open().await;
    let alice = world.calcom_user(&NewUser::named("alice"));
    // The sandbox's clock stands, so that all have the same time of change.
    let provider = Either::Calcom(world.calcom());
    let made = fill(&provider, &world, 330);
    let found = all(provider.meetings(), &alice, &window(), |_| {}).await;
    assert_same(&ids(&found), &made);
}

#[tokio::test]
async fn only_what_changed_is_read_where_the_provider_can_tell() {
    let world = World::open().await;
    let provider = Either::Calcom(world.calcom());
    let alice = again(&provider, &world);
    fill(&provider, &world, 120);
    world.clock.advance(Duration::from_mins(10));
    let later = fill(&provider, &world, 3);
    let delta = Window {
        changed_since: Some(NOW.saturating_add(Duration::from_mins(5))),
        ..window()
    };
    let mut pages = 0;
    let found = all(provider.meetings(), &alice, &delta, |count| pages = count).await;
    assert_same(&ids(&found), &later);
    // Its totals speak of 123.
    assert_eq!(pages, 1);
}

#[tokio::test]
async fn an_older_server_is_read_by_offset() {
    let world = World::open().await;
    world
        .sandbox
        .calcom()
        .set(|switches| switches.calcom.old_server = true);
    let provider = Either::Calcom(world.calcom());
    again(&provider, &world);
    let at = |minute: u64| NOW.saturating_add(Duration::from_mins(minute));
    let mut made = BTreeSet::new();
    for minute in (0..230).rev() {
        world.clock.set(at(minute));
        made.extend(fill(&provider, &world, 1));
    }
    // A second fill, so that starts and changes are in different orders.
    made.extend(fill(&provider, &world, 130));
    let alice = again(&provider, &world);
    let found = all(provider.meetings(), &alice, &window(), |_| {}).await;
    assert_same(&ids(&found), &made);
}

#[tokio::test]
async fn a_server_that_refuses_the_filters_is_read_by_offset() {
    let world = World::open().await;
    let alice = world.calcom_user(&NewUser::named("alice"));
    let provider = Either::Calcom(world.calcom());
    let made = fill(&provider, &world, 3);
    let refusal = daypass::sandbox::Canned {
        status: 400,
        body: r#"{"status":"error","error":{"code":"BadRequestException","message":"m"}}"#
            .to_owned(),
        headers: [("content-type".to_owned(), "application/json".to_owned())].into(),
    };
    provider.fault(&world, ApiFault::next(1, ApiMischief::Answer(refusal)));
    let found = all(provider.meetings(), &alice, &window(), |_| {}).await;
    assert_same(&ids(&found), &made);
}

#[tokio::test]
async fn what_a_user_merely_attends_is_not_theirs() {
    let world = World::open().await;
    let calcom: Calcom = world.calcom();
    let alice = world.calcom_user(&NewUser::named("alice"));
    world.calcom_user(&NewUser::named("bob"));
    let order = BookingOrder {
        attendee_email: Some("alice@sandbox.test".to_owned()),
        ..BookingOrder::create("bob")
    };
    world.sandbox.calcom().book(&order).unwrap();
    let found = all(&calcom, &alice, &window(), |_| {}).await;
    assert!(found.is_empty(), "{found:?}");
}

#[tokio::test]
async fn whose_meetings_they_are_is_asked_if_it_is_not_known() {
    let world = World::open().await;
    for (provider, user) in Either::both(&world) {
        let made = fill(&provider, &world, 2);
        let unknown = User {
            account: Account::default(),
            ..user
        };
        let page = page(provider.meetings(), &unknown, &window(), None).await;
        assert_same(&ids(&page.meetings), &made);
    }
}
