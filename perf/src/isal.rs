//! Intel's ISA-L, opened at run time where it is installed (Debian package `libisal2`), as the
//! peer that the parity kernels are measured against in the same process.
//!
//! ```text
//! Isal::open --dlopen--> libisal.so.2      xor_gen, pq_gen          array: sources.., P[, Q]
//!                                          ec_init_tables           matrix -> 32 bytes a coefficient
//!                                          ec_encode_data           inputs.., outputs..
//! ```
//!
//! The only unsafe code of this crate: looking functions up by name, and calling them with pointers
//! made from slices whose lengths and alignments were checked. What ISA-L's headers ask for
//! (`raid.h`, `erasure_code.h`): P and Q functions want pointers aligned to a vector and whole
//! vectors of bytes, the erasure code wants neither.
//!
//! Not here: measuring (`kernels`); any use outside benches.

#![expect(unsafe_code, reason = "a C library, opened at run time")]

use parity::gf;
use std::ffi::{CStr, c_int, c_uchar, c_void};
use std::mem::transmute;
use std::ptr::{null, null_mut};
use thiserror::Error;

/// Pointers and lengths that P and Q functions are given are multiples of this: the widest vector.
const VECTOR_BYTES: usize = 64;

/// Most pointers in one call: enough for any shape that is measured, and little to fill.
const POINTERS_MAX: usize = 40;

/// Bytes that ISA-L expands one coefficient into.
const TABLE_BYTES: usize = 32;

type Gen = unsafe extern "C" fn(vects: c_int, len: c_int, array: *mut *mut c_void) -> c_int;
type InitTables =
    unsafe extern "C" fn(k: c_int, rows: c_int, matrix: *const c_uchar, tables: *mut c_uchar);
type EncodeData = unsafe extern "C" fn(
    len: c_int,
    k: c_int,
    rows: c_int,
    tables: *const c_uchar,
    data: *const *const c_uchar,
    coding: *const *mut c_uchar,
);

/// Why ISA-L cannot be had.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum IsalMissing {
    /// The library is not there.
    #[error("libisal.so.2 cannot be opened: install Debian's libisal2 to compare with ISA-L")]
    Library,
    /// The library has no such function.
    #[error("libisal.so.2 has no function {name}: version 2.30 does")]
    Function {
        /// Its name in C.
        name: String,
    },
}

/// The library's functions that are compared with.
#[derive(Clone, Copy, Debug)]
pub struct Isal {
    xor_gen: Gen,
    pq_gen: Gen,
    init_tables: InitTables,
    encode_data: EncodeData,
}

/// The coefficients that give two lost data strips, expanded as [`Isal::recover_two_data`] needs
/// them.
#[derive(Clone, Debug)]
pub struct RecoveryTables {
    tables: Vec<u8>,
    inputs: usize,
}

impl Isal {
    /// Opens the library. It stays open as long as the process lives.
    ///
    /// # Errors
    /// When it is not installed, or lacks a function.
    pub fn open() -> Result<Self, IsalMissing> {
        // SAFETY: the name is a C string; the library's initialisers only look at the CPU.
        let library = unsafe { libc::dlopen(c"libisal.so.2".as_ptr(), libc::RTLD_NOW) };
        if library.is_null() {
            return Err(IsalMissing::Library);
        }
        let xor_gen = function(library, c"xor_gen")?;
        let pq_gen = function(library, c"pq_gen")?;
        let init_tables = function(library, c"ec_init_tables")?;
        let encode_data = function(library, c"ec_encode_data")?;
        Ok(Self {
            // SAFETY: the address is that of a function with this type in `raid.h`, and the
            // library is never closed.
            xor_gen: unsafe { transmute::<*mut c_void, Gen>(xor_gen) },
            // SAFETY: as above.
            pq_gen: unsafe { transmute::<*mut c_void, Gen>(pq_gen) },
            // SAFETY: as above, in `erasure_code.h`; it reads the matrix and writes the tables.
            init_tables: unsafe { transmute::<*mut c_void, InitTables>(init_tables) },
            // SAFETY: as above; it reads all but the outputs.
            encode_data: unsafe { transmute::<*mut c_void, EncodeData>(encode_data) },
        })
    }

    /// `p` := xor of at least two sources.
    ///
    /// # Panics
    /// When there are fewer, or lengths differ or are no multiple of 64 bytes, or a slice is not
    /// aligned to 64 bytes.
    pub fn xor_gen(&self, p: &mut [u8], sources: &[&[u8]]) {
        assert!(sources.len() >= 2, "ISA-L's xor_gen takes at least two sources");
        let len = p.len();
        let mut array = [null_mut(); POINTERS_MAX];
        let count = fill(&mut array, sources, [p], len);
        // SAFETY: the pointers are to slices of `len` bytes, aligned and cut as `raid.h` demands;
        // the last is ours to write, and only that is written.
        let refused = unsafe { (self.xor_gen)(count, len_int(len), array.as_mut_ptr()) };
        assert!(refused == 0, "ISA-L's xor_gen refused {} sources of {len} bytes", sources.len());
    }

