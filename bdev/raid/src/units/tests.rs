//! Sets against the standard library's ordered set, with the word boundaries tried by hand.

use super::*;
use proptest::collection::btree_set;
use proptest::prelude::*;
use std::collections::BTreeSet;

/// The sets are usable in constants: a planner's tables can be computed by the compiler.
const EVEN_PAIR: SlotSet = {
    let mut set = SlotSet::single(Slot(0)).union(SlotSet::single(Slot(200)));
    set.insert(Slot(65));
    set.remove(Slot(65));
    set
};

fn model_of(set: RoleSet) -> BTreeSet<u8> {
    set.iter().collect()
}

#[test]
fn constants_are_sets_too() {
    assert!(EVEN_PAIR.contains(Slot(0)) && EVEN_PAIR.contains(Slot(200)));
    assert_eq!(EVEN_PAIR.len(), 2);
    assert_eq!(format!("{EVEN_PAIR:?}"), "{0, 200}");
    assert_eq!(EVEN_PAIR.iter().collect::<Vec<_>>(), [Slot(0), Slot(200)]);
}

#[test]
fn the_first_n_are_exactly_those_below_n() {
    for n in 0..=256usize {
        let set = StripSet::first_n(n);
        assert_eq!(set.len(), n);
        assert_eq!(set.is_empty(), n == 0);
        for element in 0..=u8::MAX {
            assert_eq!(set.contains(element), usize::from(element) < n, "{element} of {n}");
        }
    }
}

#[test]
#[should_panic(expected = "room for 256 elements")]
fn the_first_257_do_not_exist() {
    let _ = SlotSet::first_n(257);
}

/// Every element alone: it is in and nothing else is; putting in and taking out work twice as once.
#[test]
fn each_element_has_a_bit_of_its_own() {
    for element in 0..=u8::MAX {
        let mut set = SlotSet::single(Slot(element));
        assert_eq!(set.iter().map(Slot::index).collect::<Vec<_>>(), [usize::from(element)]);
        assert_eq!((0..=u8::MAX).filter(|&other| set.contains(Slot(other))).count(), 1);
        set.insert(Slot(element));
        assert_eq!(set, SlotSet::single(Slot(element)));
        let mut others = SlotSet::first_n(256);
        for _ in 0..2 {
            set.remove(Slot(element));
            others.remove(Slot(element));
        }
        assert!(set.is_empty());
        assert_eq!(others, SlotSet::first_n(256).difference(SlotSet::single(Slot(element))));
    }
}

#[test]
fn words_print_as_layouts_are_drawn() {
    assert_eq!(
        [Role::Data(11), Role::P, Role::Q].map(|role| role.to_string()),
        ["D11", "P", "Q"].map(String::from)
    );
    assert_eq!(
        (Slot(7).to_string(), StripeId(1 << 40).to_string()),
        ("7".into(), "1099511627776".into())
    );
}

proptest! {
    #[test]
    fn set_algebra_is_that_of_sets(
        a in btree_set(any::<u8>(), 0..80),
        b in btree_set(any::<u8>(), 0..80),
    ) {
        let (x, y): (RoleSet, RoleSet) = (a.iter().copied().collect(), b.iter().copied().collect());
        prop_assert_eq!(&model_of(x), &a);
        prop_assert_eq!(model_of(x.union(y)), &a | &b);
        prop_assert_eq!(model_of(x.intersection(y)), &a & &b);
        prop_assert_eq!(model_of(x.difference(y)), &a - &b);
        prop_assert_eq!(x.is_subset_of(y), a.is_subset(&b));
        prop_assert_eq!(x.is_disjoint_from(y), a.is_disjoint(&b));
        prop_assert!(x.intersection(y).is_subset_of(x) && x.difference(y).is_disjoint_from(y));
        prop_assert_eq!(x == y, a == b);
        prop_assert_eq!((x.len(), x.is_empty()), (a.len(), a.is_empty()));
        prop_assert_eq!(format!("{x:?}"), format!("{a:?}"));
    }

    #[test]
    fn iteration_ascends_and_knows_what_is_left(a in btree_set(any::<u8>(), 0..256)) {
        let set: StripSet = a.iter().copied().collect();
        let mut left = set.into_iter();
        for (taken, &element) in a.iter().enumerate() {
            prop_assert_eq!(left.len(), a.len() - taken);
            prop_assert_eq!(left.next(), Some(element));
        }
        prop_assert_eq!((left.len(), left.next(), left.next()), (0, None, None));
    }
}
