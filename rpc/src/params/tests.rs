//! The registry and the decoders: SPDK's schema as a table, and every way to get a value wrong.

use serde_json::{Value, json};
use uuid::Uuid;

use super::*;
use crate::error::INVALID_PARAMS;
use crate::schema::{Field, Phase, Type};

/// SPDK's parameters (`schema/schema.yaml`, 26.09-pre) of the methods that we have in common, as
/// "name:type", with a `!` after those that are required there. Methods of ours have none.
const UPSTREAM: &[(&str, &str)] = &[
    ("rpc_get_methods", "current:boolean include_aliases:boolean"),
    ("spdk_get_version", ""),
    ("spdk_kill_instance", "sig_name:enum!"),
    ("framework_start_init", ""),
    ("framework_wait_init", ""),
    ("framework_get_subsystems", ""),
    ("framework_get_config", "name:string! with_batches:boolean"),
    ("framework_get_reactors", ""),
    ("framework_get_scheduler", ""),
    (
        "framework_set_scheduler",
        "name:string! period:uint64 load_limit:uint8 core_limit:uint8 core_busy:uint8 \
         mappings:string",
    ),
    ("framework_monitor_context_switch", "enabled:boolean"),
    ("thread_get_stats", ""),
    ("thread_get_pollers", ""),
    ("thread_get_io_channels", ""),
    ("thread_set_cpumask", "id:uint64! cpumask:string!"),
    ("log_set_level", "level:enum!"),
    ("log_get_level", ""),
    ("log_set_print_level", "level:enum!"),
    ("log_get_print_level", ""),
    ("log_set_flag", "flag:string!"),
    ("log_clear_flag", "flag:string!"),
    ("log_get_flags", ""),
    ("log_enable_timestamps", "enabled:boolean!"),
    ("notify_get_types", ""),
    ("notify_get_notifications", "id:uint64 max:uint64"),
    (
        "iobuf_set_options",
        "small_pool_count:uint64 large_pool_count:uint64 small_bufsize:uint32 large_bufsize:uint32 \
         enable_numa:boolean",
    ),
    ("iobuf_get_stats", ""),
    (
        "bdev_set_options",
        "bdev_io_pool_size:uint32 bdev_io_cache_size:uint32 bdev_auto_examine:boolean \
         iobuf_small_cache_size:uint32 iobuf_large_cache_size:uint32",
    ),
    ("bdev_get_iostat", "names:array name:string per_channel:boolean reset_mode:enum"),
    ("bdev_reset_iostat", "name:string mode:enum"),
    (
        "bdev_enable_histogram",
        "name:string! enable:boolean! opc:string granularity:uint8 min_nsec:uint64 max_nsec:uint64",
    ),
    ("bdev_get_histogram", "name:string!"),
    ("bdev_get_histogram_borders", "name:string! borders:array!"),
    (
        "bdev_set_qos_limit",
        "name:string! rw_ios_per_sec:uint64 rw_mbytes_per_sec:uint64 r_mbytes_per_sec:uint64 \
         w_mbytes_per_sec:uint64",
    ),
    ("bdev_aio_rescan", "name:string!"),
    ("bdev_uring_rescan", "name:string!"),
    ("bdev_null_resize", "name:string! new_size:uint64!"),
    ("bdev_raid_add_base_bdev", "raid_bdev:string! base_bdev:string!"),
    ("bdev_raid_add_spare", ""),
    ("bdev_raid_set_trace", ""),
    ("raid456_get_status", ""),
    ("bdev_raid_assemble", ""),
    ("bdev_raid_message", ""),
    ("bdev_raid_set_rates", ""),
    ("bdev_raid_set_options", "process_window_size_kb:uint32 process_max_bandwidth_mb_sec:uint32"),
    ("bdev_examine", "name:string!"),
    ("bdev_wait_for_examine", ""),
    ("dm_create", ""),
    ("dm_table_load", ""),
    ("dm_table_clear", ""),
    ("dm_suspend", ""),
    ("dm_resume", ""),
    ("dm_remove", ""),
    ("dm_rename", ""),
    ("dm_message", ""),
    ("dm_status", ""),
    ("dm_table", ""),
    ("dm_deps", ""),
    ("dm_info", ""),
    ("dm_ls", ""),
    ("dm_wait", ""),
    ("dm_targets", ""),
    ("bdev_get_bdevs", "name:string timeout:uint64"),
    (
        "bdev_null_create",
        "name:string! block_size:uint32! num_blocks:uint64! uuid:uuid physical_block_size:uint32 \
         md_size:uint32 dif_type:int32 dif_pi_format:uint32 dif_is_head_of_md:boolean \
         preferred_write_granularity:uint32 preferred_write_alignment:uint32 \
         optimal_write_size:uint32 preferred_unmap_granularity:uint32 \
         preferred_unmap_alignment:uint32",
    ),
    ("bdev_null_delete", "name:string!"),
    (
        "bdev_malloc_create",
        "name:string block_size:uint32! num_blocks:uint64! uuid:uuid optimal_io_boundary:uint32 \
         md_size:uint32 md_interleave:boolean dif_type:int32 dif_is_head_of_md:boolean \
         physical_block_size:uint32 dif_pi_format:uint32 numa_id:int32",
    ),
    ("bdev_malloc_delete", "name:string!"),
    ("bdev_uring_create", "filename:string! name:string! block_size:uint32 uuid:uuid"),
    ("bdev_uring_delete", "name:string!"),
    (
        "bdev_aio_create",
        "name:string! filename:string! block_size:uint32 readonly:boolean fallocate:boolean \
         uuid:uuid nowait:boolean",
    ),
    ("bdev_aio_delete", "name:string!"),
    ("bdev_error_create", "base_name:string! uuid:uuid"),
    ("bdev_error_delete", "name:string!"),
    (
        "bdev_error_inject_error",
        "name:string! io_type:enum! error_type:enum! nvme_sct:uint32 nvme_sc:uint32 num:uint32 \
         queue_depth:uint64 corrupt_offset:uint64 corrupt_value:uint8",
    ),
    ("bdev_error_resume_pending", "name:string!"),
    ("bdev_error_lose_power", ""),
    ("bdev_error_restore_power", ""),
    (
        "bdev_delay_create",
        "name:string! base_bdev_name:string! avg_read_latency:uint64! p99_read_latency:uint64! \
         avg_write_latency:uint64! p99_write_latency:uint64! uuid:uuid",
    ),
    ("bdev_delay_update_latency", "delay_bdev_name:string! latency_type:enum! latency_us:uint64!"),
    ("bdev_delay_delete", "name:string!"),
    ("bdev_split_create", "base_bdev:string! split_count:uint32! split_size_mb:uint64"),
    ("bdev_split_delete", "base_bdev:string!"),
    (
        "bdev_raid_create",
        "name:string! strip_size_kb:uint32 raid_level:enum! base_bdevs:array! uuid:uuid \
         superblock:boolean",
    ),
    ("bdev_raid_get_bdevs", "category:enum!"),
    ("bdev_raid_delete", "name:string! clear_sb:boolean"),
    ("bdev_raid_remove_base_bdev", "name:string!"),
    (
        "nvmf_set_config",
        "admin_cmd_passthru:object poll_groups_mask:string discovery_filter:string \
         discovery_filters:array dhchap_digests:array dhchap_dhgroups:array \
         dup_host_policy:enum",
    ),
    ("nvmf_set_max_subsystems", "max_subsystems:uint32!"),
    (
        "nvmf_create_transport",
        "trtype:string! tgt_name:string max_queue_depth:uint16 \
         max_io_qpairs_per_ctrlr:uint16 in_capsule_data_size:uint32 max_io_size:uint32 \
         io_unit_size:uint32 max_aq_depth:uint32 num_shared_buffers:uint32 \
         buf_cache_size:uint32 iobuf_small_cache_size:uint32 iobuf_large_cache_size:uint32 \
         zcopy:boolean num_cqe:int32 max_srq_depth:uint32 no_srq:boolean c2h_success:boolean \
         dif_insert_or_strip:boolean sock_priority:uint32 acceptor_backlog:int32 \
         abort_timeout_sec:uint32 no_wr_batching:boolean control_msg_num:uint16 \
         disable_mappable_bar0:boolean disable_adaptive_irq:boolean \
         disable_shadow_doorbells:boolean acceptor_poll_rate:uint32 ack_timeout:uint32 \
         data_wr_pool_size:uint32 disable_command_passthru:boolean kas:uint16 \
         min_kato:uint32 masked_oncs:array masked_fuses:array",
    ),
    ("nvmf_get_transports", "tgt_name:string trtype:string"),
    (
        "nvmf_create_subsystem",
        "nqn:string! tgt_name:string serial_number:string model_number:string \
         admin_label:string max_namespaces:uint32 allow_any_host:boolean \
         ana_reporting:boolean min_cntlid:uint16 max_cntlid:uint16 dmrsl:uint32 wzsl:uint8 \
         passthrough:boolean enable_nssr:boolean",
    ),
    ("nvmf_delete_subsystem", "nqn:string! tgt_name:string"),
    ("nvmf_get_subsystems", "nqn:string tgt_name:string"),
    ("nvmf_subsystem_add_ns", "nqn:string! namespace:object! tgt_name:string"),
    ("nvmf_subsystem_remove_ns", "nqn:string! nsid:uint32! tgt_name:string"),
    (
        "nvmf_subsystem_add_listener",
        "nqn:string! tgt_name:string listen_address:object! secure_channel:boolean \
         ana_state:enum sock_impl:string numa_id:int32",
    ),
    ("nvmf_subsystem_remove_listener", "nqn:string! tgt_name:string listen_address:object!"),
    ("nvmf_subsystem_get_listeners", "nqn:string! tgt_name:string"),
    (
        "nvmf_subsystem_listener_set_ana_state",
        "nqn:string! tgt_name:string listen_address:object! ana_state:enum! anagrpid:uint32",
    ),
    (
        "nvmf_subsystem_add_host",
        "nqn:string! host:string! tgt_name:string psk:string dhchap_key:string \
         dhchap_ctrlr_key:string",
    ),
    ("nvmf_subsystem_remove_host", "nqn:string! host:string! tgt_name:string timeout_ms:uint64"),
    ("nvmf_subsystem_allow_any_host", "nqn:string! allow_any_host:boolean! tgt_name:string"),
    (
        "nvmf_subsystem_set_keys",
        "nqn:string! host:string! tgt_name:string dhchap_key:string dhchap_ctrlr_key:string",
    ),
    ("nvmf_subsystem_get_controllers", "nqn:string! tgt_name:string"),
    ("nvmf_subsystem_get_qpairs", "nqn:string! tgt_name:string"),
    ("nvmf_get_stats", "tgt_name:string"),
    ("keyring_file_add_key", "name:string! path:string!"),
    ("keyring_file_remove_key", "name:string!"),
    ("keyring_get_keys", ""),
];

