//! Everything that can be seen of a running service, at about one moment: what metrics, the status page
//! and `raid456 status` are made of.
//!
//! ```text
//!   registry --(its lock, if it is free)--> listing --LOOKS_PER_MESSAGE a turn-----> every reactor
//!                   `- busy: the last listing                                            |
//!                                      Survey <-- numbers of bdevs and arrays <-- looks -'
//! ```
//!
//! A survey is made while things go wrong, so it waits for nobody: not for a command that holds the
//! registry because a device does not answer (it then goes by the last listing), and not for a reactor
//! that does not turn (its numbers are missing, and the survey says so). On a reactor it reads what belongs
//! to that reactor, a few bdevs a turn; it takes no lock there and writes nothing.
//!
//! Not here: what the numbers are called (`metrics`, `status`).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, TryLockError, Weak};
use std::thread;

use array::{RaidBdev, RaidSnapshot, ShardLook};
use crossbeam::channel::{Sender, bounded};
use device::{Bdev, BdevInfo, Counted, IoStats, Limits};
use reactor::{Cx, Message, Ticks, clock};

use super::assembly::WaitingRaid;
use super::permits::Who;
use super::registry::{Claim, Entry};
use super::{Control, KeptCall, Kind, Lifecycle, ReactorView, State, lock};
use crate::limits::{LOOKS_PER_MESSAGE, REGISTRY_TRIES, REGISTRY_TRY_WAIT, SURVEY_TIME_LIMIT};

/// A reactor, and whether it answers.
#[derive(Debug, Clone)]
pub struct ReactorSurvey {
    /// What it has done.
    pub view: ReactorView,
    /// Whether it has answered in time.
    pub answers: bool,
}

/// A bdev, and what was done with it.
#[derive(Debug, Clone)]
pub struct BdevSurvey {
    /// Its description.
    pub info: Arc<BdevInfo>,
    /// What kind it is.
    pub kind: Kind,
    /// Who uses it.
    pub claim: Option<Claim>,
    /// How much may be done with it in a second.
    pub limits: Limits,
    /// Channels that are open, over all reactors.
    pub channels: u32,
    /// What was done, over all reactors.
    pub stats: IoStats,
}

/// An array that runs.
#[derive(Debug, Clone)]
pub struct ArraySurvey {
    /// Its name; that of an array of a mapped device is the device's, with the line of the table, `r0/1`,
    /// where it has several.
    pub name: String,
    /// Its description.
    pub info: Arc<BdevInfo>,
    /// How it is.
    pub snapshot: RaidSnapshot,
    /// The place among the bdevs of what hosts see of it; none where that is one of several arrays.
    pub bdev: Option<usize>,
    /// The array that has to finish first, where its background action waits for another one's.
    pub delayed_behind: Option<String>,
    /// When the last check or repair of all of it ended, in milliseconds since 1970.
    pub checked_unix_ms: Option<u64>,
}

/// See the module's notes.
#[derive(Debug, Clone)]
pub struct Survey {
    /// When it was made.
    pub now: Ticks,
    /// Whether the configuration is applied.
    pub started: bool,
    /// Whether a command held the registry, so that what is listed may be of a moment before.
    pub listing_is_old: bool,
    /// In ascending order of their cores.
    pub reactors: Vec<ReactorSurvey>,
    /// In the order of their creation.
    pub bdevs: Vec<BdevSurvey>,
    /// In the order of their creation. Those whose coordinator did not answer are not among them.
    pub arrays: Vec<ArraySurvey>,
    /// Known arrays that do not run.
    pub waiting: Vec<WaitingRaid>,
    /// What configuration and state ask for, and cannot be made yet.
    pub kept: Vec<KeptCall>,
}

impl Survey {
    /// Whether every reactor has answered. Sums over the reactors are wrong otherwise: whoever takes
    /// differences of them would see them fall and leap.
    pub fn is_whole(&self) -> bool {
        self.reactors.iter().all(|reactor| reactor.answers)
    }

    /// Names of the spares that an array has to itself, and of those that any array may have.
    pub fn spares(&self, array: Option<&str>) -> impl Iterator<Item = &str> {
        let is_its = move |bdev: &&BdevSurvey| match &bdev.claim {
            Some(Claim::Spare { array: whose, .. }) => whose.as_deref() == array,
            _ => false,
        };
        self.bdevs.iter().filter(is_its).map(|bdev| bdev.info.name.as_str())
    }

    /// The bdev of that name.
    pub fn bdev(&self, name: &str) -> Option<&BdevSurvey> {
        self.bdevs.iter().find(|bdev| bdev.info.name == name)
    }

