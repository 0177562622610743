/**
 * libdatachannel, by its bindings for Node, with its own defaults: what a bundle's other m-lines need not say
 * (RFC 8843 §9.1) is left out, and packets come as ffmpeg made them.
 * @module
 */

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { after, before, describe, test } from "node:test";
import datachannel from "node-datachannel";
import { launch } from "./support/browsers.js";
import { join } from "./support/conference.js";
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
                const sources = [await encode(publisher.video, VIDEO), await encode(publisher.audio, AUDIO)];
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

/** What ffmpeg makes, in real time, under the payload type and SSRC of the offer. */
const VIDEO = ["-f", "lavfi", "-i", "testsrc2=size=320x240:rate=25", "-c:v", "libx264", "-profile:v", "baseline", "-pix_fmt", "yuv420p",
    "-tune", "zerolatency", "-g", "25", "-bsf:v", "dump_extra", "-payload_type", "96", "-ssrc", "4242"];
const AUDIO = ["-f", "lavfi", "-i", "sine=frequency=440", "-c:a", "libopus", "-ac", "2", "-ar", "48000", "-payload_type", "111", "-ssrc", "4243"];

/** @param {"SendOnly" | "RecvOnly"} direction */
function peer(direction) {
    const connection = new datachannel.PeerConnection("peer", { iceServers: [] });
    const video = new datachannel.Video("video", direction);
    video.addH264Codec(96);
    const audio = new datachannel.Audio("audio", direction);
    audio.addOpusCodec(111);
    if (direction === "SendOnly") {
        video.addSSRC(4242, "camera", "stream", "video");
        audio.addSSRC(4243, "camera", "stream", "audio");
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
 * @param {string[]} source
 */
async function encode(track, source) {
    const socket = createSocket("udp4", (packet) => track.isOpen() && track.sendMessageBinary(packet));
    socket.bind(0, "127.0.0.1");
    await once(socket, "listening");
    const { port } = socket.address();
    const target = `rtp://127.0.0.1:${port}?rtcpport=${port}&pkt_size=1200`;
    const child = spawn("ffmpeg", ["-v", "error", "-re", ...source, "-f", "rtp", target], { stdio: "ignore" });
    return { stop: () => { child.kill("SIGKILL"); socket.close(); } };
}

/** Packets of media that came. @param {Track} track */
function count(track) {
    let packets = 0;
    // RTCP has types from 192 to 223 where RTP has the marker and the payload type (RFC 5761 §4).
    track.onMessage((packet) => { packets += packet[1] < 192 || packet[1] > 223 ? 1 : 0; });
    return () => packets;
}
