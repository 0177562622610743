/**
 * One WebSocket that comes back: opens it, says `connection`, answers pings, notices silence, and after a
 * loss tries again with growing pauses. It knows the envelope of messages and nothing of rooms or streams.
 * @module
 */

/** The server pings every 5 s; three missed ones mean that the network swallowed the connection. */
const SILENCE_MS = 16_000;
const SILENCE_CHECK_MS = 2_000;
const FIRST_PAUSE_MS = 250;
const LONGEST_PAUSE_MS = 4_000;

/**
 * @typedef {object} ConnectionEvents
 * @property {() => void} opened the socket is open, not yet accepted
 * @property {(user: any) => void} established the server accepted us
 * @property {(name: string, data: any[]) => void} message anything else the server says
 * @property {() => void} lost the socket is gone, we are trying to come back
 * @property {(end: ConnectionEnd) => void} ended no further attempt will be made
 */

/**
 * Why it ended. Without a code we wanted it; `failed`: there was no session, or the server refused it.
 * @typedef {{code: string, info: string, failed: boolean}} ConnectionEnd
 */

export class Connection {
    #url;
    #hello;
    #on;
    #giveUpMs;
    /** @type {WebSocket | null} */
    #socket = null;
    #established = false;
    #everEstablished = false;
    #ended = false;
    /** @type {{code: string, info: string} | null} */
    #refusal = null;
    #attempt = 0;
    #lostAt = 0;
    #heardAt = 0;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    #retry;
    /** @type {ReturnType<typeof setInterval> | undefined} */
    #watch;
    #online = () => this.#retryNow();

    /**
     * @param {string} url
     * @param {() => object} hello the content of `connection`, made afresh for each attempt
     * @param {number} giveUpMs how long to try to come back
     * @param {ConnectionEvents} on
     */
    constructor(url, hello, giveUpMs, on) {
        this.#url = url;
        this.#hello = hello;
        this.#giveUpMs = giveUpMs;
        this.#on = on;
        globalThis.addEventListener?.("online", this.#online);
        this.#open();
    }

    /** Whether a message sent now has a chance to arrive. */
    get established() {
        return this.#established;
    }

    /**
     * @param {string} message
     * @param {unknown} content
     * @returns {boolean} false if there is no accepted connection: the message is dropped
     */
    send(message, content) {
        if (this.#established) {
            this.#post(message, content);
        }
        return this.#established;
    }

    /** Ends the connection for good. */
    close() {
        this.#end("", "", false);
    }

    /** @param {string} message @param {unknown} content */
    #post(message, content) {
        this.#socket?.send(JSON.stringify({ message, data: [content] }));
    }

    #open() {
        const socket = new WebSocket(this.#url);
        this.#socket = socket;
        this.#heardAt = performance.now();
        socket.onopen = () => {
            this.#on.opened();
            this.#post("connection", this.#hello());
        };
        socket.onmessage = (event) => this.#receive(event.data);
        socket.onclose = (event) => this.#closed(event.code, event.reason);
        clearInterval(this.#watch);
        this.#watch = setInterval(() => this.#checkSilence(), SILENCE_CHECK_MS);
    }

    /** @param {unknown} text */
    #receive(text) {
        this.#heardAt = performance.now();
        const parsed = typeof text === "string" ? parse(text) : null;
        if (!parsed) {
            return;
        }
        const { message, data } = parsed;
        if (message === "ping") {
            this.#post("pong", null);
        } else if (message === "getUserData") {
            this.#established = true;
            this.#everEstablished = true;
            this.#attempt = 0;
            this.#on.established(data[0] ?? {});
        } else if (message === "fail" && data[0]?.apiMethod === "ConnectionStatusEvent") {
            const { code = "refused", info = "Refused" } = data[0];
            this.#refusal = { code: String(code), info: String(info) };
        } else {
            this.#on.message(message, data);
        }
    }

    /** @param {number} code @param {string} reason */
    #closed(code, reason) {
        const wasEstablished = this.#established;
        this.#detach();
        if (this.#ended) {
            return;
        }
        // 4xxx: the server means us, not the network. Coming back would only be refused again.
        if (this.#refusal || (code >= 4000 && code < 5000)) {
            const { code, info } = this.#refusal ?? { code: "refused", info: reason || "Refused" };
            this.#end(code, info, true);
        } else if (!this.#everEstablished) {
            this.#end("unreachable", reason || "Cannot connect", true);
        } else {
            this.#comeBack(wasEstablished);
        }
    }

    /** @param {boolean} wasEstablished */
    #comeBack(wasEstablished) {
        const now = performance.now();
        if (wasEstablished) {
            this.#lostAt = now;
            this.#on.lost();
        }
        if (now - this.#lostAt >= this.#giveUpMs) {
            this.#end("connection-lost", "Connection lost", false);
            return;
        }
        const pause = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** this.#attempt);
        this.#attempt += 1;
        // Half fixed, half random: a restarted server is not met by all its clients at once.
        this.#retry = setTimeout(() => this.#retryNow(), pause / 2 + Math.random() * (pause / 2));
    }

    #retryNow() {
        if (!this.#ended && !this.#socket) {
            clearTimeout(this.#retry);
            this.#open();
        }
    }

    /** A dead network closes no socket: the browser may wait minutes. */
    #checkSilence() {
        if (this.#socket && performance.now() - this.#heardAt > SILENCE_MS) {
            const socket = this.#socket;
            this.#closed(1006, "Server is silent");
            socket.close();
        }
    }

    #detach() {
        clearInterval(this.#watch);
        if (this.#socket) {
            this.#socket.onopen = this.#socket.onmessage = this.#socket.onclose = null;
        }
        this.#socket = null;
        this.#established = false;
    }

    /** @param {string} code @param {string} info @param {boolean} failed */
    #end(code, info, failed) {
        if (this.#ended) {
            return;
        }
        this.#ended = true;
        const socket = this.#socket;
        this.#detach();
        clearTimeout(this.#retry);
        globalThis.removeEventListener?.("online", this.#online);
        socket?.close(1000);
        this.#on.ended({ code, info, failed });
    }
}

/**
 * @param {string} text
 * @returns {{message: string, data: any[]} | null} null for what is no message
 */
function parse(text) {
    try {
        const { message, data } = JSON.parse(text);
        return typeof message === "string" ? { message, data: Array.isArray(data) ? data : [] } : null;
    } catch {
        return null;
    }
}
