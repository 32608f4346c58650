//! Real PostgreSQL servers, each on a free port and in a folder of its own, and PgBouncer before one.
//!
//! A server lives as long as the pipe to the shell that started it: it ends with the test program,
//! however that ends, and its folder is removed.

use std::{
    fs,
    io::Write as _,
    net::TcpListener,
    os::unix::fs::{MetadataExt as _, chown},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use tokio::time::Instant;

/// What runs a server, and ends it and its folder when nobody holds the pipe any more, even if a test
/// failed while the server was frozen; told to keep the folder, it waits for the server to end otherwise.
const GUARD: &str = r#"
    trap '' INT TERM
    "$@" </dev/null >>"$LOG" 2>&1 &
    pid=$!
    read -r word
    [ "$word" = keep ] || kill -"$SIGNAL" $pid 2>/dev/null
    kill -CONT $pid 2>/dev/null
    wait $pid
    [ "$word" = keep ] || rm -rf "$FOLDER"
"#;

/// Whom servers run as, if this is root: PostgreSQL refuses to be root.
const NOBODY: u32 = 65534;

/// Longer than any server takes to start, on a machine that does much else.
const START_LIMIT: Duration = Duration::from_mins(1);

/// The user that the tests sign in as.
pub(crate) const USER: &str = "daypass";

/// Settings of a server that need not survive a power cut.
pub(crate) const FAST: &[&str] = &[
    "fsync=off",
    "synchronous_commit=off",
    "full_page_writes=off",
];

/// A running server.
pub(crate) struct Server {
    pub(crate) folder: PathBuf,
    pub(crate) port: u16,
    pub(crate) settings: Vec<String>,
    pub(crate) running: Option<Child>,
}

/// A running PgBouncer.
pub(crate) struct Bouncer {
    pub(crate) port: u16,
    _running: Child,
}

// === impl Server ===

impl Server {
    /// Starts a fresh server with these settings. Everybody on this machine may sign in.
    pub(crate) fn start(settings: &[&str]) -> Self {
        Self::start_as("trust", settings)
    }

    /// As [`Self::start`], but who connects by TCP must show what `method` asks for; the password of
    /// [`USER`] is "secret".
    pub(crate) fn start_as(method: &str, settings: &[&str]) -> Self {
        let folder = private_folder();
        let password = folder.join("password");
        fs::write(&password, "secret").unwrap();
        let made = as_nobody(&folder, program("initdb"))
            .arg("--pgdata")
            .arg(folder.join("data"))
            .arg("--pwfile")
            .arg(&password)
            .args([
                "--username",
                USER,
                "--encoding",
                "UTF8",
                "--no-locale",
                "--no-sync",
            ])
            .args(["--auth-local", "trust", "--auth-host", method])
            .output()
            .unwrap();
        assert!(
            made.status.success(),
            "initdb: {}",
            String::from_utf8_lossy(&made.stderr)
        );
        let mut server = Self {
            folder,
            port: free_port(),
            settings: settings.iter().map(|&setting| setting.to_owned()).collect(),
            running: None,
        };
        server.resume();
        server
    }

    /// Starts it again, on the same port and data.
    pub(crate) fn resume(&mut self) {
        assert!(self.running.is_none());
        let _stale = fs::remove_file(self.folder.join("data/postmaster.pid"));
        let mut postgres = guarded(&self.folder, &program("postgres"), "postgres.log", "QUIT");
        postgres.arg("-D").arg(self.folder.join("data"));
        postgres.args(["-p", &self.port.to_string()]);
        let places = format!("unix_socket_directories={}", self.folder.display());
        let fixed = ["listen_addresses=127.0.0.1", "max_connections=500", &places];
        for setting in fixed
            .iter()
            .copied()
            .chain(self.settings.iter().map(String::as_str))
        {
            postgres.args(["-c", setting]);
        }
        self.running = Some(postgres.spawn().unwrap());
        let begun = Instant::now();
        while !self.is_ready() {
            assert!(
                waited(begun) < START_LIMIT,
                "it does not start:\n{}",
                self.log()
            );
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// The URL of a database of it, by TCP.
    pub(crate) fn url(&self, database: &str) -> String {
        format!(
            "postgres://{USER}:secret@127.0.0.1:{}/{database}",
            self.port
        )
    }

    /// Runs SQL in a database, as an operator would, by the Unix socket.
    pub(crate) fn sql(&self, database: &str, sql: &str) -> String {
        let ran = Command::new(program("psql"))
            .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-U", USER])
            .arg("-h")
            .arg(&self.folder)
            .args(["-p", &self.port.to_string(), "-d", database, "-c", sql])
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&ran.stderr);
        assert!(ran.status.success(), "{sql}: {told}");
        String::from_utf8_lossy(&ran.stdout).trim().to_owned()
    }

    /// What it has logged.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.join("postgres.log")).unwrap_or_default()
    }

    pub(crate) fn pid_file(&self) -> Option<String> {
        fs::read_to_string(self.folder.join("data/postmaster.pid")).ok()
    }

    fn is_ready(&self) -> bool {
        let file = self.pid_file().unwrap_or_default();
        file.lines()
            .nth(7)
            .is_some_and(|status| status.trim() == "ready")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        match self.running.take() {
            Some(mut guard) => {
                drop(guard.stdin.take());
                let _reaped = guard.wait();
            }
            None => {
                let _gone = fs::remove_dir_all(&self.folder);
            }
        }
    }
}

// === impl Bouncer ===

impl Bouncer {
    /// Starts one in transaction mode before all databases of `server`.
    pub(crate) fn before(server: &Server) -> Self {
        let folder = private_folder();
        let port = free_port();
        let users = folder.join("users");
        fs::write(&users, format!("\"{USER}\" \"\"\n")).unwrap();
        let settings = folder.join("pgbouncer.ini");
        let text = format!(
            "[databases]\n* = host=127.0.0.1 port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {port}\nunix_socket_dir =\nauth_type = trust\nauth_file = {}\n\
             pool_mode = transaction\nmax_client_conn = 1000\ndefault_pool_size = 5\n\
             server_idle_timeout = 2\n",
            server.port,
            users.display(),
        );
        let mut file = fs::File::create(&settings).unwrap();
        file.write_all(text.as_bytes()).unwrap();
        let mut pgbouncer = guarded(&folder, &pgbouncer(), "pgbouncer.log", "KILL");
        let running = pgbouncer.arg(&settings).spawn().unwrap();
        let begun = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            let log = fs::read_to_string(folder.join("pgbouncer.log")).unwrap_or_default();
            assert!(waited(begun) < START_LIMIT, "it does not start:\n{log}");
            thread::sleep(Duration::from_millis(10));
        }
        Self {
            port,
            _running: running,
        }
    }

    /// The URL of a database behind it.
    pub(crate) fn url(&self, database: &str) -> String {
        format!("postgres://{USER}@127.0.0.1:{}/{database}", self.port)
    }
}

