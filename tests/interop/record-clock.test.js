/**
 * Recordings on one clock, measured: what two publishers send carries its time, in pictures and in sound, and
 * is looked for again in the file of each, in that of their room, in both laid side by side, and in the mix.
 *
 * The publishers are GStreamer's, whose clock, captures and sender reports a test decides
 * (`record_gstreamer.py`): they have no delay of their own, so what is found is what recording adds. A
 * browser adds tens of milliseconds between its canvas and its sound, as many as it likes.
 * @module
 */

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { join as path } from "node:path";
import { after, before, describe, test } from "node:test";
import { promisify } from "node:util";
import { TURN_MS, beeps, sights } from "./support/marks.js";
import { says, startPeer } from "./support/peer.js";
import { FINISHED_S, complaints, hasBoth, probe, recordingsOf } from "./support/recorded.js";
import { startServer } from "./support/server.js";
import { until } from "./support/until.js";

/**
 * Between any two of what is seen and heard. `RINGVOX_APART_MS=40` is what a machine of its own keeps,
 * where it is 20 at most. Until a publisher's first sender report its times are those of arrival, and
 * then they are corrected by a twentieth of what passes: on a machine that is late by then, more of so
 * short a recording is off.
 */
const APART_MS = Number(process.env.RINGVOX_APART_MS ?? 400);
/** Of the second one, who comes later. */
const LENGTH_MS = 3_500;
const LATER_MS = 1_000;

/** @typedef {{login: string, video: string, audio: string, hz: number}} Publisher */
/** @type {Record<string, Publisher[]>} */
const ROOMS = {
    one: [{ login: "anna", video: "vp8", audio: "opus", hz: 1_000 }, { login: "boris", video: "h264", audio: "pcmu", hz: 600 }],
    other: [{ login: "clara", video: "h264", audio: "opus", hz: 1_000 }, { login: "david", video: "vp8", audio: "pcma", hz: 600 }],
};

const SETTINGS = "record_all_streams = true\nrecord_all_rooms = true\nenable_empty_shift_writer = true\nfinishers = 2";

