//! The ground floor: what every other room stands on and what tests take into their own hands.
//!
//! Names no other room. Time, randomness, tasks and secrets have exactly one owner, and it is here:
//!
//! * [`clock`]: wall time, as [`Timestamp`](clock::Timestamp)s that tests can set.
//! * [`random`]: unpredictable bytes and jitter, which tests can seed.
//! * [`lifecycle`]: the only spawner; whatever is spawned is drained at shutdown.
//! * [`secret`]: values that cannot be printed or serialised.
//! * [`dumps`]: what others may see of this process's memory.
//! * [`backoff`]: how long to wait after the n-th failure.
//! * [`patience`]: how long to wait for an answer.
//! * [`ids`]: the names of things: users, providers, connections, generations.
//! * [`schema`]: what these look like as JSON.
//! * [`steps`]: where a test may hold a process, to kill it there.

pub mod backoff;
pub mod clock;
pub mod dumps;
pub mod ids;
pub mod lifecycle;
pub mod patience;
pub mod random;
mod schema;
pub mod secret;
mod signal;
pub mod steps;
mod wiped;
