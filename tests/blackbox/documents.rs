//! The documents: every block of commands in the operator's guide is executed, in order, as it stands.
//!
//! ```text
//!   deploy/GUIDE.md --blocks marked sh--> one script, in a directory of its own
//!     raid456 serve ...   starts in the background and is waited for
//!     raid456, curl       speak to that one: socket by RAID456_SOCKET, port 9456 is another one
//! ```
//!
//! Not here: what the commands do.

use std::fmt::Write;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::daemon::{PROGRAM, Place, output_of};
use crate::tools;

/// The blocks of a document that are marked as commands, with the lines on which they begin.
fn blocks(text: &str) -> Vec<(usize, String)> {
    let mut blocks = Vec::new();
    let mut block: Option<(usize, String)> = None;
    for (number, line) in text.lines().enumerate() {
        match (&mut block, line) {
            (None, "```sh") => block = Some((number + 2, String::new())),
            (Some(_), "```") => blocks.extend(block.take()),
            (Some((_, commands)), line) => {
                commands.push_str(line);
                commands.push('\n');
            }
            (None, _) => {}
        }
    }
    assert!(block.is_none(), "a block without an end");
    blocks
}

/// Programs that stand in front of the real ones on the search path.
fn shims(place: &Place, port: u16) -> String {
    let directory = place.path("bin");
    fs::create_dir(&directory).unwrap();
    let serve = format!(
        "#!/bin/bash\nset -eu\nargs=(\"${{@//9456/{port}}}\")\nif [[ ${{1-}} == serve ]]; then\n  \
         {PROGRAM} \"${{args[@]}}\" --cores 0 >serve.out 2>serve.log &\n  echo $! >serve.pid\n  \
         until grep -q ready serve.out; do kill -0 \"$(cat serve.pid)\" || {{ cat serve.log; exit 1; }}; \
         sleep 0.1; done\n  exit 0\nfi\nexec {PROGRAM} \"${{args[@]}}\"\n"
    );
    let curl = format!("#!/bin/bash\nexec /usr/bin/curl \"${{@//9456/{port}}}\"\n");
    for (name, text) in [("raid456", serve), ("curl", curl)] {
        let path = Path::new(&directory).join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    directory
}

/// Goal: whoever follows the guide gets what it says. Method: see above; the script stops at the first command
/// that fails.
#[test]
fn the_guide_can_be_followed() {
    if tools::find("curl", "curl").is_none() {
        return;
    }
    let place = Place::new();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let bin = shims(&place, port);
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/GUIDE.md");
    let blocks = blocks(&fs::read_to_string(guide).unwrap());
    assert!(blocks.len() > 8, "{} blocks", blocks.len());
    let mut script = String::from(
        "set -euo pipefail\ntrap '[[ -e serve.pid ]] && kill $(cat serve.pid) 2>/dev/null' EXIT\n",
    );
    for (line, commands) in &blocks {
        writeln!(script, "echo '=== GUIDE.md, line {line}'\n{commands}").unwrap();
    }
    let path = place.path("guide.sh");
    fs::write(&path, script).unwrap();
    let search = format!("{bin}:{}", std::env::var("PATH").unwrap());
    let mut command = Command::new("timeout");
    command.args(["100", "bash", &path]).current_dir(place.data());
    command.env("PATH", search).env("RAID456_SOCKET", place.socket());
    let output = output_of(command);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}\n{said}", String::from_utf8_lossy(&output.stderr));
}

/// Goal: blocks are found, and only those that are commands.
#[test]
fn blocks_are_found() {
    let text = "a\n```sh\none\ntwo\n```\n```text\nnot\n```\n```sh\nthree\n```\n";
    let expected = [(3, "one\ntwo\n".to_owned()), (10, "three\n".to_owned())];
    assert_eq!(blocks(text), expected);
}
