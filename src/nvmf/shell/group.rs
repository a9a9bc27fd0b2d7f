//! All links of one reactor, polled once a turn.
//!
//! ```text
//!   poll     completions of bdevs --> epoll finds links --> hot links: read, judge, execute --> completions
//!   unplug   one gathered write a link
//! ```
//!
//! A link is *hot* while it moves, and for a moment afterwards: its socket is read every turn without
//! asking first. The others are watched by an epoll of the group's own, which ends the reactor's sleep.
//!
//! Invariants: what is asked of the desk is not lost when its queue is full: it is kept, one Connect and
//! two farewells a link at most, and asked again; a link's place is given to another one only when no
//! request at a bdev names it any more.
//!
//! Not here: what one link does (`link`, `io`), messages of the desk (`adopt`).

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use crossbeam::channel::{Sender, TrySendError};
use device::{Completion as IoCompletion, IoChannel};
use nvme::fabrics::{Connect, ConnectData, kind};
use nvme::{Layout, Status};
use reactor::memory::{IoBufMut, Pool};
use reactor::{Cx, Layer, Poller, Ticks};
use rustix::event::epoll::{self, CreateFlags, Event as EpollEvent, EventData, EventFlags};

use super::io::{self as jobs, Channel, Channels};
use super::link::{Link, LinkState, Stage};
use crate::limits::{
    NVMF_BUFFER_BYTES_PER_REACTOR, NVMF_EVENTS_PER_TURN_MAX, NVMF_HOT_US, NVMF_LOOK_US,
};
use crate::nvmf::auth::Session;
use crate::nvmf::connection::{Completion, Tag};
use crate::nvmf::controller::{Effect, Outcome};
use crate::nvmf::queue::{Role, Work};
use crate::nvmf::subsystem::AssociationId;
use crate::nvmf::transfer::Transfer;

/// Number of a link, never used again.
pub type LinkNo = u64;

/// What a group asks of the desk, in order.
#[derive(Debug)]
pub(crate) enum Ask {
    /// A queue wants to belong to a controller.
    Connect { link: LinkNo, tag: Tag, connect: Connect, data: Box<ConnectData> },
    /// A host proves who it is: the transaction and the message, or room for one, go along.
    Authenticate { link: LinkNo, tag: Tag, session: Box<Session>, is_send: bool, buffer: IoBufMut },
    /// A controller was enabled, or reset or shut down.
    Enabled { association: AssociationId, enabled: bool },
    /// A link is closed.
    Gone { link: LinkNo },
    /// No bdev has a request of it any more.
    Over { link: LinkNo },
    /// From the service itself: the end.
    Stop,
}

/// What a group has done, and has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupStats {
    /// Admin queues since the start.
    pub admin_queues: u64,
    /// I/O queues since the start.
    pub io_queues: u64,
    /// Admin queues now.
    pub admin_queues_now: u64,
    /// I/O queues now.
    pub io_queues_now: u64,
    /// Connections that are no queue yet.
    pub unassociated_now: u64,
    /// Requests at bdevs.
    pub pending_requests: u64,
    /// Commands that were completed.
    pub completed: u64,
    /// Bytes of buffers that are not lent.
    pub free_buffer_bytes: u64,
}

/// What has become of a bdev whose namespace goes.
#[derive(Debug)]
pub(super) enum Retired {
    /// It has requests, which are waited for.
    Busy,
    /// It is out, with the channel that it had.
    Out(Option<Box<Channel>>),
}

/// A link, and how it is looked at.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) link: Link,
    is_hot: bool,
    interest: EventFlags,
    told_gone: bool,
}

/// See the module.
pub(super) struct Group {
    places: Vec<Option<Box<Place>>>,
    free: Vec<usize>,
    by_no: BTreeMap<LinkNo, usize>,
    hot: Vec<usize>,
    /// When it was looked for those that are not hot.
    looked_us: u64,
    pub(super) channels: Channels,
    pub(super) pool: Pool,
    epoll: OwnedFd,
    events: Vec<EpollEvent>,
    done: Vec<IoCompletion>,
    asks: Sender<Ask>,
    owed: VecDeque<Ask>,
    pub(super) stats: GroupStats,
}

