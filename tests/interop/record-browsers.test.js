/**
 * Recordings of real browsers with the settings that we ship, judged as those judge them who have them: with
 * each codec that they publish, by the vendor's own SDK, mixed, and played and sought in both browsers.
 *
 * Pictures carry their time, and a tone begins with each second. What a browser's canvas and its sound are
 * apart is the browser's, and said only; `record-clock.test.js` measures what recording adds.
 * @module
 */

import assert from "node:assert/strict";
import { join as path } from "node:path";
import { after, before, describe, test } from "node:test";
import { launch, newPerson } from "./support/browsers.js";
import { closeAll, hasMarks, publishMarks } from "./support/marks-page.js";
import { beeps, sights } from "./support/marks.js";
import { FINISHED_S, complaints, hasBoth, probe, recordingsOf } from "./support/recorded.js";
import { until } from "./support/until.js";
import { Stage } from "./support/vendor.js";

/** @typedef {import("./support/browsers.js").BrowserName} BrowserName */

const LENGTH_MS = 3_500;
const VENDOR_ROOM = "by the vendor's SDK";

/** What each browser publishes, and what its file has. */
const CASES = [
    { video: "VP8", audio: "opus", has: ["opus", "vp8"] },
    { video: "VP8", audio: "PCMU", has: ["opus", "vp8"] },
    { video: "H264", audio: "opus", has: ["aac", "h264"] },
    { video: "H264", audio: "PCMA", has: ["aac", "h264"] },
];

describe("recordings of browsers", () => {
    const stage = new Stage({ browser: "chromium", scheme: "ws", io: "auto" });
    /** @type {Record<string, import("puppeteer-core").Browser>} */
    const browsers = {};
    /** Files to be played, by what they are. @type {Record<string, string>} */
    const files = {};

    before(async () => {
        [browsers.chromium, browsers.firefox] = await Promise.all([launch("chromium"), launch("firefox")]);
        await stage.open(browsers.chromium, [{ recording: "finishers = 2" }]);
    });
    after(async () => {
        await Promise.all(Object.values(browsers).map((browser) => browser.close()));
        await stage.close();
    });

    /** @param {string} room */
    const recordings = (room) => recordingsOf(stage.server, room);

    /** All recordings of a room, once each is so. @param {string} room @param {number} count @param {(one: any) => boolean} so */
    function each(room, count, so) {
        return until(`${count} recordings of ${room} are so`, async () => {
            const all = await recordings(room);
            return all.length === count && all.every(so) && all;
        }, { describe: () => recordings(room), seconds: FINISHED_S });
    }

    /** How long each recording was when it first had sound and pictures. @type {Map<string, number>} */
    const begun = new Map();

    /** Sound and pictures of a person at least, for so long. @param {any} one */
    function isWritten(one) {
        const { id, state, durationMs } = one;
        if (hasBoth(one) && !begun.has(id)) {
            begun.set(id, durationMs);
        }
        return state === "recording" && durationMs > (begun.get(id) ?? Infinity) + LENGTH_MS;
    }

    /** @param {any} one */
    function isReady({ state, kind, mixed }) {
        assert.notEqual(state, "failed");
        return state === "ready" && (kind === "stream" || mixed);
    }

    /** @param {string} file */
    const found = (file) => path(stage.server.dir, "records", file);

    /** Decodes it all, and finds pictures and tones in it. @param {string} file @param {string[]} codecs @param {number} [hz] */
    async function isWhole(file, codecs, hz = 1_000) {
        assert.equal(await complaints(found(file)), "");
        const { streams } = await probe(found(file), "-show_streams");
        assert.deepEqual(streams.map((/** @type {any} */ one) => one.codec_name).sort(), codecs);
        const [seen, heard] = await Promise.all([sights(found(file)), beeps(found(file), hz)]);
        assert.ok(seen.length > 10 && heard.length >= 2, `${seen.length} pictures, ${heard.length} tones in ${file}`);
        const [{ at_ms, clock_ms }] = seen.slice(-1);
        return heard.map((ms) => Math.round(ms - at_ms + clock_ms) % 1_000).map((ms) => (ms > 500 ? ms - 1_000 : ms));
    }

    for (const browser of /** @type {BrowserName[]} */ (["chromium", "firefox"])) {
        test(`${browser} publishes VP8 and H.264, Opus and G.711`, async (t) => {
            const page = await newPerson(browsers[browser]);
            await page.goto(stage.server.http);
            await hasMarks(page);
            const rooms = await Promise.all(CASES.map(async (one) => {
                const room = `${browser} ${one.video} ${one.audio}`;
                const has = await publishMarks(page, `/whip/${room}?login=camera&record=true`, one);
                has || t.diagnostic(`${browser} has no ${one.video} here`);
                return has ? [{ ...one, room }] : [];
            }));
            await Promise.all(rooms.flat().map(({ room }) => each(room, 1, isWritten)));
            await closeAll(page);
            await Promise.all(rooms.flat().map(async ({ room, has }) => {
                const [{ file }] = await each(room, 1, isReady);
                const late = await isWhole(file, has);
                files[has.includes("vp8") ? "WebM" : "MP4"] ??= file;
                t.diagnostic(`${room}: sound ${late.join(", ")} ms behind the picture`);
            }));
            assert.ok(rooms.flat().length >= 2, "VP8 is there");
            await page.browserContext().close();
        });
    }

    test("the vendor's SDK has a stream and a room recorded, and reads the name of the file", async () => {
        const desk = await stage.desk();
        await hasMarks(desk.page, { hz: 600, colour: "#7f4f24" });
        await desk.connect("anna");
        assert.deepEqual(await desk.call("join", "anna", VENDOR_ROOM, { record: true }), { state: {} });
        await desk.publish("anna", VENDOR_ROOM, "camera", { record: true });
        const page = await newPerson(browsers.firefox);
        await page.goto(stage.server.http);
        await hasMarks(page);
        await publishMarks(page, `/whip/${VENDOR_ROOM}?login=boris`, { video: "VP8", audio: "opus" });
        await until("both are in the room's recording", async () => (await recordings(VENDOR_ROOM)).some(({ kind, tracks }) => kind === "room" && tracks.length === 4),
            { describe: () => recordings(VENDOR_ROOM) });
        await each(VENDOR_ROOM, 2, isWritten);
        await desk.call("stream", "camera", "stop");
        await desk.hears("camera", "UNPUBLISHED");
        const name = await desk.call("stream", "camera", "getRecordInfo");
        await closeAll(page);
        await page.browserContext().close();
        assert.equal(await desk.call("leave", "anna", VENDOR_ROOM), "left");

        const all = await each(VENDOR_ROOM, 2, isReady);
        const [stream, room] = ["stream", "room"].map((kind) => all.find((one) => one.kind === kind));
        assert.equal(name, stream.file);
        for (const directory of ["records", "client/records"]) {
            assert.equal((await fetch(`${stage.server.http}/${directory}/${name}`)).status, 200);
        }
        await isWhole(name, ["opus", "vp8"], 600);
        assert.equal(await complaints(found(room.mixed)), "");
        files.mix = room.mixed;
        // Both are on one picture, and their voices in one sound.
        for (const [place, hz] of /** @type {[string, number][]} */ ([["640:360:0:180", 600], ["640:360:640:180", 1_000]])) {
            const [seen, heard] = await Promise.all([sights(found(room.mixed), { place }), beeps(found(room.mixed), hz)]);
            assert.ok(seen.length > 10 && heard.length >= 2, `${seen.length} pictures, ${heard.length} tones at ${place}`);
        }
        await stage.clear();
    });

    for (const browser of /** @type {BrowserName[]} */ (["chromium", "firefox"])) {
        test(`${browser} plays and seeks WebM, MP4 and a mix`, async (t) => {
            assert.ok(files.WebM && files.mix);
            const page = await newPerson(browsers[browser]);
            await page.goto(stage.server.http);
            for (const [what, file] of Object.entries(files)) {
                const seen = await sights(found(file), what === "mix" ? { place: "640:360:0:180" } : {});
                await page.evaluate(play, `/records/${file}`);
                for (const part of [0.75, 0.3]) {
                    const at_s = (seen[0].at_ms + part * (seen[seen.length - 1].at_ms - seen[0].at_ms)) / 1_000;
                    await page.evaluate(seek, at_s);
                    const near = seen.filter(({ at_ms }) => Math.abs(at_ms / 1_000 - at_s) < NEAR_S).map(({ clock_ms }) => clock_ms);
                    await until(`${what} shows what was at ${at_s} s`, async () => near.includes(await page.evaluate(shown, what === "mix")), {
                        describe: async () => [await page.evaluate(shown, what === "mix"), near],
                    });
                }
                t.diagnostic(`${what}: ${file}`);
            }
            assert.deepEqual(page.problems, []);
            await page.browserContext().close();
        });
    }
});

