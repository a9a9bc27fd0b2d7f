//! What comes over the socket and is no proper request, and what is odd but proper.
//!
//! Not here: the codec byte by byte (crate `rpc`).

use std::io::{Read, Write};
use std::net::Shutdown;

use serde_json::{Deserializer, Value, json};

use crate::daemon::{Daemon, PATIENCE, Place};

/// Sends bytes, shuts down the sending side, and reads replies until the end.
fn exchange(daemon: &Daemon, bytes: &[u8]) -> Vec<Value> {
    let mut stream = daemon.stream();
    // A server that has seen enough closes before all is sent.
    drop(stream.write_all(bytes));
    drop(stream.shutdown(Shutdown::Write));
    let mut replies = Vec::new();
    stream.read_to_end(&mut replies).unwrap();
    Deserializer::from_slice(&replies).into_iter().map(Result::unwrap).collect()
}

/// Goal: garbage of any sort and size gets one error and a closed connection, and nobody else
/// notices.
#[test]
fn garbage_is_answered_once_and_forgotten() {
    let place = Place::new();
    let daemon = place.start();
    let noise: Vec<u8> =
        (0..1_u32 << 20).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let mut bystander = daemon.client();
    for garbage in [
        &b"hello"[..],
        b"{\"method\": \"bdev_get_bdevs\", \"id\": 1",
        b"{]",
        b"\0\0\0\0",
        &noise,
        &vec![b'['; 1 << 20],
        &vec![b'a'; 1 << 20],
        &[b"{\"method\": \"", &vec![b'x'; 1 << 20][..], b"\", \"id\": 1}"].concat(),
    ] {
        let replies = exchange(&daemon, garbage);
        let shown = String::from_utf8_lossy(&garbage[..garbage.len().min(40)]);
        assert_eq!(replies.len(), 1, "{shown}: {replies:?}");
        assert_eq!(replies[0]["error"]["code"], -32700, "{shown}: {replies:?}");
        assert_eq!(replies[0]["id"], Value::Null);
        bystander.call("bdev_get_bdevs", None).unwrap();
    }
    daemon.stop();
}

/// Goal: requests that are JSON, but wrong, are refused one by one, and the connection goes on.
#[test]
fn wrong_requests_do_not_end_the_connection() {
    let place = Place::new();
    let daemon = place.start();
    let replies = exchange(
        &daemon,
        br#"{"id":1}{"id":2,"method":"no_such_method"}{"id":3,"method":"bdev_null_create"}
            {"id":4,"method":"bdev_null_create","params":{"name":7}}{"id":5,"jsonrpc":"1.0","method":"x"}
            {"id":6,"method":"spdk_get_version","params":null}"#,
    );
    let codes: Vec<_> =
        replies.iter().map(|r| (r["id"].as_i64().unwrap(), r["error"]["code"].as_i64())).collect();
    assert_eq!(
        codes,
        [
            (1, Some(-32600)),
            (2, Some(-32601)),
            (3, Some(-32602)),
            (4, Some(-32602)),
            (5, Some(-32600)),
            (6, None)
        ]
    );
    daemon.stop();
}

/// Goal: pretty-printed, pipelined and batched requests without `jsonrpc` all work, also when the
/// client has shut down its side.
#[test]
fn clients_may_write_as_they_like() {
    let place = Place::new();
    let daemon = place.start();
    let create = json!({
        "id": "a", "method": "bdev_null_create",
        "params": { "name": "n0", "block_size": 512, "num_blocks": 64, "uuid": null },
    });
    let pretty = serde_json::to_string_pretty(&create).unwrap();
    let batch = json!([
        { "id": 1, "method": "spdk_get_version" },
        { "method": "bdev_null_delete", "params": { "name": "n0" } },
        { "id": 2, "method": "bdev_null_delete", "params": { "name": "n0" } },
    ]);
    let replies = exchange(&daemon, format!("{pretty}{batch}").as_bytes());
    assert_eq!(replies[0], json!({ "jsonrpc": "2.0", "id": "a", "result": "n0" }));
    let batch = replies[1].as_array().unwrap();
    assert_eq!(batch.len(), 2, "the notification has no reply: {replies:?}");
    assert!(batch[0]["result"]["version"].as_str().unwrap().starts_with("raid456 v"));
    assert_eq!((&batch[1]["id"], &batch[1]["error"]["code"]), (&json!(2), &json!(-19)));
    daemon.stop();
}

/// Goal: `rpc_get_methods` is honest. Method: what it lists does not answer "Method not found", what
/// it does not list does.
#[test]
fn listed_methods_are_there_and_others_are_not() {
    let place = Place::new();
    let daemon = place.start();
    let methods = daemon.ask("rpc_get_methods", json!({ "current": true }));
    let methods: Vec<_> = methods.as_array().unwrap().iter().map(|m| m.as_str().unwrap()).collect();
    for needed in [
        "rpc_get_methods",
        "spdk_get_version",
        "bdev_get_bdevs",
        "bdev_null_create",
        "bdev_null_delete",
        "bdev_malloc_create",
        "bdev_malloc_delete",
        "bdev_uring_create",
        "bdev_uring_delete",
        "bdev_aio_create",
        "bdev_aio_delete",
        "bdev_raid_create",
        "bdev_raid_get_bdevs",
        "bdev_raid_delete",
        "bdev_raid_remove_base_bdev",
    ] {
        assert!(methods.contains(&needed), "{needed} is not listed");
    }
    for method in methods {
        if let Err(error) = daemon.call(method, Value::Null) {
            assert_ne!(error.code, -32601, "{method}");
        }
    }
    for method in ["iscsi_create_portal_group", "sock_set_default_impl", "bdev_raid"] {
        let error = daemon.refused(method, Value::Null);
        assert_eq!(error.code, -32601);
        assert!(error.message.starts_with("Method not found"), "{error}");
    }
    daemon.stop();
}

/// Goal: keys that a method does not know are passed over, and the log says so.
#[test]
fn unknown_keys_are_logged() {
    let place = Place::new();
    let daemon = place.start();
    let params =
        json!({ "name": "n0", "block_size": 512, "num_blocks": 64, "io_unmap_limit": 100 });
    daemon.ask("bdev_null_create", params);
    daemon.wait_until("the log names the key", |daemon| {
        daemon.log().lines().any(|line| line.contains("WARN") && line.contains("io_unmap_limit"))
    });
    daemon.stop();
}

/// Goal: 64 connections are served at a time, and the next one after one of them is gone.
#[test]
fn connections_beyond_the_limit_wait() {
    let place = Place::new();
    let daemon = place.start();
    let mut clients: Vec<_> = (0..64).map(|_| daemon.client()).collect();
    for client in &mut clients {
        client.call("spdk_get_version", None).unwrap();
    }
    let mut late = daemon.client().with_time_limit(std::time::Duration::from_millis(200));
    assert!(late.call("spdk_get_version", None).is_err());
    drop(clients);
    late.with_time_limit(PATIENCE).call("spdk_get_version", None).unwrap();
    daemon.stop();
}
