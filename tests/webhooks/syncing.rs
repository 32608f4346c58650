//! Background sync: all pages, whole, within the provider's limits, from where it was, and again for
//! what webhooks have missed.

use std::{collections::BTreeSet, time::Duration};

use daypass::{
    base::clock::Clock as _,
    meeting::Stage as Reached,
    sandbox::{Action, ApiFault, ApiMischief, BookingOrder, Entry},
    store::{JobKind, Jobs},
};

use crate::{
    rooms::Rooms,
    stage::{BOTH, Stage, key, meeting_id, until},
};

const LISTS: [(&str, &str); 2] = [
    ("calendly", "/scheduled_events?"),
    ("calcom", "/v2/bookings?"),
];

/// More than a page; fewer at Calendly, where each is read by itself.
const MANY: [(&str, u64); 2] = [("calendly", 110), ("calcom", 210)];

fn lists(stage: &Stage, provider: &str) -> Vec<Entry> {
    let (_, path) = LISTS.iter().find(|(name, _)| *name == provider).unwrap();
    stage.requests(provider, "GET", path)
}

/// Every meeting of `anna` has the guest who booked it.
async fn assert_whole(rooms: &Rooms, count: u64) {
    let meetings = rooms.meetings("anna").await;
    assert_eq!(meetings.len() as u64, count);
    let guests: BTreeSet<String> = meetings
        .iter()
        .flat_map(|meeting| &meeting.details.attendees)
        .filter_map(|guest| guest.email.clone())
        .collect();
    let expected = (1..=count).map(|hour| format!("guest-{hour}@x.test"));
    assert_eq!(guests, expected.collect());
}

#[tokio::test]
async fn all_pages_are_read_and_every_meeting_whole() {
    for (provider, count) in MANY {
        let stage = Stage::open().await;
        let (rooms, anna) = (stage.sidecar(), key(provider, "anna"));
        stage.connect(provider, "anna").await;
        stage.fill(provider, "anna", count);
        rooms.read_all(&anna).await;
        assert_whole(&rooms, count).await;
        assert!(lists(&stage, provider).len() >= 2, "{provider}");
        assert_eq!(*rooms.synced.lock(), [count], "{provider}");
        let progress = rooms.sync.progress(&anna).await.unwrap().unwrap();
        // A list that goes on from the last change tells those of that moment twice.
        assert!(progress.meetings >= count, "{provider}: {progress:?}");
        assert_eq!(progress.last_error, None);
        // Reading again changes nothing, and asks for no meeting that has not changed.
        let before = stage.requests(provider, "GET", "/").len();
        rooms.read_all(&anna).await;
        assert_eq!(*rooms.synced.lock(), [count, 0], "{provider}");
        let pages = stage.requests(provider, "GET", "/").len() - before;
        assert!(pages <= 5, "{provider}: {pages}");
    }
}

/// Older servers know no filter by change, and their totals are wrong anyway.
#[tokio::test]
async fn a_server_that_is_read_by_take_and_skip_is_read_to_its_end() {
    let stage = Stage::open().await;
    stage.set("calcom", |switches| switches.calcom.old_server = true);
    let (rooms, anna) = (stage.sidecar(), key("calcom", "anna"));
    stage.connect("calcom", "anna").await;
    stage.fill("calcom", "anna", 110);
    rooms.read_all(&anna).await;
    assert_whole(&rooms, 110).await;
    let skips = lists(&stage, "calcom");
    assert!(
        skips.iter().any(|entry| entry.path.contains("skip=100")),
        "{skips:?}"
    );
}

#[tokio::test]
async fn a_sync_whose_process_died_goes_on_at_the_page_it_had_reached() {
    for (provider, count) in MANY {
        let stage = Stage::open().await;
        let (first, anna) = (stage.sidecar(), key(provider, "anna"));
        stage.connect(provider, "anna").await;
        stage.fill(provider, "anna", count);
        stage.set(provider, |switches| switches.api_latency_ms = 4);
        first.sync.ask_for(&anna).await.unwrap();
        until("a page is read", async || {
            let progress = first.sync.progress(&anna).await.unwrap();
            progress.filter(|progress| progress.pages == 1)
        })
        .await;
        drop(first);
        let lists_before = lists(&stage, provider);
        let beginning = lists_before[0].path.clone();
        stage.set(provider, |switches| switches.api_latency_ms = 0);
        let second = stage.sidecar();
        // The dead one's claim runs out.
        stage.clock.advance(Duration::from_mins(3));
        second.ring().await;
        second.until_synced(1).await;
        assert_whole(&second, count).await;
        let after = lists(&stage, provider).split_off(lists_before.len());
        assert!(after.len() <= 5, "{provider}: {after:?}");
        assert!(
            after.iter().all(|entry| entry.path != beginning),
            "{provider} was asked from the beginning"
        );
    }
}

