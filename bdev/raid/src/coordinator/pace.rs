//! How fast a background action may go: md's rule (linux-raid.md, section 5.6).
//!
//! ```text
//!   speed over the last half minute   <= min           go on, whatever else happens
//!                                     between          go on unless hosts are at work
//!                                     >= max           wait
//! ```
//!
//! With a share, as dm-raid45 has it, `min` does not count: while hosts are at work an action does that
//! percentage of what they do over the same time, and no more. They are at work if they have done anything
//! within a second, which is dm-raid45's window; md asks for more, between two looks.
//!
//! So `min` is what the action takes from a busy array, `max` what it takes from an idle one. Speeds are
//! bytes a second on each member. Time and the hosts' activity are arguments.
//!
//! Not here: what is paced (`coordinator::background`).

use crate::limits::{PACE_BUSY_WAIT_NS, PACE_MARK_NS, PACE_MARKS, PACE_WAIT_MAX_NS};

/// Bounds of the speed on each member, in bytes a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rates {
    /// What a background action takes in any case.
    pub min_bytes_per_s: u64,
    /// What it never takes more than; `u64::MAX` for no bound.
    pub max_bytes_per_s: u64,
    /// Percent of what hosts read and write that it takes from a busy array, instead of the minimum.
    pub share_percent: Option<u32>,
}

impl Default for Rates {
    /// md's minimum of 1000 KiB/s, and no maximum: md's 200000 KiB/s would hold an NVMe device to a
    /// fraction of what it can do while nobody else wants it.
    fn default() -> Self {
        Self { min_bytes_per_s: 1000 << 10, max_bytes_per_s: u64::MAX, share_percent: None }
    }
}

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Go on.
    Go,
    /// Ask again at that time.
    Wait {
        /// Time to ask again.
        until_ns: u64,
    },
}

/// How things were at a time.
#[derive(Debug, Clone, Copy)]
struct Mark {
    at_ns: u64,
    done_bytes: u64,
    foreground_bytes: u64,
}

/// The pace of one action.
#[derive(Debug, Clone)]
pub struct Pace {
    rates: Rates,
    /// How things were now and then, oldest first; the speed is measured from the oldest.
    marks: [Mark; PACE_MARKS],
    newest: usize,
    done_bytes: u64,
    /// What hosts had read and written at the last look.
    foreground_bytes: u64,
    /// Whether hosts were at work between the last two looks.
    busy: bool,
    /// When hosts were last seen to have done something.
    active_ns: Option<u64>,
}

impl Pace {
    /// The pace of an action that starts now.
    #[must_use]
    pub fn new(rates: Rates, now_ns: u64, foreground_bytes: u64) -> Self {
        let mark = Mark { at_ns: now_ns, done_bytes: 0, foreground_bytes };
        let marks = [mark; PACE_MARKS];
        let busy = false;
        Self { rates, marks, newest: 0, done_bytes: 0, foreground_bytes, busy, active_ns: None }
    }

    /// Changes the bounds from now on.
    pub fn set_rates(&mut self, rates: Rates) {
        self.rates = rates;
    }

    /// Counts work that is done, in bytes of each member.
    pub fn done(&mut self, bytes: u64, now_ns: u64) {
        self.done_bytes += bytes;
        if now_ns.saturating_sub(self.marks[self.newest].at_ns) >= PACE_MARK_NS {
            self.newest = (self.newest + 1) % PACE_MARKS;
            let (done_bytes, foreground_bytes) = (self.done_bytes, self.foreground_bytes);
            self.marks[self.newest] = Mark { at_ns: now_ns, done_bytes, foreground_bytes };
        }
    }

    /// Looks at what hosts do: `foreground_bytes` is what they have read and written so far.
    pub fn look(&mut self, now_ns: u64, foreground_bytes: u64) {
        let since = foreground_bytes.saturating_sub(self.foreground_bytes);
        self.busy = since > BUSY_BYTES;
        if since > 0 {
            self.active_ns = Some(now_ns);
        }
        self.foreground_bytes = foreground_bytes;
    }

