//! raid456: Linux's dm-raid456 rebuilt for NVMe in user space. This page is the architecture.
//!
//! # The picture
//!
//! ```text
//!   orchestrator, raid456 CLI       NVMe/TCP hosts    Prometheus, browsers
//!         | JSON-RPC                  | PDUs                   | GET /metrics
//!   +-----v------+             +------v------+           +-----v-----+
//!   | control    |             | nvmf        |           | web       |    src/    the service
//!   | methods    |             | target      |           | metrics   |
//!   +-----+------+             +------+------+           +-----+-----+
//!         | commands                  | BdevIo                 | snapshots
//!   ======|===========================|========================|=======  one pinned reactor per core
//!   +-----v---------------------------v------------------------v-----+
//!   | array    the raid bdev: runs the core's actions on this core   |    bdev/   the data plane
//!   |     raid     the pure core: decides       parity  the kernels  |
//!   +-----+--------------------------------------------+-------------+
//!         | members (base bdevs)                       | log bdev
//!   +-----v------+  +--------+  +------+
//!   | uring, aio |  | malloc |  | null |                                  device
//!   +------------+  +--------+  +------+
//! ```
//!
//! Control code is straight-line code on ordinary threads: it sends a command to reactors and waits for
//! the answer. The data path runs on the reactors and takes no lock, allocates nothing and makes no
//! system call of its own per I/O: what belongs to one core is touched by that core only, and what is
//! shared is immutable. Sockets are read and written once a turn each, however many requests that carries.
//!
//! # Words
//!
//! One word per thing, in code, messages and documents.
//!
//! | word | meaning |
//! |---|---|
//! | block | the unit of addressing of a bdev: 512 or 4096 bytes |
//! | strip | consecutive bytes of an array on one member (md says chunk; we do not) |
//! | stripe | a row of strips, one on every member |
//! | slot | the position of a member in its array |
//! | member, base bdev | a bdev that an array is made of |
//! | role | what a slot is in one stripe: data strip d, P or Q |
//! | layout | which slot has which role in which stripe; mdadm's and dm-raid's names |
//! | full-stripe, rmw, rcw | the three ways to write: everything, read-modify-write, reconstruct-write |
//! | piece | the part of a host's request that falls into one stripe |
//! | rectangle | rows of one stripe times a set of its strips: what one stripe operation covers |
//! | region | the granule of the dirty log: a range of every member |
//! | mark, clear, in sync | before a write, after the last one, parity matches data |
//! | lease | a shard's leave to write in a region that is marked |
//! | resync | making parity match the data |
//! | rebuild | making a member hold what it should; where it does not yet, its regions are *stale* |
//! | mend | writing back what a member could not read, and reading it again |
//! | spare | a bdev that takes the slot of a member that fails |
//! | degraded, broken | at work without one or two members; too many are lost, nothing is written |
//! | superblock, event count | what every member says of the array; the number of its last update |
//! | assemble | putting a known array together from the superblocks that are found |
//! | reactor | a pinned thread that polls; it *turns* |
//! | poller | what a reactor polls once a turn |
//! | shard | one core's share of an array: the stripes that it owns |
//! | coordinator | the one machine per array: dirty log, members' states, superblocks, background actions |
//! | bdev, io channel | a block device; its data path on one reactor for one user |
//! | claim | that a bdev is a member of an array, or the base of an error, delay or split bdev, so nobody else may write to it; tables of mapped devices may share one |
//! | permit | that an array's background actions may work; of arrays that share a device one has it, the others are *delayed* |
//! | mapped device | device-mapper's: a bdev made of the targets of a table, which can be changed under load |
//!
//! # Rooms and layers
//!
//! Who may know whom. Cargo enforces what it can, `tests/tidy.rs` the rest.
//!
//! | crate | what | may depend on | unsafe | may touch |
//! |---|---|---|---|---|
//! | `parity` | P and Q over bytes | nothing | instruction set files | core::arch |
//! | `raid` | the pure core: geometry, planner, stripe machine, dirty log, superblocks, coordinator | nothing | forbidden | core, alloc when an array is built |
//! | `reactor` | pinned poll loops, messages, timers, clock, buffers | nothing | memory | threads, clock |
//! | `nvme` | the language of NVMe and NVMe/TCP: commands, structures, PDUs, their streams | nothing | forbidden | core, alloc when a connection is made |
//! | `device` | bdevs and channels, every backend; the NVMe/TCP initiator's core | nvme, reactor | uring, aio, malloc's memory | io_uring, AIO, files |
//! | `array` | the raid bdev: core, kernels and channels on reactors | raid, parity, reactor, device | forbidden | |
//! | `rpc` | JSON-RPC 2.0: codec, server, client, schema | nothing of ours | forbidden | sockets |
//! | `perf` | load generator, benches | reactor, device, array, parity | to open ISA-L only | files |
//! | `raid456` | the service, this crate | all | forbidden | everything else |
//!
//! Inside this crate, each below the ones before it:
//!
//! | module | what |
//! |---|---|
//! | [`cli`] | argv, output, signals, exit codes |
//! | [`web`] | HTTP: metrics, health, the status page |
//! | [`methods`] | JSON-RPC methods; running a configuration file |
//! | [`status`] | the state of everything in one document, and how well that is |
//! | [`metrics`] | Prometheus's metrics, made of a survey |
//! | [`control`] | reactors, the registry of bdevs, their lifecycle; the survey of all of it |
//! | [`log`] | the log on stderr |
//! | [`dm`] | the language of device-mapper: tables, status, messages; pure |
//! | [`nvmf`] | the NVMe/TCP target: connections, controllers, subsystems, which are pure; sockets and bdevs around them (`nvmf::shell`) |
//! | [`keyring`] | secrets by name |
//! | [`limits`] | the service's bounds |
//!
//! # The way of a request
//!
//! - **A read of members in sync** goes from the reactor where it arrives straight to the members'
//!   channels there. No message, no stripe state.
//! - **Everything else** falls into pieces, and each goes to the shard that owns its stripe, over a
//!   bounded lock-free queue if that is on another core. The core cuts it into rectangles; those that
//!   fit merge, those that overlap wait for each other. At the end of the turn they start: lease,
//!   reads, kernel, writes.
//! - **One turn, one system call**: pollers are polled from the engines up to the clients, and
//!   unplugged from the clients down to the engines, so that a turn carries a request all the way.
//! - **A change of the members** (one fails, leaves, joins, is rebuilt) quiesces every shard, gives all of
//!   them the next generation of the map, and resumes them. After a failure host writes are held until
//!   the survivors' superblocks say so; of an array without any, until the state of the service does, or the
//!   owner allows them.
//! - **A member that does not answer** is given up after a time: its requests are answered in its place,
//!   and its channel is kept until the device has let go of them, also when the array is gone. Before that
//!   it is neither a member nor a log of any array, and is not deleted. Reads whose buffers it still has are
//!   made again with others. Time in which the process stands still is no time that a device has taken, nor is that
//!   before the device has taken the request, or while it is suspended. A member that is an array, or stands on one,
//!   has longer: it gives up its own members first.
//! - **A mapped device** that gets another table is suspended: what is in flight ends, what comes waits, the
//!   arrays of the old table are stopped in order, those of the new one start with what the old ones knew.
//! - **A file** belongs to one bdev, by a lock that lasts as long as the kernel has a request to it: what is left of a
//!   process that was killed is waited for.
//! - **At the start** every bdev is looked at for a superblock; `raid::assemble` says what belongs
//!   together and whether it may start, and the coordinator writes nothing before that.
//!
//! Buffers are aligned, pooled per reactor, and travel by ownership: into a request, to the kernel, and
//! back with the completion. Full is never an error and never growth: `submit` hands the request back,
//! and so does everyone up to the one who made it.
//!
//! # Invariants
//!
//! | | invariant | where it lives |
//! |---|---|---|
//! | R1 | Intent before data: no member write until the region's dirty bit is durable on the log bdev. | `raid::lease`, `raid::shard` (no operation writes without a lease), `raid::coordinator::commit` (write, flush, then the grant) |
//! | R2 | A bit outlives doubt: cleared only with no write in flight, members flushed since, none missing, none failed. | `raid::coordinator::flushes` |
//! | R3 | One owner: a stripe is changed by one shard; overlapping ranges by one operation at a time. | `raid::shard::shard_of`, `raid::shard` (its stripe table) |
//! | R4 | Fault before ack: no write is acknowledged past a failed member until the failure is durable. | `raid::shard` (phase `Faulting`), `raid::coordinator::change` and `ledger`; host flushes in `array`; without superblocks `methods::state` and `control::keeping` |
//! | R5 | Never read a missing or out-of-sync strip as data; never write outside the plan. | `raid::plan`, `raid::shard::decide`, `raid::member` (map generations), `array` (the fast path asks the map) |
//! | R6 | Everything is bounded, and the bounds stand in one file; full means back-pressure up to the socket, never growth. | `limits.rs` of every crate; here [`limits`] |
//! | R7 | No silent hole: an array that is dirty *and* degraded is refused unless forced or journalled. | `raid::assemble::start`; without superblocks `array::start`, and `methods::state` knows who is dirty |
//! | R8 | A stale member never comes back: highest event count wins, a returning member is rebuilt where it may differ. | `raid::assemble`, `control::assembly` (nothing is believed that may have changed since it was read), `raid::coordinator::ledger` (nobody is more than one update behind); `control::mapped::switch` |
//! | R9 | A failed flush or log write latches: never retry and hope. | `raid::coordinator` (a member that fails a flush is out, a log that fails stays failed), `device` (a sync that failed is not tried again, and no later one of that file succeeds) |
//! | R10 | Parity errors never spread: a mismatch is counted and the parity rewritten; data is never "corrected" from parity of an unsynced row. | `raid::plan`, `raid::shard` (resync, check and repair write parity only) |
//!
//! What no invariant covers: RAID's write hole. A crash in the middle of writes and the loss of a member
//! before the resync has ended leave rows of which the lost strip cannot be computed; they are read as
//! errors, never as guesses, what is written to them is refused, and an array found like that is refused (R7).
//! The first resync of a new array has no such hole: parity is right wherever it was written
//! (`raid::plan::Trust`). And an array without superblocks of
//! which no state is kept, or which `--config` makes: who is in sync is what its author says, as with the
//! kernel. A member of one that fails its very last flush, at the stop, is in the log only; the array is
//! dirty then.
//!
//! # Choices, and where this differs from SPDK
//!
//! Choices that are not obvious:
//!
//! - Pollers have layers (engine, array, client) instead of an order of registration: a device that is
//!   opened late would otherwise be polled after its users, and cost a turn.
//! - Replies of one connection can overtake each other only for methods that wait; everything else is
//!   answered in order, which clients that do not look at ids are happier with.
//! - A write waits for its lease outside of the stripe machine's in-flight phases, so that a log that is
//!   slow, or blocked, never keeps an array from dealing with a member that fails.
//! - Requests beyond the parity's reach end: an array that has lost too much leaves its superblocks as
//!   they were, so that its members can be put together again once they are back.
//! - Background rates default to md's minimum and to no maximum.
//!
//! From SPDK, on purpose:
//!
//! - A base bdev that does not exist is an error. SPDK makes the array and leaves it *configuring*; here
//!   null stands for a missing member. Known arrays that wait for members are *configuring*.
//! - Deleting a bdev that is a member is refused (-16); SPDK takes it out of the array as if it had been
//!   pulled. `bdev_raid_remove_base_bdev` does that here, when it is asked for.
//! - Members have to be equal in size; SPDK silently uses the smallest.
//! - A bdev with anything on it that is known to be somebody's is no member or spare unless by `force` (-17); SPDK
//!   refuses those with a superblock of its own, in the same way, and has no `force`.
//! - Keys that a method does not know are ignored with a warning in the log; SPDK refuses them.
//! - Entries of a configuration for subsystems that are not there are errors; SPDK skips them. Entries for
//!   devices that are not there are kept and tried again; SPDK ends the start.
//! - An error bdev's injections for writes hit write-zeroes too, and `nomem` hands the request back
//!   instead of completing it. A latency or an injection that can have no effect is refused.
//! - Latencies in `bdev_get_iostat` are sums of the time in flight, as fine as a turn of a reactor; the
//!   longest and shortest are of requests that were watched, one at a time on each channel, unless a
//!   histogram or a limit has all of them looked at. Of null bdevs in arrays nothing is counted.
//! - Limits hold over all reactors together and exactly; SPDK sends all I/O of a limited bdev to one.
//! - `log_set_level` is kept and without effect: there is one log, and `log_set_print_level` is for it.
//! - A file or block device that another process, or another bdev, writes to is not opened for writing.
//! - A bdev in use grows and does not shrink; what nobody uses may do both. An array keeps to the size
//!   that its members had when it was made.
//! - All signals of `spdk_kill_instance` but SIGKILL end the service in order.
//! - `bdev_set_options` and `iobuf_set_options` are checked and without effect.
//! - Threads are pinned: the one scheduler is *static*, and a mask without a thread's core is refused (-95);
//!   SPDK moves the thread.
//! - A client may shut down its side of the connection and still gets every answer.
//! - A bdev that is a namespace belongs to that namespace alone, and is not deleted under it; SPDK removes the
//!   namespace when its bdev goes.
//! - A host's new controller waits until no bdev has a request that its closed connections brought, and what
//!   changes a namespace waits for the writes of connections that have ended: an old write never lands on a
//!   newer one, whether that comes by a new path or by one that was there. SPDK does not keep them apart.
//! - The discovery subsystem listens wherever another one does, and its log names all of their listeners.
//!
//! # Habits
//!
//! Time, randomness and I/O are arguments. Observe, decide, act; decisions are total functions and
//! tested exhaustively. State is an enum that carries its data, never a bag of flags. One readable
//! reference per kernel and format, everything else is compared with it. A refusal hands the request
//! back. Errors name the object, the value and what would be right. Comments say why. Module pages say
//! what is not there.
//!
//! # Tests
//!
//! | what | where |
//! |---|---|
//! | every layout, plan and failure set at small sizes, symbolically | `bdev/raid` |
//! | every kernel against the reference | `bdev/parity/tests` |
//! | every backend against a byte array | `bdev/device` |
//! | NVMe structures and PDUs against golden bytes; target and initiator against each other, cut anywhere; every refusal; the connection's fuzz target | `bdev/nvme`, `nvmf` |
//! | arrays on real reactors against a byte array; devices that hang; members that a Linux kernel wrote | `bdev/array/tests`, `tests/golden` |
//! | the core in a seeded world of failing disks, lost power and crashes, judged by R1 to R10; bugs planted to prove the judge | `tests/sim` |
//! | the real daemon: socket, signals, configurations, starts without devices, files that are locked, refusals, faults, mapped devices, kill -9 under load, over NVMe/TCP too, with members that are lost meanwhile | `tests/blackbox` |
//! | SPDK's own client, unmodified; 10,000 calls at once that leave nothing behind | `tests/blackbox` |
//! | every golden moment of a kernel's arrays lived again through the verbs; a session with the real dmsetup, word for word | `tests/blackbox/dm`, `tests/golden` |
//! | every grammar and format that comes from outside, fuzzed | `tests/fuzz` |
//! | a real Prometheus through a failure and a rebuild, the status page in a browser, every document followed, systemd units, the CPU quota, manifests | `tests/blackbox`, where the tools are |
//! | the Debian package installed, used and removed in a copy of the machine's root | `.ci/installed.sh` |
//! | a Linux kernel in QEMU reads our members and takes our dirty logs for its own | `tests/e2e` |
//! | NVMe/TCP asked by our initiator, decoded by Wireshark, and used by a Linux kernel with fio | `tests/blackbox` |
//! | commands of NVMe/TCP allocate nothing | `tests/nvmf_allocation_free.rs` |
//! | layers, unsafe files, tidiness | `tests/tidy.rs` |
//!
//! Not here: the data plane (the crates below `bdev/`), the protocol (`rpc`).

#![forbid(unsafe_code)]

pub mod cli;
pub mod control;
pub mod dm;
pub mod keyring;
pub mod limits;
pub mod log;
pub mod methods;
pub mod metrics;
pub mod nvmf;
pub mod status;
pub mod web;
