#!/bin/sh
# Gives log devices that were written elsewhere to the kernel's dm-log, under a mirror of two RAM disks.
# /job/cases: one line a case: log device, sectors of the component, sectors of a region.
# Says of each case what the status is before the resync gets anywhere, and after it.
set -e
modprobe dm-mirror
modprobe dm-delay
modprobe brd rd_nr=2 rd_size=33000

# Legs that answer after a minute, and then at once: the resync stands still until it is let go.
slow_legs() {
    for i in 0 1; do
        dmsetup create leg$i --table "0 66000 delay /dev/ram$i 0 60000"
    done
}
fast_legs() {
    for i in 0 1; do
        dmsetup reload leg$i --table "0 66000 linear /dev/ram$i 0"
        dmsetup suspend --noflush --nolockfs leg$i
        dmsetup resume leg$i
    done
}
wait_for_sync() {
    tries=0
    while ! dmsetup status --noflush m | grep -q " $1/$1 "; do
        tries=$((tries + 1))
        if [ $tries -gt 300 ]; then
            echo "no end of the resync: $(dmsetup status --noflush m)"
            exit 1
        fi
        sleep 0.1
    done
}

while read -r log sectors region; do
    regions=$(((sectors + region - 1) / region))
    slow_legs
    legs="2 /dev/mapper/leg0 0 /dev/mapper/leg1 0 1 handle_errors"
    dmsetup create m --table "0 $sectors mirror disk 2 $log $region $legs"
    echo "resumed: $(dmsetup status --noflush m)"
    fast_legs
    wait_for_sync $regions
    echo "synced: $(dmsetup status --noflush m)"
    dmsetup remove m
    dmsetup remove leg0
    dmsetup remove leg1
done <cases
