/**
 * Local ports: a process gets a browser's publication in clear, and gives a browser a video from a file.
 * @module
 */

import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { readFile, stat } from "node:fs/promises";
import { join as path } from "node:path";
import { after, before, describe, test } from "node:test";
import { promisify } from "node:util";
import { launch, newPerson } from "./support/browsers.js";
import { join } from "./support/conference.js";
import { complaints, probe } from "./support/recorded.js";
import { BACK_ENDS, BIN_DIR, startRelay, startServer } from "./support/server.js";
import { until } from "./support/until.js";

const run = promisify(execFile);

/** `tests/port`: a process at a local port. */
const PROCESS = path(BIN_DIR, "ringvox-port");

/** Writes files of what it is given at a local port. */
const RECORDER = path(BIN_DIR, "ringvox-recorder");

/** A recording, as signaling asks for it. */
const ID = "00000000000000aa";
const LABEL = JSON.stringify({
    room: "recorded",
    login: "alice",
    stream: "camera",
    publication: 1,
    recordings: [{ id: ID, kind: "stream", file: "alice.webm", startedAtMs: 1 }],
});

/** Frames to be recorded, and to be decoded: two seconds and more. */
const FRAMES = 60;

for (const io of BACK_ENDS) {
    describe(`local ports over ${io}`, () => {
        /** @type {import("puppeteer-core").Browser} */
        let browser;

        before(async () => {
            browser = await launch("chromium");
        });
        after(async () => {
            await browser?.close();
        });

        test("a process records what a browser publishes, and others go on", async () => {
            const server = await startServer({ io });
            try {
                const alice = await join(browser, server, { login: "alice", room: "ports" });
                const bob = await join(browser, server, { login: "bob", room: "ports" });
                await Promise.all([alice.inCall(), bob.inCall()]);
                const track = await until("a video is published", async () => {
                    const { transports } = await server.ctl("inventory");
                    const tracks = transports.flatMap((/** @type {any} */ transport) => transport.up_tracks);
                    return tracks.find((/** @type {any} */ { codec, active }) => codec === "VP8" && active);
                });

                const file = path(server.dir, "tap.ivf");
                const socket = path(server.dir, "relay-ports.sock");
                const recorded = run(PROCESS, ["record", socket, "recorder", file, String(FRAMES)], { timeout: 60_000 });
                await until("it is tapped", async () => server.ctl("tap", "recorder", track.track_id));
                await recorded;
                const show = ["-show_entries", "stream=codec_name,nb_read_frames", "-of", "default=noprint_wrappers=1:nokey=1"];
                const { stdout, stderr } = await run("ffprobe", ["-v", "error", "-count_frames", ...show, file]);
                assert.equal(stderr, "", "each frame is decoded");
                assert.deepEqual(stdout.trim().split("\n"), ["vp8", String(FRAMES)]);

                await Promise.all([alice.receivesMedia(), bob.receivesMedia()]);
                const { process: counts } = await server.ctl("stats");
                assert.equal(counts["port.dropped.slow"], 0);
                await Promise.all([alice.close(), bob.close()]);
            } finally {
                await server.stop();
            }
        });

        test("the recorder goes on with what a browser publishes when it was killed", async (t) => {
            const server = await startServer({ io });
            const directory = path(server.dir, "records");
            const work = path(directory, ".work", ID);
            const socket = path(server.dir, "relay-ports.sock");
            const start = () => spawn(RECORDER, ["--port-socket", socket, "--directory", directory], { stdio: ["ignore", "ignore", "inherit"] });
            let recorder = start();
            try {
                const alice = await join(browser, server, { login: "alice", room: "recorded" });
                const tracks = await until("sound and picture are published", async () => {
                    const { transports } = await server.ctl("inventory");
                    const tracks = transports.flatMap((/** @type {any} */ transport) => transport.up_tracks);
                    return tracks.filter((/** @type {any} */ { active }) => active).length === 2 && tracks;
                });
                const tapAll = async () => {
                    for (const { track_id } of tracks) {
                        await until("it is tapped", async () => server.ctl("tap", "recorder", track_id, "--label", LABEL));
                    }
                };
                /** @param {string} file @param {number} bytes */
                const grown = (file, bytes) => until(`${file} has ${bytes} octets`, async () => (await stat(file)).size > bytes);
                const [first, second] = [path(work, "part-1.mkv"), path(work, "part-2.mkv")];
                await tapAll();
                await grown(first, 200_000);
                const killed_ms = Date.now();
                recorder.kill("SIGKILL");
                await new Promise((resolve) => recorder.once("exit", resolve));
                const end_ms = await playsWithoutAWord(first);
                // How much waits in memory is a unit test's; here is what this machine makes of it.
                t.diagnostic(`written until ${killed_ms - end_ms} ms before the kill`);

                recorder = start();
                await tapAll();
                await grown(second, 200_000);
                for (const { track_id } of tracks) {
                    await server.ctl("untap", "recorder", track_id);
                }
                const stored = path(work, "recording.json");
                const state = async () => JSON.parse(await readFile(stored, "utf8")).recording.state;
                await until("its tracks have ended, and it with them", async () => await state().catch(() => "gone") !== "recording");
                await alice.close();
            } finally {
                recorder.kill("SIGTERM");
                await server.stop();
            }
        });

        test("a browser decodes a video that a process plays", async () => {
            const relay = await startRelay(io);
            const file = path(relay.dir, "play.ivf");
            const source = ["-f", "lavfi", "-i", "testsrc=size=320x240:rate=25", "-t", "4"];
            await run("ffmpeg", ["-v", "error", ...source, "-c:v", "libvpx", "-b:v", "500k", "-g", "50", file]);
            const page = await newPerson(browser);
            await page.goto("about:blank");
            const offer = await page.evaluate(offerToReceive);

            const player = spawn(PROCESS, ["play", relay.socket, "player", file], { stdio: ["pipe", "pipe", "inherit"] });
            const ended = new Promise((resolve) => player.once("exit", resolve));
            try {
                let said = "";
                player.stdout.on("data", (text) => { said += text; });
                player.stdin.write(`${offer}.\n`);
                await until("there is an answer", () => said.endsWith("\r\n.\r\n"));
                await page.evaluate(takeAnswer, said.slice(0, -".\r\n".length));
                const figures = await until(`${FRAMES} frames are decoded`, async () => {
                    const video = await page.evaluate(inboundVideo);
                    return video && video.framesDecoded >= FRAMES && video;
                });
                assert.deepEqual([figures.frameWidth, figures.frameHeight], [320, 240]);
                assert.deepEqual(page.problems, []);
            } finally {
                player.stdin.end();
                assert.equal(await ended, 0);
                await page.close();
                await relay.stop();
            }
        });
    });
}

