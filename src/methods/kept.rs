//! Calls of configuration and state that cannot be made yet: which are kept, and trying them again.
//!
//! ```text
//!   config: refused --+-- a device is not there, or does not answer, or another ---+--> kept
//!                     |   process has its file                                     |
//!                     +-- no such bdev, and one may come (a kept device, an array  +
//!                     |   that waits for members)                                  |
//!                     +-- a spare that has been needed, or another array's --------+
//!                     `-- anything else --> ends the start
//!   state:  refused ------------------------------------------------------------------> kept
//!
//!   kept --whenever something has changed, and every few seconds--> made
//!     |                                                        `--> somebody else has made it
//!     `-- its bdev is deleted --> forgotten
//! ```
//!
//! A start with a disk that is gone is the moment that redundancy is for, so it is no reason not to serve.
//! What is wrong in itself ends it as ever: nothing that comes later could make it right.
//!
//! A spare that was one once is no reason either: it may have served, and have failed, and the array that it carries
//! the superblock of runs without it. It is not overwritten, and it is told of.
//!
//! Invariants: a call that is tried again overwrites nothing, but for a spare that was given up for that by force. An
//! array with superblocks that is known is assembled, never made anew, and none is made by force over what its
//! members carry. Neither an array nor a spare is made of bdevs that somebody has used meanwhile: what is on them
//! may be that user's, and one that was away may be stale (**R8**).
//!
//! Not here: the list (`control::kept`), the files (`replay`, `state`).

use std::collections::BTreeSet;

use rpc::error::{INVALID_PARAMS, errno, errno_text};
use rpc::params as p;
use rpc::schema::Params;
use rpc::{Caller, RpcError};
use serde_json::Value;

use super::boot::Boot;
use super::{Context, find, save_nvmf};
use crate::control::{CallSource, Control, KeptCall};

/// Methods that open a file or block device.
const OPENING: [&str; 2] = ["bdev_uring_create", "bdev_aio_create"];

/// What is said of devices that are not there, or do not answer, and of files that another process has: the kernel
/// may have requests of the process before to a device that hangs.
const ABSENT: [i32; 6] =
    [errno::ENOENT, errno::EIO, errno::ENXIO, errno::ENODEV, errno::ETIMEDOUT, errno::EBUSY];

/// What is said of those that are there, and do not answer.
const DEAF: [i32; 2] = [errno::EIO, errno::ETIMEDOUT];

/// Targets that are arrays.
const ARRAYS: [&str; 3] = ["raid", "raid45", "raid456"];

/// Makes a call, as it stands in a file.
pub(super) fn make(control: &Control, call: &Value) -> Result<(), String> {
    let method = call["method"].as_str().unwrap_or_default();
    let handler = find(method).ok_or_else(|| format!("there is no method {method:?}"))?;
    let (caller, boot) = (Caller::default(), Boot::default());
    let context = Context { control, caller: &caller, boot: &boot };
    let params = call.get("params").filter(|params| !params.is_null()).cloned();
    (handler.run)(context, params).map(drop).map_err(|error| error.message)
}

/// Whether what refuses an entry of the configuration may go away by itself: a device that is not there, or
/// a bdev that such a device, or an array that waits for one, would bring.
pub(super) fn may_come(control: &Control, method: &str, call: &Value, error: &RpcError) -> bool {
    let is_one_of = |numbers: &[i32]| numbers.iter().any(|n| error.code == -i64::from(*n));
    if OPENING.contains(&method) {
        return is_one_of(&ABSENT);
    }
    if method == p::BdevRaidAddSpare::METHOD.name {
        let spare = call["params"]["base_bdev"].as_str().unwrap_or_default();
        let is_taken = is_one_of(&[errno::EEXIST, errno::EPERM]);
        if is_one_of(&DEAF) || is_taken && control.has_served(spare) {
            return true;
        }
    }
    // The target answers as SPDK's does, and gives the number in words.
    let in_words = || error.message.contains(&*errno_text(errno::ENODEV));
    let is_missed =
        is_one_of(&[errno::ENODEV, errno::ENXIO]) || error.code == INVALID_PARAMS && in_words();
    let device_is_kept = || {
        let kept = control.kept().all();
        kept.iter().any(|kept| OPENING.contains(&kept.method()))
    };
    let waits = || {
        let waiting = control.waiting_raids();
        waiting.iter().any(|raid| mentions(&call["params"], &raid.superblock.array_name))
    };
    is_missed && (device_is_kept() || waits())
}

