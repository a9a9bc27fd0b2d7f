//! The model's way of a command: from the bytes of its capsule to the bytes of its answer.

use nvme::Layout;
use nvme::fabrics::{Connect, ConnectData, RESULT_AUTHENTICATION_REQUIRED};
use nvme::stream::Part;
use nvme::{Sqe, Status};

use super::{AssociationId, Command, LinkId, Model, Order, execute};
use crate::nvmf::connection::{Accepted, Completion, Event, Tag, Want};
use crate::nvmf::controller::{Controller, Effect, Outcome};
use crate::nvmf::nvm::{Op, Request, ranges};
use crate::nvmf::queue::{CONNECT_TRANSFER, Role, Work};
use crate::nvmf::subsystem::ConnectRequest;
use crate::nvmf::transfer::Transfer;

impl Model {
    /// Bytes have come from the host. Everything that can be done is done.
    ///
    /// # Panics
    /// If the core breaks one of the model's invariants.
    pub fn feed(&mut self, id: LinkId, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() && !self.links[id].closed {
            let link = &mut self.links[id];
            let (used, event) = match link.connection.want() {
                Want::Header => link.connection.header(rest),
                Want::Data { tag, offset, len_bytes } => {
                    let len = rest.len().min(len_bytes as usize);
                    let command =
                        link.commands[usize::from(tag)].as_mut().expect("it has a buffer");
                    let place = offset as usize..offset as usize + len;
                    command.buffer[place.clone()].copy_from_slice(&rest[..len]);
                    (len, link.connection.placed(&command.buffer[place]))
                }
                Want::Discard { len_bytes } => {
                    let len = rest.len().min(len_bytes as usize);
                    link.connection.discarded(len as u32);
                    (len, None)
                }
                Want::Paused => unreachable!("the model decides at once"),
                Want::Closed => break,
            };
            rest = &rest[used..];
            if let Some(event) = event {
                self.handle(id, event);
                if self.order == Order::Arrival {
                    self.settle();
                }
            }
        }
        self.settle();
    }

    /// Takes up to `max` bytes that go to the host.
    pub fn output(&mut self, id: LinkId, max: usize) -> Vec<u8> {
        let link = &mut self.links[id];
        let mut bytes = Vec::new();
        for part in link.connection.parts() {
            let room = max.saturating_sub(bytes.len());
            match part {
                _ if room == 0 => break,
                Part::Bytes(part) => bytes.extend_from_slice(&part[..part.len().min(room)]),
                Part::Data { tag, offset, len_bytes } => {
                    let len_bytes = len_bytes.min(u32::try_from(room).unwrap_or(u32::MAX));
                    let command =
                        link.commands[usize::from(tag)].as_ref().expect("it has a buffer");
                    let range = offset as usize..(offset + len_bytes) as usize;
                    bytes.extend_from_slice(&command.buffer[range]);
                }
            }
        }
        let commands = &mut link.commands;
        link.connection.sent(bytes.len(), |tag| {
            assert!(commands[usize::from(tag)].take().is_some(), "{tag} is given back once");
        });
        if link.ending && !link.connection.has_output() {
            self.close(id);
        }
        bytes
    }

    fn handle(&mut self, id: LinkId, event: Event) {
        match event {
            Event::Command { tag, sqe } => self.decide(id, tag, sqe),
            Event::Conflict { tag, sqe } => {
                let commands = &mut self.links[id].commands;
                let at = usize::from(tag);
                commands.resize_with(commands.len().max(at + 1), || None);
                assert!(commands[at].is_none(), "{tag} has no buffer");
                let (work, buffer) = (Work::Disconnect, Vec::new());
                commands[at] = Some(Command { sqe, work, buffer });
            }
            Event::Ready { tag } => self.links[id].ready.push(tag),
            // The answer still refers to nothing of the buffer, but the tag is in use until it is sent.
            Event::Dropped { tag } => {
                let command = self.links[id].commands[usize::from(tag)].as_mut();
                command.expect("it has a buffer").buffer = Vec::new();
            }
            Event::Ending { .. } | Event::Terminated { .. } => {
                self.links[id].ending = true;
                if !self.links[id].connection.has_output() {
                    self.close(id);
                }
            }
        }
    }

