//! Parameters of the methods that ask about the server itself.
//!
//! Not here: bdevs.

params! {
    /// Lists the names of the methods.
    #[method("rpc_get_methods", Both, "an array of method names", aliases: "get_rpc_methods")]
    pub struct RpcGetMethods {
        /// Only those that may be called in the present phase.
        current: bool = false,
        /// Aliases as well.
        include_aliases: bool = false,
    }
}

params! {
    /// Tells the version of the server.
    #[method(
        "spdk_get_version",
        Both,
        "{version: string, fields: {major, minor, patch: numbers, suffix: string, commit?: string}}",
        aliases: "get_spdk_version"
    )]
    pub struct SpdkGetVersion {}
}

words! {
    /// Signals that SPDK knows. All but the last but one end the service in order.
    pub enum SignalName {
        /// Ends it in order.
        Sigint = "SIGINT",
        /// Ends it in order.
        Sigterm = "SIGTERM",
        /// Ends it in order.
        Sigquit = "SIGQUIT",
        /// Ends it in order.
        Sighup = "SIGHUP",
        /// Ends it at once: the next start has to resync what was being written.
        Sigkill = "SIGKILL",
        /// Ends it in order.
        Sigusr1 = "SIGUSR1",
    }
}

params! {
    /// Ends the service.
    /// All signals but SIGKILL end it in order, as SIGTERM does.
    #[method("spdk_kill_instance", Runtime, "true", aliases: "kill_instance")]
    pub struct SpdkKillInstance {
        /// The signal's name.
        sig_name: SignalName,
    }
}

params! {
    /// Ends the start-up phase of a service that was started with --wait-for-rpc.
    /// Configuration and state are applied before it answers.
    #[method("framework_start_init", Startup, "true", aliases: "start_subsystem_init")]
    pub struct FrameworkStartInit {}
}

params! {
    /// Waits until the start-up phase is over.
    #[method("framework_wait_init", Both, "true", aliases: "wait_subsystem_init")]
    pub struct FrameworkWaitInit {}
}

params! {
    /// Lists the subsystems in the order of their start.
    #[method(
        "framework_get_subsystems",
        Runtime,
        "an array of {subsystem: string, depends_on: array of strings}",
        aliases: "get_subsystems"
    )]
    pub struct FrameworkGetSubsystems {}
}

params! {
    /// Gives the calls that would bring a subsystem into its present state.
    /// Arrays with superblocks are not among them: they are found on their members. Calls of --config and
    /// --state that could not be made yet are, behind the others.
    #[method(
        "framework_get_config",
        Runtime,
        "an array of {method: string, params: object}",
        aliases: "get_subsystem_config"
    )]
    pub struct FrameworkGetConfig {
        /// The subsystem's name.
        name: String,
        /// Whether batches may be in it; without effect, there are none.
        with_batches: bool = false,
    }
}

params! {
    /// Tells what the reactors do. Times are in ticks.
    #[method(
        "framework_get_reactors",
        Runtime,
        "{tick_rate, pid: numbers, reactors: array of {lcore, numa_id, tid, busy, idle, in_interrupt, irq, sys, usr, lw_threads}}"
    )]
    pub struct FrameworkGetReactors {}
}

params! {
    /// Tells how work is spread over reactors: by stripe, and it stays there.
    #[method(
        "framework_get_scheduler",
        Both,
        "{scheduler_name: string, scheduler_period: number, isolated_core_mask: string, scheduling_core: number}"
    )]
    pub struct FrameworkGetScheduler {}
}

params! {
    /// Tells how busy the threads are. There is one on each reactor.
    #[method(
        "thread_get_stats",
        Runtime,
        "{tick_rate: number, threads: array of {name, id, cpumask, busy, idle, active_pollers_count, timed_pollers_count, paused_pollers_count}}"
    )]
    pub struct ThreadGetStats {}
}

params! {
    /// Lists the pollers of the threads.
    #[method(
        "thread_get_pollers",
        Runtime,
        "{tick_rate: number, threads: array of {name, id, active_pollers, timed_pollers, paused_pollers}}"
    )]
    pub struct ThreadGetPollers {}
}

params! {
    /// Lists the bdevs that have channels on the threads.
    #[method(
        "thread_get_io_channels",
        Runtime,
        "{tick_rate: number, threads: array of {name, io_channels: array of {name, ref}}}"
    )]
    pub struct ThreadGetIoChannels {}
}

params! {
    /// Lists the types of notifications.
    #[method("notify_get_types", Runtime, "an array of strings", aliases: "get_notification_types")]
    pub struct NotifyGetTypes {}
}

params! {
    /// Gives what has happened, the oldest first.
    /// Events are kept for a while only; a gap in the ids tells that some are lost.
    #[method(
        "notify_get_notifications",
        Runtime,
        "an array of {type: string, ctx: string, id: number}",
        aliases: "get_notifications"
    )]
    pub struct NotifyGetNotifications {
        /// The id of the first one to give.
        id: u64 = 0,
        /// How many to give at most; all if absent.
        max: Option<u64>,
    }
}

params! {
    /// Checks SPDK's options of buffer pools, which are without effect: pools are sized when the service starts.
    #[method("iobuf_set_options", Startup, "true")]
    pub struct IobufSetOptions {
        /// Small buffers; at least 64.
        small_pool_count: Option<u64>,
        /// Large buffers; at least 8.
        large_pool_count: Option<u64>,
        /// Bytes of a small buffer; at least 4096.
        small_bufsize: Option<u32>,
        /// Bytes of a large buffer; more than of a small one, and at least 8192.
        large_bufsize: Option<u32>,
        /// Whether every NUMA node has pools of its own.
        enable_numa: Option<bool>,
    }
}