/// A folder that the servers' user owns.
pub(crate) fn private_folder() -> PathBuf {
    let folder = tempfile::Builder::new()
        .prefix("daypass-pg")
        .tempdir()
        .unwrap()
        .keep();
    if is_root() {
        chown(&folder, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    folder
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0)
}

/// PostgreSQL refuses to run as root.
pub(crate) fn as_nobody(folder: &Path, program: PathBuf) -> Command {
    let mut command = if is_root() {
        let mut command = Command::new("setpriv");
        command
            .args([&format!("--reuid={NOBODY}"), &format!("--regid={NOBODY}")])
            .args(["--clear-groups", "--"])
            .arg(program);
        command
    } else {
        Command::new(program)
    };
    command.current_dir(folder).env("LC_ALL", "C");
    command
}

/// `program`, to run for as long as this process holds the pipe; its arguments are to follow.
fn guarded(folder: &Path, program: &Path, log: &str, signal: &str) -> Command {
    let mut command = as_nobody(folder, "/bin/sh".into());
    command
        .args(["-c", GUARD, "guard"])
        .arg(program)
        .env("SIGNAL", signal)
        .env("LOG", folder.join(log))
        .env("FOLDER", folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

/// A program of PostgreSQL, of the newest version that is installed.
pub(crate) fn program(name: &str) -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten();
    let newest = versions
        .map(|version| version.path().join("bin").join(name))
        .filter(|path| path.exists())
        .max();
    newest.unwrap_or_else(|| panic!("{name} of PostgreSQL is not installed: run ./test"))
}

fn pgbouncer() -> PathBuf {
    let places = ["/usr/sbin/pgbouncer", "/usr/bin/pgbouncer"];
    let found = places.iter().map(PathBuf::from).find(|path| path.exists());
    found.unwrap_or_else(|| panic!("pgbouncer is not installed: run ./test"))
}

pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

fn waited(begun: Instant) -> Duration {
    Instant::now().saturating_duration_since(begun)
}
