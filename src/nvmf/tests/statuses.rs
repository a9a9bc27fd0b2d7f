//! Every Admin command and every Connect, right and wrong, through a whole controller.

use device::nvme_tcp::{Command, Data, connect, read, write};
use nvme::command::{NSID_ALL, admin};
use nvme::fabrics::{PropertyGet, PropertySet, invalid_parameter, kind};
use nvme::identify::{self, Descriptor, cns};
use nvme::log::{
    AnaGroup, AnaHeader, AnaState, DiscoveryEntry, DiscoveryHeader, Event, Wanted, id,
};
use nvme::register::{Cc, Csts, offset};
use nvme::{Cqe, Layout, Nqn, Sqe, Status, feature};

use super::host::{Cuts, Host, connecting, host_config, host_nqn};
use crate::nvmf::limits::ASYNC_EVENTS_MAX;
use crate::nvmf::model::{Model, address, bdev, nqn};
use crate::nvmf::subsystem::{Address, HostEntry};

const CUTS: Cuts = Cuts::Every(1000);

fn admin(model: &mut Model) -> (Host, u16) {
    Host::admin(model, host_config(), CUTS, nqn())
}

fn sqe(opcode: u8, nsid: u32, cdw10: u32, cdw11: u32) -> Sqe {
    Sqe { opcode, nsid, cdw10, cdw11, ..Sqe::default() }
}

fn log_sqe(id: u8, offset_bytes: u64, len_bytes: u64, retain_event: bool) -> Sqe {
    let mut sqe = sqe(admin::GET_LOG_PAGE, NSID_ALL, 0, 0);
    let wanted = Wanted { id, specific: 0, retain_event, len_bytes, offset_bytes, is_index: false };
    wanted.put(&mut sqe);
    sqe
}

fn log(model: &mut Model, host: &mut Host, id: u8, len_bytes: u32) -> Vec<u8> {
    let (cqe, bytes) = host.ask(model, log_sqe(id, 0, u64::from(len_bytes), false), len_bytes);
    assert!(cqe.status().is_ok(), "{}", cqe.status());
    bytes
}

fn property(host: &mut Host, model: &mut Model, offset: u32, size_code: u8) -> Cqe {
    let get = PropertyGet { size_code, offset };
    host.ask(model, Sqe::fabrics(kind::PROPERTY_GET, &get), 0).0
}

fn set_cc(host: &mut Host, model: &mut Model, value: u32) -> Cqe {
    let set = PropertySet { size_code: 0, offset: offset::CC, value: u64::from(value) };
    host.ask(model, Sqe::fabrics(kind::PROPERTY_SET, &set), 0).0
}

