//! Planted bugs: mistakes around the core that the judge must see. Each breaks one invariant, which may show as
//! another: a member that is taken for one in sync (R8) is one from which stale sectors are read (R5).
//!
//! Not here: where they act (searched for by name), how soon they are found (`tests/plants.rs`).

/// A bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plant {
    /// None.
    None,
    /// R1: grants go out before the log is written.
    GrantEarly,
    /// R1: the log's flush is answered and not done.
    LogFlushDropped,
    /// R2: flushes of members are answered and not done.
    FlushDropped,
    /// R2: a region is called clean on the log while it is written.
    ClearEarly,
    /// R3: writes are answered before they are done, so that the next one on these rows begins.
    AnswerEarly,
    /// R4: superblocks are answered and not written.
    SuperblockForgotten,
    /// R4: writes are allowed at once when a member has failed.
    AllowAtOnce,
    /// R4: the owner says that its record names who is missing, and it does not.
    RecordForgotten,
    /// R5: reads past the core go to members that are not in sync, too.
    ReadStale,
    /// R5: a write goes where it should not.
    WriteElsewhere,
    /// R6: scratch memory is handed out without end.
    NoBound,
    /// R6: a shard's stripe cache is larger than it was told.
    StripeCacheForgotten,
    /// R7: an array that is dirty and degraded starts as if it were in sync.
    StartDirtyDegraded,
    /// R7: a log that had failed is trusted again before it was written anew.
    LogTrustedEarly,
    /// R7: what is dirty at a start by force is called in sync.
    ForcedInSync,
    /// R8: members that were left behind are taken for members in sync.
    StaleMember,
    /// R8: a member that comes back is trusted without a rebuild of what it missed.
    ReturnUnrebuilt,
    /// R8, R10: a shard says that it has done a stretch before it has.
    WorkAnsweredEarly,
    /// R9: a flush that failed is tried again and believed.
    FlushRetried,
    /// R9: a log write that failed is answered as if it had been done.
    LogErrorIgnored,
    /// Background actions work though their permit was taken back.
    PermitIgnored,
    /// A permit is given and not heard of.
    PermitForgotten,
    /// R10: what resync finds wrong is put right in the data.
    DataFromParity,
}

impl Plant {
    /// All bugs.
    pub const ALL: [Self; 23] = [
        Self::GrantEarly,
        Self::LogFlushDropped,
        Self::FlushDropped,
        Self::ClearEarly,
        Self::AnswerEarly,
        Self::SuperblockForgotten,
        Self::AllowAtOnce,
        Self::RecordForgotten,
        Self::ReadStale,
        Self::WriteElsewhere,
        Self::NoBound,
        Self::StripeCacheForgotten,
        Self::StartDirtyDegraded,
        Self::LogTrustedEarly,
        Self::ForcedInSync,
        Self::StaleMember,
        Self::ReturnUnrebuilt,
        Self::WorkAnsweredEarly,
        Self::FlushRetried,
        Self::LogErrorIgnored,
        Self::PermitIgnored,
        Self::PermitForgotten,
        Self::DataFromParity,
    ];

    /// By its name as it stands here.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|plant| format!("{plant:?}").eq_ignore_ascii_case(name))
    }
}
