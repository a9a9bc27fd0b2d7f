//! The reader against PDUs made by [`Format`], cut anywhere, and against every wrong header.

use proptest::prelude::*;

use super::*;
use crate::command::{Cqe, Sqe};
use crate::pdu::{Format, IcReq, IcResp, TermReq, Transfer};

/// A PDU with its data, as bytes.
fn bytes_of(format: Format, pdu: &Pdu, data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 256];
    let prefix = format.put(pdu, &mut bytes);
    bytes.truncate(prefix);
    bytes.extend_from_slice(data);
    if format.digests.data && !data.is_empty() && pdu.header.kind().has_digests() {
        bytes.extend_from_slice(&digest(data).to_le_bytes());
    }
    bytes
}

/// Reads a stream in steps of the given sizes: what arrives, and the data.
fn read(
    reader: &mut Reader,
    stream: &[u8],
    cuts: &[usize],
) -> (Vec<Arrival>, Vec<u8>, Option<FatalError>) {
    let (mut arrivals, mut data) = (Vec::new(), Vec::new());
    let mut cuts = cuts.iter().copied().cycle();
    let mut at = 0;
    while at < stream.len() {
        let end = stream.len().min(at + cuts.next().unwrap_or(stream.len()).max(1));
        let mut chunk = &stream[at..end];
        while !chunk.is_empty() {
            let (used, arrival) = match reader.want() {
                ReaderWant::Header => match reader.header(chunk) {
                    Ok(step) => step,
                    Err(error) => return (arrivals, data, Some(error)),
                },
                ReaderWant::Data { left } => {
                    let len = chunk.len().min(left as usize);
                    data.extend_from_slice(&chunk[..len]);
                    (len, reader.data(&chunk[..len]))
                }
                ReaderWant::Closed => return (arrivals, data, None),
            };
            arrivals.extend(arrival);
            chunk = &chunk[used..];
        }
        at = end;
    }
    (arrivals, data, None)
}

