/**
 * One place for one person: picture, name, what is muted, status.
 * @module
 */

import { setPill } from "../shared/pill.js";

export class Tile {
    #article;

    /** @param {string} id of the article */
    constructor(id) {
        this.#article = /** @type {HTMLElement} */ (document.getElementById(id));
        /** Login of who sits here, or null. @type {string | null} */
        this.owner = null;
        /** The stream shown here. @type {import("../../sdk/stream.js").Stream | null} */
        this.stream = null;
    }

    get display() {
        return /** @type {HTMLElement} */ (this.#article.querySelector(".display"));
    }

    /** @param {string} name */
    occupy(name) {
        this.owner = name;
        this.#part("name").textContent = name;
        this.#article.classList.remove("empty");
    }

    free() {
        this.owner = null;
        this.stream = null;
        this.#part("name").textContent = "NONE";
        this.showStatus("");
        this.showMutes();
        this.#article.classList.add("empty");
    }

    /** @param {string} status */
    showStatus(status) {
        setPill(this.#part("pill"), status);
    }

    showMutes() {
        const muted = [this.stream?.isAudioMuted() ? "🔇 audio" : "", this.stream?.isVideoMuted() ? "🚫 video" : ""];
        this.#part("mutes").textContent = muted.filter(Boolean).join(" · ");
    }

    /** @param {string} name of the class */
    #part(name) {
        return /** @type {HTMLElement} */ (this.#article.querySelector(`.${name}`));
    }
}
