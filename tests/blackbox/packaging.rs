//! What the service is delivered with: the systemd unit, its protocol, manual pages, completions, manifests.
//!
//! Not here: building the Debian package (`.ci/run package`).

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use crate::daemon::{PATIENCE, PROGRAM, Place};
use crate::tools;

fn deploy(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(name)
}

/// Goal: systemd finds nothing wrong with the unit, and its sandbox is what it claims to be. Method: with the
/// program where it is here; the exposure, which systemd reckons from 0 to 10, may be 2.
#[test]
fn the_unit_is_well_formed_and_closed() {
    let Some(analyze) = tools::find("systemd-analyze", "systemd") else { return };
    let place = Place::new();
    let text = fs::read_to_string(deploy("systemd/raid456.service")).unwrap();
    assert!(text.contains("ExecStart=/usr/bin/raid456 serve "));
    let unit = place.path("raid456.service");
    fs::write(&unit, text.replace("/usr/bin/raid456", PROGRAM)).unwrap();
    for words in [
        &["verify", "--man=no"][..],
        &["security", "--offline=yes", "--threshold=20", "--no-pager"],
    ] {
        let output = Command::new(&analyze).args(words).arg(&unit).output().unwrap();
        let ours = String::from_utf8_lossy(&output.stderr);
        let ours: Vec<_> = ours.lines().filter(|line| line.contains("raid456")).collect();
        assert!(output.status.success() && ours.is_empty(), "{words:?}: {output:?}");
    }
}

/// Goal: the service manager is told when the service is ready, that it lives, and when it stops.
#[test]
fn the_service_manager_is_kept_informed() {
    let place = Place::new();
    let path = place.path("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let receive = || {
        let mut bytes = [0; 1024];
        let count = manager.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..count].to_vec()).unwrap()
    };
    let variables = [("NOTIFY_SOCKET", &*path), ("WATCHDOG_USEC", "200000")];
    let daemon = place.start_in(&variables, &[]);
    let ready = receive();
    assert!(ready.starts_with("READY=1\nSTATUS=ready: socket "), "{ready}");
    for _ in 0..5 {
        assert_eq!(receive(), "WATCHDOG=1\n");
    }
    let status = daemon.end(Signal::TERM);
    assert_eq!(status.code(), Some(0));
    let mut said = Vec::new();
    manager.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let mut bytes = [0; 1024];
    while let Ok(count) = manager.recv(&mut bytes) {
        said.push(String::from_utf8(bytes[..count].to_vec()).unwrap());
    }
    assert!(said.iter().any(|lines| lines.starts_with("STOPPING=1\n")), "{said:?}");
}

/// Goal: there is a manual page for every command, and completions for every shell that clap knows.
#[test]
fn manual_pages_and_completions_are_made() {
    let place = Place::new();
    let output = place.run(&["docs", "man", "man"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    for page in ["raid456", "raid456-serve", "raid456-rpc", "raid456-status", "raid456-top"] {
        let text = fs::read_to_string(place.path(&format!("man/{page}.1"))).unwrap();
        assert!(text.contains(".SH NAME") && text.contains("raid456"), "{page}: {text}");
    }
    if let Some(man) = tools::find("man", "man-db") {
        let page = place.path("man/raid456-serve.1");
        let mut command = Command::new(man);
        command.args(["--warnings", "-l", &page]).env("MANPAGER", "cat").env("LC_ALL", "C.UTF-8");
        let output = command.output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains("--metrics"), "{text}");
    }
    for shell in ["bash", "zsh", "fish"] {
        let output = place.run(&["docs", "completions", shell]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let script = String::from_utf8(output.stdout).unwrap();
        assert!(script.contains("raid456") && script.contains("status"), "{shell}");
        if shell == "bash" {
            let path = place.path("completion");
            fs::write(&path, script).unwrap();
            let checked = Command::new("bash").args(["-n", &path]).output().unwrap();
            assert!(checked.status.success() && checked.stderr.is_empty(), "{checked:?}");
        }
    }
}

/// Goal: what the unit, the container and the manifests start is a command line that there is. Method: each is
/// given to the real program, with `--help` behind it, which parses what is before it.
#[test]
fn command_lines_of_the_deployment_are_understood() {
    let text = |name: &str| fs::read_to_string(deploy(name)).unwrap();
    let unit = text("systemd/raid456.service");
    let unit = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
    let default = text("systemd/raid456.default");
    let more = default.lines().find_map(|line| line.strip_prefix("RAID456_ARGS=")).unwrap();
    let unit = unit.replace("$RAID456_ARGS", more.trim_matches('"'));
    let manifest = text("kubernetes/raid456.yaml");
    let args = manifest.split("args:").nth(1).unwrap().split("ports:").next().unwrap();
    let args: Vec<_> = args.lines().filter_map(|line| line.trim().strip_prefix("- ")).collect();
    let container = text("Containerfile");
    let words = container.split("CMD [").nth(1).unwrap().split(']').next().unwrap();
    let words: Vec<_> = words.split('"').skip(1).step_by(2).collect();
    for line in [unit.split_whitespace().skip(1).collect(), args, words] {
        let output = Command::new(PROGRAM).args(&line).arg("--help").output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{line:?}: {output:?}");
        assert!(line.contains(&"serve") && line.len() > 4, "{line:?}");
    }
}
