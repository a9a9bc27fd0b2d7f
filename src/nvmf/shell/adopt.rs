//! What the service tells a reactor: messages, each of which is one function here.
//!
//! A link that a message names may be gone; then there is nothing to do.
//!
//! Not here: who sends them (`service`).

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use device::{Bdev, OpenError};
use nvme::Status;
use nvme::fabrics::RESULT_AUTHENTICATION_REQUIRED;
use reactor::Cx;
use reactor::memory::IoBufMut;

use super::fence::Fence;
use super::group::{Ask, GroupStats, LinkNo, Retired, group_of};
use super::link::{Joined, Link};
use super::pulse::Pulse;
use crate::nvmf::auth::{AuthConfig, Progress, Session};
use crate::nvmf::connection::{Completion, ConnectionConfig, Tag};
use crate::nvmf::controller::Controller;
use crate::nvmf::queue::Role;
use crate::nvmf::subsystem::{Admitted, ConnectRefused, DiscoveryLog};
use crate::nvmf::view::View;

/// A connection that was accepted lives here from now on.
pub(super) fn adopt(
    cx: &mut Cx,
    no: LinkNo,
    stream: TcpStream,
    peer: SocketAddr,
    config: ConnectionConfig,
) {
    let Some(group) = group_of(cx) else { return };
    let mut group = group.borrow_mut();
    let mut link = Link::new(no, stream, peer, config, cx.now().as_micros());
    link.make_room();
    if let Err(error) = group.insert(link) {
        tracing::error!(%peer, %error, "a connection cannot be watched, so it is closed");
        group.ask(Ask::Gone { link: no });
        group.ask(Ask::Over { link: no });
    }
}

/// A Connect was accepted: the link is a queue.
pub(super) fn admitted(
    cx: &mut Cx,
    no: LinkNo,
    tag: Tag,
    admitted: Admitted,
    pulse: Arc<Pulse>,
    auth: Option<AuthConfig>,
) {
    let Some(group) = group_of(cx) else { return };
    let now_us = cx.now().as_micros();
    let mut group = group.borrow_mut();
    let Some((slot, link)) = group.find(no) else { return };
    let Admitted { association, role, qid, entries, flow_control, keys, .. } = admitted;
    let Admitted { identity, host, view, discovery, .. } = admitted;
    let is_open = link.stream.is_some();
    if is_open {
        link.connection.bind(qid, entries, flow_control);
        link.make_room();
        link.queue.connected(role, Arc::clone(&view), keys.is_some());
        pulse.beat(now_us);
        link.joined = Some(Joined { association, qid, pulse });
        if let Some(config) = auth {
            let session = Session::new(host.nqn.clone(), identity.nqn.clone(), config);
            link.session = Some(Box::new(session));
            link.unproven_since_us = Some(now_us);
        }
    }
    let required = if keys.is_some() { RESULT_AUTHENTICATION_REQUIRED } else { 0 };
    let result = u64::from(u32::from(host.cntlid) | required);
    if is_open && role == Role::Admin {
        let controller = Controller::new(identity, host, view, discovery, now_us);
        link.controller = Some(Box::new(controller));
    }
    link.complete(tag, Completion::result(result), None, 0);
    match role {
        Role::Admin => group.stats.admin_queues += 1,
        Role::Io => group.stats.io_queues += 1,
    }
    group.heat(slot);
}

