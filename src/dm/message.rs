//! Messages to a target: `dmsetup message <device> <sector> <word>...`.
//!
//! ```text
//!   raid      idle | frozen | resync | recover | check | repair      any case; more words are ignored
//!   raid456   the same, and besides, here for both:
//!               stripe_cache <n> | min_recovery_rate <kB/s> | max_recovery_rate <kB/s>
//!               daemon_sleep <ms> | allow_writes
//!   raid45    allow_writes | bandwidth set|grow|shrink <%> | overwrite on|off|reset
//!             statistics on|off|reset | stripe_cache set|grow|shrink <n> | xor <function> <chunks>
//! ```
//!
//! raid45's words may be abbreviated to three letters, those after them to two: a word is compared over
//! its own length, and over three or two characters at least, so that one which is longer than the name
//! is another word. Case counts there.
//!
//! Reading and deciding are apart: a message is read once, and what it does to a number or an action is a
//! function of how things are. dm-raid's actions are those of Linux 6.1 and 6.8; in 6.13 `idle` and
//! `frozen` fall through and fail, which is not copied. A message answers with nothing, or an errno.
//!
//! Not here: carrying it out (`control`).

use std::ops::RangeInclusive;

use super::error::Errno;
use super::raid45::{BANDWIDTH, STRIPES};
use super::status::SyncAction;
use super::table::Target;
use super::words::signed;

/// A message to whatever target a line of a table has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// To `raid` or `raid456`.
    Raid(RaidMessage),
    /// To `raid45`.
    Raid45(Raid45Message),
}

impl Message {
    /// Whether it lets held writes go on, and does nothing else.
    pub fn allows_writes(&self) -> bool {
        matches!(
            self,
            Self::Raid(RaidMessage::AllowWrites) | Self::Raid45(Raid45Message::AllowWrites)
        )
    }

    /// Reads a message to that target.
    ///
    /// # Errors
    ///
    /// `EINVAL`: the target has no messages, or not this one.
    pub fn parse(target: &Target, words: &[String]) -> Result<Self, Errno> {
        match target {
            Target::Raid(_) | Target::Raid456(_) => RaidMessage::parse(words).map(Self::Raid),
            Target::Raid45(_) => Raid45Message::parse(words).map(Self::Raid45),
            _ => Err(Errno::Inval),
        }
    }
}

/// A message to `raid` or `raid456`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RaidMessage {
    /// Begin or end an action.
    Action(ActionMessage),
    /// Change the stripes of the cache.
    StripeCache(u32),
    /// Change the KiB/s on each member that recovery takes in any case; 0: the default.
    MinRecoveryRate(u32),
    /// Change the KiB/s on each member that recovery never exceeds; 0: the default.
    MaxRecoveryRate(u32),
    /// Change the milliseconds for which a mark stays after the last write.
    DaemonSleep(u32),
    /// The owner has recorded what failed: writes go on.
    AllowWrites,
}

/// A message that begins or ends an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ActionMessage {
    /// Interrupt; nothing starts until another message or a resume.
    Frozen,
    /// Interrupt; what is still needed starts again by itself.
    Idle,
    /// Go on with the resync, if the checkpoint is before the end. Does not force one.
    Resync,
    /// Go on with the rebuild, if a member is not in sync.
    Recover,
    /// Compare parity with data, and count.
    Check,
    /// Compare parity with data, and make it right.
    Repair,
}

impl RaidMessage {
    /// Reads a message.
    ///
    /// # Errors
    ///
    /// `EINVAL`: no message, an unknown one (`reshape` among them: one is asked for by a table), or its
    /// value is none.
    pub fn parse(words: &[String]) -> Result<Self, Errno> {
        let word = words.first().ok_or(Errno::Inval)?.to_ascii_lowercase();
        let value = || {
            let value = words.get(1).and_then(|word| signed(word));
            value.and_then(|value| u32::try_from(value).ok()).ok_or(Errno::Inval)
        };
        Ok(match word.as_str() {
            "frozen" => Self::Action(ActionMessage::Frozen),
            "idle" => Self::Action(ActionMessage::Idle),
            "resync" => Self::Action(ActionMessage::Resync),
            "recover" => Self::Action(ActionMessage::Recover),
            "check" => Self::Action(ActionMessage::Check),
            "repair" => Self::Action(ActionMessage::Repair),
            "stripe_cache" => Self::StripeCache(value()?),
            "min_recovery_rate" => Self::MinRecoveryRate(value()?),
            "max_recovery_rate" => Self::MaxRecoveryRate(value()?),
            "daemon_sleep" => Self::DaemonSleep(value()?),
            "allow_writes" => Self::AllowWrites,
            _ => return Err(Errno::Inval),
        })
    }
}

