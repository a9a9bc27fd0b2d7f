//! The server over real sockets: framing, half-close, order, bounds, files, stop.

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::support::{MOMENT, Rig, SOON};
use rpc::limits::{CONNECTIONS_MAX, WAITING_CALLS_MAX};
use rpc::{RpcError, Server, ServerError, Service, SocketMode};
use serde_json::{Value, json};

/// A client that is as rude as a test needs it to be.
struct Peer {
    stream: UnixStream,
    replies: BufReader<UnixStream>,
}

impl Peer {
    fn connect(path: &Path) -> Self {
        let stream = UnixStream::connect(path).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream.set_write_timeout(Some(SOON)).unwrap();
        let replies = BufReader::new(stream.try_clone().unwrap());
        Self { stream, replies }
    }

    fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).unwrap();
    }

    fn half_close(&self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// The next line, which is one reply.
    fn reply(&mut self) -> Value {
        let mut line = String::new();
        self.replies.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line:?}: {error}"))
    }

    /// All replies up to the end of the stream.
    fn replies_to_end(mut self) -> Vec<Value> {
        let mut text = String::new();
        self.replies.read_to_string(&mut text).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn call(&mut self, id: u64, method: &str) {
        self.send(&json!({"id": id, "method": method}).to_string());
    }

    fn expect_nothing(&mut self) {
        self.stream.set_read_timeout(Some(MOMENT)).unwrap();
        let error = self.replies.fill_buf().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        self.stream.set_read_timeout(Some(SOON)).unwrap();
    }
}

fn result(id: u64, result: Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "result": result})
}

#[test]
fn requests_may_be_run_together_and_pretty_printed() {
    let rig = Rig::start();
    let mut peer = Peer::connect(&rig.path);
    let pretty = serde_json::to_string_pretty(
        &json!({"jsonrpc": "2.0", "id": 1, "method": "echo", "params": {"a": [1, "{"]}}),
    );
    peer.send(&format!(
        "{}{{\"id\":2,\"method\":\"echo\"}}{{\"id\":3,\"method\":\"fail\"}}\n\n",
        pretty.unwrap()
    ));
    assert_eq!(peer.reply(), result(1, json!({"a": [1, "{"]})));
    assert_eq!(peer.reply(), result(2, Value::Null));
    assert_eq!(
        peer.reply(),
        json!({"jsonrpc": "2.0", "id": 3,
               "error": {"code": -19, "message": "bdev x: No such device"}})
    );
    peer.call(4, "frobnicate");
    assert_eq!(peer.reply()["error"]["code"], -32601);
}

#[test]
fn a_request_may_come_byte_by_byte() {
    let rig = Rig::start();
    let mut peer = Peer::connect(&rig.path);
    for byte in b"{\"id\": 1, \"method\": \"echo\", \"params\": {\"k\": \"v\"}}" {
        peer.stream.write_all(&[*byte]).unwrap();
    }
    assert_eq!(peer.reply(), result(1, json!({"k": "v"})));
}

#[test]
fn a_client_that_has_shut_down_its_side_is_still_answered() {
    let rig = Rig::start();
    let mut peer = Peer::connect(&rig.path);
    peer.call(1, "echo");
    peer.call(2, "wait");
    peer.call(3, "echo");
    peer.half_close();
    rig.expect_begun("wait");
    assert_eq!(peer.reply()["id"], 1);
    assert_eq!(peer.reply()["id"], 3);
    // Its calls that wait keep the connection open ...
    peer.expect_nothing();
    rig.let_one_go();
    // ... and the last answer ends it.
    assert_eq!(peer.replies_to_end(), [result(2, json!("waited"))]);
}

#[test]
fn half_a_request_is_an_error_once_the_client_has_shut_down_its_side() {
    let rig = Rig::start();
    let mut peer = Peer::connect(&rig.path);
    peer.send("{\"id\":1,\"method\":\"echo\"}{\"id\":2,");
    peer.half_close();
    let replies = peer.replies_to_end();
    assert_eq!(replies[0]["id"], 1);
    assert_eq!(replies[1]["error"]["code"], -32700);
    assert_eq!(replies.len(), 2);
}

