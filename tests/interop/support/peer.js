/**
 * WebRTC stacks that are neither ours nor a browser's: scripts of Python and Node, and programs, as processes
 * of their own.
 * @module
 */

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { dirname, extname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { until } from "./until.js";

const INTEROP = join(dirname(fileURLToPath(import.meta.url)), "..");
const OURS = [process.env.RINGVOX_PYTHON ?? "", join(INTEROP, "../.venv/bin/python")];
const PYTHON = OURS.find((file) => file && existsSync(file)) ?? "python3";
/** The system's own, which has the bindings of Debian's packages. */
const SYSTEM_PYTHON = "/usr/bin/python3";

const LATE_MS = 120_000;

/** @typedef {ReturnType<typeof startPeer>} Peer */

/** @param {string} name of a script of these tests, or the path of a program @param {...string} how */
export function startPeer(name, ...how) {
    const python = name.includes("gstreamer") ? SYSTEM_PYTHON : PYTHON;
    const runs = { ".js": process.execPath, ".py": python }[extname(name)];
    const file = resolve(INTEROP, name);
    const child = runs ? spawn(runs, [file, ...how]) : spawn(file, how);
    let output = "";
    child.stdout.on("data", (data) => { output += data; });
    child.stderr.on("data", (data) => { output += data; });
    const ended = new Promise((resolve) => child.once("close", resolve));
    const late = setTimeout(() => child.kill("SIGKILL"), LATE_MS);
    ended.then(() => clearTimeout(late));
    return {
        output: () => output,
        ended,
        finish: () => child.stdin.end(),
        /** As a crash would: nobody is told. */
        kill: () => { child.exitCode === null && child.kill("SIGKILL"); },
    };
}

/** Waits until it says so; it must not end before. @param {Peer} peer @param {string} word */
export async function says(peer, word) {
    let ended = false;
    peer.ended.then(() => { ended = true; });
    await until(`a peer says ${word}, or ends`, () => ended || peer.output().includes(word), { describe: peer.output });
    assert.ok(!ended, peer.output());
}