impl ActionMessage {
    /// Whether it ends `frozen`: every one but `frozen` does, even if it is refused then.
    #[must_use]
    pub fn thaws(self) -> bool {
        self != Self::Frozen
    }

    /// Whether it is taken while `now` goes on. `frozen` counts as idle, because it has just been ended.
    ///
    /// # Errors
    ///
    /// `EBUSY` while another action runs, and while the device is suspended.
    pub fn admit(self, now: SyncAction, suspended: bool) -> Result<(), Errno> {
        let interrupts = matches!(self, Self::Frozen | Self::Idle);
        let idle = matches!(now, SyncAction::Idle | SyncAction::Frozen);
        match !suspended && (interrupts || idle) {
            true => Ok(()),
            false => Err(Errno::Busy),
        }
    }
}

/// A message to `raid45`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Raid45Message {
    /// The owner has recorded what failed: writes go on. `EPERM` if none wait for that.
    AllowWrites,
    /// Change the percentage that recovery may take.
    Bandwidth(Change),
    /// Switch the recognition of writes that cover whole chunks.
    Overwrite(Switch),
    /// Switch the development statistics in INFO.
    Statistics(Switch),
    /// Change the stripes of the cache.
    StripeCache(Change),
    /// Choose how to xor.
    Xor {
        /// Name of the function.
        function: String,
        /// Chunks at a time: 2 at least, and no more than there are devices, which is for the caller to see.
        chunks: u32,
    },
}

/// How a number changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// To that.
    Set(u32),
    /// Up by that.
    Grow(u32),
    /// Down by that.
    Shrink(u32),
}

/// How a flag changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Switch {
    /// On.
    On,
    /// Off.
    Off,
    /// Back to the beginning.
    Reset,
}

const RAID45_MESSAGES: [&str; 6] =
    ["allow_writes", "bandwidth", "overwrite", "statistics", "stripe_cache", "xor"];

impl Raid45Message {
    /// Reads a message.
    ///
    /// # Errors
    ///
    /// `EINVAL`: no message, an unknown one, or its arguments are wrong.
    pub fn parse(words: &[String]) -> Result<Self, Errno> {
        let (word, args) = words.split_first().ok_or(Errno::Inval)?;
        // From the last one backwards, as there; no two begin with the same three letters.
        let name = RAID45_MESSAGES.iter().rev().find(|name| abbreviates(word, name, 3));
        Ok(match (*name.ok_or(Errno::Inval)?, args) {
            ("allow_writes", _) => Self::AllowWrites,
            ("bandwidth", [how, value]) => Self::Bandwidth(Change::parse(how, value, BANDWIDTH)?),
            ("stripe_cache", [how, value]) => {
                Self::StripeCache(Change::parse(how, value, 1..=i32::MAX.unsigned_abs())?)
            }
            ("overwrite", [how]) => Self::Overwrite(Switch::parse(how)?),
            ("statistics", [how]) => Self::Statistics(Switch::parse(how)?),
            ("xor", [function, chunks]) => {
                let chunks = signed(chunks).and_then(|chunks| u32::try_from(chunks).ok());
                let chunks = chunks.filter(|chunks| *chunks >= 2).ok_or(Errno::Inval)?;
                Self::Xor { function: function.clone(), chunks }
            }
            _ => return Err(Errno::Inval),
        })
    }
}

