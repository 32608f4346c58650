//! When to look for work that nobody told of: deliveries and jobs that fall due, or that a process left
//! which died.
//!
//! 1. Whoever makes work does it, without being looked for. So looking is for what is left, and it is
//!    enough that one process does it for all that share the store.
//! 2. That one has the [`Duty`] to, and looks every [`LOOK_EVERY`]. The others ask for the duty when its
//!    turn would end, and not before: whoever dies is relieved within [`TURN`] and [`JITTER`].
//! 3. They look too, [`SELDOM`]. Who finds as much as it can do looks again at once, so that much work is
//!    shared by many; and where the duty cannot be had, nothing is left for ever.
//! 4. Looking spares the store and protects nothing: what is found is claimed.
//!
//! A store that is a file on one machine is looked at by each process ([`Lookout::alone`]): that costs a
//! read, and a duty would cost writes.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

use super::{Duty, DutyKind, Post, SharedStore, Turn};
use crate::base::{ids::OwnerId, lifecycle::Lifecycle, random::SharedRandom};

/// How often work is looked for.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// How often, at least, those look whose duty it is not.
const SELDOM: Duration = Duration::from_mins(1);

/// For how long nobody looks if the one who did dies. Two looks long, so that one may fail.
const TURN: Duration = Duration::from_secs(10);

/// Those who ask for the duty do not ask together.
const JITTER: Duration = Duration::from_secs(3);

/// How long a process that goes down waits for its duty to be taken back.
const PARTING: Duration = Duration::from_secs(1);

/// Tells workers when to look. Each has a clone of its own.
#[derive(Clone, Debug)]
pub struct Lookout {
    rounds: watch::Receiver<u64>,
    seldom: Duration,
    random: SharedRandom,
}

/// Whoever looks for all, or would.
struct Watchman {
    post: Post,
    rounds: watch::Sender<u64>,
    random: SharedRandom,
}

// === impl Lookout ===

impl Lookout {
    /// With others on `store` who do the work of the same `kind`: what one of them finds, any may do.
    pub fn shared(
        store: SharedStore,
        kind: DutyKind,
        random: &SharedRandom,
        lifecycle: &Lifecycle,
    ) -> Self {
        let (rounds, seen) = watch::channel(0);
        let owner = OwnerId::random(&**random);
        let watchman = Watchman {
            post: Post::new(store, Duty::of(kind), owner, TURN),
            rounds,
            random: Arc::clone(random),
        };
        drop(lifecycle.spawn(watchman.watch(lifecycle.draining())));
        Self {
            rounds: seen,
            seldom: SELDOM,
            random: Arc::clone(random),
        }
    }

    /// Without regard to others.
    pub fn alone(random: &SharedRandom) -> Self {
        Self {
            rounds: watch::channel(0).1,
            seldom: LOOK_EVERY,
            random: Arc::clone(random),
        }
    }

    /// Waits until it is time to look. Cancel safe.
    pub async fn wait(&mut self) {
        // Spread, so that the workers of many processes do not look together.
        let seldom = self.seldom / 2 + self.random.up_to(self.seldom / 2);
        let told = async {
            if self.rounds.changed().await.is_err() {
                // Nobody looks for all any more.
                std::future::pending::<()>().await;
            }
        };
        let _told = timeout(seldom, told).await;
    }
}

// === impl Watchman ===

impl Watchman {
    async fn watch(mut self, draining: impl Future<Output = ()>) {
        tokio::select! {
            () = draining => {}
            () = self.look_for_ever() => {}
        }
        // Whoever asks next gets it at once. If this fails, at the end of the turn.
        let _late = timeout(PARTING, self.post.leave()).await;
    }

    async fn look_for_ever(&mut self) {
        // Sidecars that start together must not ask together.
        sleep(self.random.up_to(JITTER)).await;
        loop {
            let pause = match self.post.take().await {
                Ok(Turn::Mine) => {
                    self.rounds
                        .send_modify(|round| *round = round.wrapping_add(1));
                    LOOK_EVERY
                }
                Ok(Turn::Anothers(left)) => left.min(TURN) + self.random.up_to(JITTER),
                // Told of by the workers, who ask the same store.
                Err(_) => LOOK_EVERY + self.random.up_to(JITTER),
            };
            sleep(pause).await;
        }
    }
}