/// Ours, and only ours.
const EXTENSIONS: &[(&str, &[&str])] = &[
    ("bdev_uring_create", &["create_size_mib"]),
    ("bdev_aio_create", &["create_size_mib"]),
    ("bdev_error_create", &["volatile_cache"]),
    ("bdev_error_inject_error", &["offset_blocks", "num_blocks", "until_written"]),
    ("bdev_error_lose_power", &["name", "seed"]),
    ("bdev_error_restore_power", &["name"]),
    (
        "bdev_raid_create",
        &[
            "layout",
            "data_offset",
            "assume_clean",
            "parity_device",
            "log_bdev",
            "region_size_kb",
            "on_log_failure",
            "on_failure",
            "io_timeout_s",
            "force",
            "dirty",
            "log_failed",
            "spares",
        ],
    ),
    ("bdev_raid_add_base_bdev", &["force"]),
    ("bdev_raid_add_spare", &["base_bdev", "raid_bdev", "force"]),
    (
        "dm_create",
        &["name", "table", "uuid", "bdev_uuid", "minor", "readonly", "dirty", "log_failed"],
    ),
    ("dm_table_load", &["name", "table"]),
    ("dm_table_clear", &["name"]),
    ("dm_suspend", &["name", "noflush"]),
    ("dm_resume", &["name"]),
    ("dm_remove", &["name", "deferred", "force"]),
    ("dm_rename", &["name", "new_name", "new_uuid"]),
    ("dm_message", &["name", "message", "sector"]),
    ("dm_status", &["name", "target"]),
    ("dm_table", &["name", "target", "inactive"]),
    ("dm_deps", &["name"]),
    ("dm_info", &["name"]),
    ("dm_ls", &["target"]),
    ("dm_wait", &["name", "event_nr", "timeout_s"]),
    ("bdev_raid_assemble", &["name", "force"]),
    ("bdev_raid_message", &["name", "message"]),
    ("bdev_raid_set_rates", &["name", "min_kb_per_s", "max_kb_per_s"]),
    ("bdev_raid_set_trace", &["name", "enable", "requests"]),
    ("bdev_raid_remove_base_bdev", &["base_bdev", "raid_bdev"]),
];

