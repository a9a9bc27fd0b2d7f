//! Loading tables: which bdevs their words mean, and who may use those.
//!
//! ```text
//!   "Malloc0", its UUID, "/dev/mapper/r0", a mapped device's UUID  --> the bdev's one name
//!
//!   linear, delay, flakey      shared: any number of mapped devices, nobody else
//!   raid, raid45, raid456      members, metadata devices and log: this mapped device only
//! ```
//!
//! A bdev is in use by every table that names it, active or not, from the load on.
//!
//! Not here: what a table says (`dm`).

use array::Before;
use device::Bdev;

use super::super::Control;
use super::super::error::ControlError;
use super::super::registry::{Claim, Registry};
use super::{Inactive, Mapped, MappedError, Tables, find_mapped};
use crate::dm::{Device, DeviceName, Table, TableError, Target};

/// Where mapped devices are found by name elsewhere.
pub(super) const DIRECTORY: &str = "/dev/mapper/";

const SECTOR_BYTES: u64 = 512;

/// That a table uses a bdev.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Use {
    pub(crate) bdev: String,
    /// Whether nobody else may.
    pub(crate) exclusive: bool,
}

impl Control {
    /// Loads a table into the inactive slot.
    ///
    /// # Errors
    ///
    /// When there is no such device, the table is refused, or a device of it has another user.
    pub fn dm_load(&self, name: &str, text: &str) -> Result<(), ControlError> {
        self.load(&*self.mapped(name)?, text, Before::default())
    }

    /// The same for arrays of whose life before something is known.
    pub(super) fn load(
        &self,
        device: &Mapped,
        text: &str,
        before: Before,
    ) -> Result<(), ControlError> {
        let _verb = self.turn(device)?;
        let mut state = self.state();
        let name = device.bdev.name();
        let find = |word: &str| find(&state.registry, word);
        let refused = |source: TableError| MappedError::Table { name: name.clone(), source };
        let table = Table::parse(text, &find).map_err(refused)?;
        check_users(&state.registry, device, &table)?;
        device.tables().inactive = Some(Inactive { table, before });
        state.registry.claim_mapped();
        tracing::info!(bdev = name, "table loaded");
        Ok(())
    }

    /// Drops the inactive table.
    ///
    /// # Errors
    ///
    /// When there is no such device.
    pub fn dm_clear(&self, name: &str) -> Result<(), ControlError> {
        let device = self.mapped(name)?;
        let _verb = self.turn(&device)?;
        let mut state = self.state();
        device.tables().inactive = None;
        state.registry.claim_mapped();
        Ok(())
    }
}

/// Refuses what is no table, or names bdevs that are not there.
pub(super) fn check_words(registry: &Registry, name: &str, text: &str) -> Result<(), ControlError> {
    let parsed = Table::parse(text, &|word: &str| find(registry, word));
    let refused = |source| MappedError::Table { name: name.to_owned(), source };
    Ok(parsed.map(drop).map_err(refused)?)
}

/// The bdev that a word of a table means.
fn find(registry: &Registry, word: &str) -> Option<Device> {
    let short = word.strip_prefix(DIRECTORY).unwrap_or(word);
    let entry = match registry.find(short) {
        Some(entry) => entry,
        None => registry.find(&find_mapped(registry, word)?.bdev.name())?,
    };
    let info = entry.bdev.info();
    Some(Device {
        name: DeviceName::new(&info.name)?,
        sectors: info.size_bytes() / SECTOR_BYTES,
        block_bytes: info.block_size_bytes,
        fails: entry.mapped().is_some_and(|mapped| mapped.tables().fails()),
    })
}

/// Refuses devices that somebody else uses, and a device that would be made of itself.
fn check_users(registry: &Registry, device: &Mapped, table: &Table) -> Result<(), ControlError> {
    let own = device.bdev.name();
    for line in table.lines() {
        let target = &line.target;
        for usage in uses(target) {
            let in_use = |claim: Claim| MappedError::InUse {
                name: own.clone(),
                target: target.name(),
                sentence: sentence(target),
                bdev: usage.bdev.clone(),
                claim,
            };
            // It would be made of itself.
            if registry.below(&usage.bdev).contains(&own) {
                let devices = vec![own.clone()];
                return Err(in_use(Claim::Mapped { devices, exclusive: true }).into());
            }
            match usage.exclusive {
                // Of the device itself its array asks.
                true => registry.check_rest_below(&usage.bdev)?,
                false => registry.check_rest(&usage.bdev)?,
            }
            let Some(claim) = registry.find(&usage.bdev).and_then(|entry| entry.claim.clone())
            else {
                continue;
            };
            if !matches!(claim, Claim::Mapped { .. }) {
                return Err(in_use(claim).into());
            }
            let others = registry.mapped().filter(|other| other.bdev.name() != own);
            let mut others = others.filter(|other| {
                let uses = other.tables().uses();
                let mut same = uses.iter().filter(|other| other.bdev == usage.bdev);
                same.any(|other| other.exclusive || usage.exclusive)
            });
            if let Some(other) = others.next() {
                let devices = vec![other.bdev.name()];
                return Err(in_use(Claim::Mapped { devices, exclusive: true }).into());
            }
        }
    }
    check_own(&own, table)
}

