//! The state of services that are stopped, cut off, and cannot write it: what it says, and what waits for that.
//!
//! Each test is a service in this process, with a state in a directory that can be taken away.
//!
//! Not here: what is in the calls (`save`), the daemon (`tests/blackbox`).

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use device::blocking;
use device::{BdevIo, IoStatus};
use reactor::CpuSet;
use reactor::memory::IoBufMut;
use rpc::{RpcError, Service as _};
use tempfile::TempDir;

use super::*;
use crate::control::Options;
use crate::methods::{Boot, Methods};

mod configured;
mod ends;

/// Longest that anything here may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// For as long nothing happens that must not.
const PAUSE: Duration = Duration::from_millis(400);

/// A service with a state, as `raid456 serve` makes one.
struct Service {
    control: Arc<Control>,
    boot: Arc<Boot>,
    methods: Methods,
}

impl Service {
    fn start(place: &Place) -> Self {
        Self::start_with(place, None)
    }

    fn start_with(place: &Place, config: Option<Config>) -> Self {
        let options =
            Options { cores: CpuSet::single(0), buffer_bytes: 8 << 20, ..Options::default() };
        let control = Control::start(options).unwrap();
        let boot = Arc::new(Boot::new(config, Some(Store::new(place.file())), None));
        let methods = Methods::new(Arc::clone(&control), Arc::clone(&boot));
        boot.run(&control).unwrap();
        Self { control, boot, methods }
    }

    fn call(&self, method: &str, params: Value) -> Result<Value, RpcError> {
        self.methods.call(method, Some(params))
    }

    fn ask(&self, method: &str, params: Value) -> Value {
        let shown = params.to_string();
        self.call(method, params).unwrap_or_else(|error| panic!("{method} {shown}: {error}"))
    }

    /// RAM disks of 4 MiB.
    fn disks(&self, names: &[&str]) {
        for name in names {
            let params = json!({ "name": name, "block_size": 512, "num_blocks": 8192 });
            self.ask("bdev_malloc_create", params);
        }
    }

    fn fail_a_write(&self, name: &str) {
        self.ask(
            "bdev_error_inject_error",
            json!({ "name": name, "io_type": "write", "error_type": "failure", "num": 1 }),
        );
    }

    /// The log of r fails its first mark while the state cannot be written: nothing is acknowledged before the state has
    /// it on record.
    fn fail_the_log(&self, place: &Place) {
        place.unmount();
        self.fail_a_write("EE_log");
        let answer = self.write_later("r");
        assert!(answer.recv_timeout(PAUSE).is_err(), "acknowledged, but not recorded");
        place.mount();
        self.nudge().unwrap();
        answer.recv_timeout(PATIENCE).expect("an answer").unwrap();
        assert_eq!(place.call("r")["params"]["log_failed"], true);
    }

    /// Something that changes nothing, and after which the state is written.
    fn nudge(&self) -> Result<Value, RpcError> {
        self.call("bdev_wait_for_examine", json!({}))
    }

    fn has(&self, name: &str) -> bool {
        self.control.bdev(name).is_ok()
    }

    /// A full stripe of three strips of 64 KiB.
    fn write_later(&self, name: &str) -> Receiver<Result<(), IoStatus>> {
        let (bdev, reactor) =
            (self.control.bdev(name).unwrap(), self.control.reactors()[0].clone());
        let (tell, answer) = mpsc::channel();
        thread::spawn(move || {
            let bytes = IoBufMut::heap_copy(&[0x5a; 192 << 10]).freeze();
            let io = BdevIo::write(0, 0, bytes, false);
            let outcome = blocking::run_one(&reactor, &bdev, io, PATIENCE);
            let outcome = outcome.map(drop).map_err(|error| match error {
                blocking::BlockingError::Failed { status, .. } => status,
                other => panic!("{other}"),
            });
            // Nobody listens any more when the test has failed.
            let _ = tell.send(outcome);
        });
        answer
    }

    fn write(&self, name: &str) {
        let answer = self.write_later(name);
        answer.recv_timeout(PATIENCE).expect("an answer").unwrap();
    }

    /// As SIGTERM ends it.
    fn stop(self) {
        self.control.shutdown().unwrap();
        self.boot.close(&self.control).unwrap();
    }

    /// As far as its state is concerned, kill -9 ends it so.
    fn cut_off(self) {
        self.control.shutdown().unwrap();
    }
}

