//! Sentences that no golden table has: those of linux-raid.md, sections 1 and 2, each reached by a table,
//! and status lines of raid45 and raid456.
//!
//! Not here: what the kernel was asked (`golden`).

use super::super::raid45::{Raid45Table, Raid45Type};
use super::super::status::{
    DelayState, MemberHealth, Raid45State, Raid45Statistics, RaidState, SyncAction,
};
use super::super::table::{SECTORS_MAX, TARGETS_MAX};
use super::super::{Device, DeviceName, Errno, Start, Table, TableError, Target};
use raid::dirty_log::LogHealth;
use raid::layout::{Layout, Level};

/// Devices of 32768 sectors: one letter, or `error` and a letter. `small` has 4096.
fn device(name: &str) -> Option<Device> {
    let (sectors, known) = match name {
        "small" => (4096, true),
        _ => (32768, name.len() == 1 || name.starts_with("error")),
    };
    let fails = name.starts_with("error");
    known.then(|| Device { name: DeviceName::new(name).unwrap(), sectors, block_bytes: 512, fails })
}

fn parse(text: &str) -> Result<Table, TableError> {
    Table::parse(text, &device)
}

fn target(text: &str) -> Target {
    let table = parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    table.lines()[0].target.clone()
}

/// Checks that each table is refused with its sentence.
fn refused(prefix: &str, tables: &[(&str, &str)]) {
    for (args, sentence) in tables {
        let text = format!("{prefix}{args}");
        match parse(&text) {
            Err(TableError::Target { error, .. }) => assert_eq!(error.text, *sentence, "{text}"),
            other => panic!("{text}: {other:?}"),
        }
    }
}

#[test]
fn tables_have_a_form() {
    for (text, sentence) in [
        ("", "populate_table: no targets specified"),
        ("# nothing\n\n", "populate_table: no targets specified"),
        ("0 8", "Invalid format on line 1 of table"),
        ("0 8 zero\nx 8 zero", "Invalid format on line 2 of table"),
        ("0 0 zero", "zero-length target"),
        ("0 8 nothing", "nothing: unknown target type"),
        ("8 8 zero", "zero: Gap in table (-EINVAL)"),
        ("0 8 zero\n16 8 error", "error: Gap in table (-EINVAL)"),
        (
            "0 18446744073709551615 zero\n18446744073709551615 1 zero",
            "line 1 of table ends at sector 18446744073709551615: a device has at most \
             18014398509481983",
        ),
        (
            "0 36028797018963976 zero",
            "line 1 of table ends at sector 36028797018963976: a device has at most \
             18014398509481983",
        ),
        (
            "0 18014398509481983 zero\n18014398509481983 1 error",
            "line 2 of table ends at sector 18014398509481984: a device has at most \
             18014398509481983",
        ),
        ("18446744073709551615 1 zero", "Invalid format on line 1 of table"),
        ("0 8 zero x", "zero: No arguments required (-EINVAL)"),
        ("0 8 linear ? 0", "linear: Device lookup failure (-ENODEV): ?"),
    ] {
        let text = text.replace('?', "nowhere");
        let sentence = sentence.replace('?', "nowhere");
        match parse(&text) {
            Err(error) => assert_eq!(error.to_string(), sentence, "{text}"),
            Ok(table) => panic!("{text}: {table}"),
        }
    }
    let text = "# a comment\n  0 8 linear a 0\n\n8 8 error whatever\n16 16 zero";
    let table = parse(text).unwrap();
    assert_eq!(table.to_string(), "0 8 linear a 0\n8 8 error \n16 16 zero ");
    assert_eq!(table.sectors(), 32);
    assert_eq!(parse("0 18014398509481983 zero").unwrap().sectors(), SECTORS_MAX);
    let at = |sector| table.line_at(sector).map(|line| line.target.name());
    assert_eq!(
        [at(0), at(7), at(8), at(31), at(32)].map(Option::unwrap_or_default),
        ["linear", "linear", "error", "zero", ""]
    );
    assert!(!table.fails() && parse("0 8 error\n8 8 error").unwrap().fails());
    let many = |lines: usize| {
        let lines: Vec<String> = (0..lines).map(|start| format!("{start} 1 zero")).collect();
        parse(&lines.join(
            "
",
        ))
    };
    assert_eq!(many(TARGETS_MAX).unwrap().lines().len(), TARGETS_MAX);
    let (lines, max) = (TARGETS_MAX + 1, TARGETS_MAX);
    assert_eq!(many(lines), Err(TableError::TooMany { lines, max }));
}

