//! Our initiator against the model, over a pipe that cuts anywhere: what was written is read.

use device::nvme_tcp::{
    Command, HostConfig, compare, deallocate, flush, read, verify, write, write_zeroes,
};
use nvme::Status;
use nvme::pdu::Digests;
use proptest::prelude::*;

use super::host::{Cuts, Host, host_config};
use crate::nvmf::model::{Model, Order, connection_config, nqn};

/// Blocks of one command's own range.
const RANGE: u64 = 64;
const COMMANDS: u64 = 8;

#[derive(Clone, Copy, Debug)]
enum Kind {
    Read,
    Write { fua: bool },
    WriteZeroes { deallocate: bool },
    Deallocate,
    Compare { right: bool },
    Verify,
    Flush,
}

#[derive(Clone, Copy, Debug)]
struct Step {
    kind: Kind,
    start: u64,
    blocks: u32,
    fill: u8,
}

fn step() -> impl Strategy<Value = Step> {
    let kind = prop_oneof![
        3 => Just(Kind::Read),
        4 => any::<bool>().prop_map(|fua| Kind::Write { fua }),
        1 => any::<bool>().prop_map(|deallocate| Kind::WriteZeroes { deallocate }),
        1 => Just(Kind::Deallocate),
        1 => any::<bool>().prop_map(|right| Kind::Compare { right }),
        1 => Just(Kind::Verify),
        1 => Just(Kind::Flush),
    ];
    (kind, 0..RANGE, 1..=RANGE as u32, any::<u8>()).prop_map(|(kind, start, blocks, fill)| {
        let blocks = blocks.min((RANGE - start) as u32);
        Step { kind, start, blocks, fill }
    })
}

#[derive(Clone, Copy, Debug)]
struct Setting {
    digests: Digests,
    host_alignment: u8,
    controller_alignment: u8,
    in_capsule_bytes: u32,
    max_h2c_data_bytes: u32,
    flow_control: bool,
    c2h_success: bool,
    seed: u64,
    cut_max: usize,
}

fn setting() -> impl Strategy<Value = Setting> {
    let flags = any::<(bool, bool, bool, bool)>();
    let alignments = (0_u8..=31, 0_u8..=31);
    let sizes = (
        prop::sample::select(vec![0, 512, 4096, 8192]),
        prop::sample::select(vec![4096, 8192, 131_072]),
        prop::sample::select(vec![1_usize, 3, 40, 700, 100_000]),
    );
    (flags, alignments, sizes, any::<u64>()).prop_map(|(flags, alignments, sizes, seed)| Setting {
        digests: Digests { header: flags.0, data: flags.1 },
        host_alignment: alignments.0,
        controller_alignment: alignments.1,
        in_capsule_bytes: sizes.0,
        max_h2c_data_bytes: sizes.1,
        flow_control: flags.2,
        c2h_success: flags.3,
        seed,
        cut_max: sizes.2,
    })
}

