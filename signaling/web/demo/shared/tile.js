/**
 * One place for one picture: who it is, what is muted, how good the connection is, status.
 * @module
 */

import { CONNECTION_QUALITY, STREAM_EVENT, STREAM_STATUS } from "../../sdk/index.js";
import { h, icon } from "./dom.js";
import { setPill } from "./pill.js";

/** @typedef {import("../../sdk/stream.js").Stream} Stream */

/** Nobody here, or nothing published. */
const NONE = "NONE";

/**
 * What a stream's status is called under a picture: whoever watches cares whether it is there, not why it
 * began.
 * @type {Record<string, string>}
 */
const SHOWN = { NEW: "PENDING", STOPPED: "UNPUBLISHED" };

export class Tile {
    /**
     * @param {string} id
     * @param {{label: string, own?: boolean, screen?: boolean}} what
     */
    constructor(id, { label, own = false, screen = false }) {
        this.display = h("div", { id: `${id}Display`, class: "display" });
        this.name = h("bdi", { id: `${id}Name`, class: "name" }, NONE);
        this.mutes = h("span", { class: "mutes", role: "status" });
        this.signal = h("span", { class: "signal", role: "img" }, h("i"), h("i"), h("i"));
        this.dot = h("span", { class: "dot", role: "img", "aria-label": "Is recorded", title: "Is recorded", hidden: true });
        this.pill = h("span", { id: `${id}Status`, class: "pill", role: own ? "status" : undefined, "aria-label": own ? "Your stream" : undefined });
        this.caption = h("p", { class: "caption" }, this.name, this.mutes);
        this.element = h("article", { id, class: `tile empty${own ? " own" : ""}${screen ? " screen" : ""}`, "aria-label": label },
            this.display, this.caption, h("p", { class: "state" }, this.dot, this.signal, this.pill));
        /** Key of who or what is here, or null. @type {string | null} */
        this.owner = null;
        /** @type {Stream | null} */
        this.stream = null;
        this.show();
    }

    /** @param {string} owner @param {string} [name] what to write under it, if not the owner */
    occupy(owner, name = owner) {
        this.owner = owner;
        this.name.textContent = name;
        this.display.dataset.initial = [...name.trim()][0]?.toUpperCase() ?? "";
        this.element.classList.remove("empty");
        this.show();
    }

    free() {
        this.owner = null;
        this.stream = null;
        this.name.textContent = NONE;
        this.element.classList.add("empty");
        this.show();
    }

    /** Shows what this stream says of itself from now on. @param {Stream} stream */
    follow(stream) {
        this.stream = stream;
        const mine = () => this.stream === stream && this.show();
        [...Object.values(STREAM_STATUS), ...Object.values(STREAM_EVENT)].forEach((event) => stream.on(event, mine));
        this.show();
    }

    show() {
        const { stream } = this;
        const status = stream?.status() ?? NONE;
        setPill(this.pill, this.owner === null ? NONE : (SHOWN[status] ?? status));
        this.pill.title = stream?.info() ?? "";
        const flows = status === STREAM_STATUS.PUBLISHING || status === STREAM_STATUS.PLAYING;
        const has = (/** @type {"audio" | "video"} */ kind) => !flows
            // A second one of a kind is no loss of the first.
            || !stream?.rejected().some((one) => one.kind === kind && one.code !== "one-of-a-kind");
        const [noSound, noPicture] = [flows && (stream?.isAudioStopped() ?? false), flows && (stream?.isVideoStopped() ?? false)];
        this.#showMutes(
            (stream?.isAudioMuted() ?? false) || !has("audio") ? "microphone off" : noSound ? "no sound comes" : "",
            (stream?.isVideoMuted() ?? false) || !has("video") ? "camera off" : noPicture ? "no picture comes" : "");
        const quality = (flows && stream?.quality().quality) || CONNECTION_QUALITY.UNKNOWN;
        this.signal.hidden = quality === CONNECTION_QUALITY.UNKNOWN;
        this.signal.dataset.quality = quality;
        this.signal.setAttribute("aria-label", `Connection ${quality.toLowerCase()}`);
        this.signal.title = `Connection ${quality.toLowerCase()}`;
    }

    /** @param {import("../../sdk/room.js").Recording | undefined} recording what of its room is recorded */
    showRecording(recording) {
        const name = this.stream?.name() ?? "";
        const flows = ["PUBLISHING", "PLAYING"].includes(this.stream?.status() ?? "");
        const is = flows && recording && (recording.room || recording.streams.some((stream) => stream.name === name));
        this.dot.hidden = !is || recording.paused;
    }

    /** Why there is no sound or no picture; empty: there is. @param {string} audio @param {string} video */
    #showMutes(audio, video) {
        const shown = `${audio}, ${video}`;
        if (this.mutes.dataset.shown !== shown) { // A status is read aloud: only when it is news.
            this.mutes.dataset.shown = shown;
            this.mutes.replaceChildren(
                ...(audio ? [icon("microphone", "slash"), h("span", { class: "unseen" }, audio)] : []),
                ...(video ? [icon("camera", "slash"), h("span", { class: "unseen" }, video)] : []));
            this.mutes.title = [audio, video].filter(Boolean).join(", ");
            this.element.classList.toggle("dark", video !== "");
        }
    }
}
