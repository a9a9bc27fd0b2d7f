//! JSON-RPC of the target: shapes and texts that SPDK's clients rely on, refusals, saving and loading.

use serde_json::{Value, json};

use super::{HOST, NQN, address, free_port};
use crate::daemon::{Place, entry, malloc};

/// Goal: what clients of SPDK match on is there, word for word. Method: their calls.
#[test]
fn clients_of_spdk_find_what_they_look_for() {
    let place = Place::new();
    let daemon = place.start();
    let port = free_port().to_string();
    assert_eq!(daemon.ask("nvmf_get_transports", Value::Null), json!([]));
    let unknown = daemon.refused("nvmf_get_transports", json!({ "trtype": "TCP" }));
    assert_eq!(unknown.code, -19);
    daemon.ask("nvmf_create_transport", json!({ "trtype": "tcp", "io_unit_size": 131_072 }));
    let twice = daemon.refused("nvmf_create_transport", json!({ "trtype": "TCP" }));
    assert_eq!((twice.code, &*twice.message), (-32603, "Transport type 'TCP' already exists"));
    assert_eq!(daemon.ask("nvmf_get_transports", Value::Null)[0]["trtype"], "TCP");

    let missing = daemon.refused("nvmf_subsystem_get_listeners", json!({ "nqn": NQN }));
    let text = format!("Invalid parameters: Subsystem with NQN '{NQN}' not found");
    assert_eq!((missing.code, missing.message), (-32602, text));
    daemon.ask("nvmf_create_subsystem", json!({ "nqn": NQN, "allow_any_host": true }));
    let again = daemon.refused("nvmf_create_subsystem", json!({ "nqn": NQN }));
    assert_eq!(again.code, -32603);
    assert!(again.message.starts_with("Unable to create subsystem "), "{again}");

    daemon.ask("bdev_malloc_create", malloc("m", 4));
    let uuid = daemon.bdev("m")["uuid"].clone();
    let add = json!({ "nqn": NQN, "namespace": { "bdev_name": "m" } });
    assert_eq!(daemon.ask("nvmf_subsystem_add_ns", add.clone()), 1);
    assert_eq!(daemon.bdev("m")["claimed"], true);
    let busy = daemon.refused("bdev_malloc_delete", json!({ "name": "m" }));
    assert_eq!(busy.code, -16);
    assert!(busy.message.ends_with("with nvmf_subsystem_remove_ns"), "{busy}");
    assert_eq!(daemon.refused("nvmf_subsystem_add_ns", add).code, -32602);

    let listen_address =
        json!({ "trtype": "tcp", "adrfam": "ipv4", "traddr": "127.0.0.1", "trsvcid": port });
    daemon.ask(
        "nvmf_subsystem_add_listener",
        json!({ "nqn": NQN, "listen_address": listen_address }),
    );
    let listeners = daemon.ask("nvmf_subsystem_get_listeners", json!({ "nqn": NQN }));
    assert_eq!(listeners[0]["address"], address("127.0.0.1", &port));

    let all = daemon.ask("nvmf_get_subsystems", Value::Null);
    assert_eq!(all[0]["nqn"], "nqn.2014-08.org.nvmexpress.discovery");
    assert_eq!(all[0]["subtype"], "Discovery");
    assert_eq!((&all[1]["nqn"], &all[1]["subtype"]), (&json!(NQN), &json!("NVMe")));
    let namespace = &all[1]["namespaces"][0];
    assert_eq!((&namespace["bdev_name"], &namespace["uuid"]), (&json!("m"), &uuid));

    daemon.ask("nvmf_subsystem_remove_ns", json!({ "nqn": NQN, "nsid": 1 }));
    daemon.ask("bdev_malloc_delete", json!({ "name": "m" }));
    daemon.ask("nvmf_delete_subsystem", json!({ "nqn": NQN }));
    assert_eq!(daemon.ask("nvmf_get_subsystems", Value::Null).as_array().unwrap().len(), 1);
    // The port is free again.
    drop(std::net::TcpListener::bind(format!("127.0.0.1:{port}")).unwrap());
    daemon.stop();
}

