//! Every table at once: decoding and encoding are inverse, and golden bytes pin where fields are.

use proptest::prelude::*;

use super::*;
use crate::command::DsmRange;
use crate::fabrics::{self, Authentication, Connect, ConnectData, PropertyGet, PropertySet};
use crate::identify::{self, Controller, ControllerNvm, Namespace, NamespaceIndependent};
use crate::log::{
    AnaGroup, AnaHeader, DiscoveryEntry, DiscoveryHeader, ErrorEntry, Firmware, Smart, Wanted,
};
use crate::pdu::{Common, IcReq, IcResp, TermReq, Transfer};
use crate::{Cqe, Sgl, Sqe, Status};

/// Encoding what was decoded gives back the bytes of all fields, and zeroes between them.
fn check<T: Layout>(bytes: &[u8]) {
    let value = T::get(bytes);
    let mut expected = vec![0; T::SIZE];
    for (_, at, size) in T::FIELDS {
        expected[*at..at + size].copy_from_slice(&bytes[*at..at + size]);
    }
    let mut encoded = vec![0xa5; T::SIZE];
    value.put(&mut encoded);
    assert_eq!(encoded, expected);
    assert_eq!(T::get(&encoded), value);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Goal: no field reads or writes anywhere but at its place. Method: any bytes, through every
    /// table and back.
    #[test]
    fn tables_are_inverse(bytes in prop::collection::vec(any::<u8>(), 4096)) {
        check::<Sqe>(&bytes);
        check::<Cqe>(&bytes);
        check::<Sgl>(&bytes);
        check::<DsmRange>(&bytes);
        check::<Connect>(&bytes);
        check::<ConnectData>(&bytes);
        check::<PropertyGet>(&bytes);
        check::<PropertySet>(&bytes);
        check::<Authentication>(&bytes);
        check::<Controller>(&bytes);
        check::<Namespace>(&bytes);
        check::<NamespaceIndependent>(&bytes);
        check::<ControllerNvm>(&bytes);
        check::<ErrorEntry>(&bytes);
        check::<Smart>(&bytes);
        check::<Firmware>(&bytes);
        check::<AnaHeader>(&bytes);
        check::<AnaGroup>(&bytes);
        check::<DiscoveryHeader>(&bytes);
        check::<DiscoveryEntry>(&bytes);
        check::<Common>(&bytes);
        check::<IcReq>(&bytes);
        check::<IcResp>(&bytes);
        check::<TermReq>(&bytes);
        check::<Transfer>(&bytes);
    }

    /// Goal: Get Log Page survives its command. Method: any length and offset.
    #[test]
    fn log_requests_are_inverse(
        id in any::<u8>(),
        specific in 0_u8..128,
        retain_event in any::<bool>(),
        dwords in 1_u64..1 << 32,
        offset_bytes in any::<u64>(),
        is_index in any::<bool>(),
    ) {
        let wanted = Wanted {
            id, specific, retain_event, len_bytes: dwords * 4, offset_bytes, is_index,
        };
        let mut sqe = Sqe::default();
        wanted.put(&mut sqe);
        prop_assert_eq!(Wanted::of(&sqe), wanted);
    }
}

/// Goal: a table that overlaps, is out of order or leaves its structure is not sound. Method: one of
/// each.
#[test]
fn unsound_tables_are_found() {
    assert!(is_sound(&[("a", 0, 4), ("b", 4, 4)], 8));
    assert!(is_sound(&[("a", 0, 4), ("b", 6, 2)], 8));
    assert!(!is_sound(&[("a", 0, 4), ("b", 3, 4)], 8));
    assert!(!is_sound(&[("b", 4, 4), ("a", 0, 4)], 8));
    assert!(!is_sound(&[("a", 0, 4), ("b", 5, 4)], 8));
}

/// The bytes of a text of hexadecimal digits.
fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(pair).collect()
}