    fn decide(&mut self, id: LinkId, tag: Tag, sqe: Sqe) {
        let judged = self.links[id].queue.judge(&sqe).and_then(|work| {
            let transfer = match work {
                Work::Connect => CONNECT_TRANSFER,
                Work::Admin => self.controller(id).transfer(&sqe)?,
                Work::Io(request) => request.transfer(),
                Work::Disconnect => Transfer::None,
                // The model has no keys, so no queue waits for this.
                Work::Authentication => return Err(Status::INVALID_OPCODE.finally()),
            };
            Ok((work, transfer))
        });
        let link = &mut self.links[id];
        if link.commands.len() <= usize::from(tag) {
            link.commands.resize_with(usize::from(tag) + 1, || None);
        }
        assert!(link.commands[usize::from(tag)].is_none(), "{tag} has no buffer yet");
        let (work, transfer) = match judged {
            Ok(judged) => judged,
            Err(status) => {
                let work = Work::Disconnect;
                link.commands[usize::from(tag)] = Some(Command { sqe, work, buffer: Vec::new() });
                link.connection.refuse(tag, status);
                return;
            }
        };
        let len = match transfer {
            Transfer::None => 0,
            Transfer::FromHost { len_bytes } | Transfer::ToHost { len_bytes } => len_bytes,
        };
        let buffer = vec![0xa5; len as usize];
        link.commands[usize::from(tag)] = Some(Command { sqe, work, buffer });
        if link.connection.accept(tag, transfer) == Ok(Accepted::Ready) {
            link.ready.push(tag);
        }
    }

    fn controller(&mut self, id: LinkId) -> &mut Controller {
        let (association, _) = self.links[id].association.expect("it is connected");
        &mut self.controllers.get_mut(&association).expect("its Admin queue is there").1
    }

    /// Executes everything that is ready.
    fn settle(&mut self) {
        for id in 0..self.links.len() {
            while !self.links[id].ready.is_empty() {
                let ready = &mut self.links[id].ready;
                let at = match &mut self.order {
                    Order::Arrival => 0,
                    Order::Shuffled(seed) => {
                        *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                        (*seed >> 33) as usize % ready.len()
                    }
                };
                let tag = ready.remove(at);
                self.execute(id, tag);
            }
        }
    }

    fn execute(&mut self, id: LinkId, tag: Tag) {
        let slot = &mut self.links[id].commands[usize::from(tag)];
        let mut command = slot.take().expect("it is ready once");
        let (completion, data_bytes) = match command.work {
            Work::Connect => (self.connect(id, &command), 0),
            Work::Admin => {
                let now_us = self.now_us;
                let Command { sqe, buffer, .. } = &mut command;
                let controller = self.controller(id);
                let (outcome, effect) = controller.execute(now_us, tag, sqe, buffer);
                self.take_effect(id, effect);
                match outcome {
                    Outcome::Complete { completion, data_bytes } => (completion, data_bytes),
                    Outcome::Held => {
                        self.links[id].commands[usize::from(tag)] = Some(command);
                        self.tell_events_of(id);
                        return;
                    }
                }
            }
            Work::Io(request) => self.execute_io(id, &request, &mut command.buffer),
            Work::Disconnect => {
                self.links[id].ending = true;
                (Completion::OK, 0)
            }
            Work::Authentication => unreachable!("the model has no keys"),
        };
        self.complete(id, tag, command, completion, data_bytes);
        self.tell_events_of(id);
    }

