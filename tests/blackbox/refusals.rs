//! Wrong parameters: each gets SPDK's code and a text that names object, value and what would be
//! right, and leaves nothing behind.
//!
//! Not here: what is no JSON-RPC (`wire`), wrong configurations (`lifecycle`).

use serde_json::{Value, json};

use crate::daemon::{Daemon, Place, malloc, raid5};

/// SPDK's words for every array that could not be made.
const FAILED: &str = "Failed to create RAID bdev r0: ";

const UUID: &str = "67e55044-10b1-426f-9247-bb680e5fe0c8";

/// A daemon that refuses.
struct Refuser {
    place: Place,
    daemon: Daemon,
}

impl Refuser {
    /// With four free members, the array `used` over three others, and members of wrong sizes.
    fn with_members() -> Self {
        let place = Place::new();
        let daemon = place.start();
        for name in ["m0", "m1", "m2", "m3", "used0", "used1", "used2"] {
            daemon.ask("bdev_malloc_create", malloc(name, 4));
        }
        daemon.ask("bdev_malloc_create", malloc("larger", 8));
        let tiny = json!({ "name": "tiny", "block_size": 4096, "num_blocks": 4 });
        daemon.ask("bdev_malloc_create", tiny);
        for name in ["huge0", "huge1", "huge2"] {
            let params = json!({ "name": name, "block_size": 4096, "num_blocks": 1 << 20 });
            daemon.ask("bdev_null_create", params);
        }
        daemon.ask("bdev_raid_create", raid5("used", &["used0", "used1", "used2"]));
        Self { place, daemon }
    }

    /// All bdevs as they are described. A resync may go on.
    fn bdevs(&self) -> Value {
        let mut bdevs = self.daemon.ask("bdev_get_bdevs", Value::Null);
        for bdev in bdevs.as_array_mut().unwrap() {
            if let Some(raid) = bdev["driver_specific"]["raid"].as_object_mut() {
                raid.remove("process");
                raid.remove("in_sync");
                raid.remove("log");
                raid.remove("sync_action");
            }
        }
        bdevs
    }

    /// A call that has to be refused with this code and these words, and to change no bdev and no
    /// file.
    fn refuse(&self, method: &str, params: Value, code: i64, words: &[&str]) {
        let before = (self.bdevs(), self.place.files());
        let shown = format!("{method} {params}");
        let error = self.daemon.refused(method, params);
        assert_eq!(error.code, code, "{shown}: {error}");
        for word in words {
            assert!(error.message.contains(word), "{shown}: {word:?} is not in {error}");
        }
        assert_eq!((self.bdevs(), self.place.files()), before, "{shown}");
    }
}

/// `params` with some members changed.
fn changed(mut params: Value, changes: Value) -> Value {
    let Value::Object(changes) = changes else { panic!("{changes} should be an object") };
    params.as_object_mut().unwrap().extend(changes);
    params
}

#[test]
fn names_and_sizes() {
    let place = Place::new();
    let daemon = place.start();
    let m0 = json!({ "name": "m0", "block_size": 512, "num_blocks": 64, "uuid": UUID });
    daemon.ask("bdev_malloc_create", m0);
    let refuser = Refuser { place, daemon };
    let n0 = json!({ "name": "n0", "block_size": 512, "num_blocks": 64 });
    let null = |changes: Value, code, words: &[&str]| {
        refuser.refuse("bdev_null_create", changed(n0.clone(), changes), code, words);
    };
    null(json!({ "name": "m0" }), -17, &["File exists", "\"m0\"", "malloc"]);
    null(json!({ "name": UUID }), -17, &["File exists"]);
    null(json!({ "uuid": UUID }), -17, &["File exists", "\"m0\""]);
    null(json!({ "uuid": "67e5" }), -32602, &["uuid", "67e5"]);
    null(json!({ "name": "" }), -32602, &["name"]);
    null(json!({ "name": null }), -32602, &["name is missing"]);
    null(json!({ "name": "a\nb" }), -22, &["Invalid argument", "a\\nb"]);
    null(json!({ "name": "x".repeat(256) }), -22, &["255 bytes"]);
    null(json!({ "block_size": 1000 }), -22, &["1000", "512 or 4096"]);
    null(json!({ "num_blocks": 0 }), -22, &["num_blocks", "at least 1"]);
    null(json!({ "num_blocks": -1 }), -32602, &["num_blocks", "-1"]);
    null(json!({ "num_blocks": u64::MAX }), -22, &["n0"]);
    null(json!({ "md_size": 8 }), -95, &["Operation not supported", "md_size"]);
    null(json!({ "dif_type": 1 }), -95, &["dif_type"]);
    refuser.refuse("bdev_null_create", json!(["n0", 512, 64]), -32602, &["bdev_null_create"]);

    let endless = changed(n0.clone(), json!({ "num_blocks": 1_u64 << 53 }));
    refuser.refuse("bdev_malloc_create", endless, -12, &["Cannot allocate memory", "n0"]);

    let n0 = json!({ "name": "n0" });
    refuser.refuse("bdev_get_bdevs", n0.clone(), -19, &["No such device", "\"n0\""]);
    refuser.refuse("bdev_null_delete", n0, -19, &["No such device", "\"n0\""]);
    let m0 = json!({ "name": "m0" });
    refuser.refuse("bdev_null_delete", m0.clone(), -19, &["No such device", "bdev_malloc_delete"]);
    refuser.refuse("bdev_raid_delete", m0, -19, &["No such device"]);
    refuser.daemon.stop();
}

