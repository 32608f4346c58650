//! Meetings: which of two stands, and how they are found again.

use std::time::Duration;

use daypass::{
    base::{
        clock::Timestamp,
        ids::{ConnectionKey, ProviderName, UserId},
    },
    store::{Everything, MeetingCursor, MeetingFilter, StoredMeeting, Upserted, seal::Sealed},
};
use futures_util::future::join_all;

use crate::bench::{Bench, START, calendly, key};

type Whole = Bench<dyn Everything>;

const HOUR: Duration = Duration::from_hours(1);

fn at(hours: u32) -> Timestamp {
    START.saturating_add(HOUR * hours)
}

/// A meeting of half an hour that begins `hours` after the start, first seen at the start.
fn meeting(key: &ConnectionKey, id: &str, hours: u32) -> StoredMeeting {
    StoredMeeting {
        key: key.clone(),
        external_id: id.to_owned(),
        status: "scheduled".to_owned(),
        is_over: false,
        starts_at: at(hours),
        ends_at: at(hours).saturating_add(HOUR / 2),
        version: START,
        details: Sealed::from_bytes(format!("details of {id}").into_bytes()),
    }
}

/// The same, `seconds` later by the provider's time, and over or not.
fn later(was: &StoredMeeting, seconds: u64, is_over: bool) -> StoredMeeting {
    let status = if is_over { "canceled" } else { "scheduled" };
    StoredMeeting {
        status: status.to_owned(),
        is_over,
        version: was.version.saturating_add(Duration::from_secs(seconds)),
        details: Sealed::from_bytes(format!("after {seconds} s").into_bytes()),
        ..was.clone()
    }
}

async fn write(bench: &Whole, meeting: &StoredMeeting) -> Upserted {
    let done = bench.store.upsert_meetings(vec![meeting.clone()]).await;
    let done = done.unwrap();
    assert_eq!(done.len(), 1);
    done[0]
}

async fn read(bench: &Whole, was: &StoredMeeting) -> Option<StoredMeeting> {
    let found = bench.other.meeting(&was.key, &was.external_id).await;
    found.unwrap()
}

fn of(user: &str) -> MeetingFilter {
    MeetingFilter {
        user: UserId::parse(user).unwrap(),
        provider: None,
        from: None,
        until: None,
    }
}

/// The ids of all that `filter` lets through, by pages of two.
async fn walk(bench: &Whole, filter: &MeetingFilter) -> Vec<String> {
    let mut seen: Vec<StoredMeeting> = Vec::new();
    loop {
        let after = seen.last().map(|last| MeetingCursor {
            starts_at: last.starts_at,
            provider: last.key.provider.clone(),
            external_id: last.external_id.clone(),
        });
        let page = bench.other.meetings(filter, after.as_ref(), 2).await;
        let page = page.unwrap();
        assert!(page.len() <= 2);
        if page.is_empty() {
            return seen.into_iter().map(|m| m.external_id).collect();
        }
        seen.extend(page);
    }
}

pub(crate) async fn a_meeting_reads_back_as_it_was(bench: &Whole) {
    let mut asked = meeting(&calendly("anna"), "https://e/1?ü=\"%'", 3);
    asked.status = "no-show".to_owned();
    assert_eq!(read(bench, &asked).await, None);
    assert_eq!(write(bench, &asked).await, Upserted::Created);
    assert_eq!(read(bench, &asked).await, Some(asked.clone()));
    let listed = bench.other.meetings(&of("anna"), None, 9).await.unwrap();
    assert_eq!(listed, [asked]);
}

pub(crate) async fn the_same_twice_changes_nothing(bench: &Whole) {
    let first = meeting(&calendly("anna"), "1", 1);
    assert_eq!(write(bench, &first).await, Upserted::Created);
    // Sealed anew, it looks like another.
    let again = later(&first, 0, false);
    assert_eq!(write(bench, &again).await, Upserted::Stands);
    assert_eq!(read(bench, &first).await, Some(first.clone()));
    let over = later(&first, 1, true);
    assert_eq!(write(bench, &over).await, Upserted::Changed);
    assert_eq!(write(bench, &over).await, Upserted::Stands);
}

