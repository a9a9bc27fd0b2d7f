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
        "trap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n\
         mount -t tmpfs none /run && mount -t tmpfs none /var/tmp && mkdir /run/raid456\n\
         serve() {{ rm -f ready; {PROGRAM} serve --cores 0 \"$@\" >ready & echo $! >pid\n\
           until grep -qs ready ready; do kill -0 $(cat pid); sleep 0.1; done; }}\n\
         end() {{ kill $(cat pid); wait $(cat pid); }}\n\
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

/// Goal: a service that is not told any cores keeps to its CPU quota, as in a container. Method: a mount
/// namespace with a control group of its own, of the version that this machine has; a quota of one and a half
/// CPUs, which is a reactor, and none, which is one for every core.
#[test]
fn a_cpu_quota_bounds_the_reactors() {
    let Some(unshare) = tools::find("unshare", "util-linux") else { return };
    let place = Place::new();
    let mut reactors = Vec::new();
    for (v1, v2) in [("150000", "150000"), ("-1", "max")] {
        let script = format!(
            "trap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n\
             mount -t tmpfs none /sys/fs/cgroup\n\
             v1=$(sed -nE 's/^[0-9]+:([^:]*,)?cpu(,[^:]*)?:(.*)/\\3/p' /proc/self/cgroup)\n\
             v2=$(sed -n 's/^0:://p' /proc/self/cgroup)\n\
             if [[ -n $v1 ]]; then group=/sys/fs/cgroup/cpu$v1; else group=/sys/fs/cgroup$v2; fi\n\
             mkdir -p $group; cd $group\n\
             if [[ -n $v1 ]]; then echo {v1} >cpu.cfs_quota_us; echo 100000 >cpu.cfs_period_us\n\
             else echo cpu >cgroup.controllers; echo {v2} 100000 >cpu.max; fi\n\
             cd $OLDPWD; rm -f said; {PROGRAM} serve --rpc-socket {} >said 2>log & pid=$!\n\
             until grep -s ready said; do kill -0 $pid; sleep 0.1; done; kill $pid; wait $pid\n",
            place.socket().display()
        );
        let mut command = Command::new(&unshare);
        command.args(["--mount", "--map-root-user", "bash", "-euc", &script]);
        command.current_dir(place.data());
        let output = output_of(command);
        assert!(output.status.success(), "{output:?}");
        let said = String::from_utf8(output.stdout).unwrap();
        let cores = said.split("on cores [").nth(1).unwrap().split(']').next().unwrap();
        reactors.push(cores.split(", ").count());
    }
    assert_eq!(reactors, [1, core_count()]);
}

/// The documents of a ConfigMap, by key.
fn config_map(manifest: &str) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    let mut inside = false;
    for line in manifest.lines() {
        if let Some(key) = line.trim().strip_suffix(": |") {
            found.push((key.to_owned(), String::new()));
            inside = true;
        } else if inside && line.starts_with("    ") {
            found.last_mut().unwrap().1.push_str(line);
        } else {
            inside = false;
        }
    }
    found
}

/// Goal: the configurations that the package and the manifests bring are ones that the service starts with.
/// Method: the real daemon, with files in place of the devices.
#[test]
fn configurations_of_the_deployment_are_served() {
    let text = |name: &str| fs::read_to_string(deploy(name)).unwrap();
    let manifest = text("kubernetes/raid456.yaml");
    let mut configs = config_map(&manifest);
    let names: Vec<_> = configs.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["node-a.json", "node-b.json"]);
    assert!(manifest.contains("--config=/etc/raid456/$(NODE_NAME).json"));
    configs.push(("package".to_owned(), text("systemd/config.json")));
    for ((name, config), bdevs) in configs.iter().zip([4, 3, 0]) {
        let place = Place::new();
        let device = "/dev/disk/by-id/nvme-EXAMPLE_";
        for part in config.split(device).skip(1) {
            place.file(part.split('"').next().unwrap(), 4 << 20);
        }
        let config = config.replace(device, &place.path(""));
        // Files have no block size of their own.
        let config = config.replace("\"filename\"", "\"block_size\": 4096, \"filename\"");
        let config = place.config_text(&config);
        let daemon = place.start_with_config(&config);
        assert_eq!(daemon.bdevs().len(), bdevs, "{name}");
        let transports = daemon.ask("nvmf_get_transports", serde_json::Value::Null);
        assert_eq!(transports.as_array().unwrap().len(), usize::from(name == "node-a.json"));
        daemon.stop();
    }
}

/// Goal: what is to be scraped in Kubernetes is a port of the Service, which is a port of the pods, all found by
/// labels that they have.
#[test]
fn the_service_monitor_finds_the_pods() {
    let text = |name: &str| fs::read_to_string(deploy(name)).unwrap();
    let (manifest, monitor) =
        (text("kubernetes/raid456.yaml"), text("kubernetes/servicemonitor.yaml"));
    let documents: Vec<_> = manifest.split("\n---\n").collect();
    let of_kind = |kind: &str| {
        let line = format!("kind: {kind}\n");
        *documents.iter().find(|document| document.contains(&line)).unwrap()
    };
    let label = "app.kubernetes.io/name: raid456";
    let (pods, service) = (of_kind("DaemonSet"), of_kind("Service"));
    assert_eq!(pods.matches(label).count(), 3, "metadata, selector, template");
    assert_eq!(service.matches(label).count(), 2, "metadata, selector");
    assert_eq!(monitor.matches(label).count(), 2, "metadata, selector");
    assert!(pods.contains("name: metrics, containerPort: 9456") && pods.contains("0.0.0.0:9456"));
    assert!(service.contains("name: metrics\n      port: 9456\n      targetPort: metrics"));
    assert!(monitor.contains("- port: metrics\n"));
    for document in [pods, service, &monitor] {
        assert!(document.contains("namespace: raid456\n"), "{document}");
    }
}

/// Cores that this process may use.
fn core_count() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap();
    list.trim().parse::<reactor::CpuSet>().unwrap().len()
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
    let args = manifest.split("args:").nth(1).unwrap().split("env:").next().unwrap();
    let args: Vec<_> = args.lines().filter_map(|line| line.trim().strip_prefix("- ")).collect();
    let container = text("Containerfile");
    let words = |number: usize| -> Vec<_> {
        let words = container.split("CMD [").nth(number).unwrap().split(']').next().unwrap();
        words.split('"').skip(1).step_by(2).collect()
    };
    for line in [unit.split_whitespace().skip(1).collect(), args, words(1)] {
        let output = Command::new(PROGRAM).args(&line).arg("--help").output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{line:?}: {output:?}");
        assert!(line.contains(&"serve") && line.len() > 4, "{line:?}");
    }
    // What says whether the container is well, and what the timer starts, against a service.
    let place = Place::new();
    let daemon = place.start();
    let scrub = text("systemd/raid456-scrub.service");
    let scrub = scrub.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
    let socket = place.socket().to_str().unwrap().to_owned();
    let scrub = scrub.replace(PACKAGED_SOCKET_PATH, &socket);
    for line in [words(2), scrub.split_whitespace().collect()] {
        let mut command = Command::new(PROGRAM);
        command.args(&line[1..]).env("RAID456_SOCKET", &socket);
        assert!(line[0] == "/usr/bin/raid456" && output_of(command).status.success(), "{line:?}");
    }
    daemon.stop();
}
