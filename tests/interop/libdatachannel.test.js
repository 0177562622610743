/**
 * libdatachannel, by its bindings for Node, with its own defaults: what a bundle's other m-lines need not say
 * (RFC 8843 §9.1) is left out, and packets come as ffmpeg made them.
 * @module
 */

import assert from "node:assert/strict";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { after, before, describe, test } from "node:test";
import datachannel from "node-datachannel";
import { launch } from "./support/browsers.js";
import { join } from "./support/conference.js";
import { H264, OPUS, startEncoder } from "./support/encoder.js";
import { BACK_ENDS, startServer } from "./support/server.js";
import { until } from "./support/until.js";

/** @typedef {import("node-datachannel").PeerConnection} PeerConnection */
/** @typedef {import("node-datachannel").Track} Track */

/** Packets of each kind that a player waits for: 2 s of sound, and the pictures of about as long. */
const ENOUGH = 100;

for (const io of BACK_ENDS) {
    describe(`libdatachannel over ${io}`, () => {
        /** @type {import("./support/server.js").Server} */
        let server;
        before(async () => { server = await startServer({ io }); });
        after(() => server?.stop());

        for (const setup of ["actpass", "passive"]) {
            test(`it publishes to a browser and to itself, with a=setup:${setup}`, async () => {
                const browser = await launch("chromium");
                const publisher = peer("SendOnly");
                const player = peer("RecvOnly");
                const sources = [await encode(publisher.video, H264), await encode(publisher.audio, OPUS)];
                try {
                    const published = await start(publisher.connection, `${server.http}/whip/${setup}?login=camera`, setup);
                    const person = await join(browser, server, { login: "viewer", room: setup });
                    await person.sees("participant1Name", "camera");
                    await person.sees("participant1Status", "PLAYING");
                    await person.receivesMedia();

                    const received = [player.video, player.audio].map(count);
                    const played = await start(player.connection, `${server.http}/whep/${setup}/camera?by=login`, setup);
                    await until("media comes", () => received.every((packets) => packets() >= ENOUGH), { describe: () => received.map((packets) => packets()) });
                    for (const location of [played, published]) {
                        assert.equal((await fetch(location, { method: "DELETE" })).status, 200);
                    }
                    await person.sees("participant1Name", "NONE");
                } finally {
                    sources.forEach((source) => source.stop());
                    [publisher, player].forEach(({ connection }) => connection.close());
                    await browser.close();
                }
            });
        }
    });
}

/** @param {"SendOnly" | "RecvOnly"} direction */
function peer(direction) {
    const connection = new datachannel.PeerConnection("peer", { iceServers: [] });
    const video = new datachannel.Video("video", direction);
    video.addH264Codec(H264.payloadType);
    const audio = new datachannel.Audio("audio", direction);
    audio.addOpusCodec(OPUS.payloadType);
    if (direction === "SendOnly") {
        video.addSSRC(H264.ssrc, "camera", "stream", "video");
        audio.addSSRC(OPUS.ssrc, "camera", "stream", "audio");
    }
    return { connection, video: connection.addTrack(video), audio: connection.addTrack(audio) };
}

/**
 * @param {PeerConnection} connection
 * @param {string} url
 * @param {string} setup what it says of its part in DTLS; the answer makes it that
 * @returns {Promise<string>} the session's address
 */
async function start(connection, url, setup) {
    connection.setLocalDescription();
    await until("candidates are gathered", () => connection.gatheringState() === "complete");
    const body = connection.localDescription()?.sdp.replaceAll("a=setup:actpass", `a=setup:${setup}`);
    const response = await fetch(url, { method: "POST", headers: { "content-type": "application/sdp" }, body });
    const answer = await response.text();
    assert.equal(response.status, 201, answer);
    assert.ok(answer.includes(setup === "passive" ? "a=setup:active" : "a=setup:passive"), answer);
    assert.equal(response.headers.get("ringvox-rejected"), null);
    connection.setRemoteDescription(answer, /** @type {any} */ ("answer"));
    await until("it is connected", () => connection.state() === "connected", { describe: () => connection.state() });
    return new URL(response.headers.get("location") ?? "", url).href;
}

/**
 * Sends what ffmpeg makes, its reports among it.
 * @param {Track} track
 * @param {typeof H264} what
 */
async function encode(track, what) {
    const socket = createSocket("udp4", (packet) => track.isOpen() && track.sendMessageBinary(packet));
    socket.bind(0, "127.0.0.1");
    await once(socket, "listening");
    const encoder = startEncoder(what, socket.address().port);
    return { stop: () => { encoder.stop(); socket.close(); } };
}

/** Packets of media that came. @param {Track} track */
function count(track) {
    let packets = 0;
    // RTCP has types from 192 to 223 where RTP has the marker and the payload type (RFC 5761 §4).
    track.onMessage((packet) => { packets += packet[1] < 192 || packet[1] > 223 ? 1 : 0; });
    return () => packets;
}
