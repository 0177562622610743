/**
 * What FFmpeg says of a recorded file.
 * @module
 */

import { execFile } from "node:child_process";
import { promisify } from "node:util";

const run = promisify(execFile);

/** Files are made with what is left over of a machine, which may be little. */
export const FINISHED_S = 300;

/**
 * Decodes each frame; what FFmpeg complained of.
 *
 * Times are kept as the file has them: FFmpeg would round them to the frame rate that it guessed, and then
 * complain of its own output where two became the same.
 * @param {string} file
 */
export async function complaints(file) {
    const output = ["-enc_time_base", "-1", "-f", "null", "-"];
    return (await run("ffmpeg", ["-v", "error", "-nostdin", "-i", file, ...output])).stderr;
}

/**
 * What ffprobe shows of a file, as JSON.
 * @param {string} file
 * @param {string[]} show
 */
export async function probe(file, ...show) {
    const { stdout } = await run("ffprobe", ["-v", "fatal", ...show, "-of", "json", file], { maxBuffer: 64 << 20 });
    return JSON.parse(stdout);
}

/**
 * All recordings of a server whose API has no key, or those of a room.
 * @param {import("./server.js").Server} server
 * @param {string} [room]
 * @returns {Promise<any[]>}
 */
export async function recordingsOf(server, room = "") {
    const response = await fetch(`${server.http}/api/v1/recordings?room=${encodeURIComponent(room)}`);
    return (await response.json()).recordings;
}

/**
 * Whether a recording has sound and pictures by now: on a busy machine a browser's pictures come late.
 * @param {{tracks: {kind: string}[]}} recording
 */
export function hasBoth({ tracks }) {
    return ["audio", "video"].every((kind) => tracks.some((track) => track.kind === kind));
}
