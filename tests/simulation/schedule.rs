//! One schedule from its beginning to its end: requests, faults, healing, and the last look.

use std::{sync::Arc, time::Duration};

use daypass::{
    base::ids::ConnectionKey,
    store::Status,
    token::{Bearer, Error, TokenSource},
};
use tokio::{
    runtime::Builder,
    time::{Instant, sleep, sleep_until, timeout},
};

use crate::{
    ledger::Counts,
    mutant::Mutant,
    plan::{Event, Plan, TROUBLE},
    world::{Had, Running, World},
};

/// What came of one schedule.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    pub(crate) seed: u64,
    pub(crate) hash: u64,
    pub(crate) steps: u64,
    pub(crate) counts: Counts,
    pub(crate) violation: Option<String>,
    pub(crate) lines: Vec<String>,
}

/// No request waits longer, pauses of its process apart.
const BOUND: Duration = Duration::from_mins(10);

/// No two clocks differ by more, unless one has jumped.
const SKEW: Duration = Duration::from_secs(10);

/// Until everything is as it should be, after the last fault: the longest cooldown, and a little.
const RECOVERY: Duration = Duration::from_secs(370);

/// Runs the schedule of `seed`.
pub(crate) fn run(seed: u64, mutant: Option<Mutant>, traced: bool) -> Report {
    let runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut plan = if mutant.is_some_and(Mutant::goes_back) {
            Plan::going_back(seed)
        } else {
            Plan::of(seed)
        };
        if mutant.is_some() {
            plan.strikes = plan.strikes.max(40);
            let long = Duration::from_mins(4);
            plan.events
                .insert(0, (Duration::ZERO, Event::ProviderDown { long }));
        }
        let world = World::new(plan, mutant, traced);
        play(&world).await;
        for slot in 0..world.plan.sidecars {
            world.crash(slot, true);
        }
        let ledger = world.ledger.lock();
        Report {
            seed,
            hash: ledger.hash(),
            steps: ledger.steps(),
            counts: ledger.counts.clone(),
            violation: ledger.violation.clone(),
            lines: ledger.lines().to_vec(),
        }
    })
}

async fn play(world: &Arc<World>) {
    for slot in 0..world.plan.sidecars {
        world.start(slot).await;
    }
    for user in 0..world.plan.users {
        connect(world, 0, user).await;
    }
    for slot in 0..world.plan.sidecars {
        tokio::spawn(requests(Arc::clone(world), slot));
    }
    let started = Instant::now();
    for (at, event) in world.plan.events.clone() {
        sleep_until(started + at).await;
        if world.ledger.lock().violation.is_some() {
            return;
        }
        befall(world, event);
    }
    sleep_until(started + TROUBLE).await;
    recover(world).await;
}

/// Everything works again: what has become of it all.
async fn recover(world: &Arc<World>) {
    world.heal();
    for slot in 0..world.plan.sidecars {
        if world.slots[slot].running.lock().is_none() {
            world.start(slot).await;
        }
    }
    sleep(RECOVERY).await;
    for key in world.keys() {
        look_at(world, &key).await;
    }
}

/// The requests of the app beside one sidecar, for ever.
async fn requests(world: Arc<World>, slot: usize) {
    let dice = &world.dice;
    loop {
        sleep(dice.millis(0, u64::try_from(world.plan.pace.as_millis()).unwrap() * 2)).await;
        world.gate(slot).await;
        let Some(running) = world.slots[slot].running.lock().clone() else {
            continue;
        };
        let user = dice.below(world.plan.users);
        for _ in 0..dice.pick(&[1, 1, 1, 3]) {
            let (world, lifecycle) = (Arc::clone(&world), running.lifecycle.clone());
            let running = running.clone();
            drop(lifecycle.spawn(async move {
                request(&world, &running, user).await;
            }));
        }
    }
}

