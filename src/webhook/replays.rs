//! Delivering again what was delivered or given up: one, or all that fit.
//!
//! 1. The app gets each with the `webhook-id` that it had: the event is the same.
//! 2. All that fit are found before the first is sent: what is sent again changes its place in the list.
//!    They go out in the order in which they were accepted.
//! 3. Dead letters are meant unless the filter says otherwise. What is nobody's has nobody to be
//!    delivered to.

use std::sync::Arc;

use tokio::sync::Notify;

use crate::store::{self, Deliveries, DeliveryFilter, DeliveryId, DeliveryStatus};

/// How many are asked of the store at a time.
const PORTION: usize = 200;

/// Delivers again. Clones share everything.
#[derive(Clone)]
#[expect(missing_debug_implementations, reason = "a handle to the store")]
pub struct Replays {
    deliveries: Arc<dyn Deliveries>,
    /// Rung when there is something to deliver.
    accepted: Arc<Notify>,
}

/// What came of asking for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replayed {
    /// It is on its way.
    Sent,
    /// There is none of this number.
    Unknown,
    /// It is nobody's: it is delivered when its user connects.
    Nobodys,
}

// === impl Replays ===

impl Replays {
    /// Replays what `deliveries` keeps; `accepted` wakes the worker of this process, if it has one.
    pub const fn new(deliveries: Arc<dyn Deliveries>, accepted: Arc<Notify>) -> Self {
        Self {
            deliveries,
            accepted,
        }
    }

    /// Sends one again.
    pub async fn one(&self, id: DeliveryId) -> Result<Replayed, store::Error> {
        if self.deliveries.replay(id).await? {
            self.accepted.notify_one();
            return Ok(Replayed::Sent);
        }
        Ok(match self.deliveries.delivery(id).await? {
            Some(_) => Replayed::Nobodys,
            None => Replayed::Unknown,
        })
    }

    /// Sends all again that fit `filter`, the oldest first; how many.
    pub async fn all(&self, filter: &DeliveryFilter) -> Result<u64, store::Error> {
        let filter = DeliveryFilter {
            status: filter.status.or(Some(DeliveryStatus::Dead)),
            ..filter.clone()
        };
        let mut found: Vec<DeliveryId> = Vec::new();
        loop {
            let before = found.last().copied();
            let page = self.deliveries.deliveries(&filter, before, PORTION).await?;
            let is_last = page.len() < PORTION;
            found.extend(page.iter().map(|delivery| delivery.id));
            if is_last {
                break;
            }
        }
        let mut sent = 0;
        for id in found.into_iter().rev() {
            sent += u64::from(self.deliveries.replay(id).await?);
        }
        self.accepted.notify_one();
        Ok(sent)
    }
}
