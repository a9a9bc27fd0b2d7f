//! Syncs of one channel to a file in the page cache: which answers may be told.
//!
//! The kernel tells of pages that it could not write once for each open file, to one of the syncs that are
//! on their way (`file_check_and_advance_wb_err` in mm/filemap.c); the others succeed. So a success counts
//! only when all that were on their way beside it have been answered, and none of them has failed:
//!
//! ```text
//!   flush 1   |-------- Ok . . . . . . . told: MediaError
//!   flush 2       |------------------ Err
//!   flush 3                  |----------------------- Ok, which its disk no longer believes
//!             ^ its answer waits for flush 2, and not for flush 3, which came after it
//! ```
//!
//! Files that are open with `O_DIRECT` have no such pages: each sync of theirs fails or succeeds by itself.
//!
//! Invariant (R9): nothing is told to be durable that a sync beside it found lost.
//!
//! Not here: what a failed sync means for later ones (`backing.rs`).

use std::collections::VecDeque;

use crate::io::Completion;
use crate::limits::CHANNEL_IN_FLIGHT_MAX;

/// The syncs of one channel.
#[derive(Debug)]
pub(crate) struct Syncs {
    /// Number of the next one.
    next: u64,
    /// Numbers of those that have no answer yet, in order.
    out: VecDeque<u64>,
    /// Successes that wait until all before this number are answered, in order.
    kept: VecDeque<(u64, Completion)>,
}

impl Syncs {
    /// None yet. Makes room for as many as a channel may have.
    pub(crate) fn new() -> Self {
        let (out, kept) = (
            VecDeque::with_capacity(CHANNEL_IN_FLIGHT_MAX),
            VecDeque::with_capacity(CHANNEL_IN_FLIGHT_MAX),
        );
        Self { next: 0, out, kept }
    }

    /// One goes to the kernel. Returns its number.
    pub(crate) fn begin(&mut self) -> u64 {
        let number = self.next;
        self.next += 1;
        self.out.push_back(number);
        number
    }

    /// One is answered.
    ///
    /// # Panics
    /// When it has not begun, or has ended already.
    pub(crate) fn end(&mut self, number: u64) {
        let place = self.out.binary_search(&number).expect("each sync is answered once");
        self.out.remove(place);
    }

    /// It has succeeded; [`Self::pop`] says when that may be told.
    pub(crate) fn keep(&mut self, completion: Completion) {
        self.kept.push_back((self.next, completion));
    }

    /// A success that waits for no answer any more.
    pub(crate) fn pop(&mut self) -> Option<Completion> {
        let (before, _) = self.kept.front()?;
        let is_due = self.out.front().is_none_or(|oldest| oldest >= before);
        if is_due { self.kept.pop_front().map(|(_, completion)| completion) } else { None }
    }

    /// Successes that wait.
    pub(crate) fn kept(&self) -> usize {
        self.kept.len()
    }

    /// Nobody wants to hear of them any more.
    pub(crate) fn forget(&mut self) {
        self.kept.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::BdevIo;
    use crate::io::IoStatus;

    /// What is known of one sync.
    #[derive(Clone, Debug, PartialEq)]
    enum State {
        Out,
        /// Answered while these were out.
        Waits(Vec<usize>),
        Told,
    }

    /// Goal: a success is told when all syncs are answered that were on their way when it came, and at once
    /// then, whatever else comes. Method: every order in which some begin and end.
    #[test]
    fn successes_wait_for_those_beside_them() {
        // A step begins the next one (0) or ends the first, second or third one that is out.
        let mut steps = vec![0; 8];
        loop {
            run(&steps);
            let Some(at) = (0..steps.len()).rev().find(|&at| steps[at] < 3) else { return };
            steps[at] += 1;
            steps[at + 1..].fill(0);
        }
    }

    fn run(steps: &[usize]) {
        let mut syncs = Syncs::new();
        let mut states = Vec::new();
        for &step in steps {
            let out: Vec<_> = (0..states.len()).filter(|&at| states[at] == State::Out).collect();
            if step == 0 {
                assert_eq!(syncs.begin(), states.len() as u64);
                states.push(State::Out);
            } else if let Some(&ends) = out.get(step - 1) {
                syncs.end(ends as u64);
                syncs.keep(BdevIo::flush(ends as u64).complete(IoStatus::Ok));
                states[ends] = State::Waits(out.into_iter().filter(|&at| at != ends).collect());
            }
            while let Some(told) = syncs.pop() {
                let told = told.io.token as usize;
                let State::Waits(beside) = &states[told] else { panic!("{states:?}: {told}") };
                assert!(beside.iter().all(|&at| states[at] != State::Out), "{states:?}: {told}");
                states[told] = State::Told;
            }
            let waits = |state: &&State| match state {
                State::Waits(beside) => {
                    assert!(beside.iter().any(|&at| states[at] == State::Out), "{states:?}");
                    true
                }
                State::Out | State::Told => false,
            };
            assert_eq!(states.iter().filter(waits).count(), syncs.kept());
        }
    }
}
