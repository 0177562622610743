#!/usr/bin/env bash
# Installs what is missing of the system's packages (Debian 12). Usage: system.sh build|test|bench|gate
#
# Each line names what proves that a package's content is here, and the package that brings it; a tool that
# came some other way (node from its own repository, say) is left as it is. Nothing missing: nothing happens,
# in a moment.
set -euo pipefail

missing=()
need() { "${@:2}" >/dev/null 2>&1 || missing+=("$1"); }
file() { compgen -G "$1"; }

# BoringSSL and aws-lc are built from C and C++, their bindings with libclang.
need cmake command -v cmake
need g++ command -v g++
need clang command -v clang
need libclang-dev file '/usr/lib/llvm-*/lib/libclang.so*'
need pkg-config command -v pkg-config
if [ "${1:-build}" = test ]; then
    need chromium command -v chromium
    need firefox-esr command -v firefox-esr
    need ffmpeg command -v ffmpeg
    need fonts-dejavu-core file '/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf'
    need nginx-light file '/usr/sbin/nginx'
    need caddy command -v caddy
    need iproute2 file '/*bin/ip'
    need procps command -v ps
    need nodejs command -v node
    need npm command -v npm
    # WebRTC by GStreamer, with the codecs that it is tested with, and its bindings for the system's Python.
    need gstreamer1.0-plugins-base file '/usr/lib/*/gstreamer-1.0/libgstopus.so'
    need gstreamer1.0-plugins-good file '/usr/lib/*/gstreamer-1.0/libgstvpx.so'
    need gstreamer1.0-plugins-bad file '/usr/lib/*/gstreamer-1.0/libgstwebrtc.so'
    need gstreamer1.0-plugins-ugly file '/usr/lib/*/gstreamer-1.0/libgstx264.so'
    need gstreamer1.0-libav file '/usr/lib/*/gstreamer-1.0/libgstlibav.so'
    need gstreamer1.0-nice file '/usr/lib/*/gstreamer-1.0/libgstnice.so'
    need python3-gi file '/usr/lib/python3/dist-packages/gi/__init__.py'
    need gir1.2-gst-plugins-bad-1.0 file '/usr/lib/*/girepository-1.0/GstWebRTC-1.0.typelib'
    # Pion, another WebRTC, in Go: its sources, which are built by the test.
    need golang-go command -v go
    need golang-github-pion-webrtc.v3-dev file '/usr/share/gocode/src/github.com/pion/webrtc/go.mod'
    need python3-venv python3 -c 'import venv, ensurepip'
fi
if [ "${1:-build}" = bench ]; then
    need janus command -v janus
    need iproute2 file '/*bin/ip'
    need ethtool file '/*bin/ethtool'
fi
if [ "${1:-build}" = gate ]; then
    need valgrind command -v valgrind
    need libc6-dbg file '/usr/lib/debug/.build-id/*'
fi

if [ ${#missing[@]} -gt 0 ]; then
    if ! command -v apt-get >/dev/null; then
        echo "Please install these Debian packages, or what they are called here: ${missing[*]}" >&2
        exit 1
    fi
    as_root=()
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null || { echo "Please install as root: apt-get install ${missing[*]}" >&2; exit 1; }
        as_root=(sudo)
    fi
    echo "Installing ${missing[*]}"
    "${as_root[@]}" apt-get -q update
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends "${missing[@]}"
    # Their packages start servers that everybody can reach; the bench and the tests start their own.
    for service in janus nginx caddy; do
        if [[ " ${missing[*]} " == *" $service"[\ -]* ]] && [ -d /run/systemd/system ]; then
            "${as_root[@]}" systemctl disable --now "$service"
        fi
    done
fi

if ! command -v cargo >/dev/null; then
    echo "Please install the Rust toolchain (cargo, rustc 1.90 or newer, rustfmt, clippy): https://rustup.rs" >&2
    exit 1
fi
