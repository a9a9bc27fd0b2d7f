//! One suite over every backend: what a bdev promises, checked against a plain vector of bytes.
//!
//! | file | what it is |
//! |---|---|
//! | `backends` | every way of getting a bdev: kind x file x block size |
//! | `rig` | a reactor, a channel, and a way to run requests to their end |
//! | `data` | the byte model: random requests, vectors, two reactors at once |
//! | `limits` | full channels, bad requests, dropped channels, engines that end |
//! | `waking` | reactors that sleep while the kernel works |
//! | `kernels` | the two engines' lower halves by themselves |
//! | `hung` | disks that do not answer, beside others on the same engine; what bdevs say of it |
//! | `syncs` | syncs that fail, beside others on the same disk |
//! | `faults` | files that shrink, devices that go, files that cannot be opened |
//!
//! Tests are named `conformance::<backend>::<property>`. What a machine cannot offer (loop devices
//! need root) is said and skipped, unless `RAID456_REQUIRE_E2E=1` makes it a failure.

pub(crate) mod backends;
pub(crate) mod data;
mod faults;
mod hung;
pub(crate) mod kernels;
mod limits;
pub(crate) mod rig;
mod syncs;
mod waking;

use backends::Backend;

/// The whole suite for one backend.
macro_rules! suite {
    ($name:ident, $backend:expr) => {
        mod $name {
            use super::*;

            #[test]
            fn agrees_with_a_byte_model() {
                data::agrees_with_a_byte_model($backend);
            }

            #[test]
            fn two_reactors_on_disjoint_ranges() {
                data::two_reactors_on_disjoint_ranges($backend);
            }

            #[test]
            fn long_and_scattered_requests() {
                data::long_and_scattered_requests($backend);
            }

            #[test]
            fn full_channel_hands_back() {
                limits::full_channel_hands_back($backend);
            }

            #[test]
            fn bad_requests_complete_with_a_status() {
                limits::bad_requests_complete_with_a_status($backend);
            }

            #[test]
            fn dropped_channel_frees_its_buffers() {
                limits::dropped_channel_frees_its_buffers($backend);
            }

            #[test]
            fn engine_may_end_with_requests_in_flight() {
                limits::engine_may_end_with_requests_in_flight($backend);
            }
        }
    };
}

suite!(malloc, Backend::Malloc);
suite!(error, Backend::Error);
suite!(error_cached, Backend::Cached);
suite!(delay, Backend::Delay);
suite!(split, Backend::Split);
suite!(counted, Backend::Counted);
suite!(limited, Backend::Limited);
suite!(mapped, Backend::Mapped);
suite!(mapped_split, Backend::MappedSplit);
suite!(uring_direct, Backend::Uring(backends::File::OnDisk));
suite!(uring_buffered, Backend::Uring(backends::File::Buffered));
suite!(uring_shm, Backend::Uring(backends::File::InMemory));
suite!(uring_loop, Backend::Uring(backends::File::Loop));
suite!(aio_direct, Backend::Aio(backends::File::OnDisk));
suite!(aio_buffered, Backend::Aio(backends::File::Buffered));
suite!(aio_shm, Backend::Aio(backends::File::InMemory));
suite!(aio_loop, Backend::Aio(backends::File::Loop));
