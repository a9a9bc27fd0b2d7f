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
        self.shard.borrow_mut().submit(self.client, io)
    }

    fn poll(&mut self, done: &mut Vec<Completion>) -> usize {
        self.shard.borrow_mut().take_done(self.client, COMPLETIONS_PER_POLL_MAX, done)
    }
}

impl Drop for ArrayChannel {
    fn drop(&mut self) {
        self.shard.borrow_mut().remove_client(self.client);
    }
}
