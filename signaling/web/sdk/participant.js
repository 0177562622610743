/**
 * Somebody else in a room, and what they publish.
 * @module
 */

/** A stream of somebody else: a name that can be played, any number of times. */
export class PublishedStream {
    #room;
    #login;
    #name;
    #has;

    /**
     * @param {import("./room.js").Room} room
     * @param {string} login
     * @param {string} name
     * @param {{hasAudio?: boolean, hasVideo?: boolean}} has absent is yes
     */
    constructor(room, login, name, has) {
        this.#room = room;
        this.#login = login;
        this.#name = name;
        this.#has = has;
    }

    name() {
        return this.#name;
    }

    /** @type {string[]} */
    #stopped = [];

    /** The kinds of media, `"audio"` and `"video"`, that do not come of it at the moment. */
    stopped() {
        return [...this.#stopped];
    }

    /** @internal @param {unknown} stopped */
    _setStopped(stopped) {
        this.#stopped = Array.isArray(stopped) ? stopped.filter((kind) => kind === "audio" || kind === "video") : [];
    }

    /** The login of its publisher. */
    owner() {
        return this.#login;
    }

    hasAudio() {
        return this.#has.hasAudio ?? true;
    }

    hasVideo() {
        return this.#has.hasVideo ?? true;
    }

    /**
     * Plays it. Listen on the result for STREAM_STATUS events.
     * @param {HTMLElement} display a `<video>`, or an element that gets one inside
     * @param {{receiveAudio?: boolean, receiveVideo?: boolean}} [wanted] both, unless said otherwise
     * @returns {import("./stream.js").Stream}
     */
    play(display, { receiveAudio = true, receiveVideo = true } = {}) {
        return this.#room._play(this.#login, this.#name, display, { audio: receiveAudio, video: receiveVideo });
    }
}

export class Participant {
    #room;
    #name;
    /** @type {Map<string, PublishedStream>} in the order of publishing */
    #streams = new Map();

    /** @param {import("./room.js").Room} room @param {string} name */
    constructor(room, name) {
        this.#room = room;
        this.#name = name;
    }

    /** Login. It is text of a stranger: put it into a page by `textContent` only. */
    name() {
        return this.#name;
    }

    getStreams() {
        return [...this.#streams.values()];
    }

    /**
     * Sends a message to this participant alone.
     * @param {unknown} text normally a string; any JSON value arrives as it was
     * @param {(error: Error) => void} [onError] for pages that prefer a callback; without it the promise
     *     rejects
     * @returns {Promise<void>} resolves when the server has accepted it
     */
    sendMessage(text, onError) {
        const sent = this.#room._send(this.#name, text);
        return onError ? sent.catch(onError) : sent;
    }

    /**
     * @internal
     * @param {string} name
     * @param {{hasAudio?: boolean, hasVideo?: boolean}} has
     * @returns {boolean} whether it is new
     */
    _addStream(name, has) {
        const isNew = !this.#streams.has(name);
        if (isNew) {
            this.#streams.set(name, new PublishedStream(this.#room, this.#name, name, has));
        }
        return isNew;
    }

    /** @internal @param {string} name @param {unknown} stopped @returns {boolean} whether there is such a stream */
    _setStopped(name, stopped) {
        this.#streams.get(name)?._setStopped(stopped);
        return this.#streams.has(name);
    }

    /** @internal @param {string} name @returns {boolean} whether it was there */
    _removeStream(name) {
        return this.#streams.delete(name);
    }
}
