/**
 * RTP of H.264, VP8 and Opus in real time, made by ffmpeg, for stacks that encode nothing themselves.
 * @module
 */

import { spawn } from "node:child_process";
import { until } from "./until.js";

/** Under the payload type and the SSRC that are theirs, for stacks that leave both as they are. */
const PICTURES = ["-f", "lavfi", "-i", "testsrc2=size=320x240:rate=25", "-pix_fmt", "yuv420p", "-g", "25"];
export const H264 = {
    payloadType: 96, ssrc: 4242,
    source: [...PICTURES, "-c:v", "libx264", "-profile:v", "baseline", "-tune", "zerolatency", "-bsf:v", "dump_extra"],
};
export const VP8 = {
    payloadType: 96, ssrc: 4242,
    source: [...PICTURES, "-c:v", "libvpx", "-deadline", "realtime", "-b:v", "500k"],
};
export const OPUS = {
    payloadType: 111, ssrc: 4243,
    source: ["-f", "lavfi", "-i", "sine=frequency=440", "-c:a", "libopus", "-ac", "2", "-ar", "48000"],
};

/**
 * Encodes for a program that says to which ports it listens, `video PORT` and `audio PORT`.
 * @param {import("./peer.js").Peer} peer
 * @param {typeof H264} video
 */
export async function startEncoders(peer, video) {
    const port = (/** @type {string} */ kind) => Number(peer.output().match(new RegExp(`^${kind} (\\d+)$`, "m"))?.[1]);
    await until("it listens", () => port("video") && port("audio"), { describe: peer.output });
    const encoders = [startEncoder(video, port("video")), startEncoder(OPUS, port("audio"))];
    return { stop: () => encoders.forEach((encoder) => encoder.stop()) };
}

/**
 * Sends it to a port of this machine, reports included.
 * @param {typeof H264} what
 * @param {number} port
 */
function startEncoder({ payloadType, ssrc, source }, port) {
    const format = ["-payload_type", String(payloadType), "-ssrc", String(ssrc), "-f", "rtp"];
    const target = `rtp://127.0.0.1:${port}?rtcpport=${port}&pkt_size=1200`;
    const child = spawn("ffmpeg", ["-v", "error", "-re", ...source, ...format, target], { stdio: "ignore" });
    return { stop: () => child.kill("SIGKILL") };
}
