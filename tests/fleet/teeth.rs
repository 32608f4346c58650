//! Teeth: protections taken out of the code, one at a time, and who notices.
//!
//! `DAYPASS_LONG_TESTS=1 cargo test --locked --test fleet teeth` builds the binary once for each, puts it
//! to the test that is to notice, and writes `docs/reports/teeth.md`. Without, only that the code which
//! is taken out is still there.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use crate::{
    place::BINARY,
    report::{Report, is_long, table},
};

/// A protection that is taken out.
struct Mutation {
    /// What the code does without it.
    name: &'static str,
    /// Its file, what is replaced there, and by what.
    edits: &'static [(&'static str, &'static str, &'static str)],
    /// Who has to notice.
    noticed_by: &'static str,
    /// What goes wrong meanwhile; not every schedule needs every protection within two minutes.
    seed: &'static str,
}

const ON_POSTGRES: &str = "a_fleet_on_postgresql_spends_nothing_twice_and_loses_nothing";

const MUTATIONS: &[Mutation] = &[
    Mutation {
        name: "everybody is given the lease",
        edits: &[(
            "src/store/postgres/leases.rs",
            "AND (lease_owner IS NULL OR",
            "AND (TRUE OR lease_owner IS NULL OR",
        )],
        noticed_by: ON_POSTGRES,
        seed: "1",
    },
    Mutation {
        name: "commits are not fenced",
        edits: &[(
            "src/store/postgres/grants.rs",
            "    now!(\"$15\"),\n    fenced!()\n",
            "    now!(\"$15\"),\n    \" WHERE provider = $1 AND user_id = $2 AND $3::bytea IS NOT NULL \
             AND $4::int8 IS NOT NULL AND coalesce($5::int8, 0) >= 0\"\n",
        )],
        noticed_by: "what_a_paused_process_got_is_stored_when_it_comes_back",
        seed: "1",
    },
    Mutation {
        name: "tokens that the store refuses are dropped",
        edits: &[
            (
                "src/token/spool.rs",
                "self.waiting.lock().insert(spooled.key.clone(), spooled);",
                "drop(spooled);",
            ),
            (
                "src/token/spool.rs",
                "self.disk.write(&name, &bytes).await",
                "Ok(drop((name, bytes)))",
            ),
        ],
        noticed_by: ON_POSTGRES,
        seed: "2",
    },
    Mutation {
        name: "memory ignores the last letter of a user",
        edits: &[(
            "src/token/cache.rs",
            "            provider: provider.as_str(),\n            user,\n",
            "            provider: provider.as_str(),\n            user: user.get(..user.len() - 1).unwrap_or(user),\n",
        )],
        noticed_by: ON_POSTGRES,
        seed: "1",
    },
];

/// Whose notice it was, and how long that took.
#[derive(Clone)]
struct Noticed {
    name: &'static str,
    by: &'static str,
    after: Duration,
    words: String,
}

static REPORT: Report<Vec<Noticed>> = Report::new("teeth.md", &["all"], words);

const OPENING: &str = "# Teeth

Would the harness of real processes notice? Protections taken out of the code one at a time, the binary built anew, and
put to the test that is to notice. Written by the test that did it, which fails if one goes unnoticed:

    DAYPASS_LONG_TESTS=1 cargo test --locked --test fleet teeth

The edits are in `tests/fleet/teeth.rs`. The time is that of the test, from the start of its servers to the verdict, which
it comes to after each round of trouble and peace; all of them ran at once.

";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Where mutated sources are, and where they are built.
fn workshop() -> PathBuf {
    root().join("target/teeth")
}

