//! How requests to a bdev are best cut, and whether more of them would only wait.
//!
//! ```text
//!   hints        array: strip, stripe     mapped device: those of its target     others: what they say
//!   congestion   mapped device: suspended -+
//!                array: writes are held ---+--> of the bdev, and of what it is made of
//!                array: cache is full -----+
//! ```
//!
//! Both are told and not acted upon: whoever goes on all the same waits in order.
//!
//! Not here: waiting (crates `device`, `array`); hosts' limits, which are told with them.

use std::collections::BTreeSet;
use std::sync::Arc;

use array::{RaidBdev, RaidSnapshot};

use super::Control;
use super::registry::Registry;

/// How requests are best cut; 0 for no preference.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Hints {
    /// Least that is not wasteful: a strip.
    pub min_bytes: u32,
    /// Best: a stripe.
    pub optimal_bytes: u64,
}

/// The hints of a bdev; none if there is no such bdev.
pub(super) fn hints_of(registry: &Registry, name: &str) -> Hints {
    let Some(entry) = registry.find(name) else { return Hints::default() };
    if let Some(raid) = entry.raid() {
        let geometry = raid.geometry();
        return Hints { min_bytes: geometry.strip_bytes(), optimal_bytes: geometry.stripe_bytes() };
    }
    match entry.mapped().map(|device| device.hints()) {
        Some(Ok(hints)) => hints,
        // Stretches of a bdev are cut as that is, which is never a mapped device above this one.
        Some(Err(Some(base))) => hints_of(registry, &base),
        Some(Err(None)) => Hints::default(),
        None => {
            let optimal_bytes = entry.bdev.info().optimal_write_bytes.into();
            Hints { min_bytes: 0, optimal_bytes }
        }
    }
}

/// Whether an array takes no more, or keeps what it has taken.
fn is_full(snapshot: &RaidSnapshot) -> bool {
    snapshot.waiting_for_owner || snapshot.shards.iter().any(|shard| shard.full)
}

impl Control {
    /// The hints of a bdev; none if there is no such bdev.
    pub fn io_hints(&self, name: &str) -> Hints {
        hints_of(&self.state().registry, name)
    }

    /// Whether more requests to an array or a mapped device would only wait. Other bdevs always take them.
    pub fn is_congested(&self, name: &str) -> bool {
        let (arrays, suspended) = below(&self.state().registry, name);
        // Asked without the lock: the answers come from the reactors.
        suspended || arrays.iter().any(|raid| is_full(&raid.snapshot()))
    }
}

/// The arrays that requests to a bdev go through, and whether they pass a device that is suspended.
fn below(registry: &Registry, name: &str) -> (Vec<Arc<RaidBdev>>, bool) {
    let (mut arrays, mut suspended) = (Vec::new(), false);
    let (mut left, mut seen) = (vec![name.to_owned()], BTreeSet::new());
    while let Some(name) = left.pop() {
        let Some(entry) = registry.find(&name) else { continue };
        if !seen.insert(name.clone()) {
            continue;
        }
        if let Some(raid) = entry.raid() {
            arrays.push(Arc::clone(raid));
        } else if let Some(device) = entry.mapped() {
            suspended |= device.is_suspended();
            arrays.extend(device.running_arrays().into_iter().map(|(_, raid, _)| raid));
        } else {
            continue;
        }
        left.extend(registry.parts(&name));
    }
    (arrays, suspended)
}
