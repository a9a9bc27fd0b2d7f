//! Parameters of the methods that cut bdevs into parts.
//!
//! Not here: how they are cut (the service).

params! {
    /// Cuts a bdev into parts of one size, each a bdev of its own: the base's name with "p0", "p1", ...
    /// behind it. The base is claimed. There are fewer where it has no room for all.
    #[method("bdev_split_create", Runtime, "the names of the parts, an array")]
    pub struct BdevSplitCreate {
        /// The name of the bdev below.
        base_bdev: String,
        /// How many parts.
        split_count: u32,
        /// The size of a part in MiB; 0: as large as possible.
        split_size_mb: u64 = 0,
    }
}

params! {
    /// Removes all parts of a bdev, none of which may be in use. The bdev is free.
    #[method("bdev_split_delete", Runtime, "true")]
    pub struct BdevSplitDelete {
        /// The name of the bdev that is cut.
        base_bdev: String,
    }
}
