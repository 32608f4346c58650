//! `[store]`: where connections are kept.
//!
//! `DATABASE_URL` and `REDIS_URL` often belong to the app beside us, so they count for less than
//! `store.url`: where they name something this version cannot use, they are passed over, with a
//! warning.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    problem::Origin,
    section::{Found, Section},
};
use crate::store::{Backend, Config, postgres, redis};

/// The variables that apps already use, in order.
const FALLBACKS: [&str; 2] = ["DATABASE_URL", "REDIS_URL"];

/// In the working directory: where a first try on a laptop expects it.
const DEFAULT_URL: &str = "sqlite:daypass.db";

/// The spool's name, next to the database.
const SPOOL: &str = "daypass-spool";

pub(super) fn read(section: &Section<'_>) -> Option<Config> {
    let backend = read_url(section);
    let spool_dir = section.path("spool_dir", SPOOL);
    let spool_dir = match (section.find("spool_dir"), backend.as_ref()?) {
        (None, Backend::Sqlite { path }) => path.with_file_name(SPOOL),
        _ => spool_dir?,
    };
    Some(Config {
        backend: backend?,
        spool_dir,
    })
}

/// The URL holds a password, so that it has a `_file` twin like every secret. When the file changes, user
/// and password are taken over; another store is not.
fn read_url(section: &Section<'_>) -> Option<Backend> {
    section.declare("url", "text", Some(DEFAULT_URL));
    section.declare("url_file", "path", None);
    match (section.find("url"), section.find("url_file")) {
        (Some(direct), Some(file)) if direct.layer == file.layer => {
            section.problem("url", "is given twice: here and as url_file");
            None
        }
        (Some(direct), Some(file)) if direct.layer < file.layer => url_file(section, &file),
        (Some(_), _) => section.text("url", DEFAULT_URL, parse),
        (None, Some(file)) => url_file(section, &file),
        (None, None) => fallback(section).or_else(|| section.text("url", DEFAULT_URL, parse)),
    }
}

fn url_file(section: &Section<'_>, found: &Found<'_>) -> Option<Backend> {
    let text = section.read_secret_file("url_file", found)?;
    let path = PathBuf::from(found.value.text()?);
    let backend = match parse(&text) {
        Ok(backend) => backend,
        Err(expected) => {
            let message = format!("the content of {} is no store: {expected}", path.display());
            section.problem("url_file", message);
            return None;
        }
    };
    let held = backend.clone();
    let take = move |text: &str| {
        let elsewhere = "names another store than at the start; restart daypass to move to it";
        held.adopt(&parse(text)?)
            .ok_or_else(|| elsewhere.to_owned())
    };
    section.watch("url_file", path, Arc::new(take));
    Some(backend)
}

fn fallback(section: &Section<'_>) -> Option<Backend> {
    for variable in FALLBACKS {
        let Some(text) = section.context().environment.get(variable) else {
            continue;
        };
        match parse(text) {
            Ok(backend) => return Some(backend),
            Err(_) => section.context().warning(
                Origin::Environment { variable: variable.to_owned() },
                "store.url",
                format!("names no store that this version has, and is passed over: {DEFAULT_URL} is used if nothing else is set; set store.url to say so yourself"),
            ),
        }
    }
    None
}

/// Takes `text` for the URL of a store. The message repeats nothing of it.
pub fn parse(text: &str) -> Result<Backend, String> {
    if redis::Address::is_meant(text) {
        let address = redis::Address::parse(text)?;
        return Ok(Backend::Redis { address });
    }
    match text.split_once(':') {
        Some(("sqlite", rest)) => parse_path(rest),
        Some(("postgres" | "postgresql", _)) => match postgres::Address::parse(text) {
            Ok(address) => Ok(Backend::Postgres { address }),
            Err(error) => Err(error.to_string()),
        },
        _ => Err(EXPECTED.to_owned()),
    }
}

/// What is said of anything that names no store.
const EXPECTED: &str = "expected \"sqlite:\" and the path of a file, such as \"sqlite:daypass.db\", \
                        \"postgres://user:password@host/database\", or \"redis://\", \"rediss://\", \
                        \"redis-cluster://\" or \"redis-sentinel://\" and the servers";

fn parse_path(rest: &str) -> Result<Backend, String> {
    let path = rest.strip_prefix("//").unwrap_or(rest);
    if Path::new(path).file_name().is_none() || path.ends_with('/') {
        return Err("\"sqlite:\" must be followed by the path of a file".to_owned());
    }
    if path.starts_with(':') || path.contains('?') {
        return Err(
            "expected the path of a file: databases in memory and URL options are not supported, \
             for tokens must survive a restart"
                .to_owned(),
        );
    }
    Ok(Backend::Sqlite {
        path: PathBuf::from(path),
    })
}
