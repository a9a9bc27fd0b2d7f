//! Tables that change under verified load: members replaced and rebuilt, tables that are refused.
//!
//! ```text
//!   writers: write a block, read it back, compare -----------------------> no error, no lost write
//!   owner:   suspend, load another table, resume, wait for the rebuild --^
//! ```
//!
//! Not here: the order of requests in one channel (crate `device`).

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use reactor::clock;
use serde_json::json;

use super::wait;
use crate::rig::{ARRAY, Rig};

const BLOCK: usize = 4096;
const WRITERS: u64 = 3;
/// Blocks of each writer.
const BLOCKS: u64 = 700;

fn rig() -> Rig {
    let rig = Rig::start();
    for name in ["m0", "m1", "m2", "m3", "m4", "s0", "s1", "s2", "s3"] {
        let params = json!({ "name": name, "block_size": 512, "num_blocks": 8192 });
        rig.ask("bdev_malloc_create", params);
    }
    rig
}

fn table(options: &str, members: [&str; 4]) -> String {
    let members: Vec<String> = members.iter().map(|member| format!("- {member}")).collect();
    format!("0 24576 raid raid5_ls {options} 4 {}", members.join(" "))
}

fn status(rig: &Rig) -> String {
    rig.control.dm_status(Some(ARRAY)).unwrap()[0].lines[0].text.clone()
}

fn load(rig: &Rig, table: &str) {
    rig.ask("dm_table_load", json!({ "name": ARRAY, "table": table }));
}

fn resume(rig: &Rig) {
    rig.ask("dm_resume", json!({ "name": ARRAY }));
}

/// Requests that wait in the suspended device.
fn queued(rig: &Rig) -> u64 {
    rig.control.dm_status(Some(ARRAY)).unwrap()[0].queued
}

fn wait_idle(rig: &Rig) {
    let idle = "raid5_ls 4 AAAA 8192/8192 idle 0 0 -";
    rig.wait_until(idle, |rig| status(rig) == idle);
}

/// What a block holds after its `version`th write.
fn contents(block: u64, version: u64) -> Vec<u8> {
    let word = (block << 32 | version).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes();
    word.repeat(BLOCK / word.len())
}

/// Writers that go on until they are told to stop; the longest wait for a write and for reading it back.
fn under_load(rig: &Rig, act: impl FnOnce()) -> Duration {
    let (over, longest) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (over, longest) = (&over, &longest);
            scope.spawn(move || {
                let mut versions = vec![0_u64; BLOCKS as usize];
                let mut next = writer;
                while !over.load(Ordering::Relaxed) || versions.contains(&0) {
                    next = next.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1 + writer);
                    let mine = (next >> 33) % BLOCKS;
                    let mine = versions.iter().position(|v| *v == 0).map_or(mine, |at| at as u64);
                    let block = writer * BLOCKS + mine;
                    versions[mine as usize] += 1;
                    let right = contents(block, versions[mine as usize]);
                    let begin_ns = clock::now().as_nanos();
                    rig.write(block * BLOCK as u64, &right).unwrap();
                    assert!(rig.read(block * BLOCK as u64, BLOCK).unwrap() == right, "{block}");
                    longest
                        .fetch_max((clock::now().as_nanos() - begin_ns) / 1000, Ordering::Relaxed);
                }
                for (mine, version) in (0..).zip(versions) {
                    let block = writer * BLOCKS + mine;
                    let found = rig.read(block * BLOCK as u64, BLOCK).unwrap();
                    assert!(found == contents(block, version), "block {block} at the end");
                }
            });
        }
        act();
        over.store(true, Ordering::Relaxed);
    });
    Duration::from_micros(longest.load(Ordering::Relaxed))
}

/// Goal: members are replaced, rebuilt and put back under load, and no request fails or is lost; those that
/// come while the device is suspended wait for as long as that takes. Method: writers that check what they
/// write, three rounds; in each one parity is compared at the end.
#[test]
fn members_are_replaced_under_load() {
    let rig = rig();
    let first = table("1 128", ["m0", "m1", "m2", "m3"]);
    rig.ask("dm_create", json!({ "name": ARRAY, "table": first }));
    let pause = Duration::from_millis(200);
    let longest = under_load(&rig, || {
        for (options, members) in [
            ("3 128 rebuild 1", ["m0", "m4", "m2", "m3"]),
            ("3 128 rebuild 3", ["m0", "m4", "m2", "m1"]),
            ("3 128 rebuild 0", ["m3", "m4", "m2", "m1"]),
        ] {
            wait_idle(&rig);
            rig.ask("dm_suspend", json!({ "name": ARRAY }));
            load(&rig, &table(options, members));
            rig.wait_until("all writers wait", |rig| queued(rig) == WRITERS);
            wait(pause);
            resume(&rig);
            assert_eq!(rig.control.dm_table(Some(ARRAY), false).unwrap()[0].lines.len(), 1);
        }
        wait_idle(&rig);
    });
    assert!(longest >= pause, "requests waited: {longest:?}");
    println!("longest write and read, with three suspends of {pause:?}: {longest:?}");
    rig.ask("dm_message", json!({ "name": ARRAY, "message": "check" }));
    wait_idle(&rig);
    rig.stop();
}

