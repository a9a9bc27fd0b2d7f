//! SPDK's methods as its clients use them: statistics, threads, events, log, saving and loading.
//!
//! Not here: bdevs and arrays (`bdevs`), the wire (`wire`), the stock client (`stock`).

use serde_json::{Value, json};

use crate::daemon::{Daemon, Place, entry, malloc, raid5};

/// A daemon with a raid 5 over three RAM disks.
fn with_array(place: &Place) -> Daemon {
    let daemon = place.start();
    for name in ["m0", "m1", "m2"] {
        daemon.ask("bdev_malloc_create", malloc(name, 4));
    }
    daemon.ask("bdev_raid_create", raid5("r0", &["m0", "m1", "m2"]));
    daemon
}

fn words(value: &Value) -> Vec<String> {
    value.as_array().unwrap().iter().map(|word| word.as_str().unwrap().to_owned()).collect()
}

/// Goal: every bdev has statistics with SPDK's fields, by either way of naming it, and they can be reset.
/// The resync of a new array is what there is to be counted.
#[test]
fn statistics_are_told_and_reset() {
    let place = Place::new();
    let daemon = with_array(&place);
    daemon.wait_until("the resync is over", |daemon| {
        daemon.ask("bdev_raid_get_bdevs", json!({ "category": "all" }))[0]["in_sync"] == true
    });
    let all = daemon.ask("bdev_get_iostat", Value::Null);
    assert_eq!(all["tick_rate"], 1_000_000_000);
    assert!(all["ticks"].as_u64().unwrap() > 0);
    let names: Vec<_> =
        all["bdevs"].as_array().unwrap().iter().map(|bdev| bdev["name"].clone()).collect();
    assert_eq!(names, ["m0", "m1", "m2", "r0"]);
    let m0 = &all["bdevs"][0];
    let read = |key: &str| m0[key].as_u64().unwrap();
    assert!(read("num_read_ops") > 0 && read("bytes_read") >= 4096 * read("num_read_ops"), "{m0}");
    assert!(read("min_read_latency_ticks") <= read("max_read_latency_ticks"), "{m0}");
    assert_eq!(m0["io_error"], json!({}));

    let new = daemon.ask("bdev_get_iostat", json!({ "names": ["m1", "m0"] }));
    let old = daemon.ask("bdev_get_iostat", json!({ "name": "m0" }));
    assert_eq!(new["bdevs"][1]["num_read_ops"], old["bdevs"][0]["num_read_ops"]);
    let channels = daemon.ask("bdev_get_iostat", json!({ "names": ["m0"], "per_channel": true }));
    assert_eq!(channels["name"], "m0");
    assert_eq!(channels["channels"][0]["thread_id"], 1);
    assert_eq!(channels["channels"][0]["num_read_ops"], m0["num_read_ops"]);

    let unknown = daemon.refused("bdev_get_iostat", json!({ "name": "nobody" }));
    assert_eq!(unknown.code, -19, "{unknown}");
    let both = daemon.refused("bdev_get_iostat", json!({ "name": "m0", "names": ["m0"] }));
    assert_eq!(both.code, -22, "{both}");
    assert_eq!(daemon.refused("bdev_get_iostat", json!({ "per_channel": true })).code, -22);

    assert_eq!(daemon.ask("bdev_reset_iostat", json!({ "name": "m0", "mode": "all" })), true);
    let after = daemon.ask("bdev_get_iostat", json!({ "name": "m0" }));
    assert_eq!(after["bdevs"][0]["num_read_ops"], 0);
    daemon.stop();
}

