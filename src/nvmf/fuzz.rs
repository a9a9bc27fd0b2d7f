//! The fuzz target of the connection: a script that opens connections, sends right and wrong PDUs in any
//! order, reads some answers and lets time pass.
//!
//! ```text
//!   script   op, parameters ... op, parameters ...        what is missing is zero
//! ```
//!
//! What must hold: nothing panics; every byte that comes back is part of a PDU that a host understands, with
//! the digests that were agreed on; after the end nothing is left of a connection.
//!
//! Not here: whether the answers are the right ones (`tests`).

use nvme::command::{FABRICS, FLAG_SGL};
use nvme::fabrics::{Connect, ConnectData, PropertySet, kind};
use nvme::pdu::{Digests, Format, Header, IcReq, Pdu, Transfer, digest, flag};
use nvme::register::{Cc, offset};
use nvme::stream::{Arrival, Reader, ReaderWant, Side};
use nvme::{Sgl, Sqe};

use super::model::{LinkId, Model, nqn};

/// Steps of one script, at most.
const STEPS_MAX: usize = 256;

/// Connections of one script, at most.
const LINKS_MAX: usize = 4;

struct Script<'a>(&'a [u8]);

impl Script<'_> {
    fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((first, rest)) => {
                self.0 = rest;
                *first
            }
            None => 0,
        }
    }

    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| self.byte())
    }

    fn number(&mut self) -> u32 {
        u32::from_le_bytes(self.bytes())
    }
}

/// One connection as its host sees it.
struct Peer {
    link: LinkId,
    reader: Reader,
    format: Format,
    asked: Digests,
}

impl Peer {
    fn open(model: &mut Model) -> Self {
        let link = model.open();
        let format = Format::default();
        Self { link, reader: Reader::new(Side::Host), format, asked: Digests::default() }
    }

    fn send(&self, model: &mut Model, pdu: Pdu, data: &[u8]) {
        let pdu = Pdu { data_bytes: data.len() as u32, ..pdu };
        let mut bytes = vec![0; nvme::pdu::PREFIX_BYTES_MAX];
        let len = self.format.put(&pdu, &mut bytes);
        bytes.truncate(len);
        bytes.extend_from_slice(data);
        if self.format.digests.data && !data.is_empty() && pdu.header.kind().has_digests() {
            bytes.extend_from_slice(&digest(data).to_le_bytes());
        }
        model.feed(self.link, &bytes);
    }

    fn capsule(&self, model: &mut Model, sqe: Sqe, data: &[u8]) {
        self.send(model, Pdu { header: Header::CapsuleCmd(sqe), flags: 0, data_bytes: 0 }, data);
    }

    /// Reads up to `max` bytes of what came back.
    fn receive(&mut self, model: &mut Model, max: usize) {
        let bytes = model.output(self.link, max);
        let mut at = 0;
        while at < bytes.len() {
            match self.reader.want() {
                ReaderWant::Header => {
                    let (used, arrival) =
                        self.reader.header(&bytes[at..]).expect("a PDU that a host understands");
                    at += used;
                    match arrival {
                        Some(Arrival::Pdu(Pdu { header: Header::IcResp(response), .. })) => {
                            let digests = Digests::from_bits(response.digests).expect("digests");
                            assert_eq!(
                                digests.and(self.asked),
                                digests,
                                "none that was not asked for"
                            );
                            self.format = Format { digests, alignment: response.alignment };
                            self.reader.negotiated(digests, 0);
                        }
                        Some(Arrival::DataEnd { intact }) => assert!(intact, "the digest is right"),
                        Some(Arrival::Pdu(_)) | None => {}
                    }
                }
                ReaderWant::Data { left } => {
                    let end = bytes.len().min(at + left as usize);
                    if let Some(Arrival::DataEnd { intact }) = self.reader.data(&bytes[at..end]) {
                        assert!(intact, "the digest is right");
                    }
                    at = end;
                }
                ReaderWant::Closed => unreachable!("it is never closed"),
            }
        }
    }
}

fn connect(script: &mut Script<'_>) -> (Sqe, [u8; 1024]) {
    let connect = Connect {
        record_format: u16::from(script.byte() == 1),
        qid: u16::from(script.byte() % 4),
        sq_size: u16::from(script.byte()),
        attributes: script.byte(),
        keep_alive_ms: u32::from(script.byte()) * 100,
    };
    let cntlid = script.byte();
    let data = ConnectData {
        host_id: [1; 16],
        cntlid: if cntlid == 0 { 0xffff } else { u16::from(cntlid) },
        subsystem_nqn: if script.byte() == 1 { [b'x'; 256] } else { nqn().to_field() },
        host_nqn: nqn().to_field(),
    };
    let sqe = Sqe::fabrics(kind::CONNECT, &connect).with_sgl(Sgl::in_capsule(1024));
    (sqe, data.to_bytes())
}

