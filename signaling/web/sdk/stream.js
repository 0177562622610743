/**
 * A stream of ours in a room: published, or somebody else's that we play. For the page it is one object from
 * start to end; on the wire each restart is a new stream with a new mediaSessionId, because the protocol
 * never renegotiates.
 * @module
 */

import { CONNECTION_QUALITY, STREAM_EVENT, STREAM_STATUS as STATUS, isFinal } from "./constants.js";
import { MediaError, StreamError } from "./errors.js";
import { Emitter } from "./events.js";
import { newId } from "./id.js";
import { Screen, capture, release } from "./media.js";
import { Peer } from "./peer.js";
import { QualityWatch, count } from "./quality.js";
import { summarize } from "./stats.js";

/** Restarts in a row without success before a broken stream is given up. */
const MOST_RESTARTS = 3;

/**
 * @typedef {object} StreamPlan
 * @property {boolean} published ours to send, otherwise ours to play
 * @property {string} room
 * @property {string} owner login of the publisher
 * @property {() => string} newName the name for the next attempt
 * @property {{audio?: any, video?: any}} constraints
 * @property {(stream: Stream) => void} onEnd
 * @property {HTMLElement} [display]
 * @property {MediaStream} [mediaStream]
 * @property {boolean} [record]
 * @property {boolean} [receiveAudio]
 * @property {boolean} [receiveVideo]
 */

/**
 * @typedef {object} Rejected
 * @property {"audio" | "video"} kind
 * @property {string} code for programs
 * @property {string} info for people
 */

export class Stream extends Emitter {
    #session;
    #plan;
    #id = "";
    #name = "";
    #info = "";
    #recordName = "";
    /** @type {string} */
    #status = STATUS.NEW;
    /** @type {Error | null} */
    #error = null;
    /** @type {Peer | null} */
    #peer = null;
    /** @type {Screen | null} */
    #screen = null;
    /** @type {MediaStream | null} what we captured or were given */
    #media = null;
    #sent = false;
    #stopping = false;
    #restarts = 0;
    #muted = { audio: false, video: false };
    /** As the server says. */
    #stopped = { audio: false, video: false };
    /** @type {{audio?: boolean, video?: boolean}} as the server says */
    #has = {};
    /** @type {Rejected[]} */
    #rejected = [];
    /** @type {QualityWatch | null} */
    #watch = null;
    #quality = { quality: /** @type {string} */ (CONNECTION_QUALITY.UNKNOWN), loss: 0, rtt: 0, jitter: 0 };

    /** @param {import("./session.js").Session} session @param {StreamPlan} plan */
    constructor(session, plan) {
        super();
        this.#session = session;
        this.#plan = plan;
    }

    /** The mediaSessionId it has now; a restart changes it. */
    id() {
        return this.#id;
    }

    name() {
        return this.#name;
    }

    /** Login of the publisher. */
    owner() {
        return this.#plan.owner;
    }

    status() {
        return this.#status;
    }

    /** Why it ended, in the server's words. */
    info() {
        return this.#info;
    }

    /**
     * Why it FAILED: a MediaError if a device could not be had, otherwise a StreamError; null if it did not
     * fail.
     */
    error() {
        return this.#error;
    }

    published() {
        return this.#plan.published;
    }

    /** Name of the recording, once the server has told it. */
    recordName() {
        return this.#recordName;
    }

    /** The `<video>` that shows it. */
    element() {
        return this.#screen?.element ?? null;
    }

    /** Whether sound flows, once it is PUBLISHING or PLAYING. */
    hasAudio() {
        return this.#has.audio ?? true;
    }

    /** Whether pictures flow, once it is PUBLISHING or PLAYING. */
    hasVideo() {
        return this.#has.video ?? true;
    }

    /** What was wanted and cannot be had, while the rest of it flows. @returns {readonly Rejected[]} */
    rejected() {
        return this.#rejected;
    }

    isAudioMuted() {
        return this.#muted.audio;
    }

    isVideoMuted() {
        return this.#muted.video;
    }