describe("what was at one moment is at one moment of a recording", () => {
    /** @type {import("./support/server.js").Server} */
    let server;
    /** @type {any[]} */
    let recordings;

    before(async () => {
        server = await startServer({ recording: SETTINGS });
        const all = Object.entries(ROOMS);
        const peers = all.map(([room, publishers]) => startPeer("record_gstreamer.py", server.http, room, ...publishers.map(
            ({ login, video, audio, hz }, index) => [login, video.toUpperCase(), audio.toUpperCase(), hz, index * LATER_MS].join(":"))));
        const list = () => recordingsOf(server);
        try {
            await Promise.all(peers.map((peer, index) => says(peer, `publishing ${all[index][1][1].login}`)));
            await until("all is recorded", async () => {
                const now = await list();
                return now.length === 6 && now.every((/** @type {any} */ one) => hasBoth(one) && one.durationMs > LENGTH_MS + LATER_MS);
            }, { describe: list });
            peers.forEach((peer) => peer.finish());
            assert.deepEqual(await Promise.all(peers.map(({ ended }) => ended)), [0, 0], peers.map((peer) => peer.output()).join());
        } finally {
            peers.forEach((peer) => peer.kill());
        }
        recordings = await until("all is ready", async () => {
            const now = await list();
            return now.every(({ state, kind, mixed }) => state === "ready" && (kind === "stream" || mixed)) && now;
        }, { describe: list, seconds: FINISHED_S });
    });
    after(() => server?.stop());

    /** @param {{room: string, login?: string}} which */
    function recording({ room, login }) {
        return recordings.find((one) => one.room === room && one.login === login);
    }

    /** @param {string} file */
    function found(file) {
        return path(server.dir, "records", file);
    }

    for (const [room, publishers] of Object.entries(ROOMS)) {
        const codecs = publishers.map(({ video, audio }) => `${video} and ${audio}`).join(", ");

        test(`in each stream's file, and between them: ${codecs}`, async (t) => {
            const offsets = await Promise.all(publishers.map(async ({ login, video, hz }) => {
                const file = found(recording({ room, login }).file);
                assert.equal(await complaints(file), "");
                const { streams } = await probe(file, "-show_streams");
                assert.deepEqual(streams.map((/** @type {any} */ one) => one.codec_name).sort(), video === "vp8" ? ["opus", "vp8"] : ["aac", "h264"]);
                return { [login]: await measured(file, hz) };
            }));
            areTogether(t, Object.assign({}, ...offsets));
        });

        test(`in the room's file: ${codecs}`, async (t) => {
            const { file, tracks } = recording({ room });
            assert.equal(await complaints(found(file)), "");
            const offsets = await Promise.all(publishers.map(async ({ login, hz }) => {
                const number = (/** @type {string} */ kind) => tracks.filter((/** @type {any} */ one) => one.kind === kind).findIndex((/** @type {any} */ one) => one.login === login);
                return { [login]: await measured(found(file), hz, { video: number("video"), audio: number("audio") }) };
            }));
            areTogether(t, Object.assign({}, ...offsets));
        });

        test(`side by side: ${codecs}`, async (t) => {
            const [one, other] = publishers.map(({ login }) => found(recording({ room, login }).file));
            const output = path(server.dir, `${room}.mp4`);
            const graph = "[0:v]pad=iw*2:ih[int];[int][1:v]overlay=W/2:0[vid];[0:a][1:a]amerge[a]";
            const encoder = ["-ac", "2", "-strict", "-2", "-c:v", "libx264", "-crf", "23", "-preset", "veryfast"];
            await promisify(execFile)("ffmpeg", ["-v", "error", "-nostdin", "-i", one, "-i", other, "-filter_complex", graph,
                "-map", "[vid]", "-map", "[a]", ...encoder, output]);
            const offsets = await inPlaces(output, publishers, ["iw/2:ih:0:0", "iw/2:ih:iw/2:0"]);
            // FFmpeg puts all pictures on a grid of its own, up to two of them later.
            for (const kind of /** @type {("picture" | "sound")[]} */ (["picture", "sound"])) {
                areTogether(t, Object.fromEntries(Object.entries(offsets).map(([login, both]) => [login, { [kind]: both[kind] }])));
            }
        });

        test(`in the mix: ${codecs}`, async (t) => {
            const { mixed } = recording({ room });
            assert.equal(await complaints(found(mixed)), "");
            areTogether(t, await inPlaces(found(mixed), publishers, ["640:360:0:180", "640:360:640:180"]));
        });
    }
});

/**
 * How much later than its clock everything is in a file, as long as all of it is there.
 * @param {string} file
 * @param {number} hz
 * @param {{video?: number, audio?: number, place?: string}} [where]
 */
async function measured(file, hz, { video = 0, audio = 0, place } = {}) {
    const [seen, heard] = await Promise.all([sights(file, { track: video, place }), beeps(file, hz, audio)]);
    const picture = middle(seen.map(({ at_ms, clock_ms }) => at_ms - clock_ms));
    // Of a tone it is known that a second began: the one that is nearest to the picture.
    const sound = middle(heard.map((at_ms) => at_ms - Math.round((at_ms - picture) / 1_000) * 1_000));
    assert.ok(seen.length > 50 && heard.length >= 3, `${seen.length} pictures and ${heard.length} tones in ${file}`);
    return { picture, sound };
}

/** @typedef {Record<string, {picture: number, sound: number}>} Offsets by login */

/** @param {string} file @param {Publisher[]} publishers @param {string[]} places @returns {Promise<Offsets>} */
async function inPlaces(file, publishers, places) {
    const all = publishers.map(async ({ login, hz }, index) => [login, await measured(file, hz, { place: places[index] })]);
    return Object.fromEntries(await Promise.all(all));
}

/** @param {import("node:test").TestContext} t @param {Record<string, Partial<Offsets[string]>>} offsets */
function areTogether(t, offsets) {
    const all = Object.values(offsets).flatMap((both) => Object.values(both));
    const apart = Math.max(...all) - Math.min(...all);
    t.diagnostic(`${Math.round(apart)} ms apart: ${JSON.stringify(offsets)}`);
    assert.ok(apart <= APART_MS, JSON.stringify(offsets));
}

/** What half of them are below. @param {number[]} all */
function middle(all) {
    assert.ok(all.every((one) => Math.abs(one) < TURN_MS / 2));
    return all.sort((one, other) => one - other)[all.length >> 1];
}
