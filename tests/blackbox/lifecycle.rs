//! Start, configuration, signals, sockets: the service as its supervisor sees it.
//!
//! Not here: methods.

use std::ffi::OsStr;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::daemon::{Place, entry, malloc, raid5};

/// Goal: the configuration that people start with works as it is shipped: it makes its files, and
/// finds them again at the next start.
#[test]
fn the_quickstart_runs() {
    let place = Place::new();
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/quickstart.json");
    // Somebody else may listen where the quickstart does.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let text = fs::read_to_string(config).unwrap().replace("4420", &port.to_string());
    let config = place.config_text(&text);
    for round in 0..2 {
        let daemon = place.start_with_config(&config);
        let ready = daemon.ready_line();
        let socket = place.socket();
        for word in ["ready", socket.to_str().unwrap(), "member0", "member4", "log0", "r0"] {
            assert!(ready.contains(word), "{word:?} is not in {ready:?}");
        }
        assert!(TcpStream::connect(("127.0.0.1", port)).is_ok(), "the array is exported");
        let array = daemon.bdev("r0");
        // Each member has its superblock in front.
        assert_eq!(array["num_blocks"], 4 * 255 * 256);
        assert_eq!(array["driver_specific"]["raid"]["strip_size_kb"], 64);
        assert_eq!(daemon.bdevs().len(), 8);
        let member = fs::metadata(place.data().join("data/member4.img")).unwrap();
        assert_eq!(member.len(), 256 << 20);
        // Once in the middle of the first resync, and once after a while.
        if round == 1 {
            daemon.wait_until("in sync", |daemon| {
                daemon.bdev("r0")["driver_specific"]["raid"]["in_sync"] == true
            });
        }
        daemon.stop();
        assert!(place.data().join("data/member0.img").exists(), "what is on it may be wanted");
    }
}

/// Goal: SIGTERM and SIGINT end it in order, whatever it is doing, and take its socket away.
#[test]
fn signals_end_it_in_order() {
    for signal in [Signal::TERM, Signal::INT] {
        let place = Place::new();
        let image = place.file("u0.img", 4 << 20);
        let daemon = place.start_with_config(&place.config(&[
            entry("bdev_malloc_create", malloc("m0", 64)),
            entry("bdev_malloc_create", malloc("m1", 64)),
            entry("bdev_malloc_create", malloc("m2", 64)),
            entry("bdev_raid_create", raid5("r0", &["m0", "m1", "m2"])),
            entry(
                "bdev_uring_create",
                json!({ "name": "u0", "filename": image, "block_size": 512 }),
            ),
        ]));
        let modes = [place.socket(), place.lock()]
            .map(|path| fs::metadata(path).unwrap().permissions().mode() & 0o777);
        assert_eq!(modes, [0o600, 0o600]);
        let idle = daemon.client();
        let status = daemon.end(signal);
        assert_eq!(status.code(), Some(0), "{signal:?}");
        assert!(!place.socket().exists() && !place.lock().exists(), "{signal:?}");
        drop(idle);
    }
}

