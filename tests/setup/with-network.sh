#!/usr/bin/env bash
# Runs a command on a machine that has an address besides loopback. Firefox pairs no loopback candidates, so
# where there is no such address the command gets a network namespace of its own, with one veth address and a
# default route.
set -euo pipefail

if ip -o route show default 2>/dev/null | grep -q . || ip -6 -o route show default 2>/dev/null | grep -q .; then
    exec "$@"
fi

export RINGVOX_INNER='ip link set lo up
    ip link add ringvox0 type veth peer name ringvox1
    ip address add 192.0.2.10/24 dev ringvox0
    ip link set ringvox0 up
    ip link set ringvox1 up
    ip route add default via 192.0.2.11
    exec "$@"'
user=()
[ "$(id -u)" = 0 ] || user=(--user --map-root-user)
exec unshare --net "${user[@]}" bash -euc "$RINGVOX_INNER" with-network "$@"