    /// Places of the bdevs by name, for whoever looks for many.
    pub fn places(&self) -> BTreeMap<&str, usize> {
        let names = self.bdevs.iter().enumerate();
        names.map(|(place, bdev)| (bdev.info.name.as_str(), place)).collect()
    }
}

/// A bdev as it stands in the registry. What is deleted must go, so it is not held.
#[derive(Debug)]
struct Listed {
    bdev: Weak<Counted>,
    /// The array that it is, or the arrays of a mapped device.
    arrays: Vec<ListedArray>,
    kind: Kind,
    claim: Option<Claim>,
}

#[derive(Debug)]
struct ListedArray {
    name: String,
    raid: Weak<RaidBdev>,
    delayed_behind: Option<String>,
}

/// What the registry said last.
#[derive(Debug, Default)]
pub(super) struct Listing {
    started: bool,
    bdevs: Vec<Listed>,
    waiting: Vec<WaitingRaid>,
}

/// The last listing.
#[derive(Debug, Default)]
pub(super) struct LastListing(Mutex<Arc<Listing>>);

/// A bdev while it is looked at.
#[derive(Debug, Clone)]
struct Target {
    bdev: Arc<Counted>,
    /// Those that are still there, in the order of the listing.
    arrays: Vec<Option<Arc<RaidBdev>>>,
}

/// What one reactor knows of a target, and of each of its arrays.
type Look = (Option<(u32, IoStats)>, Vec<Option<ShardLook>>);

impl Target {
    fn look(&self, cx: &Cx) -> Look {
        let arrays = self.arrays.iter().map(|raid| raid.as_ref().and_then(|raid| raid.look(cx)));
        (self.bdev.look(cx), arrays.collect())
    }
}

/// What one reactor says of a stretch of the targets.
struct Answer {
    reactor: usize,
    from: usize,
    looks: Vec<Look>,
    /// Whether there is no stretch behind it.
    last: bool,
}

/// Sums over the reactors.
#[derive(Debug, Default)]
struct Sum {
    channels: u32,
    stats: IoStats,
    /// Of each array, by reactor.
    arrays: Vec<Vec<(usize, ShardLook)>>,
}

impl Control {
    /// Looks at everything. It takes [`SURVEY_TIME_LIMIT`] at the most.
    ///
    /// # Panics
    /// On a reactor's thread, which could not wait for the answers.
    pub fn survey(&self) -> Survey {
        let (listing, listing_is_old) = self.listing();
        let present = listing.bdevs.iter().filter_map(|listed| {
            let arrays = listed.arrays.iter().map(|array| array.raid.upgrade()).collect();
            Some((Target { bdev: listed.bdev.upgrade()?, arrays }, listed))
        });
        let (targets, listed): (Vec<_>, Vec<_>) = present.unzip();
        let targets = Arc::new(targets);
        let (sums, answers) = self.look_at(&targets);
        let mut bdevs = Vec::with_capacity(targets.len());
        let mut arrays = Vec::new();
        for (place, (sum, target)) in sums.into_iter().zip(targets.iter()).enumerate() {
            let alone = (target.arrays.len() == 1).then_some(place);
            let own = listed[place].arrays.iter().zip(&target.arrays).zip(sum.arrays);
            arrays.extend(own.filter_map(|((listed, raid), shards)| {
                // What the coordinator does not say is not made up, and one that is stopped says nothing.
                let told = shards.iter().any(|(reactor, _)| *reactor == 0);
                let raid = raid.as_ref().filter(|_| told)?;
                Some(self.array(listed, raid, alone, shards))
            }));
            bdevs.push(BdevSurvey {
                kind: listed[place].kind,
                claim: listed[place].claim.clone(),
                limits: target.bdev.limits(),
                info: target.bdev.info(),
                channels: sum.channels,
                stats: sum.stats,
            });
        }
        let views = self.reactor_views().into_iter().zip(answers);
        Survey {
            now: clock::now(),
            started: listing.started,
            listing_is_old,
            reactors: views.map(|(view, answers)| ReactorSurvey { view, answers }).collect(),
            bdevs,
            arrays,
            waiting: listing.waiting.clone(),
            kept: self.kept.all(),
        }
    }

    /// Whether every reactor turns: each has answered within [`SURVEY_TIME_LIMIT`].
    pub fn reactors_answer(&self) -> bool {
        self.look_at(&Arc::new(Vec::new())).1.into_iter().all(|answers| answers)
    }

