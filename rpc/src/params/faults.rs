//! Parameters of the methods that rehearse failures: error and delay bdevs.
//!
//! Not here: what the faults do (crate `device`); plain bdevs (`bdev`).

use uuid::Uuid;

words! {
    /// Which requests something is to happen to.
    pub enum ErrorIoType {
        /// None any more.
        Clear = "clear",
        /// Reads.
        Read = "read",
        /// Writes.
        Write = "write",
        /// Unmaps.
        Unmap = "unmap",
        /// Flushes.
        Flush = "flush",
        /// All of them.
        All = "all",
    }
}

words! {
    /// What is to happen to them.
    pub enum ErrorType {
        /// They fail.
        Failure = "failure",
        /// They are not answered.
        Pending = "pending",
        /// They move a wrong byte.
        CorruptData = "corrupt_data",
        /// They find no memory.
        Nomem = "nomem",
        /// They fail with an NVMe status.
        NvmeFailure = "nvme_failure",
        /// Ours: the device is not there any more.
        Gone = "gone",
    }
}

words! {
    /// One of the latencies of a delay bdev.
    pub enum LatencyType {
        /// Of most reads.
        AvgRead = "avg_read",
        /// Of one read in a hundred.
        P99Read = "p99_read",
        /// Of most writes.
        AvgWrite = "avg_write",
        /// Of one write in a hundred.
        P99Write = "p99_write",
    }
}

params! {
    /// Makes a bdev over another one that fails when it is told to.
    /// Its name is that of its base with "EE_" before it. The base is claimed.
    #[method("bdev_error_create", Runtime, "true", aliases: "construct_error_bdev")]
    pub struct BdevErrorCreate {
        /// The name of the bdev below.
        base_name: String,
        /// Its UUID; a random one if absent.
        uuid: Option<Uuid>,
        /// Ours: whether writes stay in memory until they are flushed, to be lost with the power.
        volatile_cache: bool = false,
    }
}

params! {
    /// Removes an error bdev. Its base is free; what was not flushed is, first.
    #[method("bdev_error_delete", Runtime, "true", aliases: "delete_error_bdev")]
    pub struct BdevErrorDelete {
        /// The bdev's name.
        name: String,
    }
}

params! {
    /// Has requests to an error bdev go wrong, or none any more.
    /// An injection takes the place of an earlier one for the same requests.
    #[method("bdev_error_inject_error", Runtime, "true", aliases: "bdev_inject_error")]
    pub struct BdevErrorInjectError {
        /// The bdev's name.
        name: String,
        /// Which requests; write stands for write zeroes too, and clear ends all injections.
        io_type: ErrorIoType,
        /// What happens to them; not needed for clear. nvme_failure is not supported; gone is ours: all requests fail until clear.
        error_type: Option<ErrorType>,
        /// NVMe's status code type for nvme_failure; only 0 is possible.
        nvme_sct: u32 = 0,
        /// NVMe's status code for nvme_failure; only 0 is possible.
        nvme_sc: u32 = 0,
        /// How many requests; 4294967295 is for ever. If absent 1, or for ever with `until_written`.
        num: Option<u32>,
        /// Only requests that find as many others of their channel at the base.
        queue_depth: u64 = 0,
        /// corrupt_data: which byte of the request is changed.
        corrupt_offset: u64 = 0,
        /// corrupt_data: what is XORed into it; not 0.
        corrupt_value: u8 = 0,
        /// Ours: only requests that touch the range that begins with this block.
        offset_blocks: Option<u64>,
        /// Ours: the length of that range in blocks; 1 if absent.
        num_blocks: Option<u64>,
        /// Ours: a write that succeeds heals the blocks that it covers (reads that fail, with a range).
        until_written: bool = false,
    }
}

params! {
    /// Ends injections of pending requests to an error bdev, and lets those that are pending go on.
    #[method("bdev_error_resume_pending", Runtime, "true")]
    pub struct BdevErrorResumePending {
        /// The bdev's name.
        name: String,
    }
}

params! {
    /// Ours: cuts the power of an error bdev.
    /// Every request fails until it is restored; what its volatile cache had not flushed is lost.
    #[method("bdev_error_lose_power", Runtime, "true")]
    pub struct BdevErrorLosePower {
        /// The bdev's name.
        name: String,
        /// Has some unflushed blocks survive, the same ones for the same number; none if absent.
        seed: Option<u64>,
    }
}

params! {
    /// Ours: gives an error bdev its power back.
    #[method("bdev_error_restore_power", Runtime, "true")]
    pub struct BdevErrorRestorePower {
        /// The bdev's name.
        name: String,
    }
}

params! {
    /// Makes a bdev over another one that answers late. The base is claimed.
    /// One request in a hundred has the p99 latency, the others the average; in microseconds.
    #[method("bdev_delay_create", Runtime, "the bdev's name, a string")]
    pub struct BdevDelayCreate {
        /// The name of the new bdev.
        name: String,
        /// The name of the bdev below.
        base_bdev_name: String,
        /// Latency of most reads.
        avg_read_latency: u64,
        /// Latency of one read in a hundred, not less than that of the others.
        p99_read_latency: u64,
        /// Latency of most writes.
        avg_write_latency: u64,
        /// Latency of one write in a hundred, not less than that of the others.
        p99_write_latency: u64,
        /// Its UUID; a random one if absent.
        uuid: Option<Uuid>,
    }
}

params! {
    /// Changes one latency of a delay bdev, for answers from now on.
    #[method("bdev_delay_update_latency", Runtime, "true")]
    pub struct BdevDelayUpdateLatency {
        /// The bdev's name.
        delay_bdev_name: String,
        /// Which latency.
        latency_type: LatencyType,
        /// The latency in microseconds.
        latency_us: u64,
    }
}

params! {
    /// Removes a delay bdev. Its base is free.
    #[method("bdev_delay_delete", Runtime, "true")]
    pub struct BdevDelayDelete {
        /// The bdev's name.
        name: String,
    }
}
