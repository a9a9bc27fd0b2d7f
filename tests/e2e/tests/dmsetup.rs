//! The session with dmsetup that `golden` keeps, held once again against the real one.
//!
//! What our own command line makes of the same session is tested beside the daemon (`tests/blackbox/dm`).

use e2e::{Guest, lab};
use golden::dmsetup::{TEXT, TWO_LINES, session};

/// Goal: what is kept is what dmsetup says. Method: every command again, in a guest; letter for letter.
#[test]
fn the_session_is_dmsetups() {
    let Some(lab) = lab(env!("CARGO_TARGET_TMPDIR")) else { return };
    let commands: Vec<&str> = session().iter().map(|step| step.command).collect();
    let guest = Guest::new(include_str!("dmsetup.sh"))
        .file("commands", (commands.join("\n") + "\n").as_bytes())
        .file("two-lines", TWO_LINES.as_bytes());
    let outcome = guest.run(lab);
    let said = outcome.expect_success();
    let first = said.lines().zip(TEXT.lines()).find(|(now, kept)| now != kept);
    assert_eq!(first, None, "now and as it is kept");
    assert_eq!(said.lines().count(), TEXT.lines().count());
}
