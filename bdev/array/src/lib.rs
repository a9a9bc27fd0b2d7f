//! The raid bdev: the pure core, the kernels and the channels on reactors
