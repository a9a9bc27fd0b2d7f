//! Pinned poll loops, message inboxes, timers, a clock and buffer pools.
//!
//! A [`Reactor`](Reactors) is one thread on one core that turns: it runs messages, polls its
//! [`Poller`]s, runs due timers and lets the pollers hand over what they have staged. Whatever lives
//! on a reactor belongs to its thread, so the data path needs no lock; other threads send messages.
//!
//! ```text
//!   control thread            reactor on core 0              reactor on core 1
//!   --------------            -----------------              -----------------
//!   handle.call(f) --inbox--> turn: messages                 turn: ...
//!                                   pollers up    <--own queue + Waker-- another crate's data path
//!                                   timers
//!                                   pollers down
//!                             Cx: now, pool, locals, timers, watches
//! ```
//!
//! | module | what |
//! |---|---|
//! | [`memory`] | regions, pools, `IoBuf` and `IoBufMut` |
//! | [`clock`] | `Ticks`, the one real clock |
//! | [`cpuset`] | which cores |
//! | [`limits`] | every bound |
//! | `poller`, `timer` | what a turn runs |
//! | `inbox`, `handle` | messages from outside |
//! | `sleep` | going to sleep and being woken |
//! | `turn` | the turn itself |
//! | `thread`, `local`, `affinity` | who turns: pinned threads, or a test |
//! | `cx`, `stats`, `latency` | what code on a reactor reaches; what it counts; how long things take |
//!
//! Invariants: R6 (everything is bounded, `limits`) and the memory rules of [`memory`].
//!
//! Not here: devices, sockets, anything that knows what a block is.
#![deny(unsafe_code)]

mod affinity;
pub mod clock;
pub mod cpuset;
mod cx;
mod handle;
mod inbox;
mod latency;
pub mod limits;
mod local;
pub mod memory;
mod poller;
mod sleep;
mod stats;
mod thread;
mod timer;
mod turn;

pub use clock::Ticks;
pub use cpuset::CpuSet;
pub use cx::{Cx, TurnClock};
pub use handle::{ReactorHandle, Stopped};
pub use inbox::Message;
pub use latency::{LATENCY_BOUNDS, Latencies};
pub use local::LocalReactor;
pub use poller::{Layer, Poller, PollerId, PollerStats};
pub use sleep::{Interest, Waker, WatchId};
pub use stats::ReactorStats;
pub use thread::{PollMode, Reactors, ReactorsConfig, StartError};
pub use timer::{TimerFn, TimerId};
