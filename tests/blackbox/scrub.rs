//! `raid456 scrub`: what it says, and its exit codes.
//!
//! Not here: the check itself (crate `raid`), the timer that starts it (`packaging`).

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;

use serde_json::{Value, json};

use crate::daemon::{Place, entry, malloc, raid5};

/// Goal: a scrub waits for its checks and tells their outcome: right, wrong, left out, refused. Method: an array
/// of memory, one of files with bytes that were written behind its back, and one that is degraded.
#[test]
fn a_scrub_tells_the_outcome() {
    let place = Place::new();
    let mut entries: Vec<Value> = (0..6)
        .map(|number| entry("bdev_malloc_create", malloc(&format!("m{number}"), 4)))
        .collect();
    for number in 0..3 {
        let filename = place.file(&format!("f{number}"), 4 << 20);
        let file =
            json!({ "name": format!("f{number}"), "filename": filename, "block_size": 4096 });
        entries.push(entry("bdev_aio_create", file));
    }
    let behind = OpenOptions::new().write(true).open(place.path("f1")).unwrap();
    behind.write_all_at(&[0x5a; 512], 1 << 20).unwrap();
    for (name, members) in [
        ("right", ["m0", "m1", "m2"]),
        ("wrong", ["f0", "f1", "f2"]),
        ("degraded", ["m3", "m4", "m5"]),
    ] {
        let mut params = raid5(name, &members);
        params["assume_clean"] = json!(true);
        if name == "degraded" {
            params["base_bdevs"][2] = Value::Null;
        }
        entries.push(entry("bdev_raid_create", params));
    }
    let config = place.config(&entries);
    let daemon = place.start_with_config(&config);
    let socket = place.socket().to_str().unwrap().to_owned();
    let scrub = |words: &[&str]| {
        let output = place.run(&[&["scrub", "--socket", &socket], words].concat());
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    };

    let (code, said, _) = scrub(&["right"]);
    assert_eq!((code, said.as_str()), (0, "right: check begun\nright: all parity is right\n"));
    let (code, said, _) = scrub(&["wrong"]);
    assert_eq!(
        (code, said.as_str()),
        (1, "wrong: check begun\nwrong: 8 sectors with wrong parity\n")
    );
    let (code, said, _) = scrub(&["degraded", "right"]);
    assert_eq!(code, 1, "it was named: {said}");
    assert!(said.contains("degraded: left out: degraded\n"), "{said}");
    let (code, said, _) = scrub(&["--no-wait"]);
    assert_eq!(code, 0, "{said}");
    let lines = ["right: check begun", "wrong: check begun", "degraded: left out: degraded"];
    assert_eq!(said.lines().collect::<Vec<_>>(), lines);
    let (code, _, complaint) = scrub(&["nobody"]);
    assert_eq!((code, complaint.as_str()), (1, "raid456: no array \"nobody\"\n"));
    daemon.stop();
    let (code, _, complaint) = scrub(&[]);
    assert!(code == 1 && complaint.contains(&format!("cannot connect to {socket}")), "{complaint}");
}
