//! Messages to targets, carried out.
//!
//! ```text
//!   raid, raid456   an action: admitted as the array is now, then the coordinator's business
//!                   a number: checked, kept in the dials, told to the array
//!   raid45          the same with its words; `overwrite` and `statistics` are switches of the dials
//! ```
//!
//! What a message changes lasts until another table is resumed, as with device-mapper.
//!
//! `allow_writes` takes its turn with no verb: a suspend that waits for held writes would wait for what lets
//! them go on.
//!
//! Not here: the words (`dm::message`).

use std::time::Duration;

use array::{RaidBdev, Tuning};
use device::Bdev;
use raid::coordinator::pace::Rates;
use raid::event::WorkKind;

use super::super::Control;
use super::super::error::ControlError;
use super::status::sync_action;
use super::{MappedError, arrays};
use crate::dm::message::{ActionMessage, Change, Message, Raid45Message, RaidMessage, Switch};
use crate::dm::words::split;
use crate::dm::{ArrayFacts, Errno, Target};

/// Stripes of the cache that dm-raid takes (md's `raid5_set_cache_size`).
const STRIPE_CACHE: std::ops::RangeInclusive<u32> = 17..=32768;

/// What messages turn, as it is now.
#[derive(Debug, Clone)]
pub(super) struct Dials {
    pub(super) tuning: Tuning,
    /// raid45's share of recovery, in percent.
    pub(super) bandwidth: Option<u32>,
    /// Whether raid45 is asked to recognise writes of whole chunks; here that is always done.
    pub(super) overwrite: bool,
    /// Whether raid45 shows its statistics.
    pub(super) statistics: bool,
    /// Chunks that raid45 is asked to xor at a time; here that is how many there are.
    pub(super) xor_chunks: u32,
    /// Whether a message says that nothing may start.
    pub(super) frozen: bool,
}

impl Dials {
    /// As the table says.
    pub(super) fn of(facts: &ArrayFacts) -> Self {
        let default = Tuning::default();
        let lease_idle = facts.daemon_sleep_ms.map(|ms| Duration::from_millis(ms.into()));
        Self {
            tuning: Tuning {
                frozen: !facts.recovery,
                stripes: facts.stripes.unwrap_or(default.stripes),
                lease_idle: lease_idle.unwrap_or(default.lease_idle),
            },
            bandwidth: facts.bandwidth_percent,
            overwrite: true,
            statistics: false,
            xor_chunks: 2,
            frozen: !facts.recovery,
        }
    }
}

/// An array that a message is for.
struct Addressee<'a> {
    raid: &'a RaidBdev,
    facts: &'a ArrayFacts,
    dials: Dials,
    suspended: bool,
    defaults: Rates,
}

impl Control {
    /// Sends a message to the target at that sector.
    ///
    /// # Errors
    ///
    /// When there is no such device, no target there, or it does not take the message.
    pub fn dm_message(&self, name: &str, sector: u64, text: &str) -> Result<(), ControlError> {
        let device = self.mapped(name)?;
        let name = device.bdev.name();
        let refused =
            |errno| MappedError::Message { name: name.clone(), message: text.to_owned(), errno };
        let look = || {
            let tables = device.tables();
            let active = tables.active.as_ref().ok_or_else(|| refused(Errno::Inval))?;
            let line = active.table.line_at(sector).ok_or_else(|| refused(Errno::Inval))?;
            let index = active.table.lines().iter().position(|other| other.start == line.start);
            let index = index.unwrap_or_default();
            let message = Message::parse(&line.target, &split(text)).map_err(refused)?;
            let array = active.arrays.get(&index).cloned();
            let array = array.ok_or_else(|| refused(Errno::Inval))?;
            Ok::<_, MappedError>((index, line.target.clone(), message, array, tables.suspended))
        };
        let is_release = look()?.2.allows_writes();
        let _verb = if is_release { None } else { Some(self.turn(&device)?) };
        // Once more: the verb that had its turn may have brought another table.
        let (index, target, message, array, suspended) = look()?;
        if is_release && !message.allows_writes() {
            return Err(refused(Errno::Busy).into());
        }
        let Some(raid) = &array.raid else { return Err(refused(Errno::Busy).into()) };
        let defaults = self.defaults().rates;
        let mut to =
            Addressee { raid, facts: &array.facts, dials: array.dials, suspended, defaults };
        let outcome = match message {
            Message::Raid(message) => to.raid(message),
            Message::Raid45(message) => to.raid45(message, &target),
        };
        let dials = to.dials;
        // A release turns nothing, and has no turn in which it could.
        if !is_release
            && let Some(active) = &mut device.tables().active
            && let Some(array) = active.arrays.get_mut(&index)
        {
            array.dials = dials;
        }
        outcome.map_err(refused)?;
        self.arrange_permits(&mut self.state());
        tracing::info!(bdev = name, message = text, "message");
        Ok(())
    }
}

