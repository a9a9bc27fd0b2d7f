//! PDUs to bytes: what has to be sent, as a list of parts for one gathered write.
//!
//! ```text
//!   bytes   [ hdr A | hdr B | hdr C ........ ]        headers and digests, one after the other
//!   cuts            ^ data of tag 7     ^ data of 9   where something from a buffer goes between
//!   parts   hdr A, data 7, hdr B C .., data 9
//! ```
//!
//! Responses without data lie side by side: any number of them is one part.
//!
//! Invariants: nothing grows: who queues looks at [`Outbox::has_room`] first; a buffer is released once,
//! when the last byte of it, and of what was queued with it, has been taken by the socket.
//!
//! Not here: the socket, the data.

use std::collections::VecDeque;

/// A part of the stream to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part<'a> {
    /// Bytes of headers and digests.
    Bytes(&'a [u8]),
    /// Bytes of a buffer.
    Data {
        /// Whose buffer.
        tag: u16,
        /// From where on.
        offset: u32,
        /// How many.
        len_bytes: u32,
    },
}

#[derive(Clone, Copy, Debug)]
struct Cut {
    /// Position in `bytes` before which it goes.
    at: usize,
    tag: u16,
    offset: u32,
    /// Zero: a mark only.
    len_bytes: u32,
    /// The tag is released when this has been sent.
    releases: bool,
}

/// The sending half of a connection.
#[derive(Debug)]
pub struct Outbox {
    bytes: Vec<u8>,
    /// Bytes before this one are sent.
    head: usize,
    cuts: VecDeque<Cut>,
    bytes_max: usize,
    cuts_max: usize,
    /// Sent so far, ever.
    sent_bytes: u64,
}

impl Outbox {
    /// An outbox for up to `bytes_max` bytes of headers and `cuts_max` pieces of data and marks.
    #[must_use]
    pub fn new(bytes_max: usize, cuts_max: usize) -> Self {
        let mut outbox = Self {
            bytes: Vec::new(),
            head: 0,
            cuts: VecDeque::new(),
            bytes_max: 0,
            cuts_max: 0,
            sent_bytes: 0,
        };
        outbox.grow(bytes_max, cuts_max);
        outbox
    }

    /// Makes room for more. The only place that allocates.
    pub fn grow(&mut self, bytes_max: usize, cuts_max: usize) {
        self.bytes_max = self.bytes_max.max(bytes_max);
        self.cuts_max = self.cuts_max.max(cuts_max);
        self.bytes.reserve(self.bytes_max - self.bytes.len());
        self.cuts.reserve(self.cuts_max - self.cuts.len());
    }

    /// Whether this much can still be queued.
    #[inline]
    #[must_use]
    pub fn has_room(&self, bytes: usize, cuts: usize) -> bool {
        self.bytes.len() - self.head + bytes <= self.bytes_max
            && self.cuts.len() + cuts <= self.cuts_max
    }

    /// Whether everything has been sent.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.head == self.bytes.len() && self.cuts.is_empty()
    }

    /// Bytes sent since the beginning.
    #[must_use]
    pub fn sent_bytes(&self) -> u64 {
        self.sent_bytes
    }

    /// Queues `len_bytes` bytes that `write` writes.
    ///
    /// # Panics
    /// If there is no room.
    pub fn put(&mut self, len_bytes: usize, write: impl FnOnce(&mut [u8])) {
        assert!(self.has_room(len_bytes, 0), "{len_bytes} bytes do not fit into the outbox");
        if self.bytes.len() + len_bytes > self.bytes_max {
            self.compact();
        }
        let start = self.bytes.len();
        self.bytes.resize(start + len_bytes, 0);
        write(&mut self.bytes[start..]);
    }

    /// Queues bytes of a buffer.
    ///
    /// # Panics
    /// If there is no room.
    pub fn put_data(&mut self, tag: u16, offset: u32, len_bytes: u32) {
        self.put_cut(tag, offset, len_bytes, false);
    }

    /// Queues a mark: the tag is released when everything before it has been sent.
    ///
    /// # Panics
    /// If there is no room.
    pub fn put_release(&mut self, tag: u16) {
        let at = self.bytes.len();
        match self.cuts.back_mut() {
            Some(cut) if cut.at == at && cut.tag == tag => cut.releases = true,
            _ => self.put_cut(tag, 0, 0, true),
        }
    }

    fn put_cut(&mut self, tag: u16, offset: u32, len_bytes: u32, releases: bool) {
        assert!(self.has_room(0, 1), "no more data fits into the outbox");
        self.cuts.push_back(Cut { at: self.bytes.len(), tag, offset, len_bytes, releases });
    }

    /// Moves what is not sent to the front.
    fn compact(&mut self) {
        let head = self.head;
        self.bytes.drain(..head);
        for cut in &mut self.cuts {
            cut.at -= head;
        }
        self.head = 0;
    }

    /// What has to be sent, in order.
    pub fn parts(&self) -> impl Iterator<Item = Part<'_>> {
        let mut at = self.head;
        let data = self.cuts.iter().filter(|cut| cut.len_bytes > 0);
        let upto = data.flat_map(move |cut| {
            let before = Part::Bytes(&self.bytes[at..cut.at]);
            at = cut.at;
            let Cut { tag, offset, len_bytes, .. } = *cut;
            [before, Part::Data { tag, offset, len_bytes }]
        });
        let last = self.cuts.iter().rev().find(|cut| cut.len_bytes > 0);
        let rest = last.map_or(self.head, |cut| cut.at);
        upto.chain([Part::Bytes(&self.bytes[rest..])])
            .filter(|part| !matches!(part, Part::Bytes(bytes) if bytes.is_empty()))
    }

    /// The socket took `len_bytes` bytes. Tags are released in the order in which they were queued.
    ///
    /// # Panics
    /// If that is more than there was.
    pub fn sent(&mut self, len_bytes: usize, mut released: impl FnMut(u16)) {
        self.sent_bytes += len_bytes as u64;
        let mut left = len_bytes;
        loop {
            let end = self.cuts.front().map_or(self.bytes.len(), |cut| cut.at);
            let step = left.min(end - self.head);
            self.head += step;
            left -= step;
            let Some(cut) = self.cuts.front_mut().filter(|cut| cut.at == self.head) else { break };
            let step = left.min(cut.len_bytes as usize);
            cut.offset += step as u32;
            cut.len_bytes -= step as u32;
            left -= step;
            if cut.len_bytes > 0 {
                break;
            }
            if cut.releases {
                released(cut.tag);
            }
            self.cuts.pop_front();
        }
        assert_eq!(left, 0, "more was sent than there was");
        if self.head == self.bytes.len() && self.cuts.is_empty() {
            self.bytes.clear();
            self.head = 0;
        }
    }

    /// Forgets everything that has not been sent; tags that wait for it are released.
    pub fn clear(&mut self, mut released: impl FnMut(u16)) {
        for cut in self.cuts.drain(..).filter(|cut| cut.releases) {
            released(cut.tag);
        }
        self.bytes.clear();
        self.head = 0;
    }
}

#[cfg(test)]
mod tests;
