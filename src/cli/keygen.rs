//! `daypass keygen`: a fresh encryption key.

use std::io::Write;

use serde_json::json;

use super::{Context, Outcome, write, write_json};
use crate::{base::random::OsRandom, store::seal::generate_key};

/// Prints a key: 32 random bytes as base64, as `encryption.keys` takes it.
pub(super) fn run(context: &Context<'_>, out: &mut dyn Write) -> Outcome {
    let key = generate_key(&OsRandom);
    if context.global.json {
        return write_json(out, &json!({ "key": key.danger_expose() }));
    }
    write(out, &format!("{}\n", key.danger_expose()))
}