impl Group {
    pub(super) fn new(asks: Sender<Ask>) -> io::Result<Self> {
        Ok(Self {
            places: Vec::new(),
            free: Vec::new(),
            by_no: BTreeMap::new(),
            hot: Vec::new(),
            looked_us: 0,
            channels: Channels::default(),
            pool: Pool::new(NVMF_BUFFER_BYTES_PER_REACTOR)?,
            epoll: epoll::create(CreateFlags::CLOEXEC)?,
            events: Vec::with_capacity(NVMF_EVENTS_PER_TURN_MAX),
            done: Vec::new(),
            asks,
            owed: VecDeque::new(),
            stats: GroupStats::default(),
        })
    }

    pub(super) fn epoll(&self) -> &OwnedFd {
        &self.epoll
    }

    /// Takes a link in.
    pub(super) fn insert(&mut self, link: Link) -> io::Result<()> {
        let slot = self.free.pop().unwrap_or(self.places.len());
        if slot == self.places.len() {
            self.places.push(None);
        }
        if let Some(stream) = &link.stream {
            let data = EventData::new_u64(slot as u64);
            if let Err(error) = epoll::add(&self.epoll, stream, data, EventFlags::IN) {
                self.free.push(slot);
                return Err(error.into());
            }
        }
        self.by_no.insert(link.no, slot);
        let interest = EventFlags::IN;
        let place = Place { link, is_hot: false, interest, told_gone: false };
        self.places[slot] = Some(Box::new(place));
        self.heat(slot);
        Ok(())
    }

    /// The link of that number, and its place.
    pub(super) fn find(&mut self, no: LinkNo) -> Option<(usize, &mut Link)> {
        let slot = *self.by_no.get(&no)?;
        let place = self.places[slot].as_mut()?;
        Some((slot, &mut place.link))
    }

    pub(super) fn links(&mut self) -> impl Iterator<Item = (usize, &mut Link)> {
        let places = self.places.iter_mut().enumerate();
        places.filter_map(|(slot, place)| place.as_mut().map(|place| (slot, &mut place.link)))
    }

    /// Has a link be looked at in this turn and the next ones.
    pub(super) fn heat(&mut self, slot: usize) {
        if let Some(place) = &mut self.places[slot]
            && !place.is_hot
        {
            place.is_hot = true;
            self.hot.push(slot);
        }
    }

    /// Asks the desk, or remembers to.
    pub(super) fn ask(&mut self, ask: Ask) {
        if !self.owed.is_empty() {
            self.owed.push_back(ask);
            return;
        }
        match self.asks.try_send(ask) {
            Ok(()) => {}
            Err(TrySendError::Full(ask)) => self.owed.push_back(ask),
            // The service has ended, and all of this will.
            Err(TrySendError::Disconnected(_)) => {}
        }
    }

    fn ask_again(&mut self) -> usize {
        let mut progress = 0;
        while let Some(ask) = self.owed.pop_front() {
            match self.asks.try_send(ask) {
                Ok(()) => progress += 1,
                Err(TrySendError::Full(ask)) => {
                    self.owed.push_front(ask);
                    break;
                }
                Err(TrySendError::Disconnected(_)) => self.owed.clear(),
            }
        }
        progress
    }

    // ---- the turn

    fn poll(&mut self, now_us: u64) -> usize {
        let mut progress = self.collect() + self.ask_again();
        progress += self.look_around(now_us);
        let mut at = 0;
        while at < self.hot.len() {
            let slot = self.hot[at];
            let (moved, stays) = self.visit(slot, now_us);
            progress += moved;
            if stays {
                at += 1;
            } else {
                self.hot.swap_remove(at);
            }
        }
        // What bdevs in memory have done already is answered in this turn, without another read before.
        progress + self.collect()
    }

