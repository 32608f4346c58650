//! What a judge has found.

use std::{collections::BTreeMap, fmt};

/// What the judge found.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) violations: Vec<Violation>,
    /// Spent tokens that were sent again, by what explains it.
    pub(crate) again: BTreeMap<String, u64>,
    /// Connections that were lost, by what explains it.
    pub(crate) lost: BTreeMap<String, u64>,
}

/// Something that must not have happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) kind: Kind,
    pub(crate) what: String,
}

/// What kind of wrong it is, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    SpentTwice,
    Lost,
    Wrong,
    Unanswered,
    Withheld,
    /// Something did not work again when nothing went wrong any more.
    Unsettled,
}

impl Kind {
    pub(crate) const ALL: [Self; 6] = [
        Self::SpentTwice,
        Self::Lost,
        Self::Wrong,
        Self::Unanswered,
        Self::Withheld,
        Self::Unsettled,
    ];

    /// How it is called in reports.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::SpentTwice => "double spends",
            Self::Lost => "lost grants",
            Self::Wrong => "wrong tokens",
            Self::Unanswered => "requests without an answer",
            Self::Withheld => "valid tokens withheld",
            Self::Unsettled => "not working again after a minute in peace",
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{}: {}", self.kind.name(), self.what)
    }
}
