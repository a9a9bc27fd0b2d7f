//! Mapped devices on a real daemon.
//!
//! | file | what |
//! |---|---|
//! | `conformance` | every table and status line of a Linux kernel, through the verbs |
//! | `history` | what became of a Linux kernel's arrays, moment by moment |
//! | `verbs` | each verb: what it does, what it refuses, what it leaves behind |
//! | `dmsetup` | a session with the real dmsetup, word for word |
//! | `effects` | what targets and messages do to reads and writes |
//! | `turns` | arrays that share a bdev |
//! | `cli` | `raid456 dm`: dmsetup's words in, dmsetup's forms out |
//! | `reload` | tables that change under verified load |
//!
//! Not here: the language (`src/dm`), queueing (crate `device`).

mod cli;
mod conformance;
mod dmsetup;
mod effects;
mod history;
mod reload;
mod turns;
mod verbs;

use std::sync::mpsc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::daemon::Daemon;

/// RAM disks of 16 MiB, named as a kernel numbers them: 1:0 and so on.
fn ram_disks(daemon: &Daemon, numbers: impl IntoIterator<Item = u32>) {
    for number in numbers {
        ram_disk(daemon, number);
    }
}

fn ram_disk(daemon: &Daemon, number: u32) {
    let params = json!({ "name": format!("1:{number}"), "block_size": 512, "num_blocks": 32768 });
    daemon.ask("bdev_malloc_create", params);
}

/// Lets time pass.
fn wait(time: Duration) {
    let (_keep, never) = mpsc::channel::<()>();
    let _ = never.recv_timeout(time);
}

/// What a device's only target says, by method: dm_status or dm_table.
fn line(daemon: &Daemon, method: &str, name: &str) -> String {
    let told = daemon.ask(method, json!({ "name": name }));
    let lines: Vec<String> = told[0]["targets"].as_array().unwrap().iter().map(text).collect();
    lines.join("\n")
}

fn text(target: &Value) -> String {
    let word = |key: &str| target[key].as_str().unwrap().to_owned();
    let text = word("text");
    let blank = if text.is_empty() { "" } else { " " };
    format!("{} {} {}{blank}{text}", target["start"], target["length"], word("target"))
}
