//! Golden bytes of PDUs, by hand from the figures of the specification.

use super::*;

fn bytes_of(format: Format, pdu: &Pdu) -> Vec<u8> {
    let mut bytes = vec![0xa5; 256];
    let len = format.put(pdu, &mut bytes);
    bytes.truncate(len);
    bytes
}

fn plain(header: Header, flags: u8, data_bytes: u32) -> Pdu {
    Pdu { header, flags, data_bytes }
}

/// Goal: PDUs are byte for byte those of the specification. Method: one of each that a controller
/// sends, and the host's first.
#[test]
fn pdus_have_their_bytes() {
    let none = Format::default();
    let request = IcReq { version: 0, alignment: 3, digests: 3, max_r2t: 15 };
    let bytes = bytes_of(none, &plain(Header::IcReq(request), 0, 0));
    assert_eq!(bytes[..16], [0, 0, 128, 0, 128, 0, 0, 0, 0, 0, 3, 3, 15, 0, 0, 0]);
    assert_eq!((bytes.len(), bytes[16..].iter().all(|byte| *byte == 0)), (128, true));

    let response = IcResp { version: 0, alignment: 0, digests: 1, max_h2c_data_bytes: 0x2_0000 };
    let bytes = bytes_of(none, &plain(Header::IcResp(response), 0, 0));
    assert_eq!(bytes[..16], [1, 0, 128, 0, 128, 0, 0, 0, 0, 0, 0, 1, 0, 0, 2, 0]);

    let transfer = Transfer { cid: 0x1234, tag: 0x5678, offset: 0x1000, len_bytes: 0x2000 };
    let ready = bytes_of(none, &plain(Header::R2T(transfer), 0xff, 0));
    let expected = [
        9, 0, 24, 0, 24, 0, 0, 0, 0x34, 0x12, 0x78, 0x56, 0, 0x10, 0, 0, 0, 0x20, 0, 0, 0, 0, 0, 0,
    ];
    assert_eq!(ready, expected, "flags that are not R2T's are left out");

    let data = Transfer { tag: 0, ..transfer };
    let flags = flag::LAST | flag::SUCCESS;
    let bytes = bytes_of(none, &plain(Header::C2HData(data), flags, 0x2000));
    assert_eq!(bytes[..8], [7, 0x0c, 24, 24, 0x18, 0x20, 0, 0]);

    let term = TermReq { status: Fes::InvalidHeader.number(), information: 4 };
    let bytes = bytes_of(none, &plain(Header::C2HTermReq(term), 0, 24));
    assert_eq!(bytes[..16], [3, 0, 24, 0, 48, 0, 0, 0, 1, 0, 4, 0, 0, 0, 0, 0]);
}

/// Goal: digests and padding stand where the receiver looks for them, and are announced. Method:
/// C2HData with both digests to a host that wants 64 bytes of alignment.
#[test]
fn digests_and_padding_have_their_place() {
    let format = Format { digests: Digests { header: true, data: true }, alignment: 15 };
    let data = Transfer { cid: 1, tag: 0, offset: 0, len_bytes: 512 };
    let bytes = bytes_of(format, &plain(Header::C2HData(data), flag::LAST, 512));
    assert_eq!(bytes[..8], [7, 7, 24, 64, 0x44, 2, 0, 0], "64 + 512 + 4");
    assert_eq!(bytes.len(), 64);
    assert_eq!(bytes[24..28], digest(&bytes[..24]).to_le_bytes());
    assert!(bytes[28..].iter().all(|byte| *byte == 0));
    // CRC32C's check value, RFC 3720 B.4 (32 bytes of zeroes) and the classic one.
    assert_eq!(digest(&[0; 32]), 0x8a91_36aa);
    assert_eq!(digest(b"123456789"), 0xe306_9283);
    assert_eq!(digest_append(digest(b"1234"), b"56789"), 0xe306_9283);
    let response = bytes_of(format, &plain(Header::CapsuleResp(Cqe::default()), 0, 0));
    assert_eq!((response[..8].to_vec(), response.len()), (vec![5, 1, 24, 0, 28, 0, 0, 0], 28));
}

/// Goal: numbers of types, errors and digests are one to one. Method: all of them.
#[test]
fn numbers_are_one_to_one() {
    for kind in Kind::ALL {
        assert_eq!(Kind::from_number(kind.number()), Some(kind));
    }
    assert_eq!((0..=255).filter_map(Kind::from_number).count(), Kind::ALL.len());
    for status in Fes::ALL {
        assert_eq!(Fes::from_number(status.number()), Some(status));
    }
    for bits in 0..=255 {
        assert_eq!(Digests::from_bits(bits).map(Digests::bits), (bits < 4).then_some(bits));
    }
}

/// Goal: no PDU needs more room before its data than is said. Method: every type, digest and alignment.
#[test]
fn prefixes_are_bounded() {
    let most = |kind: Kind| {
        let formats = [false, true].into_iter().flat_map(|header| {
            let digests = Digests { header, data: true };
            (0..=crate::limits::ALIGNMENT_MAX).map(move |alignment| Format { digests, alignment })
        });
        formats.map(|format| format.data_at(kind)).max().unwrap()
    };
    let carrying = Kind::ALL.into_iter().filter(|kind| kind.may_carry_data());
    assert_eq!(carrying.map(most).max(), Some(PREFIX_BYTES_MAX));
    assert!(Kind::ALL.iter().all(|kind| kind.header_bytes() <= PREFIX_BYTES_MAX));
    assert_eq!(most(Kind::C2HData), 128);
}
