//! The buffers of a request that goes out in parts.
//!
//! ```text
//!   whole  [ buffer 0      | buffer 1 |      buffer 2      ]
//!   parts  [ part 0 | part 1               | part 2        ]   cut in order, absorbed in any
//! ```
//!
//! Parts of a read are split off and joined again, parts of a write are views.
//!
//! Owns: a request that is whole again has the buffers that it came with, in their order, or, where a
//! device that was given up has some of them for ever, others like them.
//! Invariants: R6 (lists of buffers are used again; none is made once as many are there as are in use at
//! a time).
//!
//! Not here: where it is cut (`mapper`).

use reactor::memory::{IoBuf, IoBufMut, Rejoin};

use crate::io::{IoOp, Sgl};

/// Lists that nobody uses.
#[derive(Debug, Default)]
pub(super) struct Lists {
    read: Vec<Vec<IoBufMut>>,
    write: Vec<Vec<IoBuf>>,
    cut: Vec<Vec<CutBuf>>,
}

/// A buffer that is being cut.
#[derive(Debug)]
pub(super) struct CutBuf {
    whole: Rejoin,
    rest: IoBufMut,
}

/// What a request in parts was made with.
#[derive(Debug)]
pub(super) enum Buffers {
    Read {
        bufs: Vec<CutBuf>,
        /// The submitter's list, empty meanwhile; `None` if it was one buffer.
        list: Option<Vec<IoBufMut>>,
        /// The first buffer that is not used up.
        next: usize,
    },
    /// A read of which a part came back in a buffer of somebody else's, because the device that has the
    /// real one was given up: it begins again, with these, when all others are back.
    Torn {
        into: Sgl<IoBufMut>,
    },
    Write {
        from: Sgl<IoBuf>,
        fua: bool,
        /// The first buffer that is not used up.
        next: usize,
        /// Bytes of it that are.
        used: usize,
    },
    Unmap,
    WriteZeroes {
        fua: bool,
    },
    Flush,
}

impl Buffers {
    pub(super) fn begin(op: IoOp, lists: &mut Lists) -> Self {
        let cut = |buf| {
            let (whole, rest) = Rejoin::begin(buf);
            CutBuf { whole, rest }
        };
        match op {
            IoOp::Read { into } => {
                let mut bufs = lists.cut.pop().unwrap_or_default();
                let list = match into {
                    Sgl::One(buf) => {
                        bufs.push(cut(buf));
                        None
                    }
                    Sgl::Many(mut list) => {
                        bufs.extend(list.drain(..).map(cut));
                        Some(list)
                    }
                };
                Self::Read { bufs, list, next: 0 }
            }
            IoOp::Write { from, fua } => Self::Write { from, fua, next: 0, used: 0 },
            IoOp::Unmap => Self::Unmap,
            IoOp::WriteZeroes { fua } => Self::WriteZeroes { fua },
            IoOp::Flush => Self::Flush,
        }
    }

    /// The next `len_bytes`, and the buffer in which they begin.
    pub(super) fn cut(&mut self, len_bytes: u64, lists: &mut Lists) -> (IoOp, usize) {
        match self {
            Self::Read { bufs, next, .. } => {
                let from = *next;
                let into = gather(len_bytes, &mut lists.read, |room| {
                    while bufs[*next].rest.is_empty() {
                        *next += 1;
                    }
                    let rest = &mut bufs[*next].rest;
                    rest.split_to(room.min(rest.len()))
                });
                (IoOp::Read { into }, from)
            }
            Self::Write { from, fua, next, used } => {
                let from = gather(len_bytes, &mut lists.write, |room| {
                    let bufs = from.as_slice();
                    while *used == bufs[*next].len() {
                        (*next, *used) = (*next + 1, 0);
                    }
                    let end = bufs[*next].len().min(used.saturating_add(room));
                    bufs[*next].slice(std::mem::replace(used, end)..end)
                });
                (IoOp::Write { from, fua: *fua }, 0)
            }
            Self::Unmap => (IoOp::Unmap, 0),
            Self::WriteZeroes { fua } => (IoOp::WriteZeroes { fua: *fua }, 0),
            Self::Flush => (IoOp::Flush, 0),
            Self::Torn { .. } => unreachable!("nothing is cut before it begins again"),
        }
    }