/// Where the state is.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("disk/state.json")
    }

    /// With a directory to write to; without it nothing can be written.
    fn mounted() -> Self {
        let place = Self::new();
        fs::create_dir(place.0.path().join("disk")).unwrap();
        place
    }

    fn unmount(&self) {
        fs::rename(self.0.path().join("disk"), self.0.path().join("away")).unwrap();
    }

    fn mount(&self) {
        fs::rename(self.0.path().join("away"), self.0.path().join("disk")).unwrap();
    }

    fn text(&self) -> String {
        fs::read_to_string(self.file()).unwrap()
    }

    fn calls(&self) -> Vec<Value> {
        calls_of(&Config::load(self.file()).unwrap())
    }

    /// The call that makes the bdev of that name.
    fn call(&self, name: &str) -> Value {
        let calls = self.calls();
        let call = calls.iter().find(|call| name_in(call).as_deref() == Some(name));
        call.unwrap_or_else(|| panic!("{name} is in the state: {}", self.text())).clone()
    }
}

/// A table of three data strips of 64 KiB, without metadata devices.
fn table(options: &str, members: [&str; 4]) -> String {
    let members: Vec<String> = members.iter().map(|member| format!("- {member}")).collect();
    format!("0 24576 raid raid5_ls {options} 4 {}", members.join(" "))
}

#[test]
fn files_are_replaced_as_a_whole() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("state.json");
    for text in ["first", "second, longer", "3"] {
        replace(&path, text.as_bytes()).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1, "nothing else is left");
    assert!(replace(&place.path().join("no/such/place"), b"x").is_err());
}

/// Goal: of an array without superblocks no write is acknowledged past a member that has failed before the
/// state says so (R4); once it can be written, it is, by a call or by itself. Method: each way to make such
/// an array; the state's directory is not there while the member fails.
#[test]
fn no_write_is_acknowledged_before_the_state_names_who_failed() {
    let raid456 = "0 24576 raid456 core 2 1024 nosync raid5_ls 1 128 4 a 0 EE_b 0 c 0 d 0";
    let own = json!({ "name": "r", "raid_level": "raid5", "strip_size_kb": 64, "assume_clean": true,
                      "base_bdevs": ["a", "EE_b", "c", "d"], "on_failure": "continue" });
    let raid = table("2 128 nosync", ["a", "EE_b", "c", "d"]);
    for (method, params, by_itself) in [
        ("dm_create", json!({ "name": "r", "table": raid }), true),
        ("dm_create", json!({ "name": "r", "table": raid456 }), false),
        ("bdev_raid_create", own, false),
    ] {
        let place = Place::mounted();
        let service = Service::start(&place);
        service.disks(&["a", "b", "c", "d"]);
        service.ask("bdev_error_create", json!({ "base_name": "b" }));
        service.ask(method, params);
        service.write("r");
        place.unmount();
        service.fail_a_write("EE_b");
        let answer = service.write_later("r");
        assert!(answer.recv_timeout(PAUSE).is_err(), "{method}: acknowledged, but not recorded");
        assert!(service.nudge().is_err(), "the state cannot be written");
        assert!(answer.recv_timeout(PAUSE).is_err(), "{method}: acknowledged, but not recorded");
        place.mount();
        if !by_itself {
            service.nudge().unwrap();
        }
        answer.recv_timeout(PATIENCE).expect("an answer").unwrap();
        let call = place.call("r").to_string();
        assert!(!call.contains("EE_b") && call.contains('a'), "{call}");
        service.write("r");
        service.stop();
    }
}

/// Goal: whatever becomes of a switch of tables, the state names no failed member as good (R8). Method: a
/// member has failed; the next table is refused at its resume, which leaves the arrays stopped; then the
/// old one goes on.
#[test]
fn an_array_that_is_stopped_does_not_forget_who_failed() {
    let place = Place::mounted();
    let service = Service::start(&place);
    service.disks(&["a", "b", "c", "d"]);
    service.ask("bdev_null_create", json!({ "name": "tiny", "block_size": 512, "num_blocks": 64 }));
    service.ask("bdev_error_create", json!({ "base_name": "b" }));
    let right = table("2 128 nosync", ["a", "EE_b", "c", "d"]);
    service.ask("dm_create", json!({ "name": "r", "table": right }));
    service.fail_a_write("EE_b");
    service.write("r");
    let degraded = "0 24576 raid raid5_ls 1 128 4 - a - - - c - d";
    assert_eq!(place.call("r")["params"]["table"], degraded);
    let refused = right.replacen("- a", "tiny a", 1);
    service.ask("dm_table_load", json!({ "name": "r", "table": refused }));
    service.call("dm_resume", json!({ "name": "r" })).unwrap_err();
    assert_eq!(place.call("r")["params"]["table"], degraded, "after a refusal");
    service.nudge().unwrap();
    assert_eq!(place.call("r")["params"]["table"], degraded, "stopped");
    service.ask("dm_resume", json!({ "name": "r" }));
    let rebuilt = "0 24576 raid raid5_ls 3 128 rebuild 1 4 - a - EE_b - c - d";
    let whole = "0 24576 raid raid5_ls 1 128 4 - a - EE_b - c - d";
    let now = place.call("r")["params"]["table"].clone();
    assert!(now == rebuilt || now == whole, "{now}");
    service.stop();
}

