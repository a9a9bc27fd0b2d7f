//! The planner: what to read, compute and write for one rectangle of a stripe.
//!
//! A *rectangle* is a range of rows (bytes inside the strips) of one stripe together with a set of
//! data strips, all of which the operation covers over the whole range. Every host request falls apart
//! into at most three rectangles per stripe:
//!
//! ```text
//!            strip 0   strip 1   strip 2   strip 3
//!   row 0   |         |#########|#########|         |  \ rectangle {1,2}
//!           |         |#########|#########|         |  /
//!   row a   |  #######|#########|#########|         |  \ rectangle {0,1,2}
//!           |  #######|#########|#########|         |  /
//!   row b   |#########|#########|         |         |  ...
//! ```
//!
//! The planner is a total function of the roles' states and the written set. It owns **R5** (never read
//! what is missing or not in sync as data, never write outside the plan) and the planning half of
//! **R10**: it trusts parity as far as [`Trust`] goes. A strip that is not there is written only where it can be
//! read back.
//!
//! | parity is | read-modify-write | strips are computed from it | a strip that is lost is written |
//! |---|---|---|---|
//! | right | yes | yes | yes |
//! | right where written | no: it would stay wrong elsewhere | yes; for a write, if their member is gone | yes |
//! | unknown | no | no | no |
//!
//! The choice between read-modify-write and reconstruct-write goes by the number of reads, a tie to
//! reconstruct-write, as md does (linux-raid.md, section 5.2).
//!
//! Not here: where the strips are (`geometry`), buffers and order of events (`shard`), the field
//! arithmetic (crate `parity`; a [`Recipe`] only names what it must compute).

use crate::units::RoleSet;

/// Index of the P role in a [`RoleSet`]; data roles are 0 to 253.
pub const ROLE_P: u8 = 254;
/// Index of the Q role in a [`RoleSet`].
pub const ROLE_Q: u8 = 255;

/// Which parities an array has, or which of them a recipe computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parities {
    /// P, the xor of the data strips.
    pub p: bool,
    /// Q, the Reed-Solomon syndrome of the data strips.
    pub q: bool,
}

impl Parities {
    /// How many there are: 0, 1 or 2.
    #[must_use]
    pub fn count(self) -> usize {
        usize::from(self.p) + usize::from(self.q)
    }

    /// As roles.
    #[must_use]
    pub fn roles(self) -> RoleSet {
        let mut roles = RoleSet::empty();
        if self.p {
            roles.insert(ROLE_P);
        }
        if self.q {
            roles.insert(ROLE_Q);
        }
        roles
    }

    fn within(roles: RoleSet) -> Self {
        Self { p: roles.contains(ROLE_P), q: roles.contains(ROLE_Q) }
    }
}

/// What parity is worth on some rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// It matches the data: the rows are in sync.
    Right,
    /// It matches the data on rows that were written since the array was made. Others hold what was on the devices
    /// then, which nobody has asked to keep: whatever is computed for them will do. So it is before the first
    /// resync of an array that has not crashed since it was made, and of one whose operator has vouched for it.
    WhereWritten,
    /// Nobody knows: a crash may have come between the writes of data and parity.
    Unknown,
}

/// What is known of the stripe when an operation is planned.
#[derive(Debug, Clone, Copy)]
pub struct StripeState {
    /// Number of data strips.
    pub data_strips: u8,
    /// Parities that the level has.
    pub parities: Parities,
    /// Roles that cannot be read as what they should hold: missing members, and blocks that just
    /// failed to be read.
    pub unreadable: RoleSet,
    /// Roles that cannot be written either: missing members. A subset of `unreadable`.
    pub absent: RoleSet,
    /// Roles that are written, but not read before their member is rebuilt here. A subset of `unreadable`.
    pub stale: RoleSet,
    /// What parity is worth on these rows.
    pub trust: Trust,
}

impl StripeState {
    fn data(&self) -> RoleSet {
        RoleSet::first_n(usize::from(self.data_strips))
    }

    fn readable_parities(&self) -> Parities {
        Parities::within(self.parities.roles().difference(self.unreadable))
    }

    fn writable_parities(&self) -> Parities {
        Parities::within(self.parities.roles().difference(self.absent))
    }
}

/// How lost data strips are computed from what is left. Every other data strip is a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recovery {
    /// One data strip from P and the other data.
    FromP(u8),
    /// One data strip from Q and the other data, P being lost too.
    FromQ(u8),
    /// Two data strips (ascending) from P, Q and the other data.
    Two(u8, u8),
}

impl Recovery {
    /// The data strips that it computes.
    #[must_use]
    pub fn outputs(self) -> RoleSet {
        match self {
            Self::FromP(x) | Self::FromQ(x) => RoleSet::single(x),
            Self::Two(x, y) => {
                let mut both = RoleSet::single(x);
                both.insert(y);
                both
            }
        }
    }

