//! A bdev of a daemon as a disk: written and read by a host over NVMe/TCP.
//!
//! Not here: the target's own tests.

use device::nvme_tcp::{flush, read, write};
use serde_json::{Value, json};

use super::host::Queue;
use super::{NQN, address, free_port};
use crate::daemon::Daemon;

/// A bdev, exported.
pub(crate) struct Disk {
    _admin: Queue,
    io: Queue,
    block_bytes: u32,
}

impl Disk {
    /// Exports a bdev. One at a time.
    pub(crate) fn of(daemon: &Daemon, bdev: &str) -> Self {
        let port = free_port();
        // There from the last time, maybe.
        let _ = daemon.call("nvmf_create_transport", json!({ "trtype": "TCP" }));
        daemon.ask("nvmf_create_subsystem", json!({ "nqn": NQN, "allow_any_host": true }));
        let namespace = json!({ "nqn": NQN, "namespace": { "bdev_name": bdev } });
        daemon.ask("nvmf_subsystem_add_ns", namespace);
        let listen_address: Value = address("127.0.0.1", &port.to_string());
        let listener = json!({ "nqn": NQN, "listen_address": listen_address });
        daemon.ask("nvmf_subsystem_add_listener", listener);
        let block_bytes = daemon.bdev(bdev)["block_size"].as_u64().unwrap() as u32;
        let (admin, facts) = Queue::admin(port, false).unwrap();
        let io = Queue::io(port, false, facts.cntlid, 1).unwrap();
        Self { _admin: admin, io, block_bytes }
    }

    /// Whether it could be written.
    pub(crate) fn write(&mut self, offset_bytes: u64, bytes: &[u8]) -> bool {
        let (at, blocks) = self.blocks(offset_bytes, bytes.len());
        let command = write(1, at, blocks, self.block_bytes, false);
        self.io.call(command, bytes.to_vec()).unwrap().0.status().is_ok()
    }

    /// What is there, if it could be read.
    pub(crate) fn read(&mut self, offset_bytes: u64, len: usize) -> Option<Vec<u8>> {
        let (at, blocks) = self.blocks(offset_bytes, len);
        let command = read(1, at, blocks, self.block_bytes);
        let (cqe, bytes) = self.io.call(command, vec![0; len]).unwrap();
        cqe.status().is_ok().then_some(bytes)
    }

    /// Whether it could be flushed.
    pub(crate) fn flush(&mut self) -> bool {
        self.io.call(flush(1), Vec::new()).unwrap().0.status().is_ok()
    }

    fn blocks(&self, offset_bytes: u64, len: usize) -> (u64, u32) {
        (offset_bytes / u64::from(self.block_bytes), len as u32 / self.block_bytes)
    }

    /// It is no disk any more.
    pub(crate) fn close(self, daemon: &Daemon) {
        drop(self);
        daemon.ask("nvmf_delete_subsystem", json!({ "nqn": NQN }));
    }
}
