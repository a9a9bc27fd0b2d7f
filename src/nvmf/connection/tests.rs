//! What only the connection itself can show: back-pressure, time, and the end. The rest is in
//! `nvmf::tests`, over bytes.

use nvme::Sgl;
use nvme::pdu::Kind;

use super::*;
use crate::nvmf::model::connection_config;

fn bytes_of(pdu: &Pdu, data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 256];
    let len = Format::default().put(pdu, &mut bytes);
    bytes.truncate(len);
    bytes.extend_from_slice(data);
    bytes
}

fn request() -> Vec<u8> {
    bytes_of(&Pdu { header: Header::IcReq(IcReq::default()), flags: 0, data_bytes: 0 }, &[])
}

fn command(cid: u16, sgl: Sgl, data: &[u8]) -> Vec<u8> {
    let sqe = Sqe { opcode: 1, cid, nsid: 1, ..Sqe::default() }.with_sgl(sgl);
    let pdu = Pdu { header: Header::CapsuleCmd(sqe), flags: 0, data_bytes: data.len() as u32 };
    bytes_of(&pdu, data)
}

/// A connection that is I/O queue 1 with 4 entries, and has sent everything.
fn open() -> Connection {
    let mut connection = Connection::new(connection_config(), 0);
    assert_eq!(connection.header(&request()), (128, None));
    connection.bind(1, 4, false);
    connection.sent(128, |_| panic!("no command yet"));
    connection
}

fn sent_bytes(connection: &Connection) -> usize {
    connection
        .parts()
        .map(|part| match part {
            Part::Bytes(bytes) => bytes.len(),
            Part::Data { len_bytes, .. } => len_bytes as usize,
        })
        .sum()
}

fn arrive(connection: &mut Connection, bytes: &[u8]) -> Tag {
    match connection.header(bytes) {
        (72, Some(Event::Command { tag, .. })) => tag,
        other => panic!("{other:?}"),
    }
}

/// Goal: data in a capsule waits for its buffer, and with it everything behind; commands without wait
/// beside each other. Method: decisions that are put off.
#[test]
fn undecided_data_holds_the_stream() {
    let mut connection = open();
    let first = arrive(&mut connection, &command(1, Sgl::transport(512), &[]));
    assert_eq!(connection.want(), Want::Header);
    let second = arrive(&mut connection, &command(2, Sgl::in_capsule(512), &[7; 512]));
    assert_eq!(connection.want(), Want::Paused);
    assert_eq!(connection.header(&[7; 512]), (0, None), "nothing is taken");

    let accepted = connection.accept(second, Transfer::FromHost { len_bytes: 512 });
    assert_eq!(accepted, Ok(Accepted::Receiving));
    assert_eq!(connection.want(), Want::Data { tag: second, offset: 0, len_bytes: 512 });
    assert_eq!(connection.placed(&[7; 500]), None);
    assert_eq!(connection.want(), Want::Data { tag: second, offset: 500, len_bytes: 12 });
    assert_eq!(connection.placed(&[7; 12]), Some(Event::Ready { tag: second }));

    let third = arrive(&mut connection, &command(3, Sgl::in_capsule(512), &[7; 512]));
    connection.refuse(third, Status::LBA_OUT_OF_RANGE);
    assert_eq!(connection.want(), Want::Discard { len_bytes: 512 });
    connection.discarded(512);
    assert_eq!(connection.want(), Want::Header);
    let accepted = connection.accept(first, Transfer::FromHost { len_bytes: 512 });
    assert_eq!(accepted, Ok(Accepted::Receiving), "R2T is queued");
    assert_eq!(sent_bytes(&connection), 24 + 24);
}

/// Goal: time closes what does not come along, and nothing else. Method: each reason, one microsecond
/// before and after, and waiting that is this side's own.
#[test]
fn time_closes() {
    let mut connection = Connection::new(connection_config(), 0);
    assert_eq!(connection.tick(HANDSHAKE_US), None);
    assert_eq!(connection.tick(HANDSHAKE_US + 1), Some(CloseReason::Handshake));

    let mut connection = open();
    assert_eq!(connection.tick(1 << 60), None, "a queue may be idle for ever");
    connection.header(&[Kind::CapsuleCmd.number()]);
    assert_eq!(connection.tick(1 << 60), None);
    assert_eq!(connection.tick((1 << 60) + HALF_PDU_US + 1), Some(CloseReason::HalfPdu));

    let mut connection = open();
    let tag = arrive(&mut connection, &command(1, Sgl::in_capsule(512), &[7; 512]));
    assert_eq!(
        (connection.tick(1), connection.tick(1 << 60)),
        (None, None),
        "it waits for a buffer"
    );
    assert!(connection.accept(tag, Transfer::FromHost { len_bytes: 512 }).is_ok());
    assert_eq!(connection.tick((1 << 60) + HALF_PDU_US), None);
    assert_eq!(connection.tick((1 << 60) + HALF_PDU_US + 1), Some(CloseReason::HalfPdu));

    let mut connection = open();
    let tag = arrive(&mut connection, &command(1, Sgl::transport(512), &[]));
    connection.refuse(tag, Status::INVALID_FIELD);
    assert_eq!(connection.tick(5), None);
    connection.sent(1, |_| {});
    assert_eq!(connection.tick(UNREAD_US + 5), None, "one byte was read");
    assert_eq!(connection.tick(2 * UNREAD_US + 6), Some(CloseReason::Unread));
}

/// Goal: at the end every tag is given back once: at `close` those that nobody executes, the others when
/// they are completed. Method: a command in each state.
#[test]
fn the_end_gives_everything_back() {
    let mut connection = open();
    let tags: Vec<Tag> = (0..4)
        .map(|cid| arrive(&mut connection, &command(cid, Sgl::transport(512), &[])))
        .collect();
    let [deciding, receiving, executing, responding] = tags[..] else { panic!("{tags:?}") };
    let (from, to) = (Transfer::FromHost { len_bytes: 512 }, Transfer::ToHost { len_bytes: 512 });
    assert_eq!(connection.accept(receiving, from), Ok(Accepted::Receiving));
    assert_eq!(connection.accept(executing, to), Ok(Accepted::Ready));
    assert_eq!(connection.accept(responding, to), Ok(Accepted::Ready));
    assert!(!connection.complete(responding, Completion::OK, 512, |_| 0));

    // One command too many: the connection ends with a C2HTermReq behind all that was queued.
    let (_, event) = connection.header(&command(9, Sgl::transport(512), &[]));
    assert_eq!(event, Some(Event::Ending { error: FatalError::of(Fes::Sequence) }));
    assert_eq!(connection.want(), Want::Closed);
    assert_eq!(sent_bytes(&connection), 24 + 24 + 512 + 24 + 72);

    let mut released = Vec::new();
    connection.close(|tag| released.push(tag));
    released.sort_unstable();
    let mut expected = vec![deciding, receiving, responding];
    expected.sort_unstable();
    assert_eq!((released, connection.is_idle()), (expected, false));
    assert!(connection.complete(executing, Completion::OK, 512, |_| 0));
    assert!(connection.is_idle() && !connection.has_output());
}
