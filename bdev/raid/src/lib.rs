//! The pure core of RAID 4/5/6: geometry, plans, stripe machine, regions; no I/O, no unsafe.
#![forbid(unsafe_code)]

pub mod geometry;
pub mod layout;
pub mod units;
