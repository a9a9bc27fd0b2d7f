//! Bytes by hand: what is malformed, out of order or cut, and what is answered, byte for byte.

use nvme::command::io;
use nvme::fabrics::{Connect, ConnectData, PropertySet, kind};
use nvme::pdu::{Digests, Fes, Format, Header, IcReq, Kind, Pdu, TermReq, Transfer, digest, flag};
use nvme::register::{Cc, offset};
use nvme::stream::{Arrival, Reader, ReaderWant, Side};
use nvme::{Cqe, Nqn, Sgl, Sqe, Status};

use super::host::host_nqn;
use crate::nvmf::model::{LinkId, Model, nqn};

/// A PDU with its data, as a host makes it.
fn bytes_of(format: Format, pdu: &Pdu, data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 256];
    let len = format.put(pdu, &mut bytes);
    bytes.truncate(len);
    bytes.extend_from_slice(data);
    if format.digests.data && !data.is_empty() && pdu.header.kind().has_digests() {
        bytes.extend_from_slice(&digest(data).to_le_bytes());
    }
    bytes
}

fn ic(change: impl FnOnce(&mut IcReq)) -> Vec<u8> {
    let mut request = IcReq::default();
    change(&mut request);
    let pdu = Pdu { header: Header::IcReq(request), flags: 0, data_bytes: 0 };
    bytes_of(Format::default(), &pdu, &[])
}

fn capsule(format: Format, sqe: Sqe, data: &[u8]) -> Vec<u8> {
    let pdu = Pdu { header: Header::CapsuleCmd(sqe), flags: 0, data_bytes: data.len() as u32 };
    bytes_of(format, &pdu, data)
}

fn connect(format: Format, qid: u16, cntlid: u16, subsystem: &Nqn) -> Vec<u8> {
    let connect = Connect { record_format: 0, qid, sq_size: 31, attributes: 4, keep_alive_ms: 0 };
    let data = ConnectData {
        host_id: [7; 16],
        cntlid,
        subsystem_nqn: subsystem.to_field(),
        host_nqn: host_nqn().to_field(),
    };
    let sqe = Sqe { cid: 100, ..Sqe::fabrics(kind::CONNECT, &connect) };
    capsule(format, sqe.with_sgl(Sgl::in_capsule(1024)), &data.to_bytes())
}

fn enable(format: Format) -> Vec<u8> {
    let set = PropertySet { size_code: 0, offset: offset::CC, value: u64::from(Cc::ENABLED.0) };
    capsule(format, Sqe { cid: 101, ..Sqe::fabrics(kind::PROPERTY_SET, &set) }, &[])
}

/// A connection that is I/O queue 1 of a controller that is ready; what it said so far is read.
fn io_queue(model: &mut Model, format: Format) -> LinkId {
    let admin = model.open();
    for bytes in
        [ic(|_| {}), connect(Format::default(), 0, 0xffff, &nqn()), enable(Format::default())]
    {
        model.feed(admin, &bytes);
    }
    let link = model.open();
    model.feed(link, &ic(|request| request.digests = format.digests.bits()));
    model.feed(link, &connect(format, 1, 1, &nqn()));
    model.output(link, usize::MAX);
    assert!(!model.is_closed(link));
    link
}

/// The PDUs of a stream to a host, and the data between them.
fn parse(digests: Digests, bytes: &[u8]) -> Vec<(Pdu, Vec<u8>)> {
    let mut reader = Reader::new(Side::Host);
    reader.negotiated(digests, 0);
    let mut pdus: Vec<(Pdu, Vec<u8>)> = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        match reader.want() {
            ReaderWant::Header => {
                let (used, arrival) = reader.header(&bytes[at..]).unwrap();
                at += used;
                match arrival {
                    Some(Arrival::Pdu(pdu)) => pdus.push((pdu, Vec::new())),
                    Some(Arrival::DataEnd { intact }) => assert!(intact),
                    None => {}
                }
            }
            ReaderWant::Data { left } => {
                let end = bytes.len().min(at + left as usize);
                pdus.last_mut().unwrap().1.extend_from_slice(&bytes[at..end]);
                reader.data(&bytes[at..end]);
                at = end;
            }
            ReaderWant::Closed => panic!("closed"),
        }
    }
    assert!(!reader.is_inside(), "the last PDU is complete");
    pdus
}

fn response(pdu: &Pdu) -> Cqe {
    let Header::CapsuleResp(cqe) = pdu.header else { panic!("{pdu:?}") };
    cqe
}

