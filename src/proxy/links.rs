//! Keeps links to the provider usable for a caller that addresses it by path prefix.
