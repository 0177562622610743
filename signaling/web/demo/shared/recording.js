/**
 * That something is recorded: told to everybody in the room, in words and by a red dot, and where the file is
 * when our own has ended.
 * @module
 */

import { ROOM_EVENT, STREAM_STATUS } from "../../sdk/index.js";
import { $ } from "./dom.js";

/**
 * @typedef {import("../../sdk/room.js").Room} Room
 * @typedef {import("../../sdk/stream.js").Stream} Stream
 * @typedef {import("./tile.js").Tile} Tile
 */

export class RecordingNotice {
    #tiles;
    #chat;
    /** @type {Room | null} */
    #room = null;
    /** It was asked for, and nobody was told yet that it cannot be had. */
    #wanted = false;

    /** @param {() => Tile[]} tiles @param {import("./chat.js").Chat} chat */
    constructor(tiles, chat) {
        this.#tiles = tiles;
        this.#chat = chat;
    }

    /** Shows what is recorded of this room from now on. @param {Room | null} room @param {boolean} [wanted] */
    follow(room, wanted = false) {
        this.#room = room;
        this.#wanted = wanted;
        room?.on(ROOM_EVENT.RECORDING, () => room === this.#room && this.#show());
        this.#show();
    }

    /** One of the streams that are shown. @param {Stream} stream */
    watch(stream) {
        Object.values(STREAM_STATUS).forEach((status) => stream.on(status, () => this.#show()));
        if (stream.published()) {
            stream.on(STREAM_STATUS.PUBLISHING, () => this.#tellIfMissing());
            [STREAM_STATUS.UNPUBLISHED, STREAM_STATUS.FAILED].forEach((status) => stream.on(status, () => this.#tellWhere(stream)));
        }
    }

    #show() {
        const recording = this.#room?.recording();
        const line = $("recording");
        const words = recording ? inWords(recording) : "";
        if (line.textContent !== words) { // A status is read aloud: only when it is news.
            line.textContent = words;
        }
        line.classList.toggle("paused", recording?.paused === true);
        this.#tiles().forEach((tile) => tile.showRecording(recording));
    }

    /** Once we publish, everybody has been told what is recorded. */
    #tellIfMissing() {
        if (this.#wanted && this.#room && !this.#room.recording().room) {
            this.#chat.note("This room is not recorded: somebody else opened it, or this server records nothing.");
        }
        this.#wanted = false;
    }

    /** @param {Stream} stream */
    #tellWhere(stream) {
        const name = stream.recordName();
        if (name) {
            this.#chat.note("Your stream was recorded; its file is ready in a moment:", { href: `../../records/${encodeURIComponent(name)}`, text: name });
        }
    }
}

/** @param {import("../../sdk/room.js").Recording} recording */
function inWords({ room, streams, paused }) {
    if (paused) {
        return "The recording of this room is paused";
    }
    if (room) {
        return "This room is being recorded";
    }
    const logins = [...new Set(streams.map(({ login }) => login))];
    const some = logins.length > 3 ? `${logins.slice(0, 3).join(", ")} and others` : logins.join(", ");
    return logins.length ? `This room is being recorded: ${some}` : "";
}
