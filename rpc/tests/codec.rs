//! The codec without a socket: every cut of a stream, every rule of the envelope, every limit.

#![expect(clippy::unwrap_used, reason = "test code may panic")]

use proptest::prelude::*;
use rpc::RpcError;
use rpc::codec::{
    BatchReply, Decoder, FrameError, Id, Message, ReplyDecoder, Request, encode_reply,
};
use rpc::error::{INTERNAL_ERROR, INVALID_REQUEST, PARSE_ERROR};
use rpc::limits::{REQUEST_BYTES_MAX, REQUEST_VALUES_MAX, RESPONSE_BYTES_MAX};
use serde_json::{Value, json};

/// What a stream of bytes, cut into `pieces` and then ended, is: messages, and the error behind
/// them. After an error there must be nothing more.
fn decode<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Message>, Option<RpcError>) {
    let mut decoder = Decoder::new();
    let mut messages = Vec::new();
    let mut error = None;
    let mut drain = |decoder: &mut Decoder| {
        loop {
            match decoder.next_message() {
                Ok(None) => return,
                Ok(Some(message)) => {
                    assert_eq!(error, None, "a message after an error");
                    messages.push(message);
                }
                Err(found) => {
                    assert_eq!(error.replace(found), None, "a second error");
                }
            }
        }
    };
    for piece in pieces {
        decoder.push(piece);
        drain(&mut decoder);
    }
    decoder.push_end();
    drain(&mut decoder);
    (messages, error)
}

/// The same with the error's wording left out, which may depend on when it was noticed.
fn verdict<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Message>, Option<i64>) {
    let (messages, error) = decode(pieces);
    (messages, error.map(|error| error.code))
}

fn single(text: &str) -> rpc::codec::Item {
    match decode([text.as_bytes()]) {
        (messages, None) => match <[Message; 1]>::try_from(messages) {
            Ok([Message::Single(item)]) => item,
            other => panic!("{text}: {other:?}"),
        },
        (_, Some(error)) => panic!("{text}: {error}"),
    }
}

fn request(text: &str) -> Request {
    single(text).unwrap()
}

/// The id and message of what is refused with -32600.
fn refused(text: &str) -> (Option<Id>, String) {
    let refusal = single(text).unwrap_err();
    assert_eq!(refusal.error.code, INVALID_REQUEST);
    (refusal.id, refusal.error.message)
}

fn text_id(id: &str) -> Option<Id> {
    Some(Id::Text(id.to_owned()))
}

/// Streams that have all there is: pretty-printed and run together, batches, strings with brackets
/// and escapes in them, scalars, and each way to end.
const STREAMS: &[&str] = &[
    "{\"method\":\"a\"}{\"method\":\"b\",\"id\":1}\n[{\"method\":\"c\"},1,[]][]",
    "{\n\t\"jsonrpc\": \"2.0\",\r\n\t\"method\": \"x\",\n\t\"params\": {\n\t\t\"s\": \"}{][\\\"\\\\\",\n\
     \t\t\"\\u00e9\": \"\\ud83d\\ude00é😀\"\n\t},\n\t\"id\": \"7\"\n}  \n",
    "{\"method\":\"n\",\"params\":[-0.5e-3,1E+2,0,null,true,false,{}],\"id\":18446744073709551615}",
    "null true false\"text\"12 -3.5e1{\"method\":\"a\"}7",
    "truefalse null\"\"{\"method\":\"a\"}",
    "{\"method\":\"a\"}{\"method\":",
    "{\"method\":\"a\"}{\"method\":\"b\",}{\"method\":\"c\"}",
    "{\"method\":\"a\"}]{\"method\":\"c\"}",
    "[{\"method\":\"a\"}}",
    "{\"method\":\"a\"}\u{feff}{\"method\":\"c\"}",
    "[1,2,00]",
    "[1.]",
    "[1.5.5]{}",
    "[tru]",
    "[trux",
    "nul",
    "12x",
    "1e999 ",
    "\"\u{1}\"",
    "\"\\q\"",
    "[\"\\ud800\"]",
    "   \n\t ",
    "",
];

