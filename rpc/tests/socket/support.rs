//! A service for the socket tests, with a method for each way to behave, and its server.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rpc::{Caller, RpcError, Server, Service};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Long enough for anything that happens at all.
pub(crate) const SOON: Duration = Duration::from_secs(30);
/// Short, for what should not happen.
pub(crate) const MOMENT: Duration = Duration::from_millis(100);

/// `echo` returns its params, `fail` an error, `big` a string of `len` bytes, `panic` panics.
/// `hold` (on the connection's thread), `wait` and `stick` (on their own) report that they have
/// begun and return when they are let go; `wait` also when its caller leaves.
pub(crate) struct Methods {
    begun: Sender<&'static str>,
    let_go: Mutex<Receiver<()>>,
}

impl Methods {
    fn hold(&self, method: &'static str) -> Result<Value, RpcError> {
        self.begun.send(method).unwrap();
        // Fails when the test is over, which lets go as well.
        let _ = self.let_go.lock().unwrap().recv();
        Ok(json!("held"))
    }
}

impl Service for Methods {
    fn call(&self, method: &str, params: Option<Value>) -> Result<Value, RpcError> {
        match method {
            "echo" => Ok(params.unwrap_or(Value::Null)),
            "fail" => Err(RpcError::errno(rpc::error::errno::ENODEV, "bdev x")),
            "big" => {
                let len = params.unwrap()["len"].as_u64().unwrap();
                Ok("x".repeat(len.try_into().unwrap()).into())
            }
            "panic" => panic!("as it was asked to"),
            "hold" => self.hold("hold"),
            other => Err(RpcError::method_not_found(other)),
        }
    }

    fn may_wait(&self, method: &str) -> bool {
        matches!(method, "wait" | "stick")
    }

    fn call_waiting(
        &self,
        method: &str,
        _: Option<Value>,
        caller: &Caller,
    ) -> Result<Value, RpcError> {
        if method == "stick" {
            return self.hold("stick");
        }
        self.begun.send("wait").unwrap();
        loop {
            // Taken and given back, so that many may wait at a time.
            let let_go = self.let_go.lock().unwrap();
            if let_go.recv_timeout(Duration::from_millis(1)).is_ok() {
                return Ok(json!("waited"));
            }
            if caller.has_left() {
                self.begun.send("left").unwrap();
                return Err(RpcError::errno(rpc::error::errno::EINTR, "wait"));
            }
        }
    }
}

/// A running server, and the strings to its methods.
pub(crate) struct Rig {
    /// First, so that it stops while its methods can still report.
    server: Option<Server>,
    pub(crate) path: PathBuf,
    pub(crate) begun: Receiver<&'static str>,
    let_go: SyncSender<()>,
    pub(crate) dir: TempDir,
}

impl Rig {
    pub(crate) fn start() -> Self {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("rpc.sock");
        let (begun_sender, begun) = channel();
        let (let_go, let_go_receiver) = sync_channel(1000);
        let methods = Methods { begun: begun_sender, let_go: Mutex::new(let_go_receiver) };
        let server = Some(Server::start(&path, Arc::new(methods)).unwrap());
        Self { server, path, begun, let_go, dir }
    }

    pub(crate) fn server(&mut self) -> Server {
        self.server.take().unwrap()
    }

    pub(crate) fn expect_begun(&self, what: &str) {
        assert_eq!(self.begun.recv_timeout(SOON), Ok(what));
    }

    pub(crate) fn let_one_go(&self) {
        self.let_go.send(()).unwrap();
    }
}
