//! SIGKILL between every two steps of taking and delivering a webhook, on every store: nothing is lost,
//! nothing reaches somebody else, and what comes twice comes with the same id.
//!
//! One sidecar takes the webhook and is held at the step. A second one is started on the same store; then
//! the first is killed. The provider goes on as providers do: what it was not answered it sends again.

use std::ops::RangeInclusive;

use daypass::{base::steps::Step, sandbox::NewUser};
use tokio::task::LocalSet;

use crate::{
    app::Answer,
    sidecar::until,
    stage::{CALENDLY, Stage},
    stores::On,
};

/// Where the first sidecar is killed.
#[derive(Clone, Copy, Debug)]
enum Point {
    At(Step),
    /// The app has it, and has not answered.
    AppThinks,
}

// === impl Point ===

impl Point {
    fn all() -> impl Iterator<Item = Self> {
        Step::ALL.into_iter().map(Self::At).chain([Self::AppThinks])
    }

    /// Whether the provider has its 2xx by then, or has been promised nothing.
    const fn is_acknowledged(self) -> bool {
        match self {
            Self::At(step) => !matches!(
                step,
                Step::Found
                    | Step::Read
                    | Step::Proven
                    | Step::Routed
                    | Step::Stored
                    | Step::Judged
            ),
            Self::AppThinks => true,
        }
    }

    /// How often the event may come to the app in the end.
    const fn copies(self) -> RangeInclusive<usize> {
        match self {
            Self::At(step) => match step {
                // The app has it, and the store has not heard so.
                Step::Answered => 2..=2,
                // Delivery goes on beside these steps, and may be at any of its own.
                Step::Stored | Step::Judged | Step::Enriching | Step::Fetched | Step::Enriched => {
                    1..=2
                }
                _ => 1..=1,
            },
            Self::AppThinks => 2..=2,
        }
    }
}

async fn killed_at(point: Point, on: On) {
    // Of its own it tells nothing that happens here, so that what is held is what the provider sent.
    let stage = Stage::open(on, &["app.events=connection.needs_reauth"]).await;
    let first = stage.holdable("first").await;
    stage.front.lead_to(&[&first.sidecar.ingress]);
    for (user, name) in [("A", "anna"), ("B", "ben")] {
        stage.connect(&first.sidecar, CALENDLY, user, name).await;
    }
    stage.until_subscribed(&[&first.sidecar], 2).await;
    // One that is settled for good, so that nothing of it is held below.
    first.hold_at(Step::Settled);
    stage.book_and_wait(CALENDLY, "anna", &["A"]).await;
    first.until_held_at(Step::Settled, 1).await;

    let before = stage.acknowledged(CALENDLY);
    let held = match point {
        Point::At(step) => {
            let held = first.held_at(step);
            first.hold_at(step);
            held
        }
        Point::AppThinks => {
            first.let_go();
            stage.app.answers([Answer::Held]);
            0
        }
    };
    let struck = stage.book(CALENDLY, "anna", &["A"]);
    match point {
        Point::At(step) => first.until_held_at(step, held + 1).await,
        Point::AppThinks => {
            until("the app has it", async || {
                (stage.copies(&struck, "A") > 0).then_some(())
            })
            .await;
        }
    }
    if point.is_acknowledged() {
        stage.until_acknowledged(CALENDLY, before + 1).await;
    }
    let second = stage.world.sidecar().await;
    let acknowledged = stage.acknowledged(CALENDLY) > before;
    assert_eq!(acknowledged, point.is_acknowledged(), "{point:?}");
    stage.front.lead_to(&[&second.ingress]);
    first.sidecar.kill().await;

    stage.until_acknowledged(CALENDLY, before + 1).await;
    stage.book_and_wait(CALENDLY, "anna", &["A"]).await;
    stage.book_and_wait(CALENDLY, "ben", &["B"]).await;
    stage.judge().await;
    let copies = stage.copies(&struck, "A");
    let expected = point.copies();
    assert!(expected.contains(&copies), "{point:?}: came {copies} times");
}

/// All points at once: most of the time is spent waiting for the claims of the dead.
#[expect(
    clippy::future_not_send,
    reason = "each point is a task of this thread"
)]
async fn killed_everywhere(on: On) {
    let together = LocalSet::new();
    let running: Vec<_> = Point::all()
        .map(|point| (point, together.spawn_local(Box::pin(killed_at(point, on)))))
        .collect();
    let judging = async {
        let mut failed = Vec::new();
        for (point, run) in running {
            if run.await.is_err() {
                failed.push(point);
            }
        }
        failed
    };
    let failed = together.run_until(judging).await;
    assert!(failed.is_empty(), "killed at {failed:?}, on {on:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_between_any_two_steps_no_event_is_lost_on_sqlite() {
    killed_everywhere(On::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_between_any_two_steps_no_event_is_lost_on_postgres() {
    killed_everywhere(On::Postgres).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_between_any_two_steps_no_event_is_lost_on_redis() {
    killed_everywhere(On::Redis).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_whose_user_connects_while_it_is_taken_in_reaches_them() {
    let stage = Stage::open(
        On::Sqlite,
        &["providers.calendly.webhook_scope=organization"],
    )
    .await;
    let (first, second) = (stage.holdable("first").await, stage.world.sidecar().await);
    stage.front.lead_to(&[&first.sidecar.ingress]);
    stage.connect(&first.sidecar, CALENDLY, "A", "anna").await;
    let colleague = NewUser {
        colleague_of: Some("anna".to_owned()),
        free_plan: true,
        ..NewUser::named("ben")
    };
    let calendly = stage.world.sandbox.calendly();
    calendly.create_user(&colleague).unwrap();
    stage.until_subscribed(&[&first.sidecar, &second], 1).await;
    first.hold_at(Step::Routed);
    stage.book(CALENDLY, "ben", &["B"]);
    first.until_held_at(Step::Routed, 1).await;
    stage.front.lead_to(&[&second.ingress]);
    stage.connect(&second, CALENDLY, "B", "ben").await;
    first.let_go();
    stage.judge().await;
}