/// Goal: a histogram is there between its begin and its end, in the shape that SPDK's script reads.
#[test]
fn histograms_have_spdks_shape() {
    let place = Place::new();
    let daemon = place.start();
    daemon.ask("bdev_malloc_create", malloc("m0", 1));
    let name = json!({ "name": "m0" });
    let none = daemon.refused("bdev_get_histogram", name.clone());
    assert_eq!((none.code, none.message.starts_with("Bad address")), (-32603, true), "{none}");
    daemon.ask("bdev_enable_histogram", json!({ "name": "m0", "enable": true, "opc": "read" }));
    // A RAM disk is looked at for a superblock, which is a read.
    daemon.ask("bdev_examine", name.clone());
    let histogram = daemon.ask("bdev_get_histogram", name.clone());
    let number = |key: &str| histogram[key].as_u64().unwrap();
    assert_eq!((number("granularity"), number("tsc_rate")), (7, 1_000_000_000));
    let buckets = (number("max_range") - number("min_range")) << number("granularity");
    let bytes = buckets * 8;
    let text = histogram["histogram"].as_str().unwrap();
    assert_eq!(text.len() as u64, bytes.div_ceil(3) * 4);
    let borders = json!({ "name": "m0", "borders": [1, 1_000_000] });
    let counts = daemon.ask("bdev_get_histogram_borders", borders)["borders_count"].take();
    let counts: Vec<u64> = serde_json::from_value(counts).unwrap();
    assert_eq!(counts.len(), 3);
    assert!(counts[2] > 0 && counts[1] == counts[2] && counts[0] <= counts[1], "{counts:?}");
    let wrong = json!({ "name": "m0", "enable": true, "granularity": 11 });
    assert_eq!(daemon.refused("bdev_enable_histogram", wrong).code, -22);
    daemon.ask("bdev_enable_histogram", json!({ "name": "m0", "enable": false }));
    assert_eq!(daemon.refused("bdev_get_histogram", name).code, -32603);
    daemon.stop();
}

/// Goal: limits are kept, shown, rounded as SPDK does, and hold for what is done.
#[test]
fn limits_are_set_and_shown() {
    let place = Place::new();
    let daemon = place.start();
    daemon.ask("bdev_malloc_create", malloc("m0", 1));
    let none = daemon.refused("bdev_set_qos_limit", json!({ "name": "m0" }));
    assert_eq!((none.code, none.message.contains("No rate limits")), (-22, true), "{none}");
    let set = |limits: Value| daemon.ask("bdev_set_qos_limit", limits);
    set(json!({ "name": "m0", "rw_ios_per_sec": 1500, "w_mbytes_per_sec": 3 }));
    set(json!({ "name": "m0", "r_mbytes_per_sec": 2 }));
    let expected = json!({ "rw_ios_per_sec": 2000, "rw_mbytes_per_sec": 0, "r_mbytes_per_sec": 2,
                           "w_mbytes_per_sec": 3 });
    assert_eq!(daemon.bdev("m0")["assigned_rate_limits"], expected);
    // Reads of a superblock go on, if slowly.
    daemon.ask("bdev_examine", json!({ "name": "m0" }));
    set(json!({ "name": "m0", "rw_ios_per_sec": 0, "w_mbytes_per_sec": 0, "r_mbytes_per_sec": 0 }));
    assert_eq!(daemon.bdev("m0")["assigned_rate_limits"]["rw_ios_per_sec"], 0);
    assert_eq!(daemon.refused("bdev_set_qos_limit", json!({ "name": "x" })).code, -19);
    daemon.stop();
}

/// Goal: what comes, goes and fails is told in order, and only what was not told yet.
#[test]
fn events_are_told_in_order() {
    let place = Place::new();
    let daemon = with_array(&place);
    let types = words(&daemon.ask("notify_get_types", Value::Null));
    let since = |id: u64| {
        let events = daemon.ask("notify_get_notifications", json!({ "id": id }));
        events.as_array().unwrap().clone()
    };
    daemon.wait_until("the resync is over", |_| {
        since(0).iter().any(|event| event["type"] == "raid_sync_ended")
    });
    let first = since(0);
    let registered: Vec<_> =
        first.iter().filter(|e| e["type"] == "bdev_register").map(|e| e["ctx"].clone()).collect();
    assert_eq!(registered, ["m0", "m1", "m2", "r0"]);
    for (place, event) in first.iter().enumerate() {
        assert_eq!(event["id"], place);
        assert!(types.contains(&event["type"].as_str().unwrap().to_owned()), "{event}");
    }
    let next = first.len() as u64;
    daemon.ask("bdev_raid_remove_base_bdev", json!({ "name": "m1" }));
    daemon.wait_until("the array is degraded", |_| {
        since(next).iter().any(|event| event["type"] == "raid_degraded" && event["ctx"] == "r0")
    });
    daemon.ask("bdev_raid_add_spare", json!({ "base_bdev": "m1", "raid_bdev": "r0" }));
    daemon.wait_until("the array is whole again", |_| {
        since(next).iter().any(|event| event["type"] == "raid_online")
    });
    assert!(since(next).iter().any(|event| event["type"] == "raid_spare_activated"));
    daemon.ask("bdev_raid_delete", json!({ "name": "r0" }));
    let last = since(next).pop().unwrap();
    assert_eq!((&last["type"], &last["ctx"]), (&json!("bdev_unregister"), &json!("r0")));
    let some = daemon.ask("notify_get_notifications", json!({ "id": 1, "max": 2 }));
    assert_eq!((some[0]["id"].clone(), some.as_array().unwrap().len()), (json!(1), 2));
    daemon.stop();
}

