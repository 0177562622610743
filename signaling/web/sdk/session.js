/**
 * A session: one member's line to the server. It routes messages to rooms and streams, and after a loss of
 * the socket brings every room back without touching media.
 * @module
 */

import { Connection } from "./connection.js";
import { SESSION_STATUS as STATUS } from "./constants.js";
import { CommandError, SessionError } from "./errors.js";
import { Emitter } from "./events.js";
import { newId } from "./id.js";
import { Room } from "./room.js";

/** Longer than the server keeps an absent member's place by default. */
const RECONNECT_TIMEOUT_MS = 90_000;

/**
 * @typedef {object} SessionOptions
 * @property {string} urlServer WebSocket address, such as `wss://host:8443/`
 * @property {string} username login: the name others see. Any Unicode
 * @property {string} [token] passed to the server as it is
 * @property {string} [appKey]
 * @property {RTCIceServer[]} [iceServers]
 * @property {number} [reconnectTimeout] ms to keep trying after a loss; 0 turns it off
 */

/**
 * @typedef {object} JoinOptions
 * @property {string} name of the room. Any Unicode
 * @property {boolean} [record]
 * @property {number} [maxParticipants] one more is refused: ROOM_EVENT.FAILED with the code `room-full`
 * @property {{video?: string[], audio?: string[]}} [codecs] most wanted first, of `vp8`, `h264`; `opus`,
 *     `pcmu`, `pcma`
 */

/**
 * @typedef {{resolve: () => void, reject: (error: Error) => void, content: object, durable: boolean}} Waiting
 */

export class Session extends Emitter {
    #options;
    #connection;
    /** @type {string} */
    #status = STATUS.PENDING;
    #info = "";
    /** @type {Error | null} */
    #error = null;
    #resume = "";
    #id = newId();
    /** @type {Map<string, Waiting>} commands by operationId, until they are answered */
    #waiting = new Map();
    /** @type {Map<string, Room>} by name */
    #rooms = new Map();
    /** @type {Map<string, import("./stream.js").Stream>} by the mediaSessionId they have now */
    #streams = new Map();

