//! Events by order: what no booking sets off, and what the real service says only under odd
//! circumstances.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Calcom, booking::News};
use crate::sandbox::{Announced, Announcement, Disable, dates};

// === impl Calcom ===

impl Calcom {
    pub(crate) fn announced(self: &Arc<Self>, order: &Announcement) -> Result<Announced, String> {
        let user = {
            let state = self.state.lock();
            let mut users = state.users.values();
            let found = users.find(|user| user.name == order.user);
            found.map(|user| user.id)
        };
        let user = user.ok_or_else(|| format!("there is no user {}", order.user))?;
        let head = json!({
            "triggerEvent": order.event,
            "createdAt": dates::millis(self.stage.now()),
        });
        let body = match (head, &order.payload, order.flat) {
            (Value::Object(mut head), Value::Object(payload), true) => {
                head.extend(payload.clone());
                Value::Object(head)
            }
            (Value::Object(mut head), payload, false) => {
                head.insert("payload".to_owned(), payload.clone());
                Value::Object(head)
            }
            _ => return Err("what is flat is an object".to_owned()),
        };
        let news = News {
            trigger: order.event.clone(),
            user,
            body,
        };
        Ok(Announced {
            deliveries: self.tell(&news),
        })
    }

    pub(crate) fn disabled(&self, order: &Disable) -> Result<(), String> {
        let mut state = self.state.lock();
        let mut found = false;
        for hook in state.webhooks.iter_mut().filter(|it| it.url == order.url) {
            hook.active = false;
            found = true;
        }
        if found {
            Ok(())
        } else {
            Err(format!("nobody subscribed {}", order.url))
        }
    }
}