impl Change {
    fn parse(how: &str, value: &str, range: RangeInclusive<u32>) -> Result<Self, Errno> {
        let value = signed(value).and_then(|value| u32::try_from(value).ok());
        let value = value.filter(|value| range.contains(value)).ok_or(Errno::Inval)?;
        match how {
            how if abbreviates(how, "set", 2) => Ok(Self::Set(value)),
            how if abbreviates(how, "grow", 2) => Ok(Self::Grow(value)),
            how if abbreviates(how, "shrink", 2) => Ok(Self::Shrink(value)),
            _ => Err(Errno::Inval),
        }
    }

    /// What it makes of a number.
    fn of(self, current: u32) -> Option<u32> {
        match self {
            Self::Set(value) => Some(value),
            Self::Grow(value) => current.checked_add(value),
            Self::Shrink(value) => current.checked_sub(value),
        }
    }

    /// The bandwidth after it, in percent.
    ///
    /// # Errors
    ///
    /// `EINVAL` if that is none.
    pub fn bandwidth(self, current: u32) -> Result<u32, Errno> {
        self.of(current).filter(|value| BANDWIDTH.contains(value)).ok_or(Errno::Inval)
    }

    /// The stripes of the cache after it; `pending`: an earlier change is not done yet.
    ///
    /// # Errors
    ///
    /// `EPERM` while one is pending, `EINVAL` if there cannot be so many, or are so many already.
    pub fn stripes(self, current: u32, pending: bool) -> Result<u32, Errno> {
        if pending {
            return Err(Errno::Perm);
        }
        let fits = |value: &u32| STRIPES.contains(value) && *value != current;
        self.of(current).filter(fits).ok_or(Errno::Inval)
    }
}

impl Switch {
    fn parse(how: &str) -> Result<Self, Errno> {
        match how {
            how if abbreviates(how, "on", 2) => Ok(Self::On),
            how if abbreviates(how, "off", 2) => Ok(Self::Off),
            how if abbreviates(how, "reset", 2) => Ok(Self::Reset),
            _ => Err(Errno::Inval),
        }
    }

    /// The recognition of whole-chunk writes after it.
    ///
    /// # Errors
    ///
    /// `EPERM` if it is so already; `reset` always goes, and means on.
    pub fn overwrite(self, current: bool) -> Result<bool, Errno> {
        match (self, current) {
            (Self::On, false) | (Self::Reset, _) => Ok(true),
            (Self::Off, true) => Ok(false),
            (Self::On, true) | (Self::Off, false) => Err(Errno::Perm),
        }
    }

    /// Whether statistics are shown after it; `reset` sets them to zero.
    ///
    /// # Errors
    ///
    /// `EPERM` if it is so already, and for `reset` while they are off.
    pub fn statistics(self, current: bool) -> Result<bool, Errno> {
        match (self, current) {
            (Self::On, false) | (Self::Reset, true) => Ok(true),
            (Self::Off, true) => Ok(false),
            (Self::On, true) | (Self::Off | Self::Reset, false) => Err(Errno::Perm),
        }
    }
}