    fn sources(self) -> RoleSet {
        match self {
            Self::FromP(_) => RoleSet::single(ROLE_P),
            Self::FromQ(_) => RoleSet::single(ROLE_Q),
            Self::Two(..) => Parities { p: true, q: true }.roles(),
        }
    }
}

/// What the shell computes between the reads and the writes of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recipe {
    /// Nothing.
    None,
    /// In each of these parities, exchange the old contents of every written strip for the new.
    Delta(Parities),
    /// Compute these parities afresh from all data strips, new where written and old elsewhere.
    Generate(Parities),
    /// Compute lost data strips.
    Recover(Recovery),
    /// Compute lost data strips as they were, then these parities from all data strips, new where
    /// written.
    RecoverThenGenerate(Recovery, Parities),
    /// Compare these parities with the data strips.
    Check(Parities),
    /// Compute a lost data strip from P, then compare these parities with all of them.
    RecoverThenCheck(Recovery, Parities),
}

impl Recipe {
    /// Strips that it computes, or compares with what it computes.
    #[must_use]
    pub fn strips(self) -> usize {
        match self {
            Self::None => 0,
            Self::Delta(parities) | Self::Generate(parities) | Self::Check(parities) => {
                parities.count()
            }
            Self::Recover(recovery) => recovery.outputs().len(),
            Self::RecoverThenGenerate(recovery, parities)
            | Self::RecoverThenCheck(recovery, parities) => {
                recovery.outputs().len() + parities.count()
            }
        }
    }
}

/// Kind of a planned write, for statistics and for choosing kernels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum WriteKind {
    /// Every data strip is written: no reads.
    FullStripe,
    /// Old data and old parity are read, parity is updated by the difference.
    ReadModifyWrite,
    /// The data strips that are not written are read, parity is computed afresh.
    ReconstructWrite,
    /// Lost data that stays is reconstructed before parity is computed afresh.
    RecoverWrite,
    /// No parity can be written: data alone, no reads.
    DataOnly,
}

/// A planned write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WritePlan {
    /// Kind, as decided.
    pub kind: WriteKind,
    /// Roles to read before computing.
    pub reads: RoleSet,
    /// What to compute.
    pub recipe: Recipe,
    /// Roles to write.
    pub writes: RoleSet,
}

/// A planned read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadPlan {
    /// Roles to read.
    pub reads: RoleSet,
    /// What to compute: nothing, or a recovery.
    pub recipe: Recipe,
}

/// Why an operation cannot be planned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unplannable {
    /// More of the stripe is lost than its parities can stand for.
    #[error("more strips are lost than the level has parity for")]
    TooManyLost,
    /// A strip is lost and the rows are not in sync, so parity does not say what it held or would hold.
    #[error("a strip is lost on rows whose parity is not in sync")]
    NotInSync,
}

/// Plans a write of the data strips `written` over all rows of the rectangle.
///
/// # Errors
/// When lost data would have to be reconstructed and cannot be.
///
/// # Panics
/// If `written` is empty or names a role that is not a data strip: the caller's mistake.
pub fn write(state: &StripeState, written: RoleSet) -> Result<WritePlan, Unplannable> {
    assert!(!written.is_empty() && written.is_subset_of(state.data()), "written set {written:?}");
    let target = state.writable_parities();
    let writes = written.difference(state.absent).union(target.roles());
    if target.count() == 0 {
        let lost = state.absent.intersection(state.data());
        if lost.is_empty() {
            let reads = RoleSet::empty();
            return Ok(WritePlan {
                kind: WriteKind::DataOnly,
                reads,
                recipe: Recipe::None,
                writes,
            });
        }
        return Err(Unplannable::TooManyLost);
    }
    if state.absent.len() > state.parities.count() {
        return Err(Unplannable::TooManyLost);
    }
    if state.trust == Trust::Unknown && !written.is_disjoint_from(state.absent.union(state.stale)) {
        // Nobody could read it.
        return Err(Unplannable::NotInSync);
    }
    let kept = state.data().difference(written);
    let reconstruct = kept.is_disjoint_from(state.unreadable).then_some(kept);
    let modify = (state.trust == Trust::Right
        && written.union(target.roles()).is_disjoint_from(state.unreadable))
    .then(|| written.union(target.roles()));
    let plan = |kind, reads, recipe| Ok(WritePlan { kind, reads, recipe, writes });
    match (reconstruct, modify) {
        (Some(kept), _) if kept.is_empty() => {
            plan(WriteKind::FullStripe, kept, Recipe::Generate(target))
        }
        (Some(kept), Some(old)) if old.len() < kept.len() => {
            plan(WriteKind::ReadModifyWrite, old, Recipe::Delta(target))
        }
        (Some(kept), _) => plan(WriteKind::ReconstructWrite, kept, Recipe::Generate(target)),
        (None, Some(old)) => plan(WriteKind::ReadModifyWrite, old, Recipe::Delta(target)),
        (None, None) => {
            let lost = state.data().intersection(state.unreadable);
            let gone = state.absent.union(state.stale);
            if state.trust == Trust::WhereWritten && !lost.is_subset_of(gone) {
                // What a member that is there fails to read now may be something else than what is computed for it,
                // and nothing would put that there.
                return Err(Unplannable::NotInSync);
            }
            let recovery = recovery(state)?;
            let reads = state.data().difference(state.unreadable).union(recovery.sources());
            plan(WriteKind::RecoverWrite, reads, Recipe::RecoverThenGenerate(recovery, target))
        }
    }
}

