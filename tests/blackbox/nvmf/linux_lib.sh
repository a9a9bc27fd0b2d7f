# What the scripts for Linux hosts share: talking to the test, files that are checked, waiting.
set -e
fail() {
    echo "FAILED: $*"
    dmesg | tail -25
    exit 1
}
tell() { : >"/share/guest-$1"; }
await() {
    i=0
    while [ ! -e "/share/host-$1" ]; do
        i=$((i + 1))
        [ $i -lt 1200 ] || fail "the test does not say $1"
        sleep 0.1
    done
}
within() {
    i=0
    while ! eval "$1"; do
        i=$((i + 1))
        [ $i -lt 300 ] || fail "not within 30 s: $1"
        sleep 0.1
    done
}
connect() {
    port=$1
    shift
    nvme connect -t tcp -a 10.0.2.2 -s "$port" -n "$NQN" -q "$HOST" -I "${HOST##*:}" -c 1 -l 300 "$@"
}
fill() {
    dd if=/dev/urandom of="/mnt/$1" bs=64k count="${2:-16}" 2>/dev/null
    (cd /mnt && sha256sum "$1") >>/tmp/sums
}
check() {
    sync
    echo 3 >/proc/sys/vm/drop_caches
    (cd /mnt && sha256sum -c /tmp/sums) >/tmp/checked || fail "$(grep -v OK /tmp/checked)"
}
# Random writes that fio verifies, to a file or a device, with its libraries from the folder that both see.
verified() {
    [ -e /share/fio ] || return 0
    set -- /share/fio/ld-linux-x86-64.so.2 --library-path /share/fio /share/fio/fio --name=verify \
        --thread --filename="$1" --size="$2" --rw=randwrite --bs=4k --ioengine=libaio --iodepth=16 \
        --direct=1 --verify=crc32c --verify_fatal=1 --verify_backlog=256 --output=/tmp/fio
    "$@" || fail "fio: $(cat /tmp/fio)"
    grep -q 'err= 0' /tmp/fio || fail "fio: $(cat /tmp/fio)"
    echo "fio $(grep -c . /tmp/fio) lines: $(grep -o 'issued rwts: total=[0-9,]*' /tmp/fio)"
}
quiet() {
    if dmesg | grep -E 'I/O error|critical|EXT4-fs error|Corruption|lost'; then
        fail "the kernel complains"
    fi
}
mkdir -p /mnt
modprobe nvme-tcp