    /// Takes what bdevs have finished.
    fn collect(&mut self) -> usize {
        let mut progress = 0;
        let mut done = std::mem::take(&mut self.done);
        for channel in self.channels.iter_mut() {
            let count = channel.channel.poll(&mut done);
            channel.in_flight -= count;
            progress += count;
        }
        for completion in done.drain(..) {
            let (slot, tag) = jobs::of_token(completion.io.token);
            if let Some(place) = &mut self.places[slot] {
                if place.told_gone {
                    jobs::exorcise(&place.link, tag, &mut self.channels);
                }
                jobs::done(&mut place.link, tag, completion);
            }
            self.heat(slot);
        }
        self.done = done;
        progress
    }

    /// Finds links that are not hot, and have something to read or room to write.
    fn look_around(&mut self, now_us: u64) -> usize {
        let links = self.by_no.len();
        if links == 0 || links == self.hot.len() && !self.some_are_blocked() {
            return 0;
        }
        // While others move, those that do not can wait a moment: looking is a system call.
        if !self.hot.is_empty() && now_us.saturating_sub(self.looked_us) < NVMF_LOOK_US {
            return 0;
        }
        self.looked_us = now_us;
        self.events.clear();
        let spare = rustix::buffer::spare_capacity(&mut self.events);
        let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        if epoll::wait(&self.epoll, spare, Some(&now)).is_err() {
            return 0;
        }
        let mut progress = 0;
        for at in 0..self.events.len() {
            let (flags, data) = (self.events[at].flags, self.events[at].data.u64());
            let slot = data as usize;
            let Some(place) = self.places.get_mut(slot).and_then(Option::as_mut) else { continue };
            if flags.intersects(EventFlags::OUT | EventFlags::HUP | EventFlags::ERR) {
                place.link.is_blocked = false;
            }
            progress += usize::from(!place.is_hot);
            self.heat(slot);
        }
        progress
    }

    fn some_are_blocked(&self) -> bool {
        let is_blocked =
            |slot: &usize| self.places[*slot].as_ref().is_some_and(|place| place.link.is_blocked);
        self.hot.iter().any(is_blocked)
    }

    /// Lets one link move. Says how much it did, and whether it stays hot.
    fn visit(&mut self, slot: usize, now_us: u64) -> (usize, bool) {
        let Some(mut place) = self.places[slot].take() else { return (0, false) };
        let mut progress = place.link.receive(&self.pool);
        progress += self.execute(slot, &mut place.link, now_us);
        if !place.link.stalled.is_empty() {
            progress += jobs::retry(&mut place.link, slot, &mut self.channels);
        }
        if progress > 0 {
            place.link.active_us = now_us;
            if let Some(joined) = &place.link.joined {
                joined.pulse.beat(now_us);
            }
        }
        self.say_goodbye(&mut place);
        if place.link.is_over() {
            self.remove(slot, *place);
            return (progress + 1, false);
        }
        let is_quiet = now_us.saturating_sub(place.link.active_us) > NVMF_HOT_US;
        let stays = !is_quiet || place.link.is_restless();
        place.is_hot = stays;
        if !stays || place.link.is_blocked != place.interest.contains(EventFlags::OUT) {
            self.watch(slot, &mut place);
        }
        self.places[slot] = Some(place);
        (progress, stays)
    }

    /// What about its socket is worth waking up for.
    fn watch(&self, slot: usize, place: &mut Place) {
        let Some(stream) = &place.link.stream else { return };
        let mut wanted = EventFlags::empty();
        wanted.set(EventFlags::IN, place.link.reads());
        wanted.set(EventFlags::OUT, place.link.is_blocked);
        if wanted != place.interest {
            let data = EventData::new_u64(slot as u64);
            match epoll::modify(&self.epoll, stream, data, wanted) {
                Ok(()) => place.interest = wanted,
                Err(error) => tracing::error!(peer = %place.link.peer, %error, "cannot watch"),
            }
        }
    }

    fn say_goodbye(&mut self, place: &mut Place) {
        if place.link.stream.is_none() && !place.told_gone {
            place.told_gone = true;
            jobs::haunt(&place.link, &mut self.channels);
            self.ask(Ask::Gone { link: place.link.no });
        }
    }

    fn remove(&mut self, slot: usize, place: Place) {
        self.by_no.remove(&place.link.no);
        self.free.push(slot);
        self.stats.completed += place.link.completed;
        self.ask(Ask::Over { link: place.link.no });
    }