#[test]
fn files() {
    let place = Place::new();
    let odd = place.file("odd.img", 5000);
    let empty = place.file("empty.img", 0);
    let good = place.file("good.img", 1 << 20);
    let (missing, in_new) = (place.path("missing.img"), place.path("new/directory/disk.img"));
    let directory = place.path("");
    let daemon = place.start();
    daemon.ask("bdev_malloc_create", malloc("m0", 1));
    let refuser = Refuser { place, daemon };
    for kind in ["uring", "aio"] {
        let create = |filename: &str, changes: Value, code, words: &[&str]| {
            let params = json!({ "name": "f0", "filename": filename, "block_size": 4096 });
            refuser.refuse(&format!("bdev_{kind}_create"), changed(params, changes), code, words);
        };
        create(&missing, json!({}), -2, &["No such file or directory", "missing.img", "f0"]);
        create(&odd, json!({}), -22, &["5000", "4096", "8192"]);
        create(&empty, json!({}), -22, &["empty"]);
        create(&directory, json!({}), -21, &["Is a directory"]);
        create("/dev/zero", json!({}), -22, &["/dev/zero"]);
        create(&good, json!({ "block_size": 0 }), -22, &["block_size", "512 or 4096"]);
        create(&good, json!({ "name": "m0" }), -17, &["File exists", "\"m0\""]);
        create(&missing, json!({ "create_size_mib": 0 }), -22, &["create_size_mib"]);
        create(&missing, json!({ "create_size_mib": u64::MAX }), -22, &["create_size_mib"]);
        let made_in_vain = json!({ "create_size_mib": 1, "block_size": 1000 });
        create(&in_new, made_in_vain, -22, &["1000", "512 or 4096"]);
        let m0 = json!({ "name": "m0" });
        refuser.refuse(&format!("bdev_{kind}_delete"), m0, -19, &["bdev_malloc_delete"]);
    }
    refuser.daemon.stop();
}

#[test]
fn members() {
    let refuser = Refuser::with_members();
    let alias = refuser.daemon.bdev("m0")["uuid"].as_str().unwrap().to_owned();
    let members = |members: Value, code, words: &[&str]| {
        let params = changed(raid5("r0", &[]), json!({ "base_bdevs": members }));
        refuser.refuse("bdev_raid_create", params, code, words);
    };
    members(json!(["m0", "m1", "larger"]), -22, &[FAILED, "Invalid argument", "larger", "equal"]);
    members(json!(["m0", "m1", "tiny"]), -22, &[FAILED, "tiny", "16384"]);
    members(json!(["m0", "m1", "m0"]), -1, &[FAILED, "Operation not permitted", "\"m0\""]);
    members(json!(["m0", "m1", alias]), -1, &["slot 0", "slot 2"]);
    members(json!(["m0", "m1", "used2"]), -1, &["Operation not permitted", "\"used\" as slot 2"]);
    members(json!(["m0", "m1", "m9"]), -19, &[FAILED, "No such device", "\"m9\"", "slot 2"]);
    members(json!(["m0", "m1"]), -22, &["raid5 needs 3", "not 2"]);
    members(json!([]), -22, &["raid5 needs 3"]);
    members(json!(["m0", null, null]), -22, &["missing"]);
    members(json!([null, null, null]), -22, &["r0"]);
    members(json!(["m0", "", "m2"]), -32602, &["base_bdevs"]);
    members(json!(vec!["m0"; 256]), -32602, &["255"]);

    let too_few_for_6 = raid5("r0", &["m0", "m1", "m2"]);
    let too_few_for_6 = changed(too_few_for_6, json!({ "raid_level": "raid6" }));
    refuser.refuse("bdev_raid_create", too_few_for_6, -22, &["raid6 needs 4"]);

    // None of all that has spoilt the members.
    refuser.daemon.ask("bdev_raid_create", raid5("r0", &["m0", "m1", "m2", "m3"]));
    refuser.daemon.stop();
}

