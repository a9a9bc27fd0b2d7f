//! raid456.
fn main() {}
