//! Bodies in both directions.
