/**
 * The local stream and its three buttons.
 * @module
 */

import { STREAM_STATUS } from "../../sdk/index.js";

/** @typedef {import("../../sdk/stream.js").Stream} Stream */

/** @type {Set<string>} */
const ACTIVE = new Set([STREAM_STATUS.NEW, STREAM_STATUS.PENDING, STREAM_STATUS.PUBLISHING]);

export class Me {
    /**
     * @param {import("./tile.js").Tile} tile
     * @param {{muteAudio: HTMLButtonElement, muteVideo: HTMLButtonElement, publish: HTMLButtonElement}} buttons
     */
    constructor(tile, buttons) {
        this.tile = tile;
        this.buttons = buttons;
        /** @type {() => void} what the Publish button does */
        this.onPublish = () => {};
        buttons.publish.addEventListener("click", () => (this.active() ? this.tile.stream?.stop() : this.onPublish()));
        buttons.muteAudio.addEventListener("click", () => this.#toggle("Audio"));
        buttons.muteVideo.addEventListener("click", () => this.#toggle("Video"));
    }

    /** Whether there is a stream that has not ended. */
    active() {
        return ACTIVE.has(this.tile.stream?.status() ?? "");
    }

    /** Follows a stream that has just begun. @param {Stream} stream */
    follow(stream) {
        this.tile.stream = stream;
        Object.values(STREAM_STATUS).forEach((status) => stream.on(status, () => this.show()));
        this.show();
    }

    show() {
        const { tile, buttons } = this;
        const stream = tile.stream;
        tile.showStatus(stream?.status() ?? "");
        tile.showMutes();
        buttons.publish.disabled = false;
        buttons.publish.textContent = this.active() ? "Stop" : "Publish";
        this.#showMute(buttons.muteAudio, "A", stream?.isAudioMuted());
        this.#showMute(buttons.muteVideo, "V", stream?.isVideoMuted());
    }

    /** @param {HTMLButtonElement} button @param {string} letter @param {boolean} [muted] */
    #showMute(button, letter, muted = false) {
        button.disabled = !this.active();
        button.setAttribute("aria-pressed", String(muted));
        /** @type {HTMLElement} */ (button.querySelector("span")).textContent = `${muted ? "Unmute" : "Mute"} ${letter}`;
    }

    /** @param {"Audio" | "Video"} kind */
    #toggle(kind) {
        const stream = this.tile.stream;
        const muted = kind === "Audio" ? stream?.isAudioMuted() : stream?.isVideoMuted();
        stream?.[/** @type {"muteAudio"} */ (`${muted ? "unmute" : "mute"}${kind}`)]();
        this.show();
    }
}