    /** @param {SessionOptions} options */
    constructor(options) {
        super();
        if (!options?.urlServer || !options.username) {
            throw new TypeError("urlServer and username are required");
        }
        this.#options = { appKey: "roomApp", iceServers: [], reconnectTimeout: RECONNECT_TIMEOUT_MS, ...options };
        this.#connection = new Connection(options.urlServer, () => this.#hello(), this.#options.reconnectTimeout, {
            opened: () => this.#opened(),
            established: (user) => this.#established(user),
            message: (name, data) => this.#dispatch(name, data),
            lost: () => this.#lost(),
            ended: (end) => this.#ended(end),
        });
    }

    /** A random id of this object. */
    id() {
        return this.#id;
    }

    status() {
        return this.#status;
    }

    /** Why the session ended, if the server said so. */
    info() {
        return this.#info;
    }

    /** Why it ended against our will, a SessionError; null otherwise. */
    error() {
        return this.#error;
    }

    username() {
        return this.#options.username;
    }

    getRooms() {
        return [...this.#rooms.values()];
    }

    /**
     * Joins a room. Listen on the result: ROOM_EVENT.STATE when in, ROOM_EVENT.FAILED (room, info) when
     * refused. All but the name holds for a room that this member creates; who comes later finds it as it is.
     * @param {JoinOptions} options
     * @returns {Room}
     */
    join({ name, record = false, ...terms }) {
        const room = new Room(this, { name, record, ...terms });
        this.#rooms.set(name, room);
        room._join();
        return room;
    }

    /** Leaves everything and closes the socket. */
    disconnect() {
        this.#connection.close();
    }

    // ---- for rooms and streams of this SDK ----

    /** @internal */
    get _iceServers() {
        return this.#options.iceServers;
    }

    /** @internal */
    get _up() {
        return this.#connection.established;
    }

    /** @internal @param {string} message @param {object} content */
    _send(message, content) {
        return this.#connection.send(message, content);
    }

    /**
     * A room command; resolves when ACCEPTED. A durable one is said again after a reconnect.
     * @internal
     * @param {string} command
     * @param {object} options
     * @param {boolean} [durable]
     * @returns {Promise<void>}
     */
    _command(command, options, durable = false) {
        const operationId = newId();
        const content = { operationId, payload: { command, options } };
        return new Promise((resolve, reject) => {
            if (this.#connection.send("sendData", content) || (durable && this.#status === STATUS.RECONNECTING)) {
                this.#waiting.set(operationId, { resolve, reject, content, durable });
            } else {
                reject(new SessionError("connection-lost", "No connection to the server"));
            }
        });
    }

    /** @internal @param {string} id @param {import("./stream.js").Stream} stream */
    _addStream(id, stream) {
        this.#streams.set(id, stream);
    }

    /** @internal @param {string} id */
    _removeStream(id) {
        this.#streams.delete(id);
    }

    /** @internal @param {Room} room */
    _removeRoom(room) {
        if (this.#rooms.get(room.name()) === room) {
            this.#rooms.delete(room.name());
        }
    }

    // ---- the connection's events ----

    #hello() {
        const { username, token, appKey, reconnectTimeout } = this.#options;
        return {
            appKey,
            mediaProviders: ["WebRTC"],
            clientVersion: "2.0",
            clientOSVersion: globalThis.navigator?.platform ?? "",
            clientBrowserVersion: globalThis.navigator?.userAgent ?? "",
            custom: {
                login: username,
                ...(token === undefined ? {} : { token }),
                ...(reconnectTimeout > 0 ? { resumable: true } : {}),
                ...(this.#resume ? { resume: this.#resume } : {}),
            },
        };
    }

    #opened() {
        if (this.#status === STATUS.PENDING) {
            this.#setStatus(STATUS.CONNECTED);
        }
    }

    /** @param {any} user */
    #established(user) {
        const resumed = this.#status === STATUS.RECONNECTING;
        this.#resume = typeof user.authToken === "string" ? user.authToken : "";
        this.#status = STATUS.ESTABLISHED;
        this.#rooms.forEach((room) => room._join());
        this.#waiting.forEach(({ durable, content }) => durable && this._send("sendData", content));
        this.emit(resumed ? STATUS.RESUMED : STATUS.ESTABLISHED, this);
    }

    #lost() {
        for (const [id, { durable, reject }] of this.#waiting) {
            if (!durable) {
                this.#waiting.delete(id);
                reject(new SessionError("connection-lost", "The connection was lost before the answer came"));
            }
        }
        [...this.#streams.values()].forEach((stream) => stream._connectionLost());
        this.#setStatus(STATUS.RECONNECTING);
    }

    /** @param {import("./connection.js").ConnectionEnd} end */
    #ended({ code, info, failed }) {
        this.#info = info;
        this.#error = code ? new SessionError(code, info) : null;
        this.#waiting.forEach(({ reject }) => reject(new SessionError("session-ended", info || "The session ended")));
        this.#waiting.clear();
        [...this.#streams.values()].forEach((stream) => stream._end("FAILED", "Stopped by session disconnect"));
        this.#rooms.clear();
        this.#setStatus(failed ? STATUS.FAILED : STATUS.DISCONNECTED);
    }

    /** @param {string} name @param {any[]} data */
    #dispatch(name, data) {
        const content = data[0] ?? {};
        switch (name) {
            case "DataStatusEvent":
                return this.#answered(content);
            case "OnDataEvent":
                return this.#rooms.get(content.payload?.roomName)?._event(content.payload);
            case "setRemoteSDP":
                return this.#streams.get(content)?._answer(String(data[1]));
            case "notifyStreamStatusEvent":
                return this.#streams.get(content.mediaSessionId)?._status(content);
            case "notifyStreamEvent":
                return this.#streams.get(content.mediaSessionId)?._event(content);
            case "fail":
                return this.#streams.get(content.id)?._status({ ...content, status: "FAILED" });
            // Anything else is for other clients.
        }
    }

    /** @param {any} content */
    #answered({ operationId, status, info = "Refused", code = "refused" }) {
        const waiting = this.#waiting.get(operationId);
        this.#waiting.delete(operationId);
        if (status === "ACCEPTED") {
            waiting?.resolve();
        } else {
            waiting?.reject(new CommandError(code, info));
        }
    }

    /** @param {string} status */
    #setStatus(status) {
        this.#status = status;
        this.emit(status, this);
    }
}