/** Sound and picture are in it, and each of their frames is decoded. When it ends, in ms. @param {string} file */
async function playsWithoutAWord(file) {
    const show = ["-show_entries", "packet=codec_type,pts_time:format_tags=creation_time"];
    const { packets, format } = await probe(file, ...show);
    for (const [kind, least] of /** @type {const} */ ([["audio", 25], ["video", 5]])) {
        const count = packets.filter((/** @type {any} */ { codec_type }) => codec_type === kind).length;
        assert.ok(count > least, `${count} of ${kind}`);
    }
    // What was cut by the kill is remarked on, and nothing else.
    assert.match(await complaints(file), /^(.*File ended prematurely.*\n)*$/);
    const last_s = Math.max(...packets.map((/** @type {any} */ { pts_time }) => Number(pts_time)));
    return Date.parse(format.tags.creation_time) + Math.round(last_s * 1_000);
}

/** In the page. */
async function offerToReceive() {
    const connection = new RTCPeerConnection();
    connection.addTransceiver("video", { direction: "recvonly" });
    await connection.setLocalDescription();
    return connection.localDescription?.sdp ?? "";
}

/** In the page. @param {string} sdp */
async function takeAnswer(sdp) {
    const [connection] = /** @type {any} */ (globalThis).__connections;
    connection.addEventListener("track", (/** @type {RTCTrackEvent} */ { track }) => {
        // Decoded only if somebody looks.
        const video = document.createElement("video");
        Object.assign(video, { srcObject: new MediaStream([track]), autoplay: true, muted: true });
        document.body.append(video);
    });
    await connection.setRemoteDescription({ type: "answer", sdp });
}

/** In the page. */
async function inboundVideo() {
    const [connection] = /** @type {any} */ (globalThis).__connections;
    const report = await connection.getStats();
    return [...report.values()].find(({ type, kind }) => type === "inbound-rtp" && kind === "video");
}
