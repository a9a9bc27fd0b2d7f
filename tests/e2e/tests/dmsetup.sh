#!/bin/sh
# Carries out dmsetup's verbs and says what it printed: "> " stdout, "! " stderr, "= " the exit code.
# /job/commands: a command line each. 253 stands for the major number of device-mapper, whatever it is.
set -e
for module in brd dm-raid dm-delay dm-flakey dm-zero; do
    modprobe $module $([ $module = brd ] && echo rd_nr=16 rd_size=16384)
done
major=$(awk '$2 == "device-mapper" { print $1 }' /proc/devices)
set +e
while IFS= read -r line; do
    echo "\$ $line"
    eval "dmsetup $(echo "$line" | sed "s/\b253\b/$major/g")" >/tmp/out 2>/tmp/err </dev/null
    code=$?
    sed "s/\b$major\b/253/g; s/^/> /; s/\$/|/" /tmp/out
    sed "s/\b$major\b/253/g; s/^/! /; s/\$/|/" /tmp/err
    echo "= $code"
done <commands