#[test]
fn geometry() {
    let refuser = Refuser::with_members();
    let create = |changes: Value, code, words: &[&str]| {
        let params = changed(raid5("r0", &["m0", "m1", "m2", "m3"]), changes);
        refuser.refuse("bdev_raid_create", params, code, words);
    };
    create(json!({ "name": "used" }), -17, &["File exists", "\"used\""]);
    create(json!({ "name": "m0" }), -17, &["File exists"]);
    create(json!({ "uuid": refuser.daemon.bdev("m0")["uuid"] }), -17, &["File exists", "\"m0\""]);
    create(json!({ "strip_size_kb": 48 }), -22, &[FAILED, "Invalid argument", "power of two"]);
    create(json!({ "strip_size_kb": 0 }), -22, &["power of two"]);
    create(json!({ "strip_size_kb": 2 }), -22, &["2048", "from 4096 to 16777216"]);
    create(json!({ "strip_size_kb": u32::MAX }), -22, &["4294967295", "power of two"]);
    create(json!({ "strip_size_kb": null }), -32602, &["strip_size_kb is missing"]);
    let huge = json!({ "strip_size_kb": 32768, "base_bdevs": ["huge0", "huge1", "huge2"] });
    create(huge, -22, &["33554432", "from 4096 to 16777216"]);
    create(json!({ "raid_level": "raid0" }), -32602, &["raid0", "raid5"]);
    create(json!({ "layout": "sideways" }), -22, &["sideways", "left-symmetric"]);
    create(json!({ "layout": "raid6_zr" }), -22, &["raid6_zr", "left-symmetric"]);
    create(json!({ "parity_device": 1 }), -22, &["parity_device 1", "raid4"]);
    let outside = json!({ "raid_level": "raid4", "parity_device": 4 });
    create(outside, -22, &["parity_device 4", "slot"]);
    let twice = json!({ "raid_level": "raid4", "parity_device": 1, "layout": "parity-first" });
    create(twice, -22, &["parity_device 1", "layout"]);
    create(json!({ "data_offset": 1 << 20 }), -22, &["offset"]);
    create(json!({ "data_offset": 1 }), -22, &["offset of 512 bytes", "4096"]);
    create(json!({ "data_offset": u64::MAX }), -22, &["data_offset"]);
    create(json!({ "data_offset": [0, 0] }), -22, &["2 data offsets"]);
    let covered = json!({ "superblock": true, "data_offset": 2040 });
    create(covered, -22, &["data offset 1044480", "at least 1048576"]);
    create(json!({ "log_bdev": "no" }), -19, &["\"no\""]);
    create(json!({ "log_bdev": "m0" }), -22, &["m0", "given twice"]);
    create(json!({ "region_size_kb": 5 }), -22, &["region size 5120", "power of two"]);
    create(json!({ "on_failure": "panic" }), -32602, &["panic", "hold", "continue"]);
    refuser.daemon.stop();
}

#[test]
fn changes_of_arrays() {
    let refuser = Refuser::with_members();
    refuser.refuse("bdev_raid_delete", json!({ "name": "r0" }), -19, &["No such device", "\"r0\""]);
    let used1 = json!({ "name": "used1" });
    let busy = &["Device or resource busy", "\"used\" as slot 1", "bdev_raid_remove_base_bdev"];
    refuser.refuse("bdev_malloc_delete", used1, -16, busy);

    let remove = |params: Value, code, words: &[&str]| {
        refuser.refuse("bdev_raid_remove_base_bdev", params, code, words);
    };
    remove(json!({ "name": "m0" }), -19, &["No such device", "\"m0\" is no member"]);
    remove(json!({ "name": "no" }), -19, &["No such device", "\"no\""]);
    let elsewhere = json!({ "raid_bdev": "m0", "base_bdev": "used0" });
    remove(elsewhere, -19, &["\"used0\" is no member of array \"m0\""]);
    remove(json!({}), -32602, &["name"]);

    let broken = json!({ "category": "broken" });
    refuser.refuse("bdev_raid_get_bdevs", broken, -32602, &["broken", "online"]);
    refuser.daemon.stop();
}