    /// Takes back what `cut` has given, in any order of the parts. Says whether the request can still
    /// become whole: a read cannot of which a part comes back in a buffer of somebody else's.
    pub(super) fn absorb(&mut self, op: IoOp, from: usize, lists: &mut Lists) -> bool {
        match (op, &mut *self) {
            (IoOp::Read { into }, Self::Read { bufs, list, .. }) => {
                let mut at = from;
                let mut join = |part: IoBufMut| {
                    let mut left = Some(part);
                    while let (Some(part), Some(buf)) = (left.take(), bufs.get_mut(at)) {
                        left = buf.whole.absorb(part).err();
                        at += usize::from(left.is_some());
                    }
                    at < bufs.len()
                };
                let ours = match into {
                    Sgl::One(part) => join(part),
                    Sgl::Many(mut parts) => {
                        let ours = parts.drain(..).all(join);
                        lists.read.push(parts);
                        ours
                    }
                };
                if !ours {
                    *self = Self::Torn { into: afresh(bufs, list.is_some()) };
                }
                return ours;
            }
            (IoOp::Write { from: Sgl::Many(mut parts), .. }, _) => {
                parts.clear();
                lists.write.push(parts);
            }
            _ => {}
        }
        true
    }

    /// The request's own again, once every part is back.
    pub(super) fn finish(self, lists: &mut Lists) -> IoOp {
        match self {
            Self::Read { mut bufs, list, .. } => {
                let mut whole = bufs.drain(..).map(|CutBuf { whole, rest }| {
                    // Nothing is left of it, or all of it was empty.
                    drop(rest);
                    whole.finish().expect("every part is back")
                });
                let into = match list {
                    None => Sgl::One(whole.next().expect("it was one buffer")),
                    Some(mut list) => {
                        list.extend(&mut whole);
                        Sgl::Many(list)
                    }
                };
                drop(whole);
                lists.cut.push(bufs);
                IoOp::Read { into }
            }
            Self::Torn { into } => IoOp::Read { into },
            Self::Write { from, fua, .. } => IoOp::Write { from, fua },
            Self::Unmap => IoOp::Unmap,
            Self::WriteZeroes { fua } => IoOp::WriteZeroes { fua },
            Self::Flush => IoOp::Flush,
        }
    }
}

/// Buffers like these, to which nobody writes.
fn afresh(bufs: &[CutBuf], is_list: bool) -> Sgl<IoBufMut> {
    let mut fresh = bufs.iter().map(|buf| IoBufMut::heap(buf.whole.len_bytes()));
    match fresh.next() {
        Some(only) if !is_list => Sgl::One(only),
        first => Sgl::Many(first.into_iter().chain(fresh).collect()),
    }
}

/// A list of `len_bytes`, piece by piece, of which `piece` makes one of at most so many bytes.
fn gather<B: std::ops::Deref<Target = [u8]>>(
    len_bytes: u64,
    lists: &mut Vec<Vec<B>>,
    mut piece: impl FnMut(usize) -> B,
) -> Sgl<B> {
    // What the buffers of a request hold fits the memory.
    let mut left = usize::try_from(len_bytes).unwrap_or(usize::MAX);
    let first = piece(left);
    left -= first.len();
    if left == 0 {
        return Sgl::One(first);
    }
    let mut list = lists.pop().unwrap_or_default();
    list.push(first);
    while left > 0 {
        let next = piece(left);
        left -= next.len();
        list.push(next);
    }
    Sgl::Many(list)
}
