#!/usr/bin/env bash
# Everything `make test` runs, in order, the cheap first. All steps run even if one fails; the last line sums
# up.
#
# Environment: CARGO_TARGET_DIR. ONLY="step ..." runs just these steps; steps: fmt clippy rust deny types
# interop
set -uo pipefail
cd "$(dirname "$0")/../.."
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/target}"
export RINGVOX_BIN_DIR="${RINGVOX_BIN_DIR:-$CARGO_TARGET_DIR/debug}"
logs="$CARGO_TARGET_DIR/test-logs"
mkdir -p "$logs"
passed=0 failed=0 broken=()

wanted() { [ -z "${ONLY:-}" ] || [[ " $ONLY " == *" $1 "* ]]; }

# step NAME COMMAND...: runs it, shows and keeps its output. Its tests are counted if its runner says how
# many.
step() {
    local name=$1 log="$logs/$1.log" code counts
    shift
    wanted "$name" || return 0
    printf '\n==== %s\n' "$name"
    "$@" 2>&1 | tee "$log"
    code=${PIPESTATUS[0]}
    counts=$(count "$log")
    read -r good bad <<<"$counts"
    if [ "$good" = 0 ] && [ "$bad" = 0 ]; then # No test runner: the step itself is the test.
        [ "$code" = 0 ] && good=1 || bad=1
    elif [ "$code" != 0 ] && [ "$bad" = 0 ]; then
        bad=1
    fi
    passed=$((passed + good)) failed=$((failed + bad))
    [ "$code" = 0 ] || broken+=("$name")
}

# Sums the closing lines of cargo test, nextest and node's runner.
count() {
    sed 's/\x1b\[[0-9;]*m//g' "$1" | awk '
        /^test result:/ { good += $4; bad += $6 }
        /^ *Summary \[/ { for (i = 1; i < NF; i++) { if ($(i+1) ~ /^passed/) good += $i; if ($(i+1) ~ /^failed/) bad += $i } }
        /^(ℹ|#) pass [0-9]+$/ { good += $3 }
        /^(ℹ|#) (fail|cancelled) [0-9]+$/ { bad += $3 }
        END { print good + 0, bad + 0 }'
}

rust_tests() {
    if cargo nextest --version >/dev/null 2>&1; then
        cargo nextest run --workspace --no-fail-fast --status-level fail --final-status-level fail && cargo test --workspace --doc -q
    else
        cargo test --workspace --no-fail-fast -q
    fi
}

# The check of licences, duplicates and sources, where the tool is installed; advisories need a network.
deny() { ! command -v cargo-deny >/dev/null || cargo deny check bans licenses sources; }

# Built with the same features as for the Rust tests: nothing is compiled again.
interop() {
    cargo build --workspace --bins --tests && tests/setup/with-network.sh node tests/interop/run.js
}

step fmt cargo fmt --all --check
step clippy cargo clippy --workspace --all-targets -- -D warnings
step deny deny
step types tests/interop/node_modules/.bin/tsc -p tests/interop
step rust rust_tests
step interop interop

printf '\n'
[ ${#broken[@]} = 0 ] || echo "Broken: ${broken[*]} (logs in $logs)"
echo "$passed passed, $failed failed"
[ ${#broken[@]} = 0 ]
