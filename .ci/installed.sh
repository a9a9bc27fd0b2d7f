#!/usr/bin/env bash
# The Debian package where it is installed: dpkg with its maintainer scripts, by the commands of the operator's
# guide, in a copy of this machine's root that is thrown away (overlayfs, in namespaces of its own; root only).
# Then the service as the unit starts it, asked by those who may and by one who may not, and the package's end.
#
#   .ci/installed.sh target/debian/raid456_*.deb
#
# What is not tried: systemd itself, which does not run in there; so the sandbox of the unit is looked at by
# systemd-analyze only.
set -euo pipefail

if [[ ${2-} != inside ]]; then
    top=$(mktemp -d)
    trap 'rmdir "$top"' EXIT
    unshare --mount --net --pid --fork --kill-child "$0" "$(realpath "$1")" inside "$top"
    exit
fi
tree=$(realpath "$(dirname "$0")/..")
top=$3
mount -t tmpfs none "$top"
root=$top/root
mkdir "$top/upper" "$top/work" "$root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$top/upper,workdir=$top/work" "$root"
mount -t proc none "$root/proc"
mount -t tmpfs none "$root/run"
mount -t tmpfs none "$root/tmp"
mount --rbind /dev "$root/dev"
ip link set lo up

# The guide's own words, in a folder like the clone that it speaks of; the package is built.
mkdir -p "$root/tmp/clone/target/debian" "$root/tmp/clone/deploy" "$root/tmp/bin"
cp "$1" "$root/tmp/clone/target/debian/"
printf '#!/bin/sh\nexit 0\n' | tee "$root/tmp/bin/cargo" >"$root/tmp/clone/deploy/build-deb.sh"
# Privileges are there already.
printf '#!/bin/sh\nexec "$@"\n' >"$root/tmp/bin/sudo"
# There is no systemd to start it with.
printf '#!/bin/sh\nexec /usr/bin/systemctl "$1" "$3"\n' >"$root/tmp/bin/systemctl"
chmod +x "$root/tmp/bin/"* "$root/tmp/clone/deploy/build-deb.sh"
awk '/^```sh$/ { block = ""; inside = 1; next }
     /^```$/ { if (inside && block ~ /systemctl enable/) printf "%s", block; inside = 0 }
     inside { block = block $0 "\n" }' "$tree/deploy/GUIDE.md" >"$root/tmp/guide.sh"
grep -q 'systemctl enable' "$root/tmp/guide.sh"

cat >"$root/tmp/inside.sh" <<'END'
set -euxo pipefail
cd /tmp/clone
export PATH=/tmp/bin:$PATH DEBIAN_FRONTEND=noninteractive
unset RAID456_SOCKET
useradd --create-home alice
grep -qx 'sudo systemctl enable --now raid456' /tmp/guide.sh
USER=alice bash -euo pipefail /tmp/guide.sh
# What the maintainer scripts are for.
id -nG raid456 | grep -qw disk
test "$(stat -c '%U:%G %a' /etc/raid456/config.json)" = 'root:raid456 640'
test -L /etc/systemd/system/multi-user.target.wants/raid456.service
test -L /etc/systemd/system/raid456.service.wants/raid456-scrub.timer
systemd-analyze verify --man=no raid456.service raid456-scrub.service raid456-scrub.timer
test -s /usr/share/man/man1/raid456-serve.1.gz
test -s /usr/share/bash-completion/completions/raid456

# As the unit says: its directories, its user, its arguments.
unit() { sed -n "s/^$1=//p" "/lib/systemd/system/${2:-raid456.service}"; }
for directory in "/run/$(unit RuntimeDirectory)" "/var/lib/$(unit StateDirectory)"; do
    install -d -o "$(unit User)" -g "$(unit Group)" -m "$(unit StateDirectoryMode)" "$directory"
done
# In place of a subshell, whose process it becomes.
as_the_service() {
    umask "$(unit UMask)"
    . /etc/default/raid456
    eval "exec setpriv --reuid=$(unit User) --regid=$(unit Group) --init-groups $1"
}
as_the_service "$(unit ExecStart) --cores 0" >/tmp/said 2>/tmp/log & pid=$!
until grep -qs ready /tmp/said; do kill -0 $pid || { cat /tmp/log; exit 1; }; sleep 0.1; done
raid456 status
raid456 rpc bdev_malloc_create name=m0 block_size=4096 num_blocks=1024
runuser -u alice -- raid456 status
if runuser -u nobody -- raid456 status; then exit 1; fi
(as_the_service "$(unit ExecStart raid456-scrub.service)")
kill $pid
wait $pid || { cat /tmp/log; exit 1; }
grep -q '"m0"' /var/lib/raid456/state.json

dpkg --remove raid456
test ! -e /usr/bin/raid456
test -e /etc/raid456/config.json
dpkg --purge raid456
test ! -e /etc/raid456/config.json
END
chroot "$root" bash /tmp/inside.sh
echo "installed, served, removed"
