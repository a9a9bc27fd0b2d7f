//! Changes of the model that are refused, and what those that are not mean to whom.

use super::*;
use crate::nvmf::model::{Model, address, bdev, nqn};

fn spec() -> SubsystemSpec {
    SubsystemSpec {
        nqn: Nqn::parse("nqn.2016-06.io.spdk:second").unwrap(),
        serial: "S".to_owned(),
        model: "M".to_owned(),
        namespaces_max: 2,
        cntlid_min: 1,
        cntlid_max: 0xffef,
        allow_any_host: false,
        ana_reporting: false,
    }
}

fn namespace(nsid: Option<u32>) -> NamespaceSpec {
    let ids = Identifiers { uuid: [1; 16], nguid: [1; 16], eui64: [0; 8] };
    NamespaceSpec { nsid, ids, ana_group: None, bdev: bdev(9, 4096, 10) }
}

/// Goal: a change that makes no sense is refused in words that name object, value and what would be
/// right, and changes nothing. Method: one of each.
#[test]
fn refusals_name_their_reason() {
    let mut target = Model::new(64).target;
    let there = nqn();
    let refused = |result: Result<Changes, TargetError>| result.unwrap_err().to_string();
    let with = |change: fn(&mut SubsystemSpec)| {
        let mut spec = spec();
        change(&mut spec);
        spec
    };
    for (spec, text) in [
        (
            with(|spec| spec.nqn = nqn()),
            "Unable to create subsystem nqn.2016-06.io.spdk:cnode1: it exists",
        ),
        (
            with(|spec| spec.nqn = Nqn::discovery()),
            "Unable to create subsystem nqn.2014-08.org.nvmexpress.discovery: it exists",
        ),
        (
            with(|spec| spec.serial = "x".repeat(21)),
            "subsystem nqn.2016-06.io.spdk:second: serial_number is \"xxxxxxxxxxxxxxxxxxxxx\", it must be up \
             to 20 printable ASCII characters",
        ),
        (
            with(|spec| spec.namespaces_max = 0),
            "subsystem nqn.2016-06.io.spdk:second: max_namespaces is \"0\", it must be 1 to 1024",
        ),
        (
            with(|spec| (spec.cntlid_min, spec.cntlid_max) = (5, 4)),
            "subsystem nqn.2016-06.io.spdk:second: max_cntlid is \"4\", it must be min_cntlid (5) to 65519",
        ),
    ] {
        assert_eq!(refused(target.add_subsystem(spec)), text);
    }
    let unknown = spec().nqn;
    assert_eq!(
        refused(target.remove_subsystem(&unknown)),
        "Invalid parameters: Subsystem with NQN 'nqn.2016-06.io.spdk:second' not found"
    );
    let mut add = |nsid| target.add_namespace(&there, namespace(nsid)).map(|added| added.1);
    assert_eq!(
        refused(add(Some(1))),
        "subsystem nqn.2016-06.io.spdk:cnode1 has a namespace 1 already"
    );
    assert_eq!(
        refused(add(Some(33))),
        "subsystem nqn.2016-06.io.spdk:cnode1: namespace identifier 33 is out of range, it must be 1 to 32"
    );
    assert_eq!(
        refused(target.remove_namespace(&there, 7)),
        "subsystem nqn.2016-06.io.spdk:cnode1 has no namespace 7"
    );
    assert_eq!(
        refused(target.add_listener(&there, address(), AnaState::Optimized)),
        "subsystem nqn.2016-06.io.spdk:cnode1 has a listener 192.0.2.1:4420 already"
    );
    let long = Address { address: String::new(), ..address() };
    assert_eq!(
        refused(target.add_listener(&there, long, AnaState::Optimized)),
        "listener address \"\": traddr must have 1 to 255 bytes of ASCII"
    );
    target.add_subsystem(spec()).unwrap();
    assert_eq!(
        refused(target.set_ana_state(&unknown, &address(), None, AnaState::Change)),
        "subsystem nqn.2016-06.io.spdk:second does not report ANA states: it was created without \
         ana_reporting"
    );
    assert_eq!(target.subsystems()[&there].namespaces.len(), 1);
}

/// Goal: identifiers of namespaces are the lowest that are free, views rise in generation, numbers of
/// ports are used again when nobody listens. Method: what comes and goes.
#[test]
fn numbers_are_given_in_order() {
    let mut target = Target::new(TargetConfig::default());
    target.add_subsystem(spec()).unwrap();
    let name = spec().nqn;
    let ports = ["1", "2", "3"].map(|service| Address { service: service.to_owned(), ..address() });
    for port in &ports {
        target.add_listener(&name, port.clone(), AnaState::Optimized).unwrap();
    }
    let port_ids = |target: &Target| -> Vec<u16> {
        target.subsystems()[&name].listeners.values().map(|listener| listener.port_id).collect()
    };
    assert_eq!(port_ids(&target), [0, 1, 2]);
    target.remove_listener(&name, &ports[1]).unwrap();
    target.add_listener(&name, address(), AnaState::Optimized).unwrap();
    assert_eq!(port_ids(&target), [0, 2, 1]);

    let mut generation = target.view(&name, &ports[0]).unwrap().generation;
    for expected in [1, 2] {
        let (nsid, _) = target.add_namespace(&name, namespace(None)).unwrap();
        let view = target.view(&name, &ports[0]).unwrap();
        assert!(nsid == expected && view.generation > generation);
        generation = view.generation;
        assert_eq!(view.namespaces.len(), nsid as usize);
    }
    let full = target.add_namespace(&name, namespace(None)).unwrap_err();
    assert_eq!(full, TargetError::Full { what: "namespaces", max: 2 });
    target.remove_namespace(&name, 1).unwrap();
    assert_eq!(target.add_namespace(&name, namespace(None)).unwrap().0, 1);
}
