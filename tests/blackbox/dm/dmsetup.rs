//! The real dmsetup beside `raid456 dm`: one session, the same words in, the same letters out.
//!
//! Not here: how the session came about (`golden::dmsetup`); whether it is still dmsetup's (`tests/e2e`).

use golden::dmsetup::{Step, TWO_LINES, session};
use golden::intended::DMSETUP;

use super::ram_disks;
use crate::daemon::Place;

/// What dmsetup said, with what we mean to say otherwise.
fn ours(text: &str, seen: &mut [bool; DMSETUP.len()]) -> String {
    let mut text = text.to_owned();
    for ((theirs, ours, _), seen) in DMSETUP.iter().zip(seen) {
        *seen |= text.contains(theirs);
        text = text.replace(theirs, ours);
    }
    text
}

fn words(step: &Step, place: &Place) -> Vec<String> {
    let word = |word: String| match word.as_str() {
        "two-lines" => place.path("two-lines"),
        _ => word.replace("/dev/ram", "1:"),
    };
    step.words().into_iter().map(word).collect()
}

/// Goal: every verb of a session prints what dmsetup prints, fails where it fails, with its words, and has
/// its exit code. Method: 155 commands; of what is complained about dmsetup's lines, between which the
/// kernel's sentence stands here.
#[test]
fn a_session_is_as_with_dmsetup() {
    let place = Place::new();
    let daemon = place.start();
    ram_disks(&daemon, 0..16);
    std::fs::write(place.path("two-lines"), TWO_LINES.replace("/dev/ram", "1:")).unwrap();
    let (mut seen, mut wrong) = ([false; DMSETUP.len()], Vec::new());
    for step in session() {
        let words = words(&step, &place);
        let socket = place.socket();
        let before = ["dm", "--socket", socket.to_str().unwrap()];
        let all: Vec<&str> = before.into_iter().chain(words.iter().map(String::as_str)).collect();
        let output = place.run(&all);
        let said = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let (stdout, stderr) = (said(&output.stdout), said(&output.stderr));
        let right = ours(&step.stdout, &mut seen);
        let complaint = ours(&step.stderr, &mut seen);
        let mut lines = stderr.lines();
        // Where dmsetup succeeds all the same, it complains about device nodes, which are not here.
        let complained =
            step.code == 0 || complaint.lines().all(|line| lines.any(|other| other == line));
        if stdout != right || output.status.code() != Some(step.code) || !complained {
            wrong.push(format!(
                "$ {}\n{stdout}{stderr}= {:?}\n--- dmsetup:\n{right}{complaint}= {}\n",
                step.command,
                output.status.code(),
                step.code
            ));
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(seen, [true; DMSETUP.len()]);
    daemon.stop();
}
