//! The NVMe/TCP target of a real service, asked over real sockets.
//!
//! | file | who asks |
//! |---|---|
//! | `host` | our own initiator's core with a socket, to ask with |
//! | `initiator` | it: every command, many connections, bad peers, kill -9 |
//! | `crossings` | it: what crosses on the wire |
//! | `decode` | Wireshark's dissector, which looks on |
//! | `endings` | it: what waits when the service stops, what is late when it starts |
//! | `keys` | a host that proves who it is |
//! | `methods` | clients of JSON-RPC: SPDK's shapes, refusals, saving and loading |
//! | `linux` | a Linux kernel in QEMU: file systems, paths, digests |

mod crossings;
mod decode;
mod endings;
mod host;
mod initiator;
mod keys;
mod linux;
mod methods;

use std::net::TcpListener;

use serde_json::{Value, json};

const NQN: &str = "nqn.2016-06.io.spdk:cnode1";
const HOST: &str = "nqn.2014-08.org.nvmexpress:uuid:0f01fb42-9f7f-4856-b0b3-51e60b8de349";

/// A port that nobody listens at.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// `listen_address`.
fn address(traddr: &str, port: &str) -> Value {
    json!({ "trtype": "TCP", "adrfam": "IPv4", "traddr": traddr, "trsvcid": port })
}
