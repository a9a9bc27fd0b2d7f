//! The bdevs that there are as calls that would make them again: what `save_config` saves.
//!
//! ```text
//!   creations, bases first --> spares that take force --> bdev_wait_for_examine --> limits and rates,
//!   which need the bdevs
//! ```
//!
//! Parameters are those of the methods' own types, so that what is saved can be loaded.
//!
//! Not here: what would have to be made (`control::recipe`), files (`state`).

use std::collections::BTreeSet;

use device::{BackendDetail, Latency, Limits};
use raid::coordinator::pace::Rates;
use raid::coordinator::{OnLogFailure as OnLog, OnMemberFailure as OnMember};
use raid::layout::Level;
use rpc::params as p;
use rpc::schema::Params;
use serde::Serialize;
use serde_json::{Value, json};

use crate::control::{BdevView, Claim, Control, Kind, RaidRequest, Recipe, Remade};

/// The subsystem that the calls are of.
pub(super) const SUBSYSTEM: &str = "bdev";

/// The calls that would make the bdevs of which `wanted` says so.
pub(super) fn calls(control: &Control, wanted: impl Fn(&BdevView) -> bool) -> Vec<Value> {
    let recipes = control.recipes();
    let is_wanted = |recipe: &&Recipe| wanted(&recipe.view);
    let mut calls: Vec<Value> = Vec::new();
    for recipe in recipes.iter().filter(is_wanted) {
        calls.extend(creation(recipe));
        let name = recipe.view.bdev.info().name.clone();
        if let Some(Claim::Spare { array: None, forced: force }) = recipe.view.claim {
            calls.push(call(p::BdevRaidAddSpare { base_bdev: name, raid_bdev: None, force }));
        }
    }
    let wanted: BTreeSet<_> =
        recipes.iter().filter(is_wanted).map(|it| it.view.bdev.name()).collect();
    calls.extend(recipes.iter().filter_map(|recipe| forced_spare(recipe, &wanted)));
    let settings = recipes.iter().filter(is_wanted).flat_map(settings).collect::<Vec<_>>();
    if !calls.is_empty() || !settings.is_empty() {
        calls.push(call(p::BdevWaitForExamine {}));
    }
    calls.extend(settings);
    calls
}

fn call<P: Params + Serialize>(params: P) -> Value {
    let method = P::METHOD.name;
    match serde_json::to_value(params) {
        Ok(Value::Object(params)) if params.is_empty() => json!({ "method": method }),
        // Parameters are plain values, which always have a form in JSON.
        params => json!({ "method": method, "params": params.unwrap_or_default() }),
    }
}

/// The call that makes the bdev; none for an array with superblocks.
fn creation(recipe: &Recipe) -> Option<Value> {
    let info = recipe.view.bdev.info();
    let (name, uuid) = (info.name.clone(), Some(info.uuid));
    let (block_size, num_blocks) = (info.block_size_bytes, info.num_blocks);
    Some(match recipe.kind {
        Kind::Null => created::<p::BdevNullCreate>(json!({
            "name": name, "block_size": block_size, "num_blocks": num_blocks, "uuid": uuid,
        })),
        Kind::Malloc => created::<p::BdevMallocCreate>(json!({
            "name": name, "block_size": block_size, "num_blocks": num_blocks, "uuid": uuid,
        })),
        Kind::Uring | Kind::Aio => file(recipe)?,
        Kind::Error => {
            let error = recipe.view.error.as_ref()?.snapshot();
            let (base_name, volatile_cache) = (error.base_bdev, error.volatile_cache);
            call(p::BdevErrorCreate { base_name, uuid, volatile_cache })
        }
        Kind::Delay => {
            let delay = recipe.view.delay.as_ref()?;
            let latency = |latency| delay.latency_us(latency);
            call(p::BdevDelayCreate {
                name,
                base_bdev_name: delay.base().info().name.clone(),
                avg_read_latency: latency(Latency::AvgRead),
                p99_read_latency: latency(Latency::P99Read),
                avg_write_latency: latency(Latency::AvgWrite),
                p99_write_latency: latency(Latency::P99Write),
                uuid,
            })
        }
        // One call makes them all.
        Kind::Split => {
            let part = recipe.view.part.as_ref().filter(|part| part.index == 0)?;
            call(p::BdevSplitCreate {
                base_bdev: part.bdev.base().info().name.clone(),
                split_count: part.count,
                split_size_mb: part.size_mib,
            })
        }
        Kind::Raid => call(array(recipe.raid.clone()?)),
        Kind::Mapped => {
            let Remade { uuid, minor, table, readonly, log_failed, .. } = recipe.mapped.clone()?;
            let bdev_uuid = Some(info.uuid);
            let uuid = (!uuid.is_empty()).then_some(uuid);
            call(p::DmCreate {
                name,
                table,
                uuid,
                bdev_uuid,
                minor,
                readonly,
                // Whoever keeps it knows.
                dirty: None,
                log_failed,
            })
        }
    })
}

