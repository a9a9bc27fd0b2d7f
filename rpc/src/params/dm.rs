//! Parameters of the methods of mapped devices: device-mapper's verbs.
//!
//! A table is text as `dmsetup` takes it: a line for each target. In place of a path or of
//! `major:minor` stands a bdev: its name, its UUID, or `/dev/mapper/` and the name of a mapped device.
//!
//! Not here: the language of tables and messages; the service knows.

use uuid::Uuid;

params! {
    /// Makes a mapped device, loads a table into it and resumes it; all of it or nothing.
    /// Without a table it is there, empty and suspended by nobody, as after dmsetup create --notable.
    #[method("dm_create", Runtime, "the device, as dm_info shows it")]
    pub struct DmCreate {
        /// The name of the new device, which is also that of its bdev.
        name: String,
        /// The table: a line for each target.
        table: Option<String>,
        /// Device-mapper's UUID: any text of at most 128 characters. If it is a UUID, it is also the bdev's.
        uuid: Option<String>,
        /// The UUID of its bdev, where that is not device-mapper's; a random one if absent.
        bdev_uuid: Option<Uuid>,
        /// Its number, from 0 to 1048575; a free one if absent. The major number is always 253.
        minor: Option<u32>,
        /// Whether nothing may be written to it.
        readonly: bool = false,
        /// Whether its arrays have run before and were not stopped in order, or (false) were; see
        /// bdev_raid_create.
        dirty: Option<bool>,
        /// Whether a log of its arrays had failed, so that what is on it is not believed, and begun anew.
        log_failed: bool = false,
    }
}

params! {
    /// Loads a table into the inactive slot of a mapped device; dm_resume makes it the active one.
    #[method("dm_table_load", Runtime, "true")]
    pub struct DmTableLoad {
        /// The device's name or UUID.
        name: String,
        /// The table: a line for each target.
        table: String,
    }
}

params! {
    /// Drops the inactive table of a mapped device.
    #[method("dm_table_clear", Runtime, "true")]
    pub struct DmTableClear {
        /// The device's name or UUID.
        name: String,
    }
}

params! {
    /// Suspends a mapped device: what is in flight ends, what comes then waits.
    /// Arrays below it do nothing in the background meanwhile.
    #[method("dm_suspend", Runtime, "true")]
    pub struct DmSuspend {
        /// The device's name or UUID.
        name: String,
        /// Whether what is in flight need not be on the devices before it counts as suspended.
        noflush: bool = false,
    }
}

params! {
    /// Makes the inactive table the active one, if there is one, and lets requests go on.
    /// If it cannot, the device stays suspended, with the table that it had.
    #[method("dm_resume", Runtime, "true")]
    pub struct DmResume {
        /// The device's name or UUID.
        name: String,
    }
}

params! {
    /// Removes a mapped device.
    /// One that is in use is -16, unless it is to be removed when nobody uses it any more.
    #[method("dm_remove", Runtime, "true, or false if it is removed later")]
    pub struct DmRemove {
        /// The device's name or UUID.
        name: String,
        /// Whether to remove it later if it is in use now.
        deferred: bool = false,
        /// Whether to put a table of errors in place of its table first, so that requests end.
        force: bool = false,
    }
}

params! {
    /// Gives a mapped device another name, or a UUID if it has none.
    #[method("dm_rename", Runtime, "true")]
    pub struct DmRename {
        /// The device's name or UUID.
        name: String,
        /// The new name.
        new_name: Option<String>,
        /// Device-mapper's UUID.
        new_uuid: Option<String>,
    }
}

params! {
    /// Sends a message to a target of the active table.
    /// raid: frozen, idle, resync, recover, check, repair. raid45: allow_writes, bandwidth, overwrite,
    /// statistics, stripe_cache, xor. raid and raid456 also take stripe_cache, min_recovery_rate,
    /// max_recovery_rate, daemon_sleep and allow_writes.
    #[method("dm_message", Runtime, "true")]
    pub struct DmMessage {
        /// The device's name or UUID.
        name: String,
        /// Words with blanks between them.
        message: String,
        /// A sector of the target; 0 is the first target.
        sector: u64 = 0,
    }
}

params! {
    /// Tells how the targets of mapped devices are.
    #[method("dm_status", Runtime, "an array of devices with their targets")]
    pub struct DmStatus {
        /// A device's name or UUID; all if absent.
        name: Option<String>,
        /// The targets of this type only.
        target: Option<String>,
    }
}

params! {
    /// Tells the tables of mapped devices.
    #[method("dm_table", Runtime, "an array of devices with their targets")]
    pub struct DmTable {
        /// A device's name or UUID; all if absent.
        name: Option<String>,
        /// The targets of this type only.
        target: Option<String>,
        /// Whether to tell the inactive table.
        inactive: bool = false,
    }
}

params! {
    /// Tells what mapped devices are made of.
    #[method("dm_deps", Runtime, "an array of devices with the names of the bdevs of their tables")]
    pub struct DmDeps {
        /// A device's name or UUID; all if absent.
        name: Option<String>,
    }
}

params! {
    /// Describes mapped devices.
    #[method("dm_info", Runtime, "an array of devices")]
    pub struct DmInfo {
        /// A device's name or UUID; all if absent.
        name: Option<String>,
    }
}

params! {
    /// Lists mapped devices.
    #[method("dm_ls", Runtime, "an array of names and numbers")]
    pub struct DmLs {
        /// Those with a target of this type only.
        target: Option<String>,
    }
}

params! {
    /// Waits until the event number of a mapped device is above the one given.
    /// Members that fail, background actions that end and logs that fail are events.
    #[method("dm_wait", Runtime, "the event number")]
    pub struct DmWait {
        /// The device's name or UUID.
        name: String,
        /// The event number that is known; if absent the one that the device has now.
        event_nr: Option<u32>,
        /// Seconds after which the wait ends with -110; if absent, none but the service's own limit of a
        /// day.
        timeout_s: Option<u64>,
    }
}

params! {
    /// Lists the targets and their versions.
    #[method("dm_targets", Runtime, "an array of names and versions")]
    pub struct DmTargets {
    }
}