    fn complete(
        &mut self,
        id: LinkId,
        tag: Tag,
        command: Command,
        completion: Completion,
        data_bytes: u32,
    ) {
        let link = &mut self.links[id];
        let crc = |len: u32| nvme::pdu::digest(&command.buffer[..len as usize]);
        let free = link.connection.complete(tag, completion, data_bytes, crc);
        link.commands[usize::from(tag)] = (!free).then_some(command);
    }

    /// A request that was held, of a controller that has ended.
    pub(super) fn abandon(&mut self, id: LinkId, tag: Tag) {
        let command = self.links[id].commands[usize::from(tag)].take();
        let command = command.expect("a request that is held has its slot");
        self.complete(id, tag, command, Completion::of(Status::SQ_DELETED), 0);
    }

    fn execute_io(
        &mut self,
        id: LinkId,
        request: &Request,
        buffer: &mut [u8],
    ) -> (Completion, u32) {
        let Request { nsid, key, op, offset_bytes, len_bytes } = *request;
        let mut listed = Vec::new();
        if let Op::Deallocate { count, .. } = op {
            let namespace = self.links[id].queue.view().namespace(nsid);
            match namespace.and_then(|namespace| ranges(buffer, count, namespace)) {
                Ok(ranges) => listed.extend(ranges),
                Err(status) => return (Completion::of(status), 0),
            }
        }
        let disk = self.disks.get_mut(&key).expect("namespaces have disks");
        if !execute(disk, op, offset_bytes, len_bytes, buffer, &listed) {
            return (Completion::of(Status::COMPARE_FAILURE), 0);
        }
        (Completion::OK, if op == Op::Read { len_bytes } else { 0 })
    }

    fn connect(&mut self, id: LinkId, command: &Command) -> Completion {
        let link = &mut self.links[id];
        let data = ConnectData::get(&command.buffer);
        let connect: Connect = command.sqe.specific();
        let request = ConnectRequest { address: &link.address, connect, data: &data };
        let admitted = match self.target.connect(&request) {
            Ok(admitted) => admitted,
            Err(refused) => {
                let result = u64::from(refused.result);
                return Completion { status: refused.status, result };
            }
        };
        let authenticate = admitted.keys.is_some();
        link.connection.bind(admitted.qid, admitted.entries, admitted.flow_control);
        link.queue.connected(admitted.role, admitted.view.clone(), authenticate);
        link.association = Some((admitted.association, admitted.qid));
        let cntlid = admitted.host.cntlid;
        if admitted.role == Role::Admin {
            let controller = Controller::new(
                admitted.identity,
                admitted.host,
                admitted.view,
                admitted.discovery,
                self.now_us,
            );
            self.controllers.insert(admitted.association, (id, controller));
        }
        let required = if authenticate { RESULT_AUTHENTICATION_REQUIRED } else { 0 };
        Completion::result(u64::from(u32::from(cntlid) | required))
    }

    fn take_effect(&mut self, id: LinkId, effect: Effect) {
        let Some((association, _)) = self.links[id].association else { return };
        match effect {
            Effect::None => {}
            Effect::Enabled => self.target.set_enabled(association, true),
            Effect::Disabled => {
                self.target.set_enabled(association, false);
                for link in 0..self.links.len() {
                    if link != id && self.links[link].belongs_to(association) {
                        self.close(link);
                    }
                }
            }
        }
    }

    fn tell_events_of(&mut self, id: LinkId) {
        if let Some((association, _)) = self.links[id].association {
            self.tell_events(association);
        }
    }

    /// Answers requests for events that are due.
    pub(super) fn tell_events(&mut self, association: AssociationId) {
        while let Some((id, controller)) = self.controllers.get_mut(&association) {
            let id = *id;
            let Some((tag, completion)) = controller.next_event() else { return };
            let command = self.links[id].commands[usize::from(tag)].take();
            let command = command.expect("a request that is held has its slot");
            self.complete(id, tag, command, completion, 0);
        }
    }
}
