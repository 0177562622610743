/**
 * A room as one member sees it: who is here, what they publish, what they say.
 * @module
 */

import { ROOM_EVENT as EVENT, STREAM_STATUS } from "./constants.js";
import { CommandError } from "./errors.js";
import { Emitter } from "./events.js";
import { newId } from "./id.js";
import { Participant } from "./participant.js";
import { planReturn } from "./resume.js";
import { Stream } from "./stream.js";

/**
 * @typedef {object} PublishOptions
 * @property {HTMLElement} [display] where to show the local picture: a `<video>` or an element that gets one
 *     inside
 * @property {{audio?: any, video?: any}} [constraints] as for getUserMedia; `video: {type: "screen"}` shares
 *     a screen
 * @property {MediaStream} [mediaStream] publish this instead of capturing
 * @property {string} [name] suffix of the stream's name
 * @property {boolean} [record]
 * @property {boolean} [receiveAudio] offer to receive on this connection, too; no Ringvox sends there, so
 *     false is right
 * @property {boolean} [receiveVideo]
 */

/**
 * @typedef {object} Recording
 * @property {boolean} room the room as a whole
 * @property {readonly {login: string, name: string}[]} streams that are recorded by themselves
 * @property {boolean} paused nothing of it is written for now
 */

/** @type {Recording} */
const NOT_RECORDED = Object.freeze({ room: false, streams: Object.freeze([]), paused: false });

export class Room extends Emitter {
    #session;
    #name;
    #options;
    #joined = false;
    #left = false;
    /** @type {Error | null} */
    #error = null;
    /** @type {Map<string, Participant>} by login */
    #participants = new Map();
    /** @type {Set<Stream>} of ours: published and played, not ended */
    #streams = new Set();
    /** @type {Recording} */
    #recording = NOT_RECORDED;
    /** Logins whose streams still play after a reconnect though they are not back yet. @type {Set<string>} */
    #awaited = new Set();

    /** @param {import("./session.js").Session} session @param {import("./session.js").JoinOptions} options */
    constructor(session, options) {
        super();
        this.#session = session;
        this.#name = options.name;
        this.#options = options;
    }

    name() {
        return this.#name;
    }

    /** Why we are not in, or no longer: a CommandError once FAILED was told, otherwise null. */
    error() {
        return this.#error;
    }

    /** The others. */
    getParticipants() {
        return [...this.#participants.values()];
    }

    /** What is recorded here now. ROOM_EVENT.RECORDING tells of each change. @returns {Recording} */
    recording() {
        return this.#recording;
    }

    /**
     * Publishes camera and microphone, a screen, or a given MediaStream.
     * @param {PublishOptions} [options]
     * @returns {Stream}
     */
    publish(options = {}) {
        const stream = new Stream(this.#session, {
            published: true,
            room: this.#name,
            owner: this.#session.username(),
            newName: () => this.#streamName(options.name),
            constraints: { audio: true, video: true },
            onEnd: (ended) => this.#streamEnded(ended),
            ...options,
        });
        return this.#add(stream);
    }

    /**
     * Sends one message to everybody here.
     * @param {unknown} text
     * @returns {Promise<void>} rejects if somebody could not get it; a person who left meanwhile does not
     *     count
     */
    async sendMessage(text) {
        const sent = this.getParticipants().map((participant) =>
            participant.sendMessage(text).catch((error) => {
                if (this.#participants.has(participant.name())) {
                    throw error;
                }
            }),
        );
        await Promise.all(sent);
    }

