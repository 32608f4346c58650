//! Delivery: from the line of a user to the app, at least once and in order.
//!
//! 1. Each user has a line, over all providers; the next event is tried when the one before it was
//!    delivered or given up ([`store::Deliveries`](crate::store::Deliveries)). Lines do not wait for
//!    each other, and no destination takes all places ([`Destinations`](breaker::Destinations)).
//! 2. 2xx is delivered. Everything else is not: 4xx and 429 too, redirects, silence. It is tried again
//!    after a growing, jittered time, or after `Retry-After` if that is longer, for `retry_for`; then it
//!    is a dead letter ([`schedule`]).
//! 3. A destination that fails over and over is left alone for a while, and then tried by one delivery
//!    ([`breaker`]). Being left alone is not a try.
//! 4. A line is held for a few seconds at a time and while the app thinks. What a process held that
//!    died is taken over when that runs out, within 15 s ([`worker`]).
//! 5. The app gets the provider's bytes and signature headers as they came, who it is for, and a
//!    signature of ours ([`post`]). Its address is configuration, never data, and redirects are not
//!    followed.

mod breaker;
mod destination;
mod post;
mod schedule;
mod worker;

pub use destination::{Destination, InvalidDestination};
pub use post::webhook_id;
pub use worker::{Delivered, Observer, Parts, Unobserved, deliver};
