//! The outbox against a list of bytes.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Copy, Debug)]
enum Step {
    Bytes(usize),
    Data { tag: u16, len: u32 },
    Release(u16),
    Send(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (1_usize..40).prop_map(Step::Bytes),
        (0_u16..5, 1_u32..60).prop_map(|(tag, len)| Step::Data { tag, len }),
        (0_u16..5).prop_map(Step::Release),
        (0_usize..120).prop_map(Step::Send),
    ]
}

/// What byte `offset` of a tag's buffer holds.
fn data_byte(tag: u16, offset: u32) -> u8 {
    (u32::from(tag) * 100 + offset) as u8
}

fn flatten(outbox: &Outbox) -> Vec<u8> {
    let mut bytes = Vec::new();
    for part in outbox.parts() {
        match part {
            Part::Bytes(part) => bytes.extend_from_slice(part),
            Part::Data { tag, offset, len_bytes } => {
                bytes.extend((offset..offset + len_bytes).map(|at| data_byte(tag, at)));
            }
        }
    }
    bytes
}

proptest! {
    /// Goal: the parts are what was queued and not sent, in order, and a tag is released exactly when
    /// everything before its mark has been sent. Method: any steps, against a plain list.
    #[test]
    fn it_is_a_queue(steps in prop::collection::vec(step(), 1..60)) {
        let (bytes_max, cuts_max) = (100, 8);
        let mut outbox = Outbox::new(bytes_max, cuts_max);
        let mut model: Vec<u8> = Vec::new();
        let (mut queued, mut sent) = (0_usize, 0_usize);
        let mut marks: VecDeque<(usize, u16)> = VecDeque::new();
        let mut next = 0_u8;
        for step in steps {
            match step {
                Step::Bytes(len) if outbox.has_room(len, 0) => {
                    let new: Vec<u8> = (0..len).map(|at| next.wrapping_add(at as u8)).collect();
                    next = next.wrapping_add(17);
                    outbox.put(len, |bytes| bytes.copy_from_slice(&new));
                    queued += len;
                    model.extend(new);
                }
                Step::Data { tag, len } if outbox.has_room(0, 1) => {
                    outbox.put_data(tag, 3, len);
                    model.extend((3..3 + len).map(|at| data_byte(tag, at)));
                    queued += len as usize;
                }
                // A tag is released once.
                Step::Release(tag)
                    if outbox.has_room(0, 1) && !marks.iter().any(|mark| mark.1 == tag) =>
                {
                    outbox.put_release(tag);
                    marks.push_back((queued, tag));
                }
                Step::Send(len) => {
                    let len = len.min(model.len());
                    let mut released = Vec::new();
                    outbox.sent(len, |tag| released.push(tag));
                    model.drain(..len);
                    sent += len;
                    let mut expected = Vec::new();
                    while marks.front().is_some_and(|mark| mark.0 <= sent) {
                        expected.extend(marks.pop_front().map(|mark| mark.1));
                    }
                    prop_assert_eq!(released, expected);
                }
                _ => {}
            }
            prop_assert_eq!(&flatten(&outbox), &model);
            prop_assert_eq!(outbox.sent_bytes(), sent as u64);
            prop_assert!(outbox.bytes.capacity() >= bytes_max, "it was all there from the start");
        }
        let left: Vec<u16> = marks.iter().map(|mark| mark.1).collect();
        let mut released = Vec::new();
        outbox.clear(|tag| released.push(tag));
        prop_assert_eq!(released, left);
        prop_assert!(outbox.is_empty());
    }
}

/// Goal: responses without data are one part, however many. Method: 32 of them with their marks.
#[test]
fn responses_lie_side_by_side() {
    let mut outbox = Outbox::new(32 * 24, 32);
    for tag in 0..32 {
        outbox.put(24, |bytes| bytes.fill(tag as u8));
        outbox.put_release(tag);
    }
    assert_eq!(outbox.parts().count(), 1);
    assert!(!outbox.has_room(1, 0) && !outbox.has_room(0, 1));
}