#[tokio::test]
async fn enough_calls_are_left_to_the_app_whatever_there_is_to_read() {
    for (provider, limit, count) in [("calendly", 50_u32, 45), ("calcom", 21, 210)] {
        let stage = Stage::open().await;
        let (rooms, anna) = (stage.sidecar(), key(provider, "anna"));
        stage.connect(provider, "anna").await;
        stage.fill(provider, "anna", count);
        stage.set(provider, |switches| switches.api_per_minute = limit);
        rooms.sync.ask_for(&anna).await.unwrap();
        let mut minutes = 0;
        while rooms.synced.lock().is_empty() {
            let before = stage.requests(provider, "GET", "/").len();
            until("it rests", async || {
                if !rooms.synced.lock().is_empty() {
                    return Some(());
                }
                let job = stage
                    .store
                    .job(JobKind::Sync, &anna)
                    .await
                    .unwrap()
                    .unwrap();
                let now = stage.clock.now();
                (job.owner.is_none() && job.due_at.is_some_and(|due| due > now)).then_some(())
            })
            .await;
            let used = stage.requests(provider, "GET", "/").len() - before;
            assert!(
                used + 18 <= usize::try_from(limit).unwrap(),
                "{provider}: {used} of {limit} in a minute"
            );
            minutes += 1;
            assert!(minutes < 60, "{provider}: it never ends");
            stage.clock.advance(Duration::from_secs(61));
            rooms.ring().await;
        }
        assert_whole(&rooms, count).await;
        let refused = stage.requests(provider, "GET", "/");
        assert!(refused.iter().all(|entry| entry.status != 429));
    }
}

#[tokio::test]
async fn a_provider_that_says_wait_is_waited_for_and_nothing_is_skipped() {
    for (provider, path) in LISTS {
        let stage = Stage::open().await;
        let (rooms, anna) = (stage.sidecar(), key(provider, "anna"));
        stage.connect(provider, "anna").await;
        stage.fill(provider, "anna", 30);
        // In the midst of a page, at Calendly.
        let what = ApiMischief::RateLimited {
            retry_after: Some("90".to_owned()),
        };
        let path = path.trim_end_matches('?').to_owned();
        let only = |path| ApiFault {
            times: Some(1),
            user: None,
            path: Some(path),
            what: what.clone(),
        };
        let details = format!("{path}/");
        stage.fault(
            provider,
            only(if provider == "calendly" {
                details
            } else {
                path
            }),
        );
        rooms.sync.ask_for(&anna).await.unwrap();
        let failed = until("it is told to wait", async || {
            let progress = rooms.sync.progress(&anna).await.unwrap();
            progress
                .filter(|progress| progress.stage == Reached::Failed && progress.next_at.is_some())
        })
        .await;
        let wait = failed.next_at.unwrap().saturating_since(stage.clock.now());
        assert_eq!(wait, Duration::from_secs(90), "{provider}");
        assert!(failed.last_error.is_some());
        stage.clock.advance(wait);
        rooms.ring().await;
        rooms.until_synced(1).await;
        assert_eq!(*rooms.synced.lock(), [30], "{provider}");
        assert_whole(&rooms, 30).await;
    }
}

#[tokio::test]
async fn what_webhooks_have_missed_is_found_from_time_to_time() {
    for provider in BOTH {
        let stage = Stage::open().await;
        // There is no subscription: nothing is ever told.
        let (rooms, anna) = (stage.sidecar(), key(provider, "anna"));
        stage.connect(provider, "anna").await;
        let kept = stage.book(provider, &BookingOrder::create("anna"));
        rooms.read_all(&anna).await;
        stage.clock.advance(Duration::from_hours(1));
        let missed = stage.book(provider, &BookingOrder::create("anna"));
        stage.book(provider, &BookingOrder::to(Action::Cancel, &kept.id));
        stage.clock.advance(Duration::from_hours(9));
        rooms.ring().await;
        rooms.until_synced(2).await;
        let mut found: Vec<(String, String)> = rooms
            .meetings("anna")
            .await
            .into_iter()
            .map(|meeting| (meeting.external_id, meeting.status))
            .collect();
        found.sort();
        let mut expected = [
            (meeting_id(&kept), "canceled".to_owned()),
            (meeting_id(&missed), "confirmed".to_owned()),
        ];
        expected.sort();
        assert_eq!(found, expected, "{provider}");
    }
}