/// The command of a step in its range, its buffer, and what the disk holds afterwards.
fn command(step: &Step, first: u64, disk: &mut [u8]) -> (Command, Vec<u8>, Status) {
    let Step { kind, start, blocks, fill } = *step;
    let start_block = first + start;
    let len = blocks as usize * 512;
    let there = &mut disk[start_block as usize * 512..start_block as usize * 512 + len];
    let pattern: Vec<u8> = (0..len).map(|at| fill.wrapping_add((at / 7) as u8)).collect();
    let ok = Status::SUCCESS;
    match kind {
        Kind::Read => (read(1, start_block, blocks, 512), vec![0; len], ok),
        Kind::Write { fua } => {
            there.copy_from_slice(&pattern);
            (write(1, start_block, blocks, 512, fua), pattern, ok)
        }
        Kind::WriteZeroes { deallocate } => {
            there.fill(0);
            (write_zeroes(1, start_block, blocks, deallocate), Vec::new(), ok)
        }
        Kind::Deallocate => {
            there.fill(0);
            let mut buffer = vec![0; 32];
            // The second range is empty.
            let command = deallocate(1, &[(start_block, blocks), (0, 0)], &mut buffer);
            (command, buffer, ok)
        }
        Kind::Compare { right } => {
            let mut buffer = there.to_vec();
            if !right {
                buffer[len - 1] ^= 1;
            }
            let status = if right { ok } else { Status::COMPARE_FAILURE };
            (compare(1, start_block, blocks, 512), buffer, status)
        }
        Kind::Verify => (verify(1, start_block, blocks), Vec::new(), ok),
        Kind::Flush => (flush(1), Vec::new(), ok),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Goal: every command does what it says and is answered once, whatever digests, alignments, sizes,
    /// flow control and SUCCESS were agreed on, in whatever order the target executes, and however the
    /// streams are cut. Method: batches of commands on ranges of their own against a byte array.
    #[test]
    fn what_is_written_is_read(
        setting in setting(),
        batches in prop::collection::vec(
            prop::collection::vec(step(), 1..=COMMANDS as usize), 1..5),
    ) {
        let mut model = Model::new(RANGE * COMMANDS);
        model.order = Order::Shuffled(setting.seed);
        model.config.alignment = setting.controller_alignment;
        model.config.max_h2c_data_bytes = setting.max_h2c_data_bytes;
        model.config.c2h_success = setting.c2h_success;
        let config = HostConfig {
            digests: setting.digests,
            alignment: setting.host_alignment,
            in_capsule_bytes: setting.in_capsule_bytes,
            entries: 32,
        };
        let cuts = Cuts::Drawn { seed: setting.seed, max: setting.cut_max };
        let admin_config = HostConfig { in_capsule_bytes: 8192, ..config };
        let (mut admin, cntlid) = Host::admin(&mut model, admin_config, cuts, nqn());
        // Connect's data always goes in its capsule.
        let mut host = Host::io(
            &mut model,
            HostConfig { in_capsule_bytes: config.in_capsule_bytes.max(1024), ..config },
            cuts,
            cntlid,
            1,
            setting.flow_control,
        );
        let mut disk = vec![0; (RANGE * COMMANDS) as usize * 512];
        for batch in &batches {
            let before = disk.clone();
            let mut expected = Vec::new();
            for (index, step) in batch.iter().enumerate() {
                let first = index as u64 * RANGE;
                let (command, buffer, status) = command(step, first, &mut disk);
                let tag = host.submit(command, buffer);
                expected.push((tag, step, first, status));
            }
            host.exchange(&mut model);
            prop_assert_eq!(host.done.len(), batch.len());
            prop_assert_eq!(host.queue.in_flight(), 0);
            for (tag, cqe, buffer) in host.done.drain(..) {
                let (_, step, first, status) =
                    expected.iter().find(|one| one.0 == tag).expect("it was sent");
                prop_assert_eq!(cqe.status().plain(), *status);
                if matches!(step.kind, Kind::Read) {
                    let from = (first + step.start) as usize * 512;
                    prop_assert_eq!(&buffer[..], &before[from..from + buffer.len()]);
                }
            }
            prop_assert_eq!(model.disk(0), &disk[..]);
        }
        prop_assert_eq!(host.events.len(), 1);
        prop_assert!(model.connection(host.link).is_idle() && !model.is_closed(host.link));
        // The association is alive.
        let (cqe, _) = admin.call(&mut model, device::nvme_tcp::keep_alive(), Vec::new());
        prop_assert!(cqe.status().is_ok());
    }
}

/// Goal: a transfer of the largest size, in the smallest pieces, arrives whole. Method: 1 MiB with
/// H2CData of 4 KiB and both digests, written and read.
#[test]
fn the_largest_transfer_arrives() {
    let mut model = Model::new(4096);
    model.config.max_h2c_data_bytes = 4096;
    assert!(connection_config().max_h2c_data_bytes > 4096);
    let config = HostConfig { digests: Digests { header: true, data: true }, ..host_config() };
    let cuts = Cuts::Every(5000);
    let (_admin, cntlid) = Host::admin(&mut model, config, cuts, nqn());
    let mut host = Host::io(&mut model, config, cuts, cntlid, 1, false);
    let pattern: Vec<u8> = (0..1 << 20).map(|at: u32| ((at / 3) ^ (at >> 11)) as u8).collect();
    let (cqe, _) = host.call(&mut model, write(1, 100, 2048, 512, false), pattern.clone());
    assert!(cqe.status().is_ok());
    let (cqe, back) = host.call(&mut model, read(1, 100, 2048, 512), vec![0; 1 << 20]);
    assert!(cqe.status().is_ok());
    assert!(back == pattern, "what was written is read");
}
