/**
 * Recording, from the browser's camera to a file that a browser plays: streams and rooms, VP8 and H.264, what
 * everybody in the room is told, and what the operator does.
 * @module
 */

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join as path } from "node:path";
import { after, before, describe, test } from "node:test";
import { launch, newPerson } from "./support/browsers.js";
import { Person, open } from "./support/conference.js";
import { FINISHED_S, complaints, hasBoth, probe } from "./support/recorded.js";
import { startServer } from "./support/server.js";
import { until } from "./support/until.js";

const KEY = "an operator's key of 32 bytes or more";
const NOTICE = "This room is being recorded";
/** What is recorded has sound and pictures, and lasts so long at least. */
const LENGTH_MS = 2_000;

describe("recording", () => {
    /** @type {import("./support/server.js").Server} */
    let server;
    /** @type {Record<string, import("puppeteer-core").Browser>} */
    const browsers = {};

    before(async () => {
        [server, browsers.chromium, browsers.firefox] = await Promise.all([
            startServer({ recording: 'on_multiple_record_hook_script = "none"\nmp4_audio = "opus"', api: 'key = "api.key"' }, { "api.key": KEY }),
            launch("chromium"), launch("firefox"),
        ]);
    });
    after(async () => {
        await Promise.all(Object.values(browsers).map((browser) => browser.close()));
        await server?.stop();
    });

    /** @param {string} method @param {string} what @param {object} [body] @param {string} [key] */
    async function api(method, what, body, key = KEY) {
        const headers = key ? { authorization: `Bearer ${key}` } : {};
        const response = await fetch(`${server.http}/api/v1/recordings${what}`, { method, headers, body: body && JSON.stringify(body) });
        const content = await response.json().catch(() => null);
        return { status: response.status, content };
    }

    /** The only recording of a room, once it is so. @param {string} room @param {(one: any) => boolean} so */
    function recording(room, so) {
        const all = async () => (await api("GET", `?room=${encodeURIComponent(room)}`)).content.recordings;
        return until(`the recording of ${room} is so`, async () => (await all()).find(so), { describe: all, seconds: FINISHED_S });
    }

    /** @param {string} room */
    const isReady = (room) => recording(room, ({ state }) => {
        assert.notEqual(state, "failed");
        return state === "ready";
    });

    /** @param {string} room */
    const isWritten = (room) => recording(room, (one) => hasBoth(one) && one.state === "recording" && one.durationMs > LENGTH_MS);

    /** Judges a file as a player does. @param {any} ready @param {string[]} codecs */
    async function plays({ file, link, durationMs }, codecs) {
        const name = path(server.dir, "records", file);
        const { streams } = await probe(name, "-show_streams");
        assert.deepEqual(streams.map((/** @type {any} */ one) => one.codec_name).sort(), codecs);
        assert.equal(await complaints(name), "");
        assert.ok(durationMs > LENGTH_MS, `${durationMs} ms`);
        const octets = await readFile(name);
        for (const url of [`/records/${file}`, `/client/records/${file}`, link]) {
            const part = await fetch(server.http + url, { headers: { range: "bytes=100-299" } });
            assert.equal(part.status, 206);
            assert.equal(part.headers.get("content-range"), `bytes 100-299/${octets.length}`);
            assert.deepEqual(Buffer.from(await part.arrayBuffer()), octets.subarray(100, 300));
        }
    }

    /** On decoded frames. @param {string} file */
    async function isSeen(file) {
        const viewer = await newPerson(browsers.chromium);
        await viewer.goto(server.http);
        await viewer.evaluate(showFile, file);
        await until(`frames of ${file} are shown`, () => viewer.$eval("video", (video) => video.getVideoPlaybackQuality().totalVideoFrames > 10));
        await viewer.browserContext().close();
    }

    test("streams that ask for it are recorded, and others in the room hear of it", async () => {
        const watcher = await newPerson(browsers.chromium);
        await watcher.goto(server.http);
        const hasH264 = await watcher.evaluate(() =>
            RTCRtpSender.getCapabilities("video")?.codecs.some(({ mimeType }) => mimeType === "video/H264") ?? false);
        const cases = [["chromium", "vp8"], ["firefox", "vp8"], ...(hasH264 ? [["chromium", "h264"]] : [])];
        await Promise.all(cases.map(async ([browser, codec]) => {
            const room = `${browser} ${codec}`;
            const page = await newPerson(browsers[browser]);
            await page.goto(server.http);
            const name = await page.evaluate(publish, server.ws, room, codec);
            const heard = await watcher.evaluate(watch, server.ws, room);
            assert.deepEqual(heard, { room: false, streams: [{ login: "publisher", name }], paused: false });
            await isWritten(room);
            const recordName = await page.evaluate(unpublish);
            const ready = await isReady(room);
            assert.equal(recordName, ready.file);
            assert.equal(ready.login, "publisher");
            await plays(ready, codec === "vp8" ? ["opus", "vp8"] : ["h264", "opus"]);
            await isSeen(ready.file);
            await page.browserContext().close();
        }));
        await watcher.browserContext().close();
    });

    test("the Record switch records the room, and everybody sees it", async () => {
        const room = "вся комната";
        const alice = new Person(await open(browsers.chromium, server, room), "alice");
        await alice.page.type("#login", "alice");
        await alice.click("record");
        await alice.click("joinBtn");
        await alice.sees("recording", NOTICE);
        const boris = new Person(await open(browsers.firefox, server, room), "boris");
        await boris.page.type("#login", "boris");
        await boris.click("joinBtn");
        await Promise.all([alice.inCall(), boris.inCall()]);
        await boris.sees("recording", NOTICE);
        for (const { page } of [alice, boris]) {
            await until("each picture has its dot", () => page.evaluate(() =>
                ["local", "participant1"].every((id) => document.querySelector(`#${id} .dot`)?.checkVisibility())));
        }
        await isWritten(room);
        await Promise.all([alice.click("leaveBtn"), boris.click("leaveBtn")]);
        await alice.sees("recording", "");
        const ready = await isReady(room);
        assert.deepEqual([ready.kind, ready.file.endsWith(".mkv")], ["room", true]);
        await plays(ready, ["opus", "opus", "vp8", "vp8"]);
        [alice, boris].forEach((person) => person.assertNoProblems());
        await Promise.all([alice.close(), boris.close()]);
    });

    test("an operator starts and stops a recording, plays it on the page and deletes it", async () => {
        const room = "of the operator";
        assert.equal((await api("GET", "", undefined, "")).status, 401);
        assert.equal((await api("POST", "", { room }, "a wrong key of 32 bytes, or a few more")).status, 401);
        assert.equal((await api("POST", "", { room })).status, 404);
        const carol = new Person(await open(browsers.chromium, server, room), "carol");
        await carol.page.type("#login", "carol");
        await carol.click("joinBtn");
        await carol.sees("localStatus", "PUBLISHING");
        assert.equal(await carol.text("recording"), "");
        const started = await api("POST", "", { room, login: "carol" });
        assert.equal(started.status, 201);
        assert.deepEqual(await api("POST", "", { room, login: "carol" }), { status: 200, content: started.content });
        await carol.sees("recording", `${NOTICE}: carol`);
        await isWritten(room);
        const { id, file } = started.content;
        assert.equal((await api("DELETE", `/${id}`)).status, 409);
        assert.equal((await api("POST", `/${id}/stop`)).status, 204);
        await carol.sees("recording", "");
        await carol.sees("localStatus", "PUBLISHING");
        await plays(await isReady(room), ["opus", "vp8"]);
        carol.assertNoProblems();
        await carol.close();

        const page = await newPerson(browsers.chromium);
        await page.goto(`${server.http}/recordings/`);
        await page.waitForSelector("#keyForm:not([hidden])");
        await page.type("#key", KEY);
        await page.$eval("#keyForm button", (button) => /** @type {HTMLElement} */ (button).click());
        await page.waitForSelector("#list .one");
        await page.type("#filterRoom", room);
        await until("its row alone is there", async () => (await page.$$eval("#list .one strong", (all) => all.map((one) => one.textContent))).join() === room);
        await page.$eval("#list .one button", (button) => /** @type {HTMLElement} */ (button).click());
        await until("it plays", () => page.$eval("video", (video) => video.getVideoPlaybackQuality().totalVideoFrames > 10));
        await page.$eval("#player form button", (button) => /** @type {HTMLElement} */ (button).click());
        page.on("dialog", (dialog) => dialog.accept());
        await page.$eval("#list .one .danger", (button) => /** @type {HTMLElement} */ (button).click());
        await until("it is gone", async () => (await page.$$("#list .one")).length === 0);
        assert.equal((await fetch(`${server.http}/records/${file}`)).status, 404);
        assert.equal((await api("GET", `/${id}`)).status, 404);
        assert.deepEqual(page.problems.filter((problem) => !problem.includes("401")), []);
        await page.browserContext().close();
    });
});