    /** Whether no sound comes of the publisher though the stream goes on. */
    isAudioStopped() {
        return this.#stopped.audio;
    }

    /** Whether no picture comes of the publisher though the stream goes on. */
    isVideoStopped() {
        return this.#stopped.video;
    }

    muteAudio() {
        this.#mute("audio", true);
    }

    unmuteAudio() {
        this.#mute("audio", false);
    }

    muteVideo() {
        this.#mute("video", true);
    }

    unmuteVideo() {
        this.#mute("video", false);
    }

    /** Sends data to everybody who plays this published stream. @param {object} payload */
    sendData(payload) {
        this.#sendEvent(STREAM_EVENT.DATA, payload);
    }

    /**
     * Sends another camera or microphone from now on; whoever plays the stream notices nothing else.
     * @param {{audio?: any, video?: any}} constraints the kind to change, as for getUserMedia
     * @returns {Promise<void>} rejects with a MediaError, and then what was sent before is still sent
     */
    async switchDevice(constraints) {
        const media = this.#media;
        if (!this.published() || !media) {
            throw new TypeError("Only a stream that is being published can change its devices");
        }
        const fresh = await capture(constraints);
        if (media !== this.#media) {
            release(fresh); // It ended meanwhile.
            return;
        }
        for (const track of fresh.getTracks()) {
            if (!(await this.#peer?.replace(track))) {
                track.stop(); // The offer had no such kind, and there is no second offer.
                continue;
            }
            media.getTracks().filter(({ kind }) => kind === track.kind).forEach((old) => {
                old.stop();
                media.removeTrack(old);
            });
            media.addTrack(track);
            this.#follow(track);
        }
        this.#applyMuted();
    }

    /** What is captured and sent; null for a played stream. */
    mediaStream() {
        return this.#media;
    }

    /** The newest verdict on its connection. @returns {import("./quality.js").Quality} */
    quality() {
        return this.#quality;
    }

    /** @returns {Promise<import("./stats.js").StreamStats | null>} null while there is no connection */
    async getStats() {
        return this.#peer ? summarize(await this.#peer.stats(), this.published()) : null;
    }

    /** Ends it. The final status follows. */
    stop() {
        if (isFinal(this.#status) || this.#stopping) {
            return;
        }
        this.#stopping = true;
        if (this.#sendStop()) {
            this.#closeMedia(); // The server's UNPUBLISHED or STOPPED ends it, with the name of the recording.
        } else {
            this._end(undefined, "Stopped by user");
        }
    }

    // ---- for the session and the room ----

    /** @internal */
    async _start() {
        this.#setStatus(STATUS.PENDING);
        try {
            if (this.published()) {
                await this.#capture();
            }
            if (!isFinal(this.#status)) {
                await this.#open();
            }
        } catch (error) {
            this.#failLocally(error);
        }
    }

    /** Begins again with a new connection; what was captured stays. @internal */
    _restart() {
        if (this.published() && !this.#media) {
            return; // Still waiting for the camera: nothing has begun.
        }
        this.#setStatus(STATUS.PENDING);
        this.#open().catch((error) => this.#failLocally(error));
    }

    /** Media flows or is about to: worth keeping when the session comes back. @internal */
    get _flows() {
        return this.#peer !== null && this.#peer.answered && !this.#peer.dead;
    }

    /** The server kept it while we were away. @internal @param {string} status what the server says it is */
    _kept(status) {
        if (status === STATUS.PUBLISHING || status === STATUS.PLAYING) {
            this._status({ status });
        }
    }

    /** @internal */
    _connectionLost() {
        if (this.#stopping) {
            this._end(undefined, "Stopped by user");
        }
    }

    /** @internal @param {string} sdp */
    _answer(sdp) {
        const peer = this.#peer;
        peer?.accept(sdp).catch((error) => peer === this.#peer && this.#failLocally(error));
    }

    /** @internal @param {any} content */
    _status({ status, info, code, recordName, audioState, videoState, hasAudio, hasVideo, rejected, stopped = [] }) {
        this.#recordName = recordName ?? this.#recordName;
        this.#has = { audio: hasAudio ?? this.#has.audio, video: hasVideo ?? this.#has.video };
        this.#rejected = Array.isArray(rejected) ? rejected : this.#rejected;
        if (isFinal(status)) {
            this._end(status, info, code);
        } else if ((status === STATUS.PUBLISHING || status === STATUS.PLAYING) && !this.#stopping) {
            this.#restarts = 0;
            this.#stopped = { audio: stopped.includes("audio"), video: stopped.includes("video") };
            this.#setStatus(status);
            this.#watch ??= new QualityWatch(() => this.#count(), (quality) => this.#judged(quality));
            this.published() ? this.#tellMuted() : this.#noteMuted(audioState, videoState);
        }
    }

    /** @internal @param {{type: string, payload?: unknown}} event */
    _event({ type, payload }) {
        const [, kind, what] = /^(audio|video)(Muted|Unmuted|Stopped|Resumed)$/.exec(type) ?? [];
        if (kind === "audio" || kind === "video") {
            const state = /uted$/.test(what) ? this.#muted : this.#stopped;
            state[kind] = what === "Muted" || what === "Stopped";
        }
        this.emit(type, this, payload);
    }

    /**
     * @internal
     * @param {string | undefined} status undefined: the ordinary one
     * @param {string} [info]
     * @param {string} [code]
     */
    _end(status, info = "", code = "stream-failed") {
        if (isFinal(this.#status)) {
            return;
        }
        this.#info = info;
        this.#error ??= status === STATUS.FAILED ? new StreamError(code, info || "The stream failed") : null;
        this.#closeMedia();
        this.#session._removeStream(this.#id);
        this.#plan.onEnd(this);
        this.#setStatus(status ?? (this.published() ? STATUS.UNPUBLISHED : STATUS.STOPPED));
    }

    // ---- how it works ----

    async #capture() {
        const { mediaStream, constraints, display } = this.#plan;
        const media = mediaStream ?? (await capture(constraints));
        if (isFinal(this.#status)) {
            this.#releaseOwn(media); // Stopped while the person was still asked.
            return;
        }
        this.#media = media;
        this.#applyMuted();
        media.getVideoTracks().forEach((track) => this.#follow(track));
        this.#show(display, media);
    }

    /** "Stop sharing", or the camera was unplugged. @param {MediaStreamTrack} track */
    #follow(track) {
        if (track.kind === "video") {
            track.addEventListener("ended", () => this.#media?.getTracks().includes(track) && this.stop());
        }
    }

    async #open() {
        this.#peer?.close();
        this.#watch?.stop();
        this.#watch = null;
        this.#session._removeStream(this.#id);
        const id = newId();
        const peer = new Peer(this.#session._iceServers, {
            track: (media) => this.#show(this.#plan.display, media),
            failed: () => this.#peerFailed(peer),
        });
        this.#id = id;
        this.#has = {};
        this.#rejected = [];
        this.#name = this.#plan.newName();
        this.#peer = peer;
        this.#sent = false;
        this.#session._addStream(id, this);
        const sdp = await (this.#media ? peer.offerToSend(this.#media, this.#receives()) : peer.offerToReceive(this.#plan.constraints));
        if (peer === this.#peer) {
            this.#sent = this.#session._send(this.published() ? "publishStream" : "playStream", this.#request(sdp));
        }
    }

    #receives() {
        return { audio: this.#plan.receiveAudio, video: this.#plan.receiveVideo };
    }

    /** @param {string} sdp */
    #request(sdp) {
        const { published, room, constraints, record = false } = this.#plan;
        return {
            mediaSessionId: this.#id,
            name: this.#name,
            published,
            hasVideo: this.#media ? this.#media.getVideoTracks().length > 0 : true,
            hasAudio: this.#media ? this.#media.getAudioTracks().length > 0 : true,
            status: STATUS.PENDING,
            record,
            mediaProvider: "WebRTC",
            sdp,
            custom: { name: room },
            bitrate: 0,
            minBitrate: 0,
            maxBitrate: 0,
            ...(published ? {} : { width: 0, height: 0, quality: 0 }),
            constraints,
        };
    }

    #sendStop() {
        const published = this.published();
        const content = { mediaSessionId: this.#id, name: this.#name, published, hasVideo: true, hasAudio: true, status: this.#status, record: false };
        return this.#sent && this.#session._send(published ? "unPublishStream" : "stopStream", content);
    }

    /** @param {Peer} peer */
    #peerFailed(peer) {
        const flowed = this.#status === STATUS.PUBLISHING || this.#status === STATUS.PLAYING;
        if (peer !== this.#peer || !flowed || !this.#session._up) {
            return; // Not ours any more, or the server's time-out or our return to the session settles it.
        }
        this.#sendStop();
        this.#restarts += 1;
        if (this.#restarts > MOST_RESTARTS) {
            this._end(STATUS.FAILED, "Failed by ICE error");
        } else {
            this._restart();
        }
    }

    /** @param {unknown} error */
    #failLocally(error) {
        if (!isFinal(this.#status)) {
            this.#error = error instanceof Error ? error : new Error(String(error));
            this.#sendStop();
            this._end(STATUS.FAILED, error instanceof MediaError ? "Local error" : "Failed by error");
        }
    }

    /** @param {HTMLElement | undefined} display @param {MediaStream} media */
    #show(display, media) {
        if (display) {
            this.#screen ??= new Screen(display, this.published());
            this.#screen.show(media);
        }
    }

    #closeMedia() {
        this.#watch?.stop();
        this.#watch = null;
        this.#peer?.close();
        this.#peer = null;
        this.#screen?.close();
        this.#screen = null;
        this.#releaseOwn(this.#media);
        this.#media = null;
    }

    /** What the page gave stays the page's. @param {MediaStream | null} media */
    #releaseOwn(media) {
        if (media !== this.#plan.mediaStream) {
            release(media);
        }
    }

