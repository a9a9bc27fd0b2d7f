//! What would have to be made again to have the bdevs that there are.
//!
//! ```text
//!   m0  r0(m0, m1, m9)  m1  m9   as they came        m0  m1  m9  r0   as they have to be made
//! ```
//!
//! An array with superblocks is not made but found on its members. One without is made as it was asked
//! for, of the members that are in sync now: any other would be believed to be. Whether its parity is
//! right is left to its log, and to a resync where it has none on a bdev.
//!
//! Not here: what the commands are called (`methods`), files (`cli`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ::raid::coordinator::pace::Rates;
use ::raid::member::MemberState;
use array::{Before, LastEnd, RaidBdev, RaidSnapshot};
use device::{Bdev, Limits};

use super::mapped::{Mapped, Remade};
use super::raid::RaidRequest;
use super::registry::{Claim, Entry};
use super::{BdevView, Control, Kind};

/// How one bdev is made.
#[derive(Debug, Clone)]
pub struct Recipe {
    /// What kind it is.
    pub kind: Kind,
    /// The bdev as it is.
    pub view: BdevView,
    /// How the array was asked for, with its members and spares of now; `None` for arrays with superblocks. Spares
    /// that take force are not among them: who has the force for one of them need not have it for all.
    pub raid: Option<RaidRequest>,
    /// How a mapped device is made.
    pub mapped: Option<Remade>,
    /// Bounds of the speed of the array's background actions, where they are not the service's.
    pub rates: Option<Rates>,
    /// Limits that were set for it.
    pub limits: Limits,
}

/// A bdev as it is when the registry is looked at.
struct Seen {
    kind: Kind,
    view: BdevView,
    request: Option<RaidRequest>,
    mapped: Option<Arc<Mapped>>,
    limits: Limits,
}

impl Control {
    /// How all bdevs are made, each behind what it is made of.
    pub fn recipes(&self) -> Vec<Recipe> {
        let seen: Vec<Seen> = {
            let state = self.state();
            let see = |entry: &Entry| Seen {
                kind: entry.kind(),
                view: BdevView::from(entry),
                mapped: entry.mapped().cloned(),
                request: state.requests.get(&entry.name()).cloned(),
                limits: entry.counted.limits(),
            };
            state.registry.entries().iter().map(see).collect()
        };
        let mut spares: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for Seen { view, .. } in &seen {
            if let Some(Claim::Spare { array: Some(array), forced: false }) = &view.claim {
                spares.entry(array.clone()).or_default().push(view.bdev.info().name.clone());
            }
        }
        let recipes = seen.into_iter().map(|seen| self.recipe(seen, &mut spares)).collect();
        in_order(recipes)
    }

    fn recipe(&self, seen: Seen, spares: &mut BTreeMap<String, Vec<String>>) -> Recipe {
        let Seen { kind, view, request, mapped, limits } = seen;
        let spares = spares.remove(&view.bdev.info().name).unwrap_or_default();
        let raid = match (&view.raid, request) {
            (Some(raid), Some(request)) => Some(as_it_is(raid, request, spares)),
            _ => None,
        };
        let rates = view.raid.as_ref().map(|raid| raid.snapshot().rates);
        let rates = rates.filter(|rates| *rates != self.defaults().rates);
        let mapped = mapped.map(|mapped| mapped.remade());
        Recipe { kind, view, raid, mapped, rates, limits }
    }
}

/// Whether an array has a log bdev of which nothing is to be believed at a start.
pub(super) fn log_failed(snapshot: &RaidSnapshot) -> bool {
    snapshot.log.is_some() && !snapshot.log_believed
}

/// What would make the array again.
fn as_it_is(raid: &RaidBdev, request: RaidRequest, spares: Vec<String>) -> RaidRequest {
    let members = raid.members_known().into_iter();
    RaidRequest {
        uuid: Some(raid.info().uuid),
        members: members
            .map(|member| member.name.filter(|_| member.state == MemberState::InSync))
            .collect(),
        spares,
        assume_clean: false,
        force: false,
        before: Before { end: LastEnd::Unknown, log_failed: log_failed(&raid.snapshot()) },
        ..request
    }
}

/// The names of what a bdev is made of.
fn parts(recipe: &Recipe) -> Vec<String> {
    if let Some(request) = &recipe.raid {
        let members = request.members.iter().flatten();
        return members.chain(&request.log).chain(&request.spares).cloned().collect();
    }
    if let Some(mapped) = &recipe.mapped {
        return mapped.parts.clone();
    }
    let base = recipe.view.delay.as_ref().map(|delay| delay.base().info().name.clone());
    let base =
        base.or_else(|| recipe.view.part.as_ref().map(|part| part.bdev.base().info().name.clone()));
    let base = base.or_else(|| recipe.view.error.as_ref().map(|error| error.snapshot().base_bdev));
    base.into_iter().collect()
}

/// Each behind what it is made of, otherwise in the order in which they came.
fn in_order(recipes: Vec<Recipe>) -> Vec<Recipe> {
    let names: BTreeSet<String> =
        recipes.iter().map(|recipe| recipe.view.bdev.info().name.clone()).collect();
    let mut made = BTreeSet::new();
    let mut ordered = Vec::with_capacity(recipes.len());
    let mut waiting = recipes;
    while !waiting.is_empty() {
        let before = ordered.len();
        let mut later = Vec::new();
        for recipe in waiting {
            let ready = |part: &String| made.contains(part) || !names.contains(part);
            if parts(&recipe).iter().all(ready) {
                made.insert(recipe.view.bdev.info().name.clone());
                ordered.push(recipe);
            } else {
                later.push(recipe);
            }
        }
        waiting = later;
        if ordered.len() == before {
            // Nothing can be made of itself; should it seem so, the order is as good as any.
            ordered.append(&mut waiting);
        }
    }
    ordered
}

#[cfg(test)]
mod tests {
    use device::{DelayBdev, DelaySpec, NullBdev, NullSpec};

    use super::*;

    fn recipe(kind: Kind, bdev: Arc<dyn Bdev>, delay: Option<Arc<DelayBdev>>) -> Recipe {
        let limits = Limits::default();
        let view = BdevView {
            bdev,
            raid: None,
            error: None,
            delay,
            part: None,
            claim: None,
            limits,
            is_recorded: false,
        };
        Recipe { kind, view, raid: None, mapped: None, rates: None, limits }
    }

    fn null(name: &str) -> Arc<dyn Bdev> {
        let (name, uuid) = (name.to_owned(), None);
        NullBdev::create(NullSpec { name, uuid, block_size_bytes: 512, num_blocks: 8 }).unwrap()
    }

    fn delay(name: &str, base: &Arc<dyn Bdev>) -> Recipe {
        let (name, uuid, base) = (name.to_owned(), None, Arc::clone(base));
        let delay =
            DelayBdev::create(DelaySpec { name, uuid, base, latencies_us: [0; 4] }).unwrap();
        recipe(Kind::Delay, Arc::clone(&delay) as Arc<dyn Bdev>, Some(delay))
    }

    /// Goal: whatever the order in which bdevs came, each is made behind what it is made of.
    #[test]
    fn bases_come_first() {
        let (a, b) = (null("a"), null("b"));
        let over_b = delay("over_b", &b);
        let above = delay("above", &over_b.view.bdev);
        let recipes = vec![above, recipe(Kind::Null, a, None), over_b, recipe(Kind::Null, b, None)];
        let names: Vec<_> =
            in_order(recipes).iter().map(|r| r.view.bdev.info().name.clone()).collect();
        assert_eq!(names, ["a", "b", "over_b", "above"]);
    }
}
