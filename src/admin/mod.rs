//! The admin listener: probes and metrics.

use crate::{base::secret::ReloadableSecret, http::Listen};

/// `[admin]`.
#[derive(Clone)]
#[expect(missing_debug_implementations, reason = "holds a secret")]
pub struct Config {
    /// Where operators, probes and Prometheus call. Default `127.0.0.1:7422`.
    pub listen: Listen,
    /// What they must show; required when `listen` is not a loopback address.
    pub token: Option<ReloadableSecret>,
}
