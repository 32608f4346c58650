//! The command line.
//!
//! * [`import`]: reads the tokens that other systems exported.

pub mod import;