    /// Whether to go on, with hosts as they were at the last look. `out_bytes` are handed out and not done:
    /// they count, so that a bound is not passed by all that is out.
    #[must_use]
    pub fn verdict(&self, now_ns: u64, out_bytes: u64) -> Verdict {
        let until = |rate| self.time_of(rate, out_bytes).clamp(now_ns, now_ns + PACE_WAIT_MAX_NS);
        let Rates { min_bytes_per_s, max_bytes_per_s, share_percent } = self.rates;
        if let Some(percent) = share_percent {
            let until_ns = until(max_bytes_per_s);
            let at_work =
                self.active_ns.is_some_and(|at_ns| now_ns.saturating_sub(at_ns) < SHARE_WINDOW_NS);
            return match () {
                () if until_ns > now_ns => Verdict::Wait { until_ns },
                () if at_work && self.has_its_share(percent, out_bytes) => {
                    Verdict::Wait { until_ns: now_ns + PACE_BUSY_WAIT_NS }
                }
                () => Verdict::Go,
            };
        }
        let slow_enough = until(max_bytes_per_s.max(min_bytes_per_s));
        let owed = until(min_bytes_per_s);
        match () {
            () if slow_enough > now_ns => Verdict::Wait { until_ns: slow_enough },
            () if owed > now_ns && self.busy => {
                Verdict::Wait { until_ns: owed.min(now_ns + PACE_BUSY_WAIT_NS) }
            }
            () => Verdict::Go,
        }
    }

    /// Speed over the last half minute, in bytes a second.
    #[must_use]
    pub fn speed_bytes_per_s(&self, now_ns: u64) -> u64 {
        let Mark { at_ns, done_bytes, .. } = self.oldest();
        let elapsed_ns = u128::from(now_ns.saturating_sub(at_ns).max(1));
        let speed = u128::from(self.done_bytes - done_bytes) * 1_000_000_000 / elapsed_ns;
        u64::try_from(speed).unwrap_or(u64::MAX)
    }

    /// When what is done since the oldest mark, and what is out, is no more than `rate` allows.
    fn time_of(&self, rate: u64, out_bytes: u64) -> u64 {
        let Mark { at_ns, done_bytes, .. } = self.oldest();
        let bytes = u128::from(self.done_bytes + out_bytes - done_bytes);
        let ns = bytes * 1_000_000_000 / u128::from(rate.max(1));
        at_ns.saturating_add(u64::try_from(ns).unwrap_or(u64::MAX))
    }

    /// Whether that percentage of what hosts have done since the oldest mark is done, or out.
    fn has_its_share(&self, percent: u32, out_bytes: u64) -> bool {
        let oldest = self.oldest();
        let done = u128::from(self.done_bytes + out_bytes - oldest.done_bytes) * 100;
        let hosts = u128::from(self.foreground_bytes.saturating_sub(oldest.foreground_bytes));
        done > hosts * u128::from(percent)
    }

    fn oldest(&self) -> Mark {
        self.marks[(self.newest + 1) % PACE_MARKS]
    }
}

/// For how long hosts count as being at work: dm-raid45's window.
const SHARE_WINDOW_NS: u64 = 1_000_000_000;

