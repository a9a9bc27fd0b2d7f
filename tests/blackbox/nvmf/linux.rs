//! A Linux kernel as the host: what people do with an exported array, and what happens to it meanwhile.
//!
//! The guest's script and the test take turns: each says that it is so far with a file in a folder that
//! both see.

use std::ffi::OsStr;
use std::fs;
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use e2e::{Guest, Running, lab};
use rustix::process::Signal;
use serde_json::json;
use tempfile::TempDir;

use super::{HOST, NQN, address, free_port};
use crate::daemon::{Daemon, PATIENCE, Place, entry, malloc};
use crate::{documents, tools};

/// Another key than the host's: a made-up one of 32 bytes with its CRC-32.
const OTHER_KEY: &str = "DHHC-1:00:CzBVep/E6Q4zWH2ix+wRNluApcrvFDleg6jN8hc8YYYVgfSp:";

/// For the guest, on a machine that has much else to do.
const TIMEOUT: Duration = Duration::from_secs(550);

const LIB: &[u8] = include_bytes!("linux_lib.sh");

/// The guest that runs `script`, with the folder that both see.
struct Peer {
    folder: TempDir,
    guest: Running,
}

impl Peer {
    fn start(script: &str, variables: &[(&str, &str)]) -> Option<Self> {
        let readme = documents::block_for_linux();
        let lab = lab(env!("CARGO_TARGET_TMPDIR"))?;
        let folder = tempfile::tempdir().unwrap();
        let mut guest = Guest::new(script)
            .file("lib", LIB)
            .file("readme", readme.as_bytes())
            .share(folder.path())
            .network()
            .cores(2)
            .timeout(TIMEOUT)
            .variable("NQN", NQN)
            .variable("HOST", HOST);
        for (name, value) in variables {
            guest = guest.variable(name, value);
        }
        Some(Self { guest: guest.start(lab), folder })
    }

    /// Puts fio and its libraries where the guest sees them: with Debian's they are too large for its memory.
    fn bring_fio(&self) {
        let Some(fio) = tools::find("fio", "fio") else { return };
        let folder = self.folder.path().join("fio.new");
        fs::create_dir(&folder).unwrap();
        let listed = Command::new("ldd").arg(&fio).output().unwrap();
        let listed = String::from_utf8(listed.stdout).unwrap();
        let libraries = listed.split_whitespace().filter(|word| word.starts_with('/'));
        for file in libraries.map(Path::new).chain([fio.as_path()]) {
            fs::copy(file, folder.join(file.file_name().unwrap())).unwrap();
        }
        // It is there when all of it is.
        fs::rename(&folder, self.folder.path().join("fio")).unwrap();
    }

    fn tell(&self, word: &str) {
        fs::write(self.folder.path().join(format!("host-{word}")), "").unwrap();
    }

    /// Waits until the guest says that it is so far, or the guest has ended.
    fn await_word(self, word: &str) -> Self {
        let path = self.folder.path().join(format!("guest-{word}"));
        let step = Duration::from_millis(50);
        for _ in 0..2 * PATIENCE.as_millis() / step.as_millis() {
            if path.exists() {
                return self;
            }
            thread::park_timeout(step);
        }
        let outcome = self.guest.wait();
        panic!(
            "the guest does not say {word}: {:?}\n{}\n{}",
            outcome.end, outcome.output, outcome.console
        );
    }

    fn end(self) {
        let outcome = self.guest.wait();
        let said = outcome.expect_success();
        assert!(said.ends_with("well\n"), "{said}");
        println!("{said}");
    }
}

fn state_args(state: &Path) -> [&OsStr; 4] {
    ["--state".as_ref(), state.as_os_str(), "--patience".as_ref(), "1".as_ref()]
}

/// An array of three files with a dirty log and a spare, of which one member can be made to fail.
fn make_array(place: &Place, daemon: &Daemon, port: &str) {
    for (name, mib) in [("m0", 192), ("m1", 192), ("m2", 192), ("s0", 192), ("log", 1)] {
        let file = place.path(name);
        daemon.ask(
            "bdev_uring_create",
            json!({ "name": name, "filename": file, "block_size": 512, "create_size_mib": mib }),
        );
    }
    daemon.ask("bdev_error_create", json!({ "base_name": "m1" }));
    daemon.ask(
        "bdev_raid_create",
        json!({ "name": "r0", "raid_level": "raid5", "strip_size_kb": 64, "superblock": true,
                "base_bdevs": ["m0", "EE_m1", "m2"], "log_bdev": "log", "spares": ["s0"] }),
    );
    daemon.ask("nvmf_create_transport", json!({ "trtype": "TCP" }));
    daemon.ask(
        "nvmf_create_subsystem",
        json!({ "nqn": NQN, "serial_number": "RAID0456", "allow_any_host": true }),
    );
    daemon.ask("nvmf_subsystem_add_ns", json!({ "nqn": NQN, "namespace": { "bdev_name": "r0" } }));
    let listen = json!({ "nqn": NQN, "listen_address": address("127.0.0.1", port) });
    daemon.ask("nvmf_subsystem_add_listener", listen);
}

