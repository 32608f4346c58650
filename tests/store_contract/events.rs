//! Events to accept, and what becomes of them, in short words.

use std::time::Duration;

use daypass::{
    base::ids::{EventId, OwnerId, ProviderName, UserId},
    store::{
        Accepted, Claimed, Delivery, DeliveryFilter, DeliveryId, DeliveryStatus, Everything,
        NewEvent, Settled, seal::Sealed,
    },
};

use crate::bench::{Bench, START, calendly, fresh, owner};

pub(crate) type Whole = Bench<dyn Everything>;

pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// The usual length of a claim.
pub(crate) const HOLD: Duration = Duration::from_secs(15);

/// An event called `name` of Calendly, for `users`; what has the same name has the same content.
pub(crate) fn event(name: &str, users: &[&str]) -> NewEvent {
    let mut dedupe = [0; 32];
    for (place, byte) in dedupe.iter_mut().zip(name.bytes()) {
        *place = byte;
    }
    NewEvent {
        id: EventId::random(&fresh()),
        provider: ProviderName::parse("calendly").unwrap(),
        name: format!("{name}.created"),
        dedupe,
        payload: payload(name),
        recipients: users.iter().map(|user| calendly(user)).collect(),
        accounts: Vec::new(),
        at: START,
    }
}

/// An event that is nobody's, and names `accounts`.
pub(crate) fn nobodys(name: &str, accounts: &[&str]) -> NewEvent {
    NewEvent {
        accounts: accounts.iter().map(|&account| account.to_owned()).collect(),
        ..event(name, &[])
    }
}

/// A store looks at no seal, so this is none.
pub(crate) fn payload(name: &str) -> Sealed {
    Sealed::from_bytes(format!("payload of {name}").into_bytes())
}

/// Which deliveries have this status.
pub(crate) fn only(status: DeliveryStatus) -> DeliveryFilter {
    DeliveryFilter {
        status: Some(status),
        ..DeliveryFilter::default()
    }
}

pub(crate) fn user(name: &str) -> UserId {
    UserId::parse(name).unwrap()
}

/// Whose it is, and what: `anna: one`.
pub(crate) fn told(delivery: &Delivery) -> String {
    let user = delivery.user.as_ref().map_or("nobody", UserId::as_str);
    let name = delivery.name.trim_end_matches(".created");
    format!("{user}: {name}")
}

// === impl Bench ===

impl Whole {
    pub(crate) async fn accept(&self, event: NewEvent) -> Accepted {
        self.store.accept(event).await.unwrap()
    }

    /// Accepts an event that nobody knew.
    pub(crate) async fn receive(&self, name: &str, users: &[&str]) -> EventId {
        match self.accept(event(name, users)).await {
            Accepted::New { id } => id,
            Accepted::Known { .. } => panic!("{name} was known"),
        }
    }

    /// Everything that is due, claimed by `owner` from now on.
    pub(crate) async fn claim(&self, owner: OwnerId) -> Vec<Claimed> {
        self.other.claim_lines(owner, HOLD, 100).await.unwrap()
    }

    /// What is due, as [`told`] tells it, in the order of names; claimed by `owner` from now on.
    pub(crate) async fn due(&self, owner: OwnerId) -> Vec<String> {
        let claimed = self.claim(owner).await;
        let mut due: Vec<_> = claimed.iter().map(|c| told(&c.delivery)).collect();
        due.sort();
        due
    }

    /// The one delivery that is due, claimed by `owner` from now on.
    pub(crate) async fn claim_one(&self, owner: OwnerId) -> Delivery {
        let mut claimed = self.claim(owner).await;
        assert_eq!(claimed.len(), 1, "{claimed:?}");
        claimed.remove(0).delivery
    }

    pub(crate) async fn settle(&self, id: DeliveryId, owner: OwnerId, settled: Settled) -> bool {
        self.store.settle(id, owner, settled).await.unwrap()
    }

    /// Delivers all that is due until nothing is; what that was, in its order.
    pub(crate) async fn drain(&self) -> Vec<String> {
        let (me, mut delivered) = (owner(), Vec::new());
        loop {
            let claimed = self.claim(me).await;
            if claimed.is_empty() {
                return delivered;
            }
            for Claimed { delivery, .. } in claimed {
                delivered.push(told(&delivery));
                assert!(self.settle(delivery.id, me, Settled::Delivered).await);
            }
        }
    }

    /// The delivery, which exists, as another process sees it.
    pub(crate) async fn look(&self, id: DeliveryId) -> Delivery {
        let found = self.other.delivery(id).await.unwrap();
        found.unwrap().delivery
    }

    /// All deliveries that `filter` lets through, the newest first.
    pub(crate) async fn list(&self, filter: &DeliveryFilter) -> Vec<Delivery> {
        self.other.deliveries(filter, None, 1000).await.unwrap()
    }

    /// As [`Self::list`], told, the oldest first.
    pub(crate) async fn told(&self, filter: &DeliveryFilter) -> Vec<String> {
        self.list(filter).await.iter().rev().map(told).collect()
    }
}

/// Why a try failed.
pub(crate) fn failed(seconds: u32) -> Settled {
    Settled::Failed {
        what: "HTTP 500".to_owned(),
        next_in: SECOND * seconds,
    }
}

/// Given up.
pub(crate) fn dead() -> Settled {
    Settled::Dead {
        what: "HTTP 410".to_owned(),
    }
}
