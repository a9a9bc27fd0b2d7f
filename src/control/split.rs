//! Splits: a bdev that is cut into parts of one size, as SPDK's split vbdev does it.
//!
//! ```text
//!   m0 (claimed by its parts)     | m0p0 | m0p1 | m0p2 | left over |
//! ```
//!
//! Parts come and go together.
//!
//! Not here: the windows themselves (crate `device`).

use std::sync::Arc;

use device::{Bdev, SplitBdev, SplitSpec};

use super::error::ControlError;
use super::notices::NoticeKind;
use super::registry::{Backing, Claim};
use super::{Control, Kind};
use crate::limits;

/// One part of a split bdev.
#[derive(Debug, Clone)]
pub struct Part {
    /// The bdev.
    pub bdev: Arc<SplitBdev>,
    /// Which part it is, from 0.
    pub index: u64,
    /// How many there were to be.
    pub count: u32,
    /// How large they were to be in MiB; 0: as large as possible.
    pub size_mib: u64,
}

impl Control {
    /// Cuts a bdev into `count` parts of `size_mib` MiB, or as large as possible if that is 0, and returns
    /// their names: the base's with "p0", "p1", ... behind it. As in SPDK there are fewer where the base
    /// has no room for all.
    ///
    /// # Errors
    ///
    /// A base that is not there, in use, or too small for one part; a name that is taken.
    pub fn create_split(
        &self,
        base: &str,
        count: u32,
        size_mib: u64,
    ) -> Result<Vec<String>, ControlError> {
        let mut state = self.state();
        state.admit_change(base)?;
        state.registry.check_rest(base)?;
        let base = state.registry.base(base)?;
        let base_name = base.info().name.clone();
        let plan = plan(&base, count, size_mib)?;
        if plan.parts < u64::from(count) {
            tracing::warn!(
                base = base_name,
                count,
                parts = plan.parts,
                "fewer parts than asked for"
            );
        }
        if state.registry.entries().len() as u64 + plan.parts > limits::BDEVS_MAX as u64 {
            return Err(ControlError::TooMany { name: format!("{base_name}p0") });
        }
        let mut parts = Vec::new();
        for index in 0..plan.parts {
            let name = format!("{base_name}p{index}");
            state.registry.admit(&name, None)?;
            let (offset_blocks, num_blocks) = (index * plan.part_blocks, plan.part_blocks);
            let base = Arc::clone(&base);
            let spec = SplitSpec { name, uuid: None, base, offset_blocks, num_blocks };
            let bdev = SplitBdev::create(spec)?;
            // Its UUID follows from the base's: nobody can have it but by asking for it.
            state.registry.admit(&bdev.info().name, Some(bdev.info().uuid))?;
            parts.push(Part { bdev, index, count, size_mib });
        }
        let names: Vec<_> = parts.iter().map(|part| part.bdev.info().name.clone()).collect();
        state.registry.claim_one(&base, Claim::Split { parts: names.clone() });
        for part in parts {
            let bdev = Arc::clone(&part.bdev) as Arc<dyn Bdev>;
            self.add(&mut state, bdev, Backing::Split(part));
        }
        tracing::info!(base = base_name, parts = ?names, "split");
        self.examine_new(state);
        Ok(names)
    }

    /// Deletes all parts of a bdev. What is on them stays.
    ///
    /// # Errors
    ///
    /// When the bdev is not there or not split, or a part is in use.
    pub fn delete_split(&self, base: &str) -> Result<(), ControlError> {
        let mut state = self.state();
        state.admit_change(base)?;
        let Some(Claim::Split { parts }) = state.registry.get(base)?.claim.clone() else {
            return Err(ControlError::NotSplit { name: base.to_owned() });
        };
        for part in &parts {
            state.registry.check_delete(Kind::Split, part)?;
        }
        let mut removed = Vec::new();
        for part in parts.iter().rev() {
            removed.extend(state.registry.remove(part));
            state.known.forget(part);
            self.notices.push(NoticeKind::BdevUnregister, part, None);
        }
        self.changed.notify_all();
        drop(state);
        drop(removed);
        tracing::info!(base, "parts deleted");
        Ok(())
    }
}

/// How a bdev is cut.
#[derive(Debug, PartialEq, Eq)]
struct Plan {
    parts: u64,
    part_blocks: u64,
}

fn plan(base: &Arc<dyn Bdev>, count: u32, size_mib: u64) -> Result<Plan, ControlError> {
    let info = base.info();
    let bad = |what, value: u64, right: String| {
        Err(ControlError::BadValue { what, value: value.to_string(), right })
    };
    if count == 0 || u64::from(count) > info.num_blocks {
        let right = format!("give 1 to {}, the blocks of bdev {:?}", info.num_blocks, info.name);
        return bad("split_count", count.into(), right);
    }
    if size_mib == 0 {
        return Ok(Plan { parts: count.into(), part_blocks: info.num_blocks / u64::from(count) });
    }
    let size_bytes = size_mib.checked_mul(1 << 20).filter(|bytes| *bytes <= info.size_bytes());
    let Some(size_bytes) = size_bytes else {
        let most = info.size_bytes() >> 20;
        let right = match most {
            0 => format!("bdev {:?} has less than 1 MiB: leave it out", info.name),
            most => {
                format!("give at most {most}, the size of bdev {:?}, or leave it out", info.name)
            }
        };
        return bad("split_size_mb", size_mib, right);
    };
    let part_blocks = size_bytes / u64::from(info.block_size_bytes);
    Ok(Plan { parts: u64::from(count).min(info.num_blocks / part_blocks), part_blocks })
}

#[cfg(test)]
mod tests {
    use device::{NullBdev, NullSpec};

    use super::*;

    /// Goal: parts fit, are equal, and as many as SPDK would make; what cannot be is refused in words.
    /// Method: a base of 10 MiB and 3 blocks.
    #[test]
    fn bases_are_cut_as_in_spdk() {
        let (name, uuid, num_blocks) = ("n".to_owned(), None, 10 * 256 + 3);
        let spec = NullSpec { name, uuid, block_size_bytes: 4096, num_blocks };
        let base = NullBdev::create(spec).unwrap();
        let cut = |count, size_mib| plan(&base, count, size_mib).map_err(|e| e.to_string());
        for (count, size_mib, parts, part_blocks) in
            [(1, 0, 1, 2563), (2, 0, 2, 1281), (2563, 0, 2563, 1), (2, 3, 2, 768), (9, 3, 3, 768)]
        {
            assert_eq!(cut(count, size_mib), Ok(Plan { parts, part_blocks }));
        }
        for (count, size_mib, text) in [
            (0, 0, "split_count 0: give 1 to 2563, the blocks of bdev \"n\""),
            (2564, 0, "split_count 2564: give 1 to 2563, the blocks of bdev \"n\""),
            (1, 11, "split_size_mb 11: give at most 10, the size of bdev \"n\", or leave it out"),
            (
                1,
                u64::MAX,
                "split_size_mb 18446744073709551615: give at most 10, the size of bdev \"n\", or \
                 leave it out",
            ),
        ] {
            assert_eq!(cut(count, size_mib), Err(text.to_owned()));
        }
    }
}