    /// Executes what is ready.
    fn execute(&mut self, slot: usize, link: &mut Link, now_us: u64) -> usize {
        let mut progress = 0;
        while let Some(tag) = link.ready.pop_front() {
            progress += 1;
            match link.commands[usize::from(tag)].work {
                Work::Io(request) => jobs::begin(link, slot, tag, request, &mut self.channels),
                Work::Admin => self.administrate(link, tag, now_us),
                Work::Connect => self.connect(link, tag),
                Work::Disconnect => {
                    link.complete(tag, Completion::OK, None, 0);
                    link.ends = true;
                }
                Work::Authentication => self.authenticate(link, tag),
            }
        }
        progress
    }

    fn administrate(&mut self, link: &mut Link, tag: Tag, now_us: u64) {
        link.hear_queues();
        let command = &mut link.commands[usize::from(tag)];
        let stage = std::mem::replace(&mut command.stage, Stage::Held);
        let (Stage::Receiving(mut buffer), Some(controller)) = (stage, &mut link.controller) else {
            return link.complete(tag, Completion::of(Status::SEQUENCE_ERROR), None, 0);
        };
        let sqe = command.sqe;
        let data = buffer.as_deref_mut().unwrap_or_default();
        if matches!(controller.transfer(&sqe), Ok(Transfer::ToHost { .. })) {
            // A pool's memory has the bytes of whoever had it before.
            data.fill(0);
        }
        let (outcome, effect) = controller.execute(now_us, tag, &sqe, data);
        if let Some(joined) = &link.joined {
            let association = joined.association;
            match effect {
                Effect::None => {}
                Effect::Enabled => self.ask(Ask::Enabled { association, enabled: true }),
                Effect::Disabled => self.ask(Ask::Enabled { association, enabled: false }),
            }
        }
        if let Outcome::Complete { completion, data_bytes } = outcome {
            link.complete(tag, completion, buffer, data_bytes);
        }
        link.tell_events();
    }

    fn connect(&mut self, link: &mut Link, tag: Tag) {
        let command = &mut link.commands[usize::from(tag)];
        let stage = std::mem::replace(&mut command.stage, Stage::Asked);
        let Stage::Receiving(Some(buffer)) = stage else {
            unreachable!("a command that is ready has its buffer")
        };
        let (connect, data) = (command.sqe.specific(), Box::new(ConnectData::get(&buffer)));
        self.ask(Ask::Connect { link: link.no, tag, connect, data });
    }

    /// The arithmetic takes milliseconds, so it is done at the desk.
    fn authenticate(&mut self, link: &mut Link, tag: Tag) {
        let command = &mut link.commands[usize::from(tag)];
        let is_send = command.sqe.fabrics_kind() == kind::AUTHENTICATION_SEND;
        let stage = std::mem::replace(&mut command.stage, Stage::Asked);
        match (stage, link.session.take()) {
            (Stage::Receiving(Some(buffer)), Some(session)) => {
                let link = link.no;
                self.ask(Ask::Authenticate { link, tag, session, is_send, buffer });
            }
            // One message at a time.
            (_, session) => {
                link.session = session;
                let status = Status::SEQUENCE_ERROR.finally();
                link.complete(tag, Completion::of(status), None, 0);
            }
        }
    }

    fn unplug(&mut self) {
        for at in 0..self.hot.len() {
            let Some(place) = &mut self.places[self.hot[at]] else { continue };
            let link = &mut place.link;
            if link.ends || link.connection.has_output() && !link.is_blocked {
                link.send();
            }
        }
    }

    /// Time passes.
    pub(super) fn tick(&mut self, now_us: u64) {
        for slot in 0..self.places.len() {
            let Some(place) = &mut self.places[slot] else { continue };
            place.link.tick(now_us);
            if place.link.stream.is_none() {
                self.heat(slot);
            }
        }
    }

