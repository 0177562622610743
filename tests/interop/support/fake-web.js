/**
 * What the SDK needs of a browser, scripted: a WebSocket whose server is the test, and connections that carry
 * nothing. Only for unit tests of the SDK; everything else runs in real browsers.
 * @module
 */

import { webcrypto } from "node:crypto";
import { until } from "./until.js";

globalThis.crypto ??= /** @type {any} */ (webcrypto);

/** Sockets that the SDK has opened, oldest first. @type {FakeSocket[]} */
export const sockets = [];

class FakeSocket {
    /** @type {any[]} */
    sent = [];
    readyState = 0;

    constructor(url) {
        this.url = url;
        sockets.push(this);
    }

    send(text) {
        this.sent.push(JSON.parse(text));
    }

    close() {
        this.readyState = 3;
    }

    // ---- the server's side ----

    open() {
        this.readyState = 1;
        this.onopen?.({});
    }

    say(message, ...data) {
        this.onmessage?.({ data: JSON.stringify({ message, data }) });
    }

    drop(code = 1006, reason = "") {
        this.readyState = 3;
        this.onclose?.({ code, reason });
    }

    /** Contents of the messages of this name so far. */
    got(message) {
        return this.sent.filter((sent) => sent.message === message).map((sent) => sent.data[0]);
    }

    commands(command) {
        return this.got("sendData").filter(({ payload }) => payload.command === command);
    }

    accept({ operationId }) {
        this.say("DataStatusEvent", { operationId, status: "ACCEPTED" });
    }

    roomEvent(roomName, name, info, more = {}) {
        this.say("OnDataEvent", { operationId: "x", payload: { roomName, name, info, ...more } });
    }
}

/** @type {FakePeerConnection[]} */
export const connections = [];

class FakePeerConnection {
    connectionState = "new";
    remoteDescription = null;
    kinds = [];

    constructor() {
        connections.push(this);
    }

    /** What `getStats` answers. @type {any[]} */
    report = [];
    senders = [];

    addTransceiver(what, { direction }) {
        this.kinds.push(`${what.kind ?? what} ${direction}`);
        const sender = { track: what, replaceTrack: async (track) => { sender.track = track; } };
        what.kind && this.senders.push(sender);
    }

    getSenders() {
        return this.senders;
    }

    async getStats() {
        return new Map(this.report.map((entry, index) => [entry.id ?? String(index), entry]));
    }

    async createOffer() {
        return { type: "offer", sdp: `offer ${this.kinds.join(", ")}` };
    }

    async setLocalDescription() {}

    async setRemoteDescription(description) {
        if (description.sdp === "garbage") {
            throw new Error("Failed to parse SessionDescription");
        }
        this.remoteDescription = description;
        this.connectionState = "connected";
    }

    fail() {
        this.connectionState = "failed";
        this.onconnectionstatechange?.();
    }

    close() {
        this.connectionState = "closed";
    }
}

export class FakeMedia {
    constructor(...kinds) {
        this.tracks = kinds.map((kind) => ({ kind, enabled: true, stopped: false, stop() { this.stopped = true; }, addEventListener() {} }));
    }

    getTracks() {
        return this.tracks;
    }

    addTrack(track) {
        this.tracks.push(track);
    }

    removeTrack(track) {
        this.tracks = this.tracks.filter((one) => one !== track);
    }

    getAudioTracks() {
        return this.tracks.filter(({ kind }) => kind === "audio");
    }

    getVideoTracks() {
        return this.tracks.filter(({ kind }) => kind === "video");
    }
}

/** Puts the fakes in place. `getUserMedia` may be given to fail. */
export function install(getUserMedia = async () => new FakeMedia("audio", "video")) {
    sockets.length = 0;
    connections.length = 0;
    Object.assign(globalThis, { WebSocket: FakeSocket, RTCPeerConnection: FakePeerConnection });
    const navigator = { userAgent: "test", platform: "test", mediaDevices: { getUserMedia } };
    Object.defineProperty(globalThis, "navigator", { value: navigator, configurable: true, writable: true });
}

/** The newest of the messages of this name, once there are `count`. */
export async function nth(socket, message, count = 1) {
    await until(`${count} ${message} were sent`, () => socket.got(message).length >= count, { seconds: 5 });
    return socket.got(message)[count - 1];
}
