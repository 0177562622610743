/**
 * Pages that publish over WHIP and play over WHEP by what a browser itself has, without our SDK: video alone,
 * and what it says in its offer is for the test to choose.
 * @module
 */

/**
 * @typedef {object} Wish
 * @property {boolean} [rtx] whether RTX (RFC 4588) is offered
 * @property {RTCRtpEncodingParameters[]} [encodings] of the sender, each with its rid
 * @property {number} [group] so many SSRCs are written into the offer as one group of simulcast, as pages did
 *     before there were rids (Chromium alone obeys it)
 */

/**
 * @typedef {object} Flow of video, as `getStats()` has it
 * @property {number} packets sent or received
 * @property {number} again of those sent: retransmissions
 * @property {number} lost
 * @property {number} nacks sent by who receives, heard by who sends
 * @property {number} plis the same
 * @property {number} frames encoded or decoded
 * @property {number} keyFrames of those
 * @property {number} freezes
 */

/** @typedef {import("puppeteer-core").Page} Page */

/** Gives the offer and the answer. @param {Page} page @param {string} url @param {Wish} [wish] */
export async function publish(page, url, { rtx = true, encodings, group = 0 } = {}) {
    const sdp = await page.evaluate(async (rtx, encodings) => {
        const peer = globalThis.__whip = new RTCPeerConnection();
        const media = await navigator.mediaDevices.getUserMedia({ video: { width: 640, height: 480, frameRate: 15 } });
        const [track] = media.getTracks();
        const transceiver = peer.addTransceiver(track, { direction: "sendonly", streams: [media], sendEncodings: encodings });
        const codecs = RTCRtpSender.getCapabilities("video")?.codecs ?? [];
        const wanted = codecs.filter(({ mimeType }) => mimeType === "video/VP8" || (rtx && mimeType === "video/rtx"));
        transceiver.setCodecPreferences(wanted);
        return (await peer.createOffer()).sdp ?? "";
    }, rtx, encodings);
    return exchange(page, url, group ? withGroup(sdp, group) : sdp);
}

/** Gives the offer and the answer. @param {Page} page @param {string} url @param {Wish} [wish] */
export async function play(page, url, { rtx = true } = {}) {
    const sdp = await page.evaluate(async (rtx) => {
        const peer = globalThis.__whip = new RTCPeerConnection();
        const transceiver = peer.addTransceiver("video", { direction: "recvonly" });
        const codecs = RTCRtpReceiver.getCapabilities("video")?.codecs ?? [];
        const wanted = codecs.filter(({ mimeType }) => mimeType === "video/VP8" || (rtx && mimeType === "video/rtx"));
        transceiver.setCodecPreferences(wanted);
        const video = document.createElement("video");
        Object.assign(video, { srcObject: new MediaStream([transceiver.receiver.track]), muted: true, autoplay: true });
        document.body.append(video);
        return (await peer.createOffer()).sdp ?? "";
    }, rtx);
    return exchange(page, url, sdp);
}

/** The page's newest connection offers this. @param {Page} page @param {string} url @param {string} sdp */
function exchange(page, url, sdp) {
    return page.evaluate(async (url, sdp) => {
        const peer = globalThis.__whip;
        await peer.setLocalDescription({ type: "offer", sdp });
        const headers = { "content-type": "application/sdp" };
        const response = await fetch(url, { method: "POST", headers, body: peer.localDescription.sdp });
        const answer = await response.text();
        if (!response.ok) {
            peer.close();
            throw new Error(`${response.status} ${answer}`);
        }
        await peer.setRemoteDescription({ type: "answer", sdp: answer });
        return { offer: peer.localDescription.sdp, answer };
    }, url, sdp);
}

/** In place of the one SSRC that is there. @param {string} sdp @param {number} count */
function withGroup(sdp, count) {
    const all = [...sdp.matchAll(/^a=ssrc:(\d+) (.*)\r\n/gm)];
    const attributes = all.filter(([, ssrc]) => ssrc === all[0][1]).map(([, , attribute]) => attribute);
    const kept = sdp.replace(/^a=ssrc(?:-group)?:.*\r\n/gm, "");
    const ssrcs = Array.from({ length: count }, (_, index) => 1_000_001 + index);
    const lines = ssrcs.flatMap((ssrc) => attributes.map((attribute) => `a=ssrc:${ssrc} ${attribute}`));
    return `${kept}${[...lines, `a=ssrc-group:SIM ${ssrcs.join(" ")}`].join("\r\n")}\r\n`;
}

/** Of the page's connections that are not closed, in the order in which they began. @param {Page} page @returns {Promise<Flow[]>} */
export function flows(page) {
    return page.evaluate(async () => Promise.all(globalThis.__connections.filter(({ signalingState }) => signalingState !== "closed").map(async (connection) => {
        const all = [...(await connection.getStats()).values()];
        const rtp = all.filter(({ type }) => type === "outbound-rtp" || type === "inbound-rtp");
        const sum = (...names) => rtp.reduce((total, one) => total + names.reduce((part, name) => part + (one[name] ?? 0), 0), 0);
        return {
            packets: sum("packetsSent", "packetsReceived"),
            again: sum("retransmittedPacketsSent"),
            lost: sum("packetsLost"),
            nacks: sum("nackCount"),
            plis: sum("pliCount"),
            frames: sum("framesEncoded", "framesDecoded"),
            keyFrames: sum("keyFramesEncoded", "keyFramesDecoded"),
            freezes: sum("freezeCount"),
        };
    })));
}
