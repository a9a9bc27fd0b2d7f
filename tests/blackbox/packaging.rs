//! What the service is delivered with: the systemd unit, its protocol, manual pages, completions, manifests.
//!
//! Not here: building the Debian package (`.ci/run package`).

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use raid456::cli::socket::{PACKAGED_SOCKET_PATH, SOCKET_PATH};
use rustix::process::Signal;

use crate::daemon::{PATIENCE, PROGRAM, Place, output_of};
use crate::tools;

fn deploy(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(name)
}

/// The unit files in a directory of their own, with the program where it is here.
fn units(place: &Place) -> Vec<String> {
    let names = ["raid456.service", "raid456-scrub.service", "raid456-scrub.timer"];
    let copy = |name: &str| {
        let text = fs::read_to_string(deploy(&format!("systemd/{name}"))).unwrap();
        assert_eq!(text.contains("ExecStart=/usr/bin/raid456 "), name.ends_with(".service"));
        let unit = place.path(name);
        fs::write(&unit, text.replace("/usr/bin/raid456", PROGRAM)).unwrap();
        unit
    };
    names.map(copy).into()
}

/// Goal: systemd finds nothing wrong with the units, and the sandboxes are what they claim to be. Method: with
/// the program where it is here; the exposure, which systemd reckons from 0 to 10, may be 2.
#[test]
fn the_units_are_well_formed_and_closed() {
    let Some(analyze) = tools::find("systemd-analyze", "systemd") else { return };
    let place = Place::new();
    for unit in units(&place) {
        let verify = &["verify", "--man=no"][..];
        let security = &["security", "--offline=yes", "--threshold=20", "--no-pager"][..];
        let checks = if unit.ends_with(".timer") { vec![verify] } else { vec![verify, security] };
        for words in checks {
            let output = Command::new(&analyze).args(words).arg(&unit).output().unwrap();
            let ours = String::from_utf8_lossy(&output.stderr);
            let ours: Vec<_> = ours.lines().filter(|line| line.contains("raid456")).collect();
            assert!(output.status.success() && ours.is_empty(), "{words:?} {unit}: {output:?}");
        }
    }
}

/// Goal: the monthly check comes and goes with the service, on a Sunday in the first week of a month, and can
/// be left out. Method: systemctl on a root of its own, and systemd's reading of the calendar.
#[test]
fn the_check_is_enabled_with_the_service() {
    let Some(systemctl) = tools::find("systemctl", "systemd") else { return };
    let Some(analyze) = tools::find("systemd-analyze", "systemd") else { return };
    let place = Place::new();
    let directory = place.path("root/usr/lib/systemd/system");
    fs::create_dir_all(&directory).unwrap();
    for unit in units(&place) {
        fs::rename(&unit, Path::new(&directory).join(Path::new(&unit).file_name().unwrap()))
            .unwrap();
    }
    let wanted = place.path("root/etc/systemd/system/raid456.service.wants/raid456-scrub.timer");
    for (words, there) in [
        (["enable", "raid456.service"], true),
        (["disable", "raid456-scrub.timer"], false),
        (["enable", "raid456-scrub.timer"], true),
        (["disable", "raid456.service"], false),
    ] {
        let root = format!("--root={}", place.path("root"));
        let output = Command::new(&systemctl).arg(root).args(words).output().unwrap();
        assert!(output.status.success(), "{words:?}: {output:?}");
        assert_eq!(fs::symlink_metadata(&wanted).is_ok(), there, "{words:?}: {output:?}");
    }
    let timer = fs::read_to_string(deploy("systemd/raid456-scrub.timer")).unwrap();
    let when = timer.lines().find_map(|line| line.strip_prefix("OnCalendar=")).unwrap();
    let mut command = Command::new(analyze);
    command.args(["calendar", "--base-time=2026-01-01", "--iterations=2", when]);
    let output = command.env("TZ", "UTC").output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("Sun 2026-01-04 01:00:00"), "{said}");
    assert!(said.contains("Sun 2026-02-01 01:00:00"), "{said}");
}

/// Goal: what is packaged has its socket where clients look for it by themselves, first, and lets the group in
/// that the directory of the socket lets in.
#[test]
fn the_packaged_socket_is_where_clients_look() {
    let text = |name: &str| fs::read_to_string(deploy(name)).unwrap();
    for file in ["systemd/raid456.service", "Containerfile", "kubernetes/raid456.yaml"] {
        let text = text(file).replace("\", \"", " ").replace('=', " ");
        assert!(text.contains(&format!("--rpc-socket {PACKAGED_SOCKET_PATH}")), "{file}");
    }
    let unit = text("systemd/raid456.service");
    for setting in ["--rpc-socket-mode 0660 ", "RuntimeDirectoryMode=0750", "Group=raid456"] {
        assert!(unit.contains(setting), "{setting}");
    }
    let Some(unshare) = tools::find("unshare", "util-linux") else { return };
    let place = Place::new();
    let script = format!(
        "mount -t tmpfs none /run && mount -t tmpfs none /var/tmp && mkdir /run/raid456\n\
         serve() {{ {PROGRAM} serve --cores 0 \"$@\" >ready & echo $! >pid\n\
           until grep -q ready ready; do kill -0 $(cat pid); sleep 0.1; done; }}\n\
         end() {{ kill $(cat pid); wait $(cat pid); rm -f ready; }}\n\
         if {PROGRAM} status; then exit 1; fi\n\
         serve; {PROGRAM} status; {PROGRAM} rpc spdk_get_version; {PROGRAM} dm ls; {PROGRAM} scrub\n\
         cp -a pid other\n\
         serve --rpc-socket {PACKAGED_SOCKET_PATH} --rpc-socket-mode 0660\n\
         {PROGRAM} status --json | grep \"\\\"pid\\\": $(cat pid)\"\n\
         stat -c 'mode %a' {PACKAGED_SOCKET_PATH}\n\
         end; {PROGRAM} status --json | grep \"\\\"pid\\\": $(cat other)\"\n\
         mv other pid; end\n"
    );
    let mut command = Command::new(unshare);
    command.args(["--mount", "--map-root-user", "bash", "-euc", &script]).current_dir(place.data());
    command.env_remove("RAID456_SOCKET").env("XDG_RUNTIME_DIR", "/nowhere");
    let output = output_of(command);
    let errors = String::from_utf8_lossy(&output.stderr);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}\n{errors}\n{said}", output.status);
    assert!(said.contains("mode 660"), "{said}");
    for path in [PACKAGED_SOCKET_PATH, SOCKET_PATH] {
        assert!(errors.contains(&format!("{path}: No such file or directory")), "{errors}");
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
    for page in ["raid456", "raid456-serve", "raid456-rpc", "raid456-status", "raid456-scrub"] {
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
