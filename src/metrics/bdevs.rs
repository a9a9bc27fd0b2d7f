//! Metrics of bdevs: operations, bytes, times, errors.
//!
//! Latency histograms are of requests that were watched: all of them while the bdev has a limit or a
//! histogram of SPDK's, else one at a time on each channel. Counters and times in flight are of all requests.
//!
//! Not here: what an array makes of its members (`arrays`).

use device::{BdevInfo, IoKind, IoStatus};

use super::families::{Families, Family};
use super::seconds;
use crate::control::survey::BdevSurvey;
use crate::control::{Claim, Survey};

/// The kinds of requests as labels.
fn op(kind: IoKind) -> &'static str {
    match kind {
        IoKind::Read => "read",
        IoKind::Write => "write",
        IoKind::Flush => "flush",
        IoKind::Unmap => "unmap",
        IoKind::WriteZeroes => "write_zeroes",
    }
}

fn status(status: IoStatus) -> &'static str {
    match status {
        IoStatus::Ok => "ok",
        IoStatus::MediaError => "media_error",
        IoStatus::InvalidRequest => "invalid_request",
        IoStatus::NoSpace => "no_space",
        IoStatus::Unsupported => "unsupported",
        IoStatus::Aborted => "aborted",
        IoStatus::TimedOut => "timed_out",
        IoStatus::Gone => "gone",
    }
}

/// Whether the bdev does such requests, so that a counter makes sense before the first one.
fn does(info: &BdevInfo, kind: IoKind) -> bool {
    match kind {
        IoKind::Read => true,
        IoKind::Write => info.supported.write,
        IoKind::Flush => info.supported.flush,
        IoKind::Unmap => info.supported.unmap,
        IoKind::WriteZeroes => info.supported.write_zeroes,
    }
}

pub(super) fn collect(survey: &Survey, families: &mut Families) {
    identity(survey, families);
    if !survey.is_whole() {
        return;
    }
    let mut by_kind = |name, help, value: fn(&BdevSurvey, IoKind) -> f64| {
        families.counter(name, help, |family| {
            for bdev in &survey.bdevs {
                let name = &*bdev.info.name;
                for kind in IoKind::ALL.into_iter().filter(|kind| does(&bdev.info, *kind)) {
                    family.add(&[("bdev", name), ("op", op(kind))], value(bdev, kind));
                }
            }
        });
    };
    by_kind("bdev_operations_total", "Requests that were done.", |bdev, kind| {
        bdev.stats.of(kind).ios as f64
    });
    by_kind("bdev_bytes_total", "Bytes of the requests that were done.", |bdev, kind| {
        bdev.stats.of(kind).bytes as f64
    });
    by_kind(
        "bdev_operation_time_seconds_total",
        "Time that all requests together were in flight; its rate is the mean queue depth.",
        |bdev, kind| seconds(bdev.stats.of(kind).latency_ns),
    );
    latencies(survey, families);
    families.counter("bdev_errors_total", "Requests that failed.", |family| {
        for bdev in &survey.bdevs {
            errors(bdev, family);
        }
    });
}

fn identity(survey: &Survey, families: &mut Families) {
    families.gauge("bdev_info", "What a bdev is.", |family| {
        for bdev in &survey.bdevs {
            let info = &bdev.info;
            let (kind, block_size) = (bdev.kind.to_string(), info.block_size_bytes.to_string());
            let labels = [
                ("bdev", &*info.name),
                ("kind", &*kind),
                ("product", info.product_name),
                ("uuid", &*info.uuid.to_string()),
                ("block_size", &*block_size),
            ];
            family.count(&labels, 1);
        }
    });
    families.gauge("bdev_size_bytes", "Size of a bdev.", |family| {
        for bdev in &survey.bdevs {
            family.count(&[("bdev", &bdev.info.name)], bdev.info.size_bytes());
        }
    });
    families.gauge("bdev_claim_info", "By whom a bdev is used, and as what.", |family| {
        for bdev in &survey.bdevs {
            let Some(claim) = &bdev.claim else { continue };
            let role = match claim {
                Claim::Member(_) => "member",
                Claim::Base { .. } => "base",
                Claim::Split { .. } => "split",
                Claim::Log { .. } => "log",
                Claim::Spare { .. } => "spare",
                Claim::Mapped { .. } => "mapped",
                Claim::Namespace { .. } => "namespace",
                // Nobody uses it: it is on its way out.
                Claim::Removal => continue,
            };
            let name = &*bdev.info.name;
            family.count(&[("bdev", name), ("holder", claim.holder()), ("role", role)], 1);
        }
    });
    families.gauge("bdev_channels", "Channels that are open, over all reactors.", |family| {
        for bdev in &survey.bdevs {
            family.count(&[("bdev", &bdev.info.name)], bdev.channels.into());
        }
    });
}

fn latencies(survey: &Survey, families: &mut Families) {
    let name = "bdev_operation_duration_seconds";
    let help = "How long requests took, of those that were watched: all with a limit or a histogram, \
                else one at a time on each channel.";
    families.histogram(name, help, |family| {
        for bdev in &survey.bdevs {
            for kind in IoKind::ALL {
                let latencies = bdev.stats.latencies_of(kind);
                // One that nobody uses needs no buckets; they are most of a scrape.
                if latencies.count() > 0 {
                    let labels = [("bdev", &*bdev.info.name), ("op", op(kind))];
                    family.latencies(&labels, latencies);
                }
            }
        }
    });
}

/// What has failed; what usually fails is there before it does, so that the first failure is an increase.
fn errors(bdev: &BdevSurvey, family: &mut Family) {
    for kind in IoKind::ALL {
        for (failure, count) in bdev.stats.failed_of(kind).iter() {
            let usual = failure == IoStatus::MediaError
                && matches!(kind, IoKind::Read | IoKind::Write | IoKind::Flush)
                && does(&bdev.info, kind);
            if usual || count > 0 {
                let name = &*bdev.info.name;
                let labels = [("bdev", name), ("op", op(kind)), ("status", status(failure))];
                family.count(&labels, count);
            }
        }
    }
}
