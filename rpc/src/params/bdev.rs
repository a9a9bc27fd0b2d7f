//! Parameters of the methods that make, list and remove plain bdevs.
//!
//! Not here: arrays (`raid`); the shapes of results (`crate::results`).

use uuid::Uuid;

params! {
    /// Describes all bdevs, or one.
    /// An unknown name is -19, "No such device".
    #[method("bdev_get_bdevs", Runtime, "an array of bdevs", aliases: "get_bdevs")]
    pub struct BdevGetBdevs {
        /// The bdev's name or an alias of it; a UUID is an alias.
        name: Option<String>,
        /// How long to wait for a bdev of that name to appear, in milliseconds.
        timeout: u64 = 0,
    }
}

params! {
    /// Makes a bdev that has no memory.
    /// Its reads return undefined bytes, and its writes are dropped.
    #[method("bdev_null_create", Runtime, "the bdev's name, a string", aliases: "construct_null_bdev")]
    pub struct BdevNullCreate {
        /// The name of the new bdev.
        name: String,
        /// Its block size in bytes.
        block_size: u32,
        /// Its size in blocks.
        num_blocks: u64,
        /// Its UUID; a random one if absent.
        uuid: Option<Uuid>,
        /// The block size of the pretended device in bytes; `block_size` if absent.
        physical_block_size: Option<u32>,
        /// Bytes of metadata per block; only 0 has an effect.
        md_size: u32 = 0,
        /// The type of protection information; only 0, none, has an effect.
        dif_type: i32 = 0,
        /// The format of protection information; without effect.
        dif_pi_format: u32 = 0,
        /// Whether protection information comes first in the metadata; without effect.
        dif_is_head_of_md: bool = false,
        /// The preferred granularity of writes in blocks.
        preferred_write_granularity: Option<u32>,
        /// The preferred alignment of writes in blocks.
        preferred_write_alignment: Option<u32>,
        /// The optimal size of writes in blocks.
        optimal_write_size: Option<u32>,
        /// The preferred granularity of unmaps in blocks.
        preferred_unmap_granularity: Option<u32>,
        /// The preferred alignment of unmaps in blocks.
        preferred_unmap_alignment: Option<u32>,
    }
}

params! {
    /// Gives a null bdev another size.
    /// Growing is always possible; one that is in use or claimed does not shrink, -16.
    #[method("bdev_null_resize", Runtime, "true")]
    pub struct BdevNullResize {
        /// The bdev's name.
        name: String,
        /// Its new size in MiB.
        new_size: u64,
    }
}

params! {
    /// Removes a null bdev.
    #[method("bdev_null_delete", Runtime, "true", aliases: "delete_null_bdev")]
    pub struct BdevNullDelete {
        /// The bdev's name.
        name: String,
    }
}

params! {
    /// Makes a bdev that keeps its blocks in memory.
    #[method("bdev_malloc_create", Runtime, "the bdev's name, a string", aliases: "construct_malloc_bdev")]
    pub struct BdevMallocCreate {
        /// The name of the new bdev; "Malloc" and a number if absent.
        name: Option<String>,
        /// Its block size in bytes, a multiple of 512.
        block_size: u32,
        /// Its size in blocks.
        num_blocks: u64,
        /// Its UUID; a random one if absent.
        uuid: Option<Uuid>,
        /// Boundary in blocks that I/O is split at; only 0, none, has an effect.
        optimal_io_boundary: u32 = 0,
        /// Bytes of metadata per block; only 0 has an effect.
        md_size: u32 = 0,
        /// Whether metadata follows each block; without effect.
        md_interleave: bool = false,
        /// The type of protection information; only 0, none, has an effect.
        dif_type: i32 = 0,
        /// Whether protection information comes first in the metadata; without effect.
        dif_is_head_of_md: bool = false,
        /// The block size of the pretended device in bytes; `block_size` if absent.
        physical_block_size: Option<u32>,
        /// The format of protection information; without effect.
        dif_pi_format: u32 = 0,
        /// The NUMA node to take memory from; any if absent or -1.
        numa_id: Option<i32>,
    }
}

params! {
    /// Removes a malloc bdev.
    #[method("bdev_malloc_delete", Runtime, "true", aliases: "delete_malloc_bdev")]
    pub struct BdevMallocDelete {
        /// The bdev's name.
        name: String,
    }
}

params! {
    /// Makes a bdev of a file or block device that is driven by `io_uring`.
    #[method("bdev_uring_create", Runtime, "the bdev's name, a string")]
    pub struct BdevUringCreate {
        /// The name of the new bdev.
        name: String,
        /// The path of the file or block device.
        filename: String,
        /// Its block size in bytes; that of the file or device if absent or 0.
        block_size: u32 = 0,
        /// Its UUID; a random one if absent.
        uuid: Option<Uuid>,
        /// Ours: a file that is missing is made, with its directory, of this many MiB.
        create_size_mib: Option<u64>,
    }
}

params! {
    /// Has a uring bdev be as long as its file or block device is now.
    /// One that is in use or claimed does not shrink, -16.
    #[method("bdev_uring_rescan", Runtime, "true")]
    pub struct BdevUringRescan {
        /// The bdev's name.
        name: String,
    }
}

params! {
    /// Removes a uring bdev.
    #[method("bdev_uring_delete", Runtime, "true")]
    pub struct BdevUringDelete {
        /// The bdev's name.
        name: String,
    }
}

params! {
    /// Makes a bdev of a file or block device that is driven by Linux AIO.
    #[method("bdev_aio_create", Runtime, "the bdev's name, a string", aliases: "construct_aio_bdev")]
    pub struct BdevAioCreate {
        /// The name of the new bdev.
        name: String,
        /// The path of the file or block device.
        filename: String,
        /// Its block size in bytes; that of the file or device if absent or 0.
        block_size: u32 = 0,
        /// Whether writes are refused.
        readonly: bool = false,
        /// Whether unmap and write zeroes are offered, by fallocate(), which blocks.
        fallocate: bool = false,
        /// Its UUID; a random one if absent.
        uuid: Option<Uuid>,
        /// Whether I/O is submitted with `RWF_NOWAIT`; without effect.
        nowait: bool = false,
        /// Ours: a file that is missing is made, with its directory, of this many MiB.
        create_size_mib: Option<u64>,
    }
}

params! {
    /// Has an AIO bdev be as long as its file or block device is now.
    /// One that is in use or claimed does not shrink, -16.
    #[method("bdev_aio_rescan", Runtime, "true")]
    pub struct BdevAioRescan {
        /// The bdev's name.
        name: String,
    }
}

params! {
    /// Removes an AIO bdev.
    #[method("bdev_aio_delete", Runtime, "true", aliases: "delete_aio_bdev")]
    pub struct BdevAioDelete {
        /// The bdev's name.
        name: String,
    }
}
