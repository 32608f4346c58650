//! The store that a fleet shares: a real server, or a file, and what can be done to it.

use std::{
    net::TcpStream,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use daypass::{
    base::{clock::SystemClock, lifecycle::Lifecycle, random::OsRandom},
    http::tls::{Alpn, client_config},
    store::{SharedStore, postgres, redis, sqlite::Sqlite},
};

use crate::{postgres_server, redis_server};

/// Which store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backend {
    Postgres,
    Redis,
    Sqlite,
}

/// A store that runs, or was stopped.
pub(crate) enum Keeper {
    Postgres(postgres_server::Server),
    Redis(redis_server::Server),
    Sqlite(PathBuf),
}

// === impl Keeper ===

impl Keeper {
    /// Starts one that loses nothing that it has acknowledged, whatever kills it.
    pub(crate) fn start(backend: Backend, folder: &Path) -> Self {
        match backend {
            // Without fsync only a crash of the machine loses anything.
            Backend::Postgres => Self::Postgres(postgres_server::Server::start(&["fsync=off"])),
            Backend::Redis => {
                let kept = ["--appendonly", "yes", "--appendfsync", "always"];
                Self::Redis(redis_server::Server::start(&kept))
            }
            Backend::Sqlite => Self::Sqlite(folder.join("daypass.db")),
        }
    }

    /// Where the server listens; a file does not.
    pub(crate) fn port(&self) -> Option<u16> {
        match self {
            Self::Postgres(server) => {
                let url = url::Url::parse(&server.url("postgres")).unwrap();
                url.port()
            }
            Self::Redis(server) => Some(server.port),
            Self::Sqlite(_) => None,
        }
    }

    /// The address of the store, reached by `port`.
    pub(crate) fn url(&self, port: Option<u16>) -> String {
        let port = port.or_else(|| self.port()).unwrap_or_default();
        match self {
            Self::Postgres(server) => {
                let mut url = url::Url::parse(&server.url("postgres")).unwrap();
                url.set_port(Some(port)).unwrap();
                url.into()
            }
            Self::Redis(_) => format!("redis://127.0.0.1:{port}"),
            Self::Sqlite(path) => format!("sqlite:{}", path.display()),
        }
    }

    /// Stops the server by a signal and waits for its end. Blocks.
    pub(crate) fn stop(&mut self, signal: &str) {
        match self {
            Self::Postgres(server) => server.stop(signal),
            Self::Redis(server) => {
                server.signal(signal);
                let port = server.port;
                redis_server::eventually("the server is gone", || {
                    TcpStream::connect(("127.0.0.1", port)).is_err()
                });
            }
            Self::Sqlite(_) => panic!("a file cannot be stopped"),
        }
    }

    /// Starts the server again on what it has kept. Blocks.
    pub(crate) fn resume(&mut self) {
        match self {
            Self::Postgres(server) => server.resume(),
            Self::Redis(server) => server.start_again(),
            Self::Sqlite(_) => panic!("a file cannot be started"),
        }
    }

    /// Sends a signal to all processes of the server: `STOP`, or `CONT`.
    pub(crate) fn signal(&self, signal: &str) {
        match self {
            Self::Postgres(server) => server.signal_all(signal),
            Self::Redis(server) => server.signal(signal),
            Self::Sqlite(_) => panic!("a file hears no signal"),
        }
    }

    /// Keeps everybody from writing for a while, as a backup or another program may. Blocks.
    pub(crate) fn lock_for(&self, long: Duration) {
        let Self::Sqlite(path) = self else {
            panic!("only a file is locked");
        };
        let db = rusqlite::Connection::open(path).unwrap();
        db.busy_timeout(Duration::from_secs(10)).unwrap();
        db.execute_batch("BEGIN IMMEDIATE").unwrap();
        std::thread::sleep(long);
        db.execute_batch("ROLLBACK").unwrap();
    }
}

/// Opens the store at `url`, beside all sidecars.
pub(crate) async fn open(url: &str, lifecycle: &Lifecycle) -> SharedStore {
    if let Some(path) = url.strip_prefix("sqlite:") {
        return Arc::new(Sqlite::open(path, Arc::new(SystemClock)).unwrap());
    }
    if let Ok(address) = postgres::Address::parse(url) {
        let surroundings = postgres::Surroundings {
            tls: client_config(None, Alpn::Unset).unwrap(),
            lifecycle: lifecycle.clone(),
            random: Arc::new(OsRandom),
        };
        let opened = postgres::Postgres::open(&address, surroundings).await;
        return Arc::new(opened.unwrap());
    }
    let parts = redis::Parts {
        trust: None,
        time: redis::Time::Server,
        random: Arc::new(OsRandom),
        lifecycle: lifecycle.clone(),
    };
    let address = redis::Address::parse(url).unwrap();
    Arc::new(redis::Redis::open(address, parts).await.unwrap())
}
