//! Events by order: what no booking sets off, and what the real service says only under odd
//! circumstances.

use std::sync::Arc;

use super::{Calendly, event::News};
use crate::sandbox::{Announced, Announcement, Disable};

// === impl Calendly ===

impl Calendly {
    pub(crate) fn announced(self: &Arc<Self>, order: &Announcement) -> Result<Announced, String> {
        let names = std::iter::once(&order.user).chain(&order.co_hosts);
        let hosts = {
            let state = self.state.lock();
            names
                .map(|name| {
                    let user = state.by_name(name).map(|user| user.id.clone());
                    user.ok_or_else(|| format!("there is no user {name}"))
                })
                .collect::<Result<Vec<_>, _>>()?
        };
        let news = News {
            event: order.event.clone(),
            hosts,
            payload: order.payload.clone(),
            at: self.stage.now(),
        };
        Ok(Announced {
            deliveries: self.tell(&news),
        })
    }

    pub(crate) fn disabled(&self, order: &Disable) -> Result<(), String> {
        let mut state = self.state.lock();
        let mut found = false;
        let all = state.subscriptions.iter_mut();
        for subscription in all.filter(|one| one.url == order.url) {
            subscription.disabled = true;
            found = true;
        }
        if found {
            Ok(())
        } else {
            Err(format!("nobody subscribed {}", order.url))
        }
    }
}