    /// Takes out a bdev whose namespace goes, once nothing is there any more, or whatever is.
    pub(super) fn retire(&mut self, key: u64, by_force: bool) -> Retired {
        let Some(channel) = self.channels.get_mut(key) else { return Retired::Out(None) };
        channel.retires = true;
        if channel.in_flight > 0 && !by_force {
            return Retired::Busy;
        }
        let channel = self.channels.remove(key).map(Box::new);
        for (_, link) in self.links() {
            let of_it = |stage: &Stage| matches!(stage, Stage::Io(job) if job.request.key == key);
            let tags = (0..link.commands.len()).filter(|at| of_it(&link.commands[*at].stage));
            let tags: Vec<Tag> = tags.map(|at| at as Tag).collect();
            for tag in tags {
                jobs::tear(link, tag);
            }
        }
        for slot in 0..self.places.len() {
            self.heat(slot);
        }
        Retired::Out(channel)
    }

    pub(super) fn stats(&mut self) -> GroupStats {
        let mut stats = self.stats;
        stats.pending_requests = self.channels.in_flight() as u64;
        stats.free_buffer_bytes = self.pool.free_bytes() as u64;
        for (_, link) in self.links() {
            stats.completed += link.completed;
            match (link.state(), link.queue.role()) {
                (_, Some(Role::Admin)) => stats.admin_queues_now += 1,
                (_, Some(Role::Io)) => stats.io_queues_now += 1,
                (LinkState::Unassociated, None) => stats.unassociated_now += 1,
                (LinkState::Active | LinkState::Deactivating, None) => {}
            }
        }
        stats
    }

    /// No link is left.
    pub(super) fn is_empty(&self) -> bool {
        self.by_no.is_empty()
    }

    fn can_sleep(&self) -> bool {
        let restless = |slot: &usize| {
            let place = self.places[*slot].as_ref();
            place.is_some_and(|place| place.link.is_restless() || place.interest_is_stale())
        };
        self.owed.is_empty() && !self.hot.iter().any(restless)
    }
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group")
            .field("links", &self.by_no)
            .field("hot", &self.hot)
            .field("channels", &self.channels)
            .field("owed", &self.owed.len())
            .finish_non_exhaustive()
    }
}

impl Place {
    /// What wakes up for it is not what should.
    fn interest_is_stale(&self) -> bool {
        self.link.stream.is_some()
            && (self.link.reads() != self.interest.contains(EventFlags::IN)
                || self.link.is_blocked != self.interest.contains(EventFlags::OUT))
    }
}

/// The group as its reactor polls it.
#[derive(Debug)]
pub(super) struct GroupPoller(pub(super) Rc<RefCell<Group>>);

impl Poller for GroupPoller {
    fn name(&self) -> &str {
        "nvmf_tcp"
    }

    fn poll(&mut self, cx: &mut Cx) -> usize {
        self.0.borrow_mut().poll(cx.now().as_micros())
    }

    fn unplug(&mut self, _: &mut Cx) {
        self.0.borrow_mut().unplug();
    }

    fn can_sleep(&self) -> bool {
        self.0.borrow().can_sleep()
    }

    fn layer(&self) -> Layer {
        Layer::Client
    }
}

/// The group of the reactor that `cx` belongs to.
pub(super) fn group_of(cx: &Cx) -> Option<Rc<RefCell<Group>>> {
    cx.find_local::<RefCell<Group>>(0)
}

/// Puts a group onto a reactor.
pub(super) fn install(cx: &mut Cx, asks: Sender<Ask>) -> io::Result<()> {
    const TICK: Ticks = Ticks::from_secs(1);
    let group = Group::new(asks)?;
    let watch = cx.try_watch_fd(group.epoll().as_fd(), reactor::Interest::Readable)?;
    let group = cx.local(0, |_| RefCell::new(group));
    let ticking = Rc::clone(&group);
    let next = cx.now() + TICK;
    cx.add_timer(
        next,
        Box::new(move |cx| {
            // The watch lives as long as the timer, which is as long as the reactor.
            let _ = &watch;
            ticking.borrow_mut().tick(cx.now().as_micros());
            Some(cx.now() + TICK)
        }),
    );
    cx.add_poller(Box::new(GroupPoller(group)));
    Ok(())
}