/// A command that is nearly right: small numbers in most fields.
fn command(script: &mut Script<'_>) -> (Sqe, usize) {
    let opcode = script.byte();
    let in_capsule = script.byte();
    let len_bytes = match script.byte() {
        size @ 0..200 => u32::from(size) * 512,
        200.. => script.number(),
    };
    let sqe = Sqe {
        opcode: if opcode > 0xf0 { FABRICS } else { opcode % 0x20 },
        flags: if script.byte() == 0xff { script.byte() } else { FLAG_SGL },
        cid: u16::from(script.byte()),
        nsid: u32::from(script.byte() % 4),
        cdw10: script.number() & 0x01ff_03ff,
        cdw11: u32::from(script.byte()),
        cdw12: script.number() & 0x4fff_00ff,
        ..Sqe::default()
    };
    let data = if in_capsule.is_multiple_of(4) { (len_bytes as usize).min(9000) } else { 0 };
    let sgl = match in_capsule {
        in_capsule if in_capsule.is_multiple_of(4) => Sgl::in_capsule(len_bytes),
        0xff => Sgl { identifier: 0x30, ..Sgl::transport(len_bytes) },
        _ => Sgl::transport(len_bytes),
    };
    let flags = sqe.flags;
    (Sqe { flags, ..sqe.with_sgl(sgl) }, data)
}

fn step(script: &mut Script<'_>, model: &mut Model, peer: &mut Peer) {
    match script.byte() % 12 {
        0 => {
            let digests = script.byte();
            let request = IcReq {
                version: u16::from(script.byte() == 0xff),
                alignment: if script.byte() == 0xff { 32 } else { 0 },
                digests: if digests == 0xff { 0xff } else { digests & 3 },
                max_r2t: 0,
            };
            peer.asked = Digests::from_bits(request.digests).unwrap_or_default();
            let pdu = Pdu { header: Header::IcReq(request), flags: 0, data_bytes: 0 };
            peer.send(model, pdu, &[]);
            peer.receive(model, usize::MAX);
        }
        1 => {
            let (sqe, data) = connect(script);
            peer.capsule(model, sqe, &data);
        }
        2 => {
            let value = if script.byte() == 0xff { script.number() } else { Cc::ENABLED.0 };
            let set = PropertySet { size_code: 0, offset: offset::CC, value: u64::from(value) };
            peer.capsule(model, Sqe::fabrics(kind::PROPERTY_SET, &set), &[]);
        }
        3..=6 => {
            let (sqe, data) = command(script);
            peer.capsule(model, sqe, &vec![script.byte(); data]);
        }
        7 => {
            let transfer = Transfer {
                cid: u16::from(script.byte()),
                tag: u16::from(script.byte() % 8),
                offset: u32::from(script.byte()) * 512,
                len_bytes: u32::from(script.byte()) * 512,
            };
            let flags = script.byte() & flag::LAST;
            let data = vec![script.byte(); transfer.len_bytes as usize];
            peer.send(
                model,
                Pdu { header: Header::H2CData(transfer), flags, data_bytes: 0 },
                &data,
            );
        }
        8 => {
            let len = usize::from(script.byte());
            let noise: Vec<u8> = (0..len).map(|_| script.byte()).collect();
            model.feed(peer.link, &noise);
        }
        9 => {
            let max = usize::from(script.byte()) * 16;
            peer.receive(model, max);
        }
        10 => {
            let us = u64::from(script.byte()) * 1_000_000;
            model.advance(us);
        }
        _ => {
            peer.receive(model, usize::MAX);
            model.close(peer.link);
        }
    }
}

/// Plays a script.
///
/// # Panics
/// If the core breaks one of its promises.
pub fn connection(script: &[u8]) {
    let mut script = Script(script);
    let mut model = Model::new(256);
    model.config.c2h_success = script.byte() & 1 == 0;
    let mut peers = vec![Peer::open(&mut model)];
    for _ in 0..STEPS_MAX {
        if script.0.is_empty() {
            break;
        }
        let which = usize::from(script.byte()) % LINKS_MAX;
        if which >= peers.len() {
            peers.push(Peer::open(&mut model));
        }
        let at = which.min(peers.len() - 1);
        step(&mut script, &mut model, &mut peers[at]);
    }
    for peer in &mut peers {
        peer.receive(&mut model, usize::MAX);
        model.close(peer.link);
        assert!(model.connection(peer.link).is_idle(), "nothing is left of the connection");
    }
    assert!(model.target.associations().is_empty(), "nobody is connected any more");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        /// Goal: no script breaks a promise of the core. Method: the fuzz target on scripts of the
        /// generator, half of them behind a proper opening.
        #[test]
        fn no_script_breaks_it(
            opened in any::<bool>(),
            tail in prop::collection::vec(any::<u8>(), 0..600),
        ) {
            // Digests; Connect to the Admin queue with 32 entries; CC.EN; a second one as an I/O queue.
            let head = [
                0, 0, 0, 3, 0, 0, 0, 1, 0, 0, 31, 4, 0, 0, 0, 0, 9, 255, 0, 2, 0, 0, 9, 255,
                1, 0, 3, 0, 0, 1, 1, 0, 1, 31, 4, 0, 1, 0, 1, 9, 255,
            ];
            let mut script = if opened { head.to_vec() } else { Vec::new() };
            script.extend(tail);
            super::connection(&script);
        }
    }
}
