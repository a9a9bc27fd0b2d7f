//! Parameters of the method that tells how everything is.
//!
//! Not here: what it answers (the service).

params! {
    /// Tells how everything is: health, reactors, arrays, members, background actions, logs, events.
    /// Also what the configuration and the state ask for that cannot be made yet.
    /// Numbers are counters since the start. The status page and `raid456 status` are made of it.
    #[method(
        "raid456_get_status",
        Both,
        "{version, pid, at_unix_ms, at_ns, started, health: \"healthy\", \"warning\" or \"critical\", reasons, whole, reactors, arrays, spares, kept, events}"
    )]
    pub struct Raid456GetStatus {}
}