#[test]
fn it_makes_no_difference_where_a_stream_is_cut() {
    for stream in STREAMS {
        let bytes = stream.as_bytes();
        let whole = verdict([bytes]);
        for at in 0..=bytes.len() {
            assert_eq!(verdict([&bytes[..at], &bytes[at..]]), whole, "{stream:?} at {at}");
        }
        assert_eq!(verdict(bytes.chunks(1)), whole, "{stream:?} byte by byte");
        assert_eq!(verdict(bytes.chunks(3)), whole, "{stream:?} by threes");
    }
}

#[test]
fn streams_mean_what_they_should() {
    let kinds: Vec<(usize, bool)> = STREAMS
        .iter()
        .map(|stream| verdict([stream.as_bytes()]))
        .map(|(messages, error)| (messages.len(), error.is_some()))
        .collect();
    let expected = [
        (4, false),
        (1, false),
        (1, false),
        (8, false),
        (5, false),
        (1, true),
        (1, true),
        (1, true),
        (0, true),
        (1, true),
        (0, true),
        (0, true),
        (0, true),
        (0, true),
        (0, true),
        (0, true),
        (0, true),
        (0, true),
        (0, true),
        (0, true),
        (0, true),
        (0, false),
        (0, false),
    ];
    assert_eq!(kinds, expected);
}