pub(crate) async fn what_is_newer_stands_in_whichever_order_it_comes(bench: &Whole) {
    let first = meeting(&calendly("anna"), "1", 1);
    let mut newer = later(&first, 2, false);
    (newer.starts_at, newer.ends_at) = (at(5), at(6));
    newer.status = "confirmed".to_owned();
    assert_eq!(write(bench, &first).await, Upserted::Created);
    assert_eq!(write(bench, &newer).await, Upserted::Changed);
    assert_eq!(read(bench, &first).await, Some(newer.clone()));
    assert_eq!(
        write(bench, &later(&first, 1, false)).await,
        Upserted::Stands
    );
    assert_eq!(write(bench, &first).await, Upserted::Stands);
    assert_eq!(read(bench, &first).await, Some(newer));
    assert_eq!(walk(bench, &of("anna")).await, ["1"]);
}

pub(crate) async fn a_late_created_does_not_bring_back_a_canceled_meeting(bench: &Whole) {
    let created = meeting(&calendly("anna"), "1", 1);
    let canceled = later(&created, 5, true);
    assert_eq!(write(bench, &canceled).await, Upserted::Created);
    for seconds in [0, 5, 6, 1000] {
        let late = later(&created, seconds, false);
        assert_eq!(write(bench, &late).await, Upserted::Stands, "{seconds}");
    }
    assert_eq!(read(bench, &created).await, Some(canceled));
}

pub(crate) async fn what_is_over_stands_whatever_its_time(bench: &Whole) {
    for (n, seconds) in [0, 5, 10, 15].into_iter().enumerate() {
        let first = meeting(&calendly("anna"), &n.to_string(), 1);
        assert_eq!(
            write(bench, &later(&first, 10, false)).await,
            Upserted::Created
        );
        let canceled = later(&first, seconds, true);
        assert_eq!(
            write(bench, &canceled).await,
            Upserted::Changed,
            "{seconds}"
        );
        assert_eq!(read(bench, &first).await, Some(canceled));
    }
}

pub(crate) async fn of_two_that_are_over_the_newer_one_stands(bench: &Whole) {
    let first = meeting(&calendly("anna"), "1", 1);
    let (old, new) = (later(&first, 1, true), later(&first, 2, true));
    assert_eq!(write(bench, &old).await, Upserted::Created);
    assert_eq!(write(bench, &new).await, Upserted::Changed);
    assert_eq!(write(bench, &old).await, Upserted::Stands);
    assert_eq!(read(bench, &first).await, Some(new));
}

pub(crate) async fn a_batch_of_meetings_answers_in_its_order(bench: &Whole) {
    let anna = calendly("anna");
    let (one, two) = (meeting(&anna, "1", 1), meeting(&anna, "2", 2));
    write(bench, &one).await;
    let batch = vec![
        meeting(&anna, "3", 3),
        later(&one, 5, false),
        two.clone(),
        later(&one, 9, true),
        later(&two, 0, false),
        later(&one, 20, false),
    ];
    let expected = [
        Upserted::Created,
        Upserted::Changed,
        Upserted::Created,
        Upserted::Changed,
        Upserted::Stands,
        Upserted::Stands,
    ];
    let done = bench.store.upsert_meetings(batch).await.unwrap();
    assert_eq!(done, expected);
    assert_eq!(read(bench, &one).await, Some(later(&one, 9, true)));
    assert_eq!(read(bench, &two).await, Some(two));
    let nothing = bench.store.upsert_meetings(Vec::new()).await.unwrap();
    assert!(nothing.is_empty());
}

pub(crate) async fn of_many_who_write_one_meeting_the_newest_stands(bench: &Whole) {
    let first = meeting(&calendly("anna"), "1", 1);
    let written = join_all((0..20).map(async |n| {
        let store = if n % 2 == 0 {
            &bench.store
        } else {
            &bench.other
        };
        let mine = later(&first, (n * 7) % 20, false);
        store.upsert_meetings(vec![mine]).await.unwrap()[0]
    }))
    .await;
    let created = written.iter().filter(|u| **u == Upserted::Created);
    assert_eq!(created.count(), 1, "{written:?}");
    assert_eq!(read(bench, &first).await, Some(later(&first, 19, false)));
}

pub(crate) async fn users_who_share_a_meeting_have_it_each(bench: &Whole) {
    let keys = [calendly("anna"), calendly("Anna"), key("calcom", "anna")];
    for key in &keys {
        assert_eq!(write(bench, &meeting(key, "1", 1)).await, Upserted::Created);
    }
    let canceled = later(&meeting(&keys[0], "1", 1), 1, true);
    assert_eq!(write(bench, &canceled).await, Upserted::Changed);
    for key in &keys[1..] {
        let own = meeting(key, "1", 1);
        assert_eq!(read(bench, &own).await, Some(own));
    }
    assert_eq!(walk(bench, &of("anna")).await, ["1", "1"]);
    assert_eq!(walk(bench, &of("Anna")).await, ["1"]);
    assert!(walk(bench, &of("ann")).await.is_empty());
}

