//! Every kind of bdev, made, looked at and deleted over the socket.
//!
//! Not here: wrong parameters (`refusals`).

use serde_json::{Value, json};

use crate::daemon::{Place, malloc, raid5};

const UUID: &str = "67e55044-10b1-426f-9247-bb680e5fe0c8";

/// The fields of `bdev_get_bdevs` that SPDK's clients decode.
fn check_shape(bdev: &Value) {
    for (key, is_right) in [
        ("name", Value::is_string as fn(&Value) -> bool),
        ("aliases", Value::is_array),
        ("product_name", Value::is_string),
        ("block_size", Value::is_u64),
        ("num_blocks", Value::is_u64),
        ("uuid", Value::is_string),
        ("assigned_rate_limits", Value::is_object),
        ("claimed", Value::is_boolean),
        ("zoned", Value::is_boolean),
        ("supported_io_types", Value::is_object),
        ("driver_specific", Value::is_object),
    ] {
        assert!(is_right(&bdev[key]), "{key}: {bdev}");
    }
    assert_eq!(bdev["aliases"], json!([bdev["uuid"]]));
}

/// Goal: each kind comes, shows itself in SPDK's words, is found by its alias, and goes.
#[test]
fn every_kind_comes_and_goes() {
    let place = Place::new();
    let image = place.file("disk.img", 8 << 20);
    let daemon = place.start();
    let file = json!({ "name": "b", "filename": image, "block_size": 512, "uuid": UUID });
    let memory = json!({ "name": "b", "block_size": 512, "num_blocks": 16384, "uuid": UUID });
    for (kind, params, product, specific) in [
        ("null", &memory, "Null disk", json!({})),
        ("malloc", &memory, "Malloc disk", json!({})),
        ("uring", &file, "URING bdev", json!({ "uring": { "filename": image } })),
        (
            "aio",
            &file,
            "AIO disk",
            json!({ "aio": {
                "filename": image,
                "block_size_override": true,
                "readonly": false,
                "fallocate": false,
                "nowait": false,
            } }),
        ),
    ] {
        let created = daemon.ask(&format!("bdev_{kind}_create"), params.clone());
        assert_eq!(created, json!("b"), "a bare string, as SPDK's clients expect");
        let bdev = daemon.bdev(UUID);
        check_shape(&bdev);
        assert_eq!(bdev["product_name"], product);
        assert_eq!((&bdev["name"], &bdev["uuid"]), (&json!("b"), &json!(UUID)));
        assert_eq!((&bdev["block_size"], &bdev["num_blocks"]), (&json!(512), &json!(16384)));
        assert_eq!((&bdev["claimed"], bdev.get("claim_type")), (&json!(false), None));
        for io_type in ["read", "write", "flush", "write_zeroes"] {
            assert_eq!(bdev["supported_io_types"][io_type], true, "{kind}: {io_type}");
        }
        for (driver, fields) in specific.as_object().unwrap() {
            for (field, value) in fields.as_object().unwrap() {
                assert_eq!(&bdev["driver_specific"][driver][field], value, "{kind}: {field}");
            }
        }
        assert_eq!(daemon.ask(&format!("bdev_{kind}_delete"), json!({ "name": "b" })), true);
        assert!(daemon.bdevs().is_empty());
    }
    daemon.stop();
    assert!(std::path::Path::new(&image).exists(), "deleting a bdev deletes no data");
}