/// One request of the app: with a token, and once more if that is refused.
async fn request(world: &Arc<World>, running: &Running, user: usize) {
    let key = world.key(user);
    world.ledger.lock().counts.add("requests", 1);
    let outcome = match running.tokens.cached(&key.provider, key.user.as_str()) {
        Some(bearer) => Ok(bearer),
        None => bounded(world, running, running.tokens.bearer(key.clone())).await,
    };
    let reconnects_in_thousand = match &outcome {
        Err(Error::NeedsReauth { .. }) => 100,
        Err(Error::NotConnected { .. }) => 20,
        _ => 0,
    };
    let Some(bearer) = judged(world, running, user, outcome) else {
        if !world.is_healed() && world.dice.in_thousand(reconnects_in_thousand) {
            let slot = running.who.slot;
            by_hand(world, Event::Connect { slot, user });
        }
        return;
    };
    if call_api(world, &bearer).await {
        return;
    }
    world.ledger.lock().counts.add("refused tokens", 1);
    let refused = bearer.generation();
    let newer = bounded(
        world,
        running,
        running.tokens.newer_than(key.clone(), refused),
    )
    .await;
    if let Ok(bearer) = newer {
        whose(world, running, user, &bearer);
        call_api(world, &bearer).await;
    }
}

/// Whether the provider takes the token when the call gets there.
async fn call_api(world: &World, bearer: &Bearer) -> bool {
    sleep(world.dice.millis(1, 300)).await;
    let token = bearer.danger_token();
    world
        .authority
        .lock()
        .admits(token.danger_expose())
        .is_some()
}

/// Invariant 4: every wait ends.
async fn bounded<T>(
    world: &World,
    running: &Running,
    asked: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let Ok(outcome) = timeout(BOUND, asked).await else {
        let what = format!("{:?} let a request wait for {BOUND:?}", running.who);
        world.ledger.lock().violate(what);
        return Err(Error::ShuttingDown);
    };
    world.gate(running.who.slot).await;
    outcome
}

/// Invariant 3, for one token.
fn whose(world: &World, running: &Running, user: usize, bearer: &Bearer) {
    let token = bearer.danger_token();
    if !token.danger_expose().starts_with(&format!("a-u{user}-")) {
        let what = format!("{:?} gives u{user} {}", running.who, token.danger_expose());
        world.ledger.lock().violate(what);
    }
}

/// Invariants 3, 6 and 8.
fn judged(
    world: &World,
    running: &Running,
    user: usize,
    outcome: Result<Arc<Bearer>, Error>,
) -> Option<Arc<Bearer>> {
    let key = world.key(user);
    if outcome.is_ok() && world.knows_removed(running.who.slot, &key) {
        let what = format!("{:?} serves {key}, which was removed", running.who);
        world.ledger.lock().violate(what);
    }
    let (slot, now) = (&world.slots[running.who.slot], Instant::now());
    let mut had = slot.had.lock();
    let had = had.entry((running.who, user)).or_default();
    match outcome {
        Ok(bearer) => {
            whose(world, running, user, &bearer);
            let known = had.as_ref().map(|had| had.generation);
            if known != Some(bearer.generation()) {
                use daypass::base::clock::Clock;
                let left = bearer.expires_at().saturating_since(slot.clock.now());
                *had = Some(Had {
                    generation: bearer.generation(),
                    token: bearer.danger_token().danger_expose().clone(),
                    until: now + left.saturating_sub(SKEW),
                });
            }
            Some(bearer)
        }
        Err(Error::NotConnected { .. }) => {
            *had = None;
            None
        }
        Err(Error::ShuttingDown) => None,
        Err(error) => {
            let what = "requests without a token";
            world.ledger.lock().counts.add(what, 1);
            if let Some(Had {
                generation,
                token,
                until,
            }) = had
                && now < *until
                && !*world.jumped.lock()
                && world.store.peek(&key).is_some()
                && world.connected.lock().get(&key) <= Some(generation)
                && !world.is_of_the_removed(&key, token)
                && !world.ledger.lock().tainted.contains(&key)
            {
                let what = format!("{:?} withholds {key} {generation}: {error}", running.who);
                world.ledger.lock().violate(what);
            }
            None
        }
    }
}