/// Goal: threads and reactors have the shapes that SPDK's tools look into.
#[test]
fn threads_are_told() {
    let place = Place::new();
    let daemon = with_array(&place);
    let reactors = daemon.ask("framework_get_reactors", Value::Null);
    let reactor = &reactors["reactors"][0];
    assert_eq!((&reactor["lcore"], &reactor["in_interrupt"]), (&json!(0), &json!(false)));
    assert!(reactor["tid"].as_u64().unwrap() > 0 && reactors["pid"].as_u64().unwrap() > 0);
    assert!(reactor["busy"].as_u64().unwrap() > 0);
    assert_eq!(reactor["lw_threads"][0]["cpumask"], "1");
    let threads = daemon.ask("thread_get_stats", Value::Null);
    assert!(threads["threads"][0]["name"].as_str().unwrap().contains("poll"));
    let count = threads["threads"][0]["active_pollers_count"].as_u64().unwrap();
    let pollers = daemon.ask("thread_get_pollers", Value::Null);
    let pollers = pollers["threads"][0]["active_pollers"].as_array().unwrap().clone();
    assert_eq!(pollers.len() as u64, count);
    assert!(pollers.iter().any(|poller| poller["run_count"].as_u64().unwrap() > 0));
    let channels = daemon.ask("thread_get_io_channels", Value::Null);
    let channels = channels["threads"][0]["io_channels"].as_array().unwrap().clone();
    assert!(channels.contains(&json!({ "name": "m0", "ref": 1 })), "{channels:?}");
    let scheduler = daemon.ask("framework_get_scheduler", Value::Null);
    let expected = json!({ "scheduler_name": "static", "scheduler_period": 0,
                           "isolated_core_mask": "0", "scheduling_core": 0 });
    assert_eq!(scheduler, expected);
    daemon.stop();
}

/// Goal: threads stay on their cores: what asks for that is granted, anything else is refused with SPDK's
/// codes and why.
#[test]
fn threads_stay_where_they_are() {
    let place = Place::new();
    let daemon = place.start_with(&["--cores".as_ref(), "0-1".as_ref()]);
    let scheduler = |name: &str, mappings: Option<&str>| {
        let params = json!({ "name": name, "period": 1000, "mappings": mappings });
        daemon.call("framework_set_scheduler", params)
    };
    assert_eq!(scheduler("static", None), Ok(json!(true)));
    assert_eq!(scheduler("static", Some("1:0,2:1")), Ok(json!(true)));
    let mask = |id: u64, mask: &str| {
        daemon.call("thread_set_cpumask", json!({ "id": id, "cpumask": mask }))
    };
    for (id, cores) in [(1, "1"), (2, "0x2"), (1, "[0,1]"), (2, "ff")] {
        assert_eq!(mask(id, cores), Ok(json!(true)));
    }
    for (outcome, code, words) in [
        (scheduler("dynamic", None), -32603, "scheduler \"dynamic\""),
        (scheduler("static", Some("1:1")), -95, "thread 1 (poll_group_000) is pinned to core 0"),
        (scheduler("static", Some("7:1")), -32602, "Thread 7 does not exist"),
        (scheduler("static", Some("1")), -32602, "mappings: \"1\" should be thread:core"),
        (mask(3, "1"), -32602, "Thread 3 does not exist"),
        (mask(1, "zz"), -32603, "Invalid cpumask zz"),
        (mask(1, "100"), -32603, "No CPU is selected from reactor mask"),
        (mask(1, "2"), -95, "thread 1 (poll_group_000) is pinned to core 0"),
    ] {
        let error = outcome.unwrap_err();
        assert_eq!((error.code, error.message.contains(words)), (code, true), "{error}");
    }
    let stats = daemon.ask("thread_get_stats", Value::Null);
    assert_eq!(stats["threads"][1]["cpumask"], "2");
    daemon.stop();
}