/// Goal: an array is described as SPDK describes one, with our fields behind, and its members are
/// its own until it is deleted.
#[test]
fn an_array_has_its_members_for_itself() {
    let place = Place::new();
    let daemon = place.start();
    for name in ["m0", "m1", "m2", "m3"] {
        daemon.ask("bdev_malloc_create", malloc(name, 16));
    }
    let params = json!({
        "name": "r0", "raid_level": "6", "strip_size_kb": 32, "uuid": UUID,
        "base_bdevs": ["m0", "m1", "m2", "m3"], "layout": "left-symmetric-6",
    });
    assert_eq!(daemon.ask("bdev_raid_create", params), true);

    let bdev = daemon.bdev("r0");
    check_shape(&bdev);
    assert_eq!(bdev["product_name"], "Raid Volume");
    assert_eq!(bdev["num_blocks"], 2 * 16 * 256);
    assert_eq!(bdev["optimal_write_size"], 2 * 32 / 4);
    let raids = daemon.ask("bdev_raid_get_bdevs", json!({ "category": "online" }));
    let raid = &raids[0];
    let mut without_name = raid.clone();
    without_name.as_object_mut().unwrap().remove("name");
    // The resync goes on between the two calls.
    for value in [&mut without_name, &mut bdev["driver_specific"]["raid"].clone()] {
        assert_eq!(value["uuid"], UUID);
        assert_eq!(value["base_bdevs_list"][3]["name"], "m3");
    }
    for (key, value) in [
        ("name", json!("r0")),
        ("uuid", json!(UUID)),
        ("strip_size_kb", json!(32)),
        ("state", json!("online")),
        ("raid_level", json!("raid6")),
        ("superblock", json!(false)),
        ("num_base_bdevs", json!(4)),
        ("num_base_bdevs_discovered", json!(4)),
        ("num_base_bdevs_operational", json!(4)),
        ("layout", json!("left-symmetric-6")),
    ] {
        assert_eq!(raid[key], value, "{key}");
    }
    let member = &raid["base_bdevs_list"][1];
    assert_eq!((&member["name"], &member["is_configured"]), (&json!("m1"), &json!(true)));
    assert_eq!((&member["data_offset"], &member["data_size"]), (&json!(0), &json!(16 * 256)));

    for category in ["configuring", "offline"] {
        assert_eq!(daemon.ask("bdev_raid_get_bdevs", json!({ "category": category })), json!([]));
    }
    let claimed = daemon.bdev("m2");
    assert_eq!(
        (&claimed["claimed"], &claimed["claim_type"]),
        (&json!(true), &json!("exclusive_write"))
    );
    assert_eq!(daemon.refused("bdev_malloc_delete", json!({ "name": "m2" })).code, -16);

    assert_eq!(daemon.ask("bdev_raid_delete", json!({ "name": "r0" })), true);
    assert_eq!(daemon.bdev("m2")["claimed"], false);
    daemon.ask("bdev_malloc_delete", json!({ "name": "m2" }));
    daemon.stop();
}

/// Goal: every level and one layout of each dialect is understood, and shown by mdadm's name.
#[test]
fn levels_and_layouts_have_many_names() {
    let place = Place::new();
    let daemon = place.start();
    for slot in 0..5 {
        daemon.ask("bdev_malloc_create", malloc(&format!("m{slot}"), 1));
    }
    for (level, layout, shown_level, shown_layout) in [
        (json!("raid4"), json!(null), "raid4", "parity-last"),
        (json!(4), json!("parity-first"), "raid4", "parity-first"),
        (json!("5f"), json!(null), "raid5", "left-symmetric"),
        (json!("raid5"), json!("raid5_ra"), "raid5", "right-asymmetric"),
        (json!("5"), json!("rs"), "raid5", "right-symmetric"),
        (json!(6), json!(null), "raid6", "left-symmetric"),
        (json!("raid6"), json!("raid6_zr"), "raid6", "ddf-zero-restart"),
        (json!("6"), json!("raid6_n_6"), "raid6", "parity-last"),
    ] {
        let params = json!({
            "name": "r", "raid_level": level, "layout": layout, "strip_size_kb": 4,
            "base_bdevs": "m0 m1 m2 m3 m4",
        });
        daemon.ask("bdev_raid_create", params);
        let raid = daemon.bdev("r")["driver_specific"]["raid"].take();
        assert_eq!(
            (&raid["raid_level"], &raid["layout"]),
            (&json!(shown_level), &json!(shown_layout))
        );
        daemon.ask("bdev_raid_delete", json!({ "name": "r" }));
    }
    let params = json!({
        "name": "r", "raid_level": "raid4", "parity_device": 2, "strip_size_kb": 4,
        "base_bdevs": ["m0", "m1", "m2", "m3", "m4"], "assume_clean": true, "data_offset": 8,
    });
    daemon.ask("bdev_raid_create", params);
    let raid = daemon.bdev("r")["driver_specific"]["raid"].take();
    assert_eq!((&raid["layout"], &raid["parity_device"]), (&json!("parity-at-2"), &json!(2)));
    assert_eq!((&raid["in_sync"], raid.get("process")), (&json!(true), None));
    assert_eq!(raid["base_bdevs_list"][4]["data_offset"], 1, "8 sectors are one block of 4096");
    daemon.stop();
}

