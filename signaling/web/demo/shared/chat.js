/**
 * The chat's list of lines. Whatever comes from others is only ever set as text.
 * @module
 */

import { $, h } from "./dom.js";

/** Older lines go, so that an endless chat does not fill the page's memory. */
const MOST_LINES = 1000;

export class Chat {
    /** What happens with a line that the person here wrote. @type {(text: string) => void} */
    onSay = () => {};

    constructor() {
        this.list = $("chat");
        $("chatForm").addEventListener("submit", (/** @type {Event} */ event) => {
            event.preventDefault();
            const text = $("message").value;
            if (text.trim()) {
                $("message").value = "";
                this.onSay(text);
            }
        });
    }

    /**
     * @param {string} from
     * @param {unknown} text any JSON value; what is no string is shown as JSON
     * @param {boolean} [mine]
     */
    message(from, text, mine = false) {
        const body = typeof text === "string" ? text : JSON.stringify(text);
        this.#add(mine ? "mine" : "", h("p", { class: "meta" }, now(), h("bdi", { class: "from" }, from)), h("p", { class: "text", dir: "auto" }, body));
    }

    /** A line of the room itself. @param {string} text @param {{href: string, text: string}} [link] behind it */
    note(text, link) {
        const more = link ? [" ", h("a", { href: link.href, target: "_blank", rel: "noopener" }, link.text)] : [];
        this.#add("note", now(), h("span", { class: "text" }, text, ...more));
    }

    clear() {
        this.list.replaceChildren();
    }

    /** @param {string} className @param {...HTMLElement} parts */
    #add(className, ...parts) {
        const { list } = this;
        const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
        list.append(h("li", { class: className }, ...parts));
        while (list.childElementCount > MOST_LINES) {
            list.firstElementChild?.remove();
        }
        if (atEnd) {
            list.scrollTop = list.scrollHeight;
        }
    }
}

function now() {
    const date = new Date();
    return h("time", { datetime: date.toISOString() }, date.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hour12: false }));
}
