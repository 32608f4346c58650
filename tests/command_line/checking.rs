//! `check`, `keygen`, the refusals at the start, and how answers and errors are written.

use std::{os::unix::fs::PermissionsExt, process::Stdio};

use serde_json::json;

use crate::binary::Home;

const SECRET: &str = "s3cret-that-nobody-may-see";

/// Several mistakes, on known lines.
fn broken(home: &Home) {
    home.write(
        "daypass.toml",
        &format!(
            "[outbound]\nlisten = \"0.0.0.0:7420\"\n[refresh]\nbufer = \"5m\"\nmin_validity = \"soon\"\n\
             [providers.calendly]\nkind = \"calendly\"\nclient_id = \"c\"\nclient_secret = [\"{SECRET}\"]\n"
        ),
    );
}

#[test]
fn check_tells_every_problem_at_once_with_its_line_and_never_a_value() {
    let home = Home::new();
    broken(&home);
    let answer = home.run(&["check"]).fails(
        2,
        &[
            "daypass.toml:2: outbound.listen",
            "daypass.toml:4: refresh.bufer",
            "did you mean `buffer`",
            "daypass.toml:5: refresh.min_validity",
            "daypass.toml:9: providers.calendly.client_secret",
        ],
    );
    assert!(!answer.err.contains(SECRET) && !answer.err.contains("soon"));
    assert_eq!(answer.out, "");
    home.run(&["run"])
        .fails(2, &["outbound.allow_remote = true"]);
}

#[test]
fn check_answers_in_json_for_programs() {
    let home = Home::new();
    broken(&home);
    let answer = home.run(&["check", "--json"]).fails(2, &[]);
    let keys: Vec<_> = answer.json()["problems"]
        .as_array()
        .unwrap()
        .iter()
        .map(|problem| problem["key"].clone())
        .collect();
    assert!(keys.len() >= 4 && keys.contains(&json!("refresh.bufer")));
    assert_eq!(answer.err, "", "it is said once");
    assert!(!answer.out.contains(SECRET));

    let fine = Home::new().run(&["check", "--json"]).fine().json();
    assert_eq!(fine["problems"], json!([]));
    assert_eq!(fine["outbound"], "127.0.0.1:7420");
    assert_eq!(fine["providers"], json!(["calcom", "calendly"]));
}

#[test]
fn other_commands_tell_a_wrong_configuration_in_json_too() {
    let home = Home::new();
    broken(&home);
    let answer = home.run(&["connections", "list", "--json"]).fails(2, &[]);
    assert!(answer.error()["problems"].as_array().unwrap().len() >= 4);
}

#[test]
fn a_flag_wins_over_the_environment_and_the_environment_over_the_file() {
    let home = Home::new();
    home.write("daypass.toml", "[outbound]\nlisten = \"127.0.0.1:1111\"\n");
    let outbound = |arguments: &[&str]| {
        let mut command = home.command(arguments);
        command.env("DAYPASS_ADMIN_LISTEN", "127.0.0.1:2222");
        let output = command.output().unwrap();
        let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        (answer["outbound"].clone(), answer["admin"].clone())
    };
    assert_eq!(
        outbound(&["check", "--json"]),
        (json!("127.0.0.1:1111"), json!("127.0.0.1:2222"))
    );
    let flags = ["--set", "admin.listen=127.0.0.1:3333", "check", "--json"];
    assert_eq!(outbound(&flags).1, json!("127.0.0.1:3333"));
}

#[test]
fn what_the_command_line_cannot_mean_exits_with_two() {
    let home = Home::new();
    home.run(&["chek"]).fails(2, &["check"]);
    home.run(&["check", "--set", "nonsense"])
        .fails(2, &["KEY=VALUE"]);
    home.run(&["check", "--config", "nowhere.toml"])
        .fails(2, &["nowhere.toml cannot be read"]);
    home.run(&["demo", "--set", "outbound.listen=127.0.0.1:1"])
        .fails(2, &["brings its own configuration"]);
    home.run(&["sandbox", "--config", "x.toml"])
        .fails(2, &["brings its own configuration"]);
}

#[test]
fn listeners_that_others_could_reach_are_refused_with_what_to_do() {
    let home = Home::new();
    home.run(&["run", "--set", "admin.listen=0.0.0.0:7422"])
        .fails(2, &["admin.token"]);
    home.run(&["run", "--set", "outbound.listen=[::]:7420"])
        .fails(2, &["loopback", "outbound.allow_remote"]);
    assert!(!home.path("daypass.db").exists(), "nothing was touched");
}

#[test]
fn a_fresh_key_can_be_configured() {
    let home = Home::new();
    let key = home.run(&["keygen"]).fine().out;
    assert_ne!(key, home.run(&["keygen"]).fine().out);
    let as_json = home.run(&["keygen", "--json"]).fine().json();
    assert_eq!(as_json["key"].as_str().unwrap().len(), key.trim().len());

    home.write("k1", &key);
    std::fs::set_permissions(home.path("k1"), PermissionsExt::from_mode(0o600)).unwrap();
    home.write(
        "daypass.toml",
        "[encryption]\nactive = \"k1\"\n[[encryption.keys]]\nid = \"k1\"\nfile = \"k1\"\n",
    );
    home.run(&["check"]).fine();
    let import = ["connections", "import", "--provider", "calendly"];
    home.run_with(&import, "user,access_token\nu_1,a-token\n")
        .fine();
    assert!(!home.path("daypass.key").exists(), "no other key is made");
}

#[test]
fn a_reader_who_has_heard_enough_is_no_error() {
    let home = Home::new();
    let mut command = home.command(&["check"]);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = command
        .stdout(Stdio::from(writer))
        .spawn()
        .unwrap()
        .wait_with_output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
}

#[test]
fn every_command_explains_itself() {
    let home = Home::new();
    for command in [
        "run",
        "demo",
        "sandbox",
        "check",
        "keygen",
        "connections",
        "health",
    ] {
        let help = home.run(&[command, "--help"]).fine().out;
        assert!(help.contains("Usage: daypass") && help.contains("--json"));
        assert!(
            help.lines().all(|line| line.chars().count() <= 100),
            "{help}"
        );
    }
}