/// Goal: context switches of the reactors are told while they are to be, and buffers that were taken are
/// counted.
#[test]
fn reactors_are_looked_at() {
    let place = Place::new();
    let daemon = place.start();
    let monitor = |params| daemon.ask("framework_monitor_context_switch", params)["enabled"].take();
    assert_eq!(monitor(Value::Null), false);
    assert_eq!(monitor(json!({ "enabled": true })), true);
    assert_eq!(monitor(json!({ "enabled": true })), true);
    assert_eq!(monitor(json!({})), true);
    // A reactor without work sleeps now and then, and each request wakes it.
    daemon.wait_until("switches are told", |daemon| {
        daemon.ask("thread_get_stats", Value::Null);
        daemon.log().contains("context switches in the last second core=0")
    });
    assert_eq!(monitor(json!({ "enabled": false })), false);
    let counts = || {
        let stats = daemon.ask("iobuf_get_stats", Value::Null);
        assert_eq!((&stats[0]["module"], &stats[1]["module"]), (&json!("bdev"), &json!("raid")));
        assert_eq!(stats[0]["pool_bytes"], stats[0]["free_bytes"]);
        let of = |pool: &str, key: &str| stats[1][pool][key].as_u64().unwrap();
        ["cache", "main", "retry"].map(|key| of("small_pool", key) + of("large_pool", key))
    };
    let before = counts();
    for name in ["m0", "m1", "m2"] {
        daemon.ask("bdev_malloc_create", malloc(name, 1));
    }
    daemon.ask("bdev_raid_create", raid5("r0", &["m0", "m1", "m2"]));
    daemon.wait_until("the resync is over", |daemon| {
        daemon.ask("bdev_raid_get_bdevs", json!({ "category": "all" }))[0]["in_sync"] == true
    });
    let after = counts();
    assert!(after[0] + after[1] > before[0] + before[1], "{before:?} {after:?}");
    assert_eq!(after[2], before[2]);
    daemon.stop();
}

/// Goal: levels, flags and timestamps are changed while it runs, and the log follows.
#[test]
fn the_log_is_changed_while_it_runs() {
    let place = Place::new();
    let daemon = place.start();
    let get = |method: &str| daemon.ask(method, Value::Null);
    assert_eq!(get("log_get_print_level"), "NOTICE");
    daemon.ask("log_set_print_level", json!({ "level": "ERROR" }));
    daemon.ask("bdev_null_create", json!({ "name": "quiet", "block_size": 512, "num_blocks": 8 }));
    daemon.ask("log_enable_timestamps", json!({ "enabled": false }));
    daemon.ask("log_set_flag", json!({ "flag": "control" }));
    assert_eq!(get("log_get_flags")["control"], true);
    daemon.ask("bdev_null_create", json!({ "name": "loud", "block_size": 512, "num_blocks": 8 }));
    let log = daemon.log();
    assert!(!log.contains("quiet") && log.contains("loud"), "{log}");
    let line = log.lines().find(|line| line.contains("loud")).unwrap();
    assert!(!line.contains("20"), "no year: {line}");
    daemon.ask("log_clear_flag", json!({ "flag": "all" }));
    assert_eq!(daemon.refused("log_set_flag", json!({ "flag": "nothing" })).code, -32602);
    daemon.ask("log_set_level", json!({ "level": "DEBUG" }));
    assert_eq!(get("log_get_level"), "DEBUG");
    assert_eq!(get("log_get_print_level"), "ERROR");
    assert_eq!(daemon.refused("log_set_level", json!({ "level": "LOUD" })).code, -32602);
    daemon.stop();
}