#[test]
fn members_of_a_request() {
    let full = request(r#"{"jsonrpc":"2.0","id":7,"method":"m","params":{"a":[1]}}"#);
    assert_eq!(full.id, Some(Id::from(7)));
    assert_eq!((full.method.as_str(), full.params), ("m", Some(json!({"a": [1]}))));

    let bare = Request { id: None, method: "m".to_owned(), params: None };
    assert_eq!(request(r#"{"method":"m"}"#), bare);
    assert_eq!(request(r#"{"method":"m","params":null,"id":null}"#), bare);
    assert_eq!(request(r#"{"method":"m","params":[]}"#).params, Some(json!([])));
    assert_eq!(request(r#"{"id":"x","method":""}"#).id, text_id("x"));
    assert_eq!(request(r#"{"id":-1.5,"method":"m"}"#).id, Some(Id::Number(number(-1.5))));
}

fn number(value: f64) -> serde_json::Number {
    serde_json::Number::from_f64(value).unwrap()
}

#[test]
fn what_is_no_request_is_refused_with_its_id_if_that_is_legible() {
    let cases = [
        (r#"{"jsonrpc":"1.0","id":"x","method":"m"}"#, text_id("x"), "\"1.0\" should be \"2.0\""),
        (r#"{"jsonrpc":2.0,"id":"x","method":"m"}"#, text_id("x"), "jsonrpc: 2.0 should be"),
        (r#"{"jsonrpc":null,"id":"x","method":"m"}"#, text_id("x"), "jsonrpc: null should be"),
        (r#"{"id":"x"}"#, text_id("x"), "method is missing"),
        (r#"{"id":"x","method":5}"#, text_id("x"), "method: 5 should be a string"),
        (r#"{"id":"x","method":null}"#, text_id("x"), "method: null should be a string"),
        (r#"{"id":"x","method":"m","params":5}"#, text_id("x"), "params: 5 should be"),
        (r#"{"id":"x","method":"m","params":"p"}"#, text_id("x"), "params: \"p\" should be"),
        (r#"{"id":"x","method":"m","param":{}}"#, text_id("x"), "\"param\": only jsonrpc, id,"),
        (r#"{"id":[1],"method":"m"}"#, None, "id: [1] should be a string, a number or null"),
        (r#"{"id":true,"method":"m"}"#, None, "id: true should be"),
        (r#"{}"#, None, "method is missing"),
        (r#"[]"#, None, "at least one request"),
        (r#""text""#, None, "\"text\" should be an object"),
        (r#"17 "#, None, "17 should be an object"),
        (r#"null"#, None, "null should be an object"),
    ];
    for (text, id, words) in cases {
        let (found_id, message) = refused(text);
        assert_eq!(found_id, id, "{text}");
        assert!(message.starts_with("Invalid request: "), "{message}");
        assert!(message.contains(words), "{text}: {message}");
    }
    let long = format!("{{\"id\":1,\"method\":\"m\",\"{}\":1}}", "k".repeat(10_000));
    assert!(refused(&long).1.len() < 300);
}

#[test]
fn a_batch_refuses_its_bad_requests_one_by_one() {
    let stream = r#"[{"method":"a","id":1}, 5, [], {"id":2}, {"method":"b"}]"#;
    let (messages, error) = decode([stream.as_bytes()]);
    assert_eq!(error, None);
    let [Message::Batch(items)] = &messages[..] else { panic!("{messages:?}") };
    let oks: Vec<bool> = items.iter().map(Result::is_ok).collect();
    assert_eq!(oks, [true, false, false, false, true]);
    assert_eq!(items[3].as_ref().unwrap_err().id, Some(Id::from(2)));
}

#[test]
fn errors_are_found_before_the_value_is_complete() {
    // A client that sends one of these waits for an answer, and nothing more will come.
    let cases =
        ["x", "}", "{x", "{\"a\" 1", "[1 2", "{\"method\": nope", "[\"\u{1}", "[01 ", "[1,]", "[+"];
    for stream in cases {
        let mut decoder = Decoder::new();
        decoder.push(stream.as_bytes());
        match decoder.next_message() {
            Err(error) => assert_eq!(error.code, PARSE_ERROR, "{stream:?}"),
            other => panic!("{stream:?}: {other:?}"),
        }
    }
}

/// How many bytes of rubbish it takes to notice them behind a string of `good_bytes` that came in
/// byte by byte.
fn unnoticed(mut decoder: Decoder, good_bytes: usize) -> usize {
    let mut push = |byte: u8| {
        decoder.push(&[byte]);
        decoder.next_message()
    };
    for byte in [b'[', b'"'].into_iter().chain(vec![b'a'; good_bytes]).chain([b'"']) {
        assert_eq!(push(byte), Ok(None));
    }
    (0..).take_while(|_| push(b'x').is_ok()).count()
}

/// Looking for errors in a value that trickles in must not cost quadratic time, so looks become
/// rare as the value grows. (Each of them finds what is wrong anywhere in the value.)
#[test]
fn looks_at_a_value_that_trickles_in_are_rationed() {
    assert_eq!(unnoticed(Decoder::new(), 100), 0);
    // Eight bytes of looking are earned with every byte, so this is how far two looks are apart.
    let late = unnoticed(Decoder::new(), 60_000);
    assert!((100..=60_000 / 8 + 1000).contains(&late), "noticed after {late} bytes");
}

#[test]
fn looks_that_short_requests_have_not_used_are_not_saved_up() {
    let mut decoder = Decoder::new();
    decoder.push(&b"{\"method\":\"m\"}".repeat(100_000));
    while decoder.next_message().unwrap().is_some() {}
    let late = unnoticed(decoder, 2000);
    assert!((10..=2000 / 8 + 1000).contains(&late), "noticed after {late} bytes");
}

#[test]
fn a_parse_error_tells_what_and_where() {
    let (_, error) = decode([&b"{\"a\":1,}"[..]]);
    assert_eq!(error.unwrap().message, "Parse error: trailing comma at line 1 column 8");
    let (_, error) = decode([&b"{\"a\":"[..]]);
    assert_eq!(error.unwrap().message, "Parse error: the input ends inside a JSON value");
    let (_, error) = decode([&b"\xff"[..]]);
    assert_eq!(error.unwrap().message, "Parse error: no JSON value begins with byte 0xff");
    let (_, error) = decode([&b"\"\xff\""[..]]);
    assert!(error.unwrap().message.starts_with("Parse error: invalid unicode"));
}

/// A request of exactly this many bytes.
fn request_of(len_bytes: usize) -> Vec<u8> {
    let frame = r#"{"method":"m","params":[""]}"#.len();
    format!(r#"{{"method":"m","params":["{}"]}}"#, "x".repeat(len_bytes - frame)).into_bytes()
}

#[test]
fn the_longest_request_is_taken_and_a_longer_one_is_not() {
    for pieces in [1, 1000, usize::MAX] {
        let longest = request_of(REQUEST_BYTES_MAX);
        let (messages, error) = decode(longest.chunks(pieces));
        assert_eq!((messages.len(), error), (1, None), "in pieces of {pieces}");

        let longer = request_of(REQUEST_BYTES_MAX + 1);
        let (messages, error) = decode(longer.chunks(pieces));
        assert_eq!(messages, []);
        assert_eq!(
            error.unwrap().message,
            "Parse error: a JSON value is longer than 262144 bytes",
            "in pieces of {pieces}"
        );
    }
    // White space before and after does not count, and neither do other requests.
    let mut stream = b"  {\"method\":\"a\"}\n\n".repeat(20_000);
    stream.extend(request_of(REQUEST_BYTES_MAX));
    stream.extend(b" ".repeat(2 * REQUEST_BYTES_MAX));
    let (messages, error) = decode([&stream[..]]);
    assert_eq!((messages.len(), error), (20_001, None));
}

#[test]
fn rubbish_of_a_megabyte_is_one_error_wherever_it_is_cut() {
    let garbage = [
        "x".repeat(1 << 20),
        "{".repeat(1 << 20),
        "[".repeat(1 << 20),
        "\\\"".repeat(1 << 19),
        "7".repeat(1 << 20),
        format!("[{}", "7".repeat(1 << 20)),
        format!("{{\"a\":\"{}", "a".repeat(1 << 20)),
        format!("[{}", "\"\",".repeat(1 << 18)),
        format!("[\"{}\" \"", "a".repeat(REQUEST_BYTES_MAX - 100)),
    ];
    for stream in &garbage {
        let whole = verdict([stream.as_bytes()]);
        assert_eq!(whole, (vec![], Some(PARSE_ERROR)), "{}", &stream[..20]);
        assert_eq!(verdict(stream.as_bytes().chunks(1)), whole, "{}", &stream[..20]);
        assert_eq!(verdict(stream.as_bytes().chunks(65_536)), whole, "{}", &stream[..20]);
    }
}

#[test]
fn values_are_counted_as_spdk_counts_them() {
    // Object, its end, and two names and values make 6; array and end make 2 more, less the value.
    let with = |values: usize| {
        let zeroes = vec!["0"; values - 7].join(",");
        format!("{{\"method\":\"m\",\"params\":[{zeroes}]}}")
    };
    let (messages, error) = decode([with(REQUEST_VALUES_MAX).as_bytes()]);
    assert_eq!((messages.len(), error), (1, None));
    for pieces in [1, usize::MAX] {
        let (messages, error) = decode(with(REQUEST_VALUES_MAX + 1).as_bytes().chunks(pieces));
        assert_eq!(messages, []);
        assert_eq!(error.unwrap().message, "Parse error: more than 8192 JSON values in one");
    }
    // Each request has its own count.
    let many = "{\"method\":\"m\"}".repeat(REQUEST_VALUES_MAX);
    assert_eq!(decode([many.as_bytes()]).0.len(), REQUEST_VALUES_MAX);
}

#[test]
fn nesting_is_bounded() {
    let nested = |depth: usize| {
        let (open, close) = ("[".repeat(depth), "]".repeat(depth));
        format!("{{\"method\":\"m\",\"params\":{open}{close}}}")
    };
    assert_eq!(decode([nested(64).as_bytes()]).1, None);
    let (messages, error) = decode([nested(4000).as_bytes()]);
    assert_eq!(messages, []);
    assert!(error.unwrap().message.starts_with("Parse error: recursion limit exceeded"));
}

fn ok(value: Value) -> Result<Value, RpcError> {
    Ok(value)
}

fn reply(id: Option<Id>, outcome: &Result<Value, RpcError>) -> Option<String> {
    encode_reply(id.as_ref(), outcome).map(|bytes| String::from_utf8(bytes).unwrap())
}

#[test]
fn replies_look_like_spdks() {
    let seven = Some(Id::from(7));
    assert_eq!(
        reply(seven.clone(), &ok(json!([true]))).unwrap(),
        "{\"jsonrpc\":\"2.0\",\"id\":7,\"result\":[true]}\n"
    );
    assert_eq!(
        reply(text_id("a\"b"), &ok(Value::Null)).unwrap(),
        "{\"jsonrpc\":\"2.0\",\"id\":\"a\\\"b\",\"result\":null}\n"
    );
    let error = Err(RpcError::errno(rpc::error::errno::ENODEV, ""));
    assert_eq!(
        reply(seven, &error).unwrap(),
        "{\"jsonrpc\":\"2.0\",\"id\":7,\"error\":{\"code\":-19,\"message\":\"No such device\"}}\n"
    );
}

#[test]
fn a_notification_gets_its_error_but_not_its_result() {
    assert_eq!(reply(None, &ok(json!(1))), None);
    assert_eq!(
        reply(None, &Err(RpcError::internal("no"))).unwrap(),
        "{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-32603,\"message\":\"no\"}}\n"
    );
}

#[test]
fn a_batch_is_answered_by_one_array_or_not_at_all() {
    assert_eq!(BatchReply::default().finish(), None);
    let mut notifications = BatchReply::default();
    notifications.push(None, &ok(json!(1)));
    assert_eq!(notifications.finish(), None);

    let mut batch = BatchReply::default();
    batch.push(Some(&Id::from(2)), &ok(json!("b")));
    batch.push(None, &ok(json!("unseen")));
    batch.push(None, &Err(RpcError::invalid_request("x")));
    assert_eq!(
        String::from_utf8(batch.finish().unwrap()).unwrap(),
        "[{\"jsonrpc\":\"2.0\",\"id\":2,\"result\":\"b\"},{\"jsonrpc\":\"2.0\",\"id\":null,\
         \"error\":{\"code\":-32600,\"message\":\"Invalid request: x\"}}]\n"
    );
}

/// A reply whose result is a string of this many characters.
fn text_of(len_bytes: usize) -> Result<Value, RpcError> {
    Ok(Value::String("x".repeat(len_bytes)))
}

fn decode_replies(bytes: &[u8]) -> Vec<rpc::codec::Reply> {
    let mut decoder = ReplyDecoder::new();
    decoder.push(bytes);
    std::iter::from_fn(|| decoder.next_reply().unwrap()).collect()
}

#[test]
fn a_response_that_is_too_long_becomes_an_error() {
    let id = Id::from(1);
    let frame = encode_reply(Some(&id), &text_of(0)).unwrap().len();
    let longest = encode_reply(Some(&id), &text_of(RESPONSE_BYTES_MAX - frame)).unwrap();
    assert_eq!(longest.len(), RESPONSE_BYTES_MAX);
    assert!(decode_replies(&longest)[0].outcome.is_ok());

    let longer = encode_reply(Some(&id), &text_of(RESPONSE_BYTES_MAX - frame + 1)).unwrap();
    let [answer] = &decode_replies(&longer)[..] else { panic!() };
    assert_eq!(answer.id, Some(id));
    let error = answer.outcome.as_ref().unwrap_err();
    assert_eq!(error.code, INTERNAL_ERROR);
    assert_eq!(error.message, "the response is longer than 33554432 bytes");
}

#[test]
fn the_longest_batch_is_as_long_as_the_longest_reply() {
    let batch_of = |len_bytes: usize| {
        let mut batch = BatchReply::default();
        batch.push(Some(&Id::from(1)), &text_of(len_bytes));
        batch.finish().unwrap()
    };
    let frame = batch_of(0).len();
    assert_eq!(batch_of(RESPONSE_BYTES_MAX - frame).len(), RESPONSE_BYTES_MAX);
    assert!(batch_of(RESPONSE_BYTES_MAX - frame + 1).len() < 200);
}

#[test]
fn of_a_batch_that_is_too_long_each_request_is_still_answered() {
    let third = text_of(RESPONSE_BYTES_MAX / 3);
    let mut batch = BatchReply::default();
    for id in 0..4 {
        batch.push(Some(&Id::from(id)), &third);
    }
    batch.push(Some(&Id::from(4)), &ok(json!(true)));
    let bytes = batch.finish().unwrap();
    assert!(bytes.len() < RESPONSE_BYTES_MAX + 1000);
    let replies: Vec<Value> = serde_json::from_slice(&bytes).unwrap();
    let fitted: Vec<bool> = replies.iter().map(|reply| reply.get("result").is_some()).collect();
    assert_eq!(fitted, [true, true, false, false, true]);
}

#[test]
fn replies_of_other_servers_are_understood() {
    let stream = br#"{"result":null,"id":1}{"error":{"code":-5,"message":"m","data":[1]},"id":null}
        {"jsonrpc":"2.0","id":"x","result":{},"error":null,"more":1}"#;
    let replies = decode_replies(stream);
    assert_eq!(replies[0].outcome, ok(Value::Null));
    assert_eq!((&replies[1].id, &replies[1].outcome), (&None, &Err(RpcError::new(-5, "m"))));
    assert_eq!((&replies[2].id, &replies[2].outcome), (&text_id("x"), &ok(json!({}))));
    for text in
        ["[]", "{\"id\":1}", "{\"id\":1,\"error\":7}", "7 ", "{\"id\":{},\"result\":1}", "x"]
    {
        let mut decoder = ReplyDecoder::new();
        decoder.push(text.as_bytes());
        assert!(matches!(decoder.next_reply(), Err(FrameError::Syntax(_))), "{text}");
    }
}

/// JSON without doubles, which serde_json does not carry to the last bit.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(any::<String>(), inner, 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn any_id() -> impl Strategy<Value = Option<Id>> {
    prop_oneof![
        Just(None),
        any::<u64>().prop_map(|id| Some(Id::from(id))),
        any::<i64>().prop_map(|id| Some(Id::Number(id.into()))),
        any::<String>().prop_map(|id| Some(Id::Text(id))),
    ]
}

fn any_request() -> impl Strategy<Value = Request> {
    let params = prop::option::of(
        any_json().prop_filter("object or array", |json| json.is_object() || json.is_array()),
    );
    (any_id(), any::<String>(), params).prop_map(|(id, method, params)| Request {
        id,
        method,
        params,
    })
}

/// Bytes that look like JSON often enough to get somewhere.
fn any_rubbish() -> impl Strategy<Value = Vec<u8>> {
    let tokens = prop::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        "\"",
        "\\",
        ":",
        ",",
        " ",
        "\n",
        "0",
        "1",
        "-",
        ".",
        "e",
        "+",
        "null",
        "true",
        "false",
        "t",
        "\\u12",
        "\\ud83d",
        "é",
        "\u{1}",
        "\"method\":\"m\"",
        "\"id\":1",
        "{\"method\":\"m\"}",
        "[1]",
        "\"\"",
        "{}",
    ]);
    prop_oneof![
        prop::collection::vec(tokens, 0..40).prop_map(|tokens| tokens.concat().into_bytes()),
        prop::collection::vec(any::<u8>(), 0..200),
    ]
}

/// `bytes` cut at the places that `cuts` names, modulo the length.
fn cut<'a>(bytes: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let mut places: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
    places.extend([0, bytes.len()]);
    places.sort_unstable();
    places.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// No input panics, and how it is cut makes no difference.
    #[test]
    fn any_bytes_have_one_meaning(bytes in any_rubbish(), cuts: [usize; 5]) {
        let whole = verdict([&bytes[..]]);
        prop_assert_eq!(&verdict(cut(&bytes, &cuts)), &whole);
        prop_assert_eq!(&verdict(bytes.chunks(1)), &whole);
        prop_assert!(matches!(whole.1, None | Some(PARSE_ERROR)));
    }

    /// The decoder agrees with serde_json on what one value is.
    #[test]
    fn one_value_is_taken_when_serde_json_takes_it(bytes in any_rubbish()) {
        let (messages, error) = verdict([&bytes[..]]);
        let taken = serde_json::Deserializer::from_slice(&bytes).into_iter::<Value>();
        let values: Vec<_> = taken.collect();
        // A number may have anything behind it here, while serde_json wants a delimiter.
        if values.iter().all(Result::is_ok) {
            prop_assert_eq!((messages.len(), error), (values.len(), None));
        }
    }

    /// Requests survive the wire, one by one or as a stream.
    #[test]
    fn requests_round_trip(requests in prop::collection::vec(any_request(), 0..4), cuts: [usize; 5]) {
        let mut stream = Vec::new();
        for request in &requests {
            stream.extend(request.encode());
        }
        let (messages, error) = decode(cut(&stream, &cuts));
        prop_assert_eq!(error, None);
        let expected: Vec<Message> =
            requests.into_iter().map(|request| Message::Single(Ok(request))).collect();
        prop_assert_eq!(messages, expected);
    }

    /// So do replies.
    #[test]
    fn replies_round_trip(id in any_id(), outcome in prop_oneof![
        any_json().prop_map(Ok),
        (any::<i64>(), any::<String>()).prop_map(|(code, text)| Err(RpcError::new(code, text))),
    ]) {
        let Some(bytes) = encode_reply(id.as_ref(), &outcome) else {
            prop_assert!(id.is_none() && outcome.is_ok());
            return Ok(());
        };
        let replies = decode_replies(&bytes);
        prop_assert_eq!(replies, [rpc::codec::Reply { id, outcome }]);
    }
}
