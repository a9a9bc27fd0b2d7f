//! Which cores a service takes that is not told any.
//!
//! Those that it may use (affinity, cpuset), and of them no more than the CPU quota of its cgroups is worth: in
//! a container with a limit of two CPUs on a node of 64 cores the affinity is all 64, and that many reactors
//! would be throttled together and hold memory each.
//!
//! The quota is what the standard library makes of `cpu.max` (cgroup v2) or `cpu.cfs_quota_us` (v1), the least
//! of the cgroup and its parents, rounded down, 1 at least.
//!
//! Not here: `--cores` (`cli`), pinning (`reactor`).

use std::thread;

use reactor::CpuSet;

/// The cores to run on.
pub(super) fn default_cores() -> CpuSet {
    let allowed = core_affinity::get_core_ids().unwrap_or_default();
    // It fails where there is no affinity to ask for, and then there is no quota either.
    let worth = thread::available_parallelism().map_or(usize::MAX, usize::from);
    first(allowed.iter().map(|core| core.id), worth)
}

/// The lowest of these cores, as many as `worth`; core 0 if there is none.
fn first(allowed: impl IntoIterator<Item = usize>, worth: usize) -> CpuSet {
    let mut cores: Vec<_> = allowed.into_iter().collect();
    cores.sort_unstable();
    cores.truncate(worth.max(1));
    CpuSet::from_cores(cores).unwrap_or_else(|| CpuSet::single(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: never more cores than there is quota for, never others than allowed, and never none.
    #[test]
    fn a_quota_bounds_the_cores() {
        for (allowed, worth, expected) in [
            (0..64, 2, "0-1"),
            (0..64, 1, "0"),
            (0..64, 0, "0"),
            (0..64, 100, "0-63"),
            (8..10, usize::MAX, "8-9"),
            (8..10, 1, "8"),
            (0..0, 4, "0"),
        ] {
            assert_eq!(first(allowed.clone(), worth).to_string(), expected, "{allowed:?} {worth}");
            assert_eq!(first(allowed.rev(), worth).to_string(), expected, "in any order");
        }
    }
}
