//! Methods about what is done with bdevs: statistics, latency histograms, limits.
//!
//! Not here: the counting (crate `device`).

use device::{
    Bdev, Counted, Histogram, HistogramSpec, IoKind, IoStats, IoStatus, KindStats, Reset,
};
use reactor::clock;
use rpc::RpcError;
use rpc::error::errno;
use rpc::params::{
    BdevEnableHistogram, BdevGetHistogram, BdevGetHistogramBorders, BdevGetIostat, BdevResetIostat,
    BdevSetOptions, BdevSetQosLimit, ResetMode,
};
use rpc::results::{
    BdevIostat, BordersReply, ChannelIostat, ChannelIostatReply, HistogramReply, Iostat,
    IostatReply,
};
use serde_json::Value;

use super::framework::{TICK_RATE, thread_id};
use super::{Call, Context, Effect, errno_error, json, refused};

/// Limits of requests are multiples of this many in a second, as SPDK's.
const IOS_STEP: u64 = 1000;

fn reset(mode: ResetMode) -> Reset {
    match mode {
        ResetMode::All => Reset::All,
        ResetMode::Maxmin => Reset::MaxMin,
        ResetMode::Error => Reset::Error,
        ResetMode::None => Reset::None,
    }
}

impl Call for BdevGetIostat {
    const EFFECT: Effect = Effect::Looks;

    fn call(self, context: Context<'_>) -> Result<Value, RpcError> {
        let names = match (self.names, self.name) {
            (Some(_), Some(_)) => {
                let detail = "name and names: give one of them";
                return Err(errno_error(errno::EINVAL, detail));
            }
            (names, None) => names,
            (None, Some(name)) => Some(vec![name]),
        };
        let one = names.as_ref().is_some_and(|names| names.len() == 1);
        if self.per_channel && !one {
            return Err(errno_error(errno::EINVAL, "per_channel: give the name of one bdev"));
        }
        let bdevs = match names {
            None => context.control.all_counted(),
            Some(names) => {
                let find = |name: &String| context.control.counted(name);
                let found: Result<Vec<_>, _> = names.iter().map(find).collect();
                found.map_err(|error| refused(&error))?
            }
        };
        let (tick_rate, ticks) = (TICK_RATE, clock::now().as_nanos());
        let mode = reset(self.reset_mode);
        if self.per_channel
            && let Some(bdev) = bdevs.first()
        {
            let name = bdev.info().name.clone();
            let channel = |(index, _, stats): (usize, u32, IoStats)| ChannelIostat {
                thread_id: thread_id(index),
                numbers: numbers(&stats),
            };
            let channels = bdev.stats(mode).into_iter().map(channel).collect();
            return json(ChannelIostatReply { tick_rate, ticks, name, channels });
        }
        let bdevs = bdevs.iter().map(|bdev| BdevIostat {
            name: bdev.info().name.clone(),
            numbers: numbers(&sum(bdev, mode)),
        });
        json(IostatReply { tick_rate, ticks, bdevs: bdevs.collect() })
    }
}

/// Over all reactors.
fn sum(bdev: &Counted, mode: Reset) -> IoStats {
    let mut sum = IoStats::default();
    for (_, _, stats) in bdev.stats(mode) {
        sum.merge(&stats);
    }
    sum
}

fn numbers(stats: &IoStats) -> Iostat {
    let [read, write, flush, unmap, zeroes] = IoKind::ALL.map(|kind| stats.of(kind));
    let shortest = |kind: &KindStats| match kind.min_latency_ns {
        u64::MAX => 0,
        shortest => shortest,
    };
    let failed = stats.failed.iter().filter(|(_, count)| *count > 0);
    Iostat {
        bytes_read: read.bytes,
        num_read_ops: read.ios,
        bytes_written: write.bytes,
        num_write_ops: write.ios,
        bytes_unmapped: unmap.bytes,
        num_unmap_ops: unmap.ios,
        read_latency_ticks: read.latency_ns,
        max_read_latency_ticks: read.max_latency_ns,
        min_read_latency_ticks: shortest(read),
        write_latency_ticks: write.latency_ns,
        max_write_latency_ticks: write.max_latency_ns,
        min_write_latency_ticks: shortest(write),
        unmap_latency_ticks: unmap.latency_ns,
        max_unmap_latency_ticks: unmap.max_latency_ns,
        min_unmap_latency_ticks: shortest(unmap),
        io_error: failed.map(|(status, count)| (word(status).to_owned(), count)).collect(),
        num_flush_ops: flush.ios,
        flush_latency_ticks: flush.latency_ns,
        bytes_zeroed: zeroes.bytes,
        num_write_zeroes_ops: zeroes.ios,
        write_zeroes_latency_ticks: zeroes.latency_ns,
        ..Iostat::default()
    }
}

/// SPDK's words where it has one: "failed", "aborted".
fn word(status: IoStatus) -> &'static str {
    match status {
        IoStatus::Ok => "success",
        IoStatus::MediaError => "failed",
        IoStatus::InvalidRequest => "invalid_request",
        IoStatus::NoSpace => "no_space",
        IoStatus::Unsupported => "unsupported",
        IoStatus::Aborted => "aborted",
        IoStatus::TimedOut => "timed_out",
        IoStatus::Gone => "gone",
    }
}

