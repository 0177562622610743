#!/usr/bin/env bash
# Two network namespaces joined by a veth pair, for `ringvox-load --sink`: the relay in rv-relay, the clients in rv-load, whose
# subscribers have addresses of their own behind one route. Needs root. Usage: net.sh up|down
set -euo pipefail

case "${1:-}" in
up)
    ip netns add rv-relay
    ip netns add rv-load
    ip link add rv0 netns rv-relay type veth peer name rv1 netns rv-load
    ip -n rv-relay address add 10.90.0.1/24 dev rv0
    ip -n rv-load address add 10.90.0.2/24 dev rv1
    for name in rv-relay rv-load; do ip -n "$name" link set lo up; done
    ip -n rv-relay link set rv0 up
    ip -n rv-load link set rv1 up
    ip -n rv-relay route add 10.91.0.0/16 via 10.90.0.2
    ip -n rv-load route add local 10.91.0.0/16 dev lo
    ;;
down)
    ip netns delete rv-relay
    ip netns delete rv-load
    ;;
*)
    echo "usage: $0 up|down" >&2
    exit 2
    ;;
esac