/// A message of authentication has been dealt with: the transaction, the buffer, what is in it, and what
/// that has changed.
pub(super) fn authenticated(
    cx: &mut Cx,
    no: LinkNo,
    tag: Tag,
    session: Box<Session>,
    buffer: IoBufMut,
    outcome: Result<(usize, Progress), Status>,
) {
    let Some(group) = group_of(cx) else { return };
    let mut group = group.borrow_mut();
    let Some((slot, link)) = group.find(no) else { return };
    link.session = Some(session);
    match outcome {
        Ok((len, progress)) => {
            match progress {
                Progress::Pending => {}
                Progress::Authenticated => {
                    link.queue.authenticated();
                    link.unproven_since_us = None;
                }
                Progress::Failed => {
                    tracing::warn!(peer = %link.peer, "a host has not proved who it is");
                    if let Some(joined) = &link.joined {
                        let failures = &joined.pulse.traffic.authentication_failures;
                        failures.fetch_add(1, Ordering::Relaxed);
                    }
                    link.ends = true;
                }
            }
            link.complete(tag, Completion::OK, Some(buffer), len as u32);
        }
        Err(status) => link.complete(tag, Completion::of(status), None, 0),
    }
    group.heat(slot);
}

/// A Connect was refused.
pub(super) fn refused(cx: &mut Cx, no: LinkNo, tag: Tag, refused: ConnectRefused) {
    let Some(group) = group_of(cx) else { return };
    let mut group = group.borrow_mut();
    let Some((slot, link)) = group.find(no) else { return };
    let result = u64::from(refused.result);
    link.complete(tag, Completion { status: refused.status, result }, None, 0);
    group.heat(slot);
}

/// Namespaces or ANA states have changed.
pub(super) fn set_view(cx: &mut Cx, no: LinkNo, view: Arc<View>, changed: &[u32]) {
    let Some(group) = group_of(cx) else { return };
    let mut group = group.borrow_mut();
    let Some((slot, link)) = group.find(no) else { return };
    link.queue.set_view(Arc::clone(&view));
    if let Some(controller) = &mut link.controller {
        controller.set_view(view, changed);
    }
    link.tell_events();
    group.heat(slot);
}

/// The discovery log has changed.
pub(super) fn set_discovery(cx: &mut Cx, no: LinkNo, log: Arc<DiscoveryLog>) {
    let Some(group) = group_of(cx) else { return };
    let mut group = group.borrow_mut();
    let Some((slot, link)) = group.find(no) else { return };
    if let Some(controller) = &mut link.controller {
        controller.set_discovery(log);
    }
    link.tell_events();
    group.heat(slot);
}

/// A link ends. What has come is executed by nobody any more, and what is at bdevs is answered to nobody.
pub(super) fn close(cx: &mut Cx, no: LinkNo) {
    let Some(group) = group_of(cx) else { return };
    let mut group = group.borrow_mut();
    let Some((slot, link)) = group.find(no) else { return };
    link.close();
    group.heat(slot);
}

/// All links end; says whether none is left.
pub(super) fn close_all(cx: &mut Cx) -> bool {
    let Some(group) = group_of(cx) else { return true };
    let mut group = group.borrow_mut();
    let mut slots = Vec::new();
    for (slot, link) in group.links() {
        link.close();
        slots.push(slot);
    }
    for slot in slots {
        group.heat(slot);
    }
    group.is_empty()
}

/// Opens a bdev for a namespace.
pub(super) fn open(
    cx: &mut Cx,
    key: u64,
    bdev: &Arc<dyn Bdev>,
    fence: Arc<Fence>,
) -> Result<(), OpenError> {
    let channel = bdev.open_client(cx)?;
    let device = (!bdev.ends_what_is_given_up()).then(|| bdev.info().uuid);
    if let Some(group) = group_of(cx) {
        group.borrow_mut().channels.insert(key, channel, device, fence);
    }
    Ok(())
}

/// Closes the bdev of a namespace, once nothing is there any more or whatever is; says whether it is done.
pub(super) fn retire(cx: &mut Cx, key: u64, by_force: bool) -> bool {
    let Some(group) = group_of(cx) else { return true };
    let retired = group.borrow_mut().retire(key, by_force);
    match retired {
        Retired::Busy => false,
        Retired::Out(channel) => {
            if let Some(channel) = channel {
                channel.give_up(cx);
            }
            true
        }
    }
}

/// What the group has done.
pub(super) fn stats(cx: &mut Cx) -> GroupStats {
    group_of(cx).map(|group| group.borrow_mut().stats()).unwrap_or_default()
}
