//! What a server serves.
//!
//! Not here: any method. The service that implements this trait dispatches by name, checks the
//! phase and decodes the parameters with [`crate::schema`] and [`crate::params`].

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;

use crate::error::RpcError;

/// The methods behind a server.
///
/// The requests of one connection are called in order, one after the other, on that connection's
/// thread; those of different connections at the same time. A method that [may
/// wait](Self::may_wait) gets a thread of its own instead, so that the requests behind it on the
/// connection go on; its reply then comes when it comes, and clients match replies by id.
pub trait Service: Send + Sync {
    /// Executes `method` and returns its result. `params` is an object or an array.
    ///
    /// # Errors
    ///
    /// The error for the reply; -32601 if there is no such method.
    fn call(&self, method: &str, params: Option<Value>) -> Result<Value, RpcError>;

    /// Whether `method` may take long because it waits for an event (`dm_wait`, `bdev_get_bdevs`
    /// with a timeout).
    fn may_wait(&self, method: &str) -> bool {
        let _ = method;
        false
    }

    /// Like [`call`](Self::call), for a method that may wait. A wait without an end of its own
    /// looks at `caller` every now and then (a tenth of a second is often enough) and gives up when
    /// nobody is there for the answer; otherwise the waits of clients that were killed would use
    /// up [`limits::WAITING_CALLS_MAX`](crate::limits::WAITING_CALLS_MAX).
    ///
    /// # Errors
    ///
    /// As `call`.
    fn call_waiting(
        &self,
        method: &str,
        params: Option<Value>,
        caller: &Caller,
    ) -> Result<Value, RpcError> {
        let _ = caller;
        self.call(method, params)
    }
}

/// Who is waiting for an answer.
#[derive(Clone, Default)]
pub struct Caller(Arc<AtomicBool>);

impl Caller {
    /// True once waiting makes no sense any more: the client has closed its connection, or the
    /// server is stopping and wants to send its last answers. It never turns false again.
    pub fn has_left(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    pub(crate) fn leave(&self) {
        self.0.store(true, Ordering::Release);
    }
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.has_left() { "Caller(left)" } else { "Caller(waiting)" })
    }
}
