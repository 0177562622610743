/**
 * Errors a page may want to tell apart: look at `code`, show `message`.
 * @module
 */

export class RingvoxError extends Error {
    /**
     * @param {string} code stable and meant for programs
     * @param {string} message meant for people
     * @param {unknown} [cause]
     */
    constructor(code, message, cause) {
        super(message, { cause });
        this.name = new.target.name;
        this.code = code;
    }
}

/**
 * The session could not begin, or ended, or was away when it was needed. Codes: `unreachable` (no such
 * server, or no network), the server's own if it refuses us, or `refused` (`message` is its reason),
 * `session-ended`, `connection-lost`.
 */
export class SessionError extends RingvoxError {}

/** The server refused a command: its own code, or `refused`; `message` is its reason. */
export class CommandError extends RingvoxError {}

/** A stream ended against our will: the server's own code, or `stream-failed`; `message` is the reason. */
export class StreamError extends RingvoxError {}

/**
 * The camera, microphone or screen could not be had. Codes: `permission-denied`, `device-not-found`,
 * `device-busy`, `constraints-not-met`, `insecure-page`, `not-supported`, `unknown`.
 */
export class MediaError extends RingvoxError {
    /**
     * @param {unknown} cause what getUserMedia or getDisplayMedia threw
     * @returns {MediaError}
     */
    static from(cause) {
        if (cause instanceof MediaError) {
            return cause;
        }
        const [code, message] = MEDIA_ERRORS[/** @type {Error} */ (cause)?.name] ?? ["unknown", String(cause)];
        return new MediaError(code, message, cause);
    }
}

/** @type {Record<string, [string, string]>} */
const MEDIA_ERRORS = {
    NotAllowedError: ["permission-denied", "Camera or microphone is not allowed on this page"],
    SecurityError: ["permission-denied", "Camera or microphone is not allowed on this page"],
    NotFoundError: ["device-not-found", "No camera or microphone was found"],
    NotReadableError: ["device-busy", "Camera or microphone is used by another program"],
    AbortError: ["device-busy", "Camera or microphone could not be started"],
    OverconstrainedError: ["constraints-not-met", "No camera or microphone can do what was asked for"],
};
