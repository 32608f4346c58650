//! A user's meetings.

use daypass::sandbox::BookingOrder;
use serde_json::Value;

use crate::world::{World, path};

#[tokio::test]
async fn a_users_meetings_are_read_in_pages_and_nobody_elses() {
    let world = World::open().await;
    let created = world.connected("anna").await;
    world.connected("ben").await;
    for day in 1..=5 {
        let start = created.access_expires_at;
        let start = start.saturating_add(std::time::Duration::from_hours(24 * day));
        let order = BookingOrder {
            start: Some(start),
            ..BookingOrder::create("anna")
        };
        world.sandbox.calendly().book(&order).unwrap();
    }
    let at = path("calendly", "anna");
    world.order(&format!("{at}/sync")).await.must_be(202);
    world
        .until(&at, "five meetings", |seen| {
            seen["sync"]["stage"] == "done" && seen["sync"]["meetings"] == 5
        })
        .await;
    for limit in [1, 2, 5, 6] {
        let (items, pages) = world.all("/v1/meetings?user=anna", limit).await;
        assert_eq!((items.len(), pages), (5, 5_usize.div_ceil(limit)));
        let starts: Vec<_> = items
            .iter()
            .map(|item| item["start"].as_str().unwrap())
            .collect();
        assert!(starts.is_sorted(), "{starts:?}");
    }
    let (items, _) = world.all("/v1/meetings?user=anna", 200).await;
    let first = &items[0];
    assert_eq!(
        (&first["user"], &first["status"]),
        (&"anna".into(), &"confirmed".into())
    );
    assert!(first["external_id"].is_string() && first["raw"].is_object());
    let third = items[2]["start"].as_str().unwrap();
    let count = async |query: &str| {
        let found = world
            .all(&format!("/v1/meetings?user=anna&{query}"), 200)
            .await;
        found.0.len()
    };
    assert_eq!(count(&format!("until={third}")).await, 2);
    assert_eq!(count(&format!("from={third}")).await, 3);
    assert_eq!(count("provider=calendly").await, 5);
    assert_eq!(count("provider=calcom").await, 0);
    for user in ["ben", "nobody"] {
        let (items, _) = world.all(&format!("/v1/meetings?user={user}"), 10).await;
        assert_eq!(items, Vec::<Value>::new());
    }
}
