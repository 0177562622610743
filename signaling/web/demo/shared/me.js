/**
 * The local stream, its three buttons, its level.
 * @module
 */

import { STREAM_STATUS } from "../../sdk/index.js";
import { $, h } from "./dom.js";
import { LevelMeter } from "./meter.js";
import { Tile } from "./tile.js";

/** @typedef {import("../../sdk/stream.js").Stream} Stream */

/** @type {Set<string>} */
const ACTIVE = new Set([STREAM_STATUS.NEW, STREAM_STATUS.PENDING, STREAM_STATUS.PUBLISHING]);

export class Me {
    /** What the Publish button does. @type {() => void} */
    onPublish = () => {};
    tile = new Tile("local", { label: "You", own: true });
    #meter = h("meter", { id: "level", class: "level", min: 0, max: 1, hidden: true, "aria-label": "Level of your microphone" });
    #level = new LevelMeter(this.#meter);

    constructor() {
        this.tile.caption.append(this.#meter);
        $("stage").prepend(this.tile.element);
        $("publishBtn").addEventListener("click", () => (this.active() ? this.tile.stream?.stop() : this.onPublish()));
        $("muteAudio").addEventListener("click", () => this.#toggle("Audio"));
        $("muteVideo").addEventListener("click", () => this.#toggle("Video"));
    }

    /** Whether there is a stream that has not ended. */
    active() {
        return ACTIVE.has(this.tile.stream?.status() ?? "");
    }

    /** Follows a stream that has just begun. @param {Stream} stream */
    follow(stream) {
        this.tile.follow(stream);
        Object.values(STREAM_STATUS).forEach((status) => stream.on(status, () => stream === this.tile.stream && this.show()));
        this.show();
    }

    free() {
        this.tile.free();
        this.listen();
    }

    show() {
        this.tile.show();
        const stream = this.tile.stream;
        $("publishBtn").disabled = false;
        $("publishBtn").querySelector("span").textContent = this.active() ? "Stop" : "Publish";
        this.#showMute($("muteAudio"), stream?.isAudioMuted());
        this.#showMute($("muteVideo"), stream?.isVideoMuted());
        this.listen();
    }

    /** Shows the level of the microphone that is sent now. */
    listen() {
        this.#level.follow(this.tile.stream?.mediaStream() ?? null);
    }

    /** @param {HTMLButtonElement} button @param {boolean} [muted] */
    #showMute(button, muted = false) {
        button.disabled = !this.active();
        button.setAttribute("aria-pressed", String(muted));
    }

    /** @param {"Audio" | "Video"} kind */
    #toggle(kind) {
        const stream = this.tile.stream;
        const muted = kind === "Audio" ? stream?.isAudioMuted() : stream?.isVideoMuted();
        stream?.[/** @type {"muteAudio"} */ (`${muted ? "unmute" : "mute"}${kind}`)]();
        this.show();
    }
}
