//! Values that belong to one thread, though others may hold the thing they are in.
//!
//! Owns: a [`ThreadToken`] names one thread for the life of the process and is never given twice
//! (addresses of thread-locals and kernel thread ids are both reused, so neither would do).
//!
//! Not here: how a foreign thread hands something back; see `pool`.
#![expect(unsafe_code, reason = "HomeOnly is Sync because it checks the thread itself")]

use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicU64, Ordering};

/// A thread's name for the life of the process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ThreadToken(u64);

static TOKENS: AtomicU64 = AtomicU64::new(1);

thread_local! {
    // Const-initialised and without a destructor: reading it is one load, and it can still be
    // read while the thread's other locals are being torn down.
    static TOKEN: Cell<u64> = const { Cell::new(0) };
}

impl ThreadToken {
    /// The token of the calling thread.
    #[inline]
    pub(crate) fn current() -> Self {
        TOKEN.with(|token| match token.get() {
            0 => Self::first_use(token),
            given => Self(given),
        })
    }

    #[cold]
    fn first_use(token: &Cell<u64>) -> Self {
        token.set(TOKENS.fetch_add(1, Ordering::Relaxed));
        Self(token.get())
    }
}

/// A value that only the thread that made it can reach; others are told `None`.
#[derive(Debug)]
pub(super) struct HomeOnly<T> {
    home: ThreadToken,
    value: RefCell<T>,
}

// SAFETY: through a shared reference the value is reachable only by `with`, which compares the
// caller's token with the home token before it touches the cell. Tokens are never reused, so
// exactly one thread ever gets past that line and the cell is never used from two. Dropping the
// value on another thread needs ownership, hence `T: Send`.
unsafe impl<T: Send> Sync for HomeOnly<T> {}

impl<T> HomeOnly<T> {
    /// A value at home on the calling thread.
    pub(super) fn new(value: T) -> Self {
        Self { home: ThreadToken::current(), value: RefCell::new(value) }
    }

    /// Runs `f` on the value if the caller is on the home thread.
    #[inline]
    pub(super) fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> Option<R> {
        (self.home == ThreadToken::current()).then(|| f(&mut self.value.borrow_mut()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_differ_between_threads_and_stay_the_same_on_one() {
        let here = ThreadToken::current();
        assert_eq!(here, ThreadToken::current());
        let there: Vec<_> = (0..4)
            .map(|_| std::thread::spawn(ThreadToken::current).join().expect("thread ends"))
            .collect();
        for (i, token) in there.iter().enumerate() {
            assert_ne!(*token, here);
            assert!(!there[..i].contains(token), "a token was given twice: {there:?}");
        }
    }

    #[test]
    fn only_the_home_thread_reaches_the_value() {
        let home = HomeOnly::new(7);
        std::thread::scope(|scope| {
            scope.spawn(|| assert_eq!(home.with(|v| *v), None));
        });
        assert_eq!(home.with(|v| *v), Some(7));
    }
}