/// Goal: no write is let through to a table before the state is of that table (R8): a crash would find the
/// member that was exchanged for another. Method: another member, while the state cannot be written.
#[test]
fn a_table_is_recorded_before_it_is_written_through() {
    let place = Place::mounted();
    let service = Service::start(&place);
    service.disks(&["a", "b", "c", "d", "e"]);
    let (old, new) = (
        table("2 128 nosync", ["a", "b", "c", "d"]),
        table("3 128 rebuild 1", ["a", "e", "c", "d"]),
    );
    let load = || service.ask("dm_table_load", json!({ "name": "r", "table": new }));
    service.ask("dm_create", json!({ "name": "r", "table": old }));
    service.write("r");
    load();
    place.unmount();
    let answer = service.write_later("r");
    answer.recv_timeout(PATIENCE).expect("an answer").unwrap();
    let error = service.call("dm_resume", json!({ "name": "r" })).unwrap_err();
    assert!(error.message.contains("the state cannot be written"), "{error}");
    let answer = service.write_later("r");
    assert!(answer.recv_timeout(PAUSE).is_err(), "it is suspended");
    // The old table is what the state says already.
    service.ask("dm_resume", json!({ "name": "r" }));
    answer.recv_timeout(PATIENCE).expect("an answer").unwrap();
    place.mount();
    load();
    service.ask("dm_resume", json!({ "name": "r" }));
    service.write("r");
    let now = place.call("r")["params"]["table"].to_string();
    assert!(now.contains("- a - e - c - d") && !now.contains(" b "), "{now}");
    service.stop();
}

/// Goal: what is left of a service that has been stopped is not taken for its state. Method: a save that
/// comes late, as from a thread that was left behind.
#[test]
fn a_service_that_has_stopped_does_not_write_its_state() {
    let place = Place::mounted();
    let service = Service::start(&place);
    service.disks(&["a", "b"]);
    let before = place.text();
    service.control.shutdown().unwrap();
    let state = service.boot.state.as_ref().unwrap();
    assert!(service.boot.settle(&service.control).is_err());
    assert!(state.write(&service.control).is_err());
    assert_eq!(place.text(), before);
    service.boot.close(&service.control).unwrap();
    assert_eq!(place.text(), before);
    assert_eq!(Service::start(&place).control.bdevs().len(), 2);
}

/// Goal: an array that lacks a member and has neither log nor superblocks is refused unless it was stopped
/// in order, or somebody vouches for it (R7); one that was not there is what it was. Method: one of each
/// sort through orderly stops, a crash, and a stop after it.
#[test]
fn what_was_not_stopped_in_order_is_dirty() {
    let place = Place::mounted();
    let own = |change: Value| {
        let mut params = json!({ "name": "own", "raid_level": "raid5", "strip_size_kb": 64,
                                 "base_bdevs": ["a", "b", Value::Null] });
        for (key, value) in change.as_object().unwrap() {
            params[key] = value.clone();
        }
        params
    };
    let mapped = json!({ "name": "mapped", "table": table("2 128 nosync", ["c", "d", "e", "-"]) });
    let whole = json!({ "name": "whole", "table": table("1 128", ["f", "g", "h", "i"]) });
    let dirty =
        |place: &Place| ["own", "mapped"].map(|name| place.call(name)["params"]["dirty"] == true);
    let there = |service: &Service| ["own", "mapped", "whole"].map(|name| service.has(name));

    let service = Service::start(&place);
    service.disks(&["a", "b", "c", "d", "e", "f", "g", "h", "i"]);
    service.ask("bdev_raid_create", own(json!({})));
    service.ask("dm_create", mapped.clone());
    service.ask("dm_create", whole);
    service.write("mapped");
    assert_eq!(dirty(&place), [true; 2], "while it runs");
    service.stop();
    assert_eq!(dirty(&place), [false; 2], "stopped in order");

    // Arrays that are not there stay as they were.
    let all = place.calls();
    let some = all
        .iter()
        .filter(|call| !["a", "c"].map(|n| name_in(call).as_deref() == Some(n)).contains(&true));
    fs::write(place.file(), text_of(by_subsystem(some.cloned().collect()))).unwrap();
    let service = Service::start(&place);
    assert_eq!(there(&service), [false, false, true]);
    assert_eq!(dirty(&place), [true; 2], "while it runs");
    service.stop();
    assert_eq!(dirty(&place), [false; 2], "they have not run");
    fs::write(place.file(), text_of(by_subsystem(all))).unwrap();

    let service = Service::start(&place);
    assert_eq!(there(&service), [true; 3]);
    service.cut_off();
    let service = Service::start(&place);
    assert_eq!(there(&service), [false, false, true]);
    service.stop();
    assert_eq!(dirty(&place), [true; 2], "still");
    let service = Service::start(&place);
    assert_eq!(there(&service), [false, false, true]);
    let error = service.call("bdev_raid_create", own(json!({ "dirty": true }))).unwrap_err();
    assert!(error.message.contains("is dirty and degraded"), "{error}");
    service.ask("bdev_raid_create", own(json!({ "dirty": true, "force": true })));
    service.ask("dm_create", mapped);
    service.stop();
    // What force has vouched for is so as long as the array runs.
    assert_eq!(dirty(&place), [true, false]);
    let service = Service::start(&place);
    assert_eq!(there(&service), [false, true, true]);
    service.stop();
}

