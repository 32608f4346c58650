//! A service manager, as far as a process can tell: it listens to what it is told, and holds sockets that
//! it hands over.

use std::{
    net::TcpListener,
    os::{fd::OwnedFd, unix::net::UnixDatagram},
    process::Stdio,
    sync::Arc,
    thread,
    time::Duration,
};

use parking_lot::Mutex;
use tokio::process::Command;

use crate::{sidecar::until, world::World};

/// Takes the socket on standard input for the first that is handed over, as `sd_listen_fds(3)` has them,
/// and becomes what it is told to.
const HAND_OVER: &str = r#"
    exec 3<&0 </dev/null
    export LISTEN_FDS=1 LISTEN_PID=$$
    exec "$@"
"#;

/// Where it listens.
pub(crate) struct Manager {
    pub(crate) address: String,
    heard: Arc<Mutex<Vec<String>>>,
}

// === impl Manager ===

impl Manager {
    /// Listens in the folder of `world`.
    pub(crate) fn listen(world: &World) -> Self {
        let path = world.path("notify.sock");
        let socket = UnixDatagram::bind(&path).unwrap();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let into = Arc::clone(&heard);
        // It ends with the test program.
        thread::spawn(move || {
            let mut message = [0; 4096];
            while let Ok(length) = socket.recv(&mut message) {
                let text = String::from_utf8_lossy(&message[..length]).into_owned();
                into.lock().push(text);
            }
        });
        Self {
            address: path.display().to_string(),
            heard,
        }
    }

    /// Everything it was told, in this order.
    pub(crate) fn heard(&self) -> Vec<String> {
        self.heard.lock().clone()
    }

    /// How often it was told exactly this.
    pub(crate) fn times(&self, message: &str) -> usize {
        self.heard().iter().filter(|told| *told == message).count()
    }

    /// Waits until it is told something with `part`: the whole message.
    pub(crate) async fn until(&self, part: &str) -> String {
        until(part, async || {
            let heard = self.heard();
            heard.into_iter().find(|message| message.contains(part))
        })
        .await
    }

    /// Whether it is told anything within `time`.
    pub(crate) async fn hears_within(&self, time: Duration) -> bool {
        let before = self.heard().len();
        tokio::time::sleep(time).await;
        self.heard().len() > before
    }
}

/// `daypass run`, with `socket` handed over under `name`.
pub(crate) fn handing_over(world: &World, socket: &TcpListener, name: &str) -> Command {
    let socket = OwnedFd::from(socket.try_clone().unwrap());
    let mut command = Command::new("/bin/sh");
    command
        .env_clear()
        .env("LISTEN_FDNAMES", name)
        .stdin(Stdio::from(socket))
        .args(["-c", HAND_OVER, "sh", env!("CARGO_BIN_EXE_daypass"), "run"])
        .args(world.arguments());
    command
}
