#!/bin/sh
# A file system on an array, over a member's failure, its rebuild, and a crash of the service.
. ./lib
await served
# As in the README, with this test's address, port and name, and by somebody who types no faster than people.
sed -i "s/127.0.0.1/10.0.2.2/; s/4420/$PORT/; s/nqn\\.2016-06\\.io\\.spdk:r0/$NQN/; s/^mkfs/sleep 3; mkfs/" readme
sh -e ./readme >/tmp/readme 2>&1 || fail "$(cat readme /tmp/readme)"
nvme disconnect -n "$NQN" >/dev/null
within '[ ! -b /dev/nvme0n1 ]'
nvme discover -t tcp -a 10.0.2.2 -s "$PORT" -q "$HOST" -I "${HOST##*:}" | grep -q "subnqn: *$NQN" || fail "not discovered"
connect "$PORT" -i 2 -Q 32
within '[ -b /dev/nvme0n1 ]'
nvme id-ctrl /dev/nvme0 | grep -q '^sn  *: RAID0456' || fail "serial number"
nvme id-ns /dev/nvme0n1 | grep -q '^nsze' || fail "identify namespace"
verified /dev/nvme0n1 8m
echo "queues $(ls -d /sys/class/nvme/nvme0/ >/dev/null && cat /sys/class/nvme/nvme0/queue_count)"
mkfs.ext4 -qF /dev/nvme0n1
mount -t ext4 -o discard /dev/nvme0n1 /mnt
fill before
check
tell mounted
await degraded
fill degraded
verified /mnt/fio 6m
check
tell written
await rebuilt
check
tell writing
n=0
while [ ! -e /share/host-restarted ]; do
    fill "crash$n" 4
    sync
    n=$((n + 1))
done
fill after
check
echo "files $(wc -l </tmp/sums)"
[ $n -gt 0 ] || fail "nothing was written while the service was restarted"
rm /mnt/before
sed -i '/  before$/d' /tmp/sums
verified /mnt/fio 4m
rm -f /mnt/fio
fstrim /mnt
umount /mnt
e2fsck -fn /dev/nvme0n1 >/tmp/fsck 2>&1 || fail "$(cat /tmp/fsck)"
nvme disconnect -n "$NQN" >/dev/null
connect "$PORT" -i 1 --hdr-digest --data-digest
within '[ -b /dev/nvme0n1 ]'
mount -t ext4 /dev/nvme0n1 /mnt
check
fill digests
verified /mnt/fio 2m
check
umount /mnt
e2fsck -fn /dev/nvme0n1 >/tmp/fsck 2>&1 || fail "$(cat /tmp/fsck)"
modprobe xfs
rm /tmp/sums
mkfs.xfs -q -f /dev/nvme0n1
mount -t xfs /dev/nvme0n1 /mnt
fill xfs
verified /mnt/fio 2m
umount /mnt
mount -t xfs /dev/nvme0n1 /mnt
check
umount /mnt
xfs_repair -n /dev/nvme0n1 >/tmp/fsck 2>&1 || fail "$(cat /tmp/fsck)"
quiet
nvme disconnect -n "$NQN" >/dev/null
echo well