/// Goal: a Connect that may not be is refused with status and parameter of the specification, and one
/// that may be is not. Method: one field changed at a time, of Admin and of I/O queues.
#[test]
fn connects_are_judged() {
    let mut model = Model::new(64);
    let (mut admin_host, cntlid) = admin(&mut model);
    let mut attempt = |qid: u16, to: u16, change: &dyn Fn(&mut Command, &mut [u8])| {
        let mut host = Host::open(&mut model, host_config(), CUTS);
        let mut buffer = vec![0; 1024];
        let mut command = connect(&connecting(nqn(), false), qid, to, &mut buffer);
        change(&mut command, &mut buffer);
        let (cqe, _) = host.call(&mut model, command, buffer);
        model.close(host.link);
        (cqe.status().plain(), cqe.result as u32)
    };
    let invalid =
        |at, in_data| (Status::CONNECT_INVALID_PARAMETERS, invalid_parameter(at, in_data));
    let with_byte = |at: usize, byte: u8| move |_: &mut Command, data: &mut [u8]| data[at] = byte;
    let none = |_: &mut Command, _: &mut [u8]| {};
    let other = Nqn::parse("nqn.2016-06.io.spdk:other").unwrap().to_field();
    for (qid, to) in [(0, 0xffff), (1, cntlid)] {
        assert_eq!(attempt(qid, to, &none).0, Status::SUCCESS);
        let format = |command: &mut Command, _: &mut [u8]| command.sqe.cdw10 |= 1;
        assert_eq!(attempt(qid, to, &format).0, Status::CONNECT_FORMAT);
        let small = |command: &mut Command, _: &mut [u8]| command.sqe.cdw11 &= !0xffff;
        assert_eq!(attempt(qid, to, &small), invalid(44, false));
        let large = |command: &mut Command, _: &mut [u8]| command.sqe.cdw11 |= 0xffff;
        assert_eq!(attempt(qid, to, &large), invalid(44, false));
        assert_eq!(attempt(qid, to, &with_byte(512, b'x')), invalid(512, true), "host NQN");
        assert_eq!(attempt(qid, to, &with_byte(256, b'x')), invalid(256, true), "subsystem NQN");
        let unknown = |_: &mut Command, data: &mut [u8]| data[256..512].copy_from_slice(&other);
        assert_eq!(attempt(qid, to, &unknown), invalid(256, true));
        let nobody = |_: &mut Command, data: &mut [u8]| data[..16].fill(0);
        assert_eq!(attempt(qid, to, &nobody), invalid(0, true));
        assert_eq!(attempt(qid, 77, &none), invalid(16, true), "no such controller");
        let short = |command: &mut Command, _: &mut [u8]| {
            command.data = Data::FromHost { len_bytes: 512 };
        };
        assert_eq!(attempt(qid, to, &short).0, Status::SGL_DATA_LENGTH_INVALID);
    }
    assert_eq!(attempt(200, cntlid, &none), invalid(42, false));
    let stranger = |_: &mut Command, data: &mut [u8]| data[512..768].copy_from_slice(&other);
    assert_eq!(attempt(1, cntlid, &stranger), invalid(512, true), "another host's controller");
    assert_eq!(attempt(1, cntlid, &with_byte(0, 9)), invalid(0, true), "another host identifier");

    let _io = Host::io(&mut model, host_config(), CUTS, cntlid, 1, true);
    let mut second = Host::open(&mut model, host_config(), CUTS);
    let mut buffer = vec![0; 1024];
    let again = connect(&connecting(nqn(), false), 1, cntlid, &mut buffer);
    let (cqe, _) = second.call(&mut model, again, buffer.clone());
    assert_eq!((cqe.status().plain(), cqe.result as u32), invalid(42, false), "queue 1 is taken");
    set_cc(&mut admin_host, &mut model, 0);
    let (cqe, _) = second.call(&mut model, again, buffer);
    assert_eq!(cqe.status().plain(), Status::SEQUENCE_ERROR, "the controller is disabled");
}

/// Goal: hosts that are not listed, and addresses without a listener, are refused; taking a host off the
/// list ends its associations. Method: the list, on and off.
#[test]
fn hosts_are_admitted_by_the_list() {
    let mut model = Model::new(64);
    let changes = model.target.allow_any_host(&nqn(), false).unwrap();
    model.apply(changes);
    let attempt = |model: &mut Model| {
        let mut host = Host::open(model, host_config(), CUTS);
        let mut buffer = vec![0; 1024];
        let command = connect(&connecting(nqn(), false), 0, 0xffff, &mut buffer);
        let (cqe, _) = host.call(model, command, buffer);
        (cqe.status().plain(), host)
    };
    assert_eq!(attempt(&mut model).0, Status::CONNECT_INVALID_HOST);
    model.target.add_host(&nqn(), host_nqn(), HostEntry::default()).unwrap();
    let (status, host) = attempt(&mut model);
    assert_eq!(status, Status::SUCCESS);
    let changes = model.target.remove_host(&nqn(), &host_nqn()).unwrap();
    model.apply(changes);
    assert!(model.is_closed(host.link));
    model.target.add_host(&nqn(), host_nqn(), HostEntry::default()).unwrap();
    let (_, host) = attempt(&mut model);
    let changes = model.target.remove_listener(&nqn(), &address()).unwrap();
    model.apply(changes);
    assert!(model.is_closed(host.link));
    assert_eq!(attempt(&mut model).0, Status::CONNECT_INVALID_HOST);
}

