//! Requests and replies on a stream: no bytes panic, and it does not matter where they are cut.
#![no_main]

use fuzz::Input;
use libfuzzer_sys::fuzz_target;
use rpc::RpcError;
use rpc::codec::{Decoder, Message, ReplyDecoder, encode_reply};
use serde_json::Value;

/// All messages of a stream that comes in these pieces, and how it ends.
fn messages<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<Message>, Option<i64>) {
    let mut decoder = Decoder::new();
    let mut seen = Vec::new();
    let mut take = |decoder: &mut Decoder| loop {
        match decoder.next_message() {
            Ok(Some(message)) => seen.push(message),
            Ok(None) => return None,
            Err(RpcError { code, .. }) => return Some(code),
        }
    };
    for piece in pieces {
        decoder.push(piece);
        if let Some(code) = take(&mut decoder) {
            return (seen, Some(code));
        }
    }
    decoder.push_end();
    let end = take(&mut decoder);
    (seen, end)
}

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input(bytes);
    let step = usize::from(input.byte() % 16) + 1;
    let stream = input.0;
    let whole = messages(std::iter::once(stream));
    assert_eq!(messages(stream.chunks(step)), whole);

    for message in &whole.0 {
        let Message::Single(Ok(request)) = message else { continue };
        // What is encoded is one message, and the same.
        let (again, end) = messages(std::iter::once(&request.encode()[..]));
        assert_eq!((&again[..], end), (std::slice::from_ref(message), None));
        let outcome = Ok(request.params.clone().unwrap_or(Value::Null));
        let Some(reply) = encode_reply(request.id.as_ref(), &outcome) else { continue };
        let mut decoder = ReplyDecoder::new();
        decoder.push(&reply);
        let reply = decoder.next_reply().expect("it is a reply").expect("it is whole");
        assert_eq!((reply.id, reply.outcome), (request.id.clone(), outcome));
    }

    let mut replies = ReplyDecoder::new();
    replies.push(stream);
    while let Ok(Some(_)) = replies.next_reply() {}
});
