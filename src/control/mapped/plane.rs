//! Between tables and the data plane: segments of what a table maps, and the data plane's refusals in the
//! words of this module.
//!
//! ```text
//!   linear   a bdev from an offset on        error, zero   themselves
//!   delay    a lag bdev of the line's own    flakey        a flakey bdev of the line's own, over its device
//!   array    its bdev, and errors for what is left of the line: an array has whole stripes
//! ```
//!
//! Not here: I/O (`device::mapped`).

use std::collections::BTreeMap;
use std::sync::Arc;

use device::{
    Bdev, FlakeyBdev, FlakeyByte, FlakeyFeatures, FlakeySpec, FlakeyWrites, LagBdev, LagClass,
    LagSpec, MappedBdev, MappedSpec, MappedState, MappedTable, Queueing, Segment, SegmentTarget,
    SuspendMode,
};
use rpc::error::errno;
use uuid::Uuid;

use super::super::Control;
use super::super::error::ControlError;
use super::{Lags, LiveArray, Mapped, MappedError};
use crate::dm::simple::{BadWrites, DelayClass, Direction, FlakeyTable, Stretch};
use crate::dm::{Table, TableLine, Target};
use crate::limits;

const SECTOR_BYTES: u64 = 512;

/// A new mapped device without a table.
pub(super) fn create(
    name: &str,
    uuid: Option<Uuid>,
    read_only: bool,
) -> Result<Arc<MappedBdev>, ControlError> {
    Ok(MappedBdev::create(MappedSpec { name: name.to_owned(), uuid, read_only }))
}

/// Gives it another name.
pub(super) fn rename(bdev: &MappedBdev, name: &str) {
    bdev.rename(name);
}

fn failed(device: &Mapped, errno: i32, reason: impl ToString) -> ControlError {
    let (name, reason) = (device.bdev.name(), reason.to_string());
    MappedError::Plane { name, reason, errno }.into()
}

/// Lets what is in flight end, and has what comes then wait.
pub(super) fn suspend(device: &Mapped, mode: SuspendMode) -> Result<(), ControlError> {
    // What is late is not waited for, as with dm-delay.
    hurry(device, true);
    let suspended = device.bdev.suspend(mode, limits::SUSPEND_TIME_LIMIT);
    if suspended.is_err() {
        hurry(device, false);
    }
    suspended.map_err(|error| failed(device, -error.errno(), error))
}

/// Lets requests go on, to another table if there is one.
pub(super) fn resume(device: &Mapped, table: Option<MappedTable>) -> Result<(), ControlError> {
    let resumed = device.bdev.resume(table);
    if resumed.is_ok() {
        hurry(device, false);
    }
    resumed.map_err(|error| failed(device, -error.errno(), error))
}

fn hurry(device: &Mapped, hurries: bool) {
    let tables = device.tables();
    for lag in tables.active.iter().flat_map(|active| active.lags.values()) {
        lag.hurry(hurries);
    }
}

/// Whether requests wait.
pub(super) fn is_suspended(device: &Mapped) -> bool {
    device.bdev.state() == MappedState::Suspended
}

/// What the last suspend has had wait.
pub(super) fn queueing(device: &Mapped) -> Queueing {
    device.bdev.queueing()
}

/// A table of as many errors as the device has sectors: dmsetup's `wipe_table`.
pub(super) fn error_table(device: &Mapped) -> Table {
    let sectors = device.bdev.info().size_bytes() / SECTOR_BYTES;
    let table = Table::parse(&format!("0 {sectors} error"), &|_: &str| None);
    table.expect("an active table has sectors, and an error target needs nothing")
}