    fn array(
        &self,
        listed: &ListedArray,
        raid: &Arc<RaidBdev>,
        bdev: Option<usize>,
        mut shards: Vec<(usize, ShardLook)>,
    ) -> ArraySurvey {
        shards.sort_by_key(|(reactor, _)| *reactor);
        let looks = shards.into_iter().map(|(_, look)| look).collect();
        let (info, snapshot) = (raid.info(), raid.snapshot_of(looks));
        let ListedArray { name, delayed_behind, .. } = listed;
        let checked_unix_ms = self.notices.checked_unix_ms(name);
        let (name, delayed_behind) = (name.clone(), delayed_behind.clone());
        ArraySurvey { name, info, snapshot, bdev, delayed_behind, checked_unix_ms }
    }

    /// The registry as it is, or as it was, and whether it is the latter.
    fn listing(&self) -> (Arc<Listing>, bool) {
        for attempt in 0..REGISTRY_TRIES {
            if attempt > 0 {
                thread::park_timeout(REGISTRY_TRY_WAIT);
            }
            let state = match self.state.try_lock() {
                Ok(state) => state,
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => continue,
            };
            let listing = Arc::new(Listing::of(&state));
            drop(state);
            *lock(&self.last_listing.0) = Arc::clone(&listing);
            return (listing, false);
        }
        (Arc::clone(&lock(&self.last_listing.0)), true)
    }

    /// Asks every reactor for all targets, and says which have answered for all of them.
    fn look_at(&self, targets: &Arc<Vec<Target>>) -> (Vec<Sum>, Vec<bool>) {
        let until = clock::now() + Ticks::from(SURVEY_TIME_LIMIT);
        let mut sums: Vec<Sum> = targets.iter().map(Sum::of).collect();
        let mut answers = vec![false; self.handles.len()];
        // Every stretch has room, so that no reactor ever waits for this thread.
        let stretches = targets.len().div_ceil(LOOKS_PER_MESSAGE).max(1);
        let (tell, told) = bounded(stretches * self.handles.len().max(1));
        let stretch = Stretch { targets: Arc::clone(targets), from: 0, tell };
        for handle in self.handles.iter().filter(|handle| !handle.is_stopped()) {
            // A full inbox is that of a reactor that does not turn.
            let _ = handle.try_send(stretch.clone().message());
        }
        drop(stretch);
        while let Ok(answer) = told.recv_timeout((until - clock::now()).into()) {
            let Answer { reactor, from, looks, last } = answer;
            answers[reactor] |= last;
            for (sum, look) in sums[from..].iter_mut().zip(looks) {
                sum.add(reactor, look);
            }
        }
        (sums, answers)
    }
}

/// A stretch of the targets on its way through a reactor: the next one comes in the next turn, without
/// waiting for the thread that asks.
#[derive(Clone)]
struct Stretch {
    targets: Arc<Vec<Target>>,
    from: usize,
    tell: Sender<Answer>,
}

impl Stretch {
    fn message(mut self) -> Message {
        Box::new(move |cx: &mut Cx| {
            if let Some(next) = self.answer(cx) {
                cx.add_timer(next, Box::new(move |cx| self.answer(cx)));
            }
        })
    }

    /// Tells of this stretch; returns when the next one is due, if there is one.
    fn answer(&mut self, cx: &Cx) -> Option<Ticks> {
        let from = self.from;
        self.from = self.targets.len().min(from + LOOKS_PER_MESSAGE);
        let looks = self.targets[from..self.from].iter().map(|target| target.look(cx)).collect();
        let last = self.from == self.targets.len();
        // Whoever has asked may have given up; then the rest is not looked at.
        let heard = self.tell.try_send(Answer { reactor: cx.index(), from, looks, last }).is_ok();
        (heard && !last).then(|| Ticks(cx.now().0 + 1))
    }
}

impl Listing {
    fn of(state: &State) -> Self {
        let listed = state.registry.entries().iter().map(|entry| Listed {
            bdev: Arc::downgrade(&entry.counted),
            arrays: ListedArray::of(state, entry),
            kind: entry.kind(),
            claim: entry.claim.clone(),
        });
        Self {
            started: state.lifecycle != Lifecycle::Starting,
            bdevs: listed.collect(),
            waiting: Control::waiting_in(state),
        }
    }
}

