/**
 * WebRTC stacks that are neither ours nor a browser's: scripts of Python and Node, as processes of their own.
 * @module
 */

import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const INTEROP = join(dirname(fileURLToPath(import.meta.url)), "..");
const OURS = [process.env.RINGVOX_PYTHON ?? "", join(INTEROP, "../.venv/bin/python")];
const PYTHON = OURS.find((file) => file && existsSync(file)) ?? "python3";
/** The system's own, which has the bindings of Debian's packages. */
const SYSTEM_PYTHON = "/usr/bin/python3";

const LATE_MS = 120_000;

/** @param {string} script @param {...string} how */
export function startPeer(script, ...how) {
    const python = script.includes("gstreamer") ? SYSTEM_PYTHON : PYTHON;
    const child = spawn(script.endsWith(".js") ? process.execPath : python, [join(INTEROP, script), ...how]);
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
