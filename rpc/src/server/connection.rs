//! One connection: reads requests, has them called, writes their replies.
//!
//! ```text
//!   reading --- end of input ---> draining --- last call answered, or client gone ---> closed
//!      |                                                                                 ^
//!      `------- not JSON: -32700 ---> discarding what still comes (bounded) -------------'
//! ```
//!
//! A call is answered once: by the thread that executes it, or by the stop of the server if that
//! comes first. Replies are written whole, one at a time, under `output`; who reads none of one for long is
//! cut off, and with him go his calls.
//!
//! Not here: who may connect (`super`), what bytes mean (`codec`).

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::mem;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use serde_json::Value;

use super::{Shared, WaitingCall, lock};
use crate::codec::{BatchReply, Decoder, Id, Item, Message, Request, encode_reply};
use crate::error::{RpcError, errno};
use crate::limits;
use crate::service::Caller;

/// What the threads that serve one connection share.
pub(super) struct Connection {
    stream: UnixStream,
    /// Held while a reply is written.
    output: Mutex<()>,
    calls: Mutex<Calls>,
    caller: Caller,
}

/// The calls that are not answered yet.
#[derive(Default)]
struct Calls {
    open: BTreeMap<u64, Arc<Call>>,
    ever: u64,
    intake: Intake,
}

/// Whether there will be more calls.
#[derive(Default, PartialEq, Eq)]
enum Intake {
    #[default]
    Open,
    /// The client has said that there will be no more; the last answer closes the connection.
    Draining,
    /// The server has stopped: what has been read but not begun is not begun any more.
    Cancelled,
}

/// One call that owes an answer.
struct Call {
    number: u64,
    id: Option<Id>,
    /// Taken by whoever answers.
    reply_to: Mutex<Option<ReplyTo>>,
}

/// Where an answer goes.
enum ReplyTo {
    Client,
    Batch(Arc<Batch>),
}

/// The answers of a batch, until there are all of them.
struct Batch(Mutex<OpenBatch>);

struct OpenBatch {
    /// Requests without an answer, and one more while the batch is being started.
    missing: usize,
    reply: BatchReply,
}

/// Serves a connection until its client leaves.
pub(super) fn serve(shared: &Arc<Shared>, connection: &Arc<Connection>) {
    match read_requests(shared, connection) {
        Ok(Ok(())) => connection.drain(),
        Ok(Err(error)) => {
            tracing::debug!(%error, "rpc connection: closed after an illegible request");
            connection.reply(None, &Err(error));
            connection.discard_input();
        }
        Err(error) => tracing::debug!(%error, "rpc connection: cannot read"),
    }
    // Calls that are still open have nobody left to answer to.
    connection.caller.leave();
    connection.close();
}

