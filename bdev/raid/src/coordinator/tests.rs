//! What unit tests of the coordinator's parts begin with.

use super::pace::Rates;
use super::{
    Coordinator, CoordinatorSpec, Input, OnLogFailure, OnMemberFailure, Orders, Permit, Policy,
};
use crate::bitmap::Bitmap;
use crate::dirty_log::{DirtyLog, Initially, LogHealth, Regions};
use crate::member::{MemberMap, MemberState};
use crate::units::SlotSet;

/// An array of so many members, all of them in sync, with four regions of two stripes of 4 KiB strips, its log in
/// memory, no superblocks, one shard; it goes on whatever fails.
pub(crate) fn spec(members: usize, parity_strips: usize) -> CoordinatorSpec {
    CoordinatorSpec {
        log: DirtyLog::new(4, Initially::InSync),
        log_health: LogHealth::Alive,
        regions: Regions::new(8192, 4096, 8),
        shards: 1,
        map: MemberMap::new(vec![MemberState::InSync; members]),
        stale: Bitmap::new(4, false),
        parity_strips,
        parity_slots: SlotSet::empty(),
        strip_bytes: 4096,
        stretch_bytes: 4096,
        superblock: None,
        vouched: SlotSet::empty(),
        policy: Policy {
            log: OnLogFailure::Continue,
            member: OnMemberFailure::Continue,
            recorded: false,
        },
        rates: Rates::default(),
        frozen: false,
        permit: Permit::Granted,
    }
}

/// Gives it one input, and says what it orders.
pub(super) fn tell(coordinator: &mut Coordinator, input: Input) -> Orders {
    let mut orders = Orders::new();
    coordinator.handle(0, input, &mut orders);
    orders
}

/// The same, at the end of a turn.
pub(super) fn tell_and_unplug(coordinator: &mut Coordinator, input: Input) -> Orders {
    let mut orders = tell(coordinator, input);
    coordinator.unplug(0, 0, &mut orders);
    orders
}
