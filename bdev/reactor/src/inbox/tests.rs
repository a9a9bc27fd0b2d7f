//! Goal: every message is run or dropped exactly once, in order, also when an inbox is full or
//! closes at that moment. Method: messages that carry a token whose drop is counted.

use super::*;
use std::sync::atomic::AtomicUsize;

fn inbox() -> Arc<Inbox> {
    Arc::new(Inbox::new(Arc::new(Doorbell::new(true).expect("an eventfd"))))
}

/// A message that counts when it goes, run or not.
fn counted(gone: &Arc<AtomicUsize>) -> Message {
    struct Token(Arc<AtomicUsize>);
    impl Drop for Token {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let token = Token(Arc::clone(gone));
    Box::new(move |_| drop(token))
}

fn fill(inbox: &Inbox, gone: &Arc<AtomicUsize>) {
    for _ in 0..limits::INBOX_MESSAGES_MAX {
        assert!(inbox.try_push(counted(gone)).is_ok());
    }
    assert!(inbox.try_push(counted(gone)).is_err(), "one too many");
    gone.store(0, Ordering::Relaxed);
}

#[test]
fn a_closed_inbox_drops_what_is_in_it_and_what_comes() {
    let gone = Arc::default();
    let inbox = inbox();
    inbox.try_push(counted(&gone)).unwrap_or_else(|_| panic!("room"));
    inbox.close();
    assert!(inbox.is_closed() && inbox.is_empty());
    assert_eq!(gone.load(Ordering::Relaxed), 1);
    send_and_wait(&inbox, counted(&gone));
    send_or_keep(&inbox, counted(&gone));
    assert_eq!(gone.load(Ordering::Relaxed), 3);
}

/// The sender has found the inbox open, then it closes, then the sender pushes.
#[test]
fn a_message_that_comes_just_after_the_end_is_dropped_by_its_sender() {
    let gone = Arc::default();
    let inbox = inbox();
    inbox.close();
    inbox.queue.push(counted(&gone)).unwrap_or_else(|_| panic!("room"));
    inbox.pushed();
    assert!(inbox.is_empty());
    assert_eq!(gone.load(Ordering::Relaxed), 1);
}

/// A push races with the end: whoever is later, nothing stays behind in the queue.
#[test]
fn no_message_is_left_behind_when_the_inbox_closes() {
    for round in 0..200 {
        let gone = Arc::default();
        let inbox = inbox();
        let sent = AtomicUsize::new(0);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !inbox.is_closed() {
                    send_and_wait(&inbox, counted(&gone));
                    sent.fetch_add(1, Ordering::Relaxed);
                }
            });
            let backoff = Backoff::new();
            while sent.load(Ordering::Relaxed) < round % 40 {
                backoff.snooze();
            }
            inbox.close();
        });
        assert!(inbox.is_empty(), "round {round}");
        assert_eq!(gone.load(Ordering::Relaxed), sent.into_inner(), "round {round}");
    }
}

#[test]
fn a_control_thread_waits_for_room() {
    let gone = Arc::default();
    let inbox = inbox();
    fill(&inbox, &gone);
    let sent = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            send_and_wait(&inbox, counted(&gone));
            sent.store(true, Ordering::Release);
        });
        let until = crate::clock::now() + crate::clock::Ticks::from_millis(5);
        while crate::clock::now() < until {
            assert!(!sent.load(Ordering::Acquire), "there is no room");
        }
        assert!(inbox.pop().is_some());
    });
    assert!(sent.load(Ordering::Acquire));
    assert_eq!(inbox.queue.len(), limits::INBOX_MESSAGES_MAX);
}

#[test]
fn what_does_not_fit_is_kept_and_overtakes_nothing() {
    let gone = Arc::default();
    let (full, roomy) = (inbox(), inbox());
    fill(&full, &gone);
    send_or_keep(&full, counted(&gone));
    assert!(!outbox_is_empty());
    assert_eq!(flush_outbox(), 0);
    // Others are not held up.
    send_or_keep(&roomy, counted(&gone));
    assert_eq!(roomy.queue.len(), 1);
    // There is room for one, but that is for the older message.
    assert!(full.pop().is_some());
    send_or_keep(&full, counted(&gone));
    assert_eq!(full.queue.len(), limits::INBOX_MESSAGES_MAX - 1);
    assert_eq!(flush_outbox(), 1);
    assert!(!outbox_is_empty(), "the younger one still waits");
    assert!(full.pop().is_some());
    // A sender that may wait sends on what is older first.
    send_and_wait(&roomy, counted(&gone));
    assert!(outbox_is_empty());
    assert_eq!(full.queue.len(), limits::INBOX_MESSAGES_MAX);
}

#[test]
fn the_outbox_gives_up_what_is_for_a_closed_inbox() {
    let gone = Arc::default();
    let full = inbox();
    fill(&full, &gone);
    send_or_keep(&full, counted(&gone));
    full.close();
    assert_eq!(flush_outbox(), 1);
    assert_eq!(gone.load(Ordering::Relaxed), limits::INBOX_MESSAGES_MAX + 1);
}

#[test]
#[should_panic(expected = "control messages wait for full inboxes")]
fn the_outbox_is_bounded() {
    let gone = Arc::default();
    let full = inbox();
    fill(&full, &gone);
    for _ in 0..=limits::OUTBOX_MESSAGES_MAX {
        send_or_keep(&full, counted(&gone));
    }
}