fn upstream_type(ty: Type) -> &'static str {
    match ty {
        Type::Bool => "boolean",
        Type::I32 => "int32",
        Type::U8 => "uint8",
        Type::U16 => "uint16",
        Type::Object(_) => "object",
        Type::U32 => "uint32",
        Type::U64 => "uint64",
        Type::Text => "string",
        Type::Uuid => "uuid",
        Type::Word(_) | Type::RaidLevel => "enum",
        Type::BaseBdevs | Type::Names | Type::Numbers => "array",
        Type::DataOffset => "ours",
    }
}

#[test]
fn every_method_takes_what_spdks_takes() {
    assert_eq!(METHODS.len(), UPSTREAM.len());
    for (name, params) in UPSTREAM {
        let method = find(name).unwrap();
        let mut known = 0;
        for param in params.split_whitespace() {
            let (key, ty) = param.trim_end_matches('!').split_once(':').unwrap();
            let field = method.field(key).unwrap_or_else(|| panic!("{name}: no {key}"));
            assert_eq!(upstream_type(field.ty), ty, "{name}: {key}");
            // Where SPDK does without, so do we; a strip size has no sensible default.
            let optional = !param.ends_with('!') && key != "strip_size_kb";
            assert!(!(field.required && optional), "{name}: {key} is required");
            known += 1;
        }
        let ours = EXTENSIONS.iter().find(|(method, _)| method == name).map_or(&[][..], |e| e.1);
        assert_eq!(method.params.len(), known + ours.len(), "{name}");
        assert!(ours.iter().all(|key| method.field(key).is_some()), "{name}");
    }
}