/// What ended a connection.
fn termination(bytes: &[u8]) -> (Option<Fes>, u32, Vec<u8>) {
    let pdus = parse(Digests::default(), bytes);
    let (pdu, quoted) = pdus.last().expect("a C2HTermReq");
    let Header::C2HTermReq(TermReq { status, information }) = pdu.header else { panic!("{pdu:?}") };
    (Fes::from_number(status), information, quoted.clone())
}

fn write(cid: u16, blocks: u32) -> Sqe {
    Sqe { opcode: io::WRITE, cid, nsid: 1, ..Sqe::default() }.with_blocks(0, blocks)
}

fn h2c(flags: u8, transfer: Transfer, data: &[u8]) -> Vec<u8> {
    let pdu = Pdu { header: Header::H2CData(transfer), flags, data_bytes: data.len() as u32 };
    bytes_of(Format::default(), &pdu, data)
}

/// Goal: whoever breaks the protocol is told what the specification says, with the header in error, and
/// the connection closes. Method: every way to open wrongly.
#[test]
fn a_wrong_opening_is_terminated() {
    let unsupported = Some(Fes::UnsupportedParameter);
    let invalid = Some(Fes::InvalidHeader);
    let sequence = Some(Fes::Sequence);
    let none = Format::default();
    let mut long = ic(|_| {});
    long[4] = 200;
    let cases: [(Vec<u8>, Option<Fes>, u32); 8] = [
        (ic(|request| request.version = 1), unsupported, 8),
        (ic(|request| request.alignment = 32), invalid, 10),
        (ic(|request| request.digests = 4), invalid, 11),
        (long, invalid, 4),
        (vec![1, 0, 128, 0, 128, 0, 0, 0], invalid, 0),
        (vec![0xee; 8], invalid, 0),
        (capsule(none, Sqe::default(), &[]), sequence, 0),
        ([ic(|_| {}), ic(|_| {})].concat(), sequence, 0),
    ];
    for (bytes, status, information) in cases {
        let mut model = Model::new(64);
        let link = model.open();
        model.feed(link, &bytes);
        let output = model.output(link, usize::MAX);
        let (found, at, quoted) = termination(&output);
        assert_eq!((found, at), (status, information), "{bytes:x?}");
        assert!(bytes.windows(quoted.len()).any(|part| part == quoted), "the header in error");
        assert!(model.is_closed(link));
    }
}

/// Goal: data that was not asked for, is out of order, too much or too little is terminated as the
/// specification says. Method: an R2T for 8 KiB, and every wrong answer to it.
#[test]
fn wrong_data_is_terminated() {
    let invalid = Some(Fes::InvalidHeader);
    let range = Some(Fes::DataOutOfRange);
    let limit = Some(Fes::LimitExceeded);
    // The model names its commands in order of arrival, from 0.
    let right = Transfer { cid: 5, tag: 0, offset: 0, len_bytes: 4096 };
    let half = [0x11; 4096];
    let cases: [(Vec<u8>, Option<Fes>, u32); 11] = [
        (h2c(0, Transfer { tag: 1, ..right }, &half), invalid, 10),
        (h2c(0, Transfer { tag: 999, ..right }, &half), invalid, 10),
        (h2c(0, Transfer { cid: 6, ..right }, &half), invalid, 8),
        (h2c(0, Transfer { len_bytes: 4095, ..right }, &half), invalid, 16),
        (h2c(0, Transfer { len_bytes: 0, ..right }, &[]), invalid, 16),
        (h2c(0, Transfer { offset: 4096, ..right }, &half), range, 0),
        (h2c(0, Transfer { len_bytes: 8196, ..right }, &[0; 8196]), range, 0),
        (h2c(flag::LAST, right, &half), invalid, 1),
        (
            [h2c(0, right, &half), h2c(0, Transfer { offset: 4096, ..right }, &half)].concat(),
            invalid,
            1,
        ),
        ([h2c(0, right, &half), h2c(0, right, &half)].concat(), range, 0),
        (h2c(0, Transfer { len_bytes: 200_000, ..right }, &[0; 200_000]), limit, 0),
    ];
    for (bytes, status, information) in cases {
        let mut model = Model::new(64);
        let link = io_queue(&mut model, Format::default());
        let sqe = write(5, 16).with_sgl(Sgl::transport(8192));
        model.feed(link, &capsule(Format::default(), sqe, &[]));
        let asked = parse(Digests::default(), &model.output(link, usize::MAX));
        let whole = Transfer { len_bytes: 8192, ..right };
        assert_eq!(asked[0].0.header, Header::R2T(whole));
        model.feed(link, &bytes);
        let (found, at, _) = termination(&model.output(link, usize::MAX));
        assert_eq!((found, at), (status, information), "{:x?}", &bytes[..24]);
        assert!(model.is_closed(link));
        assert!(model.disk(0).iter().all(|byte| *byte == 0), "nothing was written");
    }
    let mut model = Model::new(64);
    let link = io_queue(&mut model, Format::default());
    let large =
        capsule(Format::default(), write(1, 17).with_sgl(Sgl::in_capsule(8704)), &[0; 8704]);
    model.feed(link, &large);
    let (found, ..) = termination(&model.output(link, usize::MAX));
    assert_eq!(found, limit, "more in a capsule than IOCCSZ says");
}

