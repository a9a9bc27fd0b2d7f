//! The client against the real server, and against servers that misbehave.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread;
use std::time::Duration;

use crate::support::{MOMENT, Rig, SOON};
use rpc::{Client, ClientError, RpcError};
use serde_json::{Value, json};

#[test]
fn calls_return_results_and_errors() {
    let rig = Rig::start();
    let mut client = Client::connect(&rig.path).unwrap();
    assert_eq!(client.call("echo", Some(json!({"a": 1}))).unwrap(), json!({"a": 1}));
    assert_eq!(client.call("echo", None).unwrap(), Value::Null);
    let error = client.call("fail", None).unwrap_err();
    assert_eq!(error.rpc(), Some(&RpcError::new(-19, "bdev x: No such device")));
    assert_eq!(error.to_string(), "fail: bdev x: No such device (code -19)");
    let long = client.call("big", Some(json!({"len": 10_000_000}))).unwrap();
    assert_eq!(long.as_str().unwrap().len(), 10_000_000);
}

#[test]
fn a_call_that_timed_out_does_not_disturb_the_next() {
    let rig = Rig::start();
    let mut client = Client::connect(&rig.path).unwrap().with_time_limit(MOMENT);
    let error = client.call("wait", None).unwrap_err();
    assert!(matches!(error, ClientError::TimedOut { limit: MOMENT, .. }));
    assert_eq!(error.to_string(), "wait: no reply within 100ms");
    rig.expect_begun("wait");
    rig.let_one_go();
    // Its reply comes before or after this one's, and is not taken for it.
    let mut client = client.with_time_limit(SOON);
    assert_eq!(client.call("echo", Some(json!(["mine"]))).unwrap(), json!(["mine"]));
    assert_eq!(client.call("echo", Some(json!(["too"]))).unwrap(), json!(["too"]));
}

#[test]
fn no_time_limit_is_a_time_limit_too() {
    let rig = Rig::start();
    let mut client = Client::connect(&rig.path).unwrap().with_time_limit(Duration::MAX);
    assert_eq!(client.call("echo", Some(json!([]))).unwrap(), json!([]));
}

#[test]
fn nobody_listens() {
    let dir = tempfile::tempdir().unwrap();
    let error = Client::connect(dir.path().join("none.sock")).unwrap_err();
    assert!(matches!(error, ClientError::Connect { .. }));
    assert!(error.to_string().contains("none.sock: No such file"), "{error}");
}

#[test]
fn a_server_that_stops_is_noticed() {
    let mut rig = Rig::start();
    let mut client = Client::connect(&rig.path).unwrap();
    client.call("echo", None).unwrap();
    rig.server().stop();
    let error = client.call("echo", None).unwrap_err();
    assert!(matches!(error, ClientError::Closed { .. }), "{error}");
}

/// A server that reads one line and then does as it is told.
fn against(
    serve: impl FnOnce(&mut UnixStream, &str) + Send + 'static,
    check: impl FnOnce(&mut Client),
) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("rpc.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut line = String::new();
        BufReader::new(stream.try_clone().unwrap()).read_line(&mut line).unwrap();
        serve(&mut stream, &line);
    });
    check(&mut Client::connect(&path).unwrap().with_time_limit(SOON));
    server.join().unwrap();
}

#[test]
fn the_request_is_canonical() {
    against(
        |stream, line| {
            assert_eq!(
                line,
                "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"m\",\"params\":{\"a\":null}}\n"
            );
            stream.write_all(b"{\"id\":1,\"result\":7}").unwrap();
        },
        |client| assert_eq!(client.call("m", Some(json!({"a": null}))).unwrap(), json!(7)),
    );
}

#[test]
fn replies_to_others_are_skipped_and_errors_without_id_are_ours() {
    against(
        |stream, _| {
            let replies = b"{\"id\":99,\"result\":0}{\"id\":\"1\",\"result\":0}{\"id\":null,\
                            \"result\":0}{\"id\":null,\"error\":{\"code\":-32700,\"message\":\"P\"}}";
            stream.write_all(replies).unwrap();
        },
        |client| {
            let error = client.call("m", None).unwrap_err();
            assert_eq!(error.rpc(), Some(&RpcError::new(-32700, "P")));
        },
    );
}

#[test]
fn a_reply_that_is_cut_off_is_a_close() {
    against(
        |stream, _| stream.write_all(b"{\"id\":1,\"resu").unwrap(),
        |client| {
            let error = client.call("m", None).unwrap_err();
            assert_eq!(error.to_string(), "m: the server closed the connection without a reply");
        },
    );
}

#[test]
fn rubbish_is_illegible() {
    against(
        |stream, _| stream.write_all(b"HTTP/1.1 400 Bad Request\r\n").unwrap(),
        |client| {
            let error = client.call("m", None).unwrap_err();
            assert!(matches!(error, ClientError::Illegible { .. }), "{error}");
        },
    );
}

/// A server that does not read: the request does not even leave, and the limit holds nevertheless.
#[test]
fn a_request_that_cannot_be_sent_times_out() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("rpc.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let mut client = Client::connect(&path).unwrap().with_time_limit(MOMENT);
    let (_deaf, _) = listener.accept().unwrap();
    let huge = json!(["x".repeat(10_000_000)]);
    let error = client.call("m", Some(huge)).unwrap_err();
    assert!(matches!(error, ClientError::TimedOut { .. }), "{error}");
    // Half of it is out, so the connection cannot be used again.
    let error = client.call("m", None).unwrap_err();
    assert!(matches!(error, ClientError::Closed { .. }), "{error}");
}
