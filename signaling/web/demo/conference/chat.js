/**
 * The chat's list of lines. Whatever comes from others is only ever set as text.
 * @module
 */

/** Older lines go, so that an endless chat does not fill the page's memory. */
const MOST_LINES = 1000;

export class Chat {
    /** @param {HTMLElement} list */
    constructor(list) {
        this.list = list;
    }

    /** @param {string} from @param {unknown} text any JSON value; what is no string is shown as JSON @param {boolean} [mine] */
    message(from, text, mine = false) {
        const meta = element("p", "meta");
        const name = element("bdi", "from", from);
        meta.append(now(), name);
        const body = element("p", "text", typeof text === "string" ? text : JSON.stringify(text));
        body.dir = "auto";
        this.#add(mine ? "mine" : "", meta, body);
    }

    /** A line of the room itself. @param {string} text */
    note(text) {
        this.#add("note", now(), element("span", "text", text));
    }

    clear() {
        this.list.replaceChildren();
    }

    /** @param {string} className @param {...HTMLElement} parts */
    #add(className, ...parts) {
        const { list } = this;
        const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
        const line = element("li", className);
        line.append(...parts);
        list.append(line);
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
    const time = document.createElement("time");
    time.dateTime = date.toISOString();
    time.textContent = date.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hour12: false });
    return time;
}

/** @param {string} tag @param {string} className @param {string} [text] */
function element(tag, className, text = "") {
    const made = document.createElement(tag);
    made.className = className;
    made.textContent = text;
    return made;
}