/// Goal: an array starts without its parity's worth of members, loses one while it runs, and refuses
/// to lose more than it can do without.
#[test]
fn arrays_do_without_as_many_members_as_they_have_parities() {
    let place = Place::new();
    let daemon = place.start();
    for name in ["m0", "m1", "m2", "m3"] {
        daemon.ask("bdev_malloc_create", malloc(name, 4));
    }
    let params = json!({
        "name": "r0", "raid_level": "raid6", "strip_size_kb": 64,
        "base_bdevs": ["m0", null, "m2", "m3"],
    });
    daemon.ask("bdev_raid_create", params);
    let raid = daemon.bdev("r0")["driver_specific"]["raid"].take();
    assert_eq!(
        (&raid["num_base_bdevs"], &raid["num_base_bdevs_discovered"]),
        (&json!(4), &json!(3))
    );
    let empty = &raid["base_bdevs_list"][1];
    assert_eq!((&empty["name"], &empty["is_configured"]), (&Value::Null, &json!(false)));
    assert_eq!(empty["uuid"], "00000000-0000-0000-0000-000000000000");

    let foreign = daemon.refused("bdev_raid_remove_base_bdev", json!({ "name": "m1" }));
    assert_eq!(foreign.code, -19, "m1 is in no array");
    assert_eq!(daemon.ask("bdev_raid_remove_base_bdev", json!({ "name": "m3" })), true);
    let raid = daemon.bdev("r0")["driver_specific"]["raid"].take();
    assert_eq!((&raid["num_base_bdevs_discovered"], &raid["state"]), (&json!(2), &json!("online")));
    assert_eq!(daemon.bdev("m3")["claimed"], false);
    daemon.ask("bdev_malloc_delete", json!({ "name": "m3" }));

    let other_shape = json!({ "raid_bdev": "r0", "base_bdev": "m0" });
    let error = daemon.refused("bdev_raid_remove_base_bdev", other_shape);
    assert_eq!(error.code, -16, "{error}");
    assert!(error.message.contains("can do without 2"), "{error}");
    assert_eq!(daemon.bdev("m0")["claimed"], true);
    daemon.stop();
}

/// Goal: an array is a bdev like any other. Method: a RAID 5 of three RAID 5s; the inner ones cannot
/// be deleted before the outer one, and a stop takes them down in the right order.
#[test]
fn arrays_stack() {
    let place = Place::new();
    let daemon = place.start();
    for outer in 0..3 {
        let inner = [0, 1, 2].map(|slot| format!("m{outer}{slot}"));
        for name in &inner {
            daemon.ask("bdev_malloc_create", malloc(name, 4));
        }
        let members = inner.each_ref().map(String::as_str);
        daemon.ask("bdev_raid_create", raid5(&format!("r{outer}"), &members));
    }
    daemon.ask("bdev_raid_create", raid5("top", &["r0", "r1", "r2"]));
    assert_eq!(daemon.bdev("top")["num_blocks"], 2 * 2 * 4 * 256);
    let error = daemon.refused("bdev_raid_delete", json!({ "name": "r1" }));
    assert_eq!(error.code, -16);
    assert!(error.message.contains("claimed by array \"top\" as slot 1"), "{error}");
    daemon.stop();
}

/// Goal: the initial resync runs by itself and ends with everything in sync.
#[test]
fn the_first_resync_ends() {
    let place = Place::new();
    let daemon = place.start();
    for name in ["m0", "m1", "m2"] {
        daemon.ask("bdev_malloc_create", malloc(name, 64));
    }
    daemon.ask("bdev_raid_create", raid5("r0", &["m0", "m1", "m2"]));
    let raid = || daemon.bdev("r0")["driver_specific"]["raid"].take();
    daemon.wait_until("in sync", |_| {
        let raid = raid();
        match raid.get("process") {
            None => raid["in_sync"] == true,
            Some(process) => {
                assert_eq!(process["type"], "resync");
                assert!(process["progress"]["percent"].as_u64().unwrap() <= 100);
                false
            }
        }
    });
    daemon.stop();
}

