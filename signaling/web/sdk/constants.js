/**
 * The words of the room protocol. Their spelling is fixed by the wire; only RECONNECTING and RESUMED are our
 * own.
 * @module
 */

/** What a session can be. RESUMED is only an event: afterwards `status()` says ESTABLISHED again. */
export const SESSION_STATUS = Object.freeze({
    PENDING: "PENDING",
    CONNECTED: "CONNECTED",
    ESTABLISHED: "ESTABLISHED",
    /** The socket was lost; media goes on while the SDK tries to come back. */
    RECONNECTING: "RECONNECTING",
    /** The socket is back and every room is being joined again. Sent instead of a second ESTABLISHED. */
    RESUMED: "RESUMED",
    DISCONNECTED: "DISCONNECTED",
    FAILED: "FAILED",
});

/** What a stream can be. UNPUBLISHED, STOPPED and FAILED are final. */
export const STREAM_STATUS = Object.freeze({
    NEW: "NEW",
    PENDING: "PENDING",
    PUBLISHING: "PUBLISHING",
    PLAYING: "PLAYING",
    UNPUBLISHED: "UNPUBLISHED",
    STOPPED: "STOPPED",
    FAILED: "FAILED",
});

/** What happens in a room. */
export const ROOM_EVENT = Object.freeze({
    STATE: "STATE",
    JOINED: "JOINED",
    LEFT: "LEFT",
    PUBLISHED: "PUBLISHED",
    UNPUBLISHED: "UNPUBLISHED",
    /** Media of a participant's stream stops though the stream goes on, or comes again. */
    MEDIA: "MEDIA",
    MESSAGE: "MESSAGE",
    /** What is recorded here has changed: `recording()` of the room. */
    RECORDING: "RECORDING",
    FAILED: "FAILED",
});

/**
 * What is told about a stream while it runs: the `type` on the wire, but for QUALITY. What is not said to be
 * the server's comes from its publisher.
 */
export const STREAM_EVENT = Object.freeze({
    AUDIO_MUTED: "audioMuted",
    AUDIO_UNMUTED: "audioUnmuted",
    VIDEO_MUTED: "videoMuted",
    VIDEO_UNMUTED: "videoUnmuted",
    DATA: "data",
    /** The server's: nothing comes of this kind any more, though the publisher lives; and it comes again. */
    AUDIO_STOPPED: "audioStopped",
    AUDIO_RESUMED: "audioResumed",
    VIDEO_STOPPED: "videoStopped",
    VIDEO_RESUMED: "videoResumed",
    /** The server's, to the publisher, each ten seconds at most: (stream, {maxBitrateBps, discardedPackets}). */
    BITRATE_EXCEEDED: "bitrateExceeded",
    /** Our own, every two seconds while it plays or publishes: (stream, Quality). */
    QUALITY: "connectionQuality",
});

/** How good the connection of a stream is. */
export const CONNECTION_QUALITY = Object.freeze({
    /** Not yet measured. */
    UNKNOWN: "UNKNOWN",
    PERFECT: "PERFECT",
    /** Losses or delays that one may notice. */
    GOOD: "GOOD",
    /** One does notice, or nothing comes at all. */
    BAD: "BAD",
});

const FINAL = new Set(["UNPUBLISHED", "STOPPED", "FAILED"]);

/**
 * Whether a stream with this status has ended for good.
 * @param {string} status
 */
export function isFinal(status) {
    return FINAL.has(status);
}