    /**
     * Leaves the room: all its streams end. Once resolved, the login is free and one may join again.
     * @returns {Promise<void>}
     */
    async leave() {
        this.#left = true;
        this.#session._removeRoom(this);
        try {
            await this.#session._command("leave", { name: this.#name }, true);
        } finally {
            [...this.#streams].forEach((stream) => stream._end(undefined, "Stopped by user"));
        }
    }

    // ---- for the session, participants and streams of this SDK ----

    /** Joins, or joins again after the session came back. @internal */
    _join() {
        if (!this.#session._up) {
            return; // The session calls again once it is up.
        }
        this.#session._command("join", this.#options).catch((error) => {
            if (error instanceof CommandError && !this.#left) {
                this.#refused(error);
            }
        });
    }

    /** @internal @param {string} to @param {unknown} text */
    _send(to, text) {
        return this.#session._command("sendMessage", { roomConfig: { name: this.#name }, to, text });
    }

    /**
     * @internal
     * @param {string} login
     * @param {string} name
     * @param {HTMLElement} display
     * @param {{audio?: boolean, video?: boolean}} wanted
     */
    _play(login, name, display, wanted) {
        const stream = new Stream(this.#session, {
            published: false,
            room: this.#name,
            owner: login,
            newName: () => name,
            constraints: { audio: true, video: true, ...wanted },
            onEnd: (ended) => this.#streamEnded(ended),
            display,
        });
        return this.#add(stream);
    }

    /** @internal @param {{name: string, info: any, resumed?: any}} payload */
    _event({ name, info, resumed }) {
        switch (name) {
            case EVENT.STATE:
                return this.#state(Array.isArray(info) ? info : [], Array.isArray(resumed) ? resumed : []);
            case EVENT.JOINED:
                return this.#came(info);
            case EVENT.LEFT:
                return this.#went(info);
            case "REPLACED":
                return this.#refused(new CommandError("replaced", "Replaced by a newer session"));
            case EVENT.PUBLISHED:
                return this.#published(info);
            case EVENT.UNPUBLISHED:
            case EVENT.FAILED:
                return this.#unpublished(info?.login, info?.name);
            case EVENT.MEDIA:
                return this.#mediaChanged(info.login, info.name, info.stopped);
            case EVENT.MESSAGE:
                return this.#message(info.from, info.text);
            case EVENT.RECORDING:
                return this.#recorded(info);
        }
    }

    // ---- what happens here ----

    /**
     * @param {(string | import("./resume.js").Published)[]} members
     * @param {{mediaSessionId: string, status: string}[]} resumed
     */
    #state(members, resumed) {
        this.#recorded(null); // What is recorded is told behind it.
        if (this.#joined) {
            this.#returned(members, resumed);
            return;
        }
        this.#joined = true;
        for (const member of members) {
            if (typeof member === "string") {
                this.#enter(member);
            } else {
                const participant = this.#enter(member.login);
                participant._addStream(member.name, member);
                participant._setStopped(member.name, member.stopped);
            }
        }
        this.emit(EVENT.STATE, this);
    }

    /** After a reconnect: keep what still flows, restart the rest, tell the page only what changed for it. */
    #returned(/** @type {any[]} */ members, /** @type {any[]} */ resumed) {
        const plan = planReturn({ members, resumed, ours: [...this.#streams], known: this.getParticipants() });
        plan.strangers.forEach(({ mediaSessionId, name, published }) => {
            const content = { mediaSessionId, name, published: published !== false };
            this.#session._send(content.published ? "unPublishStream" : "stopStream", content);
        });
        this.#awaited = plan.awaited;
        plan.left.forEach((login) => this.#went(login));
        plan.unpublished.forEach(({ login, name }) => this.#unpublished(login, name));
        plan.keep.forEach(({ stream, status }) => stream._kept(status));
        plan.end.forEach((stream) => stream._end(undefined, "Stopped by publisher stop"));
        plan.restart.forEach((stream) => stream._restart());
        plan.joined.forEach((login) => this.#came(login));
        plan.published.forEach((stream) => this.#published(stream));
        members.forEach(({ login, name, stopped = [] }) => this.#participants.get(login)?._setStopped(name, stopped));
    }

    /** @param {string} login */
    #enter(login) {
        const participant = this.#participants.get(login) ?? new Participant(this, login);
        this.#participants.set(login, participant);
        this.#awaited.delete(login);
        return participant;
    }

    /** @param {string} login */
    #came(login) {
        const isNew = !this.#participants.has(login);
        const participant = this.#enter(login);
        if (isNew) {
            this.emit(EVENT.JOINED, participant);
        }
    }

    /** @param {string} login */
    #went(login) {
        const participant = this.#participants.get(login);
        this.#awaited.delete(login);
        if (participant) {
            this.#participants.delete(login);
            [...this.#streams].filter((stream) => !stream.published() && stream.owner() === login).forEach((stream) => stream._end(STREAM_STATUS.STOPPED, "Stopped by publisher stop"));
            this.emit(EVENT.LEFT, participant);
        }
    }

    /** @param {import("./resume.js").Published} stream */
    #published({ login, name, ...has }) {
        const participant = this.#enter(login);
        if (participant._addStream(name, has)) {
            this.emit(EVENT.PUBLISHED, participant);
        }
    }

    /** @param {string} login @param {string} name */
    #unpublished(login, name) {
        const participant = this.#participants.get(login);
        if (participant?._removeStream(name)) {
            this.emit(EVENT.UNPUBLISHED, participant);
        }
    }

    /** @param {string} login @param {string} name @param {unknown} stopped */
    #mediaChanged(login, name, stopped) {
        const participant = this.#participants.get(login);
        if (participant?._setStopped(name, stopped)) {
            this.emit(EVENT.MEDIA, participant);
        }
    }

    /** @param {string} from @param {unknown} text */
    #message(from, text) {
        const participant = this.#participants.get(from) ?? new Participant(this, from);
        this.emit(EVENT.MESSAGE, { from: participant, text });
    }

    /** @param {any} info */
    #recorded(info) {
        const streams = Array.isArray(info?.streams) ? info.streams : [];
        const before = this.#recording;
        const is = info?.room === true || streams.length > 0;
        this.#recording = is ? { room: info.room === true, streams, paused: info.paused === true } : NOT_RECORDED;
        if (this.#recording !== before) {
            this.emit(EVENT.RECORDING, this);
        }
    }

    /** @param {CommandError} error */
    #refused(error) {
        this.#left = true;
        this.#error = error;
        this.#session._removeRoom(this);
        [...this.#streams].forEach((stream) => stream._end(STREAM_STATUS.FAILED, error.message));
        this.emit(EVENT.FAILED, this, error.message);
    }

    /** @param {Stream} stream */
    #add(stream) {
        this.#streams.add(stream);
        stream._start();
        return stream;
    }

    /** @param {Stream} stream */
    #streamEnded(stream) {
        this.#streams.delete(stream);
        const login = stream.owner();
        if (this.#awaited.has(login) && ![...this.#streams].some((other) => other.owner() === login)) {
            this.#went(login); // Nothing of them is left to wait for.
        }
    }

    /** @param {string} [suffix] */
    #streamName(suffix) {
        const name = `${this.#name}-${this.#session.username()}-${newId().slice(0, 4)}`;
        return suffix ? `${name}-${suffix}` : name;
    }
}