/// The call for a spare of an array that is wanted, if it takes force.
fn forced_spare(recipe: &Recipe, wanted: &BTreeSet<String>) -> Option<Value> {
    let Some(Claim::Spare { array: Some(array), forced: true }) = &recipe.view.claim else {
        return None;
    };
    let (base_bdev, raid_bdev) = (recipe.view.bdev.name(), Some(array.clone()));
    let params = p::BdevRaidAddSpare { base_bdev, raid_bdev, force: true };
    wanted.contains(array).then(|| call(params))
}

/// A call with these parameters and the defaults of the others.
fn created<P: Params + Serialize>(given: Value) -> Value {
    let method = P::METHOD.name;
    json!({ "method": method, "params": given })
}

fn file(recipe: &Recipe) -> Option<Value> {
    let info = recipe.view.bdev.info();
    let (name, uuid) = (info.name.clone(), Some(info.uuid));
    let text = |path: &std::path::Path| path.to_string_lossy().into_owned();
    Some(match &info.detail {
        BackendDetail::Uring { filename, .. } => call(p::BdevUringCreate {
            name,
            filename: text(filename),
            block_size: info.block_size_bytes,
            uuid,
            create_size_mib: None,
        }),
        BackendDetail::Aio { filename, block_size_override, readonly, fallocate, .. } => {
            call(p::BdevAioCreate {
                name,
                filename: text(filename),
                block_size: if *block_size_override { info.block_size_bytes } else { 0 },
                readonly: *readonly,
                fallocate: *fallocate,
                uuid,
                nowait: false,
                create_size_mib: None,
            })
        }
        BackendDetail::None | BackendDetail::Null | BackendDetail::Malloc => return None,
    })
}

fn array(request: RaidRequest) -> p::BdevRaidCreate {
    let offsets = request.data_offsets_sectors;
    let spares: Vec<_> = request.spares.into_iter().map(Some).collect();
    p::BdevRaidCreate {
        name: request.name,
        raid_level: match request.level {
            Level::Raid4 => p::RaidLevel::Raid4,
            Level::Raid5 => p::RaidLevel::Raid5,
            Level::Raid6 => p::RaidLevel::Raid6,
        },
        strip_size_kb: request.strip_size_kib,
        base_bdevs: p::BaseBdevs(request.members),
        layout: request.layout,
        uuid: request.uuid,
        superblock: request.superblock,
        data_offset: offsets.iter().any(|at| *at != 0).then_some(p::DataOffset::Each(offsets)),
        assume_clean: request.assume_clean,
        parity_device: request.parity_slot,
        log_bdev: request.log,
        region_size_kb: request.region_size_kib,
        on_log_failure: request.on_log_failure.map(|word| match word {
            OnLog::Continue => p::OnLogFailure::Continue,
            OnLog::Block => p::OnLogFailure::Block,
        }),
        on_failure: match request.on_member_failure {
            OnMember::Hold => p::OnFailure::Hold,
            OnMember::Continue => p::OnFailure::Continue,
        },
        io_timeout_s: request
            .io_timeout
            .map(|limit| limit.as_secs().try_into().unwrap_or(u32::MAX)),
        force: request.force,
        // Whoever keeps it knows.
        dirty: None,
        log_failed: request.before.log_failed,
        spares: (!spares.is_empty()).then_some(p::BaseBdevs(spares)),
    }
}

