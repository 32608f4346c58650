//! `[telemetry]`: what is logged and traced, and how.

use super::{read::one_of, section::Section};
use crate::telemetry::{
    Config, LogFormat, log,
    trace::{self, Users},
};

/// The levels, which are also the simplest directives.
const LEVELS: [(&str, ()); 6] = [
    ("off", ()),
    ("error", ()),
    ("warn", ()),
    ("info", ()),
    ("debug", ()),
    ("trace", ()),
];

pub(super) fn read(section: &Section<'_>) -> Option<Config> {
    let log = section.text("log", "info", directives);
    let formats = [("text", LogFormat::Text), ("json", LogFormat::Json)];
    let log_format = section.choice("log_format", "text", &formats);
    let endpoint = section.optional_url("otlp_endpoint");
    let ratio = section.fraction("trace_ratio", "1");
    let words = [
        ("absent", Users::Absent),
        ("hashed", Users::Hashed),
        ("plain", Users::Plain),
    ];
    // Absent: traces are read by more people than logs.
    let users = section.choice("trace_users", "absent", &words);
    let propagate = section.switch("propagate_to_providers", "false");
    Some(Config {
        log: log?,
        log_format: log_format?,
        traces: trace::Config {
            endpoint,
            ratio: ratio?,
            users: users?,
            propagate: propagate?,
        },
    })
}

fn directives(text: &str) -> Result<String, String> {
    // A single word that is no level would be taken for the name of a target: `inof` logs nothing.
    if text.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        one_of(text.to_ascii_lowercase().as_str(), &LEVELS)?;
    }
    // What is no name of a target would be taken for one, and log nothing.
    let is_known = |byte: u8| byte.is_ascii_alphanumeric() || b"_:-=, ".contains(&byte);
    if text.bytes().all(is_known) && log::directives(text).is_ok() {
        return Ok(text.to_owned());
    }
    Err(
        "expected a level such as \"info\", or directives such as \"info,daypass::token=debug\""
            .to_owned(),
    )
}
