//! Fresh stores, each with a directory whose configuration names it.

use std::{
    fs,
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::{
    binary::Home,
    emulators::Emulators,
    population::Open,
    postgres_server::{FAST, Server as Postgres},
    redis_servers::{self, Server as Redis},
};

/// Every test of this program shares one server of each kind, and has a part of it to itself.
static POSTGRES: LazyLock<Postgres> = LazyLock::new(|| Postgres::start(FAST));
static REDIS: LazyLock<Redis> = LazyLock::new(|| Redis::start(&["--appendonly", "yes"]));
static CLUSTER: LazyLock<Vec<Redis>> = LazyLock::new(redis_servers::cluster);

/// What every store but SQLite needs; the same everywhere, as sidecars that share one have it.
const KEYS: &str = "
[[encryption.keys]]
id = \"k1\"
value = \"c2VudGluZWwta2V5LW9mLTMyLWJ5dGVzLXRlc3RzISE=\"
";

/// A working directory with a configuration that names a fresh store.
pub(crate) struct Place {
    pub(crate) home: Home,
}

pub(crate) fn sqlite() -> Place {
    Place::at("sqlite:daypass.db")
}

pub(crate) fn postgres() -> Place {
    Place::at(&postgres_url())
}

pub(crate) fn redis() -> Place {
    Place::at(&redis_url())
}

pub(crate) fn redis_cluster() -> Place {
    Place::at(&cluster_url())
}

pub(crate) fn postgres_url() -> String {
    let database = format!("place_{}", number());
    POSTGRES.sql("postgres", &format!("CREATE DATABASE {database}"));
    POSTGRES.url(&database)
}

/// Runs SQL on the shared server.
pub(crate) fn postgres_sql(sql: &str) {
    POSTGRES.sql("postgres", sql);
}

pub(crate) fn redis_url() -> String {
    format!("redis://127.0.0.1:{}?prefix=p{}", REDIS.port, number())
}

pub(crate) fn cluster_url() -> String {
    let nodes = CLUSTER
        .iter()
        .map(|node| format!("127.0.0.1:{}", node.port));
    let nodes: Vec<String> = nodes.collect();
    format!("redis-cluster://{}?prefix=p{}", nodes.join(","), number())
}

fn number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

// === impl Place ===

impl Place {
    /// In a directory of its own, on the store at `url`.
    pub(crate) fn at(url: &str) -> Self {
        let place = Self { home: Home::new() };
        place.name_store(url);
        place.home.write("daypass.toml", &settings(""));
        place
    }

    /// Starts emulated providers, and names them in the configuration.
    pub(crate) fn emulate(&self) -> Emulators {
        let emulators = Emulators::start(&self.home);
        emulators.configure(&self.home);
        let providers = fs::read_to_string(self.home.path("daypass.toml")).unwrap();
        self.home.write("daypass.toml", &settings(&providers));
        emulators
    }

    /// How many renewals wait in its spool.
    pub(crate) fn spooled(&self) -> usize {
        let Ok(files) = fs::read_dir(self.home.path("spool")) else {
            return 0;
        };
        let paths = files.map(|file| file.unwrap().path());
        paths
            .filter(|path| path.extension() == Some("renewal".as_ref()))
            .count()
    }

    /// Its store, as a command opens it.
    pub(crate) fn open(&self) -> Open {
        let url = fs::read_to_string(self.home.path("store-url")).unwrap();
        match url.trim().strip_prefix("sqlite:") {
            Some(path) => Open::at(&format!("sqlite:{}", self.home.path(path).display())),
            None => Open::at(url.trim()),
        }
    }

    /// Puts `url` into the file that the configuration names.
    pub(crate) fn name_store(&self, url: &str) {
        use std::os::unix::fs::PermissionsExt;

        let path = self.home.path("store-url");
        fs::write(&path, format!("{url}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }
}

fn settings(providers: &str) -> String {
    format!("[store]\nurl_file = \"store-url\"\nspool_dir = \"spool\"\n{KEYS}{providers}")
}
