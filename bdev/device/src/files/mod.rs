//! Files and block devices without an engine: everything that the io_uring and the AIO backend
//! share and that needs no system call on the data path.
//!
//! | file | what it is |
//! |---|---|
//! | `backing` | the open file and what was found out about it |
//! | `lock` | who may write to it |
//! | `disk` | the file as a bdev |
//! | `errno` | what error numbers mean |
//! | `request` | the course of one request, as a pure machine |
//! | `slab` | requests that the kernel has |
//! | `syncs` | which answers to syncs may be told |
//! | `engine` | channels, queues and the poller, over any `Kernel` |
//!
//! Not here: `unsafe`. The two implementations of `Kernel` hold it.

pub(crate) mod backing;
pub(crate) mod disk;
pub(crate) mod engine;
pub(crate) mod errno;
pub(crate) mod lock;
pub(crate) mod request;
pub(crate) mod slab;
pub(crate) mod syncs;
