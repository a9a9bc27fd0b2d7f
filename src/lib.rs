//! raid456.