#[test]
fn simple_targets_have_the_kernels_sentences() {
    refused(
        "0 8 linear ",
        &[
            ("a", "Invalid argument count"),
            ("a 0 0", "Invalid argument count"),
            ("a -1", "Invalid device sector"),
            ("a 32761", "Device is too small for the target"),
        ],
    );
    refused(
        "0 8 delay ",
        &[
            ("a 0", "Requires exactly 3, 6 or 9 arguments"),
            ("a x 5", "Invalid device sector"),
            ("a 0 x", "Invalid delay"),
            ("nowhere 0 5", "Device lookup failure"),
            ("a 0 5 b 0 4294967296", "Invalid delay"),
        ],
    );
    refused(
        "0 8 flakey a ",
        &[
            ("0 1", "Invalid argument count"),
            ("x 1 1", "Invalid device sector"),
            ("0 x 1", "Invalid up interval"),
            ("0 1 x", "Invalid down interval"),
            ("0 0 0", "Total (up + down) interval is zero"),
            ("0 4294967295 1", "Interval overflow"),
            ("0 1 1 9", "Invalid number of feature args"),
            ("0 1 1 1", "Invalid number of feature args"),
            ("0 1 1 1 bad", "Unrecognised flakey feature requested"),
            ("0 1 1 2 drop_writes drop_writes", "Feature drop_writes duplicated"),
            ("0 1 1 2 error_writes error_writes", "Feature error_writes duplicated"),
            ("0 1 1 2 error_reads error_reads", "Feature error_reads duplicated"),
            (
                "0 1 1 2 drop_writes error_writes",
                "Feature error_writes conflicts with feature drop_writes",
            ),
            (
                "0 1 1 2 error_writes drop_writes",
                "Feature drop_writes conflicts with feature error_writes",
            ),
            ("0 1 1 1 corrupt_bio_byte", "Feature corrupt_bio_byte requires parameters"),
            ("0 1 1 5 corrupt_bio_byte 0 r 1 0", "Invalid corrupt bio byte"),
            ("0 1 1 5 corrupt_bio_byte 1 x 1 0", "Invalid corrupt bio direction (r or w)"),
            ("0 1 1 5 corrupt_bio_byte 1 r 256 0", "Invalid corrupt value"),
            ("0 1 1 5 corrupt_bio_byte 1 r 255 x", "Invalid corrupt bio flags"),
            (
                "0 1 1 6 drop_writes corrupt_bio_byte 1 w 1 0",
                "drop_writes is incompatible with corrupt_bio_byte with the WRITE flag set",
            ),
            (
                "0 1 1 6 error_writes corrupt_bio_byte 1 w 1 0",
                "error_writes is incompatible with corrupt_bio_byte with the WRITE flag set",
            ),
            (
                "0 1 1 6 error_reads corrupt_bio_byte 1 r 1 0",
                "error_reads is incompatible with corrupt_bio_byte with the READ flag set",
            ),
        ],
    );
    assert_eq!(DelayState { reads: 1, writes: 2, flushes: 3 }.to_string(), "1 2 3");
    let Target::Flakey(flakey) = target("0 8 flakey a 0 10 5") else { panic!() };
    assert!(flakey.fails_everything());
    assert_eq!(flakey.to_string(), "a 0 10 5 0 ");
}

