//! Two stores side by side, in the order of their keys: a page of each at a time, so that a million
//! connections are never in memory.

use std::{cmp::Ordering, collections::VecDeque};

use tokio::try_join;

use crate::{
    base::ids::ConnectionKey,
    store::{Archive, Error, Found, Record},
};

/// How many connections are read, and written, at once.
pub(super) const PAGE: usize = 500;

/// Goes through both stores.
pub(super) struct Walk<'a> {
    source: Side<'a>,
    target: Side<'a>,
}

/// What both stores have of one connection; at least one has something.
pub(super) struct Pair {
    pub(super) source: Option<Found>,
    pub(super) target: Option<Found>,
}

/// How what the target has compares to what the source has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It is the same, to the last bit.
    Same,
    /// The target has nothing.
    Missing,
    /// The target has an earlier state.
    Behind,
    /// The target has a later state of the same connection.
    Newer,
    /// The target has another connection under this key.
    Other,
    /// The source has nothing.
    Extra,
    /// The source's row cannot be read.
    SourceBroken,
    /// The target's row cannot be read.
    TargetBroken,
}

struct Side<'a> {
    archive: &'a dyn Archive,
    page: VecDeque<Found>,
    after: Option<ConnectionKey>,
    ended: bool,
}

// === impl Walk ===

impl<'a> Walk<'a> {
    pub(super) fn of(source: &'a dyn Archive, target: &'a dyn Archive) -> Self {
        Self {
            source: Side::of(source),
            target: Side::of(target),
        }
    }

    /// As if the target were empty, which it is.
    pub(super) fn into_empty(source: &'a dyn Archive, target: &'a dyn Archive) -> Self {
        let mut walk = Self::of(source, target);
        walk.target.ended = true;
        walk
    }

    /// The next pairs, up to [`PAGE`]; none at the end.
    pub(super) async fn next(&mut self) -> Result<Vec<Pair>, Error> {
        let mut pairs = Vec::new();
        while pairs.len() < PAGE {
            try_join!(self.source.fill(), self.target.fill())?;
            let order = match (self.source.page.front(), self.target.page.front()) {
                (None, None) => break,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(one), Some(other)) => one.key().cmp(other.key()),
            };
            pairs.push(Pair {
                source: (order != Ordering::Greater)
                    .then(|| self.source.page.pop_front())
                    .flatten(),
                target: (order != Ordering::Less)
                    .then(|| self.target.page.pop_front())
                    .flatten(),
            });
        }
        Ok(pairs)
    }
}

// === impl Side ===

impl<'a> Side<'a> {
    const fn of(archive: &'a dyn Archive) -> Self {
        Self {
            archive,
            page: VecDeque::new(),
            after: None,
            ended: false,
        }
    }

    async fn fill(&mut self) -> Result<(), Error> {
        if self.ended || !self.page.is_empty() {
            return Ok(());
        }
        let found = self.archive.records(self.after.as_ref(), PAGE).await?;
        self.ended = found.len() < PAGE;
        if let Some(last) = found.last() {
            self.after = Some(last.key().clone());
        }
        self.page = found.into();
        Ok(())
    }
}

// === impl Pair ===

impl Pair {
    pub(super) fn standing(&self) -> Standing {
        match (&self.source, &self.target) {
            (None, _) => Standing::Extra,
            (Some(Found::Broken { .. }), _) => Standing::SourceBroken,
            (Some(Found::Whole { .. }), None) => Standing::Missing,
            (Some(Found::Whole { .. }), Some(Found::Broken { .. })) => Standing::TargetBroken,
            (Some(Found::Whole { record, .. }), Some(Found::Whole { record: there, .. })) => {
                compared(record, there)
            }
        }
    }

    pub(super) fn key(&self) -> Option<&ConnectionKey> {
        self.source
            .as_ref()
            .or(self.target.as_ref())
            .map(Found::key)
    }
}

fn compared(record: &Record, there: &Record) -> Standing {
    let stands = &there.connection;
    if record.connection.id != stands.id {
        Standing::Other
    } else if record == there || storable(record) == storable(there) {
        Standing::Same
    } else if record.is_at_least(stands.id, stands.generation, stands.updated_at) {
        Standing::Behind
    } else {
        Standing::Newer
    }
}

/// PostgreSQL keeps every text but those with a NUL, in whose place it has a replacement character.
fn storable(record: &Record) -> Record {
    let mut record = record.clone();
    let connection = &mut record.connection;
    for text in [
        &mut connection.external_id,
        &mut connection.organization,
        &mut connection.scope,
    ] {
        *text = text.take().map(|text| text.replace('\0', "\u{fffd}"));
    }
    record
}
