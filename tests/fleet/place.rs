//! A place of the fleet: a process of the binary, and whichever takes its place when it dies.

use std::{
    fs::{self, OpenOptions},
    io::{Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use parking_lot::Mutex;
use serde_json::Value;
use tokio::{
    process::{Child, Command},
    time::{Instant, sleep},
};

/// Longer than a start takes on a machine that does much else, the store's outage apart.
const PATIENCE: Duration = Duration::from_mins(1);

/// Where one sidecar after the other runs.
pub(crate) struct Place {
    pub(crate) number: usize,
    config: PathBuf,
    settings: Vec<String>,
    pub(crate) log: PathBuf,
    pub(crate) spool: PathBuf,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    child: Option<Child>,
    /// How many processes there were here.
    life: u32,
    doors: Option<Doors>,
}

/// Where the process that runs now is called, and which one it is.
#[derive(Clone, Debug)]
pub(crate) struct Doors {
    pub(crate) life: u32,
    pub(crate) outbound: String,
    pub(crate) admin: String,
}

/// The setting that names a binary to use instead of the one that was built with these tests.
pub(crate) const BINARY: &str = "DAYPASS_FLEET_BINARY";

/// Whether it is not the binary that was built with these tests that is put to the test.
pub(crate) fn is_another_binary() -> bool {
    std::env::var_os(BINARY).is_some()
}

/// A command of the binary.
pub(crate) fn binary() -> Command {
    let named = std::env::var_os(BINARY);
    let mut command = Command::new(named.unwrap_or_else(|| env!("CARGO_BIN_EXE_daypass").into()));
    command.env_clear().kill_on_drop(true);
    command
}

// === impl Place ===

impl Place {
    /// A place without a process, whose files are in `folder`.
    pub(crate) fn new(number: usize, folder: &Path, config: PathBuf, settings: &[String]) -> Self {
        let spool = folder.join(format!("spool-{number}"));
        let mut settings = settings.to_vec();
        settings.push(format!("store.spool_dir={}", spool.display()));
        Self {
            number,
            config,
            settings,
            log: folder.join(format!("sidecar-{number}.log")),
            spool,
            state: Mutex::default(),
        }
    }

    /// Starts a process and waits until it is ready. One that ends at once, as a sidecar does whose
    /// store is down, is started again, as an orchestrator would.
    pub(crate) async fn start(&self) {
        let begun = Instant::now();
        while !self.start_once().await {
            let waited = Instant::now().saturating_duration_since(begun);
            assert!(waited < PATIENCE, "it does not start:\n{}", self.tail());
            sleep(Duration::from_millis(200)).await;
        }
    }

    async fn start_once(&self) -> bool {
        let log = || {
            let mut options = OpenOptions::new();
            Stdio::from(options.create(true).append(true).open(&self.log).unwrap())
        };
        let mut command = binary();
        command.arg("run").arg("--config").arg(&self.config);
        for setting in &self.settings {
            command.args(["--set", setting]);
        }
        let written = fs::metadata(&self.log).map_or(0, |file| file.len());
        let child = command.stdout(log()).stderr(log()).spawn().unwrap();
        let life = {
            let mut state = self.state.lock();
            state.child = Some(child);
            state.life += 1;
            state.life
        };
        let begun = Instant::now();
        while Instant::now().saturating_duration_since(begun) < PATIENCE {
            if let Some(ready) = self.line_after(written, "ready") {
                let address = |side: &str| format!("http://{}", ready[side].as_str().unwrap());
                self.state.lock().doors = Some(Doors {
                    life,
                    outbound: address("outbound"),
                    admin: address("admin"),
                });
                return true;
            }
            if let Some(ended) = self.ended() {
                let wrong = ended.code() == Some(2);
                assert!(!wrong, "its settings are wrong:\n{}", self.tail());
                return false;
            }
            sleep(Duration::from_millis(10)).await;
        }
        false
    }

    /// How the process has ended, if it has.
    fn ended(&self) -> Option<ExitStatus> {
        let mut state = self.state.lock();
        state.child.as_mut()?.try_wait().unwrap()
    }

    /// The first line with this message behind the first `written` bytes of the log.
    fn line_after(&self, written: u64, message: &str) -> Option<Value> {
        let mut file = fs::File::open(&self.log).ok()?;
        file.seek(SeekFrom::Start(written)).ok()?;
        let mut text = String::new();
        file.read_to_string(&mut text).ok()?;
        text.lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .find(|line| line["message"] == message)
    }

    /// Where the process is called, if one runs and is ready.
    pub(crate) fn doors(&self) -> Option<Doors> {
        self.state.lock().doors.clone()
    }

    /// Which process runs here, or ran here last.
    pub(crate) fn life(&self) -> u32 {
        self.state.lock().life
    }

    /// Sends the process a signal, such as `STOP`.
    pub(crate) fn signal(&self, signal: &str) {
        let pid = self.state.lock().child.as_ref().and_then(Child::id);
        if let Some(pid) = pid {
            send(signal, &pid.to_string());
        }
    }

    /// SIGKILL, and the end of the process. Works on one that stands still, too.
    pub(crate) async fn kill(&self) {
        let child = {
            let mut state = self.state.lock();
            state.doors = None;
            state.child.take()
        };
        if let Some(mut child) = child {
            child.kill().await.unwrap();
        }
    }

    /// The names of the files in its spool.
    pub(crate) fn spooled(&self) -> Vec<String> {
        let files = fs::read_dir(&self.spool).into_iter().flatten().flatten();
        let named = files.filter_map(|file| file.file_name().into_string().ok());
        named
            .filter_map(|name| Some(name.strip_suffix(".renewal")?.to_owned()))
            .collect()
    }

    /// The log as JSON.
    pub(crate) fn lines(&self) -> Vec<Value> {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        text.lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    /// The end of the log.
    pub(crate) fn tail(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    /// Nothing in it has ever panicked.
    pub(crate) fn assert_sane(&self) {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        assert!(!text.contains("panicked"), "{}", self.tail());
    }
}

/// Sends a signal; to nobody, if the process has ended.
pub(crate) fn send(signal: &str, pid: &str) {
    let _gone = std::process::Command::new("kill")
        .args(["-s", signal, pid])
        .stderr(Stdio::null())
        .status();
}
