//! Stores on one Redis server and on a cluster of three, which all tests share: each test has keys of
//! its own.

use std::{
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use daypass::{
    base::{clock::ManualClock, lifecycle::Lifecycle, random::OsRandom},
    store::{
        Everything,
        redis::{Address, Options, Parts, Redis, Time},
    },
};
use tokio::{runtime::Handle, task::block_in_place};

use crate::{
    bench::{Bench, KEPT, START},
    redis_servers::{self, Server},
};

/// A store on one server.
pub(crate) fn single() -> Bench<dyn Everything> {
    static SERVER: LazyLock<Server> = LazyLock::new(|| Server::start(&[]));
    bench(&format!("redis://127.0.0.1:{}", SERVER.port))
}

/// A store on a cluster.
pub(crate) fn cluster() -> Bench<dyn Everything> {
    static SERVERS: LazyLock<Vec<Server>> = LazyLock::new(redis_servers::cluster);
    let nodes: Vec<String> = SERVERS
        .iter()
        .map(|node| format!("127.0.0.1:{}", node.port))
        .collect();
    bench(&format!("redis-cluster://{}", nodes.join(",")))
}

fn bench(url: &str) -> Bench<dyn Everything> {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let prefix = NEXT.fetch_add(1, Ordering::Relaxed);
    let url = format!("{url}?prefix=t{prefix}");
    let clock = ManualClock::new(START);
    let lifecycle = Lifecycle::new();
    let open = || -> Arc<Redis> {
        let parts = Parts {
            trust: None,
            time: Time::Clock(Arc::new(clock.clone())),
            random: Arc::new(OsRandom),
            lifecycle: lifecycle.clone(),
        };
        let mut options = Options::default();
        options.keep_changes = KEPT;
        options.poll_unheard_every = Duration::from_millis(20);
        let opening = Redis::open_with(Address::parse(&url).unwrap(), parts, options);
        Arc::new(block_in_place(|| Handle::current().block_on(opening)).unwrap())
    };
    let archive = open();
    Bench {
        store: Arc::clone(&archive) as Arc<dyn Everything>,
        other: open(),
        archive,
        clock: clock.clone(),
        _place: Box::new(lifecycle),
    }
}