    /// `p` := xor of at least two sources, `q` := Σ g^i · source i.
    ///
    /// # Panics
    /// As [`Isal::xor_gen`].
    pub fn pq_gen(&self, p: &mut [u8], q: &mut [u8], sources: &[&[u8]]) {
        assert!(sources.len() >= 2, "ISA-L's pq_gen takes at least two sources");
        let len = p.len();
        let mut array = [null_mut(); POINTERS_MAX];
        let count = fill(&mut array, sources, [p, q], len);
        // SAFETY: as in `xor_gen`; the last two are ours to write.
        let refused = unsafe { (self.pq_gen)(count, len_int(len), array.as_mut_ptr()) };
        assert!(refused == 0, "ISA-L's pq_gen refused {} sources of {len} bytes", sources.len());
    }

    /// The erasure code's coefficients for the data strips with exponents `x` and `y`, from the
    /// data strips with the exponents `others`, P and Q, in this order.
    ///
    /// With a = g^x / (g^x + g^y) and b = 1 / (g^x + g^y): y is the sum of (a + b·g^e) · other,
    /// a·P and b·Q, and x is the same with one more in front of all but Q.
    pub fn recovery_tables(&self, others: &[u8], x: u8, y: u8) -> RecoveryTables {
        let b = gf::inverse(gf::exp(x) ^ gf::exp(y));
        let a = gf::mul(gf::exp(x), b);
        let mut of_y: Vec<u8> = others.iter().map(|&e| a ^ gf::mul(b, gf::exp(e))).collect();
        of_y.extend([a, b]);
        let mut matrix: Vec<u8> = of_y.iter().map(|coefficient| coefficient ^ 1).collect();
        *matrix.last_mut().expect("Q is an input") = b;
        matrix.extend(&of_y);

        let inputs = of_y.len();
        let mut tables = vec![0; TABLE_BYTES * matrix.len()];
        // SAFETY: the matrix has two rows of `inputs` bytes, and the tables 32 bytes for each.
        unsafe {
            (self.init_tables)(len_int(inputs), 2, matrix.as_ptr(), tables.as_mut_ptr());
        }
        RecoveryTables { tables, inputs }
    }

    /// The two lost data strips from the inputs that the tables were made for.
    ///
    /// # Panics
    /// When the number of inputs or a length is another.
    pub fn recover_two_data(
        &self,
        tables: &RecoveryTables,
        x: &mut [u8],
        y: &mut [u8],
        inputs: &[&[u8]],
    ) {
        let len = x.len();
        assert!(inputs.len() == tables.inputs, "{} inputs for other tables", inputs.len());
        assert!(inputs.len() <= POINTERS_MAX, "more inputs than are ever measured");
        assert!(y.len() == len, "the second output is not as long as the first");
        let mut data = [null(); POINTERS_MAX];
        for (pointer, input) in data.iter_mut().zip(inputs) {
            assert!(input.len() == len, "an input is not as long as the outputs");
            *pointer = input.as_ptr();
        }
        let coding = [x.as_mut_ptr(), y.as_mut_ptr()];
        let k = len_int(inputs.len());
        // SAFETY: `k` inputs and two outputs of `len` bytes each, and the tables for just as many;
        // only the outputs are written, and they are ours.
        unsafe {
            (self.encode_data)(
                len_int(len),
                k,
                2,
                tables.tables.as_ptr(),
                data.as_ptr(),
                coding.as_ptr(),
            );
        }
    }
}

/// Puts the slices' addresses side by side, as P and Q functions take them, and counts them.
///
/// In place and without a move: a copy of the array right after it was written would cost as much
/// as computing half a kilobyte of parity.
#[inline]
fn fill<const N: usize>(
    array: &mut [*mut c_void; POINTERS_MAX],
    sources: &[&[u8]],
    targets: [&mut [u8]; N],
    len: usize,
) -> c_int {
    let count = sources.len() + N;
    assert!(count <= POINTERS_MAX, "{count} slices: at most {POINTERS_MAX} are ever measured");
    let sources = sources.iter().map(|source| (source.as_ptr().cast_mut(), source.len()));
    let targets = targets.into_iter().map(|target| (target.as_mut_ptr(), target.len()));
    for (pointer, (first, found)) in array.iter_mut().zip(sources.chain(targets)) {
        assert!(found == len, "a slice has {found} bytes: {len} are needed");
        assert!(
            len.is_multiple_of(VECTOR_BYTES) && first.addr().is_multiple_of(VECTOR_BYTES),
            "ISA-L's P and Q functions need whole vectors of {VECTOR_BYTES} bytes, aligned"
        );
        *pointer = first.cast();
    }
    len_int(count)
}

fn len_int(len: usize) -> c_int {
    c_int::try_from(len).expect("ISA-L counts in C's int")
}

fn function(library: *mut c_void, name: &CStr) -> Result<*mut c_void, IsalMissing> {
    // SAFETY: the library is open, and the name is a C string.
    let address = unsafe { libc::dlsym(library, name.as_ptr()) };
    if address.is_null() {
        return Err(IsalMissing::Function { name: name.to_string_lossy().into_owned() });
    }
    Ok(address)
}