/// Options of `raid5_ls` with four members, and what comes of them; nothing: they are taken.
const RAID_OPTIONS: &[(&str, &str)] = &[
    ("2 128 sync", ""),
    ("3 128 sync sync", "Only one 'sync' argument allowed"),
    ("3 128 NoSync nosync", "Only one 'nosync' argument allowed"),
    ("3 128 rebuild 4", "Invalid rebuild index given"),
    ("3 128 rebuild -1", "Invalid rebuild index given"),
    ("3 128 daemon_sleep -1", "daemon sleep period out of range"),
    ("5 128 daemon_sleep 1 daemon_sleep 1", "Only one daemon_sleep argument pair allowed"),
    ("3 128 stripe_cache -1", "Bogus stripe cache entries value"),
    ("3 8 stripe_cache 16", "Failed to set raid4/5/6 stripe cache size"),
    ("3 128 min_recovery_rate -1", "min_recovery_rate out of range"),
    ("3 128 max_recovery_rate -1", "max_recovery_rate out of range"),
    ("3 128 region_size 131072", "Supplied region size is too large"),
    ("3 128 region_size -1", "Supplied region size is too large"),
    ("3 128 data_offset 36", "Bogus data_offset value"),
    ("3 128 delta_disks 0", "Too many delta_disk requested"),
    ("3 128 delta_disks -252", "Too many delta_disk requested"),
    ("3 128 journal_mode writeback", "raid4/5/6 'journal_mode' is invalid without 'journal_dev'"),
    ("3 128 journal_dev small", "No space for raid4/5/6 journal"),
    ("3 128 journal_dev e", "journal_dev: a journal is not supported yet"),
    ("3 128 raid10_format near", "'raid10_format' is an invalid parameter for this RAID type"),
    ("3 128 raid10_copies 5", "Bad value for 'raid10_copies'"),
    ("2 128 raid10_use_near_sets", "Invalid flags combination"),
    (
        "3 128 raid10_use_near_sets raid10_use_near_sets",
        "Only one 'raid10_use_new_sets' argument allowed",
    ),
    ("1 -8", "Chunk size must be a power of 2"),
    ("1 65536", "Chunk size value is too large"),
    ("3 128 data_offset 0", ""),
    ("3 16384 daemon_sleep 0", ""),
    ("3 128 region_size 0", ""),
];

#[test]
fn dm_raid_has_the_kernels_sentences() {
    let four = |options: &str| format!("{options} 4 - a - b - c - d");
    for (options, sentence) in RAID_OPTIONS {
        let args = four(options);
        match (*sentence, parse(&format!("0 98304 raid raid5_ls {args}"))) {
            ("", result) => assert!(result.is_ok(), "{options}: {result:?}"),
            _ => refused("0 98304 raid RAID5_LS ", &[(&args, sentence)]),
        }
    }
    refused(
        "0 98304 raid ",
        &[
            (
                "raid5_ls 0 8 - a - b - c - d - e - f - g - h",
                "Bad numerical argument given in raid params",
            ),
            (
                "raid5_ls 3 128 rebuild 0 4 - - - b - c - d",
                "Drive designated for rebuild not specified",
            ),
            ("raid5_ls 1 128 4 - a - b - c - small", "Component device(s) too small"),
            ("raid6_zr 1 128 2 - a - b", "Insufficient number of devices"),
            ("raid1 1 128 2 - a - b", "Unrecognised raid_type"),
            ("raid5_ls 1 128 4 a b - c - d - a", "Duplicate RAID device"),
        ],
    );
    refused("0 192 raid ", &[("raid5_ls 1 128 4 - a - b - c - d", "Target length is too small")]);
    let large = |len: u64, size: u32| {
        let devices =
            |name: &str| device(name).map(|device| Device { sectors: u64::MAX, ..device });
        let text = format!("0 {len} raid raid5_ls 3 128 region_size {size} 3 - a - b - c");
        Table::parse(&text, &devices)
            .map(|table| table.lines()[0].target.array().unwrap().region_sectors)
    };
    assert!(
        large(2 << 30, 512).unwrap_err().to_string().contains("Supplied region size is too small")
    );
    assert_eq!(large(2 << 30, 1024), Ok(1024));
    assert_eq!(large(2 << 30, 0), Ok(8192));
    assert_eq!(large(2 << 40, 0), Ok(1 << 20));
}

