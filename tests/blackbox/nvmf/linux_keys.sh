#!/bin/sh
# A host that has to prove who it is, with every choice that the target makes.
. ./lib
modprobe nvme-auth || true
proven() {
    connect "$PORT" --dhchap-secret="$HOST_KEY" "$@"
    within '[ -b /dev/nvme0n1 ]'
}
gone() {
    nvme disconnect -n "$NQN" >/dev/null
    within '[ ! -b /dev/nvme0n1 ]'
}
refused() {
    if connect "$PORT" -l 1 "$@" 2>/tmp/refused; then
        fail "connected with $*"
    fi
}
for choice in sha256-null sha384-ffdhe2048 sha512-ffdhe3072; do
    await "$choice"
    proven
    dd if=/dev/urandom of=/tmp/data bs=64k count=8 2>/dev/null
    dd if=/tmp/data of=/dev/nvme0n1 bs=64k oflag=direct 2>/dev/null
    gone
    # Both sides prove who they are.
    proven --dhchap-ctrl-secret="$OTHER_KEY" -i 2
    dd if=/dev/nvme0n1 of=/tmp/back bs=64k count=8 iflag=direct 2>/dev/null
    cmp /tmp/data /tmp/back || fail "$choice: other data"
    gone
    refused
    refused --dhchap-secret="$OTHER_KEY"
    refused --dhchap-secret="$HOST_KEY" --dhchap-ctrl-secret="$HOST_KEY"
    echo "$choice"
    tell "$choice"
done
echo well
