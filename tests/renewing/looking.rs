//! Looking for work that nobody told of, by several processes on one store.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use daypass::{
    base::{
        lifecycle::Lifecycle,
        random::{SeededRandom, SharedRandom},
    },
    store::{DutyKind, Lookout},
};
use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

use crate::world::{World, secs};

const LOOK: DutyKind = DutyKind::new("look");

/// How long nobody looks, at most: less than the fifteen seconds within which the work of the dead is taken
/// over, and more than the nine for which it is claimed.
const RELIEF: Duration = Duration::from_secs(14);

/// A process with one worker, which looks when it is told to and finds nothing.
struct Looker {
    lifecycle: Lifecycle,
    looks: Arc<Mutex<Vec<Instant>>>,
}

impl Looker {
    fn start(world: &World, seed: u64) -> Self {
        let lifecycle = Lifecycle::new();
        let random: SharedRandom = Arc::new(SeededRandom::new(seed));
        let mut lookout = Lookout::shared(Arc::clone(&world.store) as _, LOOK, &random, &lifecycle);
        let looks: Arc<Mutex<Vec<Instant>>> = Arc::default();
        let looked = Arc::clone(&looks);
        lifecycle.spawn_until_drain(async move {
            loop {
                lookout.wait().await;
                looked.lock().push(Instant::now());
            }
        });
        Self { lifecycle, looks }
    }

    fn looks(&self) -> usize {
        self.looks.lock().len()
    }

    /// Waits for its next look.
    async fn looking(&self) {
        let before = self.looks();
        while self.looks() == before {
            sleep(Duration::from_millis(100)).await;
        }
    }
}

fn start(world: &World, count: u64) -> Vec<Looker> {
    (1..=count).map(|seed| Looker::start(world, seed)).collect()
}

#[tokio::test(start_paused = true)]
async fn of_many_sidecars_one_looks_often_and_the_others_ask_little() {
    let world = World::new();
    let lookers = start(&world, 20);
    sleep(secs(600)).await;
    let mut looks: Vec<_> = lookers.iter().map(Looker::looks).collect();
    looks.sort_unstable();
    let most = looks.pop().unwrap();
    assert!((115..=122).contains(&most), "every five seconds: {most}");
    assert!(
        looks.iter().all(|looks| (9..=20).contains(looks)),
        "now and then: {looks:?}"
    );
    let asked = world.store.duties_asked.load(Ordering::SeqCst);
    // The holder takes it every five seconds; of the others, none asks more than once in seven.
    assert!(asked <= 120 + 19 * 600 / 7, "{asked}");
}

#[tokio::test(start_paused = true)]
async fn who_looks_and_dies_is_relieved_before_its_work_has_waited_for_fifteen_seconds() {
    for seed in 0..40 {
        let world = World::new();
        let (first, second) = (
            Looker::start(&world, seed),
            Looker::start(&world, seed + 100),
        );
        sleep(secs(60)).await;
        let (holder, other) = if first.looks() > second.looks() {
            (first, second)
        } else {
            (second, first)
        };
        // The other has looked just now, and would not again for half a minute.
        other.looking().await;
        holder.looking().await;
        holder.lifecycle.stop();
        let died = Instant::now();
        other.looking().await;
        let missed = died.elapsed();
        assert!(missed <= RELIEF, "nobody looked for {missed:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_looks_and_goes_down_in_order_leaves_the_duty_to_whoever_starts() {
    let world = World::new();
    let first = Looker::start(&world, 1);
    first.looking().await;
    first.lifecycle.drain(secs(5)).await;
    let next = Looker::start(&world, 2);
    let began = Instant::now();
    next.looking().await;
    // No more than the spread of those who start.
    assert!(began.elapsed() <= secs(4), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn where_the_duty_cannot_be_had_everybody_looks_now_and_then() {
    let world = World::new();
    world.store.faults.lock().down = true;
    let lookers = start(&world, 3);
    sleep(secs(600)).await;
    for looker in lookers {
        assert!((9..=20).contains(&looker.looks()), "{}", looker.looks());
    }
}

#[tokio::test(start_paused = true)]
async fn who_has_its_store_to_itself_looks_every_few_seconds_and_asks_for_no_duty() {
    let random: SharedRandom = Arc::new(SeededRandom::new(1));
    let mut lookout = Lookout::alone(&random);
    let began = Instant::now();
    for _ in 0..100 {
        lookout.wait().await;
    }
    let each = began.elapsed() / 100;
    assert!((secs(2)..=secs(5)).contains(&each), "{each:?}");
}
