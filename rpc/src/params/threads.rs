//! Parameters of the methods about reactors and their threads that change something, or would in SPDK.
//!
//! Not here: those that ask (`framework`).

params! {
    /// Chooses how work is spread over reactors. There is one way here, SPDK's static one.
    /// The other parameters are for schedulers that move threads: they are without effect, but for mappings.
    #[method("framework_set_scheduler", Both, "true")]
    pub struct FrameworkSetScheduler {
        /// The scheduler: "static".
        name: String,
        /// How often the scheduler would look, in microseconds; without effect, nothing is moved.
        period: Option<u64>,
        /// Without effect: a load in percent.
        load_limit: Option<u8>,
        /// Without effect: a load in percent.
        core_limit: Option<u8>,
        /// Without effect: a load in percent.
        core_busy: Option<u8>,
        /// thread:core, separated by commas; each thread has to be on that core already.
        mappings: Option<String>,
    }
}

params! {
    /// Has the log tell every second which reactors the kernel has taken off their cores.
    #[method("framework_monitor_context_switch", Runtime, "{enabled: true or false}")]
    pub struct FrameworkMonitorContextSwitch {
        /// Whether it is to be told; if absent, it is only asked.
        enabled: Option<bool>,
    }
}

params! {
    /// Lets a thread run on these cores. Threads stay where they are, so their core has to be among them.
    #[method("thread_set_cpumask", Runtime, "true")]
    pub struct ThreadSetCpumask {
        /// The thread's number, from thread_get_stats.
        id: u64,
        /// Cores as a mask in hexadecimal digits, or as a list such as [0,2-3].
        cpumask: String,
    }
}

params! {
    /// Tells how often buffers were taken, over all reactors: small ones of at most 8 KiB, and large ones.
    /// Of those that came back a moment ago (cache), of the rest (main), and in vain (retry); by requests
    /// of the service (bdev), and by the arrays that are there now (raid).
    #[method(
        "iobuf_get_stats",
        Runtime,
        "an array of {module: string, small_pool, large_pool: {cache, main, retry: numbers}, pool_bytes, free_bytes: numbers}"
    )]
    pub struct IobufGetStats {}
}