#[test]
fn dm_raid_prints_what_is_in_force() {
    for (options, printed) in [
        ("RAID5_LS 3 128 Region_Size 0", "raid5_ls 3 128 region_size 8192"),
        ("raid5_LS 3 128 stripe_cache 16", "raid5_ls 3 128 stripe_cache 64"),
        (
            "raid5_ls 7 128 stripe_cache 512 rebuild 1 daemon_sleep 7",
            "raid5_ls 7 128 rebuild 1 daemon_sleep 7 stripe_cache 512",
        ),
    ] {
        let table = target(&format!("0 98304 raid {options} 4 - a - b - c - d and more"));
        assert_eq!(table.to_string(), format!("{printed} 4 - a - b - c - d"));
    }
}

/// Goal: of two mistakes the kernel's first is told. Method: neighbours in the order of its checks.
#[test]
fn checks_go_in_the_kernels_order() {
    refused(
        "0 98305 raid ",
        &[
            ("raid5_ls 3 127 bogus 1 4 - a - b - c - d", "Chunk size must be a power of 2"),
            ("raid5_ls 3 128 bogus 1 4 - nowhere - b - c - d", "Unable to parse RAID parameter"),
            (
                "raid5_ls 5 128 sync nosync rebuild 0 4 - a - b - c - d",
                "sync and nosync are mutually exclusive",
            ),
            (
                "raid5_ls 8 128 sync rebuild 0 min_recovery_rate 2 max_recovery_rate 1 4 - a - b - c - d",
                "sync/nosync and rebuild are mutually exclusive",
            ),
            (
                "raid5_ls 7 128 min_recovery_rate 2 max_recovery_rate 1 region_size 9 4 - a - b - c - d",
                "Bogus recovery rates",
            ),
            (
                "raid6_zr 4 128 nosync region_size 9 4 - a - b - c - d",
                "Region size is not a power of 2",
            ),
            ("raid6_zr 2 128 nosync 4 - nowhere - b - c - d", "Invalid flags combination"),
            ("raid5_ls 1 128 4 - nowhere - b - c - d", "RAID device lookup failure"),
            ("raid5_ls 1 128 4 nowhere - - b - c - d", "RAID metadata device lookup failure"),
            (
                "raid5_ls 1 128 4 - small - - - - - -",
                "Target length not divisible by number of data devices",
            ),
        ],
    );
    refused(
        "0 98304 raid ",
        &[
            ("raid5_ls 1 128 4 - small - - - - - -", "Component device(s) too small"),
            ("raid5_ls 3 128 stripe_cache 99999 4 - a - - - - - -", "Failed to run raid array"),
            (
                "raid5_ls 5 128 stripe_cache 99999 delta_disks 1 4 - a - a - b - c",
                "Failed to set raid4/5/6 stripe cache size",
            ),
            ("raid5_ls 3 128 delta_disks 1 4 - a - a - b - c", "Duplicate RAID device"),
        ],
    );
    refused(
        "0 98305 raid45 ",
        &[
            ("core 0 8192 raid9 9 9 9 a 0 b 0 c 0 d 0", "Bad dirty log parameters number"),
            ("core 1 8192 raid9 9 9 9 a 0 b 0 c 0 d 0", "Bad raid type"),
            ("core 1 9 raid4 9 0 locking x 2 9 a 0 b 0", "unknown locking type \"x\""),
            ("core 1 9 raid4 9 0 2 9 a 0 b 0 c 0 d 0", "Invalid number of raid devices"),
            ("core 1 9 raid4 9 0 4 9 a 0 b 0 c 0", "Invalid RAID4 parity device index"),
            ("core 1 9 raid4 3 0 4 9 a 0 b 0 c 0", "Invalid number for raid device to initialize"),
            ("core 1 9 raid4 3 0 4 3 a 0 b 0 c 0", "Wrong number of raid device/offset arguments"),
            (
                "core 1 9 raid4 3 0 4 3 a x b 0 c 0 d 0",
                "Target length not divisible by number of data devices",
            ),
        ],
    );
    refused(
        "0 98304 raid45 ",
        &[
            ("core 1 9 raid4 3 0 4 3 a x b 0 c 0 d 0", "Error creating dirty log"),
            ("core 1 32 raid4 3 0 4 3 a x b 0 c 0 d 0", "Chunk size larger than region size"),
            (
                "core 1 256 raid4 3 0 4 3 nowhere x b 0 c 0 d 0",
                "Invalid RAID device offset parameter",
            ),
            ("core 1 256 raid4 3 0 4 3 a 0 a 0 nowhere 0 d 0", "Duplicate RAID device"),
        ],
    );
}