/// Keeps a call.
pub(super) fn keep(control: &Control, source: CallSource, call: Value, reason: String) {
    let bdev = subject(&call);
    control.kept().add(KeptCall { source, call, bdev, reason });
}

/// Something may have changed: tries all of them again, once the service has started. Says whether one is
/// there now.
pub(super) fn retry(control: &Control) -> bool {
    if control.kept().is_empty() || !control.is_serving() {
        return false;
    }
    // Somebody else tries them already.
    let Some(_turn) = control.kept().turn() else { return false };
    let mut is_there = false;
    for kept in control.kept().all() {
        let (source, method, bdev) = (kept.source.word(), kept.method(), &*kept.bdev);
        let outcome = if is_over(control, &kept) { Ok(()) } else { again(control, &kept) };
        match outcome {
            Ok(()) => {
                tracing::info!(source, method, bdev, "what could not be made is there");
                is_there = true;
                control.kept().forget(|one| one.source == kept.source && one.call == kept.call);
                if OPENING.contains(&method) {
                    control.be_patient_again();
                }
            }
            Err(reason) if control.kept().refuse_again(&kept, &reason) => {
                tracing::warn!(source, method, bdev, reason, "it still cannot be made");
            }
            Err(_) => {}
        }
    }
    is_there
}

/// A bdev is not wanted any more, and so are calls that make it or are about it. Says whether one was to
/// make it.
pub(super) fn forget(control: &Control, name: &str) -> bool {
    let makes = |kept: &KeptCall| name_in(&kept.call).as_deref() == Some(name);
    let forgotten = control.kept().forget(makes);
    if forgotten {
        control.kept().forget(|kept| kept.bdev == name);
    }
    forgotten
}

/// The same for a subsystem.
pub(super) fn forget_subsystem(control: &Control, nqn: &str) {
    control.kept().forget(|kept| kept.call["params"]["nqn"].as_str() == Some(nqn));
}

/// Names of the bdevs that calls of the configuration are about: what becomes of them is its author's.
pub(super) fn configured(control: &Control) -> BTreeSet<String> {
    let calls = control.kept().of(CallSource::Config);
    calls.iter().filter_map(name_in).collect()
}

/// The subsystem and bdev of a call for a namespace.
pub(super) fn namespace_in(call: &Value) -> Option<(String, String)> {
    let is_one = call["method"] == p::NvmfSubsystemAddNs::METHOD.name;
    let text = |value: &Value| value.as_str().filter(|_| is_one).map(str::to_owned);
    let params = &call["params"];
    Some((text(&params["nqn"])?, text(&params["namespace"]["bdev_name"])?))
}

/// The name of the bdev that a call makes, or sets something of.
pub(super) fn name_in(call: &Value) -> Option<String> {
    let params = &call["params"];
    let error_bdev = || params["base_name"].as_str().map(|base| format!("EE_{base}"));
    let first_part = || {
        let is_split = call["method"] == "bdev_split_create";
        params["base_bdev"].as_str().filter(|_| is_split).map(|base| format!("{base}p0"))
    };
    params["name"].as_str().map(str::to_owned).or_else(error_bdev).or_else(first_part)
}

/// The bdev that a call is about.
fn subject(call: &Value) -> String {
    let base = || call["params"]["base_bdev"].as_str().map(str::to_owned);
    let namespace = || namespace_in(call).map(|(_, bdev)| bdev);
    name_in(call).or_else(base).or_else(namespace).unwrap_or_default()
}