/// Goal: properties say what they should, a controller goes through its states, and with it its I/O
/// queues. Method: enable, reset, enable wrongly, shut down.
#[test]
fn a_controller_has_its_states() {
    let mut model = Model::new(64);
    let (mut host, cntlid) = admin(&mut model);
    assert_eq!(property(&mut host, &mut model, offset::VS, 0).result, 0x0002_0000);
    assert_eq!(property(&mut host, &mut model, offset::CAP, 1).result & 0xffff, 127);
    assert_eq!(property(&mut host, &mut model, offset::CC, 0).result, u64::from(Cc::ENABLED.0));
    let invalid = Status::INVALID_FIELD.finally();
    assert_eq!(property(&mut host, &mut model, offset::CAP, 0).status(), invalid);
    assert_eq!(property(&mut host, &mut model, 0x4444, 0).status(), invalid);
    let set = PropertySet { size_code: 0, offset: offset::CSTS, value: 1 };
    let (cqe, _) = host.ask(&mut model, Sqe::fabrics(kind::PROPERTY_SET, &set), 0);
    assert_eq!(cqe.status(), invalid);

    let io = Host::io(&mut model, host_config(), CUTS, cntlid, 1, false);
    assert!(set_cc(&mut host, &mut model, 0).status().is_ok());
    assert!(model.is_closed(io.link), "a reset takes the I/O queues away");
    assert_eq!(property(&mut host, &mut model, offset::CSTS, 0).result, 0);
    let identify = sqe(admin::IDENTIFY, 0, 1, 0);
    let (cqe, _) = host.ask(&mut model, identify, 4096);
    assert_eq!(cqe.status(), Status::SEQUENCE_ERROR.finally());

    // Entries of 32 bytes.
    set_cc(&mut host, &mut model, 1 | 5 << 16 | 4 << 20);
    let csts = property(&mut host, &mut model, offset::CSTS, 0).result as u32;
    assert!(Csts(csts).is_fatal() && !Csts(csts).is_ready());
    set_cc(&mut host, &mut model, 0);
    set_cc(&mut host, &mut model, Cc::ENABLED.0);
    let csts = property(&mut host, &mut model, offset::CSTS, 0).result as u32;
    assert!(Csts(csts).is_ready());
    set_cc(&mut host, &mut model, Cc::ENABLED.with_shutdown().0);
    let csts = property(&mut host, &mut model, offset::CSTS, 0).result as u32;
    assert!(Csts(csts).is_shut_down() && !Csts(csts).is_ready());
}

