//! How often methods are called, how that ends, and how long it takes.
//!
//! Labels are bounded: methods are those that there are, and `unknown`; codes are those that they answer.
//!
//! Not here: the methods.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use reactor::{Latencies, Ticks};

use crate::metrics::{Families, Source};

/// What stands for names that no method has.
const UNKNOWN: &str = "unknown";

/// See the module's notes.
#[derive(Debug, Default)]
pub struct Meter(Mutex<BTreeMap<&'static str, Numbers>>);

#[derive(Debug, Default)]
struct Numbers {
    /// By code; 0 where all went well.
    codes: BTreeMap<i64, u64>,
    latencies: Latencies,
}

impl Meter {
    /// A call has ended. `method` is none if there is no such method.
    pub(super) fn record(&self, method: Option<&'static str>, code: i64, took: Ticks) {
        let mut methods = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let numbers = methods.entry(method.unwrap_or(UNKNOWN)).or_default();
        *numbers.codes.entry(code).or_default() += 1;
        numbers.latencies.record(took.as_nanos());
    }
}

impl Source for Meter {
    fn collect(&self, families: &mut Families) {
        let methods = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let help = "Calls of methods by how they ended: 0, or the code of the error.";
        families.counter("rpc_requests_total", help, |family| {
            for (method, numbers) in &*methods {
                for (code, count) in &numbers.codes {
                    family.count(&[("method", method), ("code", &code.to_string())], *count);
                }
            }
        });
        let help = "How long calls of methods took; for some of them that is waiting for an event.";
        families.histogram("rpc_duration_seconds", help, |family| {
            for (method, numbers) in &*methods {
                family.latencies(&[("method", method)], &numbers.latencies);
            }
        });
    }
}
