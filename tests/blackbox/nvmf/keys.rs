//! DH-HMAC-CHAP over sockets: a host that has the key, and one that does not.
//!
//! The host's side is written out here, with hash function SHA-256 and without a Diffie-Hellman value;
//! the others are tried beside the target's (`nvmf::auth`).

use std::fs;
use std::os::unix::fs::PermissionsExt;

use device::nvme_tcp::{Command, Data, connect};
use hmac::{Hmac, KeyInit, Mac};
use nvme::fabrics::{Authentication, CNTLID_DYNAMIC, PropertyGet, kind};
use nvme::{Sqe, Status};
use serde_json::{Value, json};
use sha2::Sha256;

use super::host::{Queue, connecting};
use super::{HOST, NQN, address, free_port};
use crate::daemon::Place;

/// The key of Linux's blktests, and its bytes.
const KEY: &str = "DHHC-1:00:ia6zGodOr4SEG0Zzaw398rpY0wqipUWj4jWjUh4HWUz6aQ2n:";
const KEY_BYTES: [u8; 32] = [
    0x89, 0xae, 0xb3, 0x1a, 0x87, 0x4e, 0xaf, 0x84, 0x84, 0x1b, 0x46, 0x73, 0x6b, 0x0d, 0xfd, 0xf2,
    0xba, 0x58, 0xd3, 0x0a, 0xa2, 0xa5, 0x45, 0xa3, 0xe2, 0x35, 0xa3, 0x52, 0x1e, 0x07, 0x59, 0x4c,
];

fn fabrics(kind: u8, len_bytes: u32) -> Sqe {
    let what = Authentication { specific0: 1, specific1: 1, protocol: 0xe9, len_bytes };
    Sqe::fabrics(kind, &what)
}

fn send(queue: &mut Queue, message: Vec<u8>) {
    let len_bytes = message.len() as u32;
    let sqe = fabrics(kind::AUTHENTICATION_SEND, len_bytes);
    let (cqe, _) =
        queue.call(Command { sqe, data: Data::FromHost { len_bytes } }, message).unwrap();
    assert!(cqe.status().is_ok(), "{}", cqe.status());
}

fn receive(queue: &mut Queue) -> Vec<u8> {
    let sqe = fabrics(kind::AUTHENTICATION_RECEIVE, 4096);
    let command = Command { sqe, data: Data::ToHost { len_bytes: 4096 } };
    let (cqe, buffer) = queue.call(command, vec![0; 4096]).unwrap();
    assert!(cqe.status().is_ok(), "{}", cqe.status());
    buffer
}

/// VS, which only those may read who have proved who they are.
fn version(queue: &mut Queue) -> Status {
    let sqe = Sqe::fabrics(kind::PROPERTY_GET, &PropertyGet { size_code: 0, offset: 8 });
    let (cqe, _) = queue.call(Command { sqe, data: Data::None }, Vec::new()).unwrap();
    cqe.status().plain()
}

/// A transaction up to the controller's last message.
fn authenticate(queue: &mut Queue, key: &[u8]) -> Vec<u8> {
    let mut negotiate = vec![0, 0, 0, 0, 7, 0, 0, 1, 1, 0, 1, 1];
    negotiate.resize(8 + 64, 0);
    negotiate[12] = 1;
    negotiate[12 + 30] = 0;
    send(queue, negotiate);
    let challenge = receive(queue);
    assert_eq!((&challenge[..2], challenge[6]), (&[1, 1][..], 32), "DH-HMAC-CHAP_Challenge");
    let sequence = &challenge[12..16];
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(key).unwrap();
    for part in [&challenge[16..48], sequence, &[7, 0, 0], b"HostHost", HOST.as_bytes(), &[0]] {
        mac.update(part);
    }
    mac.update(NQN.as_bytes());
    let mut reply = vec![1, 2, 0, 0, 7, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    reply.extend(mac.finalize().into_bytes());
    reply.resize(16 + 64, 0);
    send(queue, reply);
    receive(queue)
}

/// Goal: a host with a key has to prove that it has it, and may then do what others may; one that does not
/// is told and disconnected. Method: both, over sockets.
#[test]
fn hosts_with_keys_prove_them() {
    let place = Place::new();
    let file = place.path("key");
    fs::write(&file, format!("{KEY}\n")).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let daemon = place.start();
    let port = free_port();
    daemon.ask("keyring_file_add_key", json!({ "name": "k", "path": file }));
    daemon.ask("nvmf_create_transport", json!({ "trtype": "TCP" }));
    daemon.ask("nvmf_create_subsystem", json!({ "nqn": NQN }));
    let host = json!({ "nqn": NQN, "host": HOST, "dhchap_key": "k" });
    daemon.ask("nvmf_subsystem_add_host", host);
    let listen_address = address("127.0.0.1", &port.to_string());
    let listener = json!({ "nqn": NQN, "listen_address": listen_address });
    daemon.ask("nvmf_subsystem_add_listener", listener);
    let busy = daemon.refused("keyring_file_remove_key", json!({ "name": "k" }));
    assert_eq!(busy.code, -16, "{busy}");
    assert_eq!(daemon.ask("keyring_get_keys", Value::Null)[0]["refcnt"], 1);

    for key in [KEY_BYTES, [9; 32]] {
        let mut queue = Queue::open(port, false).unwrap();
        let mut buffer = vec![0; 1024];
        let command = connect(&connecting(NQN, HOST), 0, CNTLID_DYNAMIC, &mut buffer);
        let (cqe, _) = queue.call(command, buffer).unwrap();
        assert!(cqe.status().is_ok());
        assert_eq!(cqe.result >> 16 & 3, 2, "AUTHREQ.ATR");
        assert_eq!(version(&mut queue), Status::AUTHENTICATION_REQUIRED);
        let last = authenticate(&mut queue, &key);
        if key == KEY_BYTES {
            assert_eq!(last[..2], [1, 3], "DH-HMAC-CHAP_Success1");
            assert_eq!(version(&mut queue), Status::SUCCESS);
        } else {
            assert_eq!((&last[..2], &last[6..8]), (&[0, 0xf1][..], &[1, 1][..]), "Failure1");
            let sqe = Sqe::fabrics(kind::PROPERTY_GET, &PropertyGet { size_code: 0, offset: 8 });
            let after = queue.call(Command { sqe, data: Data::None }, Vec::new());
            assert!(after.is_err(), "the connection is closed");
        }
    }
    daemon.stop();
}