fn is_whole(daemon: &Daemon) -> bool {
    let array = &daemon.ask("bdev_raid_get_bdevs", json!({ "category": "online" }))[0];
    array["num_base_bdevs_operational"] == 3 && array.get("process").is_none_or(|it| it.is_null())
}

/// Goal: a Linux host keeps a file system on an array, through the failure of a member, its rebuild, a
/// kill -9 of the service, with digests and without; nothing that was synced is lost, and its kernel
/// has nothing to complain about. Method: the script says what the host does; every file is compared
/// by its digest.
#[test]
fn a_linux_host_keeps_its_files() {
    let place = Place::new();
    let port = free_port().to_string();
    let Some(peer) = Peer::start(include_str!("linux_files.sh"), &[("PORT", &port)]) else {
        return;
    };
    peer.bring_fio();
    let state = place.data().join("state.json");
    let daemon = place.start_with(&state_args(&state));
    make_array(&place, &daemon, &port);
    peer.tell("served");

    let peer = peer.await_word("mounted");
    daemon.ask(
        "bdev_error_inject_error",
        json!({ "name": "EE_m1", "io_type": "all", "error_type": "failure", "num": 1_000_000 }),
    );
    peer.tell("degraded");
    let peer = peer.await_word("written");
    daemon.wait_until("the spare has taken over", is_whole);
    let members = daemon.ask("bdev_raid_get_bdevs", json!({ "category": "all" })).to_string();
    assert!(members.contains("\"s0\"") && !members.contains("\"EE_m1\""), "{members}");
    peer.tell("rebuilt");
    let peer = peer.await_word("writing");
    thread::park_timeout(Duration::from_secs(2));
    daemon.end(Signal::KILL);
    let daemon = place.start_with(&state_args(&state));
    thread::park_timeout(Duration::from_secs(3));
    peer.tell("restarted");
    peer.end();
    daemon.stop();
}

/// The address of this machine that a guest can reach beside 10.0.2.2, if it has one. Nothing is sent.
fn own_address() -> Option<String> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    let ip = socket.local_addr().ok()?.ip();
    (!ip.is_loopback() && !ip.is_unspecified()).then(|| ip.to_string())
}

/// Goal: only listed hosts connect; I/O goes on while ANA states change and a path is taken away;
/// namespaces come, grow and go before the host's eyes. Method: the host writes and compares all the
/// time.
#[test]
fn a_linux_host_has_two_paths() {
    let place = Place::new();
    let ports = [free_port(), free_port(), free_port()].map(|port| port.to_string());
    let own = own_address();
    if own.is_none() {
        println!("no connect-all: this machine has no address but 127.0.0.1");
    }
    let variables = [
        ("PORT", ports[0].as_str()),
        ("PORT2", &ports[1]),
        ("PORT3", &ports[2]),
        ("OWN", own.as_deref().unwrap_or_default()),
    ];
    let Some(peer) = Peer::start(include_str!("linux_paths.sh"), &variables) else { return };
    let daemon = place.start_with(&["--cores".as_ref(), "0,1".as_ref()]);
    daemon.ask("bdev_malloc_create", malloc("disk", 16));
    daemon.ask("bdev_null_create", json!({ "name": "n", "block_size": 4096, "num_blocks": 2560 }));
    daemon.ask("nvmf_create_transport", json!({ "trtype": "TCP" }));
    daemon.ask("nvmf_create_subsystem", json!({ "nqn": NQN, "ana_reporting": true }));
    daemon.ask("nvmf_subsystem_add_host", json!({ "nqn": NQN, "host": HOST }));
    let namespace = |bdev: &str| json!({ "nqn": NQN, "namespace": { "bdev_name": bdev } });
    daemon.ask("nvmf_subsystem_add_ns", namespace("disk"));
    let listener =
        |port: &String| json!({ "nqn": NQN, "listen_address": address("127.0.0.1", port) });
    daemon.ask("nvmf_subsystem_add_listener", listener(&ports[0]));
    let mut second = listener(&ports[1]);
    second["ana_state"] = json!("non_optimized");
    daemon.ask("nvmf_subsystem_add_listener", second);

    let peer = peer.await_word("paths");
    for word in ["inaccessible", "optimized"] {
        let mut first = listener(&ports[0]);
        first["ana_state"] = json!(word);
        daemon.ask("nvmf_subsystem_listener_set_ana_state", first);
        peer.tell(word);
        thread::park_timeout(Duration::from_secs(2));
    }
    daemon.ask("nvmf_subsystem_remove_listener", listener(&ports[1]));
    peer.tell("removed");
    thread::park_timeout(Duration::from_secs(2));
    peer.tell("switched");
    let peer = peer.await_word("io");
    assert_eq!(daemon.ask("nvmf_subsystem_add_ns", namespace("n")), 2);
    peer.tell("added");
    let peer = peer.await_word("seen");
    daemon.ask("bdev_null_resize", json!({ "name": "n", "new_size": 20 }));
    peer.tell("grown");
    let peer = peer.await_word("larger");
    daemon.ask("nvmf_subsystem_remove_ns", json!({ "nqn": NQN, "nsid": 2 }));
    daemon.ask("bdev_null_delete", json!({ "name": "n" }));
    if let Some(own) = &own {
        let listen = json!({ "nqn": NQN, "listen_address": address(own, &ports[2]) });
        daemon.ask("nvmf_subsystem_add_listener", listen);
    }
    peer.tell("gone");
    peer.end();
    daemon.stop();
}