/// Goal: Identify tells what hosts ask, and refuses the rest. Method: every data structure, of
/// namespaces that are there, that are not, and that cannot be.
#[test]
fn identify_tells() {
    let mut model = Model::new(64);
    let second = model.add_namespace(128);
    let facts = crate::nvmf::subsystem::BdevFacts {
        strip_bytes: 4096,
        optimal_write_bytes: 16384,
        ..bdev(1, 512, 128)
    };
    let changes = model.target.change_namespace(&nqn(), second, facts).unwrap();
    model.apply(changes);
    let (mut host, cntlid) = admin(&mut model);
    let mut ask = |cns: u8, nsid, csi: u32| {
        host.ask(&mut model, sqe(admin::IDENTIFY, nsid, u32::from(cns), csi << 24), 4096)
    };
    let (_, bytes) = ask(cns::CONTROLLER, 0, 0);
    let controller = identify::Controller::get(&bytes);
    assert_eq!((controller.cntlid, controller.nqn), (cntlid, nqn().to_field()));
    assert_eq!((controller.namespaces, controller.mdts), (32, 8));
    assert_eq!(controller.command_capsule_16 * 16, 64 + 8192);
    let (_, bytes) = ask(cns::NAMESPACE, 2, 0);
    let namespace = identify::Namespace::get(&bytes);
    assert_eq!((namespace.size_blocks, namespace.block_size_bytes()), (128, 512));
    let hints = (namespace.nsfeat, namespace.npwg, namespace.npwa, namespace.nows);
    assert_eq!(hints, (0x10, 7, 7, 31), "strips of 8 blocks, stripes of 32");
    let (_, bytes) = ask(cns::NAMESPACE, 1, 0);
    assert_eq!(identify::Namespace::get(&bytes).nsfeat, 0, "no preference");
    for cns in [cns::ACTIVE_NAMESPACES, cns::ACTIVE_NAMESPACES_OF_SET] {
        assert_eq!(ask(cns, 0, 0).1[..12], [1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(ask(cns, 1, 0).1[..8], [2, 0, 0, 0, 0, 0, 0, 0]);
    }
    let (_, bytes) = ask(cns::DESCRIPTORS, 2, 0);
    assert_eq!(Descriptor::get(&bytes), Some((Descriptor::Nguid([2; 16]), 20)));
    assert_eq!(Descriptor::get(&bytes[20..]), Some((Descriptor::Uuid([2; 16]), 20)));
    assert_eq!(Descriptor::get(&bytes[40..]), Some((Descriptor::CommandSet(0), 5)));
    let (_, bytes) = ask(cns::NAMESPACE_INDEPENDENT, 2, 0);
    assert_eq!(identify::NamespaceIndependent::get(&bytes).nstat, 1);
    assert_eq!(ask(cns::CONTROLLER_OF_SET, 0, 0).1[0], 8, "VSL");
    assert_eq!(ask(cns::COMMAND_SETS, 0, 0).1[..8], [1, 0, 0, 0, 0, 0, 0, 0]);
    for cns in [cns::NAMESPACE, cns::NAMESPACE_INDEPENDENT, cns::NAMESPACE_OF_SET] {
        let (cqe, bytes) = ask(cns, 3, 0);
        assert!(cqe.status().is_ok() && bytes.iter().all(|byte| *byte == 0), "not in use");
        for nsid in [0, 33, NSID_ALL] {
            assert_eq!(ask(cns, nsid, 0).0.status(), Status::INVALID_NAMESPACE.finally());
        }
    }
    assert_eq!(ask(cns::DESCRIPTORS, 3, 0).0.status().plain(), Status::INVALID_NAMESPACE);
    assert_eq!(
        ask(cns::ACTIVE_NAMESPACES, NSID_ALL, 0).0.status().plain(),
        Status::INVALID_NAMESPACE
    );
    assert_eq!(ask(cns::CONTROLLER_OF_SET, 0, 2).0.status().plain(), Status::INVALID_FIELD);
    assert_eq!(ask(0x33, 0, 0).0.status().plain(), Status::INVALID_FIELD);
}

/// Goal: log pages are the same read whole or in parts, and nothing outside of them can be read. Method:
/// every page, in parts of 36 bytes; offsets that are wrong; pages that do not exist.
#[test]
fn log_pages_are_read_in_parts() {
    let mut model = Model::new(64);
    let (mut host, _) = admin(&mut model);
    host.ask(&mut model, sqe(0xc0, 0, 0, 0), 0);
    let pages = [id::SUPPORTED, id::ERROR, id::SMART, id::FIRMWARE, id::CHANGED_NAMESPACES];
    for page in pages.into_iter().chain([id::EFFECTS, id::ANA]) {
        let whole = log(&mut model, &mut host, page, 4096);
        let mut parts = Vec::new();
        for at in (0..504).step_by(36) {
            let (cqe, part) = host.ask(&mut model, log_sqe(page, at, 36, true), 36);
            match cqe.status().is_ok() {
                true => parts.extend(part),
                // The ANA page is shorter.
                false => assert_eq!(cqe.status().plain(), Status::INVALID_FIELD),
            }
        }
        assert_eq!(parts[..], whole[..parts.len()], "page {page}");
        assert!(parts.len() >= 36, "page {page}");
        let misaligned = host.ask(&mut model, log_sqe(page, 2, 36, true), 36).0;
        assert_eq!(misaligned.status(), Status::INVALID_FIELD.finally());
        let behind = host.ask(&mut model, log_sqe(page, 1 << 40, 36, true), 36).0;
        assert_eq!(behind.status(), Status::INVALID_FIELD.finally());
    }
    for page in [id::DISCOVERY, 0x0d, 0xff] {
        let (cqe, _) = host.ask(&mut model, log_sqe(page, 0, 64, false), 64);
        assert_eq!(cqe.status(), Status::INVALID_LOG_PAGE.finally());
    }
    let errors = log(&mut model, &mut host, id::ERROR, 128);
    assert_eq!(errors[12..14], (Status::INVALID_LOG_PAGE.finally().bits() << 1).to_le_bytes());
    let large = log_sqe(id::SMART, 0, (1 << 20) + 4, false);
    assert_eq!(
        host.ask(&mut model, large, (1 << 20) + 4).0.status(),
        Status::INVALID_FIELD.finally()
    );
}

/// Goal: features have their values, take what they may, and refuse the rest. Method: each of them.
#[test]
fn features_are_kept() {
    let mut model = Model::new(64);
    let (mut host, _) = admin(&mut model);
    let mut get = |id: u8, select: u32, cdw11| {
        let sqe = sqe(admin::GET_FEATURES, 0, u32::from(id) | select << 8, cdw11);
        let len = match (id, select) {
            (feature::id::HOST_ID, 0..3) => 16,
            (feature::id::HOST_BEHAVIOR, 0..3) => 512,
            _ => 0,
        };
        host.ask(&mut model, sqe, len)
    };
    assert_eq!(get(feature::id::NUMBER_OF_QUEUES, 0, 0).0.result, 0x0003_0003, "4 were asked for");
    assert_eq!(get(feature::id::KEEP_ALIVE, 0, 0).0.result, 10_000);
    assert_eq!(get(feature::id::VOLATILE_WRITE_CACHE, 0, 0).0.result, 1);
    assert_eq!(get(feature::id::VOLATILE_WRITE_CACHE, 3, 0).0.result, 0);
    assert_eq!(get(feature::id::ASYNC_EVENT_CONFIG, 3, 0).0.result, 4, "may be changed");
    assert_eq!(get(feature::id::HOST_ID, 0, 1).1, [7; 16]);
    assert_eq!(get(feature::id::HOST_ID, 0, 0).0.status(), Status::INVALID_FIELD.finally());
    assert_eq!(get(feature::id::HOST_BEHAVIOR, 0, 0).1, [0; 512]);
    assert_eq!(get(feature::id::ARBITRATION, 4, 0).0.status(), Status::INVALID_FIELD.finally());
    assert_eq!(get(0x77, 0, 0).0.status(), Status::INVALID_FIELD.finally());

    let mut set = |id: u8, cdw11, save: u32, data: Option<Vec<u8>>| {
        let sqe = sqe(admin::SET_FEATURES, 0, u32::from(id) | save, cdw11);
        let len_bytes = data.as_ref().map_or(0, Vec::len) as u32;
        let moved = if len_bytes == 0 { Data::None } else { Data::FromHost { len_bytes } };
        let (cqe, _) =
            host.call(&mut model, Command { sqe, data: moved }, data.unwrap_or_default());
        (cqe.status().plain(), cqe.result)
    };
    let ok = (Status::SUCCESS, 0);
    let refused = |status: Status| (status, 0);
    assert_eq!(set(feature::id::NUMBER_OF_QUEUES, 0x00ff_00ff, 0, None), (ok.0, 0x007e_007e));
    let all = set(feature::id::NUMBER_OF_QUEUES, 0xffff_0000, 0, None);
    assert_eq!(all, refused(Status::INVALID_FIELD));
    assert_eq!(set(feature::id::KEEP_ALIVE, 1500, 0, None), ok);
    assert_eq!(set(feature::id::ARBITRATION, 7, 0, None), ok);
    assert_eq!(set(feature::id::ARBITRATION, 8, 0, None), refused(Status::INVALID_FIELD));
    let saved = set(feature::id::ARBITRATION, 7, feature::SAVE, None);
    assert_eq!(saved, refused(Status::FEATURE_NOT_SAVEABLE));
    let cache = set(feature::id::VOLATILE_WRITE_CACHE, 0, 0, None);
    assert_eq!(cache, refused(Status::FEATURE_NOT_CHANGEABLE));
    assert_eq!(set(feature::id::POWER_MANAGEMENT, 1, 0, None), refused(Status::INVALID_FIELD));
    let host_id = set(feature::id::HOST_ID, 1, 0, Some(vec![9; 16]));
    assert_eq!(host_id, refused(Status::SEQUENCE_ERROR));
    let mut behavior = vec![0; 512];
    behavior[0] = 1;
    assert_eq!(set(feature::id::HOST_BEHAVIOR, 0, 0, Some(behavior.clone())), ok);
    let sqe = sqe(admin::GET_FEATURES, 0, u32::from(feature::id::HOST_BEHAVIOR), 0);
    assert_eq!(host.ask(&mut model, sqe, 512).1, behavior);
    let keep = property_of(&mut host, &mut model, feature::id::KEEP_ALIVE);
    assert_eq!(keep, 2000, "rounded up");
}

fn property_of(host: &mut Host, model: &mut Model, id: u8) -> u64 {
    host.ask(model, sqe(admin::GET_FEATURES, 0, u32::from(id), 0), 0).0.result
}

fn event_request(host: &mut Host, model: &mut Model) -> u16 {
    let request = sqe(admin::ASYNC_EVENT_REQUEST, 0, 0, 0);
    let tag = host.submit(Command { sqe: request, data: Data::None }, Vec::new());
    host.exchange(model);
    tag
}

/// Goal: a change is told once, to a host that asked for such events, and again only after the log page
/// was read without RAE; requests beyond the limit are refused, and those that are held can be aborted.
/// Method: namespaces that come, and ANA states that change.
#[test]
fn events_are_told_once() {
    let mut model = Model::new(64);
    let (mut host, _) = admin(&mut model);
    let bits = Event::NamespaceChanged.config_bit() | Event::AnaChanged.config_bit();
    host.ask(&mut model, sqe(admin::SET_FEATURES, 0, 0x0b, bits), 0);
    let mut held: Vec<u16> =
        (0..ASYNC_EVENTS_MAX).map(|_| event_request(&mut host, &mut model)).collect();
    assert!(host.done.is_empty());
    let beyond = event_request(&mut host, &mut model);
    let (tag, cqe, _) = host.done.pop().unwrap();
    assert_eq!((tag, cqe.status().plain()), (beyond, Status::ASYNC_EVENT_LIMIT));

    let mut told = |model: &mut Model, host: &mut Host| {
        host.exchange(model);
        let done = host.done.pop();
        assert!(host.done.is_empty());
        done.map(|(tag, cqe, _)| {
            assert_eq!(tag, held.remove(0), "the oldest request");
            Event::from_result(cqe.result as u32)
        })
    };
    let second = model.add_namespace(64);
    assert_eq!(told(&mut model, &mut host), Some(Some(Event::NamespaceChanged)));
    let third = model.add_namespace(64);
    assert_eq!(told(&mut model, &mut host), None, "it was told already");
    let (_, list) = host.ask(&mut model, log_sqe(id::CHANGED_NAMESPACES, 0, 4096, true), 4096);
    assert_eq!(list[..12], [second as u8, 0, 0, 0, third as u8, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(told(&mut model, &mut host), None, "RAE keeps it");
    let list = log(&mut model, &mut host, id::CHANGED_NAMESPACES, 4096);
    assert_eq!(list[..8], [second as u8, 0, 0, 0, third as u8, 0, 0, 0]);
    assert_eq!(told(&mut model, &mut host), Some(Some(Event::NamespaceChanged)), "the third's");
    assert_eq!(log(&mut model, &mut host, id::CHANGED_NAMESPACES, 4096), [0; 4096]);

    let state = AnaState::Inaccessible;
    let changes = model.target.set_ana_state(&nqn(), &address(), Some(1), state).unwrap();
    model.apply(changes);
    assert_eq!(told(&mut model, &mut host), Some(Some(Event::AnaChanged)));
    let page = log(&mut model, &mut host, id::ANA, 4096);
    assert_eq!(AnaHeader::get(&page), AnaHeader { change_count: 1, groups: 3 });
    let group = AnaGroup::get(&page[16..]);
    assert_eq!((group.group, group.namespaces, group.state), (1, 1, 3));
    assert_eq!(page[48..52], [1, 0, 0, 0]);

    // One request is left. It is aborted; what is not held is not.
    let abort = |cid: u16| sqe(admin::ABORT, 0, u32::from(cid) << 16, 0);
    let last = event_request(&mut host, &mut model);
    let (cqe, _) = host.ask(&mut model, abort(last), 0);
    assert_eq!(cqe.result, 0);
    let (tag, cqe, _) = host.done.pop().unwrap();
    assert_eq!((tag, cqe.status().plain()), (last, Status::ABORT_REQUESTED));
    assert_eq!(host.ask(&mut model, abort(last), 0).0.result, 1);
}

/// Goal: I/O follows the ANA state of its listener. Method: each state, and back.
#[test]
fn io_follows_ana() {
    let mut model = Model::new(64);
    let (_admin, cntlid) = admin(&mut model);
    let mut io = Host::io(&mut model, host_config(), CUTS, cntlid, 1, true);
    for (state, status) in [
        (AnaState::Inaccessible, Status::ANA_INACCESSIBLE),
        (AnaState::NonOptimized, Status::SUCCESS),
        (AnaState::Change, Status::ANA_TRANSITION),
        (AnaState::PersistentLoss, Status::ANA_PERSISTENT_LOSS),
        (AnaState::Optimized, Status::SUCCESS),
    ] {
        let changes = model.target.set_ana_state(&nqn(), &address(), None, state).unwrap();
        model.apply(changes);
        let (cqe, _) = io.call(&mut model, write(1, 0, 1, 512, false), vec![1; 512]);
        assert_eq!(cqe.status(), status, "{state:?}, and never DNR");
    }
    let changes = model.target.remove_namespace(&nqn(), 1).unwrap();
    model.apply(changes);
    let (cqe, _) = io.call(&mut model, read(1, 0, 1, 512), vec![0; 512]);
    assert_eq!(cqe.status(), Status::INVALID_NAMESPACE.finally());
    assert_eq!((cqe.sq_id, cqe.sq_head), (1, 7), "Connect and six commands were taken");
}

/// Goal: an association ends when its host is silent for longer than it said, and not before. Method: the
/// keep alive timer to the second, with and without a sign of life.
#[test]
fn silence_ends_an_association() {
    let mut model = Model::new(64);
    let (mut host, cntlid) = admin(&mut model);
    let io = Host::io(&mut model, host_config(), CUTS, cntlid, 1, false);
    model.advance(10_900_000);
    host.call(&mut model, device::nvme_tcp::keep_alive(), Vec::new());
    model.advance(10_900_000);
    assert!(!model.is_closed(host.link) && !model.is_closed(io.link));
    model.advance(200_000);
    assert!(model.is_closed(host.link) && model.is_closed(io.link));
    assert!(model.target.associations().is_empty());
}

/// Goal: a discovery controller lists what its host may connect to, tells of changes, and has nothing
/// else. Method: a second address, a host that is not listed, and commands that are not for it.
#[test]
fn discovery_lists_what_may_be_had() {
    let mut model = Model::new(64);
    let second = Address { address: "192.0.2.2".to_owned(), ..address() };
    let state = AnaState::Optimized;
    let changes = model.target.add_listener(&nqn(), second, state).unwrap();
    model.apply(changes);
    let mut host = Host::open(&mut model, host_config(), CUTS);
    let mut buffer = vec![0; 1024];
    let command = connect(&connecting(Nqn::discovery(), true), 0, 0xffff, &mut buffer);
    assert!(host.call(&mut model, command, buffer).0.status().is_ok());
    // No I/O queues, so no sizes of their entries.
    set_cc(&mut host, &mut model, 1);
    let entries = |page: &[u8]| {
        let header = DiscoveryHeader::get(page);
        let entries: Vec<DiscoveryEntry> = page[1024..]
            .chunks(1024)
            .take(header.records as usize)
            .map(DiscoveryEntry::get)
            .collect();
        (header.generation, entries)
    };
    let page = log(&mut model, &mut host, id::DISCOVERY, 8192);
    let (generation, listed) = entries(&page);
    assert_eq!(listed.len(), 3);
    assert_eq!((listed[0].kind, listed[0].nqn), (3, Nqn::discovery().to_field()));
    assert_eq!((listed[1].kind, listed[1].nqn, listed[1].port_id), (2, nqn().to_field(), 0));
    assert_eq!(
        (&listed[2].address[..10], &listed[2].service[..6]),
        (&b"192.0.2.2 "[..], &b"4420  "[..])
    );
    assert_eq!((listed[2].transport, listed[2].family, listed[2].port_id), (3, 1, 1));

    host.ask(&mut model, sqe(admin::SET_FEATURES, 0, 0x0b, 1 << 31), 0);
    event_request(&mut host, &mut model);
    let changes = model.target.allow_any_host(&nqn(), false).unwrap();
    model.apply(changes);
    host.exchange(&mut model);
    let (_, cqe, _) = host.done.pop().unwrap();
    assert_eq!(Event::from_result(cqe.result as u32), Some(Event::DiscoveryChanged));
    let (later, listed) = entries(&log(&mut model, &mut host, id::DISCOVERY, 8192));
    assert!(later > generation && listed.len() == 1, "only itself");

    let (cqe, bytes) = host.ask(&mut model, sqe(admin::IDENTIFY, 0, 1, 0), 4096);
    assert_eq!((cqe.status(), identify::Controller::get(&bytes).kind), (Status::SUCCESS, 2));
    let (cqe, _) = host.ask(&mut model, sqe(admin::IDENTIFY, 1, 0, 0), 4096);
    assert_eq!(cqe.status(), Status::INVALID_FIELD.finally());
    let (cqe, _) = host.ask(&mut model, log_sqe(id::ANA, 0, 64, false), 64);
    assert_eq!(cqe.status(), Status::INVALID_LOG_PAGE.finally());
}
