//! Wrong parameters: each gets SPDK's code and a text that names object, value and what would be
//! right, and leaves nothing behind.
//!
//! Not here: what is no JSON-RPC (`wire`), wrong configurations (`lifecycle`).

use serde_json::{Value, json};

use crate::daemon::{Daemon, Place, malloc, raid5};

/// A call, the code of its refusal, and words of its text.
type Case = (&'static str, Value, i64, &'static [&'static str]);

/// SPDK's words for every array that could not be made.
const FAILED: &str = "Failed to create RAID bdev r0: ";

/// Runs the cases. After each the bdevs, as they are described, and the files are what they were.
fn check(place: &Place, daemon: &Daemon, cases: Vec<Case>) {
    let bdevs = || {
        let mut bdevs = daemon.ask("bdev_get_bdevs", Value::Null);
        // A resync may go on.
        for bdev in bdevs.as_array_mut().unwrap() {
            if let Some(raid) = bdev["driver_specific"]["raid"].as_object_mut() {
                raid.remove("process");
                raid.remove("in_sync");
            }
        }
        bdevs
    };
    let (bdevs_before, files_before) = (bdevs(), place.files());
    for (method, params, code, words) in cases {
        let shown = format!("{method} {params}");
        let error = daemon.refused(method, params);
        assert_eq!(error.code, code, "{shown}: {error}");
        for word in words {
            assert!(error.message.contains(word), "{shown}: {word:?} is not in {error}");
        }
        assert_eq!(bdevs(), bdevs_before, "{shown}");
        assert_eq!(place.files(), files_before, "{shown}");
    }
}

#[test]
fn plain_bdevs() {
    let place = Place::new();
    let odd = place.file("odd.img", 5000);
    let empty = place.file("empty.img", 0);
    let good = place.file("good.img", 1 << 20);
    let daemon = place.start();
    let uuid = "67e55044-10b1-426f-9247-bb680e5fe0c8";
    daemon.ask(
        "bdev_malloc_create",
        json!({ "name": "m0", "block_size": 512, "num_blocks": 64, "uuid": uuid }),
    );
    let null = |change: Value| {
        let mut params = json!({ "name": "n0", "block_size": 512, "num_blocks": 64 });
        params.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        params
    };
    let file = |filename: &str| json!({ "name": "f0", "filename": filename, "block_size": 4096 });
    let missing = place.path("missing.img");
    let mut cases: Vec<Case> = vec![
        (
            "bdev_null_create",
            null(json!({ "name": "m0" })),
            -17,
            &["File exists", "\"m0\"", "malloc"],
        ),
        ("bdev_null_create", null(json!({ "name": uuid })), -17, &["File exists"]),
        ("bdev_null_create", null(json!({ "uuid": uuid })), -17, &["File exists", "\"m0\""]),
        ("bdev_null_create", null(json!({ "name": "" })), -32602, &["name"]),
        ("bdev_null_create", null(json!({ "name": "a\nb" })), -22, &["Invalid argument", "a\\nb"]),
        ("bdev_null_create", null(json!({ "block_size": 1000 })), -22, &["1000", "512 or 4096"]),
        ("bdev_null_create", null(json!({ "num_blocks": 0 })), -22, &["num_blocks", "at least 1"]),
        ("bdev_null_create", null(json!({ "num_blocks": -1 })), -32602, &["num_blocks", "-1"]),
        ("bdev_null_create", null(json!({ "num_blocks": u64::MAX })), -22, &["n0"]),
        ("bdev_null_create", null(json!({ "md_size": 8 })), -95, &["md_size"]),
        (
            "bdev_null_create",
            json!({ "name": "n0", "block_size": 512 }),
            -32602,
            &["num_blocks", "missing"],
        ),
        ("bdev_null_create", json!(["n0", 512, 64]), -32602, &["bdev_null_create"]),
        ("bdev_malloc_create", null(json!({ "uuid": "67e5" })), -32602, &["uuid", "67e5"]),
        ("bdev_malloc_create", null(json!({ "num_blocks": 1_u64 << 53 })), -12, &["n0"]),
        ("bdev_null_delete", json!({ "name": "n0" }), -19, &["No such device", "\"n0\""]),
        (
            "bdev_null_delete",
            json!({ "name": "m0" }),
            -19,
            &["No such device", "bdev_malloc_delete"],
        ),
        ("bdev_raid_delete", json!({ "name": "m0" }), -19, &["No such device"]),
        ("bdev_get_bdevs", json!({ "name": "n0" }), -19, &["No such device", "\"n0\""]),
    ];
    for (create, delete) in
        [("bdev_uring_create", "bdev_uring_delete"), ("bdev_aio_create", "bdev_aio_delete")]
    {
        let mut made = file(&missing);
        made["create_size_mib"] = json!(0);
        let mut not_made = file(&place.path("new/directory/disk.img"));
        not_made["create_size_mib"] = json!(1);
        not_made["block_size"] = json!(1000);
        let mut unsized_blocks = file(&good);
        unsized_blocks["block_size"] = json!(0);
        cases.extend::<[Case; 10]>([
            (create, file(&missing), -2, &["No such file or directory", "missing.img", "f0"]),
            (create, file(&odd), -22, &["5000", "4096", "8192"]),
            (create, file(&empty), -22, &["empty"]),
            (create, file(place.data().to_str().unwrap()), -21, &["Is a directory"]),
            (create, file("/dev/zero"), -22, &["/dev/zero"]),
            (create, unsized_blocks, -22, &["block_size", "512 or 4096"]),
            (create, made, -22, &["create_size_mib"]),
            (create, not_made, -22, &["1000", "512 or 4096"]),
            (
                create,
                json!({ "name": "m0", "filename": good, "block_size": 512 }),
                -17,
                &["\"m0\""],
            ),
            (delete, json!({ "name": "m0" }), -19, &["No such device"]),
        ]);
    }
    check(&place, &daemon, cases);
    daemon.stop();
}

#[test]
fn arrays() {
    let place = Place::new();
    let daemon = place.start();
    for name in ["m0", "m1", "m2", "m3", "used0", "used1", "used2"] {
        daemon.ask("bdev_malloc_create", malloc(name, 4));
    }
    daemon.ask("bdev_malloc_create", malloc("larger", 8));
    daemon
        .ask("bdev_malloc_create", json!({ "name": "tiny", "block_size": 4096, "num_blocks": 4 }));
    for name in ["huge0", "huge1", "huge2"] {
        let params = json!({ "name": name, "block_size": 4096, "num_blocks": 1 << 20 });
        daemon.ask("bdev_null_create", params);
    }
    daemon.ask("bdev_raid_create", raid5("used", &["used0", "used1", "used2"]));
    let alias = daemon.bdev("m0")["uuid"].as_str().unwrap().to_owned();

    let members = |members: Value| {
        let mut params = raid5("r0", &[]);
        params["base_bdevs"] = members;
        params
    };
    let with = |key: &str, value: Value| {
        let mut params = raid5("r0", &["m0", "m1", "m2", "m3"]);
        params[key] = value;
        params
    };
    let mut wide = raid5("r0", &["huge0", "huge1", "huge2"]);
    wide["strip_size_kb"] = json!(32768);
    let create = "bdev_raid_create";
    let cases: Vec<Case> = vec![
        (create, members(json!(["m0", "m1", "larger"])), -22, &[FAILED, "larger", "equal"]),
        (create, members(json!(["m0", "m1", "tiny"])), -22, &[FAILED, "tiny", "16384"]),
        (
            create,
            members(json!(["m0", "m1", "m0"])),
            -1,
            &[FAILED, "Operation not permitted", "\"m0\""],
        ),
        (create, members(json!(["m0", "m1", alias])), -1, &["slot 0", "slot 2"]),
        (
            create,
            members(json!(["m0", "m1", "used2"])),
            -1,
            &["Operation not permitted", "\"used\""],
        ),
        (create, members(json!(["m0", "m1", "m9"])), -19, &["No such device", "\"m9\"", "slot 2"]),
        (create, members(json!(["m0", "m1"])), -22, &["2", "raid5 needs 3"]),
        (create, members(json!([])), -22, &["raid5 needs 3"]),
        (create, members(json!(["m0", null, null])), -22, &["missing"]),
        (create, members(json!([null, null, null])), -22, &["r0"]),
        (create, members(json!(["m0", "", "m2"])), -32602, &["base_bdevs"]),
        (create, members(json!(vec!["m0"; 256])), -32602, &["255"]),
        (create, with("name", json!("used")), -17, &["File exists", "\"used\""]),
        (create, with("name", json!("m0")), -17, &["File exists"]),
        (create, with("uuid", json!(alias)), -17, &["File exists", "\"m0\""]),
        (
            create,
            with("strip_size_kb", json!(48)),
            -22,
            &[FAILED, "Invalid argument", "power of two"],
        ),
        (create, with("strip_size_kb", json!(0)), -22, &["power of two"]),
        (create, with("strip_size_kb", json!(2)), -22, &["4096"]),
        (create, wide, -22, &["33554432", "from 4096 to 16777216"]),
        (create, with("strip_size_kb", json!(u32::MAX)), -22, &["4294967295", "power of two"]),
        (create, with("strip_size_kb", Value::Null), -32602, &["strip_size_kb", "missing"]),
        (create, with("raid_level", json!("raid0")), -32602, &["raid0", "raid5"]),
        (create, with("layout", json!("sideways")), -22, &["sideways", "left-symmetric"]),
        (create, with("layout", json!("raid6_zr")), -22, &["raid6_zr"]),
        (create, with("parity_device", json!(1)), -22, &["parity_device", "raid4"]),
        (create, with("data_offset", json!(1 << 20)), -22, &["offset"]),
        (create, with("data_offset", json!(u64::MAX)), -22, &["data_offset"]),
        (create, with("data_offset", json!(1)), -22, &["512"]),
        (create, with("data_offset", json!([0, 0])), -22, &["2 data offsets"]),
        (create, with("superblock", json!(true)), -95, &["Operation not supported", "superblock"]),
        ("bdev_raid_delete", json!({ "name": "r0" }), -19, &["No such device", "\"r0\""]),
        (
            "bdev_malloc_delete",
            json!({ "name": "used1" }),
            -16,
            &["Device or resource busy", "slot 1"],
        ),
        ("bdev_raid_remove_base_bdev", json!({ "name": "m0" }), -19, &["No such device"]),
        ("bdev_raid_remove_base_bdev", json!({ "name": "no" }), -19, &["No such device"]),
        (
            "bdev_raid_remove_base_bdev",
            json!({ "raid_bdev": "m0", "base_bdev": "used0" }),
            -19,
            &["No such device"],
        ),
        ("bdev_raid_remove_base_bdev", json!({}), -32602, &["name"]),
        ("bdev_raid_get_bdevs", json!({ "category": "broken" }), -32602, &["broken", "online"]),
    ];
    check(&place, &daemon, cases);

    let mut raid4 = with("raid_level", json!("raid4"));
    raid4["parity_device"] = json!(4);
    let mut raid6 = members(json!(["m0", "m1", "m2"]));
    raid6["raid_level"] = json!("raid6");
    let cases: Vec<Case> = vec![
        (create, raid4, -22, &["parity_device", "4"]),
        (create, raid6, -22, &["raid6 needs 4"]),
    ];
    check(&place, &daemon, cases);

    // None of all that has spoilt the members.
    daemon.ask(create, raid5("r0", &["m0", "m1", "m2", "m3"]));
    daemon.stop();
}
