/**
 * A status word in a coloured pill.
 * @module
 */

/** @type {Record<string, string>} */
const TONES = {
    ESTABLISHED: "good", PUBLISHING: "good", PLAYING: "good",
    PENDING: "warn", CONNECTED: "warn", RECONNECTING: "warn",
    FAILED: "bad",
};

/** @param {Element} pill @param {string} status a SESSION_STATUS or STREAM_STATUS, or nothing */
export function setPill(pill, status) {
    pill.textContent = status;
    pill.className = `pill ${TONES[status] ?? ""}`.trim();
}
