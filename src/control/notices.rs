//! What has happened, for whoever asks later: SPDK's notifications.
//!
//! ```text
//!   bdev comes, goes; array's event --> ring of the last EVENTS_KEPT_MAX, numbered from 0
//! ```
//!
//! Who asks names the first number that it has not seen. What was pushed out of the ring is skipped, and
//! the gap in the numbers tells.
//!
//! Not here: what is done about an event (`spares`).

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;

use array::ArrayEvent;
use raid::coordinator::RaidEvent;
use raid::event::WorkKind;

use super::lock;
use super::wall::unix_ms;
use crate::limits::EVENTS_KEPT_MAX;

/// What kind of event it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoticeKind {
    /// A bdev has come.
    BdevRegister,
    /// A bdev has gone.
    BdevUnregister,
    /// An array serves I/O, with all or enough of its members.
    RaidOnline,
    /// An array has lost a member and goes on.
    RaidDegraded,
    /// An array has lost more than parity can stand for.
    RaidOffline,
    /// A member was taken out of use.
    RaidMemberFailed,
    /// A bdev took a slot.
    RaidMemberAdded,
    /// It was a spare.
    RaidSpareActivated,
    /// A background action waits for that of another array, with which this one shares a device.
    RaidSyncDelayed,
    /// A background action began.
    RaidSyncStarted,
    /// A background action came to its end.
    RaidSyncEnded,
    /// The log bdev of an array failed.
    RaidLogFailed,
}

impl NoticeKind {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::BdevRegister,
        Self::BdevUnregister,
        Self::RaidOnline,
        Self::RaidDegraded,
        Self::RaidOffline,
        Self::RaidMemberFailed,
        Self::RaidMemberAdded,
        Self::RaidSpareActivated,
        Self::RaidSyncDelayed,
        Self::RaidSyncStarted,
        Self::RaidSyncEnded,
        Self::RaidLogFailed,
    ];

    /// As clients know it; the first two are SPDK's.
    pub fn word(self) -> &'static str {
        match self {
            Self::BdevRegister => "bdev_register",
            Self::BdevUnregister => "bdev_unregister",
            Self::RaidOnline => "raid_online",
            Self::RaidDegraded => "raid_degraded",
            Self::RaidOffline => "raid_offline",
            Self::RaidMemberFailed => "raid_member_failed",
            Self::RaidMemberAdded => "raid_member_added",
            Self::RaidSpareActivated => "raid_spare_activated",
            Self::RaidSyncDelayed => "raid_sync_delayed",
            Self::RaidSyncStarted => "raid_sync_started",
            Self::RaidSyncEnded => "raid_sync_ended",
            Self::RaidLogFailed => "raid_log_failed",
        }
    }
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Its number, one more than that of the one before.
    pub id: u64,
    /// When it was, in milliseconds since 1970.
    pub at_unix_ms: u64,
    /// What kind it is.
    pub kind: NoticeKind,
    /// Name of the bdev.
    pub bdev: String,
    /// More, for a human.
    pub detail: Option<String>,
}

/// The last events.
#[derive(Debug, Default)]
pub(crate) struct Notices(Mutex<Ring>);

#[derive(Debug, Default)]
struct Ring {
    next_id: u64,
    kept: VecDeque<Notice>,
    /// When the last check or repair of an array ended.
    checked_unix_ms: BTreeMap<String, u64>,
}

impl Notices {
    /// Something has happened to a bdev.
    pub(crate) fn push(&self, kind: NoticeKind, bdev: &str, detail: Option<String>) {
        let (event, text) = (kind.word(), detail.as_deref().unwrap_or_default());
        tracing::info!(event, bdev, detail = text, "notice");
        let mut ring = lock(&self.0);
        if ring.kept.len() == EVENTS_KEPT_MAX {
            ring.kept.pop_front();
        }
        if kind == NoticeKind::BdevUnregister {
            ring.checked_unix_ms.remove(bdev);
        }
        let (id, bdev) = (ring.next_id, bdev.to_owned());
        let notice = Notice { id, at_unix_ms: unix_ms(), kind, bdev, detail };
        ring.next_id += 1;
        ring.kept.push_back(notice);
    }