#[test]
fn every_declared_method_is_registered_once() {
    let sources = [
        include_str!("framework.rs"),
        include_str!("bdev.rs"),
        include_str!("dm.rs"),
        include_str!("faults.rs"),
        include_str!("log.rs"),
        include_str!("nvmf.rs"),
        include_str!("stats.rs"),
        include_str!("raid.rs"),
        include_str!("threads.rs"),
        include_str!("split.rs"),
        include_str!("status.rs"),
    ];
    let declared: usize = sources.iter().map(|source| source.matches("#[method(").count()).sum();
    assert_eq!(declared, METHODS.len());

    let mut names: Vec<&str> = METHODS.iter().map(|method| method.name).collect();
    names.extend(METHODS.iter().flat_map(|method| method.aliases));
    let all = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), all);
    assert!(all > METHODS.len(), "aliases are part of the registry");
}

#[test]
fn every_method_and_parameter_is_explained() {
    for method in METHODS {
        assert!(method.doc.summary().ends_with('.'), "{}", method.name);
        assert!(!method.result.is_empty(), "{}", method.name);
        for field in method.params {
            let text = field.doc.to_string();
            assert!(text.ends_with('.') && text.len() > 10, "{}: {}", method.name, field.name);
            assert!(!(field.required && field.default.is_some()));
        }
    }
}

