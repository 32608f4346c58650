//! What every guarantee is tried on: a fresh store, a clock to move, and short names for records.

use std::{
    any::Any,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use daypass::{
    base::{
        clock::{ManualClock, Timestamp},
        ids::{ConnectionId, ConnectionKey, GrantId, OwnerId, ProviderName, UserId},
        lifecycle::Lifecycle,
        random::{OsRandom, SeededRandom},
    },
    http::tls::{Alpn, client_config},
    store::{
        Archive, Connection, Cooldown, Everything, Fence, Lease, NewConnection, Redemption,
        Renewed, Saved, SealedTokens, SharedStore, Store,
        postgres::{self, Postgres, Surroundings, TimeSource},
        seal::Sealed,
        sqlite::{Options, Sqlite},
    },
};

use tokio::runtime::Handle;

use crate::{
    memory_store::MemoryStore,
    postgres_server::{Bouncer, FAST, Server},
};

/// One server for all tests of this program.
static POSTGRES: LazyLock<Server> = LazyLock::new(|| Server::start(FAST));

/// A pooler in transaction mode before it.
static BOUNCER: LazyLock<Bouncer> = LazyLock::new(|| Bouncer::before(&POSTGRES));

/// Where the clock of every bench starts.
pub(crate) const START: Timestamp = Timestamp::from_secs(1_800_000_000);

/// The usual length of a lease.
pub(crate) const TTL: Duration = Duration::from_secs(30);

/// How many changes the stores of the contract remember, at least.
pub(crate) const KEPT: u32 = 16;

/// A fresh store; `S` is how much of the contract it keeps.
pub(crate) struct Bench<S: ?Sized = dyn Store> {
    /// A handle to it.
    pub(crate) store: Arc<S>,
    /// A second handle to it, as another process would have one.
    pub(crate) other: Arc<S>,
    /// The first handle, for exact copies.
    pub(crate) archive: Arc<dyn Archive>,
    /// What both go by.
    pub(crate) clock: ManualClock,
    /// Whatever must live as long as the store.
    pub(crate) _place: Box<dyn Any + Send + Sync>,
}

/// A store in a file of its own.
pub(crate) fn sqlite() -> Bench<dyn Everything> {
    let place = tempfile::tempdir().unwrap();
    let clock = ManualClock::new(START);
    let mut options = Options::default();
    options.keep_changes = KEPT;
    options.poll_every = Duration::from_millis(5);
    let open = || -> Arc<Sqlite> {
        let path = place.path().join("daypass.db");
        Arc::new(Sqlite::open_with(path, Arc::new(clock.clone()), options.clone()).unwrap())
    };
    let archive = open();
    Bench {
        store: Arc::clone(&archive) as Arc<dyn Everything>,
        other: open(),
        archive,
        clock: clock.clone(),
        _place: Box::new(place),
    }
}

/// A store in a database of its own.
pub(crate) fn postgres() -> Bench<dyn Everything> {
    let database = database();
    postgres_at(&POSTGRES.url(&database))
}

/// The same, behind PgBouncer in transaction mode.
pub(crate) fn pgbouncer() -> Bench<dyn Everything> {
    let database = database();
    postgres_at(&BOUNCER.url(&database))
}

fn database() -> String {
    static NUMBER: AtomicU64 = AtomicU64::new(1);
    let name = format!("bench_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
    POSTGRES.sql("postgres", &format!("CREATE DATABASE {name}"));
    name
}

fn postgres_at(url: &str) -> Bench<dyn Everything> {
    let clock = ManualClock::new(START);
    let lifecycle = Lifecycle::new();
    let mut options = postgres::Options::default();
    options.keep_changes = KEPT;
    options.poll_every = Duration::from_millis(50);
    options.timeout = Duration::from_secs(30);
    options.time = TimeSource::Clock(Arc::new(clock.clone()));
    let address = postgres::Address::parse(url).unwrap();
    let open = || -> Arc<Postgres> {
        let surroundings = Surroundings {
            tls: client_config(None, Alpn::Unset).unwrap(),
            lifecycle: lifecycle.clone(),
            random: Arc::new(OsRandom),
        };
        let opening = Postgres::open_with(&address, surroundings, options.clone());
        let open = tokio::task::block_in_place(|| Handle::current().block_on(opening));
        Arc::new(open.unwrap())
    };
    let archive = open();
    Bench {
        store: Arc::clone(&archive) as Arc<dyn Everything>,
        other: open(),
        archive,
        clock,
        _place: Box::new(lifecycle),
    }
}

/// A store in memory, which has no files and no processes: both handles are the same.
pub(crate) fn memory() -> Bench {
    let clock = ManualClock::new(START);
    let store = MemoryStore::remembering(Arc::new(clock.clone()), KEPT as usize);
    Bench {
        other: Arc::clone(&store) as SharedStore,
        archive: Arc::clone(&store) as Arc<dyn Archive>,
        store,
        clock,
        _place: Box::new(()),
    }
}

// === impl Bench ===

impl Bench<dyn Everything> {
    /// This one.
    pub(crate) fn whole(&self) -> &Self {
        self
    }

    /// The same store, for what needs connections only.
    pub(crate) fn connections(&self) -> Bench {
        Bench {
            store: Arc::clone(&self.store) as SharedStore,
            other: Arc::clone(&self.other) as SharedStore,
            archive: Arc::clone(&self.archive),
            clock: self.clock.clone(),
            _place: Box::new(()),
        }
    }
}

impl Bench {
    /// This one.
    pub(crate) fn connections(&self) -> &Self {
        self
    }

    /// Saves a connection of `user` at Calendly.
    pub(crate) async fn connect(&self, user: &str) -> Connection {
        self.save(new(&calendly(user), "first")).await
    }

    /// Saves `new`, whatever is there.
    pub(crate) async fn save(&self, new: NewConnection) -> Connection {
        let saved = self.store.save(vec![new]).await.unwrap();
        saved.first().map(Saved::connection).unwrap().clone()
    }

    /// The connection, which exists, as another process sees it.
    pub(crate) async fn read(&self, key: &ConnectionKey) -> Connection {
        self.other.load(key).await.unwrap().unwrap()
    }

    /// Takes the lease, which is free.
    pub(crate) async fn lease(&self, key: &ConnectionKey, owner: OwnerId) -> Connection {
        match self.store.acquire(key, owner, TTL).await.unwrap() {
            Lease::Granted(connection) => *connection,
            other => panic!("the lease of {key} is not free: {other:?}"),
        }
    }
}

/// One failure, and a minute of peace after it.
pub(crate) fn cooldown() -> Cooldown {
    Cooldown {
        until: START.saturating_add(Duration::from_mins(1)),
        failures: 1,
    }
}

/// The key of `user` at `provider`.
pub(crate) fn key(provider: &str, user: &str) -> ConnectionKey {
    ConnectionKey {
        provider: ProviderName::parse(provider).unwrap(),
        user: UserId::parse(user).unwrap(),
    }
}

/// The key of `user` at Calendly.
pub(crate) fn calendly(user: &str) -> ConnectionKey {
    key("calendly", user)
}

/// A process that nobody else is.
pub(crate) fn owner() -> OwnerId {
    OwnerId::random(&fresh())
}

/// Tokens called `name`, from the start of the bench. A store looks at no seal, so these are none.
pub(crate) fn tokens(name: &str) -> SealedTokens {
    SealedTokens {
        access: Sealed::from_bytes(format!("access {name}").into_bytes()),
        refresh: Some(Sealed::from_bytes(format!("refresh {name}").into_bytes())),
        renewed_at: START,
        access_expires_at: START.saturating_add(Duration::from_hours(2)),
        refresh_expires_at: None,
    }
}

/// A connection to save, its tokens called `name`.
pub(crate) fn new(key: &ConnectionKey, name: &str) -> NewConnection {
    NewConnection {
        key: key.clone(),
        id: ConnectionId::random(&fresh()),
        grant: GrantId::random(&fresh()),
        tokens: Some(tokens(name)),
        external_id: Some("https://api.calendly.com/users/U1".to_owned()),
        organization: Some("https://api.calendly.com/organizations/O1".to_owned()),
        managed_user_id: None,
        scope: Some("default".to_owned()),
        fingerprint: None,
        at: START,
    }
}

/// A renewal whose tokens are called `name` and that names nothing else.
pub(crate) fn renewed(name: &str) -> Renewed {
    Renewed {
        grant: GrantId::random(&fresh()),
        tokens: tokens(name),
        redemption: Redemption::Standard,
        scope: None,
        external_id: None,
        organization: None,
    }
}

/// The state that `connection` shows.
pub(crate) fn fence(connection: &Connection) -> Fence {
    Fence::of(connection)
}

/// Chance that nobody else has.
pub(crate) fn fresh() -> SeededRandom {
    static SEED: AtomicU64 = AtomicU64::new(1);
    SeededRandom::new(SEED.fetch_add(1, Ordering::Relaxed))
}