/// Goal: what an array knew goes over to the next table: a member that failed, or was exchanged without a
/// word, is rebuilt and not trusted. Method: one member fails, then another is exchanged; the same table
/// otherwise; contents are checked.
#[test]
fn a_table_does_not_make_a_failed_member_right() {
    let rig = rig();
    rig.ask("bdev_error_create", json!({ "base_name": "m1" }));
    rig.ask(
        "dm_create",
        json!({ "name": ARRAY, "table": table("2 128 nosync", ["m0", "EE_m1", "m2", "m3"]) }),
    );
    let events = || rig.control.dm_info(Some(ARRAY)).unwrap()[0].events;
    under_load(&rig, || {
        assert_eq!(events(), 0);
        rig.inject("EE_m1", "write", "failure", 1);
        rig.wait_until("the failure", |rig| status(rig).starts_with("raid5_ls 4 ADAA "));
        rig.wait_until("its event", |_| events() == 1);
        load(&rig, &table("2 128 nosync", ["m0", "EE_m1", "m2", "m3"]));
        resume(&rig);
        rig.wait_until("the rebuild's event", |_| events() > 1);
        wait_idle(&rig);
        load(&rig, &table("2 128 nosync", ["m0", "EE_m1", "m4", "m3"]));
        resume(&rig);
        wait_idle(&rig);
        load(&rig, &table("2 128 nosync", ["m0", "-", "m4", "m3"]));
        resume(&rig);
        assert!(status(&rig).starts_with("raid5_ls 4 A-AA "), "{}", status(&rig));
    });
    rig.stop();
}

/// Goal: a table that is refused at resume leaves the device suspended with the table that it had, and the
/// next resume goes on with that; nothing is lost. Method: a metadata device that is too small.
#[test]
fn a_table_that_is_refused_leaves_the_old_one() {
    let rig = rig();
    rig.ask("bdev_null_create", json!({ "name": "tiny", "block_size": 512, "num_blocks": 64 }));
    let right = table("1 128", ["m0", "m1", "m2", "m3"]);
    rig.ask("dm_create", json!({ "name": ARRAY, "table": right }));
    wait_idle(&rig);
    under_load(&rig, || {
        load(&rig, &right.replacen("- m0", "tiny m0", 1));
        let error = rig.refused("dm_resume", json!({ "name": ARRAY }));
        assert!(error.message.contains("Failed to run raid array (-EIO)"), "{error}");
        let info = rig.control.dm_info(Some(ARRAY)).unwrap().remove(0);
        assert!(info.suspended && info.live && !info.inactive, "{info:?}");
        resume(&rig);
        assert_eq!(
            rig.control.dm_table(Some(ARRAY), false).unwrap()[0].lines[0].text,
            right.replace("0 24576 raid ", "")
        );
        wait_idle(&rig);
    });
    rig.stop();
}

/// Goal: superblocks on metadata devices know the array again: in sync without a resync after it was
/// stopped in order, a member that was away is rebuilt, one that does not belong is refused.
#[test]
fn metadata_devices_know_their_array() {
    let rig = rig();
    let with = |members: [&str; 4], options: &str| {
        let meta = ["s0", "s1", "s2", "s3"];
        let pair = |(meta, member): (&str, &str)| match member {
            "-" => "- -".to_owned(),
            member => format!("{meta} {member}"),
        };
        let pairs: Vec<String> = meta.into_iter().zip(members).map(pair).collect();
        json!({ "name": ARRAY, "table": format!("0 24576 raid raid5_ls {options} 4 {}", pairs.join(" ")) })
    };
    let all = ["m0", "m1", "m2", "m3"];
    rig.ask("dm_create", with(all, "1 128"));
    under_load(&rig, || wait_idle(&rig));
    let before = rig.read_all();
    let remove = || rig.ask("dm_remove", json!({ "name": ARRAY }));
    remove();
    rig.ask("dm_create", with(all, "1 128"));
    assert_eq!(status(&rig), "raid5_ls 4 AAAA 8192/8192 idle 0 0 -", "at once");
    remove();
    rig.ask("dm_create", with(["-", "m1", "m2", "m3"], "1 128"));
    assert_eq!(rig.read_all(), before);
    rig.write(0, &contents(1, 1)).unwrap();
    let mut after = before;
    after[..BLOCK].copy_from_slice(&contents(1, 1));
    remove();
    rig.ask("dm_create", with(all, "1 128"));
    wait_idle(&rig);
    assert_eq!(rig.read_all(), after, "m0 was rebuilt");
    remove();
    let error = rig.refused("dm_create", with(all, "1 64"));
    assert!(error.message.contains("Invalid superblocks (-EINVAL)"), "{error}");
    rig.ask("bdev_malloc_delete", json!({ "name": "s2" }));
    rig.ask("bdev_malloc_create", json!({ "name": "s2", "block_size": 512, "num_blocks": 8192 }));
    let error = rig.refused("dm_create", with(all, "1 128"));
    assert!(error.message.contains("New device injected into existing raid set"), "{error}");
    rig.ask("dm_create", with(all, "3 128 rebuild 2"));
    wait_idle(&rig);
    assert_eq!(rig.read_all(), after);
    rig.stop();
}