/// Goal: files are made where they are asked for, used where they are there, and stay.
#[test]
fn files_are_made_when_asked_for() {
    let place = Place::new();
    let daemon = place.start();
    for (kind, name) in [("uring", "u0"), ("aio", "a0")] {
        let filename = place.path(&format!("new/{kind}/disk.img"));
        let params = json!({
            "name": name, "filename": filename, "block_size": 4096, "create_size_mib": 3,
        });
        assert_eq!(daemon.ask(&format!("bdev_{kind}_create"), params.clone()), json!(name));
        assert_eq!(daemon.bdev(name)["num_blocks"], 3 * 256);
        daemon.ask(&format!("bdev_{kind}_delete"), json!({ "name": name }));
        assert_eq!(std::fs::metadata(&filename).unwrap().len(), 3 << 20);

        let mut larger = params;
        larger["create_size_mib"] = json!(5);
        daemon.ask(&format!("bdev_{kind}_create"), larger);
        assert_eq!(daemon.bdev(name)["num_blocks"], 3 * 256, "an existing file is used as it is");
    }
    let fresh = json!({
        "name": "u1", "filename": place.path("u1.img"), "block_size": 512, "create_size_mib": 1,
    });
    daemon.ask("bdev_uring_create", fresh);
    let files = place.files();
    assert_eq!(files.len(), 3 + 3, "three files and three directories");
    daemon.stop();
    assert_eq!(place.files(), files);
}

/// Goal: whoever deletes an array and its members can have the files: nothing goes on with them.
/// Method: delete in the middle of the first resync, and look which files the daemon has open.
#[test]
fn what_is_deleted_is_let_go_of() {
    let place = Place::new();
    let daemon = place.start();
    for kind in ["uring", "aio"] {
        let names = [0, 1, 2].map(|slot| format!("{kind}{slot}"));
        for name in &names {
            let filename = place.path(name);
            daemon.ask(
                &format!("bdev_{kind}_create"),
                json!({
                    "name": name, "filename": filename, "block_size": 4096,
                    "create_size_mib": 256,
                }),
            );
        }
        daemon.ask("bdev_raid_create", raid5("r0", &names.each_ref().map(String::as_str)));
        assert_eq!(daemon.open_files(place.data()).len(), 3);
        daemon.ask("bdev_raid_delete", json!({ "name": "r0" }));
        for name in &names {
            daemon.ask(&format!("bdev_{kind}_delete"), json!({ "name": name }));
        }
        daemon.wait_until("files are closed", |daemon| daemon.open_files(place.data()).is_empty());
    }
    daemon.stop();
}

/// Goal: a RAM disk without a name gets one; `bdev_get_bdevs` lists in the order of creation.
#[test]
fn names_are_made_up_and_listed_in_order() {
    let place = Place::new();
    let daemon = place.start();
    let unnamed = json!({ "block_size": 512, "num_blocks": 64 });
    assert_eq!(daemon.ask("bdev_malloc_create", unnamed.clone()), json!("Malloc0"));
    daemon.ask("bdev_null_create", json!({ "name": "a", "block_size": 512, "num_blocks": 64 }));
    assert_eq!(daemon.ask("bdev_malloc_create", unnamed), json!("Malloc1"));
    assert_eq!(daemon.bdevs(), ["Malloc0", "a", "Malloc1"]);
    daemon.stop();
}

/// Goal: `timeout` waits for a bdev, without holding up the connection; without it there is none.
#[test]
fn a_bdev_can_be_waited_for() {
    let place = Place::new();
    let daemon = place.start();
    let error = daemon.refused("bdev_get_bdevs", json!({ "name": "late", "timeout": 50 }));
    assert_eq!(error.code, -19);
    assert!(error.message.starts_with("No such device"), "{error}");

    std::thread::scope(|scope| {
        let waiting = scope
            .spawn(|| daemon.ask("bdev_get_bdevs", json!({ "name": "late", "timeout": 60_000 })));
        daemon.ask("bdev_malloc_create", malloc("other", 1));
        daemon.ask("bdev_malloc_create", malloc("late", 1));
        assert_eq!(waiting.join().unwrap()[0]["name"], "late");
    });
    daemon.stop();
}
