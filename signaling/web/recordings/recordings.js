/**
 * The operator's page: what is recorded, how far it is, and its files. All by `/api/v1`.
 * @module
 */

import { $, h } from "../demo/shared/dom.js";

/** From one look to the next, while the page is seen. */
const LOOK_PAUSE_MS = 2000;
const PAGE = 50;
const KEY = "ringvox-api-key";

/**
 * @typedef {object} Recording as `/api/v1/openapi.json` has it
 * @property {string} id
 * @property {"stream" | "room"} kind
 * @property {"recording" | "paused" | "finishing" | "ready" | "failed"} state
 * @property {string} room
 * @property {string} [login]
 * @property {string} [stream]
 * @property {string} file
 * @property {string} [mixed]
 * @property {number} startedAtMs
 * @property {number} [durationMs]
 * @property {number} [bytes]
 * @property {number} [percent]
 * @property {{login: string}[]} [tracks]
 * @property {{info: string}} [failure]
 * @property {string} [link]
 * @property {string} [mixedLink]
 */

const STATES = {
    recording: { text: "Recording", tone: "pill running" },
    paused: { text: "Paused", tone: "pill warn" },
    finishing: { text: "Finishing", tone: "pill warn" },
    ready: { text: "Ready", tone: "pill good" },
    failed: { text: "Failed", tone: "pill bad" },
};

/** Refused by the API, in its words. */
class Refused extends Error {
    /** @param {number} status @param {string} message */
    constructor(status, message) {
        super(message);
        this.status = status;
    }
}

/** How many are wanted: a page, and one more each time that older ones are asked for. */
let wanted = PAGE;
/** Looks that are overtaken by a later one are passed over. */
let looks = 0;
/** @type {ReturnType<typeof setTimeout> | undefined} */
let timer;
/** @type {Map<string, Row>} */
const rows = new Map();

/**
 * @param {string} method
 * @param {string} path below `/api/v1/`
 * @param {object} [body]
 * @returns {Promise<any>}
 */
async function ask(method, path, body) {
    const key = sessionStorage.getItem(KEY);
    const response = await fetch(new URL(`../api/v1/${path}`, location.href), {
        method,
        cache: "no-store",
        headers: { ...(key ? { authorization: `Bearer ${key}` } : {}), ...(body ? { "content-type": "application/json" } : {}) },
        ...(body ? { body: JSON.stringify(body) } : {}),
    });
    const content = await response.json().catch(() => null);
    if (!response.ok) {
        throw new Refused(response.status, content?.error?.message ?? `The server answered ${response.status}.`);
    }
    return content;
}

/** Where a link of the API leads, wherever a proxy has put the server. @param {string} link */
const below = (link) => new URL(`..${link}`, location.href).href;

async function look() {
    clearTimeout(timer);
    const number = ++looks;
    try {
        const found = await list();
        if (number === looks) {
            show(found);
        }
    } catch (error) {
        if (number === looks) {
            fail(error);
        }
    }
    if (number === looks && !document.hidden && $("keyForm").hidden) {
        timer = setTimeout(look, LOOK_PAUSE_MS);
    }
}

/** @returns {Promise<{recordings: Recording[], recorder: boolean, next: string | null}>} */
async function list() {
    const query = new URLSearchParams({ room: $("filterRoom").value.trim(), state: $("filterState").value });
    /** @type {Recording[]} */
    const recordings = [];
    for (let next = ""; ;) {
        query.set("limit", String(Math.min(wanted - recordings.length, 1000)));
        query.set("after", next);
        const page = await ask("GET", `recordings?${query}`);
        recordings.push(...page.recordings);
        if (!page.next || recordings.length >= wanted) {
            return { ...page, recordings };
        }
        next = page.next;
    }
}