#[test]
fn dm_raid_starts_as_its_documentation_says() {
    for (options, devices, start) in [
        ("1 128", "- a - b - c", Start::Resync),
        ("1 128", "e a f b g c", Start::Recorded),
        ("2 128 sync", "e a f b g c", Start::Resync),
        ("2 128 nosync", "- a - b - c", Start::InSync),
        ("3 128 rebuild 1", "- a - b - c", Start::InSync),
        ("3 128 rebuild 1", "e a f b g c", Start::Recorded),
    ] {
        let table = target(&format!("0 65536 raid raid5_ls {options} 3 {devices}"));
        assert_eq!(table.array().unwrap().start, start, "{options} {devices}");
    }
}

const CORE: &str = "0 98304 raid45 core 1 8192 ";

#[test]
fn raid45_has_its_sentences() {
    let tail = "4 -1 a 0 b 0 c 0 d 0";
    let params =
        |params: &str, sentence: &'static str| (format!("raid5_ls {params} {tail}"), sentence);
    let io =
        "Invalid io size; must -1 or >= 8, 2^^n and less equal min(BIO_MAX_SECTORS/2, chunk size)";
    let recovery_io =
        "Invalid recovery io size; must be -1 or 2^^n and less equal BIO_MAX_SECTORS/2";
    for (args, sentence) in [
        params("8", "Bad variable raid parameters number"),
        params("-1", "Bad variable raid parameters number"),
        params("1 4", "Invalid chunk size; must be -1 or 2^^n and <= 16384"),
        params("1 24", "Invalid chunk size; must be -1 or 2^^n and <= 16384"),
        params("1 32768", "Invalid chunk size; must be -1 or 2^^n and <= 16384"),
        params("2 -1 7", "Invalid number of stripes: must be -1 or >= 8 and <= 16384"),
        params("3 32 -1 64", io),
        params("3 -1 -1 24", io),
        params("4 -1 -1 -1 32", recovery_io),
        params("4 -1 -1 -1 2048", recovery_io),
        params(
            "5 -1 -1 -1 -1 101",
            "Invalid recovery bandwidth percentage; must be -1 or > 0 and <= 100",
        ),
        params("6 -1 -1 -1 -1 -1 -1", "Invalid recovery switch; must be \"sync\" or \"nosync\""),
        params(
            "7 -1 -1 -1 -1 -1 sync 65",
            "Invalid number of recovery stripes;must be -1, > 0 and <= 64",
        ),
        params("0 locking cluster", "locking type \"cluster\" not yet implemented"),
        params("0 locking other", "unknown locking type \"other\""),
    ] {
        refused(CORE, &[(&args, sentence)]);
    }
}

