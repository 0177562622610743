/**
 * What a recording loses when one of the three programs is killed while it runs. `RINGVOX_KILLS=20` kills
 * each that often and says how much was lost; in `make test` each is killed once.
 * @module
 */

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { join as path } from "node:path";
import { after, before, describe, test } from "node:test";
import { promisify } from "node:util";
import { launch, newPerson } from "./support/browsers.js";
import { FINISHED_S, complaints, probe, recordingsOf } from "./support/recorded.js";
import { startServer } from "./support/server.js";
import { until } from "./support/until.js";
import { flows, publish } from "./support/whip-page.js";

const run = promisify(execFile);

const KILLS = Number(process.env.RINGVOX_KILLS ?? 1);

/** Of the picture before a kill, so that there is something to lose. */
const BEFORE_MS = 1_500;

describe("a recording whose programs are killed", () => {
    /** @type {import("puppeteer-core").Browser} */
    let browser;
    /** @type {import("./support/server.js").Server} */
    let server;
    before(async () => {
        browser = await launch("chromium");
        server = await startServer({ recording: "" });
    });
    after(async () => {
        await browser?.close();
        await server?.stop();
    });

    test("the recorder: what comes after goes into the same file", async (t) => {
        const page = await publisher("recorder");
        const kills = [];
        for (let kill = 0; kill < KILLS; kill += 1) {
            await grows("recorder", BEFORE_MS);
            kills.push(await killNow("ringvox-recorder"));
            const { interruptions } = await until("it goes on", async () => {
                const recording = await recorded("recorder");
                return recording.interruptions === kill + 1 && recording.state === "recording" && recording;
            });
            assert.equal(interruptions, kill + 1);
        }
        await grows("recorder", BEFORE_MS);
        await leave(page);
        const frames = await framesOf(await ready("recorder"));
        t.diagnostic(`recorder, ${KILLS} kills: ${said(kills.map((at) => lost(frames, at)))}`);
        for (const at of kills) {
            assert.ok(frames.some((frame) => frame < at) && frames.some((frame) => frame > at), "both sides are there");
        }
    });

    test("signaling: nothing is missing", async (t) => {
        const page = await publisher("signaling");
        const kills = [];
        await grows("signaling", BEFORE_MS);
        const [before] = await flows(page);
        for (let kill = 0; kill < KILLS; kill += 1) {
            await grows("signaling", BEFORE_MS);
            kills.push(Date.now());
            await server.crash();
            await server.start();
        }
        await grows("signaling", BEFORE_MS);
        assert.equal((await recorded("signaling")).interruptions, 0);
        const [after] = await flows(page);
        await leave(page);
        const frames = await framesOf(await ready("signaling"));
        // Times would tell how busy the browser was. Where a frame is missing the recorder has a keyframe
        // asked for, and nobody else is there who could; packets lost on the way are told by NACKs.
        const plis = after.plis - before.plis;
        assert.ok(plis === 0 || after.nacks > before.nacks, `${plis} keyframes were asked for`);
        t.diagnostic(`signaling, ${KILLS} kills: ${said(kills.map((at) => lost(frames, at)))}`);
    });

    test("the relay: the publication ends with it, and so does its file", async (t) => {
        const losses = [];
        for (let kill = 0; kill < KILLS; kill += 1) {
            const room = `relay${kill}`;
            const page = await publisher(room);
            await grows(room, BEFORE_MS);
            const at = await killNow("ringvox-relay");
            const frames = await framesOf(await ready(room));
            losses.push({ before: at - Math.max(...frames.filter((frame) => frame < at)), gap: 0 });
            await leave(page);
            await until("another relay is there", async () => (await server.relayPid()) > 0);
        }
        t.diagnostic(`relay, ${KILLS} kills: ${said(losses)}`);
    });

    /** A page that publishes into this room, recorded. @param {string} room */
    async function publisher(room) {
        const page = await newPerson(browser);
        await page.goto(`${server.http}/`);
        await until("it publishes", () => publish(page, `/whip/${room}?login=camera&record=true`).then(() => true));
        return page;
    }

    /** @param {string} room @returns {Promise<any>} the one recording of the room */
    async function recorded(room) {
        const recordings = await recordingsOf(server, room);
        assert.equal(recordings.length, 1, JSON.stringify(recordings));
        return recordings[0];
    }

    /** Until so much more is in its file. @param {string} room @param {number} more_ms */
    async function grows(room, more_ms) {
        const begun = await until("it is recorded", async () => (await recorded(room)).durationMs || undefined);
        await until("it grows", async () => (await recorded(room)).durationMs >= begun + more_ms);
    }

    /** Its finished file. @param {string} room */
    async function ready(room) {
        const { file, durationMs, state } = await until("it is ready", async () => {
            const recording = await recorded(room);
            return ["ready", "failed"].includes(recording.state) && recording;
        }, { describe: () => recorded(room), seconds: FINISHED_S });
        assert.equal(state, "ready");
        assert.ok(durationMs > 0);
        return path(server.dir, "records", file);
    }

    /** Kills a program of this server; when. @param {string} program */
    async function killNow(program) {
        const { stdout } = await run("ps", ["-eo", "pid=,args="]);
        const line = stdout.split("\n").find((text) => text.includes(program) && text.includes(server.config) && !text.includes("ctl"));
        const pid = Number(line?.trim().split(/\s+/)[0]);
        assert.ok(pid > 0, `${program} runs`);
        process.kill(pid, "SIGKILL");
        return Date.now();
    }
});

/**
 * Ends what a page publishes: its DTLS says so, where a page that is closed falls silent only.
 * @param {import("puppeteer-core").Page} page
 */
async function leave(page) {
    await page.evaluate(() => globalThis.__whip.close());
    await page.browserContext().close();
}

/** When each frame of the picture is shown, in ms since the Unix epoch; each is decoded. @param {string} file */
async function framesOf(file) {
    assert.equal(await complaints(file), "");
    const show = ["-select_streams", "v", "-show_entries", "packet=pts_time:format_tags=creation_time"];
    const { packets, format } = await probe(file, ...show);
    const begins = Date.parse(format.tags.creation_time);
    return packets.map((/** @type {any} */ { pts_time }) => begins + pts_time * 1_000);
}

/** What is missing around a kill: up to it, and up to the next frame. @param {number[]} frames @param {number} at */
function lost(frames, at) {
    const last = Math.max(...frames.filter((frame) => frame <= at));
    const next = Math.min(...frames.filter((frame) => frame > at));
    return { before: at - last, gap: next - last };
}

/** @param {{before: number, gap: number}[]} losses */
function said(losses) {
    const most = (/** @type {"before" | "gap"} */ key) => Math.round(Math.max(...losses.map((loss) => loss[key])));
    return `${most("before")} ms before the kill at most, longest gap ${most("gap")} ms`;
}
