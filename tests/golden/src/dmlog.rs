//! Dirty logs in dm-log's `disk` format as a Linux kernel wrote them, and what it said about them.
//!
//! ```text
//!   dmlogs.zst    | log 0: first 4096 bytes of its device | log 1 | ...    in the order of dmlogs.tsv
//! ```
//!
//! 4096 bytes hold the whole log in all of them, whatever the block of the device. README.md tells how
//! they came about.
//!
//! Not here: what the bytes mean. That is what the readers test.

use crate::{number, rows_of, unpack};

/// Bytes that are kept of every log device.
pub const KEPT_BYTES: usize = 4096;

/// A log at one moment of its life.
#[derive(Debug, Clone)]
pub struct GoldenLog {
    /// Unique name: geometry, what was done, and when the log was looked at.
    pub name: String,
    /// Sectors of the component that it covers.
    pub component_sectors: u64,
    /// Sectors of a region.
    pub region_sectors: u64,
    /// Number of regions.
    pub regions: u64,
    /// How it came about.
    pub how: String,
    /// What `dmsetup table` said, if there was a device.
    pub table: Option<String>,
    /// What `dmsetup status` said just after.
    pub status: Option<String>,
    /// The first bytes of the log device.
    pub bytes: Vec<u8>,
}

impl GoldenLog {
    /// Regions in sync according to the status.
    #[must_use]
    pub fn sync_count(&self) -> Option<u64> {
        let ratio = self.status.as_ref()?.split(' ').find_map(|word| word.split_once('/'));
        let (synced, regions) = ratio.expect("a mirror's status has a ratio");
        assert_eq!(number(regions) as u64, self.regions, "{}", self.name);
        Some(number(synced) as u64)
    }
}

/// Every log.
#[must_use]
pub fn logs() -> Vec<GoldenLog> {
    let images = unpack(include_bytes!("../data/dmlogs.zst"));
    let mut images = images.chunks_exact(KEPT_BYTES);
    let logs = rows_of::<8>(include_str!("../data/dmlogs.tsv"), "log")
        .map(|[name, component, region, regions, how, table, status, _sha256]| {
            let said = |line: &str| (line != "-").then(|| line.to_owned());
            GoldenLog {
                name: name.to_owned(),
                component_sectors: number(component) as u64,
                region_sectors: number(region) as u64,
                regions: number(regions) as u64,
                how: how.to_owned(),
                table: said(table),
                status: said(status),
                bytes: images.next().expect("an image for every row").to_vec(),
            }
        })
        .collect();
    assert!(images.next().is_none() && images.remainder().is_empty(), "bytes that no row is for");
    logs
}

/// The log of that name.
///
/// # Panics
/// If there is none.
#[must_use]
pub fn find(name: &str) -> GoldenLog {
    let found = logs().into_iter().find(|log| log.name == name);
    found.unwrap_or_else(|| panic!("no golden log {name}: data/dmlogs.tsv has the names"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::sha256;
    use std::collections::BTreeSet;

    /// Goal: what is kept is what the kernel wrote, bit for bit.
    #[test]
    fn logs_have_the_digests_of_the_originals() {
        let logs = logs();
        for (log, row) in logs.iter().zip(rows_of::<8>(include_str!("../data/dmlogs.tsv"), "log")) {
            let [name, .., digest] = row;
            assert_eq!((log.name.as_str(), sha256(&log.bytes).as_str()), (name, digest));
        }
        let names: BTreeSet<&str> = logs.iter().map(|log| log.name.as_str()).collect();
        assert_eq!((logs.len(), names.len()), (39, 39));
    }

    #[test]
    fn the_status_tells_how_many_regions_are_in_sync() {
        assert_eq!(find("len65536-rs1024-recover-resumed").sync_count(), Some(60));
        assert_eq!(find("badmagic-garbage").sync_count(), None);
        for log in logs() {
            assert!(log.sync_count().is_none_or(|synced| synced <= log.regions), "{}", log.name);
        }
    }
}
