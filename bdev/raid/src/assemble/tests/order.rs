//! The order in which bdevs are found does not matter, and nothing that is found panics.

use super::*;
use proptest::prelude::*;

/// Candidates of any history: what they carry need not have come about by the rules.
fn candidates() -> impl Strategy<Value = Vec<Candidate>> {
    let state = prop_oneof![
        4 => Just(InSync),
        1 => (1..6_u64).prop_map(|failed_at| Faulty { failed_at }),
        1 => (1..6_u64).prop_map(|since| Missing { since }),
        1 => any::<bool>().prop_map(|partial| {
            MemberRecordState::Rebuilding { recovered_to_bytes: 0, partial }
        }),
    ];
    let contents = prop::collection::vec((prop::collection::vec(state, 4), 5..8_u64), 1..3);
    let carried = prop::collection::vec((0..6_u8, any::<prop::sample::Index>(), 0..3_u64), 0..8);
    (contents, carried).prop_map(|(contents, carried)| {
        let mut candidates: Vec<Candidate> = Vec::new();
        for (slot, content, behind) in carried {
            let (states, events) = content.get(&contents);
            let mut superblock = array(Level::Raid6, 4, events - behind);
            for (member, state) in superblock.members.iter_mut().zip(states) {
                member.state = *state;
            }
            let candidate = match slot {
                0..4 => on(slot, &superblock),
                _ => spare(slot, &superblock),
            };
            if candidates.iter().all(|other| other.name != candidate.name) {
                candidates.push(candidate);
            }
        }
        candidates
    })
}

/// The same with names in the place of indices.
fn by_name(verdict: Result<Verdict, Refusal>, candidates: &[Candidate]) -> String {
    match verdict {
        Ok(Verdict::Ready(assembly)) => {
            let name = |index: usize| &candidates[index].name;
            let seats: Vec<_> = assembly
                .seats
                .iter()
                .map(|seat| match seat {
                    Seat::Taken { candidate, state } => format!("{} {state:?}", name(*candidate)),
                    Seat::Empty { vacancy: Vacancy::LeftOut { candidate } } => {
                        format!("without {}", name(*candidate))
                    }
                    Seat::Empty { vacancy } => format!("{vacancy:?}"),
                })
                .collect();
            let spares: Vec<_> = assembly.spares.iter().map(|spare| name(*spare)).collect();
            for out in &assembly.left_out {
                assert_eq!(name(out.candidate), &out.name);
            }
            format!("{:?} {seats:?} {:?} {spares:?}", assembly.superblock, left_out(&assembly))
        }
        other => format!("{other:?}"),
    }
}

fn shuffled() -> impl Strategy<Value = (Vec<Candidate>, Vec<Candidate>)> {
    candidates().prop_flat_map(|found| (Just(found.clone()), Just(found).prop_shuffle()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_order_gives_the_same_array((found, shuffled) in shuffled()) {
        for patience in [Wait, Degraded, Force] {
            let verdicts = [&found, &shuffled]
                .map(|candidates| by_name(verdict(candidates, patience), candidates));
            prop_assert_eq!(&verdicts[0], &verdicts[1]);
        }
    }

    /// R8, of whatever was found: who takes part is at most one update behind.
    #[test]
    fn nobody_takes_part_who_is_behind(found in candidates()) {
        let top = found.iter().map(|candidate| candidate.found.events).max();
        for patience in [Wait, Degraded, Force] {
            let Ok(Verdict::Ready(assembly)) = verdict(&found, patience) else { continue };
            prop_assert_eq!(Some(assembly.superblock.events), top);
            prop_assert!(assembly.missing().len() <= 2);
            for seat in &assembly.seats {
                if let Seat::Taken { candidate, .. } = seat {
                    prop_assert!(Some(found[*candidate].found.events + 1) >= top);
                }
            }
        }
    }
}
