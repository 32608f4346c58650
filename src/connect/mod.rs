//! The connect flow: tickets, the provider's consent page, the callback.
//!
//! So far this room holds its configuration only: nothing listens on the ingress address yet.

use url::Url;

use crate::http::Listen;

mod follower;

pub use follower::{Arrival, Follower, PATIENCE};

/// `[ingress]`.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where providers and browsers call. Default `127.0.0.1:7421`.
    pub listen: Listen,
    /// Under which address they reach it.
    pub public_url: Option<Url>,
    /// Origins that a browser may be sent back to.
    pub allowed_return_origins: Vec<Url>,
    /// The largest body taken, in bytes. Default 1 MiB.
    pub max_body_bytes: usize,
}
