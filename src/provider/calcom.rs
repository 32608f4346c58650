//! Cal.com.