    /// Something has happened to an array.
    pub(crate) fn push_raid(&self, ArrayEvent { array, event }: &ArrayEvent) {
        let (kind, detail) = match event {
            RaidEvent::MemberFailed { slot, cause } => {
                (NoticeKind::RaidMemberFailed, Some(format!("slot {slot}: {cause}")))
            }
            RaidEvent::Degraded => (NoticeKind::RaidDegraded, None),
            RaidEvent::Broken => (NoticeKind::RaidOffline, None),
            RaidEvent::Optimal => {
                (NoticeKind::RaidOnline, Some("every member is in sync".to_owned()))
            }
            RaidEvent::MemberAdded { slot } => {
                (NoticeKind::RaidMemberAdded, Some(format!("slot {slot}")))
            }
            RaidEvent::LogFailed => (NoticeKind::RaidLogFailed, None),
            // Told by those who know whom it waits for, if anybody.
            RaidEvent::SyncDelayed { .. } => return,
            RaidEvent::SyncStarted { kind } => {
                (NoticeKind::RaidSyncStarted, Some(action_word(*kind).to_owned()))
            }
            RaidEvent::SyncEnded { kind, complete } => {
                let how = if *complete { "" } else { ", not all of it" };
                (NoticeKind::RaidSyncEnded, Some(format!("{}{how}", action_word(*kind))))
            }
        };
        if let RaidEvent::SyncEnded { kind: WorkKind::Check | WorkKind::Repair, complete: true } =
            event
        {
            lock(&self.0).checked_unix_ms.insert(array.clone(), unix_ms());
        }
        self.push(kind, array, detail);
    }

    /// The last `max` events, the newest first.
    pub(crate) fn last(&self, max: usize) -> Vec<Notice> {
        lock(&self.0).kept.iter().rev().take(max).cloned().collect()
    }

    /// When the last check or repair of all of an array ended, in milliseconds since 1970.
    pub(crate) fn checked_unix_ms(&self, array: &str) -> Option<u64> {
        lock(&self.0).checked_unix_ms.get(array).copied()
    }

    /// At most `max` events from number `id` on, the oldest first.
    pub(crate) fn since(&self, id: u64, max: usize) -> Vec<Notice> {
        let ring = lock(&self.0);
        ring.kept.iter().filter(|notice| notice.id >= id).take(max).cloned().collect()
    }
}

/// md's words.
pub(crate) fn action_word(kind: WorkKind) -> &'static str {
    match kind {
        WorkKind::Resync => "resync",
        WorkKind::Rebuild => "recover",
        WorkKind::Check => "check",
        WorkKind::Repair => "repair",
    }
}

#[cfg(test)]
mod tests {
    use raid::event::FailCause;
    use raid::units::Slot;

    use super::*;

    /// Goal: events are numbered without gaps, can be asked for in parts, and the oldest ones go.
    #[test]
    fn a_ring_keeps_the_last_events() {
        let notices = Notices::default();
        assert!(notices.since(0, 10).is_empty());
        let count = EVENTS_KEPT_MAX as u64 + 3;
        for number in 0..count {
            notices.push(NoticeKind::BdevRegister, &format!("n{number}"), None);
        }
        let kept = notices.since(0, usize::MAX);
        assert_eq!(kept.len(), EVENTS_KEPT_MAX);
        assert_eq!((kept[0].id, kept[0].bdev.as_str()), (3, "n3"));
        assert!(kept.windows(2).all(|pair| pair[0].id + 1 == pair[1].id));
        let two: Vec<_> = notices.since(count - 3, 2).iter().map(|notice| notice.id).collect();
        assert_eq!(two, [count - 3, count - 2]);
        assert!(notices.since(count, 5).is_empty());
    }

    /// Goal: an array's events have words, and say what a human wants to know.
    #[test]
    fn events_of_arrays_are_told() {
        let notices = Notices::default();
        let slot = Slot(2);
        for event in [
            RaidEvent::MemberFailed { slot, cause: FailCause::Write },
            RaidEvent::Degraded,
            RaidEvent::Broken,
            RaidEvent::Optimal,
            RaidEvent::MemberAdded { slot },
            RaidEvent::LogFailed,
            RaidEvent::SyncStarted { kind: WorkKind::Rebuild },
            RaidEvent::SyncEnded { kind: WorkKind::Check, complete: false },
        ] {
            notices.push_raid(&ArrayEvent { array: "r0".to_owned(), event });
        }
        let told: Vec<_> = notices
            .since(0, usize::MAX)
            .into_iter()
            .map(|notice| (notice.kind.word(), notice.detail.unwrap_or_default()))
            .collect();
        let expected = [
            ("raid_member_failed", "slot 2: a write failed"),
            ("raid_degraded", ""),
            ("raid_offline", ""),
            ("raid_online", "every member is in sync"),
            ("raid_member_added", "slot 2"),
            ("raid_log_failed", ""),
            ("raid_sync_started", "recover"),
            ("raid_sync_ended", "check, not all of it"),
        ];
        assert_eq!(told, expected.map(|(word, detail)| (word, detail.to_owned())));
    }
}
