//! Webhooks over a real store and real sockets: what reaches the app, when, and what does not.
//!
//! The store's clock is moved by hand, so that retries of hours take no time; a worker is woken by
//! ringing, so that nothing waits for its next look.

#[cfg(test)]
mod app;
#[cfg(test)]
mod delivery;
#[cfg(test)]
mod intake;
#[cfg(test)]
mod world;