/// Goal: entries are what a Linux host sends and reads. Method: a read of 8 blocks at block 4096 of
/// namespace 1, its response, and a Connect of I/O queue 1, written by hand from the figures of the
/// specification.
#[test]
fn entries_have_their_bytes() {
    let read = Sqe { opcode: 0x02, cid: 0x1234, nsid: 1, ..Sqe::default() }
        .with_sgl(Sgl::transport(4096))
        .with_blocks(0x0001_0000_1000, 8);
    let expected = hex("02 40 3412 01000000 00000000 00000000 0000000000000000
         0000000000000000 00100000 000000 5a
         00100000 01000000 07000000 00000000 00000000 00000000");
    assert_eq!(read.to_bytes().to_vec(), expected);
    assert_eq!((read.start_block(), read.blocks()), (0x0001_0000_1000, 8));

    let cqe = Cqe { result: 0x1_0000_0002, sq_head: 5, sq_id: 1, cid: 0x1234, status_field: 0 }
        .with_status(Status::LBA_OUT_OF_RANGE.finally());
    assert_eq!(cqe.to_bytes().to_vec(), hex("02000000 01000000 0500 0100 3412 0081"));
    assert_eq!(cqe.status(), Status::LBA_OUT_OF_RANGE.finally());

    let connect = Connect {
        record_format: 0,
        qid: 1,
        sq_size: 127,
        attributes: fabrics::CATTR_NO_FLOW_CONTROL,
        keep_alive_ms: 0,
    };
    let sqe = Sqe { cid: 1, ..Sqe::fabrics(fabrics::kind::CONNECT, &connect) }
        .with_sgl(Sgl::in_capsule(1024));
    let expected = hex("7f 40 0100 01000000 00000000 00000000 0000000000000000
         0000000000000000 00040000 000000 01
         0000 0100 7f00 04 00 00000000 000000000000000000000000");
    assert_eq!(sqe.to_bytes().to_vec(), expected);
    assert_eq!((sqe.fabrics_kind(), sqe.specific::<Connect>()), (1, connect));
}

/// Goal: Identify says what it says where hosts look for it. Method: the offsets that nvme-cli reads.
#[test]
fn identify_has_its_bytes() {
    let controller = Controller {
        serial: ascii("S1"),
        cntlid: 0x0102,
        version: crate::register::VERSION,
        kind: 1,
        kas_100ms: 10,
        sqes: 0x66,
        cqes: 0x44,
        namespaces: 1024,
        oncs: identify::oncs::COMPARE,
        vwc: 7,
        sgls: 0x10_0001,
        command_capsule_16: 4 + 512,
        ofcs: 1,
        ..Controller::default()
    };
    let bytes = controller.to_bytes();
    let at = |at: usize, len: usize| bytes[at..at + len].to_vec();
    assert_eq!(at(4, 20), b"S1                  ");
    assert_eq!((at(78, 2), at(80, 4), at(111, 1)), (hex("0201"), hex("00000200"), hex("01")));
    assert_eq!((at(320, 2), at(512, 2), at(516, 4)), (hex("0a00"), hex("6644"), hex("00040000")));
    assert_eq!((at(520, 2), at(525, 1), at(536, 4)), (hex("0100"), hex("07"), hex("01001000")));
    assert_eq!((at(1792, 4), at(1804, 2)), (hex("04020000"), hex("0100")));

    let namespace = Namespace {
        size_blocks: 0x1000,
        nsfeat: 0x10,
        npwg: 7,
        nows: 0x3ff,
        ana_group: 2,
        nguid: [7; 16],
        eui64: [9; 8],
        format_0: identify::format(4096),
        ..Namespace::default()
    };
    let bytes = namespace.to_bytes();
    let at = |at: usize, len: usize| bytes[at..at + len].to_vec();
    assert_eq!((at(0, 8), at(24, 1)), (hex("0010000000000000"), hex("10")));
    assert_eq!((at(64, 2), at(72, 2), at(92, 4)), (hex("0700"), hex("ff03"), hex("02000000")));
    assert_eq!((at(104, 16), at(120, 8)), (vec![7; 16], vec![9; 8]));
    assert_eq!(at(128, 4), hex("00000c00"));
    assert_eq!(namespace.block_size_bytes(), 4096);
}

/// Goal: descriptors of a namespace are read as they were written, and nothing is read of what is none.
/// Method: a list of all, its end, and cut ones.
#[test]
fn descriptors_are_inverse() {
    use identify::Descriptor;
    let list = [
        Descriptor::Eui64([1; 8]),
        Descriptor::Nguid([2; 16]),
        Descriptor::Uuid([3; 16]),
        Descriptor::CommandSet(0),
    ];
    let mut bytes = [0; 4096];
    let mut at = 0;
    for descriptor in list {
        at += descriptor.put(&mut bytes[at..]);
    }
    assert_eq!(bytes[..4], [1, 8, 0, 0]);
    let mut from = 0;
    for descriptor in list {
        let (found, len) = Descriptor::get(&bytes[from..]).unwrap();
        assert_eq!(found, descriptor);
        assert_eq!(Descriptor::get(&bytes[from..from + len - 1]), None);
        from += len;
    }
    assert_eq!((from, Descriptor::get(&bytes[from..])), (at, None));
}

/// Goal: events name the log page that tells more, as hosts read it. Method: Linux's constants.
#[test]
fn events_have_their_numbers() {
    use crate::log::Event;
    assert_eq!(Event::NamespaceChanged.result(), 0x04_00_02);
    assert_eq!(Event::AnaChanged.result(), 0x0c_03_02);
    assert_eq!(Event::DiscoveryChanged.result(), 0x70_f0_02);
    for event in Event::ALL {
        assert_eq!(Event::from_result(event.result()), Some(event));
    }
}
