//! Cutting scatter-gather lists: parts of reads, slices of writes, and putting reads together again.
//!
//! A host request may span stripes and its buffers may be several. A read is cut into unique parts,
//! each of which one member fills, and joined again when all are back; a write is sliced, and the
//! slices share the host's memory. One buffer, the usual case, costs no list and no allocation.
//!
//! A device that does not answer keeps its part of a read, and may write to it at any time: the buffers
//! that it was cut from never become whole again, and the host gets others ([`Join::afresh`]).
//!
//! Not here: what is cut, and why there (`host`, `piece`).

use device::Sgl;
use reactor::memory::{IoBuf, IoBufMut, Rejoin};
use std::ops::Range;

/// A read's buffers while parts of them are cut off, front first.
#[derive(Debug)]
pub(crate) enum Rest {
    One(IoBufMut),
    /// In reverse, so that the front is at the end of the vector.
    Many(Vec<IoBufMut>),
}

/// Collects the parts of a read.
#[derive(Debug)]
pub(crate) enum Join {
    One(Rejoin),
    Many(Vec<Rejoin>),
}

/// Prepares a read's buffers for being cut.
pub(crate) fn open(buffers: Sgl<IoBufMut>) -> (Join, Rest) {
    match buffers {
        Sgl::One(buffer) => {
            let (join, buffer) = Rejoin::begin(buffer);
            (Join::One(join), Rest::One(buffer))
        }
        Sgl::Many(buffers) => {
            let (joins, mut rest): (Vec<_>, Vec<_>) =
                buffers.into_iter().map(Rejoin::begin).unzip();
            rest.reverse();
            (Join::Many(joins), Rest::Many(rest))
        }
    }
}

impl Rest {
    /// Cuts the next `len` bytes off.
    ///
    /// # Panics
    /// If there are not as many.
    pub(crate) fn take(&mut self, len: usize) -> Sgl<IoBufMut> {
        let rest = match self {
            Self::One(buffer) => return Sgl::One(buffer.split_to(len)),
            Self::Many(rest) => rest,
        };
        let mut parts = Vec::new();
        let mut missing = len;
        while missing > 0 {
            let front = rest.last_mut().expect("a request's buffers hold its length");
            if front.len() > missing {
                parts.push(front.split_to(missing));
                break;
            }
            missing -= front.len();
            parts.extend(rest.pop());
        }
        if parts.len() == 1
            && let Some(only) = parts.pop()
        {
            return Sgl::One(only);
        }
        Sgl::Many(parts)
    }
}

impl Join {
    /// Takes parts back. Says whether they are parts of this read: a device that was given up still has
    /// the ones that it was lent, and its answer comes with others.
    pub(crate) fn absorb(&mut self, parts: Sgl<IoBufMut>) -> bool {
        match parts {
            Sgl::One(part) => self.absorb_one(part),
            // Those behind the first that is not are of no use any more.
            Sgl::Many(parts) => parts.into_iter().all(|part| self.absorb_one(part)),
        }
    }

    fn absorb_one(&mut self, part: IoBufMut) -> bool {
        let mut left = Some(part);
        for join in self.joins_mut() {
            left = left.and_then(|part| join.absorb(part).err());
        }
        left.is_none()
    }

    fn joins_mut(&mut self) -> &mut [Rejoin] {
        match self {
            Self::One(join) => std::slice::from_mut(join),
            Self::Many(joins) => joins,
        }
    }

    /// Whether parts are of this read.
    pub(crate) fn owns(&self, parts: &Sgl<IoBufMut>) -> bool {
        let joins = match self {
            Self::One(join) => std::slice::from_ref(join),
            Self::Many(joins) => joins,
        };
        parts.segments().all(|part| joins.iter().any(|join| join.is_part(part)))
    }

    /// Takes back what was never cut off.
    pub(crate) fn absorb_rest(&mut self, rest: Rest) {
        let ours = match rest {
            Rest::One(tail) => self.absorb_one(tail),
            Rest::Many(tails) => tails.into_iter().all(|tail| self.absorb_one(tail)),
        };
        assert!(ours, "the rest of another request");
    }

    /// Buffers like those that the host gave, which a device may still write to for ever.
    pub(crate) fn afresh(&self) -> Sgl<IoBufMut> {
        match self {
            Self::One(join) => Sgl::One(IoBufMut::heap(join.len_bytes())),
            Self::Many(joins) => {
                Sgl::Many(joins.iter().map(|join| IoBufMut::heap(join.len_bytes())).collect())
            }
        }
    }

    /// The buffers as the host gave them.
    ///
    /// # Panics
    /// If a part has not come back.
    pub(crate) fn close(self) -> Sgl<IoBufMut> {
        let whole = |join: Rejoin| join.finish().expect("every part has come back");
        match self {
            Self::One(join) => Sgl::One(whole(join)),
            Self::Many(joins) => Sgl::Many(joins.into_iter().map(whole).collect()),
        }
    }
}

