//! Parameters of the methods about statistics and limits of bdevs.
//!
//! Not here: what is counted (crate `device`).

words! {
    /// Which counters begin again at nothing.
    pub enum ResetMode {
        /// All.
        All = "all",
        /// The longest and shortest latencies.
        Maxmin = "maxmin",
        /// Failures.
        Error = "error",
        /// None.
        None = "none",
    }
}

params! {
    /// Checks SPDK's options of bdevs, which are without effect: nothing is pooled here per request, and bdevs are always examined.
    #[method("bdev_set_options", Startup, "true", aliases: "set_bdev_options")]
    pub struct BdevSetOptions {
        /// Requests in the pool.
        bdev_io_pool_size: Option<u32>,
        /// Requests that each thread keeps; the pool has to be larger.
        bdev_io_cache_size: Option<u32>,
        /// Whether new bdevs are looked at for superblocks; only true.
        bdev_auto_examine: Option<bool>,
        /// Small buffers that each thread keeps.
        iobuf_small_cache_size: Option<u32>,
        /// Large buffers that each thread keeps.
        iobuf_large_cache_size: Option<u32>,
    }
}

params! {
    /// Tells what was done with bdevs since they were made, or since the last reset.
    /// Latencies are in ticks, as fine as a turn of a reactor.
    #[method(
        "bdev_get_iostat",
        Runtime,
        "{tick_rate, ticks: numbers, bdevs: array}, or with per_channel {tick_rate, ticks, name, channels: array}",
        aliases: "get_bdevs_iostat"
    )]
    pub struct BdevGetIostat {
        /// The bdevs' names; all bdevs if absent.
        names: Option<Vec<String>>,
        /// One bdev's name, as older clients give it.
        name: Option<String>,
        /// Whether each reactor is told by itself; for one bdev only.
        per_channel: bool = false,
        /// What begins again once it is told.
        reset_mode: ResetMode = "none",
    }
}

params! {
    /// Has the statistics of bdevs begin again at nothing.
    #[method("bdev_reset_iostat", Runtime, "true")]
    pub struct BdevResetIostat {
        /// The bdev's name; all bdevs if absent.
        name: Option<String>,
        /// Which of them.
        mode: ResetMode = "all",
    }
}

params! {
    /// Begins to record the latencies of a bdev in a histogram, or ends it.
    #[method("bdev_enable_histogram", Runtime, "true", aliases: "enable_bdev_histogram")]
    pub struct BdevEnableHistogram {
        /// The bdev's name.
        name: String,
        /// Whether to record.
        enable: bool,
        /// Which requests: read, write, unmap, flush or write_zeroes; all if absent.
        opc: Option<String>,
        /// Each power of two has two to the power of this many buckets, from 1 to 10.
        granularity: u8 = 7,
        /// Below this, in nanoseconds, buckets need not be told apart.
        min_nsec: u64 = 1000,
        /// Beyond this, in nanoseconds, neither; two minutes if absent.
        max_nsec: Option<u64>,
    }
}

params! {
    /// Gives the histogram of a bdev.
    #[method(
        "bdev_get_histogram",
        Runtime,
        "{histogram: base64 of little-endian counts, granularity, min_range, max_range, tsc_rate: numbers}",
        aliases: "get_bdev_histogram"
    )]
    pub struct BdevGetHistogram {
        /// The bdev's name.
        name: String,
    }
}

params! {
    /// Counts the requests of a bdev's histogram up to given latencies.
    #[method(
        "bdev_get_histogram_borders",
        Runtime,
        "{borders_count: array of cumulative counts, the last one of all requests}"
    )]
    pub struct BdevGetHistogramBorders {
        /// The bdev's name.
        name: String,
        /// The latencies in microseconds.
        borders: Vec<u64>,
    }
}

params! {
    /// Limits what is done with a bdev in a second, over all its users together.
    /// What is absent stays as it is; 0 is no limit.
    #[method("bdev_set_qos_limit", Runtime, "true", aliases: "set_bdev_qos_limit")]
    pub struct BdevSetQosLimit {
        /// The bdev's name.
        name: String,
        /// Reads and writes per second, rounded up to thousands.
        rw_ios_per_sec: Option<u64>,
        /// MiB read and written per second.
        rw_mbytes_per_sec: Option<u64>,
        /// MiB read per second.
        r_mbytes_per_sec: Option<u64>,
        /// MiB written per second.
        w_mbytes_per_sec: Option<u64>,
    }
}