/// Goal: with --wait-for-rpc nothing is made before a client says so, start-up methods are there only
/// until then, and others only after it.
#[test]
fn a_client_says_when_to_start() {
    let place = Place::new();
    let config = place.config(&[entry("bdev_malloc_create", malloc("m0", 1))]);
    let args = ["--wait-for-rpc".as_ref(), "--json".as_ref(), config.as_os_str()];
    let daemon = place.start_with(&args);
    assert!(daemon.ready_line().contains("waits for framework_start_init"));
    let current =
        |daemon: &Daemon| words(&daemon.ask("rpc_get_methods", json!({ "current": true })));
    let has = |methods: &[String], name: &str| methods.iter().any(|method| method == name);
    let early = current(&daemon);
    assert!(has(&early, "framework_start_init") && !has(&early, "bdev_get_bdevs"), "{early:?}");
    assert_eq!(daemon.refused("bdev_get_bdevs", Value::Null).code, -1);
    daemon
        .ask("bdev_set_options", json!({ "bdev_io_pool_size": 65535, "bdev_io_cache_size": 256 }));
    let small = json!({ "bdev_io_pool_size": 1, "bdev_io_cache_size": 256 });
    assert!(daemon.refused("bdev_set_options", small).message.contains("too small for cache"));
    daemon.ask("iobuf_set_options", json!({ "small_pool_count": 8192, "large_bufsize": 135_168 }));
    assert_eq!(daemon.refused("iobuf_set_options", json!({ "large_pool_count": 1 })).code, -22);
    daemon.ask("framework_start_init", Value::Null);
    daemon.ask("framework_wait_init", Value::Null);
    assert_eq!(daemon.bdevs(), ["m0"]);
    let late = current(&daemon);
    assert!(!has(&late, "framework_start_init") && has(&late, "bdev_get_bdevs"), "{late:?}");
    assert_eq!(daemon.refused("framework_start_init", Value::Null).code, -1);
    daemon.stop();
}

/// Goal: clients may call what they are allowed to, by any of its names, and do not see the rest.
#[test]
fn methods_can_be_allowed_one_by_one() {
    let place = Place::new();
    let allowed = "rpc_get_methods,get_bdevs,bdev_null_create";
    let daemon = place.start_with(&["--rpcs-allowed".as_ref(), allowed.as_ref()]);
    let listed = words(&daemon.ask("rpc_get_methods", Value::Null));
    assert_eq!(listed, ["rpc_get_methods", "bdev_get_bdevs", "bdev_null_create"]);
    daemon.ask("bdev_null_create", json!({ "name": "n", "block_size": 512, "num_blocks": 8 }));
    assert_eq!(daemon.bdevs(), ["n"]);
    assert_eq!(daemon.refused("bdev_null_delete", json!({ "name": "n" })).code, -32601);
    daemon.stop();
}

/// Goal: a client can end the service, in order.
#[test]
fn a_client_ends_the_service() {
    let place = Place::new();
    let daemon = place.start();
    assert_eq!(daemon.refused("spdk_kill_instance", json!({ "sig_name": "SIGFOO" })).code, -32602);
    assert_eq!(daemon.ask("spdk_kill_instance", json!({ "sig_name": "SIGTERM" })), true);
    daemon.wait_until("it has ended", |daemon| daemon.log().contains("stopped"));
    assert_eq!(daemon.ended().code(), Some(0));
}

/// The size of a bdev, in blocks.
fn num_blocks(daemon: &Daemon, name: &str) -> Value {
    daemon.ask("bdev_get_bdevs", json!({ "name": name }))[0]["num_blocks"].clone()
}

/// Goal: bdevs follow a file that has grown, and what stands on them too; what is in use does not shrink.
#[test]
fn a_file_is_looked_at_again() {
    let place = Place::new();
    let resize = |len_bytes| ["a0", "u0"].map(|name| place.file(name, len_bytes));
    let [aio, uring] = resize(1 << 20);
    let daemon = place.start();
    daemon.ask("bdev_aio_create", json!({ "name": "a0", "filename": aio, "block_size": 4096 }));
    assert_eq!(daemon.ask("bdev_aio_rescan", json!({ "name": "a0" })), true);
    daemon.ask("bdev_uring_create", json!({ "name": "u0", "filename": uring, "block_size": 4096 }));
    daemon.ask("bdev_error_create", json!({ "base_name": "u0" }));
    resize(2 << 20);
    assert_eq!(daemon.ask("bdev_aio_rescan", json!({ "name": "a0" })), true);
    assert_eq!(daemon.ask("bdev_uring_rescan", json!({ "name": "u0" })), true);
    for name in ["a0", "u0", "EE_u0"] {
        assert_eq!(num_blocks(&daemon, name), 512, "{name}");
    }
    resize(1 << 20);
    assert_eq!(daemon.ask("bdev_aio_rescan", json!({ "name": "a0" })), true);
    let refused = daemon.refused("bdev_uring_rescan", json!({ "name": "u0" }));
    assert!(refused.code == -16 && refused.message.contains("512 blocks to 256"), "{refused:?}");
    assert_eq!(num_blocks(&daemon, "a0"), 256);
    assert_eq!(num_blocks(&daemon, "u0"), 512);
    assert_eq!(daemon.refused("bdev_aio_rescan", json!({ "name": "b0" })).code, -19);
    assert_eq!(daemon.refused("bdev_aio_rescan", json!({ "name": "u0" })).code, -19);
    daemon.stop();
}