#[test]
fn an_explanation_is_one_line() {
    let delete = find("bdev_raid_delete").unwrap();
    assert_eq!(delete.doc.summary(), "Removes an array.");
    assert_eq!(
        delete.doc.to_string(),
        "Removes an array. Its members keep what is on them. An unknown name is -19."
    );
}

/// A value that a parameter takes.
fn sample(field: &Field) -> Value {
    match field.ty {
        Type::Bool => json!(true),
        Type::I32 => json!(-1),
        Type::U8 => json!(u8::MAX),
        Type::U16 => json!(u16::MAX),
        Type::Object(text) if text.contains("traddr") => {
            json!({ "trtype": "TCP", "adrfam": "IPv4", "traddr": "::1", "trsvcid": "4420" })
        }
        Type::Object(text) if text.contains("bdev_name") => {
            json!({ "bdev_name": "r0", "nsid": 1, "anagrpid": 7 })
        }
        Type::Object(_) => json!({ "identify_ctrlr": false }),
        Type::U32 => json!(u32::MAX),
        Type::U64 => json!(u64::MAX),
        Type::Text => json!("name"),
        Type::Uuid => json!(Uuid::from_u128(7)),
        Type::Word(words) => json!(words[words.len() - 1]),
        Type::RaidLevel => json!("raid6"),
        Type::BaseBdevs => json!(["a", null, "c"]),
        Type::DataOffset => json!([2048, 0]),
        Type::Names => json!(["a", "b"]),
        Type::Numbers => json!([1, 5, 5]),
    }
}

fn full(method: &Method) -> Value {
    method.params.iter().map(|field| (field.name.to_owned(), sample(field))).collect()
}

/// What holds for the struct behind every method.
fn check<P>()
where
    P: Params
        + serde::Serialize
        + serde::de::DeserializeOwned
        + PartialEq
        + Clone
        + std::fmt::Debug,
{
    let method = P::METHOD;
    // The struct is the schema: what goes in comes out, key by key.
    let decoded = P::decode(Some(full(&method))).unwrap();
    assert_eq!(decoded.unknown, Vec::<String>::new());
    assert_eq!(serde_json::to_value(&decoded.params).unwrap(), full(&method), "{}", method.name);
    assert_eq!(serde_json::from_value::<P>(full(&method)).unwrap(), decoded.params);

    for field in method.params {
        let mut params = full(&method);
        for absent in [None, Some(Value::Null)] {
            let object = params.as_object_mut().unwrap();
            object.remove(field.name);
            object.extend(absent.map(|null| (field.name.to_owned(), null)));
            match P::decode(Some(params.clone())) {
                Ok(decoded) => {
                    assert!(!field.required, "{}: {}", method.name, field.name);
                    let value = serde_json::to_value(decoded.params).unwrap();
                    let default = field.default.map(|text| text.parse::<Value>().unwrap());
                    assert_eq!(value.get(field.name), default.as_ref());
                }
                Err(error) => {
                    assert!(field.required, "{}: {}: {error}", method.name, field.name);
                    assert_eq!(error.code, INVALID_PARAMS);
                    let expected = format!("{} is missing: it should be {}", field.name, field.ty);
                    assert!(error.message.ends_with(&expected), "{error}");
                }
            }
        }
        // No parameter of ours takes such an object.
        params[field.name] = json!({"wrong": 1});
        let error = P::decode(Some(params)).unwrap_err();
        assert_eq!(error.code, INVALID_PARAMS);
        assert_eq!(
            error.message,
            format!(
                "Invalid parameters: {}: {}: {{\"wrong\":1}} should be {}",
                method.name, field.name, field.ty
            )
        );
    }
}