    /** @param {"audio" | "video"} kind @param {boolean} muted */
    #mute(kind, muted) {
        if (!this.published()) {
            throw new TypeError("Only a published stream can be muted; set volume on the element of a played one");
        }
        if (this.#muted[kind] !== muted) {
            this.#muted[kind] = muted;
            this.#applyMuted();
            this.#sendEvent(`${kind}${muted ? "Muted" : "Unmuted"}`);
        }
    }

    #applyMuted() {
        this.#media?.getTracks().forEach((track) => {
            track.enabled = !this.#muted[/** @type {"audio" | "video"} */ (track.kind)];
        });
    }

    /** A new server, or a new attempt, does not know it yet. */
    #tellMuted() {
        Object.entries(this.#muted).forEach(([kind, muted]) => muted && this.#sendEvent(`${kind}Muted`));
    }

    /** @param {{muted: boolean} | undefined} audio @param {{muted: boolean} | undefined} video */
    #noteMuted(audio, video) {
        audio?.muted && this._event({ type: STREAM_EVENT.AUDIO_MUTED });
        video?.muted && this._event({ type: STREAM_EVENT.VIDEO_MUTED });
    }

    /** @param {string} type @param {object} [payload] */
    #sendEvent(type, payload) {
        if (this.#sent) {
            this.#session._send("sendStreamEvent", { mediaSessionId: this.#id, type, ...(payload ? { payload } : {}) });
        }
    }

    async #count() {
        const flows = this.#status === STATUS.PUBLISHING || this.#status === STATUS.PLAYING;
        return flows && this.#peer ? count(await this.#peer.stats(), this.published()) : null;
    }

    /** @param {import("./quality.js").Quality} quality */
    #judged(quality) {
        this.#quality = quality;
        this.emit(STREAM_EVENT.QUALITY, this, quality);
    }

    /** @param {string} status */
    #setStatus(status) {
        if (this.#status !== status) {
            this.#status = status;
            this.emit(status, this);
        }
    }
}
