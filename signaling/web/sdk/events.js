/**
 * The smallest event emitter that serves: named events, handlers called in order, chaining.
 * @module
 */

export class Emitter {
    /** @type {Map<string, Set<Function>>} */
    #handlers = new Map();

    /**
     * Calls `handler` each time `event` happens.
     * @param {string} event one of SESSION_STATUS, ROOM_EVENT, STREAM_STATUS or STREAM_EVENT
     * @param {(...args: any[]) => void} handler
     * @returns {this}
     */
    on(event, handler) {
        const handlers = this.#handlers.get(event) ?? new Set();
        this.#handlers.set(event, handlers.add(handler));
        return this;
    }

    /**
     * Forgets a handler given to `on`.
     * @param {string} event
     * @param {Function} handler
     * @returns {this}
     */
    off(event, handler) {
        this.#handlers.get(event)?.delete(handler);
        return this;
    }

    /**
     * A handler that throws is the page's mistake: it is reported, and neither the other handlers nor the SDK
     * suffer.
     * @param {string} event
     * @param {...any} args
     */
    emit(event, ...args) {
        for (const handler of [...(this.#handlers.get(event) ?? [])]) {
            try {
                handler(...args);
            } catch (error) {
                reportError(error);
            }
        }
    }
}
