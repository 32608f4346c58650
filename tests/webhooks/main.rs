//! Webhooks over a real store and real sockets: what reaches the app, when, and what does not.
//!
//! The store's clock is moved by hand, so that retries of hours take no time; a worker is woken by
//! ringing, so that nothing waits for its next look.

#[cfg(test)]
mod app;
#[cfg(test)]
mod delivery;
#[cfg(test)]
mod ingress;
#[cfg(test)]
mod intake;
#[cfg(test)]
mod meetings;
#[cfg(test)]
mod newcomers;
#[cfg(test)]
mod rooms;
#[cfg(test)]
#[path = "../servers/redis.rs"]
#[expect(dead_code, reason = "other tests need more of it")]
mod servers;
#[cfg(test)]
mod stage;
#[cfg(test)]
mod subscribing;
#[cfg(test)]
mod syncing;
#[cfg(test)]
mod trouble;
#[cfg(test)]
mod unwell;
#[cfg(test)]
mod world;
