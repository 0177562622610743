/**
 * Packets are lost between real clients and the relay, and the clients have no RTX (RFC 4588): what is lost
 * is asked for by NACK and comes again under the media's own SSRC (RFC 4585), in both directions.
 * Who loses too much for that costs the others few keyframes.
 * @module
 */

import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";
import { launch, newPerson } from "./support/browsers.js";
import { startLine } from "./support/line.js";
import { startPeer } from "./support/peer.js";
import { BACK_ENDS, startServer } from "./support/server.js";
import { until } from "./support/until.js";
import { flows, play, publish } from "./support/whip-page.js";

/** @typedef {import("puppeteer-core").Page} Page */

/** One of so many packets of video is lost. */
const EACH = 10;
/** Losses that have been mended when a test is content. */
const MENDED = 20;
/** The same on a line on which a picture cannot be kept. */
const BAD = 5;
/** Frames of twenty seconds. */
const LONG = 300;

for (const io of BACK_ENDS) {
    describe(`loss, over ${io}`, () => {
        /** @type {import("./support/server.js").Server} */
        let server;
        /** @type {import("./support/line.js").Line} */
        let line;
        before(async () => {
            server = await startServer({ io });
            line = await startLine(server);
        });
        after(async () => {
            line?.close();
            await server?.stop();
        });
        afterEach(() => line.mend());

        for (const kind of /** @type {import("./support/browsers.js").BrowserName[]} */ (["chromium", "firefox"])) {
            test(`${kind} publishes: it is asked for what is lost on its way, and every frame arrives`, async () => {
                await withPages(kind, async (sender, viewer) => {
                    await sender.goto(`${line.http}/`);
                    await viewer.goto(`${server.http}/`);
                    const { offer, answer } = await publish(sender, `/whip/up-${kind}?login=camera`, { rtx: false });
                    assertNackWithoutRtx(offer);
                    assertNackWithoutRtx(answer);
                    await until("it is on the air", async () => (await play(viewer, `/whep/up-${kind}/camera`)).answer);
                    await until("frames are decoded", async () => (await flows(viewer))[0].frames > 10);
                    const [begun] = await flows(sender);
                    const losses = line.loseVideo("relay", EACH);
                    const describe = async () => ({ losses, sent: await flows(sender), seen: await flows(viewer) });
                    await until("what was lost has come again", () => losses.again >= MENDED, { describe });
                    const [[sent], [seen]] = [await flows(sender), await flows(viewer)];
                    assert.ok(sent.nacks > begun.nacks, "it was asked");
                    await until("frames go on", async () => (await flows(viewer))[0].frames > seen.frames + 20, { describe });
                    assertMended(losses, sent.plis - begun.plis, await describe());
                });
            });

            test(`${kind} plays: what is lost on its way is sent again as it was, and decoded`, async () => {
                await withPages(kind, async (sender, viewer) => {
                    await sender.goto(`${server.http}/`);
                    await viewer.goto(`${line.http}/`);
                    await publish(sender, `/whip/down-${kind}?login=camera`);
                    const played = await until("it is on the air", () => play(viewer, `/whep/down-${kind}/camera`, { rtx: false }));
                    assertNackWithoutRtx(played.offer);
                    assertNackWithoutRtx(played.answer);
                    await until("frames are decoded", async () => (await flows(viewer))[0].frames > 10);
                    const [begun] = await flows(viewer);
                    const losses = line.loseVideo("client", EACH);
                    const describe = async () => ({ losses, sent: await flows(sender), seen: await flows(viewer) });
                    await until("what was lost has come again", () => losses.again >= MENDED, { describe });
                    const [seen] = await flows(viewer);
                    assert.ok(seen.nacks > begun.nacks, "it has asked");
                    await until("frames go on", async () => (await flows(viewer))[0].frames > seen.frames + 20, { describe });
                    assert.equal(losses.different, 0, "the very octets that were lost");
                    assertMended(losses, seen.plis - begun.plis, await describe());
                });
            });
        }

        test("aiortc publishes and plays: each picture arrives, whichever way its packets were lost", async () => {
            for (const to of /** @type {("relay" | "client")[]} */ (["relay", "client"])) {
                const losses = line.loseVideo(to, EACH);
                const aiortc = startPeer("whip_aiortc.py", "--base", line.http, "--room", `aiortc ${to}`, "--no-rtx");
                assert.equal(await aiortc.ended, 0, `${aiortc.output()}\n${await server.log()}`);
                const result = JSON.parse(aiortc.output().trim().split("\n").at(-1) ?? "");
                assert.ok(losses.again > 0, "some were lost");
                assert.equal(to === "client" ? losses.different : 0, 0, "the very octets that were lost");
                assert.deepEqual([result.pictures, result.skipped], [40, 0], JSON.stringify(result));
            }
        });

        test("a viewer whose packets are lost for good costs the others few keyframes", async () => {
            await withPages("chromium", async (sender, viewer) => {
                await sender.goto(`${server.http}/`);
                await viewer.goto(`${line.http}/`);
                await publish(sender, "/whip/bad?login=camera");
                await until("it is on the air", () => play(viewer, "/whep/bad/camera"));
                const good = await newPerson(viewer.browser());
                await good.goto(`${server.http}/`);
                await play(good, "/whep/bad/camera");
                await until("both decode", async () => (await Promise.all([viewer, good].map(flows))).every(([{ frames }]) => frames > 10));
                const [[begun], [seen], [asked]] = await Promise.all([sender, good, viewer].map(flows));
                const losses = line.loseVideo("client", BAD, { forGood: true });
                const describe = async () => ({ losses, sent: await flows(sender), good: await flows(good), bad: await flows(viewer) });
                await until("the bad one asks", async () => (await flows(viewer))[0].plis > asked.plis, { describe });
                await until("the good one has seen much", async () => (await flows(good))[0].frames >= seen.frames + LONG, { describe });
                const [[sent], [watched]] = await Promise.all([sender, good].map(flows));
                // Granted at once and after 1, 3, 7, 15 and 31 s; the encoder may make one of itself.
                assert.ok(sent.keyFrames - begun.keyFrames <= 8, JSON.stringify(await describe()));
                assert.equal(watched.plis, seen.plis, "the good one never does");
            });
        });

        /**
         * Two people of one browser.
         * @param {import("./support/browsers.js").BrowserName} kind
         * @param {(one: Page, other: Page) => Promise<void>} body
         */
        async function withPages(kind, body) {
            const browser = await launch(kind);
            try {
                await body(await newPerson(browser), await newPerson(browser));
            } finally {
                await browser.close();
            }
        }
    });
}

/** @param {string} sdp */
function assertNackWithoutRtx(sdp) {
    assert.match(sdp, /^a=rtcp-fb:\S+ nack\r$/m);
    assert.doesNotMatch(sdp, /rtx\/90000/);
}

/**
 * Losses are mended by what comes again, and hardly ever by a new keyframe.
 * @param {import("./support/line.js").Losses} losses @param {number} keyframesAsked @param {unknown} state
 */
function assertMended(losses, keyframesAsked, state) {
    assert.ok(losses.missing <= losses.again / 5, `hardly any is missing: ${JSON.stringify(state)}`);
    assert.ok(keyframesAsked <= losses.again / 5, `hardly any keyframe was asked for: ${JSON.stringify(state)}`);
}