#[test]
fn a_batch_is_answered_in_one_line() {
    let rig = Rig::start();
    let mut peer = Peer::connect(&rig.path);
    peer.send(
        r#"[{"id":1,"method":"wait"},{"id":2,"method":"echo"},{"method":"echo"},7,
            {"method":"fail"}]"#,
    );
    rig.expect_begun("wait");
    peer.expect_nothing();
    rig.let_one_go();
    let replies = peer.reply();
    let ids: Vec<&Value> = replies.as_array().unwrap().iter().map(|reply| &reply["id"]).collect();
    assert_eq!(ids, [&json!(2), &Value::Null, &Value::Null, &json!(1)], "in order of completion");
    assert_eq!(replies[1]["error"]["code"], -32600);
    assert_eq!(replies[2]["error"]["code"], -19);

    peer.send(r#"[{"method":"echo"},{"method":"echo"}][]"#);
    assert_eq!(peer.reply()["error"]["code"], -32600, "the empty batch; the other has no reply");
    peer.call(9, "echo");
    assert_eq!(peer.reply()["id"], 9);
}

#[test]
fn notifications_get_errors_only() {
    let rig = Rig::start();
    let mut peer = Peer::connect(&rig.path);
    peer.send(r#"{"method":"echo"}{"method":"echo","id":null}{"method":"fail","params":null}"#);
    let reply = peer.reply();
    assert_eq!((&reply["id"], &reply["error"]["code"]), (&Value::Null, &json!(-19)));
}

#[test]
fn an_invalid_request_does_not_end_the_connection() {
    let rig = Rig::start();
    let mut peer = Peer::connect(&rig.path);
    peer.send(r#"{"id":1,"method":"echo","extra":0}{"id":2,"method":"echo"}"#);
    let refusal = peer.reply();
    assert_eq!((&refusal["id"], &refusal["error"]["code"]), (&json!(1), &json!(-32600)));
    assert_eq!(peer.reply()["id"], 2);
}

#[test]
fn a_megabyte_of_garbage_gets_one_error_and_a_close() {
    let rig = Rig::start();
    let garbage =
        ["x".repeat(1 << 20), "[".repeat(1 << 20), format!("{{\"a\":\"{}", "a".repeat(1 << 20))];
    for garbage in garbage {
        let mut peer = Peer::connect(&rig.path);
        peer.call(1, "echo");
        peer.send(&garbage);
        let replies = peer.replies_to_end();
        assert_eq!(replies.len(), 2);
        assert_eq!(replies[0]["id"], 1);
        assert_eq!(replies[1]["error"]["code"], -32700);
        assert_eq!(replies[1]["id"], Value::Null);
    }
}

#[test]
fn a_parse_error_closes_at_once_even_with_a_call_waiting() {
    let rig = Rig::start();
    let mut peer = Peer::connect(&rig.path);
    peer.call(1, "wait");
    rig.expect_begun("wait");
    peer.send("}");
    let replies = peer.replies_to_end();
    assert_eq!(replies.len(), 1);
    assert_eq!(replies[0]["error"]["code"], -32700);
    rig.expect_begun("left");
}

#[test]
fn a_client_that_sends_on_after_a_parse_error_is_cut_off() {
    let rig = Rig::start();
    let mut peer = Peer::connect(&rig.path);
    // Even though a method still has the connection.
    peer.call(1, "stick");
    rig.expect_begun("stick");
    peer.send("}");
    let more = [b'x'; 65_536];
    let refused = (0..1000).find_map(|_| peer.stream.write_all(&more).err());
    assert_eq!(refused.unwrap().kind(), ErrorKind::BrokenPipe);
    assert_eq!(peer.reply()["error"]["code"], -32700);
    rig.let_one_go();
}

#[test]
fn a_call_that_waits_does_not_hold_up_those_behind_it() {
    let rig = Rig::start();
    let mut peer = Peer::connect(&rig.path);
    peer.send(r#"{"id":1,"method":"wait"}{"id":2,"method":"echo"}{"id":3,"method":"wait"}"#);
    assert_eq!(peer.reply()["id"], 2);
    rig.expect_begun("wait");
    rig.expect_begun("wait");
    peer.expect_nothing();
    rig.let_one_go();
    rig.let_one_go();
    let mut ids = [peer.reply()["id"].as_u64(), peer.reply()["id"].as_u64()];
    ids.sort_unstable();
    assert_eq!(ids, [Some(1), Some(3)]);
}

#[test]
fn other_calls_of_a_connection_keep_their_order() {
    let rig = Rig::start();
    let mut peer = Peer::connect(&rig.path);
    peer.send(r#"{"id":1,"method":"hold"}{"id":2,"method":"echo"}"#);
    rig.expect_begun("hold");
    peer.expect_nothing();
    // Another connection is not held up.
    let mut other = Peer::connect(&rig.path);
    other.call(1, "echo");
    assert_eq!(other.reply()["id"], 1);
    rig.let_one_go();
    assert_eq!((peer.reply()["id"].as_u64(), peer.reply()["id"].as_u64()), (Some(1), Some(2)));
}

#[test]
fn a_wait_learns_that_its_client_is_gone() {
    let rig = Rig::start();
    let mut peer = Peer::connect(&rig.path);
    peer.call(1, "wait");
    rig.expect_begun("wait");
    drop(peer);
    rig.expect_begun("left");

    // Also when it had only shut down its side at first, which is no farewell.
    let mut peer = Peer::connect(&rig.path);
    peer.call(1, "wait");
    peer.half_close();
    rig.expect_begun("wait");
    assert!(rig.begun.recv_timeout(MOMENT).is_err());
    drop(peer);
    rig.expect_begun("left");
}

#[test]
fn calls_that_wait_are_bounded() {
    let rig = Rig::start();
    let mut peer = Peer::connect(&rig.path);
    for id in 0..=WAITING_CALLS_MAX {
        peer.call(id.try_into().unwrap(), "wait");
    }
    for _ in 0..WAITING_CALLS_MAX {
        rig.expect_begun("wait");
    }
    let refusal = peer.reply();
    assert_eq!(refusal["id"], WAITING_CALLS_MAX);
    assert_eq!(
        refusal["error"],
        json!({"code": -11, "message": "wait: 256 calls are waiting already: \
               Resource temporarily unavailable"})
    );
    // A place that is given back is there for the next.
    rig.let_one_go();
    assert_eq!(peer.reply()["result"], "waited");
    loop {
        peer.call(1000, "wait");
        peer.call(1001, "echo");
        // A refusal comes before the echo.
        let reply = peer.reply();
        if reply["id"] == 1001 {
            break;
        }
        assert_eq!((&reply["error"]["code"], &peer.reply()["id"]), (&json!(-11), &json!(1001)));
    }
    rig.expect_begun("wait");
}

#[test]
fn the_65th_connection_waits_for_a_place() {
    let rig = Rig::start();
    let mut peers: Vec<Peer> = (0..CONNECTIONS_MAX).map(|_| Peer::connect(&rig.path)).collect();
    for peer in &mut peers {
        peer.call(1, "echo");
        assert_eq!(peer.reply()["id"], 1);
    }
    let mut late = Peer::connect(&rig.path);
    late.call(65, "echo");
    late.expect_nothing();
    peers.pop();
    assert_eq!(late.reply()["id"], 65);
}

#[test]
fn a_method_that_panics_answers_with_an_error() {
    let rig = Rig::start();
    let mut peer = Peer::connect(&rig.path);
    peer.call(1, "panic");
    assert_eq!(peer.reply()["error"]["code"], -32603);
    let mut next = Peer::connect(&rig.path);
    next.call(2, "echo");
    assert_eq!(next.reply()["id"], 2);
}

#[test]
fn long_replies_arrive_whole() {
    let rig = Rig::start();
    let mut peer = Peer::connect(&rig.path);
    peer.send(r#"{"id":1,"method":"big","params":{"len":5000000}}"#);
    peer.send(r#"{"id":2,"method":"big","params":{"len":33554432}}{"id":3,"method":"echo"}"#);
    assert_eq!(peer.reply()["result"].as_str().unwrap().len(), 5_000_000);
    assert_eq!(peer.reply()["error"]["message"], "the response is longer than 33554432 bytes");
    assert_eq!(peer.reply()["id"], 3);
}

#[test]
fn a_client_that_takes_no_replies_is_hung_up_on() {
    let rig = Rig::start();
    let mut peer = Peer::connect(&rig.path);
    peer.stream.shutdown(Shutdown::Read).unwrap();
    let request = json!({"id": 1, "method": "echo"}).to_string();
    let refused = (0..100_000).find_map(|_| peer.stream.write_all(request.as_bytes()).err());
    assert_eq!(refused.unwrap().kind(), ErrorKind::BrokenPipe);
}

#[test]
fn stop_answers_what_is_in_flight() {
    let mut rig = Rig::start();
    let mut peer = Peer::connect(&rig.path);
    peer.send(r#"{"id":1,"method":"hold"}{"id":2,"method":"echo"}"#);
    rig.expect_begun("hold");
    let server = rig.server();
    let stopping = thread::spawn(move || server.stop());
    rig.let_one_go();
    assert_eq!(peer.replies_to_end(), [result(1, json!("held")), result(2, Value::Null)]);
    stopping.join().unwrap();
    assert_eq!(fs::read_dir(rig.dir.path()).unwrap().count(), 0, "both files are gone");
    assert!(UnixStream::connect(&rig.path).is_err());
}

#[test]
fn stop_ends_calls_that_wait() {
    let mut rig = Rig::start();
    let mut peer = Peer::connect(&rig.path);
    peer.call(1, "wait");
    rig.expect_begun("wait");
    rig.server().stop();
    rig.expect_begun("left");
    let replies = peer.replies_to_end();
    assert_eq!((&replies[0]["id"], &replies[0]["error"]["code"]), (&json!(1), &json!(-4)));
}

#[test]
fn stop_answers_for_calls_that_hang() {
    let mut rig = Rig::start();
    let mut peer = Peer::connect(&rig.path);
    peer.send(r#"{"id":1,"method":"hold"}{"id":2,"method":"hold"}"#);
    rig.expect_begun("hold");
    rig.server().stop_within(MOMENT);
    assert_eq!(
        peer.replies_to_end(),
        [json!({"jsonrpc": "2.0", "id": 1,
                "error": {"code": -125, "message": "the server is stopping: Operation canceled"}})]
    );
    // What had not begun does not begin when the method comes round after all.
    rig.let_one_go();
    assert!(rig.begun.recv_timeout(MOMENT).is_err());
}

#[test]
fn stop_is_not_held_up_by_a_client_that_does_not_read() {
    let mut rig = Rig::start();
    let mut peer = Peer::connect(&rig.path);
    // A call whose answer, at the stop, is behind the reply that does not get out.
    peer.call(1, "stick");
    rig.expect_begun("stick");
    for _ in 0..4 {
        peer.send(r#"{"id":2,"method":"big","params":{"len":4000000}}"#);
    }
    // The first bytes are there, so the server is writing what will never fit.
    peer.replies.fill_buf().unwrap();
    let server = rig.server();
    let (done, stopped) = std::sync::mpsc::channel();
    thread::spawn(move || {
        server.stop_within(MOMENT);
        done.send(()).unwrap();
    });
    stopped.recv_timeout(SOON).unwrap();
}

#[test]
fn stop_does_not_wait_for_idle_clients() {
    let mut rig = Rig::start();
    let mut idle = Peer::connect(&rig.path);
    idle.call(1, "echo");
    idle.reply();
    // Were it to wait for the client, this would be the test's end as well.
    rig.server().stop_within(Duration::MAX);
    assert_eq!(idle.replies_to_end(), [] as [Value; 0]);
}

/// A service without methods.
struct Nothing;

impl Service for Nothing {
    fn call(&self, method: &str, _: Option<Value>) -> Result<Value, RpcError> {
        Err(RpcError::method_not_found(method))
    }
}

fn start(path: &Path) -> Result<Server, ServerError> {
    Server::start(path, Arc::new(Nothing))
}

#[test]
fn the_socket_and_its_lock_are_for_the_owner_only() {
    let rig = Rig::start();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&rig.path), 0o600);
    assert_eq!(mode(&rig.dir.path().join("rpc.sock.lock")), 0o600);
    assert!(fs::metadata(&rig.path).unwrap().file_type().is_socket());
}

/// Goal: a socket lets in whom it was made for, whatever the umask says, and its lock stays the owner's.
#[test]
fn a_socket_has_the_mode_that_was_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    for mode in [SocketMode::Owner, SocketMode::Group, SocketMode::Everybody] {
        let path = dir.path().join("rpc.sock");
        let server = Server::start_for(mode, &path, Arc::new(Nothing)).unwrap();
        let found = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!(found(&path), mode.bits());
        assert_eq!(found(&dir.path().join("rpc.sock.lock")), 0o600);
        assert!(UnixStream::connect(&path).is_ok());
        drop(server);
    }
}

#[test]
fn a_path_has_one_server() {
    let mut rig = Rig::start();
    let error = start(&rig.path).unwrap_err();
    assert!(matches!(error, ServerError::InUse { .. }));
    let text = error.to_string();
    assert!(text.contains("in use by another server") && text.contains("rpc.sock.lock"), "{text}");
    // The refusal has not harmed the first one.
    let mut peer = Peer::connect(&rig.path);
    peer.call(1, "echo");
    assert_eq!(peer.reply()["id"], 1);

    rig.server().stop();
    start(&rig.path).unwrap();
}

#[test]
fn what_a_crash_leaves_behind_is_cleared_away() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("rpc.sock");
    drop(UnixListener::bind(&path).unwrap());
    fs::write(dir.path().join("rpc.sock.lock"), "").unwrap();
    let server = start(&path).unwrap();
    let mut peer = Peer::connect(&path);
    peer.call(1, "anything");
    assert_eq!(peer.reply()["error"]["code"], -32601);
    drop(server);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_file_that_is_no_socket_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("precious");
    fs::write(&path, "data").unwrap();
    assert!(matches!(start(&path).unwrap_err(), ServerError::NotASocket { .. }));
    assert_eq!(fs::read(&path).unwrap(), b"data");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "the lock file is gone again");
}

#[test]
fn a_path_that_cannot_be_is_refused_with_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let long = dir.path().join("x".repeat(200));
    assert!(matches!(start(&long).unwrap_err(), ServerError::BadPath { .. }));
    let nowhere = dir.path().join("no/such/directory.sock");
    let text = start(&nowhere).unwrap_err().to_string();
    assert!(text.contains("no/such/directory.sock: cannot open its lock file: No such"), "{text}");
}

/// Many servers fight for one path, each stopping as soon as it has it: at no time are there two,
/// although each removes the lock file when it leaves.
#[test]
fn servers_that_come_and_go_exclude_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("rpc.sock");
    let serving = std::sync::atomic::AtomicUsize::new(0);
    let starts = std::sync::atomic::AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..100 {
                    let Ok(server) = start(&path) else { continue };
                    let order = std::sync::atomic::Ordering::SeqCst;
                    assert_eq!(serving.fetch_add(1, order), 0, "two servers on one path");
                    starts.fetch_add(1, order);
                    assert!(UnixStream::connect(&path).is_ok());
                    serving.fetch_sub(1, order);
                    drop(server);
                }
            });
        }
    });
    assert!(starts.into_inner() > 0);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}