/// dm-raid45's comparison: over the length of the word, and over `least` characters at least.
fn abbreviates(word: &str, name: &str, least: usize) -> bool {
    let over = word.len().max(least);
    // strncmp: beyond the end of either there is a zero.
    (0..over).all(|at| word.as_bytes().get(at) == name.as_bytes().get(at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dm::words::split;

    fn raid45(text: &str) -> Result<Raid45Message, Errno> {
        Raid45Message::parse(&split(text))
    }

    fn raid(text: &str) -> Result<RaidMessage, Errno> {
        RaidMessage::parse(&split(text))
    }

    /// Goal: exactly what dm-raid45's comparison takes. Method: every prefix of every word.
    #[test]
    fn words_of_raid45_are_abbreviated() {
        for name in RAID45_MESSAGES {
            for len in 0..=name.len() {
                let taken = RAID45_MESSAGES.iter().any(|of| abbreviates(&name[..len], of, 3));
                assert_eq!(taken, len >= 3, "{}", &name[..len]);
            }
            assert!(!abbreviates(&format!("{name}s"), name, 3));
            assert!(!abbreviates(&name.to_ascii_uppercase(), name, 3));
        }
        assert_eq!(raid45("str se 512"), Ok(Raid45Message::StripeCache(Change::Set(512))));
        assert_eq!(raid45("ban gr 5"), Ok(Raid45Message::Bandwidth(Change::Grow(5))));
        assert_eq!(raid45("bandwidth sh 5"), Ok(Raid45Message::Bandwidth(Change::Shrink(5))));
        assert_eq!(raid45("sta of"), Ok(Raid45Message::Statistics(Switch::Off)));
        assert_eq!(raid45("ove re"), Ok(Raid45Message::Overwrite(Switch::Reset)));
        assert_eq!(raid45("allow"), Ok(Raid45Message::AllowWrites));
        let function = "avx2".to_owned();
        assert_eq!(raid45("xor avx2 2"), Ok(Raid45Message::Xor { function, chunks: 2 }));
        for text in [
            "",
            "al",
            "ba se 5",
            "xorr a 2",
            "xor a 1",
            "xor a",
            "ban s 5",
            "ban set",
            "ban set 0",
            "ban set 101",
            "ban grow 5x",
            "str set 0",
            "str set -1",
            "sta o",
            "sta",
            "sta on on",
            "ALLOW",
        ] {
            assert_eq!(raid45(text), Err(Errno::Inval), "{text}");
        }
    }

    #[test]
    fn changes_stay_within_bounds() {
        assert_eq!(Change::Set(100).bandwidth(10), Ok(100));
        assert_eq!(Change::Grow(90).bandwidth(10), Ok(100));
        assert_eq!(Change::Grow(91).bandwidth(10), Err(Errno::Inval));
        assert_eq!(Change::Shrink(9).bandwidth(10), Ok(1));
        assert_eq!(Change::Shrink(10).bandwidth(10), Err(Errno::Inval));
        assert_eq!(Change::Shrink(11).bandwidth(10), Err(Errno::Inval));
        assert_eq!(Change::Set(8).stripes(80, false), Ok(8));
        assert_eq!(Change::Set(80).stripes(80, false), Err(Errno::Inval));
        assert_eq!(Change::Set(16385).stripes(80, false), Err(Errno::Inval));
        assert_eq!(Change::Grow(u32::MAX).stripes(80, false), Err(Errno::Inval));
        assert_eq!(Change::Set(8).stripes(80, true), Err(Errno::Perm));
        let table = [Switch::On, Switch::Off, Switch::Reset]
            .map(|switch| [true, false].map(|now| (switch.overwrite(now), switch.statistics(now))));
        let perm = Err(Errno::Perm);
        assert_eq!(
            table,
            [
                [(perm, perm), (Ok(true), Ok(true))],
                [(Ok(false), Ok(false)), (perm, perm)],
                [(Ok(true), Ok(true)), (Ok(true), perm)],
            ]
        );
    }

    #[test]
    fn words_of_dm_raid_are_whole_and_in_any_case() {
        assert_eq!(raid("CHECK"), Ok(RaidMessage::Action(ActionMessage::Check)));
        assert_eq!(raid("check x"), Ok(RaidMessage::Action(ActionMessage::Check)));
        assert_eq!(raid("stripe_cache 512"), Ok(RaidMessage::StripeCache(512)));
        for text in ["", "reshape", "bogus", "chec", "checks", "stripe_cache", "daemon_sleep -1"] {
            assert_eq!(raid(text), Err(Errno::Inval), "{text}");
        }
        for message in [ActionMessage::Check, ActionMessage::Recover, ActionMessage::Idle] {
            let interrupts = message == ActionMessage::Idle;
            assert!(message.thaws());
            assert_eq!(message.admit(SyncAction::Repair, false).is_ok(), interrupts);
            assert_eq!(message.admit(SyncAction::Frozen, false), Ok(()));
            assert_eq!(message.admit(SyncAction::Idle, true), Err(Errno::Busy));
        }
        assert!(!ActionMessage::Frozen.thaws());
        let check = split("check");
        assert_eq!(Message::parse(&Target::Zero, &check), Err(Errno::Inval), "it has no messages");
    }
}