/// Goal: a null bdev has the size that it is given, while nobody would miss what is cut off.
#[test]
fn null_bdevs_are_resized() {
    let place = Place::new();
    let daemon = place.start();
    daemon.ask("bdev_null_create", json!({ "name": "n0", "block_size": 512, "num_blocks": 2048 }));
    let resize = |size: u64| json!({ "name": "n0", "new_size": size });
    assert_eq!(daemon.ask("bdev_null_resize", resize(4)), true);
    assert_eq!(num_blocks(&daemon, "n0"), 8192);
    assert_eq!(daemon.ask("bdev_null_resize", resize(1)), true);
    assert_eq!(num_blocks(&daemon, "n0"), 2048);
    daemon.ask("bdev_error_create", json!({ "base_name": "n0" }));
    assert_eq!(daemon.ask("bdev_null_resize", resize(3)), true);
    assert_eq!(num_blocks(&daemon, "EE_n0"), 6144);
    assert_eq!(daemon.refused("bdev_null_resize", resize(2)).code, -16);
    for size in [0, 1 << 43, u64::MAX] {
        assert_eq!(daemon.refused("bdev_null_resize", resize(size)).code, -22, "{size}");
    }
    assert_eq!(daemon.refused("bdev_null_resize", json!({ "name": "x", "new_size": 1 })).code, -19);
    assert_eq!(num_blocks(&daemon, "n0"), 6144);
    daemon.stop();
}

/// The bdevs that there are, without what a run changes, in the order of their names.
pub(crate) fn bdevs(daemon: &Daemon) -> Vec<Value> {
    let mut bdevs = daemon.ask("bdev_get_bdevs", Value::Null).as_array().unwrap().clone();
    for bdev in &mut bdevs {
        if let Some(raid) = bdev["driver_specific"].get_mut("raid") {
            for changing in ["process", "in_sync", "sync_action", "log", "mismatch_sectors"] {
                raid.as_object_mut().unwrap().remove(changing);
            }
        }
    }
    bdevs.sort_by_key(|bdev| bdev["name"].to_string());
    bdevs
}

/// Makes one bdev of each kind, and settings.
pub(crate) fn populate(place: &Place, daemon: &Daemon) {
    for (number, kind) in ["uring", "aio", "aio", "uring", "aio"].iter().enumerate() {
        let file = place.file(&format!("disk{number}"), 8 << 20);
        let params = json!({ "name": format!("d{number}"), "filename": file, "block_size": 4096 });
        daemon.ask(&format!("bdev_{kind}_create"), params);
    }
    daemon.ask("bdev_malloc_create", malloc("log", 1));
    daemon.ask("bdev_error_create", json!({ "base_name": "d0", "volatile_cache": true }));
    let mut raid = raid5("r0", &["EE_d0", "d1", "d2"]);
    raid["log_bdev"] = "log".into();
    daemon.ask("bdev_raid_create", raid);
    daemon.ask("bdev_raid_add_spare", json!({ "base_bdev": "d3" }));
    daemon.ask("bdev_null_create", json!({ "name": "n", "block_size": 512, "num_blocks": 64 }));
    daemon.ask(
        "bdev_delay_create",
        json!({ "name": "slow", "base_bdev_name": "n", "avg_read_latency": 1,
                "p99_read_latency": 2, "avg_write_latency": 3, "p99_write_latency": 4 }),
    );
    daemon.ask("bdev_malloc_create", malloc("cut", 4));
    daemon.ask("bdev_split_create", json!({ "base_bdev": "cut", "split_count": 3 }));
    let mapped = json!({ "name": "m", "table": "0 64 linear cutp1 0\n64 8 zero", "minor": 9 });
    daemon.ask("dm_create", mapped);
    daemon.ask("bdev_set_qos_limit", json!({ "name": "r0", "rw_ios_per_sec": 50_000 }));
    daemon.ask("bdev_raid_set_rates", json!({ "name": "r0", "min_kb_per_s": 2048 }));
}