#[test]
fn raid45_has_its_sentences_about_devices() {
    refused(
        CORE,
        &[
            ("raid5_ls 0 4 -1 a 0", "Not enough parameters"),
            ("raid6_zr 0 4 -1 a 0 b 0 c 0 d 0", "Bad raid type"),
            ("RAID5_LS 0 4 -1 a 0 b 0 c 0 d 0", "Bad raid type"),
            ("raid5_ls 0 2 -1 a 0 b 0 c 0 d 0", "Invalid number of raid devices"),
            ("raid4 4 0 4 -1 a 0 b 0 c 0 d 0", "Invalid RAID4 parity device index"),
            ("raid5_ls 0 4 4 a 0 b 0 c 0 d 0", "Invalid number for raid device to initialize"),
            ("raid5_ls 0 4 -2 a 0 b 0 c 0 d 0", "Invalid number for raid device to initialize"),
            ("raid5_ls 0 4 -1 a 0 b 0 c 0 d 0 e", "Wrong number of raid device/offset arguments"),
            ("raid5_ls 0 4 -1 a 0 b 0 c 0", "Wrong number of raid device/offset arguments"),
            ("raid5_ls 0 4 -1 a 0 b 32769 c 0 d 0", "Invalid RAID device offset parameter"),
            ("raid5_ls 0 4 -1 a 0 b 0 nowhere 0 d 0", "RAID device lookup failure"),
            ("raid5_ls 0 4 -1 a 0 b 0 c 0 a 0", "Duplicate RAID device"),
            ("raid5_ls 0 4 -1 a 8 b 0 c 0 d 0", "Component device(s) too small"),
        ],
    );
}

#[test]
fn raid45_has_its_sentences_about_lengths_and_logs() {
    refused(
        "0 98305 raid45 core 1 8192 ",
        &[(
            "raid5_ls 0 4 -1 a 0 b 0 c 0 d 0",
            "Target length not divisible by number of data devices",
        )],
    );
    let raid5 = "raid5_ls 0 4 -1 a 0 b 0 c 0 d 0";
    refused("0 98400 raid45 core 1 8192 ", &[(raid5, "Device length not divisible by chunk_size")]);
    for (log, sentence) in [
        ("core 0", "Bad dirty log parameters number"),
        ("core x", "Bad dirty log parameters number"),
        ("core 1 1000", "Error creating dirty log"),
        ("core 1 65536", "Error creating dirty log"),
        ("other 1 8192", "Error creating dirty log"),
        ("disk 2 nowhere 8192", "Error creating dirty log"),
        ("core 1 32", "Chunk size larger than region size"),
        ("core 1 128", "Recover stripe io size larger than region size"),
        ("disk 2 a 8192", "Duplicate RAID device"),
    ] {
        refused("0 98304 raid45 ", &[(&format!("{log} {raid5}"), sentence)]);
    }
    let Err(error) = parse(&format!("0 98304 raid45 core 1 8 {raid5}")) else { panic!() };
    assert_eq!(error.errno(), Errno::Inval);
    let Err(error) = parse(&format!("0 98304 raid45 core 1 9 {raid5}")) else { panic!() };
    let text =
        "raid45: Error creating dirty log (-ENOMEM): dirty region log: invalid region size 9";
    assert_eq!((error.errno(), error.to_string()), (Errno::NoMem, text.to_owned()));
    let devices = |name: &str| {
        let small = name == "z";
        device(name).map(|device| Device { sectors: if small { 2 } else { 1 << 40 }, ..device })
    };
    let text = format!("0 98304 raid45 disk 2 z 256 {raid5}");
    let error = Table::parse(&text, &devices).unwrap_err().to_string();
    assert!(error.ends_with("log device z too small: need 1536 bytes"), "{error}");
}

fn raid45(text: &str) -> Raid45Table {
    match target(text) {
        Target::Raid45(table) => table,
        other => panic!("{other}"),
    }
}

/// Goal: what dm-raid45's TABLE status left out is there, and what it could not read is read.
#[test]
fn defects_of_raid45_are_mended() {
    let text = format!("{CORE}raid4 1 1 128 4 2 a 0 b 0 c 0 d 0");
    assert_eq!(parse(&text).unwrap().to_string(), text);
    let plain = format!("{CORE}raid5_ls 0 4 -1 a 0 b 0 c 0 d 0");
    for locking in ["locking none", "l n", "LOCK None"] {
        let text = format!("{CORE}raid5_ls 0 {locking} 4 -1 a 0 b 0 c 0 d 0");
        assert_eq!(parse(&text).unwrap().to_string(), plain);
    }
}

