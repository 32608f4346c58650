//! Carrying out what goes wrong, and noting it.

use std::{sync::Arc, time::Duration};

use daypass::sandbox::{Call, Killed, Revoke, Switches, TokenFault, TokenMischief};
use tokio::{sync::Mutex, time::sleep};

use crate::{
    chronicle::{Death, Part, Who, now},
    fleet::Fleet,
    judge::{SLOW, STOPPED},
    keeper::Backend,
    plan::Strike,
    way::Mode,
};

/// What is struck by one thing at a time.
#[derive(Default)]
pub(crate) struct Targets {
    processes: Vec<Mutex<()>>,
    ways: Vec<Mutex<()>>,
    store: Mutex<()>,
    speed: Mutex<()>,
}

// === impl Targets ===

impl Targets {
    pub(crate) fn new(places: usize) -> Self {
        let each = || (0..places).map(|_| Mutex::default()).collect();
        Self {
            processes: each(),
            ways: each(),
            ..Self::default()
        }
    }
}

/// Carries out `strike` to its end: what it broke is whole again.
pub(crate) async fn carry_out(fleet: &Arc<Fleet>, strike: Strike) {
    match strike {
        Strike::Kill { place, down } => kill(fleet, place, down).await,
        Strike::Pause { place, long } => pause(fleet, place, long).await,
        Strike::Restart { signal, down } => restart(fleet, signal, down).await,
        Strike::Freeze { long } => freeze(fleet, long).await,
        Strike::WayToStore { place, mode, long } => {
            break_way_to_store(fleet, place, mode, long).await;
        }
        Strike::WayToProvider { place, mode, long } => {
            break_ways_to_providers(fleet, place, mode, long).await;
        }
        Strike::Call {
            provider,
            what,
            name,
        } => order(fleet, provider, what, name),
        Strike::Slow { millis, long } => slow(fleet, millis, long).await,
        Strike::Revoke { user } => revoke(fleet, user),
        Strike::Reconnect { user } => fleet.reconnect(&fleet.users[user]).await,
    }
}

async fn pause(fleet: &Fleet, place: usize, long: Duration) {
    let _turn = fleet.targets.processes[place].lock().await;
    fleet.fault(Part::Process(place), STOPPED, long);
    fleet.ground.places[place].signal("STOP");
    sleep(long).await;
    fleet.ground.places[place].signal("CONT");
    fleet.lasted(Part::Process(place));
}

async fn break_way_to_store(fleet: &Fleet, place: usize, mode: Mode, long: Duration) {
    let _turn = fleet.targets.ways[place].lock().await;
    fleet.fault(Part::WayToStore(place), "way to the store broken", long);
    fleet.set_way_to_store(place, mode);
    sleep(long).await;
    fleet.set_way_to_store(place, Mode::Open);
    fleet.lasted(Part::WayToStore(place));
}

async fn break_ways_to_providers(fleet: &Fleet, place: usize, mode: Mode, long: Duration) {
    let _turn = fleet.targets.ways[place].lock().await;
    let part = Part::WayToProvider(place);
    fleet.fault(part, "way to the providers broken", long);
    fleet.set_ways_to_providers(place, mode);
    sleep(long).await;
    fleet.set_ways_to_providers(place, Mode::Open);
    fleet.lasted(part);
}

async fn slow(fleet: &Fleet, millis: u64, long: Duration) {
    let _turn = fleet.targets.speed.lock().await;
    fleet.fault(Part::Provider, SLOW, long);
    fleet.providers(|switches| switches.token_latency_after_ms = millis);
    sleep(long).await;
    fleet.providers(|switches| switches.token_latency_after_ms = 0);
    fleet.lasted(Part::Provider);
}

async fn kill(fleet: &Fleet, place: usize, down: Duration) {
    let _turn = fleet.targets.processes[place].lock().await;
    let at = &fleet.ground.places[place];
    fleet.fault(Part::Process(place), "process killed", down);
    let who = Who {
        place,
        life: at.life(),
    };
    at.kill().await;
    let death = Death {
        who,
        at: now(),
        spooled: fleet.users_of(&at.spooled()),
    };
    fleet
        .ground
        .chronicle
        .with(|events| events.deaths.push(death));
    sleep(down).await;
    at.start().await;
    fleet.lasted(Part::Process(place));
}

