//! The providers as the other rooms see them, against the emulated services, over real sockets.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what tests share may fail like tests"
)]

mod connecting;
mod managed_users;
mod meetings;
mod subscribing;
mod taking;
mod world;