#[test]
fn structs_decoders_and_schema_agree() {
    check::<RpcGetMethods>();
    check::<SpdkGetVersion>();
    check::<BdevGetBdevs>();
    check::<BdevNullCreate>();
    check::<BdevNullDelete>();
    check::<BdevMallocCreate>();
    check::<BdevMallocDelete>();
    check::<BdevUringCreate>();
    check::<BdevUringDelete>();
    check::<BdevAioCreate>();
    check::<BdevAioDelete>();
    check::<BdevErrorCreate>();
    check::<BdevErrorDelete>();
    check::<BdevErrorInjectError>();
    check::<BdevErrorResumePending>();
    check::<BdevErrorLosePower>();
    check::<BdevErrorRestorePower>();
    check::<BdevDelayCreate>();
    check::<BdevDelayUpdateLatency>();
    check::<BdevDelayDelete>();
    check::<BdevSplitCreate>();
    check::<BdevSplitDelete>();
    check::<SpdkKillInstance>();
    check::<FrameworkStartInit>();
    check::<FrameworkWaitInit>();
    check::<FrameworkGetSubsystems>();
    check::<FrameworkGetConfig>();
    check::<FrameworkGetReactors>();
    check::<FrameworkGetScheduler>();
    check::<FrameworkSetScheduler>();
    check::<FrameworkMonitorContextSwitch>();
    check::<ThreadSetCpumask>();
    check::<IobufGetStats>();
    check::<ThreadGetStats>();
    check::<ThreadGetPollers>();
    check::<ThreadGetIoChannels>();
    check::<LogSetLevel>();
    check::<LogGetLevel>();
    check::<LogSetPrintLevel>();
    check::<LogGetPrintLevel>();
    check::<LogSetFlag>();
    check::<LogClearFlag>();
    check::<LogGetFlags>();
    check::<LogEnableTimestamps>();
    check::<NotifyGetTypes>();
    check::<NotifyGetNotifications>();
    check::<IobufSetOptions>();
    check::<BdevSetOptions>();
    check::<BdevGetIostat>();
    check::<BdevResetIostat>();
    check::<BdevEnableHistogram>();
    check::<BdevGetHistogram>();
    check::<BdevGetHistogramBorders>();
    check::<BdevSetQosLimit>();
    check::<BdevAioRescan>();
    check::<BdevUringRescan>();
    check::<BdevNullResize>();
    check::<BdevRaidSetOptions>();
    check::<BdevRaidCreate>();
    check::<BdevRaidGetBdevs>();
    check::<BdevRaidDelete>();
}

#[test]
fn structs_of_the_target_agree_too() {
    check::<NvmfSetConfig>();
    check::<NvmfSetMaxSubsystems>();
    check::<NvmfCreateTransport>();
    check::<NvmfGetTransports>();
    check::<NvmfCreateSubsystem>();
    check::<NvmfDeleteSubsystem>();
    check::<NvmfGetSubsystems>();
    check::<NvmfSubsystemAddNs>();
    check::<NvmfSubsystemRemoveNs>();
    check::<NvmfSubsystemAddListener>();
    check::<NvmfSubsystemRemoveListener>();
    check::<NvmfSubsystemGetListeners>();
    check::<NvmfSubsystemListenerSetAnaState>();
    check::<NvmfSubsystemAddHost>();
    check::<NvmfSubsystemRemoveHost>();
    check::<NvmfSubsystemAllowAnyHost>();
    check::<NvmfSubsystemSetKeys>();
    check::<NvmfSubsystemGetControllers>();
    check::<NvmfSubsystemGetQpairs>();
    check::<NvmfGetStats>();
    check::<KeyringFileAddKey>();
    check::<KeyringFileRemoveKey>();
    check::<KeyringGetKeys>();
}

#[test]
fn absent_parameters_have_many_forms() {
    for none in [None, Some(json!(null)), Some(json!({})), Some(json!([]))] {
        assert!(SpdkGetVersion::decode(none.clone()).is_ok());
        let get = BdevGetBdevs::decode(none).unwrap().params;
        assert_eq!(get, BdevGetBdevs { name: None, timeout: 0 });
    }
    let positional = BdevGetBdevs::decode(Some(json!(["a"]))).unwrap_err();
    assert_eq!(
        positional.message,
        "Invalid parameters: bdev_get_bdevs: params: [\"a\"] should be an object with named members"
    );
}

