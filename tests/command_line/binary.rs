//! Runs the real binary: once to its end, or as a server that is told to stop.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;
use tokio::time::Instant;

/// Nothing here takes half as long, even on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// A working directory.
pub(crate) struct Home(TempDir);

/// What a command answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// A command that runs until it is told to stop; killed when dropped.
pub(crate) struct Serving {
    child: Child,
    out: Receiver<String>,
    err: Receiver<String>,
    pub(crate) log: String,
}

// === impl Home ===

impl Home {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        command(self.0.path(), arguments)
    }

    /// Runs a command to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Answer {
        self.run_with(arguments, "")
    }

    /// Runs a command to its end; it reads `input`.
    pub(crate) fn run_with(&self, arguments: &[&str], input: &str) -> Answer {
        let mut child = self.command(arguments).spawn().unwrap();
        // Whoever does not read it closes the pipe.
        let _unread = child.stdin.take().unwrap().write_all(input.as_bytes());
        let output = child.wait_with_output().unwrap();
        Answer {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Runs a command until it is told to stop.
    pub(crate) fn serve(&self, arguments: &[&str]) -> Serving {
        let mut child = self.command(arguments).spawn().unwrap();
        Serving {
            out: lines(child.stdout.take().unwrap()),
            err: lines(child.stderr.take().unwrap()),
            child,
            log: String::new(),
        }
    }

    /// Runs the sidecar on free ports; its addresses for calls and for probes.
    pub(crate) fn sidecar(&self, arguments: &[&str]) -> (Serving, String, String) {
        let mut all = vec![
            "run",
            "--set",
            "outbound.listen=127.0.0.1:0",
            "--set",
            "ingress.listen=127.0.0.1:0",
            "--set",
            "admin.listen=127.0.0.1:0",
            "--set",
            "telemetry.log_format=json",
        ];
        all.extend(arguments);
        let mut sidecar = self.serve(&all);
        let line = sidecar.logged("\"message\":\"ready\"");
        let ready: Value = serde_json::from_str(&line).unwrap();
        let address = |side: &str| format!("http://{}", ready[side].as_str().unwrap());
        let (outbound, admin) = (address("outbound"), address("admin"));
        (sidecar, outbound, admin)
    }
}

// === impl Answer ===

impl Answer {
    /// Its standard output as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }

    /// Its standard error as JSON.
    pub(crate) fn error(&self) -> Value {
        serde_json::from_str(&self.err).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }

    /// Expects that it went well.
    #[track_caller]
    pub(crate) fn fine(self) -> Self {
        assert_eq!(self.code, Some(0), "{self:?}");
        self
    }

    /// Expects this exit code, and each of `texts` on standard error.
    #[track_caller]
    pub(crate) fn fails(self, code: i32, texts: &[&str]) -> Self {
        assert_eq!(self.code, Some(code), "{self:?}");
        for text in texts {
            assert!(self.err.contains(text), "no {text:?} in {}", self.err);
        }
        self
    }
}

// === impl Serving ===

impl Serving {
    /// The first line with `text`, which may have been read while waiting for another.
    #[track_caller]
    pub(crate) fn has_logged(&mut self, text: &str) -> String {
        match self.log.lines().find(|line| line.contains(text)) {
            Some(line) => line.to_owned(),
            None => self.logged(text),
        }
    }

    /// The next line of its log with `text`.
    #[track_caller]
    pub(crate) fn logged(&mut self, text: &str) -> String {
        // Whoever says other things for ever does not say it either.
        let until = Instant::now() + 3 * PATIENCE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let Ok(line) = self.err.recv_timeout(PATIENCE.min(left)) else {
                panic!("no {text:?} in\n{}", self.log);
            };
            self.log.push_str(&line);
            if line.contains(text) {
                return line;
            }
        }
    }

    /// The JSON object that it prints first.
    #[track_caller]
    pub(crate) fn printed_json(&self) -> Value {
        let mut text = String::new();
        loop {
            text.push_str(&self.out.recv_timeout(PATIENCE).unwrap());
            if let Ok(value) = serde_json::from_str(&text) {
                return value;
            }
        }
    }

    /// Reads what it prints up to a line with `text`.
    #[track_caller]
    pub(crate) fn printed(&self, text: &str) -> String {
        let mut all = String::new();
        while !all.contains(text) {
            let Ok(line) = self.out.recv_timeout(PATIENCE) else {
                panic!("no {text:?} in\n{all}");
            };
            all.push_str(&line);
        }
        all
    }

    pub(crate) fn signal(&self, name: &str) {
        let order = format!("kill -{name} {}", self.child.id());
        let done = Command::new("sh").args(["-c", &order]).status().unwrap();
        assert!(done.success());
    }

    /// Tells it to stop; its exit code.
    pub(crate) fn stop(mut self) -> Option<i32> {
        self.signal("TERM");
        self.ended()
    }

    /// Waits for its end; its exit code. Its log is whole then.
    pub(crate) fn ended(&mut self) -> Option<i32> {
        loop {
            match self.err.recv_timeout(PATIENCE) {
                Ok(line) => self.log.push_str(&line),
                Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => break,
                Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {
                    panic!("it does not end:\n{}", self.log)
                }
            }
        }
        self.child.wait().unwrap().code()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // It may have ended already.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// The binary in `directory`, with pipes for everything.
pub(crate) fn command(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_daypass"));
    command
        .args(arguments)
        .current_dir(directory)
        .env_clear()
        .env("TMPDIR", directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn lines(input: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut input = BufReader::new(input);
        let mut line = String::new();
        while input.read_line(&mut line).is_ok_and(|length| length > 0) {
            if sender.send(std::mem::take(&mut line)).is_err() {
                return;
            }
        }
    });
    receiver
}