/** @param {{recordings: Recording[], recorder: boolean, next: string | null}} found */
function show({ recordings, recorder, next }) {
    $("keyForm").hidden = true;
    $("content").hidden = false;
    $("problem").textContent = "";
    $("recorder").textContent = recorder ? "READY" : "AWAY";
    $("recorder").className = recorder ? "pill good" : "pill bad";
    const there = new Set(recordings.map(({ id }) => id));
    [...rows].filter(([id]) => !there.has(id)).forEach(([id, row]) => {
        row.element.remove();
        rows.delete(id);
    });
    recordings.forEach((recording, index) => {
        const row = rows.get(recording.id) ?? new Row(recording);
        rows.set(recording.id, row);
        row.show(recording);
        const there = $("list").children[index];
        if (there !== row.element) { // What stands right is not touched: it may have the focus.
            $("list").insertBefore(row.element, there ?? null);
        }
    });
    $("none").hidden = recordings.length > 0;
    $("more").hidden = next === null;
}

/** @param {unknown} error */
function fail(error) {
    const { status, message } = error instanceof Refused ? error : { status: 0, message: "The server cannot be reached." };
    const isKey = status === 401;
    $("problem").textContent = isKey && !sessionStorage.getItem(KEY) ? "" : message;
    if (isKey || status === 403) {
        sessionStorage.removeItem(KEY);
        $("content").hidden = true;
        $("keyForm").hidden = !isKey;
        isKey && $("key").focus();
    }
}

/** Does what a button says, and looks what has become of it. @param {() => Promise<unknown>} deed */
async function perform(deed) {
    try {
        await deed();
        await look();
    } catch (error) {
        fail(error);
    }
}

/** A recording in the list. */
class Row {
    /** @type {Recording} */
    #recording;

