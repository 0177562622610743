#!/usr/bin/env bash
# Two network namespaces joined by a veth pair, for `ringvox-load --sink`: the relay in rv-relay, the clients
# in rv-load, whose subscribers have addresses of their own behind one route. Needs root.
# Usage: net.sh up|down, or net.sh with COMMAND...: up, the command, down
set -euo pipefail

up() {
    if [ -e /run/netns/rv-relay ] || [ -e /run/netns/rv-load ]; then
        echo "$0: the namespaces are there already; if nobody uses them: $0 down" >&2
        exit 1
    fi
    ip netns add rv-relay
    ip netns add rv-load
    ip link add rv0 netns rv-relay type veth peer name rv1 netns rv-load
    ip -n rv-relay address add 10.90.0.1/24 dev rv0
    ip -n rv-load address add 10.90.0.2/24 dev rv1
    for name in rv-relay rv-load; do ip -n "$name" link set lo up; done
    ip -n rv-relay link set rv0 up
    ip -n rv-load link set rv1 up
    for net in 10.91.0.0/16 10.92.0.0/16; do # within a sink's reach, and out of it
        ip -n rv-relay route add "$net" via 10.90.0.2
        ip -n rv-load route add local "$net" dev lo
    done
}

down() {
    ip netns delete rv-relay
    ip netns delete rv-load
}

case "${1:-}" in
up) up ;;
down) down ;;
with)
    shift
    up
    trap down EXIT
    "$@"
    ;;
*)
    echo "usage: $0 up|down, or $0 with COMMAND..." >&2
    exit 2
    ;;
esac
