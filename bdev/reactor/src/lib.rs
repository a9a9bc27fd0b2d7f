//! Pinned poll loops, message inboxes, timers, clock and buffer pools
