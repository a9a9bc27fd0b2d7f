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
    nvme connect -t tcp -a 10.0.2.2 -s "$port" -n "$NQN" -q "$HOST" -c 1 -l 300 "$@"
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
quiet() {
    if dmesg | grep -E 'I/O error|critical|EXT4-fs error|Corruption|lost'; then
        fail "the kernel complains"
    fi
}
mkdir -p /mnt
modprobe nvme-tcp
