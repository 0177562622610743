/**
 * libdatachannel publishes over WHIP the RTP that it is sent, and plays it back over WHEP: its own defaults
 * but for what it says of its part in DTLS.
 *
 * Prints "video PORT" and "audio PORT", where it takes RTP and RTCP, "publishing", "playing" once enough has
 * come of both kinds, and "ended" once its standard input is closed and its sessions are ended.
 *
 * Usage: node whip_libdatachannel.js BASE ROOM SETUP
 * @module
 */

import assert from "node:assert/strict";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import datachannel from "node-datachannel";
import { H264, OPUS } from "./support/encoder.js";
import { until } from "./support/until.js";

/** @typedef {import("node-datachannel").PeerConnection} PeerConnection */
/** @typedef {import("node-datachannel").Track} Track */

/** Packets of each kind that the player waits for: 2 s of sound, and the pictures of about as long. */
const ENOUGH = 100;

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

/** Sends what comes to a port, reports included. @param {string} kind @param {Track} track */
async function relay(kind, track) {
    const socket = createSocket("udp4", (packet) => track.isOpen() && track.sendMessageBinary(packet));
    socket.bind(0, "127.0.0.1");
    await once(socket, "listening");
    console.log(kind, socket.address().port);
}

/** Packets of media that came. @param {Track} track */
function count(track) {
    let packets = 0;
    // RTCP has types from 192 to 223 where RTP has the marker and the payload type (RFC 5761 §4).
    track.onMessage((packet) => { packets += packet[1] < 192 || packet[1] > 223 ? 1 : 0; });
    return () => packets;
}

const [base, room, setup] = process.argv.slice(2);
const publisher = peer("SendOnly");
await relay("video", publisher.video);
await relay("audio", publisher.audio);
const published = await start(publisher.connection, `${base}/whip/${room}?login=camera`, setup);
console.log("publishing");

const player = peer("RecvOnly");
const received = [player.video, player.audio].map(count);
const played = await until("there is something to play", () => start(player.connection, `${base}/whep/${room}/camera?by=login`, setup));
await until("media comes", () => received.every((packets) => packets() >= ENOUGH), { describe: () => received.map((packets) => packets()) });
console.log("playing");

process.stdin.resume();
await once(process.stdin, "end");
for (const location of [played, published]) {
    assert.equal((await fetch(location, { method: "DELETE" })).status, 200);
}
// Whoever started this ends it: neither its threads nor what ends them (`cleanup`) is sure to let Node go.
console.log("ended");