    /** @param {Recording} recording */
    constructor(recording) {
        this.#recording = recording;
        this.pill = h("span", { class: "pill" });
        this.title = h("strong", { dir: "auto" });
        this.who = h("span", { dir: "auto" });
        this.figures = h("span");
        this.progress = h("progress", { max: 100, hidden: true, "aria-label": "How far it is" });
        this.why = h("p", { class: "why" });
        this.play = deed("Play", () => play(this.#recording));
        this.download = h("a", { class: "button", download: true }, "Download");
        this.mixed = h("a", { class: "button", download: true }, "Mixed");
        this.stop = deed("Stop", () => perform(() => ask("POST", `recordings/${this.#recording.id}/stop`)));
        this.remove = deed("Delete", () => this.#delete(), "button danger");
        this.element = h("li", { class: "card one" },
            this.pill,
            h("div", { class: "what" }, this.title, h("span", { class: "figures" }, this.who, this.figures), this.why, this.progress),
            h("div", { class: "deeds" }, this.play, this.download, this.mixed, this.stop, this.remove));
    }

    /** @param {Recording} recording */
    show(recording) {
        this.#recording = recording;
        const { state, room, kind, login, stream, file, startedAtMs, durationMs = 0, bytes = 0, percent } = recording;
        const { text, tone } = STATES[state] ?? { text: state, tone: "pill" };
        set(this.pill, text);
        this.pill.className = tone;
        set(this.title, room);
        set(this.who, kind === "room" ? `Whole room${people(recording)}` : `${login ?? ""} · ${stream ?? ""}`);
        set(this.figures, `${new Date(startedAtMs).toLocaleString()} · ${time(durationMs)} · ${size(bytes)}`);
        set(this.why, recording.failure?.info ?? "");
        this.progress.hidden = state !== "finishing";
        this.progress.value = percent ?? 0;
        const ready = state === "ready";
        const running = state === "recording" || state === "paused";
        [this.play, this.download].forEach((button) => { button.hidden = !ready; });
        this.mixed.hidden = !ready || !recording.mixedLink;
        this.stop.hidden = !running;
        this.remove.hidden = !ready && state !== "failed";
        this.download.title = file;
        this.mixed.title = recording.mixed ?? "";
        this.download.href = recording.link ? below(recording.link) : "";
        this.mixed.href = recording.mixedLink ? below(recording.mixedLink) : "";
        this.download.download = file;
        this.mixed.download = recording.mixed ?? "";
        const about = `${room}, ${kind === "room" ? "whole room" : login}, ${new Date(startedAtMs).toLocaleString()}`;
        [this.play, this.download, this.mixed, this.stop, this.remove].forEach((button) =>
            button.setAttribute("aria-label", `${button.textContent}: ${about}`));
    }

    #delete() {
        if (confirm(`Delete ${this.#recording.file} for ever?`)) {
            perform(() => ask("DELETE", `recordings/${this.#recording.id}`));
        }
    }
}

/** Only when it is news: what is selected, or read aloud, stays. @param {HTMLElement} element @param {string} text */
function set(element, text) {
    if (element.textContent !== text) {
        element.textContent = text;
    }
}

/** @param {string} text @param {() => void} what @param {string} [kind] @returns {HTMLButtonElement} */
function deed(text, what, kind = "button") {
    const button = h("button", { type: "button", class: kind }, text);
    button.addEventListener("click", what);
    return button;
}

/** @param {Recording} recording */
function people({ tracks = [] }) {
    const logins = [...new Set(tracks.map(({ login }) => login))];
    return logins.length ? ` · ${logins.slice(0, 5).join(", ")}${logins.length > 5 ? " …" : ""}` : "";
}

/** @param {number} ms */
function time(ms) {
    const [hours, minutes, seconds] = [ms / 3_600_000, (ms / 60_000) % 60, (ms / 1000) % 60].map(Math.floor);
    return [hours, minutes, seconds].map((part) => String(part).padStart(2, "0")).join(":");
}

/** @param {number} bytes */
function size(bytes) {
    const steps = ["B", "kB", "MB", "GB", "TB"];
    const step = Math.min(bytes > 0 ? Math.floor(Math.log10(bytes) / 3) : 0, steps.length - 1);
    return `${(bytes / 1000 ** step).toFixed(step > 1 ? 1 : 0)} ${steps[step]}`;
}

/** @param {Recording} recording */
function play({ room, login, file, link, mixedLink }) {
    $("playerTitle").textContent = [room, login, file].filter(Boolean).join(" · ");
    $("playerProblem").textContent = "";
    $("video").src = below(mixedLink ?? link ?? "");
    $("player").showModal();
    // A browser may want a click first; then it waits for one.
    $("video").play().catch(() => {});
}

$("player").addEventListener("close", () => {
    $("video").removeAttribute("src");
    $("video").load();
});
$("video").addEventListener("error", () => {
    if ($("video").getAttribute("src")) {
        $("playerProblem").textContent = "This browser cannot play the file: download it.";
    }
});
$("keyForm").addEventListener("submit", (/** @type {Event} */ event) => {
    event.preventDefault();
    sessionStorage.setItem(KEY, $("key").value.trim());
    $("key").value = "";
    $("keyForm").hidden = true;
    look();
});
$("startForm").addEventListener("submit", (/** @type {Event} */ event) => {
    event.preventDefault();
    const login = $("startLogin").value.trim();
    const what = { room: $("startRoom").value.trim(), ...(login ? { login } : {}) };
    $("startInfo").textContent = "";
    ask("POST", "recordings", what).then(
        ({ file }) => { $("startInfo").textContent = `It is recorded, as ${file}.`; },
        (error) => { $("startInfo").textContent = `It is not recorded: ${error.message}`; },
    ).finally(look);
});
$("filter").addEventListener("submit", (/** @type {Event} */ event) => event.preventDefault());
["filterRoom", "filterState"].forEach((id) => $(id).addEventListener("input", () => { wanted = PAGE; look(); }));
$("more").addEventListener("click", () => { wanted += PAGE; look(); });
document.addEventListener("visibilitychange", () => document.hidden || look());
look();
