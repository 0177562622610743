/**
 * A camera that stops while its browser lives: the room, the publisher and a WHEP player are told, and of its
 * coming back.
 * @module
 */

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { launch, newPerson } from "./support/browsers.js";
import { join } from "./support/conference.js";
import { startServer } from "./support/server.js";
import { until } from "./support/until.js";

for (const name of /** @type {const} */ (["chromium", "firefox"])) {
    describe(`media that stops, in ${name}`, () => {
        /** @type {import("./support/server.js").Server} */
        let server;
        /** @type {import("puppeteer-core").Browser} */
        let browser;

        before(async () => {
            [server, browser] = await Promise.all([startServer(), launch(name)]);
        });
        after(async () => {
            await browser?.close();
            await server?.stop();
        });

        test("a camera stops and comes back, and everybody knows", async () => {
            const alice = await join(browser, server, { login: "alice", room: "r" });
            await alice.sees("localStatus", "PUBLISHING");
            const bob = await join(browser, server, { login: "bob", room: "r" });
            await Promise.all([alice.inCall(), bob.inCall()]);
            await bob.receivesMedia();
            const viewer = await newPerson(browser);
            await viewer.goto(`${server.http}/`);
            await viewer.evaluate(watch, "/whep/r/alice");
            const told = () => viewer.evaluate(() => /** @type {any} */ (window).told.at(-1));
            await until("the viewer is told that it is active", async () => (await told())?.[0] === "active");

            await alice.page.evaluate(switchCamera, false);
            await until("bob is told", async () => (await missing(bob)) === "no picture comes", { describe: () => bob.look() });
            await alice.hears("Your picture does not reach the server.");
            await until("the viewer is told by kind", async () => (await told())[1].video === false);
            assert.deepEqual(await told(), ["active", { audio: true, video: false, recording: "off" }]);
            // Who comes now hears it as well.
            const carol = await join(browser, server, { login: "carol", room: "r" });
            await carol.inCall(2);
            await until("carol is told", async () => [await missing(carol, 1), await missing(carol, 2)].includes("no picture comes"));
            await carol.close();

            await alice.page.evaluate(switchCamera, true);
            await until("bob is told that it comes", async () => (await missing(bob)) === "", { describe: () => bob.look() });
            await alice.hears("Your picture reaches the server again.");
            await bob.receivesMedia();
            await until("the viewer is told that it comes", async () => (await told())[1].video === true);
            assert.deepEqual([alice.page.problems, bob.page.problems], [[], []]);

            // Its stream of events ends with the session, and is not there to come back to.
            await alice.page.evaluate(() => /** @type {any} */ (document.querySelector("#leaveBtn")).click());
            await until("the events end", () => viewer.evaluate(() => /** @type {any} */ (window).events.readyState === EventSource.CLOSED));
            await Promise.all([alice.close(), bob.close()]);
        });
    });
}

/** What the tile of the other says is missing. @param {import("./support/conference.js").Person} person */
function missing(person, slot = 1) {
    return person.page.$eval(`#participant${slot} .mutes`, (element) => element.textContent);
}

/* What follows runs in the page. */

/** Firefox would send black pictures without a track, so it is the encoding that is switched. @param {boolean} on */
async function switchCamera(on) {
    const page = /** @type {any} */ (window);
    const open = page.__connections.filter((one) => one.connectionState !== "closed");
    const senders = open.flatMap((one) => one.getSenders()).filter(({ track }) => track?.kind === "video");
    await Promise.all(senders.map((sender) => {
        const parameters = sender.getParameters();
        parameters.encodings[0].active = on;
        return sender.setParameters(parameters);
    }));
}

/** Plays by WHEP, and listens to its events. @param {string} url */
async function watch(url) {
    const page = /** @type {any} */ (window);
    page.player = new RTCPeerConnection();
    ["audio", "video"].forEach((kind) => page.player.addTransceiver(kind, { direction: "recvonly" }));
    await page.player.setLocalDescription();
    const response = await fetch(url, {
        method: "POST", headers: { "content-type": "application/sdp" }, body: page.player.localDescription.sdp,
    });
    await page.player.setRemoteDescription({ type: "answer", sdp: await response.text() });
    const [, link] = /<([^>]*)>; rel="urn:ietf:params:whep:ext:core:server-sent-events"/.exec(response.headers.get("link") ?? "") ?? [];
    const at = new URL(link ?? "", response.url);
    const subscribed = await fetch(at, {
        method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(["active", "inactive"]),
    });
    page.told = [];
    page.events = new EventSource(new URL(subscribed.headers.get("location") ?? "", subscribed.url));
    ["active", "inactive"].forEach((type) =>
        page.events.addEventListener(type, (/** @type {MessageEvent} */ { data }) => page.told.push([type, JSON.parse(data)])));
}