/// Host bytes since the last look that make an array busy: md's 64 sectors.
const BUSY_BYTES: u64 = 64 * 512;

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const S: u64 = 1_000_000_000;

    /// Bytes a second of a worker that does a MiB in `step_ns`, and has up to `window` of them out
    /// whenever it may, for a minute of made-up time.
    fn run(rates: Rates, busy: bool, step_ns: u64, window: u64) -> u64 {
        let mut pace = Pace::new(rates, 0, 0);
        let (mut now, mut done, mut out, mut foreground) = (0, 0, 0, 0);
        while now < 60 * S {
            foreground += if busy { MIB } else { 0 };
            pace.look(now, foreground);
            let mut wait = None;
            while out < window && wait.is_none() {
                match pace.verdict(now, out * MIB) {
                    Verdict::Go => out += 1,
                    Verdict::Wait { until_ns } => {
                        assert!(until_ns > now && until_ns <= now + PACE_WAIT_MAX_NS);
                        wait = Some(until_ns);
                    }
                }
            }
            if out > 0 {
                out -= 1;
                done += MIB;
                pace.done(MIB, now);
                now += step_ns;
            } else if let Some(until_ns) = wait {
                now = until_ns;
            }
        }
        done / 60
    }

    /// Goal: whatever hosts do, the average stays between the bounds that apply, however much is out at a
    /// time. Method: workers with one MiB out, and with several.
    #[test]
    fn a_busy_array_gives_the_minimum_and_an_idle_one_the_maximum() {
        let rates =
            Rates { min_bytes_per_s: 2 * MIB, max_bytes_per_s: 50 * MIB, ..Rates::default() };
        for window in [1, 4] {
            let busy = run(rates, true, 1_000_000, window);
            assert!((19 * MIB / 10..=22 * MIB / 10).contains(&busy), "{busy}");
            let idle = run(rates, false, 1_000_000, window);
            assert!((48 * MIB..=52 * MIB).contains(&idle), "{idle}");
        }
    }

    /// Goal: what is out counts as if it were done, so that no bound is passed by a burst of the size of
    /// the window. Method: at most as much out as each bound allows at the start, and no more.
    #[test]
    fn what_is_out_counts() {
        let rates = Rates { min_bytes_per_s: MIB, max_bytes_per_s: 3 * MIB, share_percent: None };
        let mut pace = Pace::new(rates, 0, 0);
        pace.look(S, 0);
        let go = |pace: &Pace, out| pace.verdict(S, out * MIB) == Verdict::Go;
        assert!(go(&pace, 3) && !go(&pace, 4), "the maximum of an idle array");
        pace.look(S, MIB);
        assert!(go(&pace, 1) && !go(&pace, 2), "the minimum of a busy one");
        pace.set_rates(Rates { share_percent: Some(50), max_bytes_per_s: u64::MAX, ..rates });
        pace.look(S, 4 * MIB);
        assert!(go(&pace, 2) && !go(&pace, 3), "half of what hosts did");
    }

    #[test]
    fn without_a_maximum_an_idle_array_is_never_held_up() {
        assert_eq!(run(Rates::default(), false, S / 1000, 1), 1000 * MIB);
    }

    /// Goal: a share is one of what hosts do, and only while they do something. Method: hosts that do a
    /// MiB at each look, at several shares.
    #[test]
    fn a_share_follows_what_hosts_do() {
        for percent in [1, 10, 50, 100] {
            let rates = Rates { share_percent: Some(percent), ..Rates::default() };
            let mut pace = Pace::new(rates, 0, 0);
            let (mut now, mut done, mut foreground) = (0, 0, 0);
            while now < 60 * S {
                foreground += MIB;
                pace.look(now, foreground);
                match pace.verdict(now, 0) {
                    Verdict::Go => {
                        done += MIB;
                        pace.done(MIB, now);
                        now += S / 1000;
                    }
                    Verdict::Wait { until_ns } => now = until_ns,
                }
            }
            let share = done * 100 / foreground;
            assert!((u64::from(percent)..=u64::from(percent) + 10).contains(&share), "{share}");
            assert_eq!(run(rates, false, S / 1000, 1), 1000 * MIB, "idle hosts cost nothing");
        }
    }

    /// Goal: a share is one of little work too, and an action is free again a second after the last of it.
    /// Method: hosts that do 4 KiB every tenth of a second for ten seconds, and then nothing.
    #[test]
    fn a_share_of_little_is_little() {
        let rates = Rates { share_percent: Some(10), ..Rates::default() };
        let mut pace = Pace::new(rates, 0, 0);
        let (mut now, mut done, mut foreground) = (S / 10, 0, 4096);
        let mut at_ten = None;
        while now < 12 * S {
            foreground = foreground.max(4096 * (now / (S / 10)).min(100));
            if now >= 11 * S {
                at_ten.get_or_insert(done);
            }
            pace.look(now, foreground);
            match pace.verdict(now, 0) {
                Verdict::Go => {
                    done += 4096;
                    pace.done(4096, now);
                    now += S / 1000;
                }
                Verdict::Wait { until_ns } => now = until_ns,
            }
        }
        let at_ten = at_ten.expect("eleven seconds are over");
        assert!((30_000..60_000).contains(&at_ten), "{at_ten} of {foreground}");
        assert!(done > at_ten + 100 * 4096, "{done}");
    }

    #[test]
    fn a_minimum_above_the_maximum_wins() {
        let rates =
            Rates { min_bytes_per_s: 20 * MIB, max_bytes_per_s: 10 * MIB, ..Rates::default() };
        let speed = run(rates, true, 1_000_000, 1);
        assert!((19 * MIB..=21 * MIB).contains(&speed), "{speed}");
    }
}