async fn connect(world: &Arc<World>, slot: usize, user: usize) {
    let Some(running) = world.slots[slot].running.lock().clone() else {
        return;
    };
    let grant = world.grant(user, &world.slots[slot].clock);
    let (tokens, world) = (running.tokens.clone(), Arc::clone(world));
    let saving = running.lifecycle.spawn(async move {
        if tokens.save(&[grant]).await.is_err() {
            world.note(format_args!("u{user} could not be connected"));
        }
    });
    let _crashed = saving.await;
}

fn befall(world: &Arc<World>, event: Event) {
    let now = Instant::now();
    world.note(format_args!("{event:?}"));
    let keys = world.keys();
    match event {
        Event::Crash {
            slot,
            down,
            keeps_spool,
        } => {
            world.ledger.lock().disturb(Some(slot), now + down);
            world.crash(slot, keeps_spool);
            world.restart_after(slot, down);
        }
        Event::Pause { slot, long } => {
            count(world, "pauses", Some(slot), now + long);
            world.ledger.lock().trouble(&keys);
            extend(&mut world.slots[slot].paused_until.lock(), now + long);
        }
        Event::Cut { slot, long } => {
            count(world, "partitions", Some(slot), now + long);
            extend(&mut world.slots[slot].cut_until.lock(), now + long);
        }
        Event::StoreDown { long } => {
            count(world, "store outages", None, now + long);
            extend(&mut world.store_down_until.lock(), now + long);
        }
        Event::Failover { lost, down } => {
            count(world, "failovers", None, now + down);
            world.ledger.lock().trouble(&keys);
            extend(&mut world.store_down_until.lock(), now + down);
            world.fail_over(lost);
        }
        Event::Jump { slot, millis } => jump(world, slot, millis),
        Event::ProviderDown { long } => {
            world.ledger.lock().counts.add("provider outages", 1);
            extend(&mut world.authority.lock().down_until, now + long);
        }
        Event::Deaf { long } => {
            world.ledger.lock().counts.add("lost notifications", 1);
            extend(&mut world.deaf_until.lock(), now + long);
            world.store.faults.lock().deaf = true;
            let world = Arc::clone(world);
            tokio::spawn(async move {
                sleep(long).await;
                if world.mutant != Some(Mutant::NoNotifications) {
                    world.store.faults.lock().deaf = false;
                }
            });
        }
        asked => by_hand(world, asked),
    }
}

/// The clock of a sidecar jumps, or that of the store.
fn jump(world: &World, slot: Option<usize>, millis: i64) {
    count(world, "clock jumps", slot, Instant::now());
    if let Some(slot) = slot {
        world.slots[slot].clock.jump(millis);
        *world.jumped.lock() = true;
    } else {
        world.ledger.lock().trouble(&world.keys());
        world.store_clock.jump(millis);
    }
}

/// Somebody disconnects the user of `key`, and not at `slot`.
pub(crate) fn disconnect_elsewhere(world: &Arc<World>, slot: usize, key: &ConnectionKey) {
    let slot = (slot + 1) % world.plan.sidecars;
    if let Some(user) = world.keys().iter().position(|other| other == key) {
        by_hand(world, Event::Disconnect { slot, user });
    }
}

