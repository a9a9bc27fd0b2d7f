//! Files that somebody else has: another service, or the kernel's requests of one that was killed.
//!
//! ```text
//!   host.img -- loop device -- file system, frozen -- disk -- loop device -- service --kill -9--> its write waits
//!                                                                              `-- successor: refused
//!                                    thawed --> the write lands, and then the successor has the device
//! ```
//!
//! Not here: the lock itself (crate `device`).

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use nix::fcntl::{FcntlArg, fcntl};
use reactor::clock;
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::daemon::{Daemon, PATIENCE, Place, entry, malloc, raid5};
use crate::tools;

/// More than a service waits for a file, and far less than a device is given.
const REFUSED_WITHIN: Duration = Duration::from_secs(8);

/// A file that is open with a lock as services take it, for reading or for writing; none if it is locked.
fn lock(path: &str, kind: i32) -> Option<File> {
    let file = File::options().read(true).write(true).open(path).unwrap();
    let whole = nix::libc::flock {
        l_type: kind as nix::libc::c_short,
        l_whence: nix::libc::SEEK_SET as nix::libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    fcntl(&file, FcntlArg::F_OFD_SETLK(&whole)).ok().map(|_| file)
}

/// Waits until the kernel has no request to a file of a process that was killed.
pub(crate) fn until_let_go(path: &str) {
    let begin = clock::now();
    while lock(path, nix::libc::F_WRLCK).is_none() {
        assert!(Duration::from(clock::now() - begin) < PATIENCE, "{path} is locked for ever");
        thread::park_timeout(Duration::from_millis(1));
    }
}

fn file(name: &str, path: &str) -> Value {
    json!({ "name": name, "filename": path, "block_size": 4096 })
}

fn locked(name: &str, path: &str) -> String {
    format!(
        "bdev {name}: {path} is locked: another process writes to it, or the kernel still has requests of one \
         that has ended: stop that process (fuser shows it), or wait until they have ended"
    )
}

fn create(daemon: &Daemon, kind: &str, params: Value) -> Result<Value, rpc::RpcError> {
    daemon.call(&format!("bdev_{kind}_create"), params)
}

/// A file is refused to a service after a time and in these words, and there is no bdev of it.
fn expect_locked(daemon: &Daemon, kind: &str, path: &str) {
    let (bdevs, begin) = (daemon.bdevs(), clock::now());
    let error = create(daemon, kind, file("f", path)).unwrap_err();
    let took = Duration::from(clock::now() - begin);
    assert!(took < REFUSED_WITHIN, "{took:?}");
    let reason = format!("Device or resource busy: {}", locked("f", path));
    assert_eq!((error.code, error.message), (-16, reason));
    assert_eq!(daemon.bdevs(), bdevs);
}

/// Goal: of two services one has a file; the other is refused it in clear words, may look at it, and has it
/// when the first one is gone. Within one service the bdev that has it is named. Method: both engines.
#[test]
fn two_services_do_not_write_to_one_file() {
    for kinds in [["uring", "aio"], ["aio", "uring"]] {
        let (place, other) = (Place::new(), Place::new());
        let path = place.file("disk", 1 << 20);
        let bytes = vec![7; 1 << 20];
        fs::write(&path, &bytes).unwrap();
        let (first, second) = (place.start(), other.start());
        create(&first, kinds[0], file("mine", &path)).unwrap();
        for kind in kinds {
            expect_locked(&second, kind, &path);
            let made =
                json!({ "name": "f", "filename": path, "block_size": 4096, "create_size_mib": 1 });
            assert_eq!(create(&second, kind, made).unwrap_err().code, -16);
            assert!(fs::read(&path).unwrap() == bytes, "it has changed");
            let error = create(&first, kind, file("f", &path)).unwrap_err();
            let reason = format!(
                "Operation not permitted: bdev f: {path} is still that of bdev mine: use that one, or delete it \
                 and wait until its last request has ended"
            );
            assert_eq!((error.code, error.message), (-1, reason));
        }
        let mut look = file("look", &path);
        look["readonly"] = true.into();
        create(&second, "aio", look).unwrap();
        first.ask(&format!("bdev_{}_delete", kinds[0]), json!({ "name": "mine" }));
        create(&second, kinds[1], file("f", &path)).unwrap();
        expect_locked(&first, kinds[0], &path);
        second.stop();
        create(&first, kinds[0], file("mine", &path)).unwrap();
        first.stop();
    }
}

/// Goal: a file that is let go of in time is taken, and who waits for it holds up nobody else. Method: the test
/// has it, with the lock that the requests of a dead process have.
#[test]
fn a_file_is_waited_for() {
    let place = Place::new();
    let path = place.file("disk", 1 << 20);
    let daemon = place.start();
    for kind in ["uring", "aio"] {
        let held = lock(&path, nix::libc::F_RDLCK).unwrap();
        thread::scope(|scope| {
            let waits = scope.spawn(|| create(&daemon, kind, file("f", &path)));
            thread::park_timeout(Duration::from_millis(300));
            daemon.ask("bdev_malloc_create", malloc("m", 4));
            daemon.ask("bdev_malloc_delete", json!({ "name": "m" }));
            assert!(!waits.is_finished());
            drop(held);
            assert_eq!(waits.join().unwrap().unwrap(), "f");
        });
        daemon.ask(&format!("bdev_{kind}_delete"), json!({ "name": "f" }));
    }
    daemon.stop();
}

/// Goal: a service that starts while another one has its files serves without them, says so, and has them when
/// they are free. Method: eight files, so that the time is not that of one by eight.
#[test]
fn a_start_goes_on_without_files_that_are_locked() {
    let (place, other) = (Place::new(), Place::new());
    let names: Vec<_> = (0..8).map(|number| format!("d{number}")).collect();
    let paths: Vec<_> = names.iter().map(|name| place.file(name, 1 << 20)).collect();
    let entries =
        names.iter().zip(&paths).map(|(name, path)| entry("bdev_uring_create", file(name, path)));
    let entries: Vec<_> = entries.collect();
    let first = place.start_with_config(&place.config(&entries));
    let begin = clock::now();
    let second = other.start_with_config(&other.config(&entries));
    let took = Duration::from(clock::now() - begin);
    assert!(took < REFUSED_WITHIN, "{took:?}");
    assert!(second.bdevs().is_empty());
    let kept = second.ask("raid456_get_status", Value::Null)["kept"].take();
    let reasons = kept.as_array().unwrap().iter().map(|call| call["reason"].as_str().unwrap());
    for ((reason, name), path) in reasons.zip(&names).zip(&paths) {
        assert!(reason.ends_with(&locked(name, path)), "{reason}");
    }
    first.stop();
    second.wait_until("it has the files", |second| second.bdevs() == names);
    second.stop();
    let twice = [entries[0].clone(), entry("bdev_uring_create", file("again", &paths[0]))];
    let config = place.config(&twice);
    let said = place.fail_to_start(&["--config".as_ref(), config.as_os_str()]);
    assert!(said.contains("is still that of bdev d0"), "{said}");
}

/// A loop device over a file on a file system that can be frozen: what is written to it waits until then.
struct SlowDevice {
    path: String,
    top: TempDir,
}

impl SlowDevice {
    fn make() -> Option<Self> {
        for (program, package) in [("losetup", "mount"), ("mkfs.ext4", "e2fsprogs")] {
            tools::find(program, package)?;
        }
        tools::find("fsfreeze", "util-linux")?;
        let top = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let (image, mount) = (top.path().join("host.img"), top.path().join("mount"));
        File::create(&image).unwrap().set_len(64 << 20).unwrap();
        fs::create_dir(&mount).unwrap();
        run("mkfs.ext4", &["-q", text(&image)]);
        let mut device = Self { path: String::new(), top };
        run("mount", &["-o", "loop", text(&image), text(&mount)]);
        let disk = mount.join("disk");
        File::create(&disk).unwrap().set_len(16 << 20).unwrap();
        device.path = run("losetup", &["--find", "--show", text(&disk)]).trim().to_owned();
        Some(device)
    }

    fn mount(&self) -> String {
        text(&self.top.path().join("mount")).to_owned()
    }

    /// Writes that it has, and has not answered.
    fn writes_in_flight(&self) -> u64 {
        let name = self.path.strip_prefix("/dev/").unwrap();
        let counts = fs::read_to_string(format!("/sys/block/{name}/inflight")).unwrap();
        counts.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

impl Drop for SlowDevice {
    fn drop(&mut self) {
        // It may be thawed already, and where a test has failed not everything is closed yet: both of them go
        // as soon as it is.
        drop(Command::new("fsfreeze").args(["-u", &self.mount()]).output());
        let detach = Command::new("losetup").args(["--detach", &self.path]).status();
        let unmount = Command::new("umount").args(["--lazy", &self.mount()]).status();
        let gone =
            [detach, unmount].iter().all(|status| status.as_ref().is_ok_and(|s| s.success()));
        assert!(gone || thread::panicking(), "a loop device or its file system is left over");
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().unwrap();
    assert!(output.status.success(), "{program} {args:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Goal (R1): a write of a process that was killed lands before its successor has the device, and not on what
/// that has written. Method: a superblock is on its way to a device that takes its time when the service is
/// killed; a file that was open beside it is in the table of the same ring.
#[test]
fn an_old_write_lands_before_the_successor_begins() {
    let Some(device) = SlowDevice::make() else { return };
    let place = Place::new();
    let daemon = place.start();
    create(&daemon, "uring", file("slow", &device.path)).unwrap();
    let beside = place.file("beside", 16 << 20);
    create(&daemon, "uring", file("beside", &beside)).unwrap();
    for name in ["m0", "m1"] {
        daemon.ask("bdev_malloc_create", malloc(name, 16));
    }
    run("fsfreeze", &["-f", &device.mount()]);
    let mut array = raid5("r0", &["slow", "beside", "m0", "m1"]);
    array["superblock"] = true.into();
    thread::scope(|scope| {
        let client = daemon.client();
        // Nobody answers it any more.
        scope.spawn(move || drop({ client }.call("bdev_raid_create", Some(array))));
        daemon.wait_until("a write is on its way", |_| device.writes_in_flight() > 0);
        daemon.end(Signal::KILL);
    });
    let daemon = place.start();
    expect_locked(&daemon, "uring", &device.path);
    expect_locked(&daemon, "uring", &beside);
    assert!(device.writes_in_flight() > 0, "it is still on its way");
    run("fsfreeze", &["-u", &device.mount()]);
    until_let_go(&device.path);
    assert_eq!(device.writes_in_flight(), 0, "it has landed");
    create(&daemon, "uring", file("slow", &device.path)).unwrap();
    daemon.stop();
}