impl Addressee<'_> {
    fn raid(&mut self, message: RaidMessage) -> Result<(), Errno> {
        match message {
            RaidMessage::Action(action) => return self.action(action),
            RaidMessage::StripeCache(stripes) => {
                if !STRIPE_CACHE.contains(&stripes) {
                    return Err(Errno::Inval);
                }
                self.dials.tuning.stripes = stripes.max(self.facts.strip_bytes / 512 / 2);
            }
            RaidMessage::MinRecoveryRate(rate) => {
                return self.rates(|rates, default| {
                    rates.min_bytes_per_s = arrays::rate(rate).unwrap_or(default.min_bytes_per_s);
                });
            }
            RaidMessage::MaxRecoveryRate(rate) => {
                return self.rates(|rates, default| {
                    rates.max_bytes_per_s = arrays::rate(rate).unwrap_or(default.max_bytes_per_s);
                });
            }
            RaidMessage::DaemonSleep(ms) => {
                if ms == 0 {
                    return Err(Errno::Inval);
                }
                self.dials.tuning.lease_idle = Duration::from_millis(ms.into());
            }
            RaidMessage::AllowWrites => {
                self.raid.allow_writes();
                return Ok(());
            }
        }
        self.raid.set_tuning(self.dials.tuning);
        Ok(())
    }

    fn rates(&self, change: impl FnOnce(&mut Rates, Rates)) -> Result<(), Errno> {
        let mut rates = self.raid.snapshot().rates;
        change(&mut rates, self.defaults);
        self.raid.set_rates(rates);
        Ok(())
    }

    fn action(&mut self, action: ActionMessage) -> Result<(), Errno> {
        let now = sync_action(self.raid.snapshot().action);
        if action.thaws() {
            self.dials.frozen = false;
        }
        action.admit(now, self.suspended)?;
        let kind = match action {
            ActionMessage::Frozen => {
                self.dials.frozen = true;
                self.raid.interrupt(true);
                return Ok(());
            }
            ActionMessage::Idle => {
                self.raid.interrupt(false);
                return Ok(());
            }
            ActionMessage::Resync => WorkKind::Resync,
            ActionMessage::Recover => WorkKind::Rebuild,
            ActionMessage::Check => WorkKind::Check,
            ActionMessage::Repair => WorkKind::Repair,
        };
        self.raid.request(kind).map_err(|_| Errno::Busy)
    }

    fn raid45(&mut self, message: Raid45Message, target: &Target) -> Result<(), Errno> {
        match message {
            Raid45Message::AllowWrites => {
                if !self.raid.snapshot().waiting_for_owner {
                    return Err(Errno::Perm);
                }
                self.raid.allow_writes();
            }
            Raid45Message::Bandwidth(change) => self.bandwidth(change)?,
            Raid45Message::StripeCache(change) => {
                let stripes = change.stripes(self.dials.tuning.stripes, false)?;
                self.dials.tuning.stripes = stripes;
                self.raid.set_tuning(self.dials.tuning);
            }
            Raid45Message::Overwrite(switch) => {
                self.dials.overwrite = switch.overwrite(self.dials.overwrite)?;
            }
            Raid45Message::Statistics(switch) => self.statistics(switch)?,
            Raid45Message::Xor { function, chunks } => {
                let devices = target.array().map_or(0, |array| array.members.len());
                if chunks as usize > devices || !self.raid.set_kernel(&function) {
                    return Err(Errno::Inval);
                }
                self.dials.xor_chunks = chunks;
            }
        }
        Ok(())
    }

    fn bandwidth(&mut self, change: Change) -> Result<(), Errno> {
        let percent = change.bandwidth(self.dials.bandwidth.unwrap_or(10))?;
        self.dials.bandwidth = Some(percent);
        self.rates(|rates, _| rates.share_percent = Some(percent))
    }

    fn statistics(&mut self, switch: Switch) -> Result<(), Errno> {
        self.dials.statistics = switch.statistics(self.dials.statistics)?;
        Ok(())
    }
}
