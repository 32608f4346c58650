//! How a consent ended, as the app reads it from the query of the address that the browser returns to.
//!
//! | `connection` | beside it |
//! |---|---|
//! | `connected` | `note`: `account-changed`, `account-shared`, `scope-missing`, several separated by commas; `missing`: the scopes that were not granted, separated by spaces |
//! | `denied` | `reason=access-denied`: the user said no |
//! | `failed` | `reason`: see [`Reason`]; with `scope-missing` also `missing` |
//!
//! `provider` is always there. Words are never changed, only added.

use std::fmt;

use crate::base::ids::ProviderName;

mod answer;

/// How a consent ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// The user is connected.
    Connected {
        /// What the app may want to know.
        notes: Vec<Note>,
        /// Scopes that were not granted.
        missing: Vec<String>,
    },
    /// The user said no.
    Denied,
    /// The user is not connected, or as before.
    Failed(Reason),
}

/// What an app may want to know of a user who is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Note {
    /// It is another account than before.
    AccountChanged,
    /// Another user has connected the same account.
    AccountShared,
    /// The user has granted less than was asked for.
    ScopeMissing,
}

/// Why a consent failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// The provider does not take the code: it took too long, or was used. Trying again helps.
    CodeRefused,
    /// The provider does not take this installation: a fault of the configuration.
    ClientRefused,
    /// The provider does not take the scope that was asked for: a fault of the configuration.
    ScopeRefused,
    /// Without these scopes it cannot be known whose account it is. Trying again helps, if they are
    /// granted.
    ScopeMissing(Vec<String>),
    /// The provider does not answer, or not sensibly. Trying again later helps.
    ProviderUnavailable,
    /// The provider refused, and did not say why in words that are known.
    Refused,
    /// The store does not answer. Trying again later helps.
    StoreUnavailable,
}

// === impl Ending ===

impl Ending {
    /// Whether the user is connected, and in a word why not.
    pub(super) const fn outcome(&self) -> Result<(), &'static str> {
        match self {
            Self::Connected { .. } => Ok(()),
            Self::Denied => Err("access-denied"),
            Self::Failed(reason) => Err(reason.as_str()),
        }
    }

    /// The query that tells of it.
    pub(super) fn told(&self, provider: &ProviderName) -> Vec<(&'static str, String)> {
        let connection = match self {
            Self::Connected { .. } => "connected",
            Self::Denied => "denied",
            Self::Failed(_) => "failed",
        };
        let mut told = vec![
            ("connection", connection.to_owned()),
            ("provider", provider.to_string()),
        ];
        let missing: &[String] = match self {
            Self::Connected { notes, missing } => {
                let notes: Vec<_> = notes.iter().copied().map(Note::as_str).collect();
                if !notes.is_empty() {
                    told.push(("note", notes.join(",")));
                }
                missing
            }
            Self::Denied => {
                told.push(("reason", "access-denied".to_owned()));
                &[]
            }
            Self::Failed(reason) => {
                told.push(("reason", reason.as_str().to_owned()));
                match reason {
                    Reason::ScopeMissing(missing) => missing,
                    _ => &[],
                }
            }
        };
        if !missing.is_empty() {
            told.push(("missing", missing.join(" ")));
        }
        told
    }
}

// === impl Note ===

impl Note {
    const fn as_str(self) -> &'static str {
        match self {
            Self::AccountChanged => "account-changed",
            Self::AccountShared => "account-shared",
            Self::ScopeMissing => "scope-missing",
        }
    }
}

// === impl Reason ===

impl Reason {
    /// As the app reads it.
    pub(super) const fn as_str(&self) -> &'static str {
        match self {
            Self::CodeRefused => "code-refused",
            Self::ClientRefused => "client-refused",
            Self::ScopeRefused => "scope-refused",
            Self::ScopeMissing(_) => "scope-missing",
            Self::ProviderUnavailable => "provider-unavailable",
            Self::Refused => "refused",
            Self::StoreUnavailable => "store-unavailable",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(ending: &Ending) -> String {
        let pairs = ending.told(&"calendly".parse().unwrap());
        let pairs = pairs.iter().map(|(name, value)| format!("{name}={value}"));
        pairs.collect::<Vec<_>>().join("&")
    }

    #[test]
    fn an_app_reads_everything_from_the_query() {
        let connected = |notes: &[Note], missing: &[&str]| Ending::Connected {
            notes: notes.to_vec(),
            missing: missing.iter().map(|&scope| scope.to_owned()).collect(),
        };
        for (ending, expected) in [
            (
                connected(&[], &[]),
                "connection=connected&provider=calendly",
            ),
            (
                connected(&[Note::AccountChanged, Note::AccountShared], &[]),
                "connection=connected&provider=calendly&note=account-changed,account-shared",
            ),
            (
                connected(&[Note::ScopeMissing], &["a:read", "b:read"]),
                "connection=connected&provider=calendly&note=scope-missing&missing=a:read b:read",
            ),
            (
                Ending::Denied,
                "connection=denied&provider=calendly&reason=access-denied",
            ),
            (
                Ending::Failed(Reason::CodeRefused),
                "connection=failed&provider=calendly&reason=code-refused",
            ),
            (
                Ending::Failed(Reason::ScopeMissing(vec!["users:read".to_owned()])),
                "connection=failed&provider=calendly&reason=scope-missing&missing=users:read",
            ),
        ] {
            assert_eq!(told(&ending), expected);
        }
    }
}
