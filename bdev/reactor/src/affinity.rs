//! Which cores there are, and pinning a thread to one of them.
//!
//! Not here: reading what people write (`cpuset`).

use crate::cpuset::CpuSet;
use core_affinity::CoreId;
use std::fs;

/// Where Linux lists the cores that are online, as `0-3,6`.
const ONLINE: &str = "/sys/devices/system/cpu/online";

/// The cores of this machine that are online. Without sysfs: those that this process may use.
pub(crate) fn online() -> Option<CpuSet> {
    let listed = fs::read_to_string(ONLINE).ok().and_then(|text| text.trim().parse().ok());
    listed.or_else(|| {
        let allowed = core_affinity::get_core_ids()?;
        CpuSet::from_cores(allowed.iter().map(|core| core.id))
    })
}

/// Pins the calling thread. False: the system refuses, for example because a container's cpuset
/// leaves the core out.
pub(crate) fn pin(core: usize) -> bool {
    core_affinity::set_for_current(CoreId { id: core })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::CORES_MAX;
    use std::thread;

    #[test]
    fn a_thread_is_pinned_to_a_core_that_is_online_and_to_no_other() {
        let core = online().expect("Linux lists its cores").iter().next().expect("one at least");
        let pinned = thread::spawn(move || (pin(core), core_affinity::get_core_ids()));
        assert_eq!(pinned.join().expect("no panic"), (true, Some(vec![CoreId { id: core }])));
        let refused = thread::spawn(|| pin(CORES_MAX - 1));
        assert!(!refused.join().expect("no panic"), "no machine of ours has that core");
    }
}
