/**
 * The few figures of `RTCPeerConnection.getStats` that people ask for, under the same names in every browser.
 * @module
 */

/**
 * @typedef {object} TrackStats
 * @property {string} codec such as `video/VP8`; empty while nothing flows
 * @property {number} bytes payload octets sent or received
 * @property {number} packets
 * @property {number} packetsLost
 * @property {number} frames encoded or decoded; 0 for audio
 * @property {number} framesPerSecond
 * @property {number} width pixels
 * @property {number} height pixels
 * @property {number} jitter seconds; received tracks only
 * @property {number} audioEnergy totalAudioEnergy of received audio
 */

/**
 * @typedef {object} StreamStats
 * @property {TrackStats | null} audio
 * @property {TrackStats | null} video
 * @property {number} roundTripTime seconds; 0 while unknown
 * @property {string} dtls version as the browser names it, FEFC is DTLS 1.3; empty where it does not tell
 * @property {string} srtp cipher, empty where the browser does not tell
 * @property {RTCStatsReport} report everything
 */

/**
 * @param {RTCStatsReport} report
 * @param {boolean} published
 * @returns {StreamStats}
 */
export function summarize(report, published) {
    /** @type {any[]} */
    const entries = [...report.values()];
    const tracks = entries.filter(({ type }) => type === (published ? "outbound-rtp" : "inbound-rtp"));
    const transport = entries.find(({ type }) => type === "transport") ?? {};
    const pair = entries.find(({ type, nominated, state }) => type === "candidate-pair" && nominated && state === "succeeded");
    const track = (/** @type {string} */ kind) => {
        const rtp = tracks.find((entry) => entry.kind === kind);
        return rtp ? summarizeTrack(rtp, report) : null;
    };
    return {
        audio: track("audio"),
        video: track("video"),
        roundTripTime: pair?.currentRoundTripTime ?? 0,
        dtls: transport.tlsVersion ?? "",
        srtp: transport.srtpCipher ?? "",
        report,
    };
}

/**
 * @param {any} rtp
 * @param {RTCStatsReport} report
 * @returns {TrackStats}
 */
function summarizeTrack(rtp, report) {
    return {
        codec: report.get(rtp.codecId)?.mimeType ?? "",
        bytes: rtp.bytesSent ?? rtp.bytesReceived ?? 0,
        packets: rtp.packetsSent ?? rtp.packetsReceived ?? 0,
        packetsLost: rtp.packetsLost ?? 0,
        frames: rtp.framesEncoded ?? rtp.framesDecoded ?? 0,
        framesPerSecond: rtp.framesPerSecond ?? 0,
        width: rtp.frameWidth ?? 0,
        height: rtp.frameHeight ?? 0,
        jitter: rtp.jitter ?? 0,
        audioEnergy: rtp.totalAudioEnergy ?? 0,
    };
}
