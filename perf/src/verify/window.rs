//! [`Window`]: which steps of a pass are done, when they end out of order.
//!
//! ```text
//!   steps   0 ......... prefix .................. next ....
//!           all done    some done, some not       none begun
//!                       '---- at most VERIFY_WINDOW ----'
//! ```
//!
//! Owns: every step below `prefix` is done. A straggler holds the window up instead of letting it
//! grow (R6).
//!
//! Not here: what a step does.

use crate::limits::VERIFY_WINDOW;

const WORD_BITS: u64 = u64::BITS as u64;

/// A ring of bits over the steps from `prefix` on.
#[derive(Debug)]
pub(crate) struct Window {
    prefix: u64,
    next: u64,
    done: Box<[u64]>,
}

impl Window {
    /// Nothing begun.
    pub(crate) fn new() -> Self {
        let words = (VERIFY_WINDOW / WORD_BITS) as usize;
        Self { prefix: 0, next: 0, done: vec![0; words].into() }
    }

    /// Steps that have begun: all below this one.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// Steps that are done without a gap: all below this one.
    pub(crate) fn prefix(&self) -> u64 {
        self.prefix
    }

    /// Whether another step must wait for the oldest one.
    pub(crate) fn is_full(&self) -> bool {
        self.next - self.prefix == VERIFY_WINDOW
    }

    /// Begins the next step and tells its number.
    pub(crate) fn begin(&mut self) -> u64 {
        assert!(!self.is_full(), "{VERIFY_WINDOW} steps are under way already");
        self.next += 1;
        self.next - 1
    }

    /// A step that has begun is done.
    pub(crate) fn end(&mut self, step: u64) {
        let (word, bit) = place(step);
        assert!(
            (self.prefix..self.next).contains(&step) && self.done[word] & bit == 0,
            "step {step} ends, which is not under way: {} to {} are",
            self.prefix,
            self.next
        );
        self.done[word] |= bit;
        loop {
            let (word, bit) = place(self.prefix);
            if self.done[word] & bit == 0 {
                return;
            }
            self.done[word] &= !bit;
            self.prefix += 1;
        }
    }

    /// Starts again at step 0.
    pub(crate) fn restart(&mut self) {
        assert_eq!(self.prefix, self.next, "steps are under way");
        (self.prefix, self.next) = (0, 0);
    }
}

fn place(step: u64) -> (usize, u64) {
    let at = step % VERIFY_WINDOW;
    ((at / WORD_BITS) as usize, 1 << (at % WORD_BITS))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SplitMix64;

    /// Goal: the prefix is what a plain list of open steps says. Method: begin and end at random,
    /// for more steps than the ring has bits.
    #[test]
    fn the_prefix_is_the_oldest_open_step() {
        let mut window = Window::new();
        let mut open = Vec::new();
        let mut random = SplitMix64::new(1, 1);
        for _ in 0..40_000 {
            if open.len() < 100 && random.below(100) < 52 && !window.is_full() {
                open.push(window.begin());
            } else if !open.is_empty() {
                let at = random.below(open.len() as u64) as usize;
                window.end(open.swap_remove(at));
            }
            let oldest = open.iter().min().copied().unwrap_or(window.next());
            assert_eq!(window.prefix(), oldest);
        }
        assert!(window.next() > VERIFY_WINDOW, "only {} steps", window.next());
        open.into_iter().for_each(|step| window.end(step));
        window.restart();
        assert_eq!((window.prefix(), window.begin()), (0, 0));
    }

    #[test]
    fn a_straggler_fills_the_window() {
        let mut window = Window::new();
        for step in 0..VERIFY_WINDOW {
            assert!(!window.is_full());
            assert_eq!(window.begin(), step);
            if step > 0 {
                window.end(step);
            }
        }
        assert!(window.is_full());
        window.end(0);
        assert_eq!(window.prefix(), VERIFY_WINDOW);
    }

    #[test]
    #[should_panic(expected = "step 0 ends, which is not under way")]
    fn a_step_ends_once() {
        let mut window = Window::new();
        window.begin();
        window.end(0);
        window.end(0);
    }
}