fn host_pdu() -> impl Strategy<Value = (Pdu, Vec<u8>)> {
    let data = prop::collection::vec(any::<u8>(), 0..300);
    (0..2_u8, any::<[u8; 64]>(), data).prop_map(|(kind, bytes, data)| {
        let header = match kind {
            0 => Header::CapsuleCmd(Sqe::get(&bytes)),
            _ => Header::H2CData(Transfer::get(&bytes)),
        };
        let flags = header.kind().flags() & bytes[63];
        (Pdu { header, flags, data_bytes: data.len() as u32 }, data)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Goal: what was written is read, whatever digests and alignment, and however the stream is cut.
    /// Method: any PDUs, cut at any places.
    #[test]
    fn reading_does_not_depend_on_cuts(
        pdus in prop::collection::vec(host_pdu(), 1..5),
        header in any::<bool>(),
        data_digest in any::<bool>(),
        alignment in 0_u8..=31,
        cuts in prop::collection::vec(1_usize..200, 1..8),
    ) {
        let format = Format { digests: Digests { header, data: data_digest }, alignment };
        let (mut stream, mut all_data, mut expected) = (Vec::new(), Vec::new(), Vec::new());
        for (pdu, data) in &pdus {
            stream.extend(bytes_of(format, pdu, data));
            all_data.extend_from_slice(data);
            let mut pdu = *pdu;
            if header {
                pdu.flags |= flag::HEADER_DIGEST;
            }
            if data_digest && !data.is_empty() {
                pdu.flags |= flag::DATA_DIGEST;
            }
            expected.push(Arrival::Pdu(pdu));
            if !data.is_empty() {
                expected.push(Arrival::DataEnd { intact: true });
            }
        }
        let mut reader = Reader::new(Side::Controller);
        reader.negotiated(format.digests, alignment);
        prop_assert_eq!(read(&mut reader, &stream, &cuts), (expected, all_data, None));
        prop_assert!(!reader.is_inside());
    }

    /// Goal: no bytes make the reader panic or read without end, and cuts do not change its verdict.
    /// Method: noise, with headers that are nearly right.
    #[test]
    fn noise_is_judged_alike(
        mut noise in prop::collection::vec(any::<u8>(), 0..600),
        kind in prop::sample::select(vec![0_u8, 2, 4, 6]),
        len in 0_u32..400,
        digests in 0_u8..4,
        cuts in prop::collection::vec(1_usize..50, 1..6),
    ) {
        let digests = Digests::from_bits(digests).unwrap();
        if noise.len() > 8 && noise[8] < 200 {
            let known = Kind::from_number(kind).unwrap();
            noise[0] = kind;
            noise[2] = known.header_bytes() as u8;
            noise[4..8].copy_from_slice(&len.to_le_bytes());
        }
        let judge = |cuts: &[usize]| {
            let mut reader = Reader::new(Side::Controller);
            reader.negotiated(digests, 0);
            read(&mut reader, &noise, cuts)
        };
        prop_assert_eq!(judge(&cuts), judge(&[usize::MAX]));
    }
}

/// Goal: every field of the common header that is wrong is named, with the error of the specification.
/// Method: a right PDU, one field changed.
#[test]
fn wrong_headers_are_named() {
    let format = Format { digests: Digests { header: true, data: true }, alignment: 3 };
    let command = Pdu { header: Header::CapsuleCmd(Sqe::default()), flags: 0, data_bytes: 32 };
    let right = bytes_of(format, &command, &[7; 32]);
    assert_eq!(usize::from(right[3]), 80, "data at a multiple of 16 behind 72 + 4");
    let verdict = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut stream = right.clone();
        change(&mut stream);
        let mut reader = Reader::new(Side::Controller);
        reader.negotiated(format.digests, format.alignment);
        let (_, _, error) = read(&mut reader, &stream, &[usize::MAX]);
        assert!(error.is_none() || reader.want() == ReaderWant::Closed);
        error.map(|error| (error.status, error.information))
    };
    assert_eq!(verdict(&|_| {}), None);
    let header = |offset| Some((Fes::InvalidHeader, offset));
    assert_eq!(verdict(&|bytes| bytes[0] = 0x0a), header(0), "no such type");
    assert_eq!(verdict(&|bytes| bytes[0] = 0x05), header(0), "a type of the other side");
    assert_eq!(verdict(&|bytes| bytes[1] &= !1), header(1), "no header digest");
    assert_eq!(verdict(&|bytes| bytes[1] &= !2), header(1), "no data digest");
    assert_eq!(verdict(&|bytes| bytes[2] = 73), header(2), "header too long");
    assert_eq!(verdict(&|bytes| bytes[3] = 72), header(3), "data inside of the header digest");
    assert_eq!(verdict(&|bytes| bytes[3] = 84), header(3), "not aligned");
    assert_eq!(verdict(&|bytes| bytes[4] = 75), header(4), "shorter than its header");
    assert_eq!(verdict(&|bytes| bytes[4] = 84), header(4), "a data digest and no data");
    let digest = u32::from_le_bytes([right[72], right[73], right[74], right[75]]);
    let wrong = verdict(&|bytes| bytes[72] ^= 1);
    assert_eq!(wrong, Some((Fes::HeaderDigest, digest ^ 1)));
    assert_eq!(verdict(&|bytes| bytes[20] ^= 1), Some((Fes::HeaderDigest, digest)));

    let ic = Pdu { header: Header::IcReq(IcReq::default()), flags: 0, data_bytes: 0 };
    let mut stream = bytes_of(Format::default(), &ic, &[]);
    assert_eq!(stream.len(), 128);
    stream[4] = 129;
    let (_, _, error) = read(&mut Reader::new(Side::Controller), &stream, &[usize::MAX]);
    assert_eq!(error, Some(FatalError::header(4)), "ICReq has no data");
    let term = Pdu { header: Header::H2CTermReq(TermReq::default()), flags: 0, data_bytes: 129 };
    let stream = bytes_of(Format::default(), &term, &[0; 129]);
    let (_, _, error) = read(&mut Reader::new(Side::Controller), &stream, &[usize::MAX]);
    assert_eq!(error, Some(FatalError::header(4)), "more than a termination may quote");
}

/// Goal: a wrong data digest is told and nothing else breaks; data that is skipped is not judged.
/// Method: one bit of the data, both ways, and a PDU behind it.
#[test]
fn data_digests_are_judged() {
    let format = Format { digests: Digests { header: false, data: true }, alignment: 0 };
    let data = Transfer { cid: 1, tag: 2, offset: 0, len_bytes: 16 };
    let pdu = Pdu { header: Header::H2CData(data), flags: flag::LAST, data_bytes: 16 };
    let mut stream = bytes_of(format, &pdu, &[7; 16]);
    stream[30] ^= 1;
    let right = bytes_of(format, &pdu, &[7; 16]);
    stream.extend(&right);
    let mut reader = Reader::new(Side::Controller);
    reader.negotiated(format.digests, 0);
    let (arrivals, _, error) = read(&mut reader, &stream, &[5]);
    let ends: Vec<_> = arrivals.iter().filter(|one| !matches!(one, Arrival::Pdu(_))).collect();
    let expected = [Arrival::DataEnd { intact: false }, Arrival::DataEnd { intact: true }];
    assert_eq!((ends, error), (expected.iter().collect(), None));

    let (used, _) = reader.header(&stream).unwrap();
    assert_eq!(reader.skip(16), None);
    let (_, end) = reader.header(&stream[used + 16..]).unwrap();
    assert_eq!(end, Some(Arrival::DataEnd { intact: true }));
}

/// Goal: hosts read what controllers send, and nothing that hosts send. Method: one of each type.
#[test]
fn sides_are_kept_apart() {
    let transfer = Transfer::default();
    let headers = [
        Header::IcReq(IcReq::default()),
        Header::IcResp(IcResp::default()),
        Header::H2CTermReq(TermReq::default()),
        Header::C2HTermReq(TermReq::default()),
        Header::CapsuleCmd(Sqe::default()),
        Header::CapsuleResp(Cqe::default()),
        Header::H2CData(transfer),
        Header::C2HData(transfer),
        Header::R2T(transfer),
    ];
    for header in headers {
        let pdu = Pdu { header, flags: 0, data_bytes: 0 };
        let stream = bytes_of(Format::default(), &pdu, &[]);
        for side in [Side::Controller, Side::Host] {
            let (arrivals, _, error) = read(&mut Reader::new(side), &stream, &[3]);
            if header.kind().is_from_host() == (side == Side::Controller) {
                assert_eq!((arrivals, error), (vec![Arrival::Pdu(pdu)], None));
            } else {
                assert_eq!(error, Some(FatalError::header(0)));
            }
        }
    }
}