/// Plans a read of the data strips `wanted` over all rows of the rectangle.
///
/// # Errors
/// When a wanted strip is lost and cannot be reconstructed.
///
/// # Panics
/// If `wanted` is empty or names a role that is not a data strip: the caller's mistake.
pub fn read(state: &StripeState, wanted: RoleSet) -> Result<ReadPlan, Unplannable> {
    assert!(!wanted.is_empty() && wanted.is_subset_of(state.data()), "wanted set {wanted:?}");
    if wanted.is_disjoint_from(state.unreadable) {
        return Ok(ReadPlan { reads: wanted, recipe: Recipe::None });
    }
    let recovery = recovery(state)?;
    let reads = state.data().difference(state.unreadable).union(recovery.sources());
    Ok(ReadPlan { reads, recipe: Recipe::Recover(recovery) })
}

/// Plans the comparison of parity with data: the first half of resync, check and repair. What has to
/// be rewritten afterwards is the parity that [`Recipe::Check`] found wrong. A parity whose member is
/// missing is left out. With one data strip lost RAID 6 compares what is left, as md does
/// (linux-raid.md, section 5.6): that strip is what P says it is, and Q has to match it.
///
/// # Errors
/// When more cannot be read: there is nothing to compare then. The same with a data strip lost on rows
/// that are not in sync.
pub fn check(state: &StripeState) -> Result<ReadPlan, Unplannable> {
    let parities = state.writable_parities();
    let lost = state.data().intersection(state.unreadable);
    let readable = parities.roles().is_disjoint_from(state.unreadable);
    if parities.count() <= lost.len() || !readable {
        return Err(Unplannable::TooManyLost);
    }
    let all = state.data().difference(lost).union(parities.roles());
    if lost.is_empty() {
        return Ok(ReadPlan { reads: all, recipe: Recipe::Check(parities) });
    }
    if state.trust != Trust::Right {
        return Err(Unplannable::NotInSync);
    }
    let left = Parities { p: false, q: true };
    Ok(ReadPlan { reads: all, recipe: Recipe::RecoverThenCheck(recovery(state)?, left) })
}

/// Plans the reconstruction of `targets` (data strips or parities) from the rest: a rebuild of a member,
/// or of what a member could not read. What is written afterwards is the targets.
///
/// # Errors
/// When lost data would have to be reconstructed and cannot be.
///
/// # Panics
/// If `targets` is empty, or names what is readable or cannot be written: the caller's mistake.
pub fn reconstruct(state: &StripeState, targets: RoleSet) -> Result<ReadPlan, Unplannable> {
    assert!(
        !targets.is_empty()
            && targets.is_subset_of(state.unreadable)
            && targets.is_disjoint_from(state.absent),
        "targets {targets:?} of {state:?}"
    );
    let parities = Parities::within(targets);
    if state.data().is_disjoint_from(state.unreadable) {
        return Ok(ReadPlan { reads: state.data(), recipe: Recipe::Generate(parities) });
    }
    let recovery = recovery(state)?;
    let reads = state.data().difference(state.unreadable).union(recovery.sources());
    let recipe = match parities.count() {
        0 => Recipe::Recover(recovery),
        _ => Recipe::RecoverThenGenerate(recovery, parities),
    };
    Ok(ReadPlan { reads, recipe })
}

/// How every unreadable data strip can be computed.
fn recovery(state: &StripeState) -> Result<Recovery, Unplannable> {
    if state.trust == Trust::Unknown {
        return Err(Unplannable::NotInSync);
    }
    let lost = state.data().intersection(state.unreadable);
    let parities = state.readable_parities();
    let mut strips = lost.iter();
    match (strips.next(), strips.next(), strips.next()) {
        (Some(x), None, _) if parities.p => Ok(Recovery::FromP(x)),
        (Some(x), None, _) if parities.q => Ok(Recovery::FromQ(x)),
        (Some(x), Some(y), None) if parities.p && parities.q => Ok(Recovery::Two(x, y)),
        _ => Err(Unplannable::TooManyLost),
    }
}

#[cfg(test)]
mod tests;
