//! What others may see of a sidecar's memory: not even processes of the same user see any of it, and a
//! crash leaves nothing of it on the disk.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    os::unix::{
        fs::{MetadataExt as _, chown},
        process::ExitStatusExt as _,
    },
    process::{Child, Command, Stdio},
};

use crate::binary::Home;

/// Who is nobody on most machines, and has no rights beyond those of a user.
const NOBODY: u32 = 65_534;

/// As a user without rights, whoever runs the tests.
fn as_user(home: &Home) -> Vec<String> {
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        return Vec::new();
    }
    chown(home.path("."), Some(NOBODY), Some(NOBODY)).unwrap();
    let (user, group) = (format!("--reuid={NOBODY}"), format!("--regid={NOBODY}"));
    ["setpriv", &user, &group, "--clear-groups"]
        .map(str::to_owned)
        .into()
}

/// A process that is killed when it is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// A sidecar that would dump core if it could.
fn start(home: &Home, more: &str) -> Running {
    let binary = home.path("daypass");
    fs::copy(env!("CARGO_BIN_EXE_daypass"), &binary).unwrap();
    let script = format!(
        "ulimit -c unlimited; exec {} ./daypass run --set outbound.listen=127.0.0.1:0 \
         --set ingress.listen=127.0.0.1:0 --set admin.listen=127.0.0.1:0 {more}",
        as_user(home).join(" ")
    );
    let mut child = Command::new("sh")
        .args(["-c", &script])
        .current_dir(home.path("."))
        .env("DAYPASS_PROVIDERS_CALENDLY_CLIENT_SECRET", "a-secret")
        .env("DAYPASS_PROVIDERS_CALENDLY_CLIENT_ID", "a-client")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let ready = lines.find(|line| line.as_ref().unwrap().contains("ready"));
    assert!(ready.is_some());
    // What it still says may be lost, and must not stop it.
    std::thread::spawn(move || lines.for_each(drop));
    Running(child)
}

/// Whether the same user can open a file about the process.
fn can_open(home: &Home, sidecar: &Running, name: &str) -> bool {
    let mut words = as_user(home);
    words.extend(["head", "-c", "0"].map(str::to_owned));
    words.push(format!("/proc/{}/{name}", sidecar.0.id()));
    let opened = Command::new(&words[0])
        .args(&words[1..])
        .stderr(Stdio::null())
        .status();
    opened.unwrap().success()
}

#[test]
fn a_sidecar_shows_its_memory_to_nobody_and_leaves_none_of_it_when_it_crashes() {
    let home = Home::new();
    let mut sidecar = start(&home, "");
    for name in ["mem", "environ", "maps"] {
        assert!(!can_open(&home, &sidecar, name), "{name}");
    }
    let limits = fs::read_to_string(format!("/proc/{}/limits", sidecar.0.id())).unwrap();
    let cores = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"))
        .unwrap();
    assert_eq!(cores.split_whitespace().nth(4), Some("0"), "{cores}");
    assert_eq!(cores.split_whitespace().nth(5), Some("0"), "{cores}");
    let kill = format!("kill -ABRT {}", sidecar.0.id());
    assert!(
        Command::new("sh")
            .args(["-c", &kill])
            .status()
            .unwrap()
            .success()
    );
    let ended = sidecar.0.wait().unwrap();
    assert_eq!(ended.signal(), Some(6));
    assert!(!ended.core_dumped());
    let names = fs::read_dir(home.path(".")).unwrap();
    let names: Vec<String> = names
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    assert!(!names.iter().any(|name| name.contains("core")), "{names:?}");
}

/// For looking for a fault; and the proof that the other test would notice.
#[test]
fn who_asks_for_it_may_look_into_a_sidecar() {
    let home = Home::new();
    let sidecar = start(&home, "--danger-allow-core-dumps");
    assert!(can_open(&home, &sidecar, "environ"));
}
