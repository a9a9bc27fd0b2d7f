//! `kill -9` under load, again and again, with members that leave and come back in between.
//!
//! ```text
//!   victim: assembles, writes, journals --kill -9--> the journal says what each block may hold
//!       ^                                                   |
//!       |          members are hidden or come back          v
//!       '--- stopped in order <-- parity checked <-- every block read <-- assembled, here
//! ```
//!
//! | file | what |
//! |---|---|
//! | `victim` | the process that is killed |
//! | `model` | what every block may hold |
//! | `rounds` | the rounds |
//! | `served` | rounds with the real service, its state file, and hosts over NVMe/TCP |
//! | `load` | such a host |
//!
//! Not here: power that is lost with caches that are volatile (crate `array`).

mod load;
mod model;
mod rounds;
mod served;
mod victim;

/// A number in the environment.
fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).map_or(otherwise, |text| text.parse().unwrap())
}