/// Goal: a Linux host proves that it has its key, and asks the controller for its own; without a key, with a
/// wrong one, and when the controller cannot prove its own it is not connected. Method: every hash function
/// and groups that an emulated guest computes in seconds, chosen by the target; with a file that is compared over
/// each connection. The kernel has to be built for it (`tests/e2e/README.md`).
#[test]
fn a_linux_host_authenticates() {
    if let Some(lab) = lab(env!("CARGO_TARGET_TMPDIR"))
        && !lab.kernel_has("CONFIG_NVME_HOST_AUTH")
    {
        println!("skipped: the guest's kernel is built without CONFIG_NVME_HOST_AUTH");
        return;
    }
    const HOST_KEY: &str = "DHHC-1:00:ia6zGodOr4SEG0Zzaw398rpY0wqipUWj4jWjUh4HWUz6aQ2n:";
    let place = Place::new();
    let port = free_port().to_string();
    let other = OTHER_KEY;
    let variables = [("PORT", port.as_str()), ("HOST_KEY", HOST_KEY), ("OTHER_KEY", other)];
    let Some(peer) = Peer::start(include_str!("linux_keys.sh"), &variables) else { return };
    let mut keys = Vec::new();
    for (name, key) in [("host", HOST_KEY), ("controller", other)] {
        let file = place.path(name);
        fs::write(&file, format!("{key}\n")).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        keys.push(entry("keyring_file_add_key", json!({ "name": name, "path": file })));
    }
    let listen = json!({ "nqn": NQN, "listen_address": address("127.0.0.1", &port) });
    let host =
        json!({ "nqn": NQN, "host": HOST, "dhchap_key": "host", "dhchap_ctrlr_key": "controller" });
    let mut peer = peer;
    for (hash, group) in [("sha256", "null"), ("sha384", "ffdhe2048"), ("sha512", "ffdhe3072")] {
        let choice = json!({ "dhchap_digests": [hash], "dhchap_dhgroups": [group] });
        let namespace = json!({ "nqn": NQN, "namespace": { "bdev_name": "disk" } });
        let target = [
            entry("nvmf_set_config", choice),
            entry("nvmf_create_transport", json!({ "trtype": "TCP" })),
            entry("nvmf_create_subsystem", json!({ "nqn": NQN })),
            entry("nvmf_subsystem_add_host", host.clone()),
            entry("nvmf_subsystem_add_ns", namespace),
            entry("nvmf_subsystem_add_listener", listen.clone()),
        ];
        let bdevs = [entry("bdev_malloc_create", malloc("disk", 16))];
        let config = json!({ "subsystems": [
            { "subsystem": "keyring", "config": keys },
            { "subsystem": "bdev", "config": bdevs },
            { "subsystem": "nvmf", "config": target },
        ] });
        let config = place.config_text(&config.to_string());
        let daemon = place.start_with(&["--config".as_ref(), config.as_os_str()]);
        peer.tell(&format!("{hash}-{group}"));
        peer = peer.await_word(&format!("{hash}-{group}"));
        daemon.stop();
    }
    peer.end();
}
