//! Bdevs that change their size: null bdevs as they are told, files as they are found.
//!
//! | who uses it | grow | shrink |
//! |---|---|---|
//! | nobody: no claim, no open channel | yes | yes |
//! | somebody | yes | refused, -16 |
//!
//! What stands on a bdev that grows (error, delay) grows with it; an array keeps to what its members
//! had when it was made.
//!
//! Not here: what a size is to the data path (crate `device`).

use device::{NewSize, Reset, Resize};

use super::error::ControlError;
use super::{Control, Kind};

impl Control {
    /// Gives a null bdev another size, in MiB.
    ///
    /// # Errors
    ///
    /// When there is no such null bdev, it cannot have that size, or is in use and would shrink.
    pub fn resize_null(&self, name: &str, size_mib: u64) -> Result<(), ControlError> {
        self.resize(Kind::Null, name, |block_size_bytes| {
            let size_bytes = size_mib.checked_mul(1 << 20).filter(|bytes| *bytes > 0);
            let size_bytes = size_bytes.ok_or_else(|| ControlError::BadValue {
                what: "new_size",
                value: size_mib.to_string(),
                right: "give 1 to 8796093022207 MiB (less than 2^63 bytes)".to_owned(),
            })?;
            Ok(NewSize::Blocks(size_bytes / u64::from(block_size_bytes)))
        })
    }

    /// Has a bdev of that kind, uring or aio, be as long as its file is now.
    ///
    /// # Errors
    ///
    /// When there is no such bdev, its file cannot be looked at or does not hold whole blocks, or it
    /// has become smaller than what is in use.
    pub fn rescan(&self, kind: Kind, name: &str) -> Result<(), ControlError> {
        self.resize(kind, name, |_| Ok(NewSize::OfFile))
    }

    fn resize(
        &self,
        wanted: Kind,
        name: &str,
        size: impl FnOnce(u32) -> Result<NewSize, ControlError>,
    ) -> Result<(), ControlError> {
        let mut state = self.state();
        state.admit_change(name)?;
        let entry = state.registry.get(name)?;
        let kind = entry.kind();
        if kind != wanted {
            return Err(ControlError::WrongKind { name: name.to_owned(), kind, wanted });
        }
        let before = entry.bdev.info();
        let to = size(before.block_size_bytes)?;
        let channels = entry.counted.stats(Reset::None).iter().map(|seen| seen.1).sum::<u32>();
        let may_shrink = entry.claim.is_none() && channels == 0;
        entry.bdev.resize(Resize { to, may_shrink })?;
        let (from, to) = (before.num_blocks, entry.bdev.info().num_blocks);
        if from != to {
            tracing::info!(bdev = before.name, from, to, "resized, in blocks");
            state.registry.touch(&before.name);
            // And of what stands on it.
            self.nvmf().look_at_sizes();
        }
        Ok(())
    }
}