#[test]
fn unknown_keys_are_reported_and_ignored() {
    let params = json!({"name": "r0", "io_unmap_limit": 4, "nothing": null});
    let decoded = BdevRaidDelete::decode(Some(params)).unwrap();
    assert_eq!(decoded.unknown, ["io_unmap_limit"]);
    assert_eq!(decoded.params, BdevRaidDelete { name: "r0".to_owned(), clear_sb: false });
}

fn null_bdev_with(key: &str, value: Value) -> Result<BdevNullCreate, String> {
    let mut params = json!({"name": "n0", "block_size": 512, "num_blocks": 8});
    params[key] = value;
    BdevNullCreate::decode(Some(params)).map(|decoded| decoded.params).map_err(|e| e.message)
}

#[test]
fn numbers_are_whole_and_in_range() {
    assert_eq!(null_bdev_with("block_size", json!(4096.0)).unwrap().block_size, 4096);
    assert_eq!(null_bdev_with("num_blocks", json!(u64::MAX)).unwrap().num_blocks, u64::MAX);
    assert_eq!(null_bdev_with("dif_type", json!(-1)).unwrap().dif_type, -1);
    for wrong in [json!(-1), json!(1_u64 << 32), json!(0.5), json!("512"), json!(true), json!([])] {
        let error = null_bdev_with("block_size", wrong.clone()).unwrap_err();
        let expected = format!(
            "Invalid parameters: bdev_null_create: block_size: {wrong} should be a number from 0 \
             to 4294967295"
        );
        assert_eq!(error, expected);
    }
    for wrong in [json!(-1), json!(1e18), json!(1e300)] {
        assert!(null_bdev_with("num_blocks", wrong).is_err());
    }
    assert!(null_bdev_with("dif_type", json!(1_u32 << 31)).is_err());
}

#[test]
fn a_uuid_is_a_uuid_and_a_name_is_not_empty() {
    let uuid = Uuid::from_u128(0xab);
    let upper = uuid.to_string().to_uppercase();
    assert_eq!(null_bdev_with("uuid", json!(upper)).unwrap().uuid, Some(uuid));
    assert!(null_bdev_with("uuid", json!("ab")).unwrap_err().contains("should be a UUID like"));
    assert!(null_bdev_with("name", json!("")).unwrap_err().contains("name: \"\" should be"));
}

#[test]
fn long_values_are_shown_in_part() {
    let error = null_bdev_with("block_size", json!("x".repeat(100_000))).unwrap_err();
    assert!(error.len() < 300 && error.contains("xxx... should be"), "{error}");
}

fn raid_with(key: &str, value: Value) -> Result<BdevRaidCreate, String> {
    let mut params =
        json!({"name": "r0", "raid_level": "raid5", "strip_size_kb": 64, "base_bdevs": ["a"]});
    params[key] = value;
    BdevRaidCreate::decode(Some(params)).map(|decoded| decoded.params).map_err(|e| e.message)
}

#[test]
fn a_level_has_many_spellings_and_one_name() {
    let spellings = [
        (RaidLevel::Raid4, vec![json!("raid4"), json!("4"), json!(4)]),
        (
            RaidLevel::Raid5,
            vec![json!("raid5"), json!("5"), json!(5), json!("raid5f"), json!("5f")],
        ),
        (RaidLevel::Raid6, vec![json!("raid6"), json!("6"), json!(6), json!(6.0)]),
    ];
    for (level, spellings) in spellings {
        for spelling in spellings {
            assert_eq!(raid_with("raid_level", spelling).unwrap().raid_level, level);
        }
        assert_eq!(serde_json::to_value(level).unwrap(), level.name());
    }
    for wrong in [json!("raid0"), json!("RAID5"), json!(1), json!(-5), json!(["raid5"])] {
        let error = raid_with("raid_level", wrong).unwrap_err();
        assert!(error.contains("should be \"raid4\", \"raid5\" or \"raid6\""), "{error}");
    }
}

