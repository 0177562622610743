#!/usr/bin/env bash
# How fast a room is mixed. Usage: bench/mix.sh [SECONDS] [PROGRAM] [KEY=VALUE…]
#
# Makes a room of four people, 720p at 30 pictures and about 1.2 Mbit/s each, with noise and motion: two in H.264,
# two in VP8, and all with Opus; then mixes it and says how long that took. KEY=VALUE are keys of
# offline_mixer.json. The room is kept and used again (MIX_DIR, else /tmp/ringvox-mix). MIX_CODECS="h264 h264 h264
# h264" chooses others.
set -euo pipefail
seconds=${1:-60}
program=${2:-target/release/ringvox-recorder}
shift $(($# < 2 ? $# : 2))
folder=${MIX_DIR:-/tmp/ringvox-mix}
codecs=(${MIX_CODECS:-h264 vp8 h264 vp8})
mkdir -p "$folder"
room=$folder/room-$seconds-$(IFS=-; echo "${codecs[*]}").mkv

if [ ! -f "$room" ]; then
    inputs=() maps=() at=0
    for codec in "${codecs[@]}"; do
        # Those with the same codec have the same picture.
        track=$folder/track-$seconds-$codec.mkv
        picture="testsrc2=size=1280x720:rate=30,noise=alls=10:allf=t,format=yuv420p"
        encoder=(-c:v libvpx -deadline realtime -cpu-used 8)
        [ "$codec" = vp8 ] || encoder=(-c:v libx264 -preset superfast -tune zerolatency -profile:v baseline)
        [ -f "$track" ] || ffmpeg -v error -nostdin -y -f lavfi -i "$picture" -f lavfi -i "sine=frequency=300:sample_rate=48000" \
            -t "$seconds" "${encoder[@]}" -b:v 1200k -maxrate 1500k -bufsize 1500k -g 300 -ac 2 -c:a libopus -b:a 32k "$track"
        inputs+=(-i "$track")
        maps+=(-map "$at:v" -map "$at:a" "-metadata:s:$((at * 2))" "title=guest $at/camera"
            "-metadata:s:$((at * 2 + 1))" "title=guest $at/camera")
        at=$((at + 1))
    done
    ffmpeg -v error -nostdin -y "${inputs[@]}" "${maps[@]}" -c copy "$room.new.mkv"
    mv "$room.new.mkv" "$room"
fi

settings=$folder/settings-$$.json
trap 'rm -f "$settings"' EXIT
json=
for pair in "$@"; do json+="${json:+, }\"${pair%%=*}\": \"${pair#*=}\""; done
echo "{$json}" >"$settings"
load=$(cut -d ' ' -f 1-3 /proc/loadavg)
TIMEFORMAT='%R %U %S'
took=$( { time "$program" mix "$room" --settings "$settings" --output "$folder/mixed.mp4" >/dev/null; } 2>&1)
read -r wall user system <<<"$(tail -n 1 <<<"$took")"
bytes=$(stat -c %s "$folder/mixed.mp4")
awk -v s="$seconds" -v w="$wall" -v u="$user" -v k="$system" -v b="$bytes" -v l="$load" -v what="${codecs[*]} $*" 'BEGIN {
    printf "%s: %d s in %.1f s, %.1f times real time; CPU %.1f s, %.2f cores; %.0f kbit/s; load before %s\n",
        what, s, w, s / w, u + k, (u + k) / w, b * 8 / s / 1000, l }'
