//! A table that is printed and read again is the same; no text is too strange.
//!
//! Not here: what is refused, and how (`sentences`, `golden`).

use std::collections::BTreeSet;

use super::super::log::{LogPlace, LogSpec};
use super::super::message::{Raid45Message, RaidMessage};
use super::super::raid::{RaidMember, RaidTable};
use super::super::raid45::{Raid45Device, Raid45Params, Raid45Table, Raid45Type};
use super::super::raid456::{Raid456Member, Raid456Table};
use super::super::simple::{
    BadWrites, CorruptByte, DelayClass, DelayTable, Direction, FlakeyTable, LinearTable, Stretch,
};
use super::super::words::split;
use super::super::{Device, DeviceName, Table, Target};
use proptest::collection::{btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use raid::dirty_log::SyncOption;
use raid::layout::{Layout, Level};

/// Every name is a device, as large as a device can be.
fn any_device(name: &str) -> Option<Device> {
    let name = DeviceName::new(name)?;
    let fails = name.as_str().starts_with("error");
    Some(Device { name, sectors: u64::MAX, block_bytes: 512, fails })
}

/// Names with everything in them that tables give a meaning to.
fn a_name() -> impl Strategy<Value = DeviceName> {
    "[a-z0-9:/_.\\\\ #é-]{1,12}".prop_filter_map("a name", |name| DeviceName::new(&name))
}

/// That many names, all different.
fn names(count: usize) -> impl Strategy<Value = Vec<DeviceName>> {
    btree_set(a_name(), count).prop_map(|names| names.into_iter().collect())
}

fn a_sync() -> impl Strategy<Value = SyncOption> {
    prop_oneof![Just(SyncOption::Default), Just(SyncOption::Sync), Just(SyncOption::NoSync)]
}

/// A type of dm-raid, and how many members it gets.
fn a_type() -> impl Strategy<Value = (Level, Layout, usize)> {
    let types: Vec<(Level, Layout)> = [Level::Raid5, Level::Raid6]
        .into_iter()
        .flat_map(|level| Layout::of_level(level).iter().map(move |layout| (level, *layout)))
        .filter_map(|(level, layout)| Layout::from_dm_type(layout.dm_type(level)?).ok())
        .collect();
    prop::sample::select(types)
        .prop_flat_map(|(level, layout)| (Just(level), Just(layout), 2 + level.parity_count()..9))
}

fn rates() -> impl Strategy<Value = (Option<u32>, Option<u32>)> {
    (option::of(0..1000_u32), option::of(prop_oneof![Just(0), 1000..9999_u32]))
}

/// Members to rebuild and members that are missing, of which there are no more than parities.
fn damage(
    level: Level,
    members: usize,
) -> impl Strategy<Value = (BTreeSet<usize>, BTreeSet<usize>)> {
    btree_set((0..members, any::<bool>()), 0..=level.parity_count()).prop_map(|slots| {
        let (rebuild, missing): (BTreeSet<_>, BTreeSet<_>) =
            slots.into_iter().partition(|(_, rebuild)| *rebuild);
        let slot =
            |slots: BTreeSet<(usize, bool)>| slots.into_iter().map(|(slot, _)| slot).collect();
        let (rebuild, missing): (BTreeSet<usize>, BTreeSet<usize>) = (slot(rebuild), slot(missing));
        (rebuild.difference(&missing).copied().collect(), missing)
    })
}

prop_compose! {
    fn a_raid()((level, layout, members) in a_type())(
        damage in damage(level, members),
        names in names(2 * members),
        with_meta in any::<bool>(),
        sync in a_sync(),
        chunk in 3..15_u32,
        chunks in 1..100_000_u64,
        rest in 0..8_u64,
        (min_recovery_rate, max_recovery_rate) in rates(),
        daemon_sleep in option::of(0..i32::MAX.unsigned_abs()),
        stripes in option::of(17..32768_u32),
        region in option::of(0..10_u32),
        data_offset in any::<bool>(),
        level in Just(level),
        layout in Just(layout),
        members in Just(members),
    ) -> Target {
        let (rebuild, missing) = damage;
        let chunk_sectors = 1 << chunk;
        let sectors = ((chunks << chunk) + rest) * (members - level.parity_count()) as u64;
        let sync = match (sync, level) {
            _ if !rebuild.is_empty() => SyncOption::Default,
            (SyncOption::NoSync, Level::Raid6) => SyncOption::Sync,
            (sync, _) => sync,
        };
        let members = (0..members).map(|slot| match missing.contains(&slot) {
            true => RaidMember::default(),
            false => RaidMember {
                meta: with_meta.then(|| names[2 * slot].clone()),
                data: Some(names[2 * slot + 1].clone()),
            },
        });
        let region_size = region.map(|shift| u64::from(chunk_sectors) << shift);
        Target::Raid(RaidTable {
            sectors,
            level,
            layout,
            chunk_sectors,
            sync,
            rebuild,
            daemon_sleep,
            min_recovery_rate,
            max_recovery_rate,
            stripe_cache: stripes.map(|stripes| stripes.max(chunk_sectors / 2)),
            region_size: region_size.filter(|region| (sectors >> 21..=sectors).contains(region)),
            data_offset,
            members: members.collect(),
        })
    }
}

/// A log with regions of `region` sectors, on the device if there is one.
fn a_log(region: u32, device: DeviceName) -> impl Strategy<Value = LogSpec> {
    let place = prop_oneof![Just(LogPlace::Core), Just(LogPlace::Disk { device })];
    (place, a_sync()).prop_map(move |(place, sync)| LogSpec { place, region_sectors: region, sync })
}

prop_compose! {
    fn a_raid456()((level, layout, members) in a_type(), names in names(10), region in 4..15_u32)(
        damage in damage(level, members),
        log in a_log(1 << region, names[9].clone()),
        offsets in vec(0..1_u64 << 40, members),
        chunk in 3..=region,
        regions in 1..1000_u64,
        (min_recovery_rate, max_recovery_rate) in rates(),
        level in Just(level),
        layout in Just(layout),
        region in Just(region),
        names in Just(names),
    ) -> Target {
        let (rebuild, missing) = damage;
        let members: Vec<Raid456Member> = offsets.iter().zip(&names).zip(0..)
            .map(|((offset, name), slot)| Raid456Member {
                fails: name.as_str().starts_with("error") && !missing.contains(&slot),
                name: (!missing.contains(&slot)).then(|| name.clone()),
                offset: *offset,
            })
            .collect();
        Target::Raid456(Raid456Table {
            sectors: (regions << region) * (members.len() - level.parity_count()) as u64,
            log,
            level,
            layout,
            chunk_sectors: 1 << chunk,
            rebuild,
            min_recovery_rate,
            max_recovery_rate,
            members,
        })
    }
}

/// The first `given` of these parameters.
fn cut(given: usize, all: Raid45Params) -> Raid45Params {
    let none = Raid45Params::default();
    Raid45Params {
        given,
        chunk_sectors: all.chunk_sectors.filter(|_| given > 0),
        stripes: all.stripes.filter(|_| given > 1),
        io_sectors: all.io_sectors.filter(|_| given > 2),
        recovery_io_sectors: all.recovery_io_sectors.filter(|_| given > 3),
        bandwidth: all.bandwidth.filter(|_| given > 4),
        recovery: if given > 5 { all.recovery } else { none.recovery },
        recovery_stripes: all.recovery_stripes.filter(|_| given > 6),
    }
}

prop_compose! {
    fn some_params()(
        given in 0..=7_usize,
        chunk in option::of(3..15_u32),
        stripes in option::of(8..=16384_u32),
        io in option::of(3..=10_u32),
        recovery_io in option::of(6..=10_u32),
        bandwidth in option::of(1..=100_u32),
        recovery in any::<bool>(),
        recovery_stripes in 1..=64_u32,
    ) -> Raid45Params {
        let io = io.map(|io| io.min(chunk.unwrap_or(6)));
        cut(given, Raid45Params {
            given,
            chunk_sectors: chunk.map(|shift| 1 << shift),
            stripes,
            io_sectors: io.map(|shift| 1 << shift),
            recovery_io_sectors: recovery_io.map(|shift| 1 << shift),
            bandwidth,
            recovery,
            recovery_stripes: Some(recovery_stripes),
        })
    }
}

prop_compose! {
    fn a_raid45()(params in some_params(), names in names(10))(
        log in a_log(params.chunk().max(params.recovery_io()), names[9].clone()),
        raid_type in prop_oneof![
            option::of(0..3_usize).prop_map(|parity| Raid45Type::Raid4 { parity }),
            Just(Raid45Type::Raid5La), Just(Raid45Type::Raid5Ra),
            Just(Raid45Type::Raid5Ls), Just(Raid45Type::Raid5Rs),
        ],
        dev_to_init in option::of(0..3_usize),
        count in 3..9_usize,
        regions in 1..1000_u64,
        offsets in vec(0..1000_u64, 9),
        params in Just(params),
        names in Just(names),
    ) -> Target {
        let component = regions * u64::from(log.region_sectors);
        let devices = names.into_iter().zip(offsets).take(count);
        Target::Raid45(Raid45Table {
            sectors: component * (count as u64 - 1),
            log,
            raid_type,
            params,
            dev_to_init,
            devices: devices.map(|(name, offset)| Raid45Device { name, offset: offset % component }).collect(),
        })
    }
}

fn a_stretch() -> impl Strategy<Value = Stretch> {
    (a_name(), 0..1_u64 << 60).prop_map(|(device, offset)| Stretch { device, offset })
}

fn a_class() -> impl Strategy<Value = DelayClass> {
    (a_stretch(), any::<u32>()).prop_map(|(stretch, delay_ms)| DelayClass { stretch, delay_ms })
}

prop_compose! {
    fn a_flakey()(
        stretch in a_stretch(),
        (up_s, down_s) in (0..1000_u32, 1..1000_u32),
        error_reads in any::<bool>(),
        writes in option::of(prop_oneof![Just(BadWrites::Drop), Just(BadWrites::Error)]),
        corrupt in option::of((1..=u32::MAX, any::<bool>(), any::<u8>(), any::<u32>())),
    ) -> Target {
        let corrupt = corrupt.map(|(nth, read, value, flags)| {
            let direction = if read { Direction::Read } else { Direction::Write };
            CorruptByte { nth, direction, value, flags }
        });
        let corrupt = corrupt.filter(|corrupt| match corrupt.direction {
            Direction::Read => !error_reads,
            Direction::Write => writes.is_none(),
        });
        Target::Flakey(FlakeyTable { stretch, up_s, down_s, error_reads, writes, corrupt })
    }
}

fn a_simple() -> impl Strategy<Value = Target> {
    let delay = (a_class(), option::of(a_class()), option::of(a_class())).prop_map(
        |(read, write, flush)| {
            let flush = flush.filter(|_| write.is_some());
            Target::Delay(DelayTable { read, write, flush })
        },
    );
    prop_oneof![
        Just(Target::Error),
        Just(Target::Zero),
        a_stretch().prop_map(|stretch| Target::Linear(LinearTable { stretch })),
        delay,
        a_flakey(),
    ]
}

/// The lengths of targets that do not say how long they are.
fn sectors_of(target: &Target) -> u64 {
    match target {
        Target::Raid(table) => table.sectors,
        Target::Raid45(table) => table.sectors,
        Target::Raid456(table) => table.sectors,
        _ => 4096,
    }
}

/// Prints the targets as a table and reads it.
fn check(targets: &[Target]) -> Result<(), TestCaseError> {
    let mut start = 0;
    let mut lines = Vec::new();
    for target in targets {
        let sectors = sectors_of(target);
        lines.push(format!("{start} {sectors} {} {target}", target.name()));
        start += sectors;
    }
    let text = lines.join("\n");
    let table = Table::parse(&text, &any_device);
    let table = table.map_err(|error| TestCaseError::fail(format!("{text}\n{error}")))?;
    let read: Vec<&Target> = table.lines().iter().map(|line| &line.target).collect();
    prop_assert_eq!(read, targets.iter().collect::<Vec<_>>());
    prop_assert_eq!(table.to_string(), text);
    prop_assert_eq!(table.sectors(), start);
    prop_assert_eq!(table.line_at(start), None);
    for line in table.lines() {
        prop_assert_eq!(table.line_at(line.start + line.sectors - 1), Some(line));
        if let Some(array) = line.target.array() {
            prop_assert!(array.array_sectors() <= line.sectors);
            prop_assert!(array.layout.is_of_level(array.level));
            prop_assert_eq!(array.members.len(), array.data_offsets.len());
            prop_assert!(array.region_sectors * 512 >= u64::from(array.strip_bytes));
        }
    }
    Ok(())
}

/// Words that mean something somewhere, and some that do not.
fn a_word() -> impl Strategy<Value = String> {
    let known: Vec<&str> = "raid raid45 raid456 linear error zero delay flakey core disk userspace \
        raid4 raid5_ls raid5_la raid6_zr raid6_n_6 raid1 sync nosync rebuild daemon_sleep region_size \
        min_recovery_rate max_recovery_rate stripe_cache delta_disks data_offset journal_dev journal_mode \
        writeback raid10_copies raid10_format raid10_use_near_sets write_mostly locking none cluster \
        drop_writes error_writes error_reads corrupt_bio_byte r w check frozen bandwidth statistics \
        overwrite xor allow_writes set grow shrink on off reset - -1 0 1 2 3 4 5 8 64 128 256 1024 4096 \
        8192 98304 4294967295 4294967296 18446744073709551615 18446744073709551616 -2147483648 # \\"
        .split_whitespace()
        .collect();
    prop_oneof![
        8 => prop::sample::select(known).prop_map(str::to_owned),
        1 => any::<u64>().prop_map(|number| number.to_string()),
        1 => "\\PC{0,8}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_raid_table_reads_back(target in a_raid()) {
        check(&[target])?;
    }

    #[test]
    fn a_raid45_table_reads_back(target in a_raid45()) {
        check(&[target])?;
    }

    #[test]
    fn a_raid456_table_reads_back(target in a_raid456()) {
        // A device of errors counts as missing, and there may be too many of them.
        if let Target::Raid456(table) = &target {
            let dead = table.members.iter().zip(0..)
                .filter(|(member, slot)| member.live().is_none() || table.rebuild.contains(slot));
            prop_assume!(dead.clone().count() <= table.level.parity_count());
            prop_assume!(!dead.clone().any(|(member, slot)| member.live().is_none() && table.rebuild.contains(&slot)));
        }
        check(&[target])?;
    }

    #[test]
    fn tables_of_simple_targets_read_back(targets in vec(a_simple(), 1..6)) {
        check(&targets)?;
    }

    #[test]
    fn tables_of_several_targets_read_back(
        (raid, raid45, simple) in (a_raid(), a_raid45(), a_simple())
    ) {
        check(&[simple, raid45, raid])?;
    }

    /// Goal: no words make a parser panic, wherever they stand; and whatever is taken is canonical.
    #[test]
    fn no_words_are_too_strange(words in vec(a_word(), 0..24), known in any::<bool>()) {
        let text = words.join(" ");
        let args = split(&text);
        let _ = (RaidMessage::parse(&args), Raid45Message::parse(&args));
        for target in ["", "0 98304 ", "0 98304 raid ", "0 98304 raid45 ", "0 98304 raid456 ",
            "0 98304 linear ", "0 98304 delay ", "0 98304 flakey ", "0 98304 raid raid5_ls ",
            "0 98304 raid raid5_ls 3 128 ", "0 98304 raid45 core 1 8192 raid4 0 ",
            "0 98304 raid456 core 1 8192 raid6_zr 1 128 "]
        {
            let devices = |name: &str| any_device(name).filter(|_| known);
            if let Ok(table) = Table::parse(&format!("{target}{text}"), &devices) {
                let again = Table::parse(&table.to_string(), &devices);
                prop_assert_eq!(again, Ok(table));
            }
        }
    }

    #[test]
    fn no_text_is_too_strange(text in "(?s).{0,60}") {
        let words = split(&text);
        let _ = (RaidMessage::parse(&words), Raid45Message::parse(&words));
        let _ = Table::parse(&text, &any_device);
        let _ = Table::parse(&format!("0 8 raid {text}"), &any_device);
    }
}
