//! Black-box tests: a real `raid456 serve` in a process of its own, its socket, its signals, its
//! files, and `raid456 rpc` beside it.
//!
//! | file | what |
//! |---|---|
//! | `daemon` | starting, asking and ending it |
//! | `absent` | a start while devices are not there |
//! | `audit` | refusals of arrays, word for word, and where each is reached |
//! | `bdevs` | making, looking at and deleting every kind of bdev |
//! | `faults` | bdevs that fail and bdevs that are slow |
//! | `refusals` | wrong parameters: the right code, and nothing left behind |
//! | `wire` | what comes over the socket |
//! | `lifecycle` | start, configuration, signals, sockets |
//! | `spdk` | SPDK's methods as its clients use them |
//! | `soak` | many clients at once, and what is left afterwards |
//! | `stock` | the stock client from PyPI: every method, save and load, the tree |
//! | `causes` | what is told of failures, word for word |
//! | `client` | the command line |
//! | `rig` | the service in the test's own process, with a data path |
//! | `crash` | kill -9 under load, and what is there afterwards |
//! | `failing` | members and logs that fail while an array runs |
//! | `hanging` | devices that do not answer when they are looked at |
//! | `dm` | mapped devices: verbs, conformance to a kernel, `raid456 dm`, tables changed under load |
//! | `observe` | metrics, health, `status`, `top` |
//! | `documents` | every block of commands in the README and the operator's guide |
//! | `page` | the status page in a browser |
//! | `chromium` | the browser, driven |
//! | `packaging` | systemd unit and its protocol, manual pages, completions, manifests |
//! | `resuming` | background actions that are cut off and go on |
//! | `scrub` | `raid456 scrub` |
//! | `prometheus` | a real Prometheus, rules, alerts and board of `deploy/` |
//! | `trace` | requests of one array followed in the log, and the log as JSON |
//! | `tools` | programs that a machine may not have |
//! | `locked` | files that another service has, or requests of one that was killed |
//! | `known` | known arrays, and why one is not put together |
//! | `nvmf` | the NVMe/TCP target, asked by our initiator and by a Linux kernel |
//! | `occupied` | what is on a bdev that is to be a member or spare, and what does not fit |
//! | `old_log` | log bdevs that were of an earlier array, or cannot be read |
//! | `unreadable` | members that cannot read, and how often they may |
//! | `sharing` | bdevs that are cut into parts, and arrays that share them |
//!
//! Not here: the bytes on the members (`tests/golden`, crate `array`).

#![expect(clippy::unwrap_used, reason = "test code may panic")]

mod absent;
mod audit;
mod bdevs;
mod causes;
mod chromium;
mod client;
mod crash;
mod daemon;
mod dm;
mod documents;
mod failing;
mod faults;
mod fresh;
mod hanging;
mod known;
mod lifecycle;
mod locked;
mod nvmf;
mod observe;
mod occupied;
mod old_log;
mod packaging;
mod page;
mod prometheus;
mod refusals;
mod resuming;
mod rig;
mod scrub;
mod sharing;
mod soak;
mod spdk;
mod stock;
mod tools;
mod trace;
mod unreadable;
mod wire;