#[test]
fn raid45_tells_what_it_is() {
    let mut table = raid45(
        "0 65536 raid45 disk 3 e 8192 nosync raid5_la 7 128 512 -1 -1 20 sync -1 3 -1 a 0 b 0 c 0",
    );
    let text = "disk 3 e 8192 nosync raid5_la 7 128 512 -1 -1 20 sync 1 3 -1 a 0 b 0 c 0";
    assert_eq!(table.to_string(), text);
    let params = &table.params;
    assert_eq!((params.io(), params.recovery_io(), params.recovery_stripes()), (128, 256, 1));
    let array = Target::Raid45(table.clone()).array().unwrap();
    assert_eq!((array.level, array.layout), (Level::Raid5, Layout::LeftAsymmetric));
    assert_eq!(
        (array.start, array.region_sectors, array.stripes),
        (Start::InSync, 8192, Some(512))
    );
    assert_eq!(array.io_hints().min_bytes, 64 << 10);
    assert_eq!(array.io_hints().optimal_bytes, 128 << 10);
    assert_eq!(array.io_hints().boundary_sectors, 128);

    let mut state = Raid45State {
        failed: vec![false, true, false],
        synced_regions: 1,
        regions: 4,
        log: LogHealth::FlushFailed,
        statistics: None,
    };
    assert_eq!(table.info(&state).to_string(), "3 a b c 2 ADA 1/4 3 disk e F");
    table.raid_type = Raid45Type::Raid4 { parity: None };
    table.dev_to_init = Some(2);
    assert_eq!(table.info(&state).to_string(), "3 a b c 2 ADApi 1/4 3 disk e F");
    state.statistics = Some(Raid45Statistics {
        version: "v0".to_owned(),
        xor_function: "avx2".to_owned(),
        xor_chunks: 3,
        bandwidth: 20,
        counters: vec![("bios_read", 7)],
        overwrite: true,
        stripes: 512,
        recovery_ms: 1234,
        ..Raid45Statistics::default()
    });
    let dump = "v0 avx2=3 bw=20\nact_ios=0 act_ios_max=0\nact_stripes=0 act_stripes_max=0\n\
        bios_read=7 checkovr=on\nsc=128/512/128/1/256/0/0\nrg=0/0/4/20 1.23\n\
        3 a b c 2 ADApi 1/4 3 disk e F";
    assert_eq!(table.info(&state).to_string(), dump);
    let parity = |text: &str| {
        let table = raid45(&format!("{CORE}raid4 {text} 0 4 -1 a 0 b 0 c 0 d 0"));
        (table.parity_slot(), table.raid_type.level_and_layout(4).1)
    };
    assert_eq!(parity("-1"), (Some(3), Layout::ParityLast));
    assert_eq!(parity("3"), (Some(3), Layout::ParityLast));
    assert_eq!(parity("1"), (Some(1), Layout::ParityAt(1)));
}

