//! Calendly.
