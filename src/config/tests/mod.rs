//! Loading as a whole, by what is loaded; here is how a test loads it.

use std::{fs, time::Duration};

use proptest::prelude::*;

use super::*;
use crate::{
    base::{
        lifecycle::{Drained, Lifecycle},
        secret::ReloadableSecret,
    },
    http::Listen,
    provider::Kind,
};

mod layers;
mod listeners;
mod providers;
mod secrets;
mod stores;

/// A value that no message may repeat.
const SENTINEL: &str = "s3ntinel-value";

fn file(text: &str) -> Result<Loaded, Problems> {
    with(text, &[], &[])
}

fn variables(variables: &[(&str, &str)]) -> Result<Loaded, Problems> {
    with("", variables, &[])
}

fn with(
    text: &str,
    variables: &[(&str, &str)],
    overrides: &[(&str, &str)],
) -> Result<Loaded, Problems> {
    let environment: Environment = variables.iter().copied().collect();
    let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    let request = Request {
        file: None,
        overrides: overrides.iter().map(owned).collect(),
    };
    load_text(Path::new("daypass.toml"), text, &request, &environment)
}

fn problems(result: Result<Loaded, Problems>) -> Vec<Finding> {
    match result {
        Ok(_) => panic!("expected a problem"),
        Err(problems) => problems.problems,
    }
}

/// The one problem, as `origin key message`.
fn problem(result: Result<Loaded, Problems>) -> String {
    let problems = problems(result);
    assert_eq!(problems.len(), 1, "{problems:?}");
    problems[0].to_string()
}

fn fine(result: Result<Loaded, Problems>) -> Loaded {
    match result {
        Ok(loaded) => loaded,
        Err(problems) => panic!("{problems}"),
    }
}

fn exposed(secret: Option<&ReloadableSecret>) -> String {
    secret.unwrap().current().danger_expose().clone()
}

fn calcom(loaded: &Loaded) -> &crate::provider::calcom::Config {
    let found = loaded
        .settings
        .providers
        .iter()
        .find_map(|provider| match provider {
            ProviderConfig::Calcom(config) => Some(config),
            ProviderConfig::Calendly(_) => None,
        });
    found.unwrap()
}

fn calendly(loaded: &Loaded) -> &crate::provider::calendly::Config {
    let found = loaded
        .settings
        .providers
        .iter()
        .find_map(|provider| match provider {
            ProviderConfig::Calendly(config) => Some(config),
            ProviderConfig::Calcom(_) => None,
        });
    found.unwrap()
}

const ONE_KEY: &str =
    "[[encryption.keys]]\nid = \"k1\"\nvalue = \"bm90LWEta2V5LWJ1dC1leGFjdGx5LTMyLWJ5dGVzISE=\"\n";

fn database(loaded: &Loaded) -> &Path {
    match &loaded.settings.store.backend {
        store_room::Backend::Sqlite { path } => path,
        other => panic!("{other:?}"),
    }
}