/// One buffer with the bytes of several.
pub(crate) fn copied<'a>(parts: impl Iterator<Item = &'a Sgl<IoBufMut>> + Clone) -> IoBufMut {
    let len = parts.clone().flat_map(Sgl::segments).map(IoBufMut::len).sum();
    let (mut whole, mut at) = (IoBufMut::heap(len), 0);
    for part in parts.flat_map(Sgl::segments) {
        whole[at..at + part.len()].copy_from_slice(part);
        at += part.len();
    }
    whole
}

/// Shares a range of bytes of a write's buffers.
pub(crate) fn slice(buffers: &Sgl<IoBuf>, range: Range<usize>) -> Sgl<IoBuf> {
    match buffers {
        Sgl::One(buffer) => Sgl::One(buffer.slice(range)),
        Sgl::Many(_) => {
            let mut parts = Vec::new();
            slice_into(buffers, range, &mut parts);
            Sgl::Many(parts)
        }
    }
}

/// As [`slice`], appended to a list.
pub(crate) fn slice_into(buffers: &Sgl<IoBuf>, range: Range<usize>, parts: &mut Vec<IoBuf>) {
    let mut start = 0;
    for buffer in buffers.segments() {
        let end = start + buffer.len();
        let (from, to) = (range.start.max(start), range.end.min(end));
        if from < to {
            parts.push(buffer.slice(from - start..to - start));
        }
        start = end;
    }
}

/// The bytes from `at` to the end of the segment that holds it.
///
/// # Panics
/// If `at` is not inside the list.
pub(crate) fn run_at<B: std::ops::Deref<Target = [u8]>>(buffers: &Sgl<B>, at: usize) -> &[u8] {
    let mut start = 0;
    for buffer in buffers.segments() {
        let end = start + buffer.len();
        if at < end {
            return &buffer[at - start..];
        }
        start = end;
    }
    panic!("byte {at} of a list of {start}");
}

/// As [`run_at`], to be written to.
pub(crate) fn run_at_mut(buffers: &mut Sgl<IoBufMut>, at: usize) -> &mut [u8] {
    let mut start = 0;
    for buffer in buffers.segments_mut() {
        let end = start + buffer.len();
        if at < end {
            return &mut buffer[at - start..];
        }
        start = end;
    }
    panic!("byte {at} of a list of {start}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn filled(lengths: &[usize]) -> Sgl<IoBufMut> {
        let mut byte = 0u8;
        let buffers: Vec<IoBufMut> = lengths
            .iter()
            .map(|&len| {
                let mut buffer = IoBufMut::heap(len);
                for b in buffer.iter_mut() {
                    *b = byte;
                    byte = byte.wrapping_add(1);
                }
                buffer
            })
            .collect();
        Sgl::Many(buffers)
    }

    proptest! {
        /// Goal: parts hold the bytes of their range, and together are the request again.
        #[test]
        fn what_is_cut_can_be_joined(
            lengths in proptest::collection::vec(1..40usize, 1..6),
            cuts in proptest::collection::vec(1..50usize, 1..8),
        ) {
            let total: usize = lengths.iter().sum();
            let (mut join, mut rest) = open(filled(&lengths));
            let (mut parts, mut at) = (Vec::new(), 0);
            for cut in cuts {
                let len = cut.min(total - at);
                if len == 0 {
                    break;
                }
                let part = rest.take(len);
                let bytes: Vec<u8> = part.segments().flat_map(|s| s.to_vec()).collect();
                let right: Vec<u8> = (at..at + len).map(|b| b as u8).collect();
                prop_assert_eq!(bytes, right);
                parts.push(part);
                at += len;
            }
            while let Some(part) = parts.pop() {
                prop_assert!(join.owns(&part));
                prop_assert!(join.absorb(part));
            }
            prop_assert!(!join.absorb(Sgl::One(IoBufMut::heap(8))), "it is of no request");
            join.absorb_rest(rest);
            let fresh: Vec<usize> = join.afresh().segments().map(|s| s.len()).collect();
            prop_assert_eq!(&fresh, &lengths);
            let whole = join.close();
            let found: Vec<usize> = whole.segments().map(|s| s.len()).collect();
            prop_assert_eq!(found, lengths);
        }

        /// Goal: slices of a list are the bytes of the range, and so are its runs.
        #[test]
        fn slices_and_runs_are_the_bytes_of_the_range(
            lengths in proptest::collection::vec(1..40usize, 1..6),
            from in 0..100usize,
            len in 1..60usize,
        ) {
            let total: usize = lengths.iter().sum();
            let from = from % total;
            let to = (from + len).min(total);
            let Sgl::Many(buffers) = filled(&lengths) else { unreachable!() };
            let shared = Sgl::Many(buffers.into_iter().map(IoBufMut::freeze).collect());
            let right: Vec<u8> = (from..to).map(|b| b as u8).collect();
            let sliced: Vec<u8> =
                slice(&shared, from..to).segments().flat_map(|s| s.to_vec()).collect();
            prop_assert_eq!(&sliced, &right);
            let mut run = Vec::new();
            while from + run.len() < to {
                run.extend_from_slice(run_at(&shared, from + run.len()));
            }
            prop_assert_eq!(&run[..to - from], &right[..]);
        }
    }
}