fn words(told: &[(&'static str, Vec<Noticed>)]) -> String {
    let mut rows = vec![
        ["without it", "noticed by", "after", "first complaint"]
            .map(ToOwned::to_owned)
            .to_vec(),
    ];
    for noticed in told.iter().flat_map(|(_, all)| all) {
        rows.push(vec![
            noticed.name.to_owned(),
            format!("`{}`", noticed.by),
            format!("{} s", noticed.after.as_secs()),
            noticed.words.clone(),
        ]);
    }
    OPENING.to_owned() + &table(&rows)
}

impl Mutation {
    /// The mutated text of each of its files.
    fn edited(&self) -> BTreeMap<&'static str, String> {
        let mut texts = BTreeMap::new();
        for (file, from, to) in self.edits {
            let read = || fs::read_to_string(root().join(file)).unwrap();
            let text = texts.entry(*file).or_insert_with(read);
            let found = text.matches(from).count();
            assert_eq!(found, 1, "{}: {file} has {from:?} once", self.name);
            *text = text.replace(from, to);
        }
        texts
    }

    /// Where the binary without the protection is, for the sources as they are.
    fn binary(&self) -> PathBuf {
        let mut digest = Sha256::new();
        for (_, text) in self.edited() {
            digest.update(text);
        }
        let mut folders = vec![root().join("src")];
        while let Some(folder) = folders.pop() {
            let mut inside: Vec<_> = fs::read_dir(folder)
                .unwrap()
                .flatten()
                .map(|one| one.path())
                .collect();
            inside.sort();
            for path in inside {
                if path.is_dir() {
                    folders.push(path);
                } else {
                    digest.update(fs::read(path).unwrap());
                }
            }
        }
        workshop().join(hex::encode(digest.finalize()))
    }

    /// Builds the binary without the protection, unless that was done.
    fn build(&self) {
        if self.binary().exists() {
            return;
        }
        let source = workshop().join("source");
        for (file, text) in self.edited() {
            fs::write(source.join(file), text).unwrap();
        }
        let built = Command::new(env!("CARGO"))
            .args(["build", "--locked", "--quiet", "--bin", "daypass"])
            .current_dir(&source)
            .env("CARGO_TARGET_DIR", workshop().join("built"))
            .output()
            .unwrap();
        for (file, _, _) in self.edits {
            fs::copy(root().join(file), source.join(file)).unwrap();
        }
        let said = String::from_utf8_lossy(&built.stderr);
        assert!(built.status.success(), "{}: {said}", self.name);
        fs::copy(workshop().join("built/debug/daypass"), self.binary()).unwrap();
    }

    /// Puts a binary to the test. What it complained of, and after how long, if it did.
    fn test(&self, binary: &Path) -> Option<Noticed> {
        let begun = Instant::now();
        let tested = Command::new(std::env::current_exe().unwrap())
            .args([self.noticed_by, "--nocapture"])
            .env(BINARY, binary)
            .env("DAYPASS_FLEET_SECONDS", "120")
            .env("DAYPASS_FLEET_SEED", self.seed)
            .env_remove("DAYPASS_LONG_TESTS")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let after = Instant::now().saturating_duration_since(begun);
        let said = String::from_utf8_lossy(&tested.stderr);
        let ran = String::from_utf8_lossy(&tested.stdout).contains("running 1 test");
        assert!(ran, "{}: no test is called so", self.noticed_by);
        (!tested.status.success()).then(|| Noticed {
            name: self.name,
            by: self.noticed_by,
            after,
            words: complaint(&said),
        })
    }
}

/// What a test complained of first.
fn complaint(said: &str) -> String {
    let violation = said
        .lines()
        .find_map(|line| line.strip_prefix("VIOLATION: "));
    let mut lines = said.lines();
    let panicked = lines
        .find(|line| line.contains(" panicked at "))
        .and_then(|_| lines.next());
    let words = violation.or(panicked).unwrap_or_default();
    let mut words: String = words.chars().take(160).collect();
    words = words.replace('|', "/").replace('`', "'");
    words
}

/// Two tests build, and there is one workshop.
static AT_WORK: Mutex<()> = Mutex::new(());

/// Builds what was not built yet, from a copy of the sources as they are.
fn build_all() {
    let _turn = AT_WORK.lock();
    let source = workshop().join("source");
    let _none = fs::remove_dir_all(&source);
    fs::create_dir_all(&source).unwrap();
    let copied = Command::new("cp")
        .arg("-a")
        .args([
            "Cargo.toml",
            "Cargo.lock",
            "src",
            "benches",
            "tests",
            "config",
            "docs",
        ])
        .arg(&source)
        .current_dir(root())
        .status();
    assert!(copied.unwrap().success());
    for mutation in MUTATIONS {
        mutation.build();
    }
}

#[test]
fn what_is_taken_out_is_there_and_builds_without() {
    if is_long() {
        return build_all();
    }
    for mutation in MUTATIONS {
        mutation.edited();
    }
}

#[test]
fn every_protection_that_is_taken_out_is_noticed() {
    if !is_long() {
        let tests = [
            "soak/mod.rs",
            "pausing.rs",
            "outages/store.rs",
            "outages/tokens.rs",
        ];
        let tests =
            tests.map(|file| fs::read_to_string(root().join("tests/fleet").join(file)).unwrap());
        for Mutation {
            name, noticed_by, ..
        } in MUTATIONS
        {
            let test = format!("fn {noticed_by}(");
            assert!(
                tests.iter().any(|text| text.contains(&test)),
                "{name}: no {test}"
            );
        }
        return;
    }
    build_all();
    // Most of it is waiting.
    let tested = std::thread::scope(|scope| {
        let started = MUTATIONS.iter().map(|mutation| {
            let binary = mutation.binary();
            (mutation.name, scope.spawn(move || mutation.test(&binary)))
        });
        let started: Vec<_> = started.collect();
        let ended = started.into_iter();
        ended
            .map(|(name, test)| (name, test.join().unwrap()))
            .collect::<Vec<_>>()
    });
    let unnoticed: Vec<_> = tested
        .iter()
        .filter(|(_, noticed)| noticed.is_none())
        .map(|(name, _)| *name)
        .collect();
    let noticed: Vec<_> = tested
        .into_iter()
        .filter_map(|(_, noticed)| noticed)
        .collect();
    for noticed in &noticed {
        eprintln!("{}: {:?}, {}", noticed.name, noticed.after, noticed.words);
    }
    assert_eq!(unnoticed, Vec::<&str>::new());
    REPORT.tell("all", noticed);
}
