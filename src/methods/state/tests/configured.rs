//! A service with a configuration and a state: what the state does not say, however it has come to be, is on record
//! nowhere, and no write waits for a record that will not be.
//!
//! Not here: what becomes of the configuration's calls (`tests/blackbox/absent`).

use array::RaidBdev;
use reactor::clock;

use super::*;

/// How the array that nobody records has come to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// By the configuration.
    InTime,
    /// By the configuration, when its last member has come.
    Late,
    /// By a client, in the place of the configuration's.
    Again,
    /// By a table for the configuration's device.
    Table,
    /// By that, under another name.
    Renamed,
}

const WAYS: [Way; 5] = [Way::InTime, Way::Late, Way::Again, Way::Table, Way::Renamed];

const TABLE: &str = "0 24576 raid45 disk 3 EE_log 1024 nosync raid5_ls 0 4 -1 a 0 b 0 c 0 d 0";

fn array() -> Value {
    json!({ "name": "r", "raid_level": "raid5", "strip_size_kb": 64, "assume_clean": true,
            "base_bdevs": ["a", "b", "c", "d"], "log_bdev": "EE_log", "region_size_kb": 64 })
}

/// Three RAM disks, a log that can fail, a file, and what is to be made of them.
fn config(place: &Place, made: Value) -> Config {
    let entry = |method: &str, params: Value| json!({ "method": method, "params": params });
    let disk = |name| {
        let params = json!({ "name": name, "block_size": 512, "num_blocks": 8192 });
        entry("bdev_malloc_create", params)
    };
    let file = json!({ "name": "d", "filename": place.0.path().join("d"), "block_size": 512 });
    let mut entries = ["a", "b", "c", "log"].map(disk).to_vec();
    entries.push(entry("bdev_error_create", json!({ "base_name": "log" })));
    entries.push(entry("bdev_aio_create", file));
    entries.push(made);
    let root = json!({ "subsystems": [{ "subsystem": "bdev", "config": entries }] });
    Config::parse(Path::new("config"), root.to_string().as_bytes()).unwrap()
}

fn start(place: &Place, way: Way) -> Service {
    let made = match way {
        Way::InTime | Way::Late | Way::Again => {
            json!({ "method": "bdev_raid_create", "params": array() })
        }
        Way::Table | Way::Renamed => json!({ "method": "dm_create", "params": { "name": "r" } }),
    };
    let config = config(place, made);
    let make_file = || fs::write(place.0.path().join("d"), vec![0; 4 << 20]).unwrap();
    if way != Way::Late {
        make_file();
    }
    let service = Service::start_with(place, Some(config));
    assert_eq!(service.has("r"), way != Way::Late);
    match way {
        Way::InTime => {}
        Way::Late => {
            make_file();
            service.nudge().unwrap();
        }
        Way::Again => {
            service.ask("bdev_raid_delete", json!({ "name": "r" }));
            service.ask("bdev_raid_create", array());
        }
        Way::Table | Way::Renamed => {
            service.ask("dm_table_load", json!({ "name": "r", "table": TABLE }));
            service.ask("dm_resume", json!({ "name": "r" }));
        }
    }
    if way == Way::Renamed {
        service.ask("dm_rename", json!({ "name": "r", "new_name": "q" }));
    }
    service
}

/// The array, once its log counts.
fn believed(service: &Service, name: &str) -> Arc<RaidBdev> {
    let raid = service.control.raids_of(name).unwrap().remove(0);
    let patience = clock::now() + PATIENCE.into();
    while !raid.snapshot().log_believed {
        assert!(clock::now() < patience);
    }
    raid
}

/// Goal: no write goes past a log that has failed because of a state that says nothing of its array (R4, R9): its old
/// bits would be believed at the next start. Its owner allows them, as without a state. Method: every way in which an
/// array is made that is the configuration's; the state is written meanwhile.
#[test]
fn what_the_configuration_makes_is_not_on_record() {
    for way in WAYS {
        let place = Place::mounted();
        let service = start(&place, way);
        let name = if way == Way::Renamed { "q" } else { "r" };
        let raid = believed(&service, name);
        service.fail_a_write("EE_log");
        let answer = service.write_later(name);
        assert!(answer.recv_timeout(PAUSE).is_err(), "{way:?}: acknowledged");
        service.disks(&["another"]);
        assert!(place.text().contains("another") && !place.text().contains("EE_log"), "{way:?}");
        assert!(answer.recv_timeout(PAUSE).is_err(), "{way:?}: acknowledged, but not recorded");
        raid.allow_writes();
        answer.recv_timeout(PATIENCE).expect("an answer").unwrap();
        service.stop();
    }
}

/// Goal: what the state says it goes on to say, and writes that wait for it go on, also under a name that the
/// configuration has for something else. Method: a client's device gets the name of one that is gone.
#[test]
fn a_name_of_the_configuration_takes_nothing_from_the_state() {
    let place = Place::mounted();
    fs::write(place.0.path().join("d"), vec![0; 4 << 20]).unwrap();
    let made = json!({ "method": "dm_create", "params": { "name": "r" } });
    let service = Service::start_with(&place, Some(config(&place, made)));
    service.ask("dm_remove", json!({ "name": "r" }));
    service.ask("dm_create", json!({ "name": "own", "table": TABLE }));
    service.ask("dm_rename", json!({ "name": "own", "new_name": "r" }));
    believed(&service, "r");
    service.fail_the_log(&place);
    service.stop();
}
