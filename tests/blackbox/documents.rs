//! The documents: every block of commands in the operator's guide and in the README is executed as it stands.
//!
//! ```text
//!   deploy/*.md     --blocks marked sh--> one script each, in a directory of its own
//!   README.md       --blocks marked sh--> a script each, with a service that has what the block speaks of
//!     raid456 serve ...   starts in the background and is waited for
//!                         its background actions are slow, so that whoever does not wait for them is found out
//!     raid456, curl       speak to that one: socket by RAID456_SOCKET, ports and addresses are others
//!     cargo run -- ...    is raid456; cargo test is what runs this, and the simulator has a step of .ci/run
//!     deploy/build-deb.sh, sudo  have a step of .ci/run, which takes the block as it stands
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

fn document(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

fn readme_blocks() -> Vec<(usize, String)> {
    blocks(&document("README.md"))
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// How fast background actions are, at most: a second or two for each of those in the documents, which on disks
/// take hours. What a document does not wait for is refused then, as it would be there.
const BACKGROUND_MIB_PER_S: u32 = 16;

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
         sleep 0.1; done\n  \
         exec {PROGRAM} rpc bdev_raid_set_options process_max_bandwidth_mb_sec={BACKGROUND_MIB_PER_S} >/dev/null\n\
         fi\nexec {PROGRAM} \"${{args[@]}}\"\n"
    );
    let curl = format!("#!/bin/bash\nexec /usr/bin/curl \"${{@//9456/{port}}}\"\n");
    let cargo = "#!/bin/bash\nset -eu\ncase \"$*\" in\n\
                 'run --release -- '*) shift 3; exec raid456 \"$@\";;\n\
                 'test --workspace' | 'run --release -p sim -- '*) exit 0;;\n\
                 'install --locked cargo-deb') exit 0;;\n\
                 *) echo \"cargo $*: who runs this?\" >&2; exit 1;;\nesac\n";
    let guest = "#!/bin/bash\nexit 0\n";
    let quickstart = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/quickstart.json");
    let quickstart = fs::read_to_string(quickstart).unwrap();
    fs::create_dir(place.path("deploy")).unwrap();
    let slow = format!(
        "{{ \"method\": \"bdev_raid_set_options\", \"params\": \
         {{ \"process_max_bandwidth_mb_sec\": {BACKGROUND_MIB_PER_S} }} }},\n"
    );
    let quickstart = quickstart.replacen("\"config\": [", &format!("\"config\": [{slow}"), 1);
    let quickstart = quickstart.replace("4420", &free_port().to_string()).replace(": 256", ": 32");
    fs::write(place.path("deploy/quickstart.json"), quickstart).unwrap();
    let programs = [
        ("raid456", serve.as_str()),
        ("curl", &curl),
        ("cargo", cargo),
        ("modprobe", guest),
        ("nvme", guest),
        ("mkfs.ext4", guest),
        ("sudo", guest),
        ("../deploy/build-deb.sh", guest),
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
    let guide = document("deploy/GUIDE.md");
    let said = follow(&script_of("GUIDE.md", &guide));
    assert_is_printed(&guide, "It prints, for the array above:", &said);
}

/// All blocks of a document as one script.
fn script_of(name: &str, text: &str) -> String {
    let blocks = blocks(text);
    assert!(blocks.len() > 3, "{name}: {} blocks", blocks.len());
    let mut script = String::new();
    for (line, commands) in &blocks {
        writeln!(script, "echo '=== {name}, line {line}'\n{commands}").unwrap();
    }
    script
}

/// Goal: the examples of the references of tables and of configuration work. Method: as above.
#[test]
fn the_references_can_be_followed() {
    for name in ["deploy/TABLES.md", "deploy/CONFIGURATION.md"] {
        follow(&script_of(name, &document(name)));
    }
}

/// Goal: there is no target without its part of the reference.
#[test]
fn every_target_has_its_reference() {
    let tables = document("deploy/TABLES.md");
    for (target, _) in raid456::dm::table::TARGETS {
        let heading = tables.lines().any(|line| {
            line.starts_with("## ") && line.split_whitespace().any(|word| word == *target)
        });
        let grammar = tables.lines().any(|line| line.split(' ').next() == Some(target));
        assert!(heading && grammar, "{target}");
    }
}

/// What a document shows after some words is what was printed; "..." is anything, and so is how many regions are
/// dirty at the moment.
fn assert_is_printed(document: &str, after: &str, said: &str) {
    let plain = |line: &str| {
        let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
        match line.split_once(" of ") {
            Some((_, rest)) if line.ends_with("regions dirty") => format!("_ of {rest}"),
            _ => line,
        }
    };
    let said: Vec<_> = said.lines().map(plain).collect();
    let (_, rest) = document.split_once(after).unwrap();
    let shown = rest.split("```text\n").nth(1).unwrap().split("```").next().unwrap();
    let shown: Vec<_> = shown.lines().map(plain).filter(|line| line != "...").collect();
    assert!(shown.len() > 3, "{shown:?}");
    for line in shown {
        assert!(said.contains(&line), "{line:?} is not printed:\n{}", said.join("\n"));
    }
}

/// Executes a script in a directory of its own; it stops at the first command that fails. Returns what it printed.
fn follow(script: &str) -> String {
    let place = Place::new();
    let port = free_port();
    let bin = shims(&place, port);
    // Also where a configuration says it.
    let script = script.replace("9456", &port.to_string());
    let path = place.path("script.sh");
    let head = "set -euo pipefail\n\
                trap '[[ -e serve.pid ]] && kill $(cat serve.pid) 2>/dev/null' EXIT\n";
    fs::write(&path, format!("{head}{script}")).unwrap();
    let search = format!("{bin}:{}", std::env::var("PATH").unwrap());
    let mut command = Command::new("timeout");
    command.args(["100", "bash", &path]).current_dir(place.data());
    command.env("PATH", search).env("RAID456_SOCKET", place.socket()).env("USER", "somebody");
    let output = output_of(command);
    let said = String::from_utf8_lossy(&output.stdout);
    let (errors, status) = (String::from_utf8_lossy(&output.stderr), output.status);
    assert!(status.success(), "{status}\n{errors}\n{said}\n{script}");
    said.into_owned()
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
