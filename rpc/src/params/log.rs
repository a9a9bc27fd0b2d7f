//! Parameters of the methods about the log.
//!
//! Not here: what is logged.

words! {
    /// SPDK's levels, from the fewest messages to the most.
    pub enum LogLevel {
        /// Errors.
        Error = "ERROR",
        /// And warnings.
        Warning = "WARNING",
        /// And what an operator wants to know.
        Notice = "NOTICE",
        /// And what goes on; the same as NOTICE here.
        Info = "INFO",
        /// And everything.
        Debug = "DEBUG",
    }
}

params! {
    /// Sets the level of the system's log.
    /// It is kept and without effect, because there is one log here: see log_set_print_level.
    #[method("log_set_level", Both, "true", aliases: "set_log_level")]
    pub struct LogSetLevel {
        /// The new level.
        level: LogLevel,
    }
}

params! {
    /// Gives the level of the system's log.
    #[method("log_get_level", Both, "a level, a string", aliases: "get_log_level")]
    pub struct LogGetLevel {}
}

params! {
    /// Sets the level of what is printed on stderr.
    #[method("log_set_print_level", Both, "true", aliases: "set_log_print_level")]
    pub struct LogSetPrintLevel {
        /// The new level.
        level: LogLevel,
    }
}

params! {
    /// Gives the level of what is printed on stderr.
    #[method("log_get_print_level", Both, "a level, a string", aliases: "get_log_print_level")]
    pub struct LogGetPrintLevel {}
}

params! {
    /// Has one part of the service print everything, whatever the level.
    #[method("log_set_flag", Both, "true", aliases: "set_log_flag")]
    pub struct LogSetFlag {
        /// The part, or "all"; log_get_flags lists them.
        flag: String,
    }
}

params! {
    /// Takes that back.
    #[method("log_clear_flag", Both, "true", aliases: "clear_log_flag")]
    pub struct LogClearFlag {
        /// The part, or "all"; log_get_flags lists them.
        flag: String,
    }
}

params! {
    /// Lists the parts of the service and whether they print everything.
    #[method("log_get_flags", Both, "{flag: boolean, ...}", aliases: "get_log_flags")]
    pub struct LogGetFlags {}
}

params! {
    /// Sets whether messages have their time before them.
    #[method("log_enable_timestamps", Both, "true", aliases: "enable_log_timestamps")]
    pub struct LogEnableTimestamps {
        /// Whether they have it.
        enabled: bool,
    }
}