#[test]
fn base_bdevs_come_as_an_array_or_as_one_string() {
    let some = |name: &str| Some(name.to_owned());
    let array = raid_with("base_bdevs", json!(["a", null, "c"])).unwrap().base_bdevs;
    assert_eq!(array, BaseBdevs(vec![some("a"), None, some("c")]));
    let string = raid_with("base_bdevs", json!(" a  b\tc ")).unwrap().base_bdevs;
    assert_eq!(string, BaseBdevs(vec![some("a"), some("b"), some("c")]));
    for wrong in [json!(["a", ""]), json!(["a", 1]), json!(3), json!(vec!["a"; 256])] {
        let error = raid_with("base_bdevs", wrong).unwrap_err();
        assert!(error.contains("an array of at most 255 bdev names"), "{error}");
    }
    assert_eq!(raid_with("base_bdevs", json!(vec!["a"; 255])).unwrap().base_bdevs.0.len(), 255);
}

#[test]
fn a_data_offset_is_one_number_or_one_for_each_member() {
    assert_eq!(raid_with("data_offset", json!(8)).unwrap().data_offset, Some(DataOffset::All(8)));
    assert_eq!(
        raid_with("data_offset", json!([8, 0])).unwrap().data_offset,
        Some(DataOffset::Each(vec![8, 0]))
    );
    for wrong in [json!(-8), json!([8, null]), json!("8")] {
        assert!(raid_with("data_offset", wrong).unwrap_err().contains("a number of sectors"));
    }
}

#[test]
fn lists_of_names_and_numbers_are_bounded() {
    let stat = |names| BdevGetIostat::decode(Some(json!({ "names": names })));
    let names = |names| stat(names).map(|decoded| decoded.params.names);
    assert_eq!(names(json!(["a", "b"])), Ok(Some(vec!["a".to_owned(), "b".to_owned()])));
    assert_eq!(names(json!("a")), Ok(Some(vec!["a".to_owned()])));
    assert_eq!(names(json!(vec!["a"; 1024])).unwrap().unwrap().len(), 1024);
    for wrong in [json!(vec!["a"; 1025]), json!(["a", ""]), json!([1]), json!(7)] {
        assert!(names(wrong).unwrap_err().message.contains("an array of at most 1024 names"));
    }
    let borders = |borders| {
        let params = json!({ "name": "n", "borders": borders });
        BdevGetHistogramBorders::decode(Some(params)).map(|decoded| decoded.params.borders)
    };
    assert_eq!(borders(json!([1, 10.0, 10])), Ok(vec![1, 10, 10]));
    for wrong in [json!([2, 1]), json!([-1]), json!(vec![1; 257]), json!(1)] {
        assert!(borders(wrong).unwrap_err().message.contains("in ascending order"));
    }
}

#[test]
fn what_is_absent_is_not_sent() {
    let create = raid_with("superblock", json!(true)).unwrap();
    assert_eq!(
        serde_json::to_value(create).unwrap(),
        json!({"name": "r0", "raid_level": "raid5", "strip_size_kb": 64, "base_bdevs": ["a"],
            "superblock": true, "assume_clean": false,
               "on_failure": "hold", "force": false, "log_failed": false})
    );
}

#[test]
fn a_method_has_its_phase() {
    let runtime = find("bdev_get_bdevs").unwrap();
    assert!(runtime.check_phase(true).is_ok());
    assert_eq!(runtime.check_phase(false).unwrap_err().code, -1);
    let both = find("get_rpc_methods").unwrap();
    assert_eq!((both.name, both.phase), ("rpc_get_methods", Phase::Both));
    assert!(both.check_phase(true).is_ok() && both.check_phase(false).is_ok());
    assert!(Phase::Startup.allows(false) && !Phase::Startup.allows(true));
}
