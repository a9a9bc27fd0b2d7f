#!/bin/busybox sh
# PID 1 of the guest: prepares the system, runs /job/run, reports its output on ttyS1 and its exit code
# on ttyS2, and powers off.
/bin/busybox --install -s /bin
export PATH=/sbin:/bin HOME=/ DM_DISABLE_UDEV=1
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs run /run
mount -t tmpfs tmp /tmp
mkdir -p /run/nvme
hostname guest
ip link set lo up
stty -F /dev/ttyS1 raw -echo
stty -F /dev/ttyS2 raw -echo
. /job/env
for module in virtio_pci $GUEST_MODULES; do modprobe $module; done
if [ -n "$GUEST_SHARE" ]; then
    mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000,cache=none share /share
fi
if [ -n "$GUEST_NETWORK" ]; then
    ip link set eth0 up
    ip addr add 10.0.2.15/24 dev eth0
    ip route add default via 10.0.2.2
fi
cd /job
./run </dev/null >/dev/ttyS1 2>&1
code=$?
# A device that hangs must not keep the guest from ending.
sync &
pid=$!
tries=0
while kill -0 $pid 2>/dev/null && [ $tries -lt 100 ]; do
    tries=$((tries + 1))
    sleep 0.1
done
[ -n "$GUEST_SHARE" ] && umount /share
echo "code=$code" >/dev/ttyS2
poweroff -f
