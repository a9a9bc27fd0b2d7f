//! Parity work as the kernel benches do it: stripes in memory, and who computes on them.
//!
//! A [`Shape`] says what is computed over how many strips of which size, [`Stripes`] holds as many
//! stripes of it as fit in so many bytes, and a [`Contender`] is a parity kernel, ISA-L or plain
//! reading and copying, which runs on one [`Stripe`] at a time.
//!
//! ```text
//! a stripe    | D0 | D1 | D2 | .. | Dn-1 | P | Q |      strips start on pages
//! Xor         |<------ sources -------->|out|           no Q
//! Pq          |<------ sources -------->|out|out|
//! TwoData     |out |out |<------ inputs ------->|       D0 and D1 are lost
//! ```
//!
//! Strips lie side by side, so their distance is a power of two and they compete for the same sets
//! of the caches. That is the layout which a pool of power-of-two buffers gives a real array.
//!
//! Not here: clocks, rounds and tables (`examples/parity_ratios.rs`, `benches/parity.rs`).

use crate::isal::{Isal, RecoveryTables};
use parity::{Kernel, Lost};
use std::fmt::{self, Display, Formatter};
use std::hint::black_box;

/// Where strips start.
const STRIP_ALIGN_BYTES: usize = 4096;

/// What is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// P of all data strips.
    Xor,
    /// P and Q of all data strips.
    Pq,
    /// The first two data strips from the others, P and Q.
    TwoData,
}

/// The work, and the stripe that it is done on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// What is computed.
    pub work: Work,
    /// Data strips of the stripe.
    pub data_strips: usize,
    /// Bytes of each strip, a multiple of 64.
    pub strip_bytes: usize,
}

impl Shape {
    /// Bytes of data that one stripe protects: what rates are counted in.
    pub fn data_bytes(self) -> usize {
        self.data_strips * self.strip_bytes
    }

    /// Bytes of a stripe in memory.
    pub fn stripe_bytes(self) -> usize {
        (self.data_strips + self.parity_strips()) * self.strip_bytes
    }

    fn parity_strips(self) -> usize {
        match self.work {
            Work::Xor => 1,
            Work::Pq | Work::TwoData => 2,
        }
    }

    /// md's order of a stripe whose first data strip follows Q.
    fn exponents(self) -> Vec<u8> {
        (0..self.data_strips).map(|i| u8::try_from(i).expect("md's widest is 253")).collect()
    }
}

impl Display for Shape {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (data, parities) = (self.data_strips, self.parity_strips());
        write!(f, "{data}+{parities} {} KiB", self.strip_bytes >> 10)
    }
}

impl Display for Work {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Xor => "XOR",
            Self::Pq => "P+Q",
            Self::TwoData => "two data strips",
        })
    }
}

/// Memory for stripes of one shape.
#[derive(Debug)]
pub struct Stripes {
    shape: Shape,
    memory: Vec<u8>,
    start: usize,
    count: usize,
}

/// One stripe, cut up for its work.
#[derive(Debug)]
pub struct Stripe<'a> {
    inputs: Vec<&'a [u8]>,
    outputs: [&'a mut [u8]; 2],
}

impl Stripes {
    /// As many stripes as fit in `bytes`, at least one, full of noise and with right parities.
    pub fn new(shape: Shape, bytes: usize) -> Self {
        let count = (bytes / shape.stripe_bytes()).max(1);
        let len = count * shape.stripe_bytes();
        let mut memory = vec![0; len + STRIP_ALIGN_BYTES];
        let start = memory.as_ptr().align_offset(STRIP_ALIGN_BYTES);
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        for word in memory[start..start + len].as_chunks_mut::<8>().0 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            *word = state.to_ne_bytes();
        }
        let mut stripes = Self { shape, memory, start, count };
        stripes.protect();
        stripes
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Every stripe, cut up for the shape's work.
    pub fn cut(&mut self) -> Vec<Stripe<'_>> {
        let shape = self.shape;
        self.stripes_mut().map(|stripe| Stripe::cut(stripe, shape)).collect()
    }

    fn stripes_mut(&mut self) -> impl Iterator<Item = &mut [u8]> {
        let len = self.count * self.shape.stripe_bytes();
        self.memory[self.start..self.start + len].chunks_exact_mut(self.shape.stripe_bytes())
    }

    /// Puts the parities where recovery will read them.
    fn protect(&mut self) {
        let kernel = parity::select(None).expect("there is always a kernel");
        let shape = self.shape;
        let exponents = shape.exponents();
        for stripe in self.stripes_mut() {
            let (data, parities) = stripe.split_at_mut(shape.data_bytes());
            let data: Vec<&[u8]> = data.chunks_exact(shape.strip_bytes).collect();
            let (p, q) = parities.split_at_mut(shape.strip_bytes);
            match shape.work {
                Work::Xor => kernel.xor_gen(p, &data),
                Work::Pq | Work::TwoData => kernel.pq_gen(p, q, &data, &exponents),
            }
        }
    }
}

