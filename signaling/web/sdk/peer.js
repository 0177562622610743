/**
 * One RTCPeerConnection of one stream. The browser always offers, the server answers once, nothing is
 * renegotiated.
 * @module
 */

export class Peer {
    #pc;

    /**
     * @param {RTCIceServer[]} iceServers
     * @param {{track?: (media: MediaStream) => void, failed: () => void}} on
     */
    constructor(iceServers, on) {
        const pc = new RTCPeerConnection({ iceServers, bundlePolicy: "max-bundle" });
        this.#pc = pc;
        pc.ontrack = (event) => on.track?.(event.streams[0] ?? new MediaStream([event.track]));
        pc.onconnectionstatechange = () => pc.connectionState === "failed" && on.failed();
    }

    /** The connection failed or is closed: nothing will flow again. */
    get dead() {
        return ["failed", "closed"].includes(this.#pc.connectionState);
    }

    /** The server's answer has been taken. */
    get answered() {
        return this.#pc.remoteDescription !== null;
    }

    /**
     * Offers to send this.
     * @param {MediaStream} media
     * @param {{audio?: boolean, video?: boolean}} [receive] kinds that may also come back on this connection
     * @returns {Promise<string>} SDP
     */
    offerToSend(media, receive = {}) {
        for (const track of [...media.getAudioTracks(), ...media.getVideoTracks()]) {
            const both = receive[/** @type {"audio" | "video"} */ (track.kind)];
            this.#pc.addTransceiver(track, { direction: both ? "sendrecv" : "sendonly", streams: [media] });
        }
        return this.#offer();
    }

    /**
     * Offers to receive these kinds.
     * @param {{audio?: unknown, video?: unknown}} wanted
     * @returns {Promise<string>} SDP
     */
    offerToReceive({ audio, video }) {
        for (const kind of [audio ? "audio" : "", video ? "video" : ""].filter(Boolean)) {
            this.#pc.addTransceiver(kind, { direction: "recvonly" });
        }
        return this.#offer();
    }

    /** @param {string} sdp */
    accept(sdp) {
        return this.#pc.setRemoteDescription({ type: "answer", sdp });
    }

    /**
     * Sends this track instead of the one of its kind; the other side notices nothing but other pictures or
     * sound.
     * @param {MediaStreamTrack} track
     * @returns {Promise<boolean>} false: no track of its kind is sent
     */
    async replace(track) {
        const sender = this.#pc.getSenders().find((one) => one.track?.kind === track.kind);
        await sender?.replaceTrack(track);
        return sender !== undefined;
    }

    /** @returns {Promise<RTCStatsReport>} */
    stats() {
        return this.#pc.getStats();
    }

    close() {
        this.#pc.ontrack = this.#pc.onconnectionstatechange = null;
        this.#pc.close();
    }

    async #offer() {
        const offer = await this.#pc.createOffer();
        await this.#pc.setLocalDescription(offer);
        return offer.sdp ?? "";
    }
}