/// What people do: nobody waits for it.
fn by_hand(world: &Arc<World>, event: Event) {
    let world = Arc::clone(world);
    tokio::spawn(async move {
        match event {
            Event::Connect { slot, user } => {
                world.ledger.lock().counts.add("reconnects", 1);
                connect(&world, slot, user).await;
            }
            Event::Disconnect { slot, user } => {
                world.ledger.lock().counts.add("disconnects", 1);
                let Some(running) = world.slots[slot].running.lock().clone() else {
                    return;
                };
                let (tokens, key) = (running.tokens, world.key(user));
                drop(running.lifecycle.spawn(async move {
                    let _down = tokens.disconnect(&key).await;
                }));
            }
            Event::Refresh { slot, user, force } => {
                world.ledger.lock().counts.add("asked for", 1);
                let Some(running) = world.slots[slot].running.lock().clone() else {
                    return;
                };
                let (lifecycle, key) = (running.lifecycle.clone(), world.key(user));
                drop(lifecycle.spawn(async move {
                    let asked = running.tokens.refresh(&key, force);
                    if let Ok(bearer) = bounded(&world, &running, asked).await {
                        whose(&world, &running, user, &bearer);
                    }
                }));
            }
            _ => {}
        }
    });
}

fn count(world: &World, what: &'static str, slot: Option<usize>, until: Instant) {
    let mut ledger = world.ledger.lock();
    ledger.counts.add(what, 1);
    ledger.disturb(slot, until);
}

fn extend(known: &mut Instant, until: Instant) {
    *known = until.max(*known);
}

/// When everything has healed: invariants 2 and 7, on every sidecar.
async fn look_at(world: &Arc<World>, key: &ConnectionKey) {
    let user = world.keys().iter().position(|other| other == key).unwrap();
    for slot in 0..world.plan.sidecars {
        let running = world.slots[slot].running.lock().clone().unwrap();
        let cached = running.tokens.cached(&key.provider, key.user.as_str());
        let outcome = match cached {
            Some(bearer) => Ok(bearer),
            None => bounded(world, &running, running.tokens.bearer(key.clone())).await,
        };
        let stored = world.store.peek(key);
        let renewable = world
            .stored_refresh(key)
            .is_some_and(|refresh| world.authority.lock().would_renew(&refresh));
        let wrong = match (&stored, outcome) {
            (None, Ok(_)) => Some("is served, and is not connected".to_owned()),
            (Some(now), Ok(bearer)) => {
                whose(world, &running, user, &bearer);
                served(
                    world,
                    &running,
                    key,
                    &bearer,
                    renewable || world.is_managed(),
                )
                .await
                .map(|what| format!("{what}, with {:?}", now.status))
            }
            (Some(now), Err(error)) if renewable || world.is_managed() => Some(format!(
                "could be renewed, and is {:?}: {error}",
                now.status
            )),
            (Some(now), Err(error)) if now.status == Status::Active => {
                Some(format!("is dead at the provider, and not marked: {error}"))
            }
            _ => None,
        };
        if let Some(wrong) = wrong {
            let what = format!("{:?}: {key} {wrong}", running.who);
            world.ledger.lock().violate(what);
        }
    }
    if world.is_managed() || world.is_reusable() {
        return;
    }
    // A renewal may be under way just now; none lasts that long.
    for _ in 0..20 {
        let lost = world.ledger.lock().newest_is_lost(key);
        if world.store.peek(key).is_none() || lost.is_none() {
            return;
        }
        sleep(Duration::from_secs(1)).await;
    }
    let mut ledger = world.ledger.lock();
    if let Some(lost) = ledger.newest_is_lost(key) {
        ledger.violate(lost);
    }
}

/// Whether `bearer`, or one of its successors, is taken by the provider. Two of them may have ended:
/// one in memory, and one in the store whose end a clock that had jumped told wrongly.
async fn served(
    world: &Arc<World>,
    running: &Running,
    key: &ConnectionKey,
    bearer: &Arc<Bearer>,
    renewable: bool,
) -> Option<String> {
    let mut bearer = Arc::clone(bearer);
    for _ in 0..3 {
        if call_api(world, &bearer).await {
            return None;
        }
        let asked = running.tokens.newer_than(key.clone(), bearer.generation());
        match bounded(world, running, asked).await {
            Ok(newer) => bearer = newer,
            Err(error) if renewable => {
                return Some(format!("has a dead token, and could be renewed: {error}"));
            }
            Err(_) => return None,
        }
    }
    Some(format!(
        "has {bearer:?}, which is dead like its predecessors"
    ))
}