/// Goal: a call that waits does not hold up the end.
#[test]
fn a_waiting_call_does_not_hold_up_the_end() {
    let place = Place::new();
    let daemon = place.start();
    let mut stream = daemon.stream();
    let request = json!({
        "id": 1, "method": "bdev_get_bdevs", "params": { "name": "never", "timeout": 86_400_000 },
    });
    std::io::Write::write_all(&mut stream, request.to_string().as_bytes()).unwrap();
    // The daemon has read it when a later request on the same connection is answered.
    std::io::Write::write_all(&mut stream, br#"{"id":2,"method":"spdk_get_version"}"#).unwrap();
    let mut first = [0; 1];
    std::io::Read::read_exact(&mut stream, &mut first).unwrap();
    daemon.stop();
    let mut rest = String::new();
    std::io::Read::read_to_string(&mut stream, &mut rest).unwrap();
    assert!(rest.contains(r#""code":-19"#), "the wait was answered: {rest}");
}

/// Goal: one service per socket, and the one that is there does not notice the attempt.
#[test]
fn a_second_service_on_the_socket_is_refused() {
    let place = Place::new();
    let daemon = place.start();
    daemon.ask("bdev_malloc_create", malloc("m0", 1));
    let missing = place.path("new.img");
    let config = place.config(&[entry(
        "bdev_uring_create",
        json!({ "name": "u0", "filename": missing, "block_size": 512, "create_size_mib": 1 }),
    )]);
    let error = place.fail_to_start(&["-c".as_ref(), config.as_os_str()]);
    assert!(error.contains("in use by another server"), "{error}");
    assert!(error.contains(place.socket().to_str().unwrap()), "{error}");
    assert!(!Path::new(&missing).exists(), "it has not begun with its configuration");
    assert_eq!(daemon.bdevs(), ["m0"]);
    daemon.stop();
}

/// Goal: what a crash leaves behind does not prevent the next start.
#[test]
fn a_stale_socket_is_taken_over() {
    let place = Place::new();
    let daemon = place.start();
    daemon.end(Signal::KILL);
    assert!(place.socket().exists() && place.lock().exists(), "killed, so it left them");
    let daemon = place.start();
    assert!(daemon.bdevs().is_empty());
    daemon.stop();
    assert!(!place.socket().exists() && !place.lock().exists());
}

/// Goal: a socket path that is something else is not touched.
#[test]
fn a_file_in_the_place_of_the_socket_is_left_alone() {
    let place = Place::new();
    fs::write(place.socket(), "precious").unwrap();
    let error = place.fail_to_start(&[]);
    assert!(error.contains("not a socket"), "{error}");
    assert_eq!(fs::read_to_string(place.socket()).unwrap(), "precious");
    assert!(!place.lock().exists());
}

/// Goal: a configuration that is wrong anywhere is named with file, place, method and reason, and
/// leaves no socket, no lock and no file. Method: wrong last entries behind one that makes a file.
#[test]
fn a_wrong_configuration_leaves_nothing_behind() {
    let place = Place::new();
    let first = entry(
        "bdev_uring_create",
        json!({
            "name": "u0", "filename": place.path("new/u0.img"), "block_size": 512,
            "create_size_mib": 1,
        }),
    );
    for (last, words) in [
        (
            entry("bdev_raid_create", raid5("r0", &["u0", "u1", "u2"])),
            &["config[1] (bdev_raid_create)", "No such device", "\"u1\""][..],
        ),
        (
            entry("bdev_null_craete", json!({})),
            &["config[1] (bdev_null_craete)", "Method not found"],
        ),
        (
            entry("bdev_null_create", json!({ "name": "n0" })),
            &["config[1] (bdev_null_create)", "block_size is missing"],
        ),
        (json!({ "method": "bdev_get_bdevs", "parms": {} }), &["config[1]", "\"parms\""]),
        (json!([entry("bdev_get_bdevs", json!({ "name": "x" }))]), &["config[1][0]", "\"x\""]),
    ] {
        let config = place.config(&[first.clone(), last]);
        let error = place.fail_to_start(&["--config".as_ref(), config.as_os_str()]);
        let last_line = error.lines().last().unwrap();
        assert!(last_line.contains(config.to_str().unwrap()), "{error}");
        for word in words {
            assert!(last_line.contains(word), "{word:?} is not in {error}");
        }
        assert!(!place.socket().exists() && !place.lock().exists(), "{error}");
        assert_eq!(place.files(), Vec::<std::path::PathBuf>::new(), "{error}");
    }
}

/// Goal: likewise for a file that is no configuration at all, and for options.
#[test]
fn wrong_files_and_options_are_named() {
    let place = Place::new();
    for (text, word) in [
        ("{", "not JSON"),
        ("[]", "root: should be an object"),
        (r#"{"subsystems":[{"subsystem":"bdve","config":[{"method":"x"}]}]}"#, "\"bdve\""),
    ] {
        let config = place.config_text(text);
        let error = place.fail_to_start(&["-c".as_ref(), config.as_os_str()]);
        assert!(error.contains(word) && error.contains(config.to_str().unwrap()), "{error}");
    }
    let long = format!("/tmp/{}", "x".repeat(200));
    for (args, word) in [
        (&["--config", "/no/such/file.json"][..], "/no/such/file.json: No such file"),
        (&["--rpc-socket", "/no/such/directory/s"], "/no/such/directory/s"),
        (&["--rpc-socket", &long], "107 bytes"),
        (&["--cores", "1023"], "no core 1023"),
        (&["--log", "[["], "--log"),
    ] {
        let args: Vec<&OsStr> = args.iter().map(AsRef::as_ref).collect();
        let error = place.fail_to_start(&args);
        assert!(error.contains(word), "{args:?}: {error}");
        assert!(!place.socket().exists() && !place.lock().exists(), "{error}");
    }
}

/// Goal: SPDK's own habits in configuration files are understood: batches, null, other members.
#[test]
fn configurations_in_spdks_style_are_taken() {
    let place = Place::new();
    let config = json!({
        "generator": { "version": 1 },
        "subsystems": [
            { "subsystem": "keyring", "config": [] },
            { "subsystem": "iobuf", "config": null },
            { "subsystem": "bdev", "config": [
                entry("bdev_malloc_create", malloc("m0", 1)),
                [
                    entry("bdev_malloc_create", malloc("m1", 1)),
                    entry("bdev_malloc_create", malloc("m2", 1)),
                ],
                { "method": "bdev_get_bdevs", "params": null },
                { "method": "bdev_get_bdevs" },
            ] },
        ],
    });
    let daemon = place.start_with_config(&place.config_text(&config.to_string()));
    assert_eq!(daemon.bdevs(), ["m0", "m1", "m2"]);
    daemon.stop();
}

/// Goal: with adaptive polling a service without work sleeps, also after it had some. Method: the
/// first resync of an array over each engine, then the time on a core over a while.
#[test]
fn an_idle_service_sleeps() {
    let place = Place::new();
    let daemon = place.start();
    for kind in ["uring", "aio"] {
        let names = [0, 1, 2].map(|slot| format!("{kind}{slot}"));
        for name in &names {
            let filename = place.path(name);
            daemon.ask(
                &format!("bdev_{kind}_create"),
                json!({
                    "name": name, "filename": filename, "block_size": 512, "create_size_mib": 8,
                }),
            );
        }
        let array = format!("r_{kind}");
        daemon.ask("bdev_raid_create", raid5(&array, &names.each_ref().map(String::as_str)));
        daemon.wait_until("in sync", |daemon| {
            daemon.bdev(&array)["driver_specific"]["raid"]["in_sync"] == true
        });
        let begin = daemon.cpu_ticks();
        std::thread::park_timeout(Duration::from_millis(600));
        let ticks = daemon.cpu_ticks() - begin;
        assert!(ticks < 6, "{kind}: {ticks} ticks of 10 ms in 600 ms");
    }
    daemon.stop();
}

/// Goal: busy polling serves and stops as well.
#[test]
fn busy_polling_works_too() {
    let place = Place::new();
    let daemon = place.start_with(&["--poll".as_ref(), "busy".as_ref()]);
    for name in ["m0", "m1", "m2"] {
        daemon.ask("bdev_malloc_create", malloc(name, 1));
    }
    daemon.ask("bdev_raid_create", raid5("r0", &["m0", "m1", "m2"]));
    let raids = daemon.ask("bdev_raid_get_bdevs", Value::Null);
    assert_eq!(raids.as_array().unwrap().len(), 1);
    daemon.stop();
}
