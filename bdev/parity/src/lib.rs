//! P and Q over GF(2^8): the arithmetic of RAID 4, 5 and 6 on slices of bytes.
//!
//! P is the xor of a stripe's data strips, and Q the sum of g^e · strip in GF(2^8) with a
//! coefficient of its own for every strip. Any two strips of a stripe can be computed from the
//! others (H. P. Anvin, "The mathematics of RAID-6"):
//!
//! | lost | how |
//! |---|---|
//! | P, Q or both | [`Kernel::xor_gen`], [`Kernel::q_gen`], [`Kernel::pq_gen`] |
//! | one data strip, or one and Q | [`Kernel::recover_data_from_p`], then Q |
//! | one data strip and P | [`Kernel::recover_data_from_q`], then P |
//! | two data strips | [`Kernel::recover_two_data`] |
//!
//! The crate knows nothing of arrays. It takes sources, and for each its exponent e; which strip
//! has which exponent is the layout's business. md's own order (consecutive from the strip after
//! Q) and DDF's (the position in the array, so with gaps) are the same kernel.
//!
//! ```text
//!             select(force)  ->  &'static dyn Kernel
//!                                      |
//!        reference            kernel   |   checks shapes, then runs a pass
//!        (one page,           passes   |   the algorithms, generic over Isa
//!        the definition)      isa      |   Isa, Column: a few vector operations
//!                                      |
//!                    portable    x86::avx2    x86::avx512    aarch64::neon
//! ```
//!
//! All kernels compute the same bytes: [`available`] lists those that this CPU can run, and the
//! conformance tests compare each with the reference, over source counts, lengths, alignments
//! and every pair of lost strips. The choice is made once, from what the CPU has, not by a race
//! at start: the same machine always runs the same code.
//!
//! Unsafe code is in the instruction set files alone. Sound by construction: a kernel is a token
//! that only its detection hands out, so having one proves that the CPU can run it.
//!
//! Not here: layouts, arrays, I/O, threads, allocation; erasure codes with more than two
//! parities.

#![deny(unsafe_code)]

#[cfg(target_arch = "aarch64")]
mod aarch64;
pub mod gf;
mod isa;
mod kernel;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod nibbles;
mod passes;
mod portable;
mod reference;
mod select;
mod shape;
#[cfg(target_arch = "x86_64")]
mod x86;

pub use kernel::{Kernel, Lost, Mismatch};
pub use select::{NAMES, UnknownKernel, available, select};
pub use shape::SOURCES_MAX;
