//! Every command, right and wrong, and ranges against numbers that cannot overflow.

use device::IoTypes;
use nvme::Sgl;
use nvme::log::AnaState;
use proptest::prelude::*;

use super::*;
use crate::nvmf::view::tests::namespace;

fn view(change: impl FnOnce(&mut Namespace)) -> View {
    let mut namespace = namespace(1);
    change(&mut namespace);
    View { namespaces: vec![namespace], namespaces_max: 32, ..View::default() }
}

fn command(opcode: u8) -> Sqe {
    Sqe { opcode, nsid: 1, ..Sqe::default() }.with_sgl(Sgl::transport(512)).with_blocks(8, 2)
}

const ALL: [u8; 7] = [
    io::FLUSH,
    io::WRITE,
    io::READ,
    io::COMPARE,
    io::WRITE_ZEROES,
    io::DATASET_MANAGEMENT,
    io::VERIFY,
];

/// Goal: every command becomes the request that it asks for, and moves what it says. Method: one of
/// each, with and without its flags.
#[test]
fn commands_become_requests() {
    let view = view(|_| {});
    let request = |op| Request { nsid: 1, key: 0, op, offset_bytes: 4096, len_bytes: 1024 };
    let plain = |op| Request { offset_bytes: 0, len_bytes: 0, ..request(op) };
    let with = |opcode, cdw12| Sqe { cdw12: command(opcode).cdw12 | cdw12, ..command(opcode) };
    let zeroes = |fua, deallocate| request(Op::WriteZeroes { fua, deallocate });
    let (from, to) = (Transfer::FromHost { len_bytes: 1024 }, Transfer::ToHost { len_bytes: 1024 });
    let dsm = |cdw11, given| {
        let sqe = Sqe { cdw10: 3, cdw11, ..command(io::DATASET_MANAGEMENT) };
        sqe.with_sgl(Sgl::transport(given))
    };
    let deallocate =
        |list_bytes, effective| plain(Op::Deallocate { count: 4, list_bytes, effective });
    let ranges = |len_bytes| Transfer::FromHost { len_bytes };
    for (sqe, expected, transfer) in [
        (command(io::READ), request(Op::Read), to),
        (with(io::READ, CDW12_FUA), request(Op::Read), to),
        (command(io::WRITE), request(Op::Write { fua: false }), from),
        (with(io::WRITE, CDW12_FUA), request(Op::Write { fua: true }), from),
        (command(io::COMPARE), request(Op::Compare), from),
        (command(io::VERIFY), request(Op::Verify), Transfer::None),
        (command(io::FLUSH), plain(Op::Flush), Transfer::None),
        (command(io::WRITE_ZEROES), zeroes(false, false), Transfer::None),
        (with(io::WRITE_ZEROES, CDW12_DEAC), zeroes(false, true), Transfer::None),
        (with(io::WRITE_ZEROES, CDW12_DEAC | CDW12_FUA), zeroes(true, false), Transfer::None),
        (dsm(DSM_DEALLOCATE, 64), deallocate(64, true), ranges(64)),
        (dsm(1, 64), deallocate(64, false), ranges(64)),
        // As Linux sends it, as nobody should, and too short: that is for the descriptor to be refused.
        (dsm(DSM_DEALLOCATE, 4096), deallocate(4096, true), ranges(4096)),
        (dsm(DSM_DEALLOCATE, 4100), deallocate(64, true), ranges(64)),
        (dsm(DSM_DEALLOCATE, 48), deallocate(64, true), ranges(64)),
    ] {
        assert_eq!(plan(&sqe, &view), Ok(expected), "{sqe:?}");
        assert_eq!(expected.transfer(), transfer, "{sqe:?}");
    }
}

