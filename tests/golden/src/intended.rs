//! Where we mean to differ from Linux's device-mapper, dm-raid and dmsetup: all of it, each with its reason.
//!
//! | list | differs from | held against it in |
//! |---|---|---|
//! | [`TABLES`] | the kernel, in tables that it takes and we do not | `src/dm/tests`, `tests/blackbox/dm` |
//! | [`MOMENTS`] | the kernel, in status and event numbers | `tests/blackbox/dm/history.rs` |
//! | [`DMSETUP`] | dmsetup, in what it prints | `tests/blackbox/dm/dmsetup.rs` |
//! | [`WITHOUT_EFFECT`] | dm-raid45, in messages and parameters that are taken and change nothing | `tests/blackbox/dm/effects.rs` |
//!
//! A difference that does not occur makes its test fail, and so does one that is not here.

/// Words of a table, our answer, and why.
pub const TABLES: &[(&str, &str, &str)] = &[
    (
        "delta_disks",
        "delta_disks: adding and removing members is not supported yet",
        "the kernel takes it, and does nothing with it without space for a reshape",
    ),
    (
        "data_offset 2048",
        "data_offset: space for a reshape is not supported yet",
        "the kernel takes it for new sets that leave room, and finds no space for others",
    ),
    (
        "journal_dev /dev/ram12 4",
        "journal_dev: a journal is not supported yet",
        "the kernel has journals",
    ),
    (
        "journal_dev /dev/ram12 journal_mode writeback",
        "journal_dev: a journal is not supported yet",
        "the kernel has journals",
    ),
    (
        "raid4 1 128 2",
        "Failed to run raid array",
        "md runs two members, which are a mirror in disguise; our arrays begin with three",
    ),
    (
        "- /dev/ram0 - /dev/ram0",
        "Duplicate RAID device",
        "the kernel warns and goes on; here a bdev has one user, and raid45 has the sentence",
    ),
];

const IDLE: &str = "4 AAAA 32768/32768 idle 0 0 -";
const BROKEN: &str = "4 ADDA 24576/32768 idle 0 0 -";
const RESYNCS: &str = "4 aaaa */32768 resync 0 0 -";

const LOST_WRITES: &str = "a region with writes that have failed is not said to be in sync";
const LOOKED_EARLY: &str = "the kernel's resync of zeroed RAM disks was over when it was asked";
const LOOKED_LATE: &str = "the kernel was asked in the middle of it";
const RESYNCED: &str = "without metadata devices and `nosync` nothing says that parity is right, so it is \
                        made, as the kernel's documentation says; the kernel takes it to be right, and has \
                        no use for `sync`";

/// Group, how its moments end (`""` for all of them), status behind the type (`*` for how far an action is)
/// and event number here, and why.
pub const MOMENTS: &[(&str, &str, &str, usize, &str)] = &[
    ("healthy", "just created, no metadata devices", IDLE, 1, RESYNCED),
    ("healthy", "region_size 1024 without metadata", IDLE, 1, RESYNCED),
    ("healthy", "several options", RESYNCS, 0, RESYNCED),
    ("healthy", "daemon_sleep, max_recovery_rate 0", IDLE, 1, RESYNCED),
    ("syncing", "", RESYNCS, 0, RESYNCED),
    ("failed_long", "healthy, no metadata devices", IDLE, 1, RESYNCED),
    (
        "failed_long",
        "the full-stripe write is still hanging after 3 s",
        "4 ADAA 32768/32768 idle 0 0 -",
        2,
        "it does not hang: the failure need not be recorded where nothing ever was",
    ),
    ("check_nometa", "zeroed, clean", IDLE, 1, RESYNCED),
    ("check_nometa", "right after check", IDLE, 2, LOOKED_LATE),
    ("check_nometa", "check +2s", IDLE, 2, RESYNCED),
    ("check", "right after check", IDLE, 1, LOOKED_LATE),
    ("synced_meta", "t=0", IDLE, 1, LOOKED_EARLY),
    ("failed2_meta", "leg 2 failed too (array failed)", BROKEN, 2, LOST_WRITES),
    ("failed2_meta", "after read", BROKEN, 2, LOST_WRITES),
    (
        "syncing_meta",
        "check while was frozen",
        RESYNCS,
        1,
        "parity that is known to be wrong is made, not compared: the resync goes on",
    ),
];

/// dmsetup's words, ours, and why.
pub const DMSETUP: &[(&str, &str, &str)] = &[
    ("Read Ahead:        768", "Read Ahead:        0", "nothing is read ahead"),
    ("Read Ahead:        256", "Read Ahead:        0", "nothing is read ahead"),
    ("linear 253:1 0", "linear over 0", "tables name devices; only mapped devices have numbers"),
    ("(1, ", "(1:", "a bdev without a number goes by its name, which here is 1:N"),
    ("ram", "1:", "the name of the block device is that of the bdev"),
    ("on bad (253:7) failed", "on bad  failed", "a device whose table is refused never was there"),
];

/// Words of messages and tables that are taken and change nothing but what is told, and why.
pub const WITHOUT_EFFECT: &[(&str, &str)] = &[
    (
        "overwrite",
        "a write of whole chunks never reads what it writes over: the stripe machine plans each write by \
         what it needs to read, and a switch that has it read more would only be slower",
    ),
    ("io_size", "requests are cut at strips, and stripes are worked on by rows of 4 KiB"),
    ("recovery_io_size", "recovery goes by stretches of its own, a MiB of each member at a time"),
    ("recovery_stripes", "the same"),
    ("locking none", "there is no other locking"),
    ("xor's number of chunks", "a kernel takes as many chunks as there are"),
];