#[test]
fn raid456_has_its_grammar() {
    let prefix = "0 98304 raid456 ";
    let four = "4 a 0 b 0 c 0 d 0";
    for (args, sentence) in [
        (String::new(), "No arguments"),
        ("core".to_owned(), "Bad dirty log parameters number"),
        ("core 2 8192".to_owned(), "Bad dirty log parameters number"),
        (format!("core 1 8192 raid7 1 128 {four}"), "Unrecognised raid_type"),
        (format!("core 1 8192 raid5_ls 0 {four}"), "Cannot understand number of raid parameters"),
        (
            "core 1 8192 raid5_ls 1 128 5 a 0 b 0 c 0 d 0".to_owned(),
            "Cannot understand number of raid devices parameters",
        ),
        ("core 1 8192 raid6_zr 1 128 2 a 0 b 0".to_owned(), "Insufficient number of devices"),
        (
            format!("core 1 8192 raid5_ls 2 128 sync {four}"),
            "Wrong number of raid parameters given",
        ),
        (
            format!("core 1 8192 raid5_ls 3 128 stripe_cache 512 {four}"),
            "Unable to parse RAID parameter",
        ),
        (format!("core 1 64 raid5_ls 1 128 {four}"), "Chunk size larger than region size"),
        (format!("core 1 9 raid5_ls 1 128 {four}"), "Error creating dirty log"),
        ("core 1 8192 raid5_ls 1 128 4 a 0 b 0 - 0 - 0".to_owned(), "Failed to run raid array"),
        (
            "core 1 8192 raid5_ls 1 128 4 a 0 b 0 - 0 error-c 0".to_owned(),
            "Failed to run raid array",
        ),
        (
            "core 1 8192 raid5_ls 1 128 4 a 0 b x c 0 d 0".to_owned(),
            "Invalid RAID device offset parameter",
        ),
        (
            "core 1 8192 raid5_ls 1 128 4 a 0 - 36028797018963968 c 0 d 0".to_owned(),
            "Invalid RAID device offset parameter",
        ),
        (
            "core 1 8192 raid5_ls 1 128 4 a 0 b 8 c 0 d 0".to_owned(),
            "Component device(s) too small",
        ),
        ("core 1 8192 raid5_ls 1 128 4 a 0 b 0 c 0 a 0".to_owned(), "Duplicate RAID device"),
        (
            "core 1 8192 raid5_ls 3 128 rebuild 1 4 a 0 - 0 c 0 d 0".to_owned(),
            "Drive designated for rebuild not specified",
        ),
    ] {
        refused(prefix, &[(&args, sentence)]);
    }
    let text = "0 49152 raid456 disk 2 e 8192 raid5_ls 5 128 rebuild 0 max_recovery_rate 9 4 a 8 b 0 c 0 d 0";
    let Target::Raid456(table) = target(text) else { panic!() };
    let array = Target::Raid456(table.clone()).array().unwrap();
    assert_eq!((array.start, array.component_sectors), (Start::Recorded, 16384));
    assert_eq!((array.data_offsets[0], array.rebuild.len()), (8, 1));
    let mut state = RaidState::healthy(4, 16384);
    state.members[0] = MemberHealth::OutOfSync;
    state.action = SyncAction::Recover;
    state.done_sectors = 4096;
    let info = table.info(&state, LogHealth::Alive).to_string();
    assert_eq!(info, "raid5_ls 4 aAAA 4096/16384 recover 0 0 - 3 disk e A");
    let missing = target("0 98304 raid456 core 1 8192 raid5_ls 1 128 4 a 0 b 0 c 0 error-d 7");
    let array = missing.array().unwrap();
    assert_eq!(array.members[3], None, "a device of errors stands for none");
    assert_eq!((array.start, missing.devices().len()), (Start::Resync, 4));
    assert!(missing.to_string().ends_with("c 0 error-d 7"));
}

/// Goal: the letters follow linux-raid.md, section 2.5. Method: every action, with something due or not,
/// over one member of every kind.
#[test]
fn health_letters_follow_the_rules() {
    use MemberHealth::{Absent, Failed, InSync, OutOfSync};
    let letters = |action, pending, checkpoint| {
        let state = RaidState {
            members: vec![Absent, Failed, OutOfSync, InSync],
            action,
            pending,
            checkpoint,
            ..RaidState::healthy(0, 100)
        };
        let info = state.info("raid6_zr").to_string();
        info.split(' ').nth(2).unwrap().to_owned()
    };
    for pending in [false, true] {
        for checkpoint in [None, Some(0), Some(50), Some(100), Some(u64::MAX)] {
            let due = pending && checkpoint.is_some_and(|checkpoint| checkpoint < 100);
            let idle = if due { "-Daa" } else { "-DaA" };
            assert_eq!(letters(SyncAction::Idle, pending, checkpoint), idle);
            for (action, shown) in [
                (SyncAction::Resync, "-Daa"),
                (SyncAction::Reshape, "-Daa"),
                (SyncAction::Check, "-DAA"),
                (SyncAction::Repair, "-DAA"),
                (SyncAction::Recover, "-DaA"),
                (SyncAction::Frozen, "-DaA"),
            ] {
                assert_eq!(letters(action, pending, checkpoint), shown, "{action}");
            }
        }
    }
}
