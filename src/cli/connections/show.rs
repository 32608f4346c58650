//! `daypass connections show`.

use std::io::Write;

use serde_json::Value;

use super::{Outcome, Which, existing, must_exist, view, with_core};
use crate::{
    cli::{known, write, write_json},
    config::Loaded,
};

/// Shows one connection; never its tokens.
pub(in crate::cli) fn run(
    which: &Which,
    loaded: &Loaded,
    json: bool,
    out: &mut dyn Write,
) -> Outcome {
    known::provider(&which.provider, &loaded.settings)?;
    must_exist(loaded)?;
    let connection = with_core(&loaded.settings, async |core| existing(core, which).await)?;
    let view = view(&connection);
    if json {
        return write_json(out, &view);
    }
    write(out, &as_lines(&view))
}

/// `name: value` lines; what is not known is left out.
pub(super) fn as_lines(view: &Value) -> String {
    let Value::Object(fields) = view else {
        return String::new();
    };
    let known = fields.iter().filter(|(_, value)| !value.is_null());
    known
        .map(|(name, value)| match value {
            Value::String(text) => format!("{name:>16}: {text}\n"),
            other => format!("{name:>16}: {other}\n"),
        })
        .collect()
}
