//! Real Redis servers on free ports, in folders of their own, that end with the tests.
//!
//! Each is the child of a shell that waits for the end of its input, which is the end of the test
//! process, however that ends; then it kills the server and removes the folder.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

/// Starts a server, says its process id, and ends it with its own input.
const KEEPER: &str = r#"
folder=$1; shift
"$@" >"$folder/output" 2>&1 </dev/null &
echo $!
cat >/dev/null
kill -9 $! 2>/dev/null
rm -rf "$folder"
"#;

/// A server. It ends when this is dropped.
pub(crate) struct Server {
    pub(crate) port: u16,
    pub(crate) folder: PathBuf,
    options: Vec<String>,
    program: &'static str,
    keeper: Child,
    pid: String,
}

/// A free port.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}

/// Asks the server at `port` one thing with `redis-cli`; its answer.
pub(crate) fn cli(port: u16, words: &[&str]) -> String {
    let output = Command::new("redis-cli")
        .args(["-p", &port.to_string()])
        .args(words)
        .output()
        .unwrap_or_else(|error| missing("redis-cli", &error));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Waits until `condition` holds, at most half a minute.
pub(crate) fn eventually(what: &str, condition: impl Fn() -> bool) {
    for _ in 0..600 {
        if condition() {
            return;
        }
        thread::sleep(Duration::from_millis(50));
    }
    panic!("in half a minute it did not come about that {what}");
}

/// Three masters that share the slots and keep what they have.
pub(crate) fn cluster() -> Vec<Server> {
    cluster_that(&["--appendonly", "yes", "--appendfsync", "always"])
}

/// Three masters that share the slots, with these options.
pub(crate) fn cluster_that(keeps: &[&str]) -> Vec<Server> {
    let nodes: Vec<Server> = (0..3)
        .map(|_| {
            let bus = free_port().to_string();
            let options = ["--cluster-enabled", "yes", "--cluster-port", &bus];
            let patience = ["--cluster-node-timeout", "2000"];
            Server::start(&[&options[..], keeps, &patience].concat())
        })
        .collect();
    let mut command = Command::new("redis-cli");
    command.args(["--cluster", "create"]);
    for node in &nodes {
        command.arg(format!("127.0.0.1:{}", node.port));
    }
    let created = command.arg("--cluster-yes").output().unwrap();
    assert!(
        created.status.success(),
        "{}",
        String::from_utf8_lossy(&created.stdout)
    );
    for node in &nodes {
        eventually("the cluster is up", || {
            cli(node.port, &["CLUSTER", "INFO"]).contains("cluster_state:ok")
        });
    }
    nodes
}

fn missing(program: &str, error: &std::io::Error) -> ! {
    panic!("{program} cannot be run ({error}): run ./test once, which installs it");
}

// === impl Server ===

impl Server {
    /// Starts `redis-server` with `options`, without persistence unless they say otherwise.
    pub(crate) fn start(options: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap().keep();
        let defaults = ["--save", "", "--bind", "127.0.0.1"];
        let all = [&defaults[..], options].concat();
        Self::run("redis-server", free_port(), &folder, &all)
    }

    /// Starts `redis-sentinel` on the master at `port`, which it calls `main`.
    pub(crate) fn sentinel(port: u16, quorum: usize) -> Self {
        let folder = tempfile::tempdir().unwrap().keep();
        let file = folder.join("sentinel.conf");
        let text = format!(
            "bind 127.0.0.1\nsentinel monitor main 127.0.0.1 {port} {quorum}\n\
             sentinel down-after-milliseconds main 500\nsentinel failover-timeout main 3000\n"
        );
        std::fs::write(&file, text).unwrap();
        let options = [file.to_str().unwrap(), "--sentinel"];
        Self::run("redis-server", free_port(), &folder, &options)
    }

    fn run(program: &'static str, port: u16, folder: &Path, options: &[&str]) -> Self {
        let options: Vec<String> = options.iter().map(|&option| option.to_owned()).collect();
        let (keeper, pid) = keep(program, port, folder, &options);
        let server = Self {
            port,
            folder: folder.to_owned(),
            options,
            program,
            keeper,
            pid,
        };
        server.wait();
        server
    }

    /// Sends a signal, such as `KILL` or `TERM`.
    pub(crate) fn signal(&self, signal: &str) {
        let sent = Command::new("kill")
            .args(["-s", signal, &self.pid])
            .status();
        assert!(sent.unwrap().success());
    }

    /// Starts it again on what it left in its folder.
    pub(crate) fn start_again(&mut self) {
        let kept = self.folder.with_extension("kept");
        let copied = Command::new("cp")
            .arg("-r")
            .args([&self.folder, &kept])
            .status();
        assert!(copied.unwrap().success());
        self.end();
        std::fs::rename(&kept, &self.folder).unwrap();
        let (keeper, pid) = keep(self.program, self.port, &self.folder, &self.options);
        self.keeper = keeper;
        self.pid = pid;
        self.wait();
    }

    /// What the server printed.
    pub(crate) fn output(&self) -> String {
        std::fs::read_to_string(self.folder.join("output")).unwrap_or_default()
    }

    fn wait(&self) {
        if self.options.iter().any(|option| option == "--tls-port") {
            eventually("the server listens", || {
                TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_ok()
            });
            return;
        }
        for _ in 0..200 {
            if answers(self.port) {
                return;
            }
            thread::sleep(Duration::from_millis(25));
        }
        panic!("{} did not start: {}", self.program, self.output());
    }

    fn end(&mut self) {
        drop(self.keeper.stdin.take());
        let _ended = self.keeper.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

fn keep(program: &'static str, port: u16, folder: &Path, options: &[String]) -> (Child, String) {
    if let Err(error) = Command::new(program).arg("--version").output() {
        missing(program, &error);
    }
    let mut command = Command::new("sh");
    command
        .args(["-c", KEEPER, "keeper"])
        .arg(folder)
        .arg(program);
    // A file with the configuration comes first.
    command.args(options.iter().filter(|option| is_file(option)));
    let tls = options.iter().any(|option| option == "--tls-port");
    command.args(["--port", &if tls { 0 } else { port }.to_string()]);
    command.arg("--dir").arg(folder);
    for option in options.iter().filter(|option| !is_file(option)) {
        command.arg(if option == "TLS-PORT" {
            port.to_string()
        } else {
            option.clone()
        });
    }
    let mut keeper = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut pid = String::new();
    let stdout = keeper.stdout.take().unwrap();
    BufReader::new(stdout).read_line(&mut pid).unwrap();
    (keeper, pid.trim().to_owned())
}

/// Whether an option is a file with the configuration.
fn is_file(option: &str) -> bool {
    Path::new(option)
        .extension()
        .is_some_and(|end| end == "conf")
}

/// Whether a server at `port` answers, be it with a refusal.
fn answers(port: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else {
        return false;
    };
    let mut answer = [0; 5];
    stream.write_all(b"PING\r\n").is_ok()
        && stream.read_exact(&mut answer).is_ok()
        && matches!(&answer, b"+PONG" | b"-NOAU")
}
