//! A standby of a PostgreSQL server, which takes no writes.

use std::{
    fs,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use crate::postgres_server::{Server, USER, as_nobody, free_port, private_folder, program};

/// A standby that follows `primary`.
pub(crate) fn of(primary: &Server) -> Server {
    let folder = private_folder();
    // Beside what the server's user signs in with from outside.
    let rules = primary.folder.join("data/pg_hba.conf");
    let text = fs::read_to_string(&rules).unwrap();
    fs::write(&rules, format!("local replication {USER} trust\n{text}")).unwrap();
    primary.sql("postgres", "SELECT pg_reload_conf()");
    let copied = as_nobody(&folder, program("pg_basebackup"))
        .arg("--pgdata")
        .arg(folder.join("data"))
        .arg("--host")
        .arg(&primary.folder)
        .args(["--port", &primary.port.to_string(), "--username", USER])
        .args(["--write-recovery-conf", "--no-sync", "--checkpoint=fast"])
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&copied.stderr);
    assert!(copied.status.success(), "pg_basebackup: {told}");
    let mut standby = Server {
        folder,
        port: free_port(),
        settings: Vec::new(),
        running: None,
    };
    standby.resume();
    standby
}

// === impl Server ===

impl Server {
    /// Waits until `sql` finds something.
    pub(crate) fn wait_for(&self, database: &str, sql: &str) {
        for _ in 0..1_000 {
            if self.finds(database, sql) {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
        panic!("nothing was found by {sql}");
    }

    /// What runs `sql`, as an operator would, and may take its time.
    pub(crate) fn asked(&self, database: &str, sql: &str) -> Command {
        let mut command = Command::new(program("psql"));
        command
            .args(["-X", "-q", "-A", "-t", "-U", USER, "-h"])
            .arg(&self.folder)
            .args(["-p", &self.port.to_string(), "-d", database, "-c", sql])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn finds(&self, database: &str, sql: &str) -> bool {
        let asked = self.asked(database, sql).output().unwrap();
        asked.status.success() && !asked.stdout.is_empty()
    }
}