/// Goal: what SPDK's save_config would save makes the same bdevs when it is loaded. Method: its steps,
/// with our client.
#[test]
fn a_saved_configuration_can_be_loaded() {
    let place = Place::new();
    let daemon = place.start();
    populate(&place, &daemon);
    let before = bdevs(&daemon);
    let mut subsystems = Vec::new();
    let mut seen: Vec<Value> = Vec::new();
    for subsystem in daemon.ask("framework_get_subsystems", Value::Null).as_array().unwrap() {
        let depends_on = subsystem["depends_on"].as_array().unwrap();
        assert!(depends_on.iter().all(|name| seen.contains(name)), "{subsystem}");
        let name = subsystem["subsystem"].clone();
        let config = daemon.ask("framework_get_config", json!({ "name": name }));
        subsystems.push(json!({ "subsystem": name, "config": config }));
        seen.push(name);
    }
    let unknown = daemon.refused("framework_get_config", json!({ "name": "iscsi" }));
    assert_eq!((unknown.code, unknown.message.contains("not found")), (-32602, true));
    daemon.stop();

    let saved = json!({ "subsystems": subsystems });
    let again = place.start_with_config(&place.config_text(&saved.to_string()));
    assert_eq!(bdevs(&again), before);
    again.stop();
}

/// Goal: with --state what clients make is there again, without what the configuration makes; a part
/// that is not there keeps neither the service nor the rest from starting, and comes back with its file.
#[test]
fn the_state_survives_restarts() {
    let place = Place::new();
    let config = place.config(&[entry("bdev_malloc_create", malloc("from_config", 1))]);
    let state = place.path("state.json");
    let args = ["--config".as_ref(), config.as_os_str(), "--state".as_ref(), state.as_ref()];
    let daemon = place.start_with(&args);
    populate(&place, &daemon);
    let before = bdevs(&daemon);
    // Not asked to end: what was answered is on the disk.
    drop(daemon);
    let text = std::fs::read_to_string(&state).unwrap();
    assert!(text.contains("bdev_raid_create") && !text.contains("from_config"), "{text}");

    let without_config = |bdevs: Vec<Value>| {
        bdevs.into_iter().filter(|bdev| bdev["name"] != "from_config").collect::<Vec<_>>()
    };
    let daemon = place.start_with(&args);
    assert_eq!(without_config(bdevs(&daemon)), without_config(before.clone()));
    daemon.stop();

    let (disk, aside) = (place.data().join("disk1"), place.data().join("aside"));
    std::fs::rename(&disk, &aside).unwrap();
    let daemon = place.start_with(&args);
    let names = daemon.bdevs();
    assert!(names.contains(&"d2".to_owned()) && !names.contains(&"d1".to_owned()), "{names:?}");
    assert!(!names.contains(&"r0".to_owned()), "{names:?}");
    assert!(daemon.log().contains("bdev_aio_create"), "{}", daemon.log());
    std::fs::rename(&aside, &disk).unwrap();
    // Any change is a reason to look again.
    daemon.ask("bdev_null_create", json!({ "name": "extra", "block_size": 512, "num_blocks": 8 }));
    daemon.ask("bdev_null_delete", json!({ "name": "extra" }));
    assert_eq!(without_config(bdevs(&daemon)), without_config(before));
    daemon.stop();
}

/// Goal: a part of the state that is not wanted any more can be deleted though it is not there, and a
/// file that is no state is put aside.
#[test]
fn a_broken_state_is_no_end() {
    let place = Place::new();
    let state = place.path("state.json");
    let args = ["--state".as_ref(), state.as_ref()];
    let file = place.file("disk", 1 << 20);
    let daemon = place.start_with(&args);
    daemon.ask("bdev_aio_create", json!({ "name": "a0", "filename": file, "block_size": 512 }));
    daemon.stop();
    std::fs::remove_file(&file).unwrap();
    let daemon = place.start_with(&args);
    assert!(std::fs::read_to_string(&state).unwrap().contains("a0"));
    assert_eq!(daemon.ask("bdev_aio_delete", json!({ "name": "a0" })), true);
    assert!(!std::fs::read_to_string(&state).unwrap().contains("a0"));
    assert_eq!(daemon.refused("bdev_aio_delete", json!({ "name": "a0" })).code, -19);
    daemon.stop();

    std::fs::write(&state, "{ torn").unwrap();
    let daemon = place.start_with(&args);
    assert!(daemon.log().contains("put aside"), "{}", daemon.log());
    let aside = std::fs::read_to_string(place.path("state.json.broken0")).unwrap();
    assert_eq!(aside, "{ torn");
    daemon.stop();
}
