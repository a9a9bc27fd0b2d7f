#!/bin/sh
# Who may connect, two paths with ANA states, namespaces that come, grow and go.
. ./lib
if nvme connect -t tcp -a 10.0.2.2 -s "$PORT" -n "$NQN" -q "$HOST-other" 2>/dev/null; then
    fail "a host that is not listed is connected"
fi
connect "$PORT" -i 1
connect "$PORT2" -i 1
within '[ -b /dev/nvme0n1 ]'
within '[ "$(ls -d /sys/class/nvme/nvme*/nvme0c*n1 | wc -l)" = 2 ]'
state() { cat /sys/class/nvme/$1/nvme0c*n1/ana_state; }
[ "$(state nvme0)" = optimized ] || fail "path 1 is $(state nvme0)"
[ "$(state nvme1)" = non-optimized ] || fail "path 2 is $(state nvme1)"
dd if=/dev/urandom of=/tmp/data bs=64k count=32 2>/dev/null
(
    while [ ! -e /share/host-switched ]; do
        dd if=/tmp/data of=/dev/nvme0n1 bs=64k oflag=direct 2>/dev/null || echo broken >/tmp/broken
        dd if=/dev/nvme0n1 bs=64k count=32 iflag=direct 2>/dev/null | cmp -s - /tmp/data ||
            echo differs >/tmp/broken
    done
) &
tell paths
await inaccessible
within '[ "$(state nvme0)" = inaccessible ]'
sleep 1
await optimized
within '[ "$(state nvme0)" = optimized ]'
await removed
sleep 1
await switched
wait
[ ! -e /tmp/broken ] || fail "I/O while paths changed: $(cat /tmp/broken)"
tell io
await added
within '[ -b /dev/nvme0n2 ]'
was=$(blockdev --getsize64 /dev/nvme0n2)
tell seen
await grown
within '[ "$(blockdev --getsize64 /dev/nvme0n2)" -gt '"$was"' ]'
tell larger
await gone
within '[ ! -b /dev/nvme0n2 ]'
quiet
nvme disconnect -n "$NQN" >/dev/null
if [ -n "$OWN" ]; then
    nvme connect-all -t tcp -a "$OWN" -s "$PORT3" -q "$HOST" -I "${HOST##*:}" || fail "connect-all"
    within 'ls /dev/nvme*n1 >/dev/null 2>&1'
    nvme disconnect-all
fi
echo well
