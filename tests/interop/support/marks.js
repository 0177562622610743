/**
 * Pictures and sound that carry their time, as they are found again in a file.
 *
 * Over the upper quarter of a picture there are 18 blocks: a white one, 16 with the milliseconds of its
 * capture in Gray's code (of which one bit at a time changes, so that a picture between two is one of them),
 * lowest first, and a black one. With each whole second of the same clock a tone begins that lasts 50 ms.
 * @module
 */

import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { probe } from "./recorded.js";

const BITS = 16;
/** After so long the clock begins anew. */
export const TURN_MS = 1 << BITS;
/** Of a block, as it is looked at. */
const SIDE = 4;
const [WIDTH, HEIGHT] = [(BITS + 2) * SIDE, SIDE];
/** What is looked at at once to find a tone, each millisecond. */
const WINDOW_MS = 5;
/** Between two tones there is more. */
const APART_MS = 200;

/**
 * What a picture says of itself.
 * @typedef {object} Sight
 * @property {number} at_ms in the file
 * @property {number} clock_ms of its capture
 */

/**
 * All pictures that have marks.
 * @param {string} file
 * @param {{track?: number, place?: string}} [where] the number of the video track, and a part of the picture
 *     as FFmpeg's filter `crop` has it
 * @returns {Promise<Sight[]>}
 */
export async function sights(file, { track = 0, place = "iw:ih:0:0" } = {}) {
    const filter = `crop=${place},crop=iw:ih/4:0:0,scale=${WIDTH}:${HEIGHT}:flags=area,format=gray`;
    const output = ["-fps_mode", "passthrough", "-f", "rawvideo", "-"];
    const [{ stdout }, { frames }] = await Promise.all([
        decode(file, "-map", `0:v:${track}`, "-vf", filter, ...output),
        probe(file, "-select_streams", `v:${track}`, "-show_entries", "frame=best_effort_timestamp_time"),
    ]);
    const size = WIDTH * HEIGHT;
    if (stdout.length !== frames.length * size) {
        throw new Error(`${stdout.length / size} pictures at ${frames.length} times`);
    }
    return frames.flatMap((/** @type {any} */ frame, /** @type {number} */ index) => {
        const clock_ms = read(stdout.subarray(index * size, (index + 1) * size));
        return clock_ms === undefined ? [] : [{ at_ms: 1_000 * Number(frame.best_effort_timestamp_time), clock_ms }];
    });
}

/** The time that a picture shows. @param {Buffer} picture */
function read(picture) {
    const blocks = Array.from({ length: BITS + 2 }, (_, block) => {
        const middle = [SIDE / 2 - 1, SIDE / 2].flatMap((y) => [SIDE / 2 - 1, SIDE / 2].map((x) => picture[y * WIDTH + block * SIDE + x]));
        return middle.reduce((sum, value) => sum + value) / middle.length;
    });
    if (blocks[0] < 160 || /** @type {number} */ (blocks.at(-1)) > 90) {
        return undefined;
    }
    let number = blocks.slice(1, -1).reduce((bits, value, bit) => bits | Number(value > 125) << bit, 0);
    for (let shift = 1; shift < BITS; shift <<= 1) {
        number ^= number >> shift;
    }
    return number;
}

/**
 * When a tone begins, in ms of the file, by the timestamps that it has.
 * @param {string} file
 * @param {number} hz
 * @param {number} [track] the number of the audio track
 * @returns {Promise<number[]>}
 */
export async function beeps(file, hz, track = 0) {
    const show = "stream=sample_rate:frame=best_effort_timestamp_time,nb_samples";
    const [{ stdout }, { streams: [{ sample_rate }], frames }] = await Promise.all([
        decode(file, "-map", `0:a:${track}`, "-ac", "1", "-f", "s16le", "-"),
        probe(file, "-select_streams", `a:${track}`, "-show_entries", show),
    ]);
    const samples = new Int16Array(stdout.buffer, stdout.byteOffset, stdout.length >> 1);
    const perMs = Number(sample_rate) / 1_000;
    const levels = Array.from({ length: Math.floor(samples.length / perMs) - WINDOW_MS },
        (_, ms) => level(samples.subarray(ms * perMs, (ms + WINDOW_MS) * perMs), hz / Number(sample_rate)));
    const half = Math.max(...levels) / 2;
    // Half of it is in the window: it begins in the middle. What follows within a tone is the same one.
    const begins = levels.flatMap((now, ms) => (ms > 0 && levels[ms - 1] < half && now >= half ? [ms + WINDOW_MS / 2] : []));
    let [first, number] = [0, 0];
    const parts = frames.map((/** @type {any} */ { best_effort_timestamp_time, nb_samples }) => {
        first += number;
        number = nb_samples / perMs;
        return { first, end: first + number, at_ms: 1_000 * Number(best_effort_timestamp_time) };
    });
    return begins.filter((ms, index) => index === 0 || ms > begins[index - 1] + APART_MS).flatMap((ms) => {
        const part = parts.find((/** @type {any} */ one) => ms < one.end);
        return part ? [part.at_ms + ms - part.first] : [];
    });
}

/** How much there is of a tone (Goertzel's algorithm). @param {Int16Array} samples @param {number} turns for each */
function level(samples, turns) {
    const factor = 2 * Math.cos(2 * Math.PI * turns);
    let [last, before] = [0, 0];
    for (const sample of samples) {
        [last, before] = [sample + factor * last - before, last];
    }
    return Math.sqrt(Math.max(0, last * last + before * before - factor * last * before));
}

/** @param {string} file @param {...string} how */
function decode(file, ...how) {
    const command = ["-v", "error", "-nostdin", "-i", file, ...how];
    return promisify(execFile)("ffmpeg", command, { encoding: "buffer", maxBuffer: 256 << 20 });
}