/// Goal: data that the network garbled is not written, the host is asked to try again, and the connection
/// lives. Method: one bit, in a capsule and in H2CData; and a write behind it that is right.
#[test]
fn garbled_data_is_not_written() {
    let format = Format { digests: Digests { header: true, data: true }, alignment: 0 };
    let mut model = Model::new(64);
    let link = io_queue(&mut model, format);
    let mut bytes = capsule(format, write(1, 1).with_sgl(Sgl::in_capsule(512)), &[9; 512]);
    let at = bytes.len() - 20;
    bytes[at] ^= 1;
    model.feed(link, &bytes);
    model.feed(link, &capsule(format, write(2, 1).with_sgl(Sgl::transport(512)), &[]));
    let output = parse(format.digests, &model.output(link, usize::MAX));
    assert_eq!(response(&output[0].0).status(), Status::TRANSIENT_TRANSPORT_ERROR);
    let Header::R2T(transfer) = output[1].0.header else { panic!("{output:?}") };
    let pdu = Pdu { header: Header::H2CData(transfer), flags: flag::LAST, data_bytes: 512 };
    let mut bytes = bytes_of(format, &pdu, &[9; 512]);
    let at = bytes.len() - 20;
    bytes[at] ^= 1;
    model.feed(link, &bytes);
    assert!(model.disk(0).iter().all(|byte| *byte == 0));
    model.feed(link, &capsule(format, write(3, 1).with_sgl(Sgl::in_capsule(512)), &[9; 512]));
    let output = parse(format.digests, &model.output(link, usize::MAX));
    assert_eq!(response(&output[0].0).status(), Status::TRANSIENT_TRANSPORT_ERROR);
    assert_eq!((response(&output[1].0).cid, response(&output[1].0).status()), (3, Status::SUCCESS));
    assert_eq!(model.disk(0)[..512], [9; 512]);
    assert!(model.connection(link).is_idle());
}

/// Goal: a read is answered with the bytes of the specification: one C2HData with LAST and SUCCESS, no
/// response; with flow control a response with SQHD; an error with a response alone. Method: by hand.
#[test]
fn answers_have_their_bytes() {
    let mut model = Model::new(64);
    let link = io_queue(&mut model, Format::default());
    let read = |cid, start| {
        let sqe = Sqe { opcode: io::READ, cid, nsid: 1, ..Sqe::default() }.with_blocks(start, 1);
        capsule(Format::default(), sqe.with_sgl(Sgl::transport(512)), &[])
    };
    model.feed(link, &read(0x0203, 63));
    let output = model.output(link, usize::MAX);
    assert_eq!(output.len(), 24 + 512);
    let expected = [7, 0x0c, 24, 24, 24, 2, 0, 0, 3, 2, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0];
    assert_eq!(output[..24], expected);
    model.feed(link, &read(4, 64));
    let output = model.output(link, usize::MAX);
    let expected = [5, 0, 24, 0, 24, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 4, 0, 0, 0x81];
    assert_eq!(output, expected, "0/80h with DNR, of queue 1");

    let mut model = Model::new(64);
    model.config.c2h_success = false;
    let link = io_queue(&mut model, Format::default());
    model.feed(link, &read(1, 0));
    let output = parse(Digests::default(), &model.output(link, usize::MAX));
    assert_eq!(output[0].0.flags, flag::LAST);
    assert_eq!(response(&output[1].0), Cqe { sq_id: 1, cid: 1, ..Cqe::default() });
}

