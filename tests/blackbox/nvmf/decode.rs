//! What goes over the wire, looked at by an independent dissector: Wireshark's.
//!
//! ```text
//!   host <--> relay <--> service        the relay writes down what passes, as a capture of port 4420
//! ```
//!
//! Without `tshark` the test says so and passes; with `RAID456_REQUIRE_E2E=1` it fails.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;

use device::nvme_tcp::{compare, deallocate, flush, keep_alive, read, verify, write, write_zeroes};
use serde_json::json;

use super::host::Queue;
use super::{NQN, address, free_port};
use crate::daemon::{Place, malloc};

const BLOCK: u32 = 4096;

/// Bytes that passed, in order: on which connection, and whether to the service.
type Passed = Arc<Mutex<Vec<(u16, bool, Vec<u8>)>>>;

/// Listens, and passes everything on to `port`.
fn relay(port: u16, passed: &Passed) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let own = listener.local_addr().unwrap().port();
    let passed = Arc::clone(passed);
    thread::spawn(move || {
        for (number, host) in (0..).zip(listener.incoming().map_while(Result::ok)) {
            let service = TcpStream::connect(("127.0.0.1", port)).unwrap();
            let ways =
                [(host.try_clone(), service.try_clone(), true), (Ok(service), Ok(host), false)];
            for (from, to, inward) in ways {
                let (mut from, mut to) = (from.unwrap(), to.unwrap());
                let passed = Arc::clone(&passed);
                thread::spawn(move || {
                    let mut bytes = vec![0; 16 << 10];
                    while let Ok(len @ 1..) = from.read(&mut bytes) {
                        // Written down before it is passed on: an answer comes later.
                        passed.lock().unwrap().push((number, inward, bytes[..len].to_vec()));
                        if to.write_all(&bytes[..len]).is_err() {
                            break;
                        }
                    }
                    let _ = to.shutdown(std::net::Shutdown::Write);
                });
            }
        }
    });
    own
}

/// A capture of IPv4 packets (pcap, link type 101) in which the service has port 4420.
fn capture(passed: &[(u16, bool, Vec<u8>)]) -> Vec<u8> {
    let mut file = Vec::new();
    for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65_535, 101] {
        file.extend(word.to_le_bytes());
    }
    let mut sent = std::collections::BTreeMap::new();
    for (at, (number, inward, bytes)) in (0_u32..).zip(passed) {
        let len = bytes.len() as u32;
        let sequence: u32 = *sent.get(&(*number, *inward)).unwrap_or(&1);
        let acknowledged: u32 = *sent.get(&(*number, !*inward)).unwrap_or(&1);
        sent.insert((*number, *inward), sequence + len);
        for word in [at / 1000, at % 1000 * 1000, 40 + len, 40 + len] {
            file.extend(word.to_le_bytes());
        }
        let (host, service) = ([192, 0, 2, 1], [192, 0, 2, 2]);
        let (from, to) = if *inward { (host, service) } else { (service, host) };
        let total = (40 + len) as u16;
        file.extend([0x45, 0]);
        file.extend(total.to_be_bytes());
        file.extend([0, 0, 0x40, 0, 64, 6, 0, 0]);
        file.extend(from.iter().chain(&to));
        let port = 50_000 + number;
        let (from, to) = if *inward { (port, 4420) } else { (4420, port) };
        file.extend(u16::to_be_bytes(from));
        file.extend(u16::to_be_bytes(to));
        file.extend(sequence.to_be_bytes());
        file.extend(acknowledged.to_be_bytes());
        file.extend([0x50, 0x18, 0xff, 0xff, 0, 0, 0, 0]);
        file.extend(bytes);
    }
    file
}

/// Goal: another implementation understands what target and initiator say, and finds nothing wrong with it.
/// Method: every command, with digests and without, through a relay; Wireshark's dissector names every PDU
/// and reports what is malformed.
#[test]
fn wireshark_understands_every_pdu() {
    let required = std::env::var("RAID456_REQUIRE_E2E").is_ok_and(|value| value == "1");
    if Command::new("tshark").arg("--version").output().is_err() {
        assert!(!required, "tshark is not installed (Debian package tshark)");
        println!("skipped: tshark is not installed (Debian package tshark)");
        return;
    }
    let place = Place::new();
    let daemon = place.start();
    daemon.ask("bdev_malloc_create", malloc("m", 16));
    daemon.ask("nvmf_create_transport", json!({ "trtype": "TCP" }));
    daemon.ask("nvmf_create_subsystem", json!({ "nqn": NQN, "allow_any_host": true }));
    daemon.ask("nvmf_subsystem_add_ns", json!({ "nqn": NQN, "namespace": { "bdev_name": "m" } }));
    let port = free_port();
    let listen_address = address("127.0.0.1", &port.to_string());
    daemon.ask(
        "nvmf_subsystem_add_listener",
        json!({ "nqn": NQN, "listen_address": listen_address }),
    );
    let passed = Passed::default();
    let port = relay(port, &passed);
    for digests in [false, true] {
        let (mut admin, facts) = Queue::admin(port, digests).unwrap();
        let mut queue = Queue::io(port, digests, facts.cntlid, 1).unwrap();
        let data = vec![7; 32 * BLOCK as usize];
        let mut ranges = vec![0; 4096];
        let dsm = deallocate(1, &[(0, 4), (9, 1)], &mut ranges);
        for (command, buffer) in [
            (write(1, 0, 1, BLOCK, true), data[..BLOCK as usize].to_vec()),
            (write(1, 0, 32, BLOCK, false), data.clone()),
            (read(1, 0, 32, BLOCK), data.clone()),
            (compare(1, 0, 1, BLOCK), data[..BLOCK as usize].to_vec()),
            (verify(1, 0, 32), Vec::new()),
            (flush(1), Vec::new()),
            (write_zeroes(1, 0, 4, false), Vec::new()),
            (dsm, ranges),
            (read(1, 1 << 40, 1, BLOCK), data[..BLOCK as usize].to_vec()),
        ] {
            queue.call(command, buffer).unwrap();
        }
        admin.call(keep_alive(), Vec::new()).unwrap();
    }
    daemon.stop();
    let file = place.path("capture.pcap");
    fs::write(&file, capture(&passed.lock().unwrap())).unwrap();
    let tshark = |args: &[&str]| {
        let output = Command::new("tshark").args(["-r", &file]).args(args).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{errors}");
        String::from_utf8(output.stdout).unwrap()
    };
    let wrong = tshark(&["-Y", "_ws.malformed || _ws.expert.severity >= 6291456"]);
    assert_eq!(wrong, "", "malformed packets and warnings");
    let kinds = tshark(&["-Y", "nvme-tcp", "-T", "fields", "-e", "nvme-tcp.type"]);
    let kinds: std::collections::BTreeSet<&str> =
        kinds.split(['\n', ',']).filter(|kind| !kind.is_empty()).collect();
    for kind in ["0", "1", "4", "5", "6", "7", "9"] {
        let named =
            kinds.iter().any(|found| found.trim_start_matches("0x0") == kind || *found == kind);
        assert!(named || kinds.contains("0x00") && kind == "0", "no PDU of type {kind}: {kinds:?}");
    }
}
