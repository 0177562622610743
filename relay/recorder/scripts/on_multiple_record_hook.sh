#!/bin/sh
# Mixes the file of a room into one MP4 beside it; started by the recorder when such a file is ready.
# Usage: on_multiple_record_hook.sh FILE
#
# The program is ringvox-recorder beside this script, else RINGVOX_RECORDER, else the one in PATH; settings
# are offline_mixer.json beside this script, if it is there. See `ringvox-recorder mix --help` for more.
set -eu

if [ "$#" -lt 1 ] || [ ! -f "$1" ]; then
    echo "usage: on_multiple_record_hook.sh FILE" >&2
    exit 64
fi
case $1 in
    /*) file=$1 ;;
    *) file=./$1 ;;
esac

here=$(dirname -- "$0")
recorder=$here/ringvox-recorder
[ -x "$recorder" ] || recorder=${RINGVOX_RECORDER:-ringvox-recorder}

set -- mix
[ ! -f "$here/offline_mixer.json" ] || set -- "$@" "--settings=$here/offline_mixer.json"
set -- "$@" -- "$file"

# Calls and recordings come first.
if command -v ionice >/dev/null 2>&1 && ionice -c 3 true 2>/dev/null; then
    exec ionice -c 3 nice -n 19 "$recorder" "$@"
fi
exec nice -n 19 "$recorder" "$@"