pub(crate) async fn meetings_are_listed_by_begin_provider_and_id(bench: &Whole) {
    let (cal, calendly) = (key("calcom", "anna"), calendly("anna"));
    for (key, id, hours) in [
        (&calendly, "b", 2),
        (&calendly, "z", 1),
        (&cal, "c", 2),
        (&calendly, "B", 2),
        (&calendly, "a", 3),
        (&cal, "d", 2),
    ] {
        write(bench, &meeting(key, id, hours)).await;
    }
    assert_eq!(
        walk(bench, &of("anna")).await,
        ["z", "c", "d", "B", "b", "a"]
    );
    let none = bench.store.meetings(&of("anna"), None, 0).await;
    assert!(none.unwrap().is_empty());
}

pub(crate) async fn meetings_are_filtered_by_provider_and_time(bench: &Whole) {
    let (cal, calendly) = (key("calcom", "anna"), calendly("anna"));
    for (key, id, hours) in [
        (&cal, "1", 1),
        (&calendly, "2", 2),
        (&cal, "3", 3),
        (&cal, "4", 4),
    ] {
        write(bench, &meeting(key, id, hours)).await;
    }
    let mut long = meeting(&calendly, "0", 0);
    long.ends_at = at(9);
    write(bench, &long).await;
    let filter = |provider: Option<&str>, from, until| MeetingFilter {
        provider: provider.map(|name| ProviderName::parse(name).unwrap()),
        from,
        until,
        ..of("anna")
    };
    let end_of_two = at(2).saturating_add(HOUR / 2);
    let before = |time: Timestamp| Some(time.saturating_sub(Duration::from_millis(1)));
    let after = |time: Timestamp| Some(time.saturating_add(Duration::from_millis(1)));
    let cases: [(MeetingFilter, &[&str]); 8] = [
        (filter(Some("calcom"), None, None), &["1", "3", "4"]),
        (filter(None, Some(end_of_two), None), &["0", "3", "4"]),
        (
            filter(None, before(end_of_two), None),
            &["0", "2", "3", "4"],
        ),
        (filter(None, None, Some(at(3))), &["0", "1", "2"]),
        (filter(None, None, after(at(3))), &["0", "1", "2", "3"]),
        (filter(None, Some(at(2)), Some(at(3))), &["0", "2"]),
        (filter(Some("calcom"), Some(at(2)), Some(at(4))), &["3"]),
        (filter(Some("calcom-eu"), None, None), &[]),
    ];
    for (filter, expected) in cases {
        assert_eq!(walk(bench, &filter).await, expected, "{filter:?}");
    }
}

pub(crate) async fn forgetting_a_connections_meetings_leaves_those_of_others(bench: &Whole) {
    let keys = [calendly("anna"), calendly("ann"), key("calcom", "anna")];
    for key in &keys {
        for id in ["1", "2", "3"] {
            write(bench, &meeting(key, id, 1)).await;
        }
    }
    assert_eq!(bench.store.forget_meetings(&keys[0]).await.unwrap(), 3);
    assert_eq!(bench.store.forget_meetings(&keys[0]).await.unwrap(), 0);
    let gone = meeting(&keys[0], "1", 1);
    assert_eq!(read(bench, &gone).await, None);
    assert_eq!(walk(bench, &of("anna")).await, ["1", "2", "3"]);
    assert_eq!(walk(bench, &of("ann")).await, ["1", "2", "3"]);
    assert_eq!(write(bench, &gone).await, Upserted::Created);
}

pub(crate) async fn meetings_that_ended_long_ago_are_pruned(bench: &Whole) {
    for hours in 0..6 {
        write(
            bench,
            &meeting(&calendly("anna"), &hours.to_string(), hours),
        )
        .await;
    }
    let ended = at(4).saturating_add(HOUR / 2);
    assert_eq!(bench.store.prune_meetings(START, 9).await.unwrap(), 0);
    assert_eq!(bench.store.prune_meetings(ended, 3).await.unwrap(), 3);
    assert_eq!(bench.other.prune_meetings(ended, 3).await.unwrap(), 1);
    assert_eq!(walk(bench, &of("anna")).await, ["4", "5"]);
    assert_eq!(bench.store.prune_meetings(ended, 3).await.unwrap(), 0);
}
