//! The bound of operations that carry host data.
//!
//! Not here: what operations do.

use super::*;

/// Goal: the stripe cache is a bound that holds, can be changed at any time, and starves nobody: neither
/// hosts nor the resync that runs beside them. Method: random load in worlds out of sync, the bound
/// changed now and then; once lowered, operations never become more than they were.
#[test]
fn the_stripe_cache_bounds_host_operations() {
    let mut held_back = 0;
    let counters = each_world(Initially::OutOfSync, 2, |world| {
        for max in [1, 2, 7, STRIPE_OPS_MAX, 1] {
            world.shards.iter_mut().for_each(|shard| shard.set_host_ops_max(max));
            let mut most: Vec<_> =
                world.shards.iter().map(|shard| shard.host_ops().max(max)).collect();
            for _ in 0..150 {
                world.run(1);
                for (shard, most) in world.shards.iter().zip(&mut most) {
                    assert!(shard.host_ops() <= *most, "{} > {most}", shard.host_ops());
                    *most = shard.host_ops().max(max);
                    held_back += usize::from(max < 8 && !shard.uncut.is_empty());
                }
            }
        }
        world.start_resync();
        world.settle();
        assert!(world.shards.iter().all(|shard| shard.host_ops() == 0));
        assert!(world.shards.iter().all(|shard| shard.in_sync.is_full()));
    });
    assert!(held_back > 0 && counters.merges > 0, "{held_back} {counters:?}");
}