/// Whether one of the words in there is this name.
fn mentions(value: &Value, name: &str) -> bool {
    match value {
        Value::String(text) => text == name || text.split_whitespace().any(|word| word == name),
        Value::Array(all) => all.iter().any(|value| mentions(value, name)),
        Value::Object(all) => all.values().any(|value| mentions(value, name)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Whether a call need not be made any more: somebody has made what it makes, as it was or otherwise.
fn is_over(control: &Control, kept: &KeptCall) -> bool {
    let call = &kept.call;
    if save_nvmf::nvmf_calls(control).contains(call)
        || save_nvmf::keyring_calls(control).contains(call)
    {
        return true;
    }
    if let Some((nqn, bdev)) = namespace_in(call) {
        let exports = control.nvmf().exports();
        return exports.iter().any(|(own, _, one)| own.as_str() == nqn && one.name() == bdev);
    }
    if kept.method() == p::BdevRaidAddSpare::METHOD.name {
        // What the state asks for somebody may have done otherwise; the configuration is its author's.
        let array = call["params"]["raid_bdev"].as_str();
        let array = array.filter(|_| kept.source == CallSource::Config);
        return control.serves(&kept.bdev, array);
    }
    let makes = kept.method().ends_with("_create");
    makes && name_in(call).is_some_and(|name| control.bdev(&name).is_ok())
}

/// Makes a call that was refused before, so that nothing is overwritten by it.
fn again(control: &Control, kept: &KeptCall) -> Result<(), String> {
    let mut call = kept.call.clone();
    let marked = raid_in(&call).filter(|raid| raid.superblock);
    if let Some(raid) = &marked {
        let waiting = control.waiting_raids();
        if waiting.iter().any(|waiting| waiting.superblock.array_name == raid.name) {
            // It is known, and is assembled when it can be.
            return Ok(());
        }
    }
    let used = |name: String| Some((control.was_used(&name)?, name));
    if let Some((how, name)) = overwritten_by(&call).into_iter().find_map(used) {
        return Err(format!(
            "bdev {name:?} {how}: what is on it may be needed, or what was away may be stale, so make the call \
             yourself, or delete the bdev that it is about"
        ));
    }
    if marked.is_some_and(|raid| raid.force) {
        call["params"]["force"] = false.into();
    }
    make(control, &call)
}

/// The array with its own method that a call makes.
fn raid_in(call: &Value) -> Option<p::BdevRaidCreate> {
    let is_one = call["method"] == p::BdevRaidCreate::METHOD.name;
    let params = call.get("params").filter(|_| is_one)?.clone();
    p::BdevRaidCreate::decode(Some(params)).ok().map(|decoded| decoded.params)
}

/// What a call writes to, or will: a spare; members, spares and log of the arrays that it makes, of a table every word.
fn overwritten_by(call: &Value) -> Vec<String> {
    if let Some(raid) = raid_in(call) {
        let spares = raid.spares.into_iter().flat_map(|spares| spares.0);
        return raid
            .base_bdevs
            .0
            .into_iter()
            .chain(spares)
            .chain([raid.log_bdev])
            .flatten()
            .collect();
    }
    if call["method"] == p::BdevRaidAddSpare::METHOD.name {
        return call["params"]["base_bdev"].as_str().map(str::to_owned).into_iter().collect();
    }
    let table = call["params"]["table"].as_str().unwrap_or_default();
    let lines = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let arrays = lines.filter(|words| words.get(2).is_some_and(|name| ARRAYS.contains(name)));
    arrays.flatten().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn calls_are_about_a_bdev() {
        let call = |method: &str, params: Value| json!({ "method": method, "params": params });
        let namespace = json!({ "nqn": "q", "namespace": { "bdev_name": "r" } });
        for (call, name, about) in [
            (call("bdev_null_create", json!({ "name": "n" })), Some("n"), "n"),
            (call("bdev_error_create", json!({ "base_name": "n" })), Some("EE_n"), "EE_n"),
            (call("bdev_split_create", json!({ "base_bdev": "n" })), Some("np0"), "np0"),
            (call("bdev_raid_add_spare", json!({ "base_bdev": "n" })), None, "n"),
            (call("nvmf_subsystem_add_ns", namespace), None, "r"),
            (json!({ "method": "bdev_wait_for_examine" }), None, ""),
        ] {
            assert_eq!((name_in(&call).as_deref(), &*subject(&call)), (name, about), "{call}");
        }
    }

    #[test]
    fn what_is_overwritten_is_known() {
        let raid = json!({ "method": "bdev_raid_create", "params": {
            "name": "r", "raid_level": "raid5", "strip_size_kb": 64, "base_bdevs": ["a", null, "b"],
            "spares": ["s"], "log_bdev": "l" } });
        assert_eq!(overwritten_by(&raid), ["a", "b", "s", "l"]);
        let spare = json!({ "method": "bdev_raid_add_spare", "params": { "base_bdev": "s" } });
        assert_eq!(overwritten_by(&spare), ["s"]);
        let table = "0 8 linear x 0\n8 24576 raid raid5_ls 1 128 3 - a - b - c";
        let mapped = json!({ "method": "dm_create", "params": { "name": "r", "table": table } });
        let members = overwritten_by(&mapped);
        assert!(members.contains(&"b".to_owned()) && !members.contains(&"x".to_owned()));
        assert!(mentions(&mapped, "c") && mentions(&raid, "b") && !mentions(&raid, "a b"));
    }
}