impl<'a> Stripe<'a> {
    fn cut(stripe: &'a mut [u8], shape: Shape) -> Self {
        let len = shape.strip_bytes;
        let (inputs, outputs) = match shape.work {
            Work::Xor | Work::Pq => stripe.split_at_mut(shape.data_bytes()),
            Work::TwoData => {
                let (lost, inputs) = stripe.split_at_mut(2 * len);
                (inputs, lost)
            }
        };
        let (first, second) = outputs.split_at_mut(len);
        let inputs: &'a [u8] = inputs;
        Self { inputs: inputs.chunks_exact(len).collect(), outputs: [first, second] }
    }

    /// What the work has written.
    pub fn outputs(&self) -> [&[u8]; 2] {
        self.outputs.each_ref().map(|output| &**output)
    }

    /// Makes the outputs wrong, so that the next work can be seen to have been done.
    pub fn spoil(&mut self) {
        for output in &mut self.outputs {
            output.fill(0x5a);
        }
    }
}

/// How a contender computes.
#[derive(Clone, Debug)]
enum Engine {
    Kernel(&'static dyn Kernel),
    Streaming(&'static dyn Kernel),
    Isal(Isal, RecoveryTables),
    Read,
    Copy,
}

/// A parity kernel or ISA-L, ready for one shape, or what memory alone would allow.
#[derive(Clone, Debug)]
pub struct Contender {
    name: String,
    engine: Engine,
    shape: Shape,
    exponents: Vec<u8>,
}

impl Contender {
    /// A kernel with ordinary stores.
    pub fn kernel(kernel: &'static dyn Kernel, shape: Shape) -> Self {
        Self::new(kernel.name().to_owned(), Engine::Kernel(kernel), shape)
    }

    /// A kernel with stores past the caches, for work that has such a form.
    pub fn streaming(kernel: &'static dyn Kernel, shape: Shape) -> Option<Self> {
        let name = format!("{}, streaming", kernel.name());
        let has_form = shape.work != Work::TwoData;
        has_form.then(|| Self::new(name, Engine::Streaming(kernel), shape))
    }

    /// ISA-L: `xor_gen`, `pq_gen`, and `ec_encode_data` for recovery, for which it has no
    /// function of its own.
    pub fn isal(isal: Isal, shape: Shape) -> Self {
        let tables = isal.recovery_tables(&shape.exponents()[2..], 0, 1);
        Self::new("ISA-L".to_owned(), Engine::Isal(isal, tables), shape)
    }

    /// Reads the inputs and computes nothing worth while.
    pub fn read(shape: Shape) -> Self {
        Self::new("read".to_owned(), Engine::Read, shape)
    }

    /// Copies one input to one output.
    pub fn copy(shape: Shape) -> Self {
        Self::new("copy".to_owned(), Engine::Copy, shape)
    }

    fn new(name: String, engine: Engine, shape: Shape) -> Self {
        Self { name, engine, shape, exponents: shape.exponents() }
    }

    /// The kernel's name, ISA-L's, or that of the plain operation.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Bytes that one run counts for: those that were copied, or the stripe's data.
    pub fn bytes(&self) -> usize {
        match self.engine {
            Engine::Copy => self.shape.strip_bytes,
            _ => self.shape.data_bytes(),
        }
    }

    /// Does the shape's work on one stripe.
    pub fn run(&self, stripe: &mut Stripe<'_>) {
        let Stripe { inputs, outputs: [first, second] } = stripe;
        let exponents = &self.exponents;
        match (&self.engine, self.shape.work) {
            (Engine::Kernel(kernel), Work::Xor) => kernel.xor_gen(first, inputs),
            (Engine::Kernel(kernel), Work::Pq) => kernel.pq_gen(first, second, inputs, exponents),
            (Engine::Kernel(kernel) | Engine::Streaming(kernel), Work::TwoData) => {
                let (x, y) = (Lost { out: first, exponent: 0 }, Lost { out: second, exponent: 1 });
                let (others, parities) = inputs.split_at(inputs.len() - 2);
                let (p, q) = (parities[0], parities[1]);
                kernel.recover_two_data(x, y, p, q, others, &exponents[2..]);
            }
            (Engine::Streaming(kernel), Work::Xor) => kernel.xor_gen_stream(first, inputs),
            (Engine::Streaming(kernel), Work::Pq) => {
                kernel.pq_gen_stream(first, second, inputs, exponents);
            }
            (Engine::Isal(isal, _), Work::Xor) => isal.xor_gen(first, inputs),
            (Engine::Isal(isal, _), Work::Pq) => isal.pq_gen(first, second, inputs),
            (Engine::Isal(isal, tables), Work::TwoData) => {
                isal.recover_two_data(tables, first, second, inputs);
            }
            (Engine::Read, _) => {
                black_box(inputs.iter().fold([0; 8], |bits, input| any_bits(bits, input)));
            }
            (Engine::Copy, _) => first.copy_from_slice(inputs[0]),
        }
    }
}

/// The bits that are set in any of the input's lines, in eight words so that compilers use vectors.
fn any_bits(mut bits: [u64; 8], input: &[u8]) -> [u64; 8] {
    for line in input.as_chunks::<64>().0 {
        for (bits, word) in bits.iter_mut().zip(line.as_chunks().0) {
            *bits |= u64::from_ne_bytes(*word);
        }
    }
    bits
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: everybody does the same work. Method: spoil the outputs, run, compare with what was
    /// there, for ISA-L (where it is installed) and all kernels.
    #[test]
    fn contenders_agree_on_every_work() {
        let isal = Isal::open();
        for work in [Work::Xor, Work::Pq, Work::TwoData] {
            let shape = Shape { work, data_strips: 5, strip_bytes: 1024 };
            let mut contenders: Vec<_> = parity::available()
                .iter()
                .map(|kernel| Contender::kernel(*kernel, shape))
                .collect();
            contenders.extend(
                parity::available()
                    .iter()
                    .filter_map(|&kernel| Contender::streaming(kernel, shape)),
            );
            contenders.extend(isal.iter().map(|isal| Contender::isal(*isal, shape)));
            let mut stripes = Stripes::new(shape, 3 * shape.stripe_bytes());
            assert_eq!(stripes.count(), 3);
            for mut stripe in stripes.cut() {
                let right = stripe.outputs().map(<[u8]>::to_vec);
                for contender in &contenders {
                    stripe.spoil();
                    assert_ne!(stripe.outputs().map(<[u8]>::to_vec), right);
                    contender.run(&mut stripe);
                    let name = contender.name();
                    assert_eq!(stripe.outputs()[0], right[0], "{work}, first output, {name}");
                    assert_eq!(stripe.outputs()[1], right[1], "{work}, second output, {name}");
                }
            }
        }
    }

    #[test]
    fn shapes_count_data_and_memory() {
        let shape = Shape { work: Work::Pq, data_strips: 8, strip_bytes: 64 << 10 };
        assert_eq!(shape.data_bytes(), 512 << 10);
        assert_eq!(shape.stripe_bytes(), 640 << 10);
        assert_eq!(shape.to_string(), "8+2 64 KiB");
        assert_eq!(Stripes::new(shape, 0).count(), 1, "there is always one");
    }
}
