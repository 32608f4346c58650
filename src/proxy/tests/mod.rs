//! The outbound stack over real sockets: callers, the proxy, and a scripted provider.

mod addressing;
mod bodies;
mod early;
mod leaving;
mod policy;
mod recovery;
mod slow;
mod tls;
pub(super) mod world;
