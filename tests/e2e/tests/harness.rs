//! The harness itself: what a script gets, and what of it comes back.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]

use e2e::{End, Guest, lab};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Goal: everything that a guest can be given arrives, and its output and exit code come back.
#[test]
fn a_script_runs_in_a_guest() {
    let Some(lab) = lab(env!("CARGO_TARGET_TMPDIR")) else { return };
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("disk");
    fs::write(&image, [b"a disk\n".as_slice(), &[0; 65_529]].concat()).unwrap();
    fs::write(folder.path().join("question"), "what?").unwrap();
    let script = r#"#!/bin/sh
        echo "$GREETING"; cat text; head -n 1 /dev/vda; blockdev --getss /dev/vdb
        ip addr show dev eth0 | grep -o 10.0.2.15
        echo "$(cat /share/question) nothing" >/share/answer
        echo written | dd of=/dev/vda bs=512 seek=1 conv=sync,notrunc 2>/dev/null
        exit 7"#;
    let guest = Guest::new(script)
        .variable("GREETING", "it's me")
        .file("text", b"a file\n")
        .disk(&image)
        .disk_of_blocks(&second_disk(folder.path()), 4096)
        .share(folder.path())
        .network();
    let outcome = guest.run(lab);
    assert_eq!(outcome.end, End::Exited(7), "{outcome:?}");
    assert_eq!(outcome.output, "it's me\na file\na disk\n4096\n10.0.2.15\n");
    assert_eq!(fs::read_to_string(folder.path().join("answer")).unwrap(), "what? nothing\n");
    assert!(fs::read(&image).unwrap()[512..].starts_with(b"written\n"));
}

fn second_disk(folder: &Path) -> PathBuf {
    let image = folder.join("second");
    fs::write(&image, vec![0; 1 << 20]).unwrap();
    image
}

/// Goal: a script that never ends is ended; one whose guest dies is told apart from that.
#[test]
fn a_guest_that_does_not_end_is_ended() {
    let Some(lab) = lab(env!("CARGO_TARGET_TMPDIR")) else { return };
    let never = Guest::new("#!/bin/sh\nsleep 1000").timeout(Duration::from_secs(1)).start(lab);
    let dies = Guest::new("#!/bin/sh\necho last words; poweroff -f").run(lab);
    assert_eq!((dies.end, dies.output.as_str()), (End::Died, "last words\n"));
    assert_eq!(never.wait().end, End::TimedOut);
}