/// Goal: writes that wait for the owner's word, and a suspend that waits for them, end when it comes.
/// Method: a raid45 array whose member fails; the word while the suspend waits; another message waits for
/// its turn.
#[test]
fn allow_writes_ends_a_suspend_that_waits_for_them() {
    let place = Place::mounted();
    let service = Service::start(&place);
    service.disks(&["a", "b", "c", "d"]);
    service.ask("bdev_error_create", json!({ "base_name": "b" }));
    let table = "0 24576 raid45 core 2 1024 nosync raid5_ls 0 4 -1 a 0 EE_b 0 c 0 d 0";
    service.ask("dm_create", json!({ "name": "r", "table": table }));
    service.fail_a_write("EE_b");
    let answer = service.write_later("r");
    assert!(answer.recv_timeout(PAUSE).is_err(), "held");
    thread::scope(|scope| {
        let (told, suspended) = mpsc::channel();
        let (service, told_too) = (&service, told.clone());
        scope.spawn(move || {
            service.ask("dm_suspend", json!({ "name": "r" }));
            told.send("suspended").unwrap();
        });
        assert!(suspended.recv_timeout(PAUSE).is_err(), "it waits");
        scope.spawn(move || {
            service.ask("dm_message", json!({ "name": "r", "message": "ban set 50" }));
            told_too.send("message").unwrap();
        });
        assert!(suspended.recv_timeout(PAUSE).is_err(), "it has its turn after the suspend");
        service.ask("dm_message", json!({ "name": "r", "message": "allow_writes" }));
        answer.recv_timeout(PATIENCE / 4).expect("an answer").unwrap();
        // The message has its turn when the suspend is over, and may be told of first.
        let mut ended = [(); 2].map(|()| suspended.recv_timeout(PATIENCE / 4).expect("an end"));
        ended.sort_unstable();
        assert_eq!(ended, ["message", "suspended"]);
    });
    service.ask("dm_resume", json!({ "name": "r" }));
    service.write("r");
    service.stop();
}

/// Goal: a device in use whose removal is forced has a table of errors, as with dmsetup, which can be
/// resumed and loaded over, and lets go of what it was made of. Method: another device above it.
#[test]
fn a_forced_removal_leaves_a_table_of_errors() {
    let place = Place::mounted();
    let service = Service::start(&place);
    service.disks(&["a", "b", "c", "d"]);
    let old = table("2 128 nosync", ["a", "b", "c", "d"]);
    service.ask("dm_create", json!({ "name": "r", "table": old }));
    service.ask("dm_create", json!({ "name": "over", "table": "0 8192 linear r 0" }));
    let error = service.call("dm_remove", json!({ "name": "r", "force": true })).unwrap_err();
    assert_eq!(error.code, -16, "{error}");
    let now = || {
        let told = service.ask("dm_table", json!({ "name": "r" }));
        let target = &told[0]["targets"][0];
        (
            target["length"].clone(),
            target["target"].clone(),
            service.call("dm_resume", json!({ "name": "r" })),
        )
    };
    for _ in 0..2 {
        assert_eq!(now(), (json!(24576), json!("error"), Ok(json!(true))));
    }
    assert_eq!(place.call("r")["params"]["table"], "0 24576 error ");
    let claimed =
        |name: &str| service.ask("bdev_get_bdevs", json!({ "name": name }))[0]["claimed"].clone();
    assert_eq!(claimed("a"), json!(false));
    service.ask("dm_table_load", json!({ "name": "r", "table": old }));
    service.ask("dm_resume", json!({ "name": "r" }));
    service.write("r");
    service.ask("dm_remove", json!({ "name": "over" }));
    service.ask("dm_remove", json!({ "name": "r", "force": true }));
    service.stop();
}
