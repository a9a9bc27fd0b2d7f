//! The NVMe/TCP target of a real service, asked over real sockets.
//!
//! | file | who asks |
//! |---|---|
//! | `host` | our own initiator's core with a socket, to ask with |
//! | `disk` | it, for tests of something else that need I/O |
//! | `initiator` | it: every command, many connections, bad peers, kill -9 |
//! | `crossings` | it: what crosses on the wire |
//! | `health` | it: the error log, critical warnings, writes of a path that is lost |
//! | `decode` | Wireshark's dissector, which looks on |
//! | `endings` | it: what waits when the service stops, what is late when it starts |
//! | `keys` | a host that proves who it is |
//! | `methods` | clients of JSON-RPC: SPDK's shapes, refusals, saving and loading |
//! | `linux` | a Linux kernel in QEMU: file systems, paths, digests |

mod crossings;
mod decode;
pub(crate) mod disk;
mod endings;
mod health;
pub(crate) mod host;
mod initiator;
mod keys;
mod linux;
mod methods;

pub(crate) use host::Queue;

use std::net::TcpListener;

use serde_json::{Value, json};

use crate::daemon::Daemon;

pub(crate) const NQN: &str = "nqn.2016-06.io.spdk:cnode1";
const HOST: &str = "nqn.2014-08.org.nvmexpress:uuid:0f01fb42-9f7f-4856-b0b3-51e60b8de349";

/// A port that nobody listens at.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// `listen_address`.
pub(crate) fn address(traddr: &str, port: &str) -> Value {
    json!({ "trtype": "TCP", "adrfam": "IPv4", "traddr": traddr, "trsvcid": port })
}

/// Exports a bdev, and says at which port.
pub(crate) fn export(daemon: &Daemon, bdev: &str) -> u16 {
    let port = free_port();
    daemon.ask("nvmf_create_transport", json!({ "trtype": "TCP" }));
    daemon.ask("nvmf_create_subsystem", json!({ "nqn": NQN, "allow_any_host": true }));
    daemon.ask("nvmf_subsystem_add_ns", json!({ "nqn": NQN, "namespace": { "bdev_name": bdev } }));
    let listen_address = address("127.0.0.1", &port.to_string());
    daemon.ask(
        "nvmf_subsystem_add_listener",
        json!({ "nqn": NQN, "listen_address": listen_address }),
    );
    port
}
