//! What the parts share: arrays over memory, loads that must not fail, waiting, files.
//!
//! Not here: what is measured.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use array::{RaidBdev, RaidOptions, RaidSpec};
use device::Bdev;
use perf::bench::{fill, malloc};
use raid::layout::{Layout, Level};
use reactor::{ReactorHandle, Ticks, clock};
use tempfile::TempDir;

use crate::Args;

pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error>>;

const STRIP_BYTES: u32 = 64 << 10;
pub(crate) const MEMBERS: usize = 5;
pub(crate) const MIB: u64 = 1 << 20;

/// One reactor, and what was asked for.
pub(crate) struct Bench<'a> {
    pub(crate) reactors: &'a [ReactorHandle],
    pub(crate) args: &'a Args,
}

impl Bench<'_> {
    /// Members of one array, in memory.
    pub(crate) fn members(&self, name: &str, mib: u64) -> Result<Vec<Arc<dyn Bdev>>> {
        let member = |slot| Ok(malloc(&format!("{name}-{slot}"), mib * MIB)?);
        (0..MEMBERS).map(member).collect()
    }

    /// An array over them whose parity is taken for right.
    pub(crate) fn array(
        &self,
        name: &str,
        members: &[Arc<dyn Bdev>],
        options: RaidOptions,
    ) -> Result<Arc<RaidBdev>> {
        let spec = RaidSpec {
            name: name.to_owned(),
            uuid: None,
            level: Level::Raid5,
            layout: Layout::LeftSymmetric,
            strip_bytes: STRIP_BYTES,
            data_offsets_bytes: vec![0; members.len()],
            members: members.iter().cloned().map(Some).collect(),
            assume_clean: true,
            options,
        };
        Ok(RaidBdev::create(self.reactors, spec)?)
    }

    /// Writes all of it once.
    pub(crate) fn fill(&self, raid: &Arc<RaidBdev>) -> Result<()> {
        Ok(fill(&(raid.clone() as Arc<dyn Bdev>), self.reactors)?)
    }
}

/// Waits until then.
pub(crate) fn wait_until(moment: Ticks) {
    loop {
        let now = clock::now();
        if now >= moment {
            return;
        }
        thread::park_timeout((moment - now).into());
    }
}

/// Waits for so long.
pub(crate) fn pause(span: Ticks) {
    wait_until(clock::now() + span);
}

/// Waits until `true` comes out.
///
/// # Errors
/// When it does not within half a minute.
pub(crate) fn wait_for(what: &str, mut is_so: impl FnMut() -> Result<bool>) -> Result<()> {
    let end = clock::now() + Ticks::from_secs(30);
    while !is_so()? {
        if clock::now() > end {
            return Err(format!("not within 30 s: {what}").into());
        }
        pause(Ticks::from_millis(1));
    }
    Ok(())
}

/// A folder for files that are on a disk and not in memory, which goes with the value.
pub(crate) fn folder(args: &Args) -> Result<TempDir> {
    let own = || -> Result<PathBuf> {
        let program = std::env::current_exe()?;
        Ok(program.parent().map(Path::to_path_buf).ok_or("the program is in no folder")?)
    };
    let dir = args.dir.clone().map_or_else(own, Ok)?;
    Ok(tempfile::tempdir_in(dir)?)
}

/// A file of zeroes that are on the disk, not a hole: the first write of a block is like any other.
pub(crate) fn zeroes(path: &Path, len_bytes: u64) -> Result<()> {
    let mut file = std::fs::File::create(path)?;
    std::io::copy(&mut std::io::Read::take(std::io::repeat(0), len_bytes), &mut file)?;
    Ok(file.sync_all()?)
}
