//! The few vector operations that the kernels are made of, one implementation per instruction set.
//!
//! A value of a type that implements [`Isa`] is the proof that this CPU has those instructions:
//! the types have no size and no public constructor, and their `detect` is the only way to one.
//! So the operations are safe to call, and the algorithms above them ([`crate::passes`]) are
//! plain safe Rust, written once.
//!
//! A pass walks over its slices column by column:
//!
//! ```text
//!              column 0          column 1                    last vectors   tail
//! source 0  |v v v v v v v v|v v v v v v v v| ...        ... |v|v|v|v|v|v|bytes|
//! source 1  |v v v v v v v v|v v v v v v v v| ...        ... |v|v|v|v|v|v|bytes|
//!   ...             |               |
//! P, Q      |v v v v v v v v|v v v v v v v v| ...        ... |v|v|v|v|v|v|bytes|
//! ```
//!
//! Everything is `inline(always)`: the whole algorithm must end up inside [`Isa::enter`]'s
//! function, the only one that is compiled with the instruction set switched on. A call left
//! over would pass every vector through memory.
//!
//! Not here: what is computed in a column ([`crate::passes`]); the choice of an instruction set
//! ([`mod@crate::select`]).

use std::fmt::Debug;

/// Proof that this CPU has an instruction set, and that set's vector operations.
pub(crate) trait Isa: Copy + Debug + Sync + 'static {
    /// The name by which users force this kernel.
    const NAME: &'static str;
    /// Bytes in one vector, at most [`VECTOR_BYTES_MAX`].
    const BYTES: usize;
    /// Vector registers.
    const REGISTERS: usize;
    /// Whether doubling costs less than [`Isa::mul`]: then Q is computed by Horner's rule, else
    /// as a sum of independent products.
    const HORNER: bool;

    /// One vector of bytes.
    type Vector: Copy;
    /// A coefficient, ready to multiply vectors with.
    type Factor: Copy;

    /// Runs `pass` over columns of `len_bytes` with the instruction set switched on.
    fn enter<P: Pass>(self, len_bytes: usize, pass: &mut P);

    /// The vector of zeros.
    fn zero(self) -> Self::Vector;
    /// Reads a slice of exactly [`Isa::BYTES`] bytes, at any alignment.
    fn load(self, from: &[u8]) -> Self::Vector;
    /// Writes a slice of exactly [`Isa::BYTES`] bytes, at any alignment.
    fn store(self, to: &mut [u8], v: Self::Vector);
    /// As [`Isa::store`], past the caches where the set can and the alignment allows it.
    /// Other threads may see it late: a pass that streams ends with [`Isa::finish_streaming`].
    #[inline(always)]
    fn store_streaming(self, to: &mut [u8], v: Self::Vector) {
        self.store(to, v);
    }
    /// Orders streaming stores before whatever this thread publishes next.
    #[inline(always)]
    fn finish_streaming(self) {}

    /// a + b in the field.
    fn xor(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// a + b + c in the field.
    #[inline(always)]
    fn xor3(self, a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector {
        self.xor(a, self.xor(b, c))
    }
    /// Bits set in either.
    fn or(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// Whether every bit is zero.
    fn is_zero(self, v: Self::Vector) -> bool;

    /// g^`exponent`.
    fn factor(self, exponent: u8) -> Self::Factor;
    /// Every byte of `v` times `factor`.
    fn mul(self, factor: Self::Factor, v: Self::Vector) -> Self::Vector;
    /// Every byte of `v` times g.
    #[inline(always)]
    fn double(self, v: Self::Vector) -> Self::Vector {
        self.mul(self.factor(1), v)
    }
}

/// A computation over equally long slices that treats every column of bytes alike.
pub(crate) trait Pass {
    /// How much of each slice is worked on at a time.
    const STRIDE: Stride;

    /// Does one column's work.
    fn column<I: Isa, const N: usize>(&mut self, isa: I, column: impl Column<I, N>);
    /// Called once, after the last column.
    #[inline(always)]
    fn finish<I: Isa>(&mut self, _isa: I) {}
}

/// How long a column is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stride {
    /// As many vectors as the registers hold: eight, or four. Walking over the sources costs more
    /// than the arithmetic (single vectors take twice the time), and strips that lie a power of
    /// two apart fight for the same cache sets, so each source is read in long runs: with 16
    /// sources eight vectors are up to 1.3 times as fast as four.
    Long {
        /// Vectors that stay in registers for each vector of a column.
        accumulators: usize,
    },
    /// Two cache lines, for few slices or cold ones. There the memory is what takes the time, and
    /// it is fastest when all slices are read in step: updates of cold parities take 0.75 of the
    /// time that they take in long columns.
    Short,
}

/// Two lines of every x86-64 and most 64-bit ARM caches.
const SHORT_BYTES: usize = 128;

/// Where in the slices a column is: N vectors beside each other.
pub(crate) trait Column<I: Isa, const N: usize>: Copy {
    /// The column's part of a slice, for [`lane`].
    type Part<'a>: AsRef<[u8]>;

    /// The column's part of a slice.
    fn part(self, from: &[u8]) -> Self::Part<'_>;
    /// All vectors of the column's part of a slice.
    #[inline(always)]
    fn load(self, isa: I, from: &[u8]) -> [I::Vector; N] {
        let part = self.part(from);
        let mut v = [isa.zero(); N];
        for (k, v) in v.iter_mut().enumerate() {
            *v = lane(isa, &part, k);
        }
        v
    }
    /// Puts the column's bytes into one slice.
    fn store(self, isa: I, to: &mut [u8], v: [I::Vector; N]);
    /// As [`Column::store`], past the caches.
    fn store_streaming(self, isa: I, to: &mut [u8], v: [I::Vector; N]);
}

/// Vector `k` of a column's part of a slice.
#[inline(always)]
pub(crate) fn lane<I: Isa>(isa: I, part: &impl AsRef<[u8]>, k: usize) -> I::Vector {
    isa.load(&part.as_ref()[k * I::BYTES..(k + 1) * I::BYTES])
}

/// Cuts `len_bytes` into columns of the pass's stride, then single vectors, then a tail.
#[inline(always)]
pub(crate) fn run<I: Isa, P: Pass>(isa: I, len_bytes: usize, pass: &mut P) {
    let vectors = match P::STRIDE {
        Stride::Long { accumulators } if I::REGISTERS / accumulators < 16 => 4,
        Stride::Long { .. } => 8,
        Stride::Short => SHORT_BYTES / I::BYTES,
    };
    let mut at = match vectors {
        2 => columns::<I, P, 2>(isa, 0, len_bytes, pass),
        4 => columns::<I, P, 4>(isa, 0, len_bytes, pass),
        _ => columns::<I, P, 8>(isa, 0, len_bytes, pass),
    };
    at = columns::<I, P, 1>(isa, at, len_bytes, pass);
    if at < len_bytes {
        pass.column(isa, Tail { at });
    }
    pass.finish(isa);
}

/// Does the columns of N vectors that fit from `at` on, and returns where they end.
#[inline(always)]
fn columns<I: Isa, P: Pass, const N: usize>(
    isa: I,
    mut at: usize,
    len_bytes: usize,
    pass: &mut P,
) -> usize {
    while len_bytes - at >= N * I::BYTES {
        pass.column(isa, Whole::<N> { at });
        at += N * I::BYTES;
    }
    at
}

/// N whole vectors from `at` on.
#[derive(Clone, Copy)]
struct Whole<const N: usize> {
    at: usize,
}

impl<I: Isa, const N: usize> Column<I, N> for Whole<N> {
    type Part<'a> = &'a [u8];

    #[inline(always)]
    fn part(self, from: &[u8]) -> &[u8] {
        &from[self.at..self.at + N * I::BYTES]
    }

    #[inline(always)]
    fn store(self, isa: I, to: &mut [u8], v: [I::Vector; N]) {
        let lanes = to[self.at..self.at + N * I::BYTES].chunks_exact_mut(I::BYTES);
        for (lane, v) in lanes.zip(v) {
            isa.store(lane, v);
        }
    }

    #[inline(always)]
    fn store_streaming(self, isa: I, to: &mut [u8], v: [I::Vector; N]) {
        let lanes = to[self.at..self.at + N * I::BYTES].chunks_exact_mut(I::BYTES);
        for (lane, v) in lanes.zip(v) {
            isa.store_streaming(lane, v);
        }
    }
}

/// No instruction set here has longer vectors.
const VECTOR_BYTES_MAX: usize = 64;

/// The last bytes from `at` on, fewer than a vector. They go through a vector on the stack:
/// strips are whole blocks, so only callers with odd lengths ever get here.
#[derive(Clone, Copy)]
struct Tail {
    at: usize,
}

impl<I: Isa> Column<I, 1> for Tail {
    type Part<'a> = [u8; VECTOR_BYTES_MAX];

    #[inline(always)]
    fn part(self, from: &[u8]) -> [u8; VECTOR_BYTES_MAX] {
        let mut part = [0; VECTOR_BYTES_MAX];
        let tail = &from[self.at..];
        part[..tail.len()].copy_from_slice(tail);
        part
    }

    #[inline(always)]
    fn store(self, isa: I, to: &mut [u8], [v]: [I::Vector; 1]) {
        let mut lane = [0; VECTOR_BYTES_MAX];
        isa.store(&mut lane[..I::BYTES], v);
        let tail = &mut to[self.at..];
        tail.copy_from_slice(&lane[..tail.len()]);
    }

    #[inline(always)]
    fn store_streaming(self, isa: I, to: &mut [u8], v: [I::Vector; 1]) {
        self.store(isa, to, v);
    }
}
