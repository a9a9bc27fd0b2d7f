//! Parity kernels side by side: every kernel that this CPU has, ISA-L where it is installed, and
//! plain reads and copies of as many bytes.
//!
//! Rates are bytes of data (not of parity) per second. Criterion runs its cases one after another,
//! so on a machine that others use too a ratio of two of them means little: for ratios run the
//! example `parity_ratios`, which alternates. `RAID456_PARITY` limits the bench to one kernel.
//!
//! Not here: the reference kernel, which is for reading.

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput};
use parity::Kernel;
use perf::isal::Isal;
use perf::kernels::{Contender, Shape, Stripes, Work};
use std::hint::black_box;
use std::time::Duration;

const STRIP_BYTES: [usize; 3] = [4 << 10, 64 << 10, 128 << 10];

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    bench_all(&mut criterion);
    criterion.final_summary();
}

fn bench_all(criterion: &mut Criterion) {
    let forced = std::env::var("RAID456_PARITY").ok();
    let kernels: Vec<&'static dyn Kernel> = match &forced {
        Some(name) => match parity::select(Some(name)) {
            Ok(kernel) => vec![kernel],
            Err(error) => return eprintln!("RAID456_PARITY: {error}"),
        },
        None => parity::available()[1..].to_vec(),
    };
    let isal = Isal::open().inspect_err(|error| eprintln!("without ISA-L: {error}")).ok();
    for (work, widths) in
        [(Work::Xor, &[4, 8][..]), (Work::Pq, &[4, 8, 16]), (Work::TwoData, &[4, 8, 16])]
    {
        for &data_strips in widths {
            for strip_bytes in STRIP_BYTES {
                let shape = Shape { work, data_strips, strip_bytes };
                let mut contenders: Vec<_> =
                    kernels.iter().map(|kernel| Contender::kernel(*kernel, shape)).collect();
                contenders.extend(isal.map(|isal| Contender::isal(isal, shape)));
                bench_shape(criterion, shape, &contenders);
            }
        }
    }
    for bytes in [32 << 10, 512 << 10, 64 << 20] {
        bench_memory(criterion, bytes);
    }
}

fn bench_shape(criterion: &mut Criterion, shape: Shape, contenders: &[Contender]) {
    let mut stripes = Stripes::new(shape, 0);
    let mut group = criterion.benchmark_group(format!("{} {shape}", shape.work));
    short(&mut group).throughput(Throughput::BytesDecimal(shape.data_bytes() as u64));
    for mut stripe in stripes.cut() {
        for contender in contenders {
            group.bench_function(contender.name(), |bencher| {
                bencher.iter(|| contender.run(black_box(&mut stripe)));
            });
        }
    }
    group.finish();
}

fn bench_memory(criterion: &mut Criterion, bytes: usize) {
    let (source, mut target) = (vec![1_u64; bytes / 8], vec![0_u64; bytes / 8]);
    let mut group = criterion.benchmark_group(format!("memory {} KiB", bytes >> 10));
    short(&mut group).throughput(Throughput::BytesDecimal(bytes as u64));
    group.bench_function("read", |bencher| {
        bencher.iter(|| black_box(&source).iter().fold(0, |all, word| all | word));
    });
    group.bench_function("copy", |bencher| {
        bencher.iter(|| black_box(&mut target).copy_from_slice(black_box(&source)));
    });
    group.finish();
}

/// Windows long enough to settle and short enough to see all shapes in a few minutes.
fn short<'a, 'b>(
    group: &'b mut BenchmarkGroup<'a, WallTime>,
) -> &'b mut BenchmarkGroup<'a, WallTime> {
    group
        .sample_size(20)
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_millis(400))
}
