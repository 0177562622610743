/**
 * Ringvox room SDK. Ten lines make a call:
 *
 * ```js
 * import * as RoomApi from "/sdk/index.js";
 * const { SESSION_STATUS, ROOM_EVENT } = RoomApi;
 *
 * const session = RoomApi.connect({ urlServer: "wss://host:8443/", username: "Alice" });
 * session.on(SESSION_STATUS.ESTABLISHED, () => {
 *     const room = session.join({ name: "lobby" });
 *     const play = (participant) => participant.getStreams().forEach((stream) => stream.play(others));
 *     room.on(ROOM_EVENT.STATE, () => {
 *         room.getParticipants().forEach(play);
 *         room.publish({ display: me });
 *     });
 *     room.on(ROOM_EVENT.PUBLISHED, play);
 * });
 * ```
 * @module
 */

import { Session } from "./session.js";

export { SESSION_STATUS, STREAM_STATUS, ROOM_EVENT, STREAM_EVENT, CONNECTION_QUALITY } from "./constants.js";
export { capture, release } from "./media.js";
export { RingvoxError, SessionError, CommandError, StreamError, MediaError } from "./errors.js";

/**
 * Opens a session. It returns at once; listen for SESSION_STATUS events.
 * @param {import("./session.js").SessionOptions} options
 * @returns {Session}
 */
export function connect(options) {
    return new Session(options);
}

/**
 * The WebSocket address of the server that sent this SDK, with the prefix that a reverse proxy has given it;
 * of the page's server where the SDK is part of a bundle. With `location`, of the server there.
 * @param {Location | URL} [location]
 * @returns {string}
 */
export function defaultUrlServer(location) {
    const sent = /^https?:.*\/sdk\/index\.js$/.test(import.meta.url);
    const base = location ? new URL("/", location.href)
        : sent ? new URL("..", import.meta.url)
            : new URL("/", globalThis.location.href);
    return `${base.protocol === "https:" ? "wss" : "ws"}://${base.host}${base.pathname}`;
}