impl Call for BdevResetIostat {
    fn call(self, context: Context<'_>) -> Result<Value, RpcError> {
        let bdevs = match self.name {
            None => context.control.all_counted(),
            Some(name) => vec![context.control.counted(&name).map_err(|error| refused(&error))?],
        };
        for bdev in bdevs {
            drop(bdev.stats(reset(self.mode)));
        }
        Ok(Value::from(true))
    }
}

impl Call for BdevEnableHistogram {
    fn call(self, context: Context<'_>) -> Result<Value, RpcError> {
        let bdev = context.control.counted(&self.name).map_err(|error| refused(&error))?;
        if !self.enable {
            bdev.stop_histogram();
            return Ok(Value::from(true));
        }
        let kind = match self.opc.as_deref() {
            None => None,
            Some("read") => Some(IoKind::Read),
            Some("write") => Some(IoKind::Write),
            Some("unmap") => Some(IoKind::Unmap),
            Some("flush") => Some(IoKind::Flush),
            Some("write_zeroes") => Some(IoKind::WriteZeroes),
            // SPDK's code and words.
            Some(opc) => {
                return Err(RpcError::internal(format!(
                    "Invalid Io type {opc:?}: give read, write, unmap, flush or write_zeroes"
                )));
            }
        };
        let default = HistogramSpec::default();
        let spec = HistogramSpec {
            granularity: self.granularity,
            min_ns: self.min_nsec,
            max_ns: self.max_nsec.unwrap_or(default.max_ns),
        };
        let started = bdev.start_histogram(spec, kind);
        started.map_err(|error| errno_error(errno::EINVAL, error))?;
        Ok(Value::from(true))
    }
}

/// SPDK says -32603 and "Bad address" of a bdev without a histogram.
fn histogram(context: Context<'_>, name: &str) -> Result<Histogram, RpcError> {
    let bdev = context.control.counted(name).map_err(|error| refused(&error))?;
    bdev.histogram().ok_or_else(|| {
        let detail = "begin it with bdev_enable_histogram first";
        RpcError::internal(format!("Bad address: bdev {name:?} has no histogram: {detail}"))
    })
}

impl Call for BdevGetHistogram {
    const EFFECT: Effect = Effect::Looks;

    fn call(self, context: Context<'_>) -> Result<Value, RpcError> {
        let histogram = histogram(context, &self.name)?;
        let bytes: Vec<u8> =
            histogram.buckets().iter().flat_map(|count| count.to_le_bytes()).collect();
        json(HistogramReply {
            histogram: base64(&bytes),
            granularity: histogram.spec().granularity,
            min_range: histogram.min_range(),
            max_range: histogram.max_range(),
            tsc_rate: TICK_RATE,
        })
    }
}

impl Call for BdevGetHistogramBorders {
    const EFFECT: Effect = Effect::Looks;

    fn call(self, context: Context<'_>) -> Result<Value, RpcError> {
        let histogram = histogram(context, &self.name)?;
        let borders_ns: Vec<u64> =
            self.borders.iter().map(|micros| micros.saturating_mul(1000)).collect();
        json(BordersReply { borders_count: histogram.counts_up_to(&borders_ns) })
    }
}

/// RFC 4648, with padding.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let mut group = [0; 4];
        group[1..=chunk.len()].copy_from_slice(chunk);
        let group = u32::from_be_bytes(group);
        for digit in 0..4 {
            match digit <= chunk.len() {
                true => text.push(DIGITS[(group >> (18 - 6 * digit)) as usize % 64].into()),
                false => text.push('='),
            }
        }
    }
    text
}

impl Call for BdevSetQosLimit {
    fn call(self, context: Context<'_>) -> Result<Value, RpcError> {
        let Self { name, rw_ios_per_sec, rw_mbytes_per_sec, r_mbytes_per_sec, w_mbytes_per_sec } =
            self;
        let bytes = [rw_mbytes_per_sec, r_mbytes_per_sec, w_mbytes_per_sec];
        context.control.counted(&name).map_err(|error| refused(&error))?;
        if rw_ios_per_sec.is_none() && bytes.iter().all(Option::is_none) {
            return Err(errno_error(errno::EINVAL, "No rate limits specified"));
        }
        let set = context.control.set_limits(&name, |limits| {
            if let Some(ios) = rw_ios_per_sec {
                limits.rw_ios = ios.div_ceil(IOS_STEP).saturating_mul(IOS_STEP);
            }
            let places = [&mut limits.rw_bytes, &mut limits.r_bytes, &mut limits.w_bytes];
            for (place, mib) in places.into_iter().zip(bytes) {
                *place = mib.map_or(*place, |mib| mib.saturating_mul(1 << 20));
            }
        });
        set.map_err(|error| refused(&error))?;
        Ok(Value::from(true))
    }
}

impl Call for BdevSetOptions {
    fn call(self, _: Context<'_>) -> Result<Value, RpcError> {
        if let (Some(pool), Some(cache)) = (self.bdev_io_pool_size, self.bdev_io_cache_size)
            && pool <= cache
        {
            // SPDK's words.
            let detail = format!("Pool size {pool} too small for cache size {cache}");
            return Err(RpcError::invalid_params(detail));
        }
        if self.bdev_auto_examine == Some(false) {
            let detail = "bdev_auto_examine false: bdevs are always examined: leave it out";
            return Err(errno_error(errno::ENOTSUP, detail));
        }
        Ok(Value::from(true))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_standard() {
        let vectors =
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")];
        for (plain, encoded) in vectors {
            assert_eq!(base64(plain.as_bytes()), encoded);
        }
        assert_eq!(base64(&[0xfb, 0xff, 0xfe]), "+//+");
    }
}
