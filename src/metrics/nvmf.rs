//! Metrics of the NVMe/TCP target.
//!
//! Labels are names of subsystems, which are bounded, and never those of hosts, which are not.
//!
//! Not here: what namespaces do, which is what their bdevs do (`bdevs`).

use super::families::{Families, Family};
use crate::nvmf::shell::{SubsystemLook, TargetLook};

pub(super) fn collect(target: &TargetLook, families: &mut Families) {
    let each = |family: &mut Family, value: fn(&SubsystemLook) -> u64| {
        for subsystem in &target.subsystems {
            family.count(&[("nqn", subsystem.nqn.as_str())], value(subsystem));
        }
    };
    families.gauge("nvmf_subsystem_info", "What an NVMe subsystem is.", |family| {
        for SubsystemLook { nqn, serial, model, .. } in &target.subsystems {
            family.count(&[("nqn", nqn.as_str()), ("serial", serial), ("model", model)], 1);
        }
    });
    families.gauge("nvmf_namespaces", "Namespaces of a subsystem.", |family| {
        each(family, |one| one.namespaces);
    });
    families.gauge("nvmf_listeners", "Addresses that a subsystem listens at.", |family| {
        each(family, |one| one.listeners);
    });
    families.gauge("nvmf_controllers", "Controllers: connected hosts, by path.", |family| {
        each(family, |one| one.controllers);
    });
    families.gauge("nvmf_queues", "Queues that are connected.", |family| {
        for SubsystemLook { nqn, controllers, io_queues, .. } in &target.subsystems {
            for (kind, count) in [("admin", *controllers), ("io", *io_queues)] {
                family.count(&[("nqn", nqn.as_str()), ("type", kind)], count);
            }
        }
    });
    families.counter("nvmf_connects_total", "Queues that were connected.", |family| {
        each(family, |one| one.traffic.connects);
    });
    let help = "Hosts that did not prove who they are.";
    families.counter("nvmf_authentication_failures_total", help, |family| {
        each(family, |one| one.traffic.authentication_failures);
    });
    collect_commands(target, families);
    let help = "Connects that were refused: an unknown subsystem, a host that may not, no room.";
    families.counter("nvmf_refused_connects_total", help, |family| {
        family.count(&[], target.connects_refused);
    });
    let help = "Connections: open, or closing, which is closed while bdevs have requests of it.";
    families.gauge("nvmf_connections", help, |family| {
        for (state, count) in
            [("open", target.connections), ("closing", target.connections_closing)]
        {
            family.count(&[("state", state)], count);
        }
    });
}

fn collect_commands(target: &TargetLook, families: &mut Families) {
    let help = "I/O commands that a bdev has carried out; Compare and Verify are reads.";
    families.counter("nvmf_commands_total", help, |family| {
        for SubsystemLook { nqn, traffic, .. } in &target.subsystems {
            let usage = &traffic.usage;
            for (op, count) in
                [("read", usage.reads), ("write", usage.writes), ("other", usage.others)]
            {
                family.count(&[("nqn", nqn.as_str()), ("op", op)], count);
            }
        }
    });
    let help = "Bytes of reads and writes.";
    families.counter("nvmf_bytes_total", help, |family| {
        for SubsystemLook { nqn, traffic, .. } in &target.subsystems {
            let usage = &traffic.usage;
            for (op, count) in [("read", usage.read_bytes), ("write", usage.written_bytes)] {
                family.count(&[("nqn", nqn.as_str()), ("op", op)], count);
            }
        }
    });
    let help = "I/O commands that failed, or were refused.";
    families.counter("nvmf_command_errors_total", help, |family| {
        for SubsystemLook { nqn, traffic, .. } in &target.subsystems {
            family.count(&[("nqn", nqn.as_str())], traffic.usage.errors);
        }
    });
}