impl Control {
    /// What a table maps, with its arrays as they run.
    pub(super) fn plane_table(
        &self,
        device: &Mapped,
        table: &Table,
        arrays: &BTreeMap<usize, LiveArray>,
    ) -> Result<(MappedTable, Lags), ControlError> {
        let mut segments = Vec::new();
        let mut lags = Lags::new();
        for (index, line) in table.lines().iter().enumerate() {
            let array = arrays.get(&index).and_then(|array| array.raid.as_ref());
            match array {
                Some(raid) => {
                    let raid: Arc<dyn Bdev> = raid.clone();
                    array_segments(line, raid, &mut segments);
                }
                None => segments.push(Segment {
                    start_bytes: line.start * SECTOR_BYTES,
                    len_bytes: line.sectors * SECTOR_BYTES,
                    target: self.segment_target(device, index, line, &mut lags)?,
                    boundary_bytes: None,
                }),
            }
        }
        let table = MappedTable::new(segments);
        Ok((table.map_err(|error| failed(device, errno::EINVAL, error))?, lags))
    }

    fn segment_target(
        &self,
        device: &Mapped,
        index: usize,
        line: &TableLine,
        lags: &mut Lags,
    ) -> Result<SegmentTarget, ControlError> {
        let name = device.array_name(index);
        Ok(match &line.target {
            Target::Zero => SegmentTarget::Zero,
            Target::Linear(table) => self.stretch(&table.stretch)?,
            Target::Delay(table) => {
                let class = |class: &DelayClass| self.lag_class(class);
                let spec = LagSpec {
                    name,
                    uuid: None,
                    size_bytes: line.sectors * SECTOR_BYTES,
                    read: class(&table.read)?,
                    write: table.write.as_ref().map(class).transpose()?,
                    flush: table.flush.as_ref().map(class).transpose()?,
                };
                let lag = LagBdev::create(spec);
                let lag = lag.map_err(|error| failed(device, errno::EINVAL, error))?;
                lags.insert(index, Arc::clone(&lag));
                SegmentTarget::Bdev { bdev: lag, offset_bytes: 0 }
            }
            Target::Flakey(table) => {
                let spec = FlakeySpec {
                    name,
                    uuid: None,
                    base: self.bdev(table.stretch.device.as_str())?,
                    up_s: table.up_s,
                    down_s: table.down_s,
                    features: features(table),
                };
                let offset_bytes = table.stretch.offset * SECTOR_BYTES;
                SegmentTarget::Bdev { bdev: FlakeyBdev::create(spec), offset_bytes }
            }
            // An array that does not run.
            _ => SegmentTarget::Error,
        })
    }

    fn lag_class(&self, class: &DelayClass) -> Result<LagClass, ControlError> {
        let DelayClass { stretch, delay_ms } = class;
        let bdev = self.bdev(stretch.device.as_str())?;
        let offset_bytes = stretch.offset * SECTOR_BYTES;
        Ok(LagClass { bdev, offset_bytes, delay_ms: *delay_ms })
    }

    fn stretch(&self, stretch: &Stretch) -> Result<SegmentTarget, ControlError> {
        let bdev = self.bdev(stretch.device.as_str())?;
        Ok(SegmentTarget::Bdev { bdev, offset_bytes: stretch.offset * SECTOR_BYTES })
    }
}

fn features(table: &FlakeyTable) -> FlakeyFeatures {
    FlakeyFeatures {
        error_reads: table.error_reads,
        writes: table.writes.map(|writes| match writes {
            BadWrites::Drop => FlakeyWrites::Drop,
            BadWrites::Error => FlakeyWrites::Error,
        }),
        corrupt: table.corrupt.map(|byte| FlakeyByte {
            nth: byte.nth,
            of_writes: byte.direction == Direction::Write,
            value: byte.value,
            flags: byte.flags,
        }),
    }
}

fn array_segments(line: &TableLine, raid: Arc<dyn Bdev>, segments: &mut Vec<Segment>) {
    let (start_bytes, line_bytes) = (line.start * SECTOR_BYTES, line.sectors * SECTOR_BYTES);
    let array_bytes = raid.info().size_bytes().min(line_bytes);
    let segment = |start_bytes, len_bytes, target| Segment {
        start_bytes,
        len_bytes,
        target,
        boundary_bytes: None,
    };
    let target = SegmentTarget::Bdev { bdev: raid, offset_bytes: 0 };
    segments.push(segment(start_bytes, array_bytes, target));
    if array_bytes < line_bytes {
        let (at, left) = (start_bytes + array_bytes, line_bytes - array_bytes);
        segments.push(segment(at, left, SegmentTarget::Error));
    }
}
