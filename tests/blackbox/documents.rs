//! The documents: every block of commands in the operator's guide and in the README is executed as it stands.
//!
//! ```text
//!   deploy/GUIDE.md --blocks marked sh--> one script, in a directory of its own
//!   README.md       --blocks marked sh--> a script each, with a service that has what the block speaks of
//!     raid456 serve ...   starts in the background and is waited for
//!     raid456, curl       speak to that one: socket by RAID456_SOCKET, ports and addresses are others
//!     cargo run -- ...    is raid456; cargo test is what runs this, and the simulator has a step of .ci/run
//!     nvme, mkfs.ext4     a Linux guest executes their block (`nvmf::linux`)
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

/// The block of the README that is for a Linux host.
pub(crate) fn block_for_linux() -> String {
    let mut blocks = readme_blocks().into_iter().map(|(_, commands)| commands);
    blocks.find(|commands| commands.contains("nvme connect")).unwrap()
}

fn readme_blocks() -> Vec<(usize, String)> {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    blocks(&fs::read_to_string(readme).unwrap())
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Programs that stand in front of the real ones on the search path.
fn shims(place: &Place, port: u16) -> String {
    let directory = place.path("bin");
    fs::create_dir(&directory).unwrap();
    let nvmf_port = free_port();
    let serve = format!(
        "#!/bin/bash\nset -eu\nargs=(\"${{@//9456/{port}}}\")\nargs=(\"${{args[@]//192.0.2.1/127.0.0.1}}\")\n\
         args=(\"${{args[@]//4420/{nvmf_port}}}\")\nif [[ ${{1-}} == serve ]]; then\n  \
         [[ ${{args[-1]}} != --metrics ]] || args+=(127.0.0.1:{port})\n  \
         {PROGRAM} \"${{args[@]}}\" --cores 0 >serve.out 2>serve.log &\n  echo $! >serve.pid\n  \
         until grep -q ready serve.out; do kill -0 \"$(cat serve.pid)\" || {{ cat serve.log; exit 1; }}; \
         sleep 0.1; done\n  exit 0\nfi\nexec {PROGRAM} \"${{args[@]}}\"\n"
    );
    let curl = format!("#!/bin/bash\nexec /usr/bin/curl \"${{@//9456/{port}}}\"\n");
    let cargo = "#!/bin/bash\nset -eu\ncase \"$*\" in\n\
                 'run --release -- '*) shift 3; exec raid456 \"$@\";;\n\
                 'test --workspace' | 'run --release -p sim -- '*) exit 0;;\n\
                 *) echo \"cargo $*: who runs this?\" >&2; exit 1;;\nesac\n";
    let guest = "#!/bin/bash\nexit 0\n";
    let quickstart = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/quickstart.json");
    let quickstart = fs::read_to_string(quickstart).unwrap();
    fs::create_dir(place.path("deploy")).unwrap();
    fs::write(
        place.path("deploy/quickstart.json"),
        quickstart.replace("4420", &free_port().to_string()).replace(": 256", ": 32"),
    )
    .unwrap();
    let programs = [
        ("raid456", serve.as_str()),
        ("curl", &curl),
        ("cargo", cargo),
        ("modprobe", guest),
        ("nvme", guest),
        ("mkfs.ext4", guest),
    ];
    for (name, text) in programs {
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
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/GUIDE.md");
    let blocks = blocks(&fs::read_to_string(guide).unwrap());
    assert!(blocks.len() > 8, "{} blocks", blocks.len());
    let mut script = String::new();
    for (line, commands) in &blocks {
        writeln!(script, "echo '=== GUIDE.md, line {line}'\n{commands}").unwrap();
    }
    follow(&script);
}

/// Executes a script in a directory of its own; it stops at the first command that fails.
fn follow(script: &str) {
    let place = Place::new();
    let bin = shims(&place, free_port());
    let path = place.path("script.sh");
    let head = "set -euo pipefail\n\
                trap '[[ -e serve.pid ]] && kill $(cat serve.pid) 2>/dev/null' EXIT\n";
    fs::write(&path, format!("{head}{script}")).unwrap();
    let search = format!("{bin}:{}", std::env::var("PATH").unwrap());
    let mut command = Command::new("timeout");
    command.args(["100", "bash", &path]).current_dir(place.data());
    command.env("PATH", search).env("RAID456_SOCKET", place.socket());
    let output = output_of(command);
    let said = String::from_utf8_lossy(&output.stdout);
    let (errors, status) = (String::from_utf8_lossy(&output.stderr), output.status);
    assert!(status.success(), "{status}\n{errors}\n{said}\n{script}");
}

/// What has to be there before a block: the quickstart, unless the block starts a service or a process of its
/// own, with the bdevs that it names and does not create.
fn before(block: &str) -> String {
    let mut script = String::from("truncate -s 3M disk.img\n");
    if block.contains(" serve ") || block.contains(" --config ") {
        return script;
    }
    script.push_str("raid456 serve --config deploy/quickstart.json\n");
    let members = ["a", "b", "c", "d", "e", "f", "g", "h"].map(str::to_owned);
    for name in members.into_iter().chain((0..12).map(|number| format!("m{number}"))) {
        if !block.contains(&format!("create name={name} ")) {
            let size = "block_size=4096 num_blocks=4096";
            writeln!(script, "raid456 rpc bdev_malloc_create name={name} {size} >made").unwrap();
        }
    }
    if block.contains("\"r1\"") {
        let what = "raid_level=raid5 strip_size_kb=64 base_bdevs=a,b,c";
        writeln!(script, "raid456 rpc bdev_raid_create name=r1 {what} >made").unwrap();
    }
    script
}

/// Goal: whoever tries what the README shows gets it. Method: as above, block by block.
#[test]
fn the_readme_can_be_followed() {
    let blocks = readme_blocks();
    assert!(blocks.len() > 12, "{} blocks", blocks.len());
    for (line, commands) in &blocks {
        let before = before(commands);
        follow(&format!("{before}echo '=== README.md, line {line}'\n{commands}"));
    }
}

/// Goal: blocks are found, and only those that are commands.
#[test]
fn blocks_are_found() {
    let text = "a\n```sh\none\ntwo\n```\n```text\nnot\n```\n```sh\nthree\n```\n";
    let expected = [(3, "one\ntwo\n".to_owned()), (10, "three\n".to_owned())];
    assert_eq!(blocks(text), expected);
}