/// Goal: a command with the identifier of one that is not answered is refused, and does nothing; when that one
/// is answered the identifier is free again. Method: a write that waits for its data, and others beside it.
#[test]
fn identifiers_are_used_once_at_a_time() {
    let mut model = Model::new(64);
    let link = io_queue(&mut model, Format::default());
    let format = Format::default();
    model.feed(link, &capsule(format, write(7, 1).with_sgl(Sgl::transport(512)), &[]));
    model.output(link, usize::MAX);
    let again = capsule(format, write(7, 1).with_sgl(Sgl::in_capsule(512)), &[6; 512]);
    let other = write(8, 1).with_blocks(9, 1).with_sgl(Sgl::in_capsule(512));
    model.feed(link, &[again.clone(), again.clone(), capsule(format, other, &[8; 512])].concat());
    let output = parse(Digests::default(), &model.output(link, usize::MAX));
    let found: Vec<_> = output.iter().map(|(pdu, _)| response(pdu)).collect();
    let conflict = Status::CID_CONFLICT.finally();
    let statuses: Vec<_> = found.iter().map(|cqe| (cqe.cid, cqe.status())).collect();
    assert_eq!(statuses, [(7, conflict), (7, conflict), (8, Status::SUCCESS)]);
    assert_eq!(model.disk(0)[..512], [0; 512], "what was refused was not written");
    let transfer = Transfer { cid: 7, tag: 0, offset: 0, len_bytes: 512 };
    model.feed(link, &h2c(flag::LAST, transfer, &[7; 512]));
    let output = parse(Digests::default(), &model.output(link, usize::MAX));
    assert_eq!(response(&output[0].0).status(), Status::SUCCESS);
    assert_eq!((&model.disk(0)[..512], model.disk(0)[9 * 512]), (&[7; 512][..], 8));
    model.feed(link, &again);
    let output = parse(Digests::default(), &model.output(link, usize::MAX));
    assert_eq!(response(&output[0].0).status(), Status::SUCCESS);
    assert_eq!(model.disk(0)[..512], [6; 512]);
    assert!(model.connection(link).is_idle());
}

/// Goal: many small answers are one gathered part. Method: 16 writes in one go.
#[test]
fn answers_are_batched() {
    let mut model = Model::new(64);
    let link = io_queue(&mut model, Format::default());
    let one =
        |cid| capsule(Format::default(), write(cid, 1).with_sgl(Sgl::in_capsule(512)), &[1; 512]);
    let stream: Vec<u8> = (0..16).flat_map(one).collect();
    model.feed(link, &stream);
    assert_eq!(model.connection(link).parts().count(), 1);
    assert_eq!(parse(Digests::default(), &model.output(link, usize::MAX)).len(), 16);
}

/// A session of a host that does not wait for answers: what it sends after each answer it knows.
fn session(format: Format) -> Vec<u8> {
    let identify =
        Sqe { opcode: 6, cid: 1, cdw10: 1, ..Sqe::default() }.with_sgl(Sgl::transport(4096));
    let unknown = Sqe { opcode: 0xc1, cid: 2, ..Sqe::default() }.with_sgl(Sgl::in_capsule(64));
    [
        ic(|request| request.digests = format.digests.bits()),
        connect(format, 0, 0xffff, &nqn()),
        enable(format),
        capsule(format, identify, &[]),
        capsule(format, unknown, &[3; 64]),
        capsule(format, Sqe { cid: 3, ..identify }, &[]),
    ]
    .concat()
}

/// Goal: the answer does not depend on how the stream is cut. Method: a session cut in two at every byte,
/// and into single bytes, with and without digests.
#[test]
fn a_session_may_be_cut_anywhere() {
    for digests in [Digests::default(), Digests { header: true, data: true }] {
        let format = Format { digests, alignment: 0 };
        let stream = session(format);
        let play = |cuts: &[usize]| {
            let mut model = Model::new(64);
            let link = model.open();
            let mut from = 0;
            for cut in cuts.iter().chain([&stream.len()]) {
                model.feed(link, &stream[from..*cut]);
                from = *cut;
            }
            model.output(link, usize::MAX)
        };
        let whole = play(&[]);
        let after_opening = &whole[128..];
        let kinds: Vec<Kind> =
            parse(digests, after_opening).iter().map(|pdu| pdu.0.header.kind()).collect();
        // Connect and Property Set, Identify (whose data says that it was done), the unknown command that
        // is refused, Identify again.
        let (data, answer) = (Kind::C2HData, Kind::CapsuleResp);
        assert_eq!(kinds.iter().filter(|kind| **kind == data).count(), 2);
        assert_eq!(kinds[..2], [answer, answer]);
        assert_eq!((kinds.len(), kinds.last()), (5, Some(&data)));
        for cut in 1..stream.len() {
            assert!(play(&[cut]) == whole, "cut at {cut}");
        }
        let every: Vec<usize> = (1..stream.len()).collect();
        assert!(play(&every) == whole, "single bytes");
    }
}

/// Goal: a stream that stops anywhere leaves nothing behind once it is closed. Method: a session cut off
/// at every byte.
#[test]
fn a_session_may_stop_anywhere() {
    let stream = session(Format::default());
    for len in 0..stream.len() {
        let mut model = Model::new(64);
        let link = model.open();
        model.feed(link, &stream[..len]);
        model.close(link);
        assert!(model.connection(link).is_idle(), "{len}");
        assert!(model.target.associations().is_empty(), "{len}");
    }
}
