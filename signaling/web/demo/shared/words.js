/**
 * What went wrong, and what a person can do about it.
 * @module
 */

/** By the `code` of the SDK's errors. @type {Record<string, string>} */
const WORDS = {
    "permission-denied": "Camera or microphone is not allowed on this page. Allow it beside the address, then press Publish.",
    "device-not-found": "No camera or microphone was found. Connect one, then press Publish.",
    "device-busy": "Camera or microphone is used by another program. Close that program, then press Publish.",
    "constraints-not-met": "Camera or microphone cannot do what was asked for. Choose another one under Devices.",
    "insecure-page": "The browser gives camera and microphone to https and localhost only. Open this page with https.",
    "not-supported": "This browser cannot share a screen. Use one on a computer.",
    "room-full": "The room is full. Try again later, or choose another room.",
    "login-taken": "Somebody with this name is in the room already. Choose another name.",
    "no-common-codecs": "There is no codec for it that both sides have.",
    "ice-timeout": "No sound and no picture gets through to the server. Its UDP ports must be reachable from here: ask its operator, or try another network.",
    "ice-lost": "Sound and picture do not get through to the server any more. Check the network, then press Publish.",
    "one-of-a-kind": "A stream has one of a kind.",
    "unreachable": "The server cannot be reached. Check the network and the server's address, then join again.",
    "connection-lost": "The connection to the server was lost and did not come back. Join again when the network is back.",
};

/**
 * The same for a shared screen, where a refusal is mostly a change of mind.
 * @type {Record<string, string>}
 */
export const SCREEN_WORDS = {
    "permission-denied": "The screen is not shared: that was not allowed.",
    "device-not-found": "The screen is not shared: there is none to share.",
    "device-busy": "The screen is not shared: the system refuses to give it.",
};

/** @param {unknown} error @param {{words?: Record<string, string>}} [page] */
export function inWords(error, { words = {} } = {}) {
    const { code = "", message = String(error) } = /** @type {{code?: string, message?: string}} */ (error ?? { message: "" });
    return words[code] ?? WORDS[code] ?? message;
}
