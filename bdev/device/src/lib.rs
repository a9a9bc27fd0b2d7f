//! Block devices: Bdev and IoChannel, and every backend