/** A player rounds, and pictures come at some distance. */
const NEAR_S = 0.15;

// ---- what runs in pages ----

/** Plays from the beginning, and then stands still. @param {string} src */
async function play(src) {
    document.querySelector("video")?.remove();
    const video = document.body.appendChild(Object.assign(document.createElement("video"), { src, muted: true }));
    await video.play();
    await new Promise((resolve, reject) => {
        video.onerror = () => reject(new Error(video.error?.message));
        video.ontimeupdate = () => video.currentTime > 0.2 && resolve(undefined);
    });
    video.pause();
}

/** @param {number} at_s */
async function seek(at_s) {
    const video = /** @type {HTMLVideoElement} */ (document.querySelector("video"));
    const sought = new Promise((resolve) => video.addEventListener("seeked", resolve, { once: true }));
    video.currentTime = at_s;
    await sought;
}

/** The time that the picture shows, as `marks.js` reads it. @param {boolean} isMix of two, of whom the left one is looked at */
function shown(isMix) {
    const video = /** @type {HTMLVideoElement} */ (document.querySelector("video"));
    const canvas = Object.assign(document.createElement("canvas"), { width: 180, height: 10 });
    const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    const { videoWidth, videoHeight } = video;
    const [top, width, height] = isMix ? [videoHeight / 4, videoWidth / 2, videoHeight / 2] : [0, videoWidth, videoHeight];
    context.drawImage(video, 0, top, width, height / 4, 0, 0, 180, 10);
    const { data } = context.getImageData(0, 5, 180, 1);
    const gray = Array.from({ length: 16 }, (_, bit) => Number(data[4 * (10 * bit + 15)] > 125) << bit).reduce((sum, one) => sum | one);
    return [8, 4, 2, 1].reduceRight((number, shift) => number ^ (number >> shift), gray);
}