/// The calls that set what a bdev is not made with.
fn settings(recipe: &Recipe) -> Vec<Value> {
    let name = || recipe.view.bdev.info().name.clone();
    let mut calls = Vec::new();
    if let Some(Rates { min_bytes_per_s, max_bytes_per_s, .. }) = recipe.rates {
        calls.push(call(p::BdevRaidSetRates {
            name: name(),
            min_kb_per_s: Some(min_bytes_per_s / 1024),
            // 0 is no limit.
            max_kb_per_s: Some(if max_bytes_per_s == u64::MAX {
                0
            } else {
                max_bytes_per_s / 1024
            }),
        }));
    }
    if recipe.limits.is_limited() {
        let Limits { rw_ios, rw_bytes, r_bytes, w_bytes } = recipe.limits;
        calls.push(call(p::BdevSetQosLimit {
            name: name(),
            rw_ios_per_sec: Some(rw_ios),
            rw_mbytes_per_sec: Some(rw_bytes >> 20),
            r_mbytes_per_sec: Some(r_bytes >> 20),
            w_mbytes_per_sec: Some(w_bytes >> 20),
        }));
    }
    calls
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use reactor::CpuSet;

    use super::*;
    use crate::control::Options;
    use crate::methods::{Boot, Methods};
    use rpc::Service;

    fn control() -> Arc<Control> {
        let options =
            Options { cores: CpuSet::single(0), buffer_bytes: 8 << 20, ..Options::default() };
        let control = Control::start(options).unwrap();
        control.finish_startup();
        control
    }

    fn methods(control: &Arc<Control>) -> Methods {
        Methods::new(Arc::clone(control), Arc::new(Boot::default()))
    }

    /// Goal: calls that are saved make what was there, and are what is saved then. Method: every kind
    /// in memory, in an order in which bases come late, twice.
    #[test]
    fn what_is_saved_can_be_loaded() {
        let first = control();
        let service = methods(&first);
        let ask = |service: &Methods, method: &str, params: Value| {
            let shown = params.to_string();
            service.call(method, Some(params)).unwrap_or_else(|e| panic!("{method} {shown}: {e}"))
        };
        for name in ["a", "b", "c", "d", "e", "pool"] {
            let params = json!({ "name": name, "block_size": 4096, "num_blocks": 2050 });
            ask(&service, "bdev_malloc_create", params);
        }
        let split = json!({ "base_bdev": "d", "split_count": 5, "split_size_mb": 2 });
        assert_eq!(ask(&service, "bdev_split_create", split), json!(["dp0", "dp1", "dp2", "dp3"]));
        ask(&service, "bdev_error_create", json!({ "base_name": "a", "volatile_cache": true }));
        ask(
            &service,
            "bdev_raid_create",
            json!({ "name": "r", "raid_level": "raid5", "strip_size_kb": 64, "log_bdev": "dp1",
                    "base_bdevs": ["EE_a", "b", "c"], "data_offset": [8, 16, 8], "layout": "ra",
                    "spares": ["e"], "io_timeout_s": 7, "assume_clean": true }),
        );
        ask(&service, "bdev_raid_add_spare", json!({ "base_bdev": "pool" }));
        ask(
            &service,
            "bdev_null_create",
            json!({ "name": "n", "block_size": 512, "num_blocks": 9 }),
        );
        ask(
            &service,
            "bdev_delay_create",
            json!({ "name": "slow", "base_bdev_name": "n", "avg_read_latency": 1,
                    "p99_read_latency": 2, "avg_write_latency": 3, "p99_write_latency": 4 }),
        );
        ask(&service, "bdev_set_qos_limit", json!({ "name": "r", "r_mbytes_per_sec": 10 }));
        ask(&service, "bdev_raid_set_rates", json!({ "name": "r", "min_kb_per_s": 1024 }));

        let saved = calls(&first, |_| true);
        let listed = ask(&service, "bdev_get_bdevs", json!({}));
        let second = control();
        let again = methods(&second);
        for call in &saved {
            let method = call["method"].as_str().unwrap();
            ask(&again, method, call.get("params").cloned().unwrap_or(json!({})));
        }
        assert_eq!(calls(&second, |_| true), saved);
        let names = |bdevs: &Value| {
            let view = |bdev: &Value| {
                let of = |key: &str| bdev[key].to_string();
                [
                    of("name"),
                    of("uuid"),
                    of("num_blocks"),
                    of("assigned_rate_limits"),
                    of("claimed"),
                ]
            };
            let mut views: Vec<_> = bdevs.as_array().unwrap().iter().map(view).collect();
            views.sort();
            views
        };
        assert_eq!(names(&ask(&again, "bdev_get_bdevs", json!({}))), names(&listed));
        assert!(saved.iter().any(|call| call["method"] == "bdev_set_qos_limit"));
        assert_eq!(calls(&second, |view| view.bdev.name() == "n").len(), 2);
        first.shutdown().unwrap();
        second.shutdown().unwrap();
    }
}