/// Goal: a command that may not be is refused with the status of the specification. Method: every
/// command against every reason.
#[test]
fn commands_are_refused() {
    let fine = view(|_| {});
    let refused = |sqe: Sqe, view: &View| plan(&sqe, view).expect_err("refused");
    for opcode in 0..=255 {
        if !ALL.contains(&opcode) {
            assert_eq!(refused(command(opcode), &fine), Status::INVALID_OPCODE.finally());
        }
    }
    let read_only = view(|namespace| namespace.supported = IoTypes::READ_ONLY);
    for opcode in ALL {
        for flags in [0, 0x80, 0xc0, 0x41, 0x42] {
            let sqe = Sqe { flags, ..command(opcode) };
            assert_eq!(refused(sqe, &fine), Status::INVALID_FIELD.finally(), "flags {flags:#x}");
        }
        for nsid in [0, 2, command::NSID_ALL] {
            let sqe = Sqe { nsid, ..command(opcode) };
            assert_eq!(refused(sqe, &fine), Status::INVALID_NAMESPACE.finally(), "nsid {nsid}");
        }
        for (state, status) in [
            (AnaState::Inaccessible, Status::ANA_INACCESSIBLE),
            (AnaState::PersistentLoss, Status::ANA_PERSISTENT_LOSS),
            (AnaState::Change, Status::ANA_TRANSITION),
        ] {
            let there = view(|namespace| namespace.ana_state = state);
            assert_eq!(refused(command(opcode), &there), status);
        }
        let there = view(|namespace| namespace.ana_state = AnaState::NonOptimized);
        assert!(plan(&command(opcode), &there).is_ok());
        let writes = matches!(opcode, io::WRITE | io::WRITE_ZEROES | io::DATASET_MANAGEMENT);
        let protected = Status::NAMESPACE_WRITE_PROTECTED.finally();
        assert_eq!(plan(&command(opcode), &read_only).err(), writes.then_some(protected));
    }
    let large = view(|namespace| namespace.size_blocks = 1 << 40);
    for opcode in [io::READ, io::WRITE, io::COMPARE, io::VERIFY, io::WRITE_ZEROES] {
        let most = TRANSFER_BYTES_MAX / 512;
        assert!(plan(&command(opcode).with_blocks(0, most), &large).is_ok());
        let limited = opcode != io::WRITE_ZEROES;
        let status = Status::INVALID_FIELD.finally();
        let verdict = plan(&command(opcode).with_blocks(0, most + 1), &large).err();
        assert_eq!(verdict, limited.then_some(status));
    }
    let none = view(|namespace| namespace.supported.write_zeroes = false);
    assert_eq!(refused(command(io::WRITE_ZEROES), &none), Status::INVALID_OPCODE.finally());
}

proptest! {
    /// Goal: exactly the ranges inside of the namespace are taken. Method: the same question in numbers
    /// that cannot overflow, for commands and for ranges of Dataset Management.
    #[test]
    fn ranges_are_judged(
        start in prop_oneof![0_u64..1100, any::<u64>(), u64::MAX - 5..=u64::MAX],
        blocks in 1_u32..1100,
    ) {
        let view = view(|_| {});
        let inside = u128::from(start) + u128::from(blocks) <= 1000;
        let verdict = plan(&command(io::READ).with_blocks(start, blocks), &view);
        let outside = Status::LBA_OUT_OF_RANGE.finally();
        prop_assert_eq!(verdict.map(|request| request.offset_bytes).map_err(Some),
            if inside { Ok(start * 512) } else { Err(Some(outside)) });

        let good = DsmRange { attributes: 0, blocks: 1, start_block: 7 };
        let empty = DsmRange { blocks: 0, ..good };
        let tried = DsmRange { attributes: 0, blocks, start_block: start };
        let mut bytes = Vec::new();
        for range in [good, empty, tried] {
            bytes.extend(range.to_bytes());
        }
        let found = ranges(&bytes, 3, &view.namespaces[0]).map(Iterator::collect::<Vec<_>>);
        let wanted = vec![(7 * 512, 512), (start.wrapping_mul(512), u64::from(blocks) * 512)];
        prop_assert_eq!(found, if inside { Ok(wanted) } else { Err(outside) });
    }
}

/// Goal: every outcome of a bdev has a status, and only success is success. Method: all of them.
#[test]
fn outcomes_have_statuses() {
    for status in IoStatus::ALL {
        for op in [Op::Read, Op::Write { fua: false }, Op::Flush, Op::Compare, Op::Verify] {
            assert_eq!(status_of(status, op).is_ok(), status.is_ok(), "{status} {op:?}");
        }
    }
    assert_eq!(status_of(IoStatus::MediaError, Op::Read), Status::UNRECOVERED_READ);
    assert_eq!(status_of(IoStatus::MediaError, Op::Flush), Status::WRITE_FAULT);
}
