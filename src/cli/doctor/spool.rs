//! The spool: whether it takes what the store refuses, and whether anything waits there.

use std::{
    fs,
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;

use super::{Check, Finding, Patient, counted, place};
use crate::base::clock::Timestamp;

const NAME: &str = "spool";

/// A store that answers has taken what waits long before this.
const USUAL_WAIT: Duration = Duration::from_mins(1);

/// See the [module docs](self).
pub(super) struct Spool;

#[async_trait]
impl Check for Spool {
    async fn look(&self, patient: &Patient<'_>) -> Vec<Finding> {
        let directory = &patient.loaded.settings.store.spool_dir;
        let shown = directory.display();
        if let Err(error) = place::takes_files(directory) {
            return vec![Finding::error(
                NAME,
                format!("{shown} takes no files: {error}"),
                "tokens that were renewed while the store refuses them are lost with the process",
                "make it a directory that this user can write to, or set store.spool_dir to one",
            )];
        }
        let mut findings = vec![match waiting(directory, patient.now) {
            (0, _) => Finding::ok(NAME, format!("{shown} takes files; nothing waits there")),
            (count, oldest) if oldest < USUAL_WAIT => Finding::ok(
                NAME,
                format!(
                    "{} in {shown}, for less than a minute so far",
                    counted(count, "renewal")
                ),
            ),
            (count, oldest) => Finding::warning(
                NAME,
                format!(
                    "{} in {shown}, the oldest for {} minutes",
                    counted(count, "renewal"),
                    oldest.as_secs() / 60
                ),
                "these are the only copies of tokens that work: their users are lost with the directory",
                "make the store take writes, and run a sidecar with this store.spool_dir: it takes them \
                 there by itself",
            ),
        }];
        findings.extend(place::lasting(NAME, directory));
        findings.extend(place::open_to_others(NAME, directory));
        findings
    }
}

fn age(modified: SystemTime, now: Timestamp) -> Duration {
    let since = modified.duration_since(UNIX_EPOCH).unwrap_or_default();
    now.saturating_since(Timestamp::EPOCH.saturating_add(since))
}

/// How many renewals wait, and for how long the oldest.
fn waiting(directory: &Path, now: Timestamp) -> (usize, Duration) {
    let Ok(entries) = fs::read_dir(directory) else {
        return (0, Duration::ZERO);
    };
    let is_renewal = |entry: &fs::DirEntry| {
        let path = entry.path();
        path.extension().is_some_and(|end| end == "renewal")
    };
    let ages: Vec<Duration> = entries
        .flatten()
        .filter(is_renewal)
        .map(|entry| {
            let modified = entry.metadata().and_then(|metadata| metadata.modified());
            modified.map_or(Duration::ZERO, |modified| age(modified, now))
        })
        .collect();
    (ages.len(), ages.into_iter().max().unwrap_or_default())
}
