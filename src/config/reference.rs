//! What the parser knows of each key; the documents are held to it.

/// One key of the configuration, as the parser asked for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyReference {
    /// The table it stands in, such as `refresh` or `providers.calcom`.
    pub section: String,
    /// Its name there.
    pub name: String,
    /// Its type and unit, in a word or two.
    pub kind: &'static str,
    /// What it is if it is not set, as one would write it in the file; `None` for keys that have no
    /// default.
    pub default: Option<String>,
    /// The environment variable that sets it.
    pub variable: String,
}

// === impl KeyReference ===

impl KeyReference {
    /// The dotted path, such as `refresh.buffer`.
    pub fn path(&self) -> String {
        format!("{}.{}", self.section, self.name)
    }
}