/// Refuses an array's device in another place of the same table.
fn check_own(own: &str, table: &Table) -> Result<(), ControlError> {
    let mut seen: Vec<Use> = Vec::new();
    for line in table.lines() {
        let mut new = uses(&line.target);
        // Within a line its grammar has looked.
        new.sort();
        new.dedup();
        for usage in &new {
            let clash = seen
                .iter()
                .find(|other| other.bdev == usage.bdev && (other.exclusive || usage.exclusive));
            if clash.is_some() {
                let devices = vec![own.to_owned()];
                return Err(MappedError::InUse {
                    name: own.to_owned(),
                    target: line.target.name(),
                    sentence: sentence(&line.target),
                    bdev: usage.bdev.clone(),
                    claim: Claim::Mapped { devices, exclusive: true },
                }
                .into());
            }
        }
        seen.append(&mut new);
    }
    Ok(())
}

/// What a target says of a device that it cannot have.
fn sentence(target: &Target) -> &'static str {
    match target {
        Target::Raid(_) | Target::Raid45(_) | Target::Raid456(_) => "RAID device lookup failure",
        _ => "Device lookup failure",
    }
}

/// The bdevs that a target uses.
fn uses(target: &Target) -> Vec<Use> {
    let exclusive = target.array().is_some();
    let of = |device: &DeviceName| Use { bdev: device.as_str().to_owned(), exclusive };
    target.devices().into_iter().map(of).collect()
}

impl Tables {
    /// The bdevs that it uses.
    pub(crate) fn uses(&self) -> Vec<Use> {
        let tables = [
            self.active.as_ref().map(|active| &active.table),
            self.inactive.as_ref().map(|inactive| &inactive.table),
        ];
        let lines = tables.into_iter().flatten().flat_map(Table::lines);
        let mut uses: Vec<Use> = lines.flat_map(|line| uses(&line.target)).collect();
        uses.sort();
        uses.dedup();
        uses
    }

    /// Whether it does nothing but fail.
    fn fails(&self) -> bool {
        self.active.as_ref().is_some_and(|active| active.table.fails())
    }

    /// A bdev has another name.
    pub(super) fn rename(&mut self, old: &str, new: &str) {
        for active in [&mut self.active, &mut self.coming].into_iter().flatten() {
            active.table = renamed(&active.table, old, new);
            for (&index, array) in &mut active.arrays {
                if let Some(facts) = active.table.lines()[index].target.array() {
                    array.facts = facts;
                }
            }
        }
        if let Some(inactive) = &mut self.inactive {
            inactive.table = renamed(&inactive.table, old, new);
        }
    }
}

/// A table with another name of a bdev. Read again, it is the same but for that.
fn renamed(table: &Table, old: &str, new: &str) -> Table {
    let failing = |name: &str| {
        table.lines().iter().any(|line| match &line.target {
            Target::Raid456(table) => table.members.iter().any(|member| {
                member.fails && member.name.as_ref().is_some_and(|own| own.as_str() == name)
            }),
            _ => false,
        })
    };
    let find = |word: &str| {
        let name = if word == old { new } else { word };
        Some(Device {
            name: DeviceName::new(name)?,
            // What fits has been looked at when the table was loaded.
            sectors: u64::MAX / SECTOR_BYTES,
            block_bytes: SECTOR_BYTES as u32,
            fails: failing(word),
        })
    };
    Table::parse(&table.to_string(), &find).unwrap_or_else(|_| table.clone())
}

/// Who uses which bdev, for the registry.
impl Registry {
    /// The mapped devices, in the order of their creation.
    pub(crate) fn mapped(&self) -> impl Iterator<Item = std::sync::Arc<Mapped>> {
        self.entries().iter().filter_map(|entry| entry.mapped().cloned())
    }

    /// Marks what tables use, and nothing else, as used by mapped devices.
    pub(crate) fn claim_mapped(&mut self) {
        let mut claims = std::collections::BTreeMap::<String, (Vec<String>, bool)>::new();
        for device in self.mapped() {
            for usage in device.tables().uses() {
                let (devices, exclusive) = claims.entry(usage.bdev).or_default();
                devices.push(device.bdev.name());
                *exclusive |= usage.exclusive;
            }
        }
        self.set_mapped_claims(|name| {
            let (mut devices, exclusive) = claims.remove(name)?;
            devices.dedup();
            Some(Claim::Mapped { devices, exclusive })
        });
    }
}
