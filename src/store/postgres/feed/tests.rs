//! What a look, a notification and a write of one's own add up to.
