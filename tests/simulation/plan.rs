//! A schedule: what the world is like, and what befalls it when. All of it follows from the seed.

use std::time::Duration;

use crate::dice::Dice;

/// How a provider treats the tokens that it has issued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rotation {
    /// Calendly: each refresh token once; the access token of the old pair lives on.
    Single,
    /// Calendly, as it may be: the access token of the old pair dies too.
    SingleStrict,
    /// Cal.com's first lineage: refresh tokens work until they end.
    Reusable,
    /// Cal.com's second lineage: a refresh kills every other refresh token of the user.
    KillsOthers,
    /// Cal.com's managed users: each refresh token once, and a call that mints anew and kills the rest.
    Managed,
}

/// The world of one seed.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) rotation: Rotation,
    pub(crate) sidecars: usize,
    pub(crate) users: usize,
    /// Of an access token.
    pub(crate) lifetime: Duration,
    /// How long a token call may take.
    pub(crate) timeout: Duration,
    /// Between the requests of one sidecar, on average.
    pub(crate) pace: Duration,
    /// Lost messages to and from the store, in a thousand.
    pub(crate) store_loss: u64,
    /// Answers of the store that are late, in a thousand.
    pub(crate) store_lag: u64,
    /// Token calls that go wrong, in a thousand.
    pub(crate) provider_loss: u64,
    /// How often a process stands still or dies between two steps of a renewal, in a thousand.
    pub(crate) strikes: u64,
    pub(crate) keep_alive: Duration,
    /// How many token calls a minute the provider takes from everybody together, if it says so.
    pub(crate) per_minute: Option<u32>,
    pub(crate) events: Vec<(Duration, Event)>,
}

/// What befalls the world.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Event {
    /// A process dies, and another takes its place.
    Crash {
        slot: usize,
        down: Duration,
        keeps_spool: bool,
    },
    /// A process stands still.
    Pause { slot: usize, long: Duration },
    /// A process and the store do not reach each other.
    Cut { slot: usize, long: Duration },
    /// Nobody reaches the store.
    StoreDown { long: Duration },
    /// A replica takes over, without the last writes.
    Failover { lost: usize, down: Duration },
    /// The clock of a sidecar, or of the store, jumps.
    Jump { slot: Option<usize>, millis: i64 },
    /// The provider answers 503, or not at all.
    ProviderDown { long: Duration },
    /// Nobody hears of changes.
    Deaf { long: Duration },
    /// The user connects, again or for the first time.
    Connect { slot: usize, user: usize },
    /// The user disconnects.
    Disconnect { slot: usize, user: usize },
    /// Somebody asks for new tokens.
    Refresh {
        slot: usize,
        user: usize,
        force: bool,
    },
}

/// For how long things go wrong.
pub(crate) const TROUBLE: Duration = Duration::from_mins(12);

impl Plan {
    pub(crate) fn of(seed: u64) -> Self {
        let dice = Dice::new(seed ^ 0x5eed_5eed);
        let rotation = dice.pick(&[
            Rotation::Single,
            Rotation::SingleStrict,
            Rotation::Single,
            Rotation::Reusable,
            Rotation::KillsOthers,
            Rotation::Managed,
        ]);
        let (sidecars, users) = (dice.below(5) + 2, dice.below(3) + 1);
        let events = (0..dice.between(3, 14))
            .map(|_| {
                let at = dice.millis(0, u64::try_from(TROUBLE.as_millis()).unwrap());
                (at, event(&dice, sidecars, users))
            })
            .collect();
        let mut plan = Self {
            seed,
            rotation,
            sidecars,
            users,
            lifetime: Duration::from_secs(dice.pick(&[60, 120, 300, 900])),
            timeout: Duration::from_secs(dice.pick(&[10, 10, 90])),
            pace: Duration::from_secs(dice.pick(&[6, 12, 30])),
            store_loss: dice.pick(&[0, 0, 10, 50]),
            provider_loss: dice.pick(&[0, 50, 200]),
            strikes: dice.pick(&[0, 0, 15, 40]),
            keep_alive: Duration::from_mins(dice.pick(&[4, 10_000])),
            store_lag: dice.pick(&[0, 20, 100]),
            // Of dice of its own: the rest of a seed's schedule is as it was before there were queues.
            per_minute: Dice::new(seed ^ 0x000c_a11a_b1e5).pick(&[None, Some(60)]),
            events,
        };
        plan.events.sort_by_key(|(at, _)| *at);
        plan
    }

    /// The same, and over and over a store that goes back while it is being renewed what is lost by that, and
    /// a user who connects again.
    pub(crate) fn going_back(seed: u64) -> Self {
        let mut plan = Self::of(seed);
        let dice = Dice::new(seed ^ 0x0bac_0bac);
        for turn in 1..=TURNS {
            let (slot, user) = (dice.below(plan.sidecars), dice.below(plan.users));
            let begins = TROUBLE * turn / (TURNS + 1);
            let asked = Event::Refresh {
                slot,
                user,
                force: false,
            };
            let lost = Event::Failover {
                lost: 1,
                down: Duration::ZERO,
            };
            let again = dice.millis(400, 2500);
            let back = again + dice.millis(20, 400);
            plan.events.extend([
                (begins, asked),
                (begins + again, asked),
                (begins + back, lost),
                (begins + back, Event::Connect { slot, user }),
            ]);
        }
        plan.events.sort_by_key(|(at, _)| *at);
        plan
    }
}

/// How often a store goes back, where it does.
const TURNS: u32 = 12;

fn event(dice: &Dice, sidecars: usize, users: usize) -> Event {
    let (slot, user) = (dice.below(sidecars), dice.below(users));
    match dice.below(22) {
        0..=3 => Event::Crash {
            slot,
            down: dice.secs(0, 40),
            keeps_spool: !dice.in_thousand(250),
        },
        4..=6 => Event::Pause {
            slot,
            long: dice.secs(1, 90),
        },
        7..=9 => Event::Cut {
            slot,
            long: dice.secs(1, 120),
        },
        10 => Event::StoreDown {
            long: dice.secs(1, 180),
        },
        11 => Event::Failover {
            lost: dice.below(4),
            down: dice.secs(0, 10),
        },
        12 | 13 => Event::Jump {
            slot: [None, Some(slot)][dice.below(2)],
            millis: i64::try_from(dice.between(0, 1_200_000)).unwrap() - 600_000,
        },
        14 => Event::ProviderDown {
            long: dice.secs(10, 240),
        },
        15 => Event::Deaf {
            long: dice.secs(10, 300),
        },
        16 | 17 => Event::Connect { slot, user },
        18 => Event::Disconnect { slot, user },
        _ => Event::Refresh {
            slot,
            user,
            force: dice.in_thousand(500),
        },
    }
}
