#!/bin/sh
# Has the kernel assemble arrays whose members lie one after the other on /dev/vda, and compares what
# they hold. /job/plan has one line an array:
#
#   kind level layout devices strip_sectors member_sectors first_slot array_sectors sha256 missing...
#
# kind is dm (the target raid, without metadata devices) or md (mdadm, superblock behind the data);
# missing is a list of sets of members to leave out, each slots with commas between, or "none".
set -e
modprobe dm-raid
modprobe raid456
modprobe brd rd_nr=6 rd_size=2048
slot_kib=2048
assembled=0
wrong=0

is_missing() {
    case ",$missing," in
    *,$1,*) return 0 ;;
    *) return 1 ;;
    esac
}
# Prints one word or two for every member, as the kind wants it.
members() {
    slot=0
    while [ $slot -lt $devices ]; do
        if is_missing $slot; then
            [ $kind = dm ] && echo "- -" || echo missing
        else
            [ $kind = dm ] && echo "- /dev/ram$slot" || echo /dev/ram$slot
        fi
        slot=$((slot + 1))
    done
}
assemble() {
    if [ $kind = dm ]; then
        dmsetup create array --table \
            "0 $array_sectors raid $layout 1 $strip $devices $(members | tr '\n' ' ')"
        device=/dev/mapper/array
    else
        mdadm --create /dev/md0 --run --quiet --metadata=1.0 --assume-clean --bitmap=none \
            --level=${level#raid} --layout=$layout --raid-devices=$devices --chunk=$((strip / 2)) \
            --size=$((member / 2)) $(members) 2>/tmp/mdadm || { cat /tmp/mdadm; exit 1; }
        device=/dev/md0
    fi
}
disassemble() {
    if [ $kind = dm ]; then
        dmsetup remove array
    else
        mdadm --stop --quiet /dev/md0
    fi
}
check() {
    assemble
    found=$(dd if=$device bs=64k 2>/dev/null | sha256sum)
    if [ "${found%% *}" != $sha256 ] || [ $(blockdev --getsz $device) != $array_sectors ]; then
        echo "wrong: $kind $level $layout, $devices members, strip $strip sectors, without $missing"
        wrong=$((wrong + 1))
    fi
    disassemble
    assembled=$((assembled + 1))
}

while read -r kind level layout devices strip member first array_sectors sha256 all_missing; do
    slot=0
    while [ $slot -lt $devices ]; do
        dd if=/dev/vda of=/dev/ram$slot bs=${slot_kib}k skip=$((first + slot)) count=1 \
            iflag=direct oflag=direct 2>/dev/null
        slot=$((slot + 1))
    done
    for missing in $all_missing; do
        check
    done
done <plan
echo "assembled $assembled, wrong $wrong"
[ $wrong = 0 ]
