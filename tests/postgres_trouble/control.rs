//! What is done to a server: stopped, killed, frozen, configured anew.

use std::{fs, io::Write as _, process::Command};

use crate::postgres_server::Server;

impl Server {
    /// Sends it a signal and waits for its end: `INT` stops it in order, `KILL` does not.
    pub(crate) fn stop(&mut self, signal: &str) {
        let mut guard = self.running.take().unwrap();
        self.signal(signal);
        // Its end is seen by the guard, whose child it is.
        let mut pipe = guard.stdin.take().unwrap();
        pipe.write_all(b"keep\n").unwrap();
        guard.wait().unwrap();
    }

    /// Stops it in order, and starts it again.
    pub(crate) fn restart(&mut self) {
        self.stop("INT");
        self.resume();
    }

    /// Sends its main process a signal.
    pub(crate) fn signal(&self, signal: &str) {
        send(signal, &self.pid());
    }

    /// Sends a signal to all of its processes: the main one first, which then forks no others.
    pub(crate) fn signal_all(&self, signal: &str) {
        let pid = self.pid();
        send(signal, &pid);
        let children = format!("/proc/{pid}/task/{pid}/children");
        for child in fs::read_to_string(children).unwrap().split_whitespace() {
            send(signal, child);
        }
    }

    /// Changes a setting while it runs.
    pub(crate) fn set(&self, setting: &str) {
        self.sql("postgres", &format!("ALTER SYSTEM SET {setting}"));
        self.sql("postgres", "SELECT pg_reload_conf()");
    }

    fn pid(&self) -> String {
        let file = self.pid_file().unwrap();
        file.lines().next().unwrap().to_owned()
    }
}

fn send(signal: &str, pid: &str) {
    let _gone = Command::new("kill").args(["-s", signal, pid]).status();
}
