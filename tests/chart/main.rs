//! The Helm chart, rendered by Helm 3 and Helm 4 for a matrix of values and clusters.
//!
//! 1. Both Helms say the same.
//! 2. What they say is held to the Kubernetes schemas, and to what those do not see: names of ports,
//!    selectors, the Pod Security Standard `restricted`, no secret in the open.
//! 3. What a pod would run is run: the configuration of each goes through the real `daypass check`.
//!
//! `./test` installs the tools into `target/tools`.

#![cfg_attr(
    test,
    expect(
        clippy::disallowed_methods,
        reason = "the settings of a test come from the environment"
    )
)]

#[cfg(test)]
mod alerts;
#[cfg(test)]
mod guarantees;
#[cfg(test)]
mod helm;
#[cfg(test)]
mod injected;
#[cfg(test)]
mod reference;
#[cfg(test)]
mod rendered;
#[cfg(test)]
mod values;
