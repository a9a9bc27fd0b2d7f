//! The core as a whole: our initiator against the model, and bytes by hand where it is too polite.

mod host;
mod loopback;
mod statuses;
mod wire;

pub(super) use host::host_nqn;