/// Reads and calls until the end of the input. The inner error is the one to send before closing.
fn read_requests(
    shared: &Arc<Shared>,
    connection: &Arc<Connection>,
) -> io::Result<Result<(), RpcError>> {
    let mut decoder = Decoder::new();
    let mut input = vec![0; limits::READ_BYTES];
    loop {
        let len_bytes = match (&connection.stream).read(&mut input) {
            Ok(len_bytes) => len_bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        match len_bytes {
            0 => decoder.push_end(),
            _ => decoder.push(&input[..len_bytes]),
        }
        loop {
            match decoder.next_message() {
                Ok(Some(message)) => execute(shared, connection, message),
                Ok(None) => break,
                Err(error) => return Ok(Err(error)),
            }
        }
        if len_bytes == 0 {
            return Ok(Ok(()));
        }
    }
}

fn execute(shared: &Arc<Shared>, connection: &Arc<Connection>, message: Message) {
    match message {
        Message::Single(Ok(request)) => start(shared, connection, request, ReplyTo::Client),
        Message::Single(Err(refusal)) => {
            connection.reply(refusal.id.as_ref(), &Err(refusal.error));
        }
        Message::Batch(items) => execute_batch(shared, connection, items),
    }
}

fn execute_batch(shared: &Arc<Shared>, connection: &Arc<Connection>, items: Vec<Item>) {
    let open = OpenBatch { missing: items.len() + 1, reply: BatchReply::default() };
    let batch = Arc::new(Batch(Mutex::new(open)));
    for item in items {
        match item {
            Ok(request) => start(shared, connection, request, ReplyTo::Batch(Arc::clone(&batch))),
            Err(refusal) => {
                batch.add(connection, Some((refusal.id.as_ref(), &Err(refusal.error))));
            }
        }
    }
    batch.add(connection, None);
}

/// Calls a request, here or on a thread of its own.
fn start(shared: &Arc<Shared>, connection: &Arc<Connection>, request: Request, reply_to: ReplyTo) {
    let Request { id, method, params } = request;
    let Some(answer) = connection.open_call(id, reply_to) else { return };
    if !shared.service.may_wait(&method) {
        answer.give(&shared.service.call(&method, params));
        return;
    }
    let Some(place) = shared.waiting_call() else {
        let max = limits::WAITING_CALLS_MAX;
        let what = format!("{method}: {max} calls are waiting already");
        answer.give(&Err(RpcError::errno(errno::EAGAIN, what)));
        return;
    };
    let builder = thread::Builder::new().name("rpc-wait".to_owned());
    let service = Arc::clone(&shared.service);
    let started = builder.spawn(move || {
        // The place is free when the answer is sent, not before.
        let _place: WaitingCall = place;
        let caller = answer.connection.caller.clone();
        answer.give(&service.call_waiting(&method, params, &caller));
    });
    if let Err(error) = started {
        // The closure is gone, and with it went `answer`, which has answered.
        tracing::warn!(%error, "cannot start a thread for an rpc call that waits");
    }
}

impl Connection {
    /// A client that does not take any of a reply for as long as `patience` has left.
    pub(super) fn new(stream: UnixStream, patience: Duration) -> Self {
        if let Err(error) = stream.set_write_timeout(Some(patience)) {
            tracing::warn!(%error, "rpc connection: its client may keep calls waiting");
        }
        Self {
            stream,
            output: Mutex::default(),
            calls: Mutex::default(),
            caller: Caller::default(),
        }
    }

    /// The server stops: what was sent is still read and answered, and waits come to an end.
    pub(super) fn stop_reading(&self) {
        self.caller.leave();
        self.shut_down(Shutdown::Read);
    }

    /// The server has waited for long enough: answers what is open with `ECANCELED` and closes.
    pub(super) fn cancel(self: &Arc<Self>) {
        // From here on a write takes bounded time. One that began before does not: it is cut off,
        // which frees `output`.
        let bounded = self.stream.set_write_timeout(Some(limits::CANCEL_WRITE_TIMEOUT));
        if bounded.is_err() || self.output.try_lock().is_err() {
            self.close();
        }
        let open = {
            let mut calls = lock(&self.calls);
            calls.intake = Intake::Cancelled;
            mem::take(&mut calls.open)
        };
        for call in open.into_values() {
            let error = RpcError::errno(errno::ECANCELED, "the server is stopping");
            Answer { connection: Arc::clone(self), call }.give(&Err(error));
        }
        self.close();
    }

    /// The means to answer a call that begins; none if the server has stopped.
    fn open_call(self: &Arc<Self>, id: Option<Id>, reply_to: ReplyTo) -> Option<Answer> {
        let mut calls = lock(&self.calls);
        if calls.intake == Intake::Cancelled {
            return None;
        }
        calls.ever += 1;
        let number = calls.ever;
        let call = Arc::new(Call { number, id, reply_to: Mutex::new(Some(reply_to)) });
        calls.open.insert(number, Arc::clone(&call));
        Some(Answer { connection: Arc::clone(self), call })
    }

    fn close_call(&self, call: &Call) {
        let mut calls = lock(&self.calls);
        calls.open.remove(&call.number);
        if calls.intake == Intake::Draining && calls.open.is_empty() {
            // Ends the poll in `drain`.
            self.close();
        }
    }

    /// Waits until every call is answered, or the client is gone.
    fn drain(&self) {
        {
            let mut calls = lock(&self.calls);
            if calls.open.is_empty() {
                return;
            }
            calls.intake = Intake::Draining;
        }
        // Without events asked for, poll() reports a hangup: both directions are shut down, by the
        // client's close() (not by its shutdown() for writing, which brought us here) or by ours.
        let mut fds = [PollFd::new(&self.stream, PollFlags::empty())];
        while poll(&mut fds, None) == Err(rustix::io::Errno::INTR) {}
    }

    fn reply(&self, id: Option<&Id>, outcome: &Result<Value, RpcError>) {
        if let Some(bytes) = encode_reply(id, outcome) {
            self.send(&bytes);
        }
    }

    fn send(&self, bytes: &[u8]) {
        let _writing = lock(&self.output);
        if let Err(error) = (&self.stream).write_all(bytes) {
            tracing::debug!(%error, "rpc connection: cannot reply");
            // Part of a reply may be out, so nothing may follow it.
            self.close();
        }
    }

    /// After a fatal error: takes what the client still sends, for a while. A socket that is closed
    /// with unread input resets the connection, and the client might never see the error.
    fn discard_input(&self) {
        self.shut_down(Shutdown::Write);
        if self.stream.set_read_timeout(Some(limits::DISCARD_READ_TIMEOUT)).is_err() {
            return;
        }
        let mut input = vec![0; limits::READ_BYTES];
        for _ in 0..limits::DISCARD_READS_MAX {
            match (&self.stream).read(&mut input) {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
    }

    fn close(&self) {
        self.shut_down(Shutdown::Both);
    }

    fn shut_down(&self, how: Shutdown) {
        // Fails only if the client has closed first, which is as good.
        drop(self.stream.shutdown(how));
    }
}

impl Batch {
    /// Counts one answer, which is none for the start of the batch itself; the last sends them all.
    fn add(
        &self,
        connection: &Connection,
        answer: Option<(Option<&Id>, &Result<Value, RpcError>)>,
    ) {
        let mut open = lock(&self.0);
        if let Some((id, outcome)) = answer {
            open.reply.push(id, outcome);
        }
        open.missing -= 1;
        if open.missing > 0 {
            return;
        }
        let reply = mem::take(&mut open.reply);
        drop(open);
        if let Some(bytes) = reply.finish() {
            connection.send(&bytes);
        }
    }
}

/// The means to answer a call. The first answer counts. Dropped without one, it answers that there
/// is none: a method has panicked, or the thread for it could not be started.
struct Answer {
    connection: Arc<Connection>,
    call: Arc<Call>,
}

impl Answer {
    fn give(&self, outcome: &Result<Value, RpcError>) {
        let Some(reply_to) = lock(&self.call.reply_to).take() else { return };
        let id = self.call.id.as_ref();
        match reply_to {
            ReplyTo::Client => self.connection.reply(id, outcome),
            ReplyTo::Batch(batch) => batch.add(&self.connection, Some((id, outcome))),
        }
        self.connection.close_call(&self.call);
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.give(&Err(RpcError::internal("Internal error: the call has ended without an answer")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    /// Goal: a client that reads nothing does not hold up those who answer it for ever, neither the one that
    /// writes nor those who wait for their turn. Method: two replies of more than a socket holds.
    #[test]
    fn a_client_that_does_not_read_is_cut_off() {
        let (ours, _client) = UnixStream::pair().unwrap();
        let connection = Arc::new(Connection::new(ours, Duration::from_millis(50)));
        let (tell, told) = std::sync::mpsc::channel();
        for _ in 0..2 {
            let (connection, tell) = (Arc::clone(&connection), tell.clone());
            thread::spawn(move || {
                connection.send(&vec![b' '; 16 << 20]);
                tell.send(())
            });
        }
        for _ in 0..2 {
            told.recv_timeout(PATIENCE).expect("it gives up");
        }
        assert!((&connection.stream).write_all(b"x").is_err(), "it is closed");
    }

    /// Goal: one that reads slowly gets all of it.
    #[test]
    fn a_client_that_reads_slowly_is_waited_for() {
        let (ours, client) = UnixStream::pair().unwrap();
        let connection = Arc::new(Connection::new(ours, PATIENCE));
        let writer = Arc::clone(&connection);
        let writes = thread::spawn(move || writer.send(&vec![b'x'; 1 << 20]));
        let mut bytes = vec![0; 1 << 20];
        for part in bytes.chunks_mut(64 << 10) {
            thread::park_timeout(Duration::from_millis(5));
            (&client).read_exact(part).unwrap();
        }
        assert!(bytes.iter().all(|byte| *byte == b'x'));
        writes.join().unwrap();
    }
}