async fn restart(fleet: &Arc<Fleet>, signal: &'static str, down: Duration) {
    let _turn = fleet.targets.store.lock().await;
    let name = match signal {
        "KILL" => "store killed",
        "QUIT" => "store stopped at once",
        _ => "store stopped in order",
    };
    fleet.fault(Part::Store, name, down);
    let keeper = Arc::clone(&fleet.ground.keeper);
    let ended = tokio::task::spawn_blocking(move || {
        let mut keeper = keeper.lock();
        keeper.stop(signal);
        std::thread::sleep(down);
        keeper.resume();
    });
    ended.await.unwrap();
    fleet.lasted(Part::Store);
}

async fn freeze(fleet: &Arc<Fleet>, long: Duration) {
    let _turn = fleet.targets.store.lock().await;
    let keeper = Arc::clone(&fleet.ground.keeper);
    if fleet.backend == Backend::Sqlite {
        // As a backup or another program may.
        fleet.fault(Part::Store, "file locked", long);
        let ended = tokio::task::spawn_blocking(move || {
            let mut keeper = keeper.lock();
            keeper.stop("");
            std::thread::sleep(long);
            keeper.resume();
        });
        ended.await.unwrap();
    } else {
        fleet.fault(Part::Store, "store frozen", long);
        keeper.lock().signal("STOP");
        sleep(long).await;
        keeper.lock().signal("CONT");
    }
    fleet.lasted(Part::Store);
}

/// Which call meets it shows in the provider's log; here only that it was ordered.
fn order(fleet: &Fleet, provider: &str, what: TokenMischief, name: &'static str) {
    fleet.fault(Part::Provider, name, Duration::ZERO);
    let fault = TokenFault {
        times: Some(1),
        call: Some(Call::Refresh),
        what,
    };
    if provider == "calendly" {
        fleet.ground.sandbox.calendly().fault_token(fault);
    } else {
        fleet.ground.sandbox.calcom().fault_token(fault);
    }
}

fn revoke(fleet: &Fleet, user: usize) {
    let user = &fleet.users[user];
    let order = Revoke {
        user: user.name.clone(),
        what: Killed::Access,
    };
    fleet.fault(Part::Provider, "access token revoked", Duration::ZERO);
    let noted = (user.key(), now());
    fleet
        .ground
        .chronicle
        .with(|events| events.revoked.push(noted));
    let (calendly, calcom) = (
        fleet.ground.sandbox.calendly(),
        fleet.ground.sandbox.calcom(),
    );
    let done = if user.provider == "calendly" {
        calendly.revoke(&order)
    } else {
        calcom.revoke(&order)
    };
    done.unwrap();
}

impl Fleet {
    /// Notes a fault that begins now and is meant to last so long.
    pub(crate) fn fault(&self, part: Part, what: &'static str, long: Duration) {
        let millis = u64::try_from(long.as_millis()).unwrap();
        self.ground.chronicle.fault(part, what, millis);
    }

    /// Notes that the last fault of `part` has lasted until now.
    pub(crate) fn lasted(&self, part: Part) {
        self.ground.chronicle.with(|events| {
            let last = events
                .faults
                .iter_mut()
                .rev()
                .find(|fault| fault.part == part);
            if let Some(fault) = last {
                fault.until = fault.until.max(now());
            }
        });
    }

    fn set_way_to_store(&self, place: usize, mode: Mode) {
        if let Some(way) = &self.ground.ways[place].store {
            way.set(mode);
        }
    }

    fn set_ways_to_providers(&self, place: usize, mode: Mode) {
        let ways = &self.ground.ways[place];
        for way in [&ways.calendly, &ways.tokens, &ways.calcom] {
            way.set(mode);
        }
    }

    fn providers(&self, change: impl Fn(&mut Switches)) {
        self.ground.sandbox.calendly().set(&change);
        self.ground.sandbox.calcom().set(&change);
    }
}