/// Goal: what is wrong is refused with what would be right, and nothing is left of it. Method: one of
/// each.
#[test]
fn what_is_wrong_is_refused() {
    let place = Place::new();
    let daemon = place.start();
    let port = free_port().to_string();
    let listen = json!({ "nqn": NQN, "listen_address": address("127.0.0.1", &port) });
    daemon.ask("nvmf_create_subsystem", json!({ "nqn": NQN }));
    let before = daemon.ask("nvmf_get_subsystems", Value::Null);
    for (method, params, code, words) in [
        ("nvmf_subsystem_add_listener", listen, -32602, "nvmf_create_transport"),
        ("nvmf_create_transport", json!({ "trtype": "RDMA" }), -32602, "TCP"),
        (
            "nvmf_create_transport",
            json!({ "trtype": "TCP", "in_capsule_data_size": 100 }),
            -32602,
            "multiple of 16",
        ),
        ("nvmf_create_subsystem", json!({ "nqn": "cnode" }), -32602, "12 to 223"),
        (
            "nvmf_create_subsystem",
            json!({ "nqn": "nqn.2016-06.io.spdk:c2", "serial_number": "x".repeat(21) }),
            -32602,
            "up to 20",
        ),
        (
            "nvmf_subsystem_add_ns",
            json!({ "nqn": NQN, "namespace": { "bdev_name": "none" } }),
            -32602,
            "No such device",
        ),
        ("nvmf_subsystem_remove_ns", json!({ "nqn": NQN, "nsid": 7 }), -32602, "no namespace 7"),
        ("nvmf_subsystem_remove_host", json!({ "nqn": NQN, "host": HOST }), -32602, "not list"),
        (
            "nvmf_subsystem_add_host",
            json!({ "nqn": NQN, "host": HOST, "dhchap_key": "k" }),
            -32602,
            "keyring_get_keys",
        ),
        ("keyring_file_remove_key", json!({ "name": "k" }), -2, "keyring_get_keys"),
        (
            "keyring_file_add_key",
            json!({ "name": "k", "path": "/no/such/file" }),
            -22,
            "/no/such/file",
        ),
    ] {
        let error = daemon.refused(method, params);
        assert!(error.code == code && error.message.contains(words), "{method}: {error}");
    }
    assert_eq!(daemon.ask("nvmf_get_subsystems", Value::Null), before);
    assert_eq!(daemon.ask("keyring_get_keys", Value::Null), json!([]));
    daemon.ask("nvmf_create_transport", json!({ "trtype": "TCP" }));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let listen = json!({ "nqn": NQN, "listen_address": address("127.0.0.1", &port) });
    let error = daemon.refused("nvmf_subsystem_add_listener", listen);
    assert_eq!(error.code, -98, "{error}");
    assert_eq!(daemon.ask("nvmf_get_subsystems", Value::Null), before);
    daemon.stop();
}

/// Goal: what is exported is the same after a restart: from a saved configuration, and from a state file
/// without it being saved. Method: both, and what clients are shown.
#[test]
fn what_is_exported_survives_a_restart() {
    let place = Place::new();
    let state = place.data().join("state.json");
    let args = ["--state".as_ref(), state.as_os_str()];
    let daemon = place.start_with(&args);
    let port = free_port().to_string();
    daemon.ask("bdev_malloc_create", malloc("m", 4));
    daemon.ask("nvmf_create_transport", json!({ "trtype": "TCP", "in_capsule_data_size": 4096 }));
    let subsystem = json!({ "nqn": NQN, "serial_number": "S1", "ana_reporting": true });
    daemon.ask("nvmf_create_subsystem", subsystem);
    daemon.ask("nvmf_subsystem_add_host", json!({ "nqn": NQN, "host": HOST }));
    let eui64 = "0102030405060708";
    let namespace = json!({ "bdev_name": "m", "nsid": 3, "eui64": eui64, "anagrpid": 2 });
    daemon.ask("nvmf_subsystem_add_ns", json!({ "nqn": NQN, "namespace": namespace }));
    let listen_address = address("127.0.0.1", &port);
    let listener = json!({ "nqn": NQN, "listen_address": listen_address });
    daemon.ask("nvmf_subsystem_add_listener", listener.clone());
    let mut state_of_one = listener;
    state_of_one["ana_state"] = json!("non_optimized");
    state_of_one["anagrpid"] = json!(2);
    daemon.ask("nvmf_subsystem_listener_set_ana_state", state_of_one);
    let shown = |daemon: &crate::daemon::Daemon| {
        [
            daemon.ask("nvmf_get_subsystems", Value::Null),
            daemon.ask("nvmf_get_transports", Value::Null),
            daemon.ask("nvmf_subsystem_get_listeners", json!({ "nqn": NQN })),
        ]
    };
    let before = shown(&daemon);
    assert_eq!(before[0][1]["namespaces"][0]["eui64"], eui64);
    let saved = |name: &str| daemon.ask("framework_get_config", json!({ "name": name }));
    let (bdev, nvmf) = (saved("bdev"), saved("nvmf"));
    daemon.end(rustix::process::Signal::KILL);

    let daemon = place.start_with(&args);
    assert_eq!(shown(&daemon), before, "from the state");
    daemon.stop();
    let config = json!({ "subsystems": [
        { "subsystem": "bdev", "config": bdev }, { "subsystem": "nvmf", "config": nvmf },
    ] });
    let config = place.config_text(&config.to_string());
    let daemon = place.start_with_config(&config);
    assert_eq!(shown(&daemon), before, "from a configuration");
    daemon.stop();
    let wrong = [entry("nvmf_create_transport", json!({ "trtype": "RDMA" }))];
    let config = place.config(&wrong);
    let said = place.fail_to_start(&["--config".as_ref(), config.as_os_str()]);
    assert!(said.contains("the transport is TCP"), "{said}");
}
