//! Processes: started, listened to, killed with the test.

use std::{ffi::OsStr, ffi::OsString, path::Path, process::Stdio, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::{Child, Command},
    time::{Instant, sleep},
};

/// No step takes this long, on a machine that is busy.
const PATIENCE: Duration = Duration::from_mins(1);

/// A running process, and what it has written so far.
pub(crate) struct Process {
    child: Child,
    written: Arc<Mutex<Vec<u8>>>,
}

/// A command without this machine's settings.
pub(crate) fn bare(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.env_clear().kill_on_drop(true);
    for name in ["PATH", "HOME"] {
        command.envs(inherited(name).map(|value| (name, value)));
    }
    command
}

/// The binary.
pub(crate) fn daypass(home: &Path) -> Command {
    let mut command = bare(env!("CARGO_BIN_EXE_daypass"));
    command.current_dir(home);
    command
}

/// Runs a command that must succeed.
pub(crate) async fn done(mut command: Command) {
    let output = command.output().await.unwrap();
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{command:?}: {out}{err}");
}

/// Waits until `look` finds something.
pub(crate) async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

// === impl Process ===

impl Process {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let written = Arc::default();
        listen(child.stdout.take().unwrap(), &written);
        listen(child.stderr.take().unwrap(), &written);
        Self { child, written }
    }

    /// The first line with `mark` in it, once it is there.
    pub(crate) async fn line(&mut self, mark: &str) -> String {
        let Self { child, written } = self;
        until(&format!("a process writes {mark:?}"), async || {
            let text = String::from_utf8_lossy(&written.lock()).into_owned();
            let found = text.lines().find(|line| line.contains(mark));
            let ended = child.try_wait().unwrap();
            assert!(
                found.is_some() || ended.is_none(),
                "ended with {ended:?}: {text}"
            );
            found.map(ToOwned::to_owned)
        })
        .await
    }

    pub(crate) fn written(&self) -> String {
        String::from_utf8_lossy(&self.written.lock()).into_owned()
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "it ends with the process, or with the test"
)]
fn listen(mut from: impl AsyncRead + Unpin + Send + 'static, into: &Arc<Mutex<Vec<u8>>>) {
    let into = Arc::clone(into);
    drop(tokio::spawn(async move {
        let mut chunk = vec![0; 16 * 1024];
        while let Ok(read @ 1..) = from.read(&mut chunk).await {
            into.lock().extend_from_slice(&chunk[..read]);
        }
    }));
}

#[expect(
    clippy::disallowed_methods,
    reason = "the test's own surroundings, not settings of the product"
)]
fn inherited(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}
