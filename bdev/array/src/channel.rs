//! A user's channel to an array on one reactor: a number and a reference to the shard there.
//!
//! Not here: everything that happens to a request (`shard`).

use crate::shard::ArrayShard;
use device::limits::COMPLETIONS_PER_POLL_MAX;
use device::{BdevIo, Completion, IoChannel};
use std::cell::RefCell;
use std::rc::Rc;

/// One user of an array on one reactor.
#[derive(Debug)]
pub(crate) struct ArrayChannel {
    shard: Rc<RefCell<ArrayShard>>,
    client: u32,
}

impl ArrayChannel {
    /// Registers with the shard; `None` when it has too many users.
    pub(crate) fn open(shard: Rc<RefCell<ArrayShard>>) -> Option<Self> {
        let client = shard.borrow_mut().add_client()?;
        Some(Self { shard, client })
    }
}

impl IoChannel for ArrayChannel {
    fn submit(&mut self, io: BdevIo) -> Result<(), BdevIo> {
        let mut shard = self.shard.borrow_mut();
        if shard.tracer.is_on() {
            return shard.submit_traced(self.client, io);
        }
        shard.submit(self.client, io)
    }

    fn poll(&mut self, done: &mut Vec<Completion>) -> usize {
        let mut shard = self.shard.borrow_mut();
        let from = done.len();
        let count = shard.take_done(self.client, COMPLETIONS_PER_POLL_MAX, done);
        if shard.tracer.has_followed() {
            shard.trace_answers(self.client, &done[from..]);
        }
        count
    }
}

impl Drop for ArrayChannel {
    fn drop(&mut self) {
        self.shard.borrow_mut().remove_client(self.client);
    }
}
