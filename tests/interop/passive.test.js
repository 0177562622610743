/**
 * Peers that are the passive side of DTLS, as some encoders are: the relay begins the handshake. Browsers say
 * `actpass` and take either part, so only what the server is told is changed here; its answer makes them the
 * DTLS server.
 * @module
 */

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { launch, newPerson } from "./support/browsers.js";
import { ONE_BACK_END, startServer } from "./support/server.js";
import { until } from "./support/until.js";

for (const io of ONE_BACK_END) {
    describe(`passive peers over ${io}`, () => {
        /** @type {import("./support/server.js").Server} */
        let server;
        before(async () => { server = await startServer({ io }); });
        after(() => server?.stop());

        for (const kind of /** @type {import("./support/browsers.js").BrowserName[]} */ (["chromium", "firefox"])) {
            test(`${kind} publishes and plays as the DTLS server`, async () => {
                const browser = await launch(kind);
                try {
                    const page = await newPerson(browser);
                    await page.goto(`${server.http}/`);
                    const published = await page.evaluate(publish, `/whip/${kind}?login=encoder`);
                    assert.deepEqual(published.setup, ["active", "active"]);
                    await until("it is on the air", async () => (await page.evaluate(sent)) > 10);
                    const played = await page.evaluate(play, `/whep/${kind}/encoder`);
                    assert.deepEqual(played.setup, ["active", "active"]);
                    await until("pictures are decoded, and sound comes", async () => {
                        const { pictures, packets } = await page.evaluate(received);
                        return pictures > 50 && packets > 100;
                    });
                    // The browser is the server in both: its role is what the relay's is not.
                    const roles = await page.evaluate(dtlsRoles);
                    roles.forEach((role) => assert.ok(role === "server" || role === undefined, role));
                } finally {
                    await browser.close();
                }
            });
        }
    });
}

/* What follows runs in the page. */

/** @typedef {Window & {publisher: RTCPeerConnection, player: RTCPeerConnection}} Page */

/** @param {string} url */
async function publish(url) {
    const peer = new RTCPeerConnection();
    /** @type {Page} */ (/** @type {unknown} */ (window)).publisher = peer;
    const media = await navigator.mediaDevices.getUserMedia({ audio: true, video: true });
    media.getTracks().forEach((track) => peer.addTransceiver(track, { direction: "sendonly", streams: [media] }));
    await peer.setLocalDescription();
    const body = peer.localDescription?.sdp.replaceAll("a=setup:actpass", "a=setup:passive");
    const response = await fetch(url, { method: "POST", headers: { "content-type": "application/sdp" }, body });
    const sdp = await response.text();
    await peer.setRemoteDescription({ type: "answer", sdp });
    return { setup: [...sdp.matchAll(/a=setup:(\w+)/g)].map((found) => found[1]) };
}

/** @param {string} url */
async function play(url) {
    const peer = new RTCPeerConnection();
    /** @type {Page} */ (/** @type {unknown} */ (window)).player = peer;
    for (const kind of ["audio", "video"]) {
        peer.addTransceiver(kind, { direction: "recvonly" });
    }
    peer.ontrack = ({ track, streams }) => {
        if (track.kind === "video") {
            const video = document.createElement("video");
            Object.assign(video, { srcObject: streams[0] ?? new MediaStream([track]), muted: true, autoplay: true });
            document.body.append(video);
        }
    };
    await peer.setLocalDescription();
    const body = peer.localDescription?.sdp.replaceAll("a=setup:actpass", "a=setup:passive");
    const response = await fetch(url, { method: "POST", headers: { "content-type": "application/sdp" }, body });
    const sdp = await response.text();
    await peer.setRemoteDescription({ type: "answer", sdp });
    return { setup: [...sdp.matchAll(/a=setup:(\w+)/g)].map((found) => found[1]) };
}

async function sent() {
    const report = await /** @type {Page} */ (/** @type {unknown} */ (window)).publisher.getStats();
    return [...report.values()].filter((one) => one.type === "outbound-rtp").reduce((least, one) => Math.min(least, one.packetsSent), Infinity);
}

async function received() {
    const report = await /** @type {Page} */ (/** @type {unknown} */ (window)).player.getStats();
    const inbound = [...report.values()].filter((one) => one.type === "inbound-rtp");
    return {
        pictures: inbound.find((one) => one.kind === "video")?.framesDecoded ?? 0,
        packets: inbound.find((one) => one.kind === "audio")?.packetsReceived ?? 0,
    };
}

async function dtlsRoles() {
    const page = /** @type {Page} */ (/** @type {unknown} */ (window));
    const reports = await Promise.all([page.publisher, page.player].map((peer) => peer.getStats()));
    return reports.flatMap((report) => [...report.values()].filter((one) => one.type === "transport").map((one) => one.dtlsRole));
}