// ---- what runs in pages ----

/**
 * Publishes sound and pictures, to be recorded; the stream's name.
 * @param {string} urlServer @param {string} name @param {string} codec
 */
async function publish(urlServer, name, codec) {
    const RoomApi = await import(/** @type {any} */ ("/sdk/index.js"));
    const session = RoomApi.connect({ urlServer, username: "publisher" });
    await new Promise((resolve) => session.on("ESTABLISHED", resolve));
    const room = session.join({ name, codecs: { video: [codec] } });
    await new Promise((resolve) => room.on("STATE", resolve));
    const display = document.body.appendChild(document.createElement("div"));
    const stream = room.publish({ display, record: true, constraints: { audio: true, video: { width: 320, height: 240 } } });
    Object.assign(globalThis, { __stream: stream });
    await new Promise((resolve, reject) => stream.on("PUBLISHING", resolve).on("FAILED", () => reject(stream.error())));
    return stream.name();
}

/** Ends it; the name of its file. @returns {Promise<string>} */
async function unpublish() {
    const stream = /** @type {any} */ (globalThis).__stream;
    const ended = new Promise((resolve) => stream.on("UNPUBLISHED", resolve));
    stream.stop();
    await ended;
    return stream.recordName();
}

/** What somebody hears who comes into the room later. @param {string} urlServer @param {string} name */
async function watch(urlServer, name) {
    const RoomApi = await import(/** @type {any} */ ("/sdk/index.js"));
    const session = RoomApi.connect({ urlServer, username: "watcher" });
    await new Promise((resolve) => session.on("ESTABLISHED", resolve));
    const room = session.join({ name });
    await new Promise((resolve) => room.on("RECORDING", resolve));
    return room.recording();
}

/** @param {string} file */
function showFile(file) {
    const video = document.body.appendChild(document.createElement("video"));
    Object.assign(video, { muted: true, src: `/records/${file}` });
    return video.play();
}