impl ListedArray {
    /// The arrays that hosts reach by this bdev.
    fn of(state: &State, entry: &Entry) -> Vec<Self> {
        let mapped = entry.mapped().map(|device| device.named_arrays()).unwrap_or_default();
        let own = entry.raid().map(|raid| (Who::Bdev(entry.name()), entry.name(), raid.clone()));
        let mapped = mapped.into_iter().map(|(mut name, raid)| {
            // Another bdev may have such a name; nobody may be there twice.
            while name != entry.name() && state.registry.find(&name).is_some() {
                name.push('\'');
            }
            (Who::Mapped(raid.info().name.clone()), name, raid)
        });
        let listed = |(who, name, raid): (Who, String, Arc<RaidBdev>)| Self {
            name,
            raid: Arc::downgrade(&raid),
            delayed_behind: state.queue.behind(&who),
        };
        own.into_iter().chain(mapped).map(listed).collect()
    }
}

impl Sum {
    fn of(target: &Target) -> Self {
        Self { arrays: target.arrays.iter().map(|_| Vec::new()).collect(), ..Self::default() }
    }

    fn add(&mut self, reactor: usize, (bdev, arrays): Look) {
        if let Some((channels, stats)) = bdev {
            self.channels += channels;
            self.stats.merge(&stats);
        }
        for (shards, look) in self.arrays.iter_mut().zip(arrays) {
            shards.extend(look.map(|look| (reactor, look)));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use device::{IoKind, NullSpec};
    use reactor::CpuSet;

    use super::*;
    use crate::control::Options;

    fn control() -> Arc<Control> {
        let options =
            Options { cores: CpuSet::single(0), buffer_bytes: 2 << 20, ..Options::default() };
        let control = Control::start(options).unwrap();
        control.finish_startup();
        control
    }

    fn null(control: &Control, name: &str) {
        let (name, uuid) = (name.to_owned(), None);
        let spec = NullSpec { name, uuid, block_size_bytes: 512, num_blocks: 64 };
        control.create_null(spec).unwrap();
    }

    /// Goal: all bdevs are there, in order, whatever falls into which message, with what was done.
    #[test]
    fn a_survey_sees_everything() {
        let control = control();
        for number in 0..=2 * LOOKS_PER_MESSAGE {
            null(&control, &format!("n{number}"));
        }
        control.create_malloc(Some("m".to_owned()), None, 512, 64).unwrap();
        let disk = control.bdev("m").unwrap();
        let limit = Duration::from_secs(60);
        device::blocking::read(&control.reactors()[0], &disk, 0, 1024, limit).unwrap();

        let survey = control.survey();
        assert!(survey.started && !survey.listing_is_old && survey.reactors[0].answers);
        let names: Vec<_> = survey.bdevs.iter().map(|bdev| bdev.info.name.clone()).collect();
        let expected = (0..=2 * LOOKS_PER_MESSAGE).map(|number| format!("n{number}"));
        assert_eq!(names, expected.chain(["m".to_owned()]).collect::<Vec<_>>());
        let read = survey.bdev("m").unwrap().stats.of(IoKind::Read);
        assert_eq!((read.ios, read.bytes), (1, 1024));
        assert_eq!(survey.places()["m"], names.len() - 1);
        control.shutdown().unwrap();
    }

    /// Goal: a survey does not wait for a command that holds the registry, and does not keep what was
    /// deleted. Method: the lock is held; a bdev goes between two surveys.
    #[test]
    fn a_survey_waits_for_nobody() {
        let control = control();
        control.create_malloc(Some("m".to_owned()), None, 512, 8).unwrap();
        null(&control, "n");
        assert_eq!(control.survey().bdevs.len(), 2);
        let held = control.state();
        let survey = control.survey();
        assert!(survey.listing_is_old);
        assert_eq!(survey.bdevs.len(), 2);
        drop((held, survey));
        let memory = Arc::downgrade(&control.counted("m").unwrap());
        control.delete(Kind::Malloc, "m").unwrap();
        assert!(memory.upgrade().is_none(), "the last listing keeps nothing");
        assert_eq!(control.survey().bdevs.len(), 1);
        control.shutdown().unwrap();
    }

    /// Goal: a reactor that does not turn is told from one that does, and costs the time limit once.
    #[test]
    fn a_reactor_that_does_not_turn_is_missed() {
        let control = control();
        null(&control, "n");
        assert!(control.reactors_answer());
        let (go, wait) = std::sync::mpsc::channel::<()>();
        control.reactors()[0].send(move |_| {
            let _ = wait.recv();
        });
        let survey = control.survey();
        assert!(!survey.reactors[0].answers && !survey.is_whole());
        assert_eq!(survey.bdevs.len(), 1);
        drop(go);
        assert!(control.survey().reactors[0].answers);
        control.shutdown().unwrap();
    }
}
