//! What the `Dockerfile` says agrees with the crate, the chart and the defaults; building and running it is
//! `.ci/image`'s work.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that meets the unexpected must fail loudly"
)]

use std::{fs, path::Path};

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// The rest of the first line of the `Dockerfile` that begins so.
fn line(text: &str, begins: &str) -> String {
    let mut lines = text.lines();
    let found = lines.find_map(|line| line.strip_prefix(begins));
    found.expect(begins).trim().to_owned()
}

/// The parts of a version, as far as it is told.
fn parts(version: &str) -> Vec<u32> {
    let parts = version.split('.');
    parts.map(|part| part.parse().unwrap()).collect()
}

#[test]
fn the_image_is_of_this_version_and_built_by_a_rust_that_can() {
    let file = read("Dockerfile");
    assert_eq!(line(&file, "ARG VERSION="), env!("CARGO_PKG_VERSION"));
    let (rust, needed) = (
        line(&file, "ARG RUST="),
        env!("CARGO_PKG_RUST_VERSION").to_owned(),
    );
    assert!(
        parts(&rust) >= parts(&needed),
        "{rust} builds what needs {needed}"
    );
}

#[test]
fn the_image_runs_as_whom_the_chart_expects() {
    let file = read("Dockerfile");
    let user = line(&file, "USER ");
    let chart = line(&read("helm/daypass/templates/_container.tpl"), "runAsUser:");
    assert_eq!(user, format!("{chart}:{chart}"));
    let copied = format!("COPY --from=build --chown={user} /image/var/lib/daypass");
    assert!(file.contains(&copied), "its folder is not its own");
    assert_eq!(line(&file, "EXPOSE "), "7420 7421 7422");
}

#[test]
fn the_last_stage_has_no_shell_and_no_health_check() {
    let file = read("Dockerfile");
    let last = file.rsplit("\nFROM ").next().unwrap();
    assert!(last.starts_with("gcr.io/distroless/"), "{last}");
    let instructions: Vec<_> = last
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(instruction, _)| instruction)
        .collect();
    assert!(
        !instructions.contains(&"RUN"),
        "there is no shell to run it"
    );
    assert!(
        !instructions.contains(&"HEALTHCHECK"),
        "probes are the cluster's"
    );
    assert!(
        last.contains("ENTRYPOINT [\""),
        "signals reach the binary itself"
    );
    assert!(
        !file.contains("# syntax"),
        "builders without a network build it"
    );
}
