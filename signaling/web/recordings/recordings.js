/**
 * The operator's page: what is recorded, how far it is, and its files. All by `/api/v1`.
 * @module
 */

import { $, h } from "../demo/shared/dom.js";

/** From one look at what has changed to the next, while the page is seen; the server waits for news itself. */
const LOOK_PAUSE_MS = 2000;
const WAIT_S = 8;
/** After this long all is fetched again: links are good for twelve hours. */
const LINKS_AGE_MS = 6 * 3_600_000;
/** Before a text that is typed is looked for. */
const TYPING_MS = 300;
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

/** What is shown was begun for this one; what is overtaken by a later one is passed over. */
let number = 0;
/** Where older ones go on; `null`: all are shown. @type {string | null} */
let next = null;
/** Which changes are seen already. */
let seen = "";
/** When all was fetched. */
let loadedAt = 0;
/** The oldest that was fetched: what is older comes when it is asked for. @type {Recording | undefined} */
let oldest;
/** @type {ReturnType<typeof setTimeout> | undefined} */
let timer;
/** The looks that are under way. */
let abort = new AbortController();
/** @type {Map<string, Row>} */
const rows = new Map();
/** The same, the newest first. @type {Row[]} */
let order = [];

/**
 * @param {string} method
 * @param {string} path below `/api/v1/`
 * @param {object} [body]
 * @param {AbortSignal} [signal]
 * @returns {Promise<any>}
 */
async function ask(method, path, body, signal) {
    const key = sessionStorage.getItem(KEY);
    const response = await fetch(new URL(`../api/v1/${path}`, location.href), {
        method,
        signal,
        cache: "no-store",
        headers: { ...(key ? { authorization: `Bearer ${key}` } : {}), ...(body ? { "content-type": "application/json" } : {}) },
        ...(body ? { body: JSON.stringify(body) } : {}),
    });
    const content = await response.json().catch(() => null);
    if (!response.ok) {
        throw new Refused(response.status, content?.detail ?? unexplained(method, response));
    }
    return content;
}

/** An answer that is not the API's own. @param {string} method @param {Response} response */
function unexplained(method, { status, url }) {
    const what = `${method} ${new URL(url).pathname} was answered ${status}`;
    return status < 500
        ? `${what}, and not by Ringvox's API: see that the proxy before it passes on /api/ as it does this page.`
        : `${what}: see that ringvox-signaling runs, and its log; this page goes on by itself.`;
}

/** Where a link of the API leads, wherever a proxy has put the server. @param {string} link */
const below = (link) => new URL(`..${link}`, location.href).href;

/** What the filters say, for the API. */
function wanted() {
    const [from, until] = ["filterFrom", "filterUntil"].map((id) => $(id).value && new Date(`${$(id).value}T00:00`));
    until && until.setDate(until.getDate() + 1); // To the end of that day.
    const moment = (/** @type {Date | ""} */ date) => (date ? String(date.getTime()) : "");
    return { room: $("filterRoom").value.trim(), state: $("filterState").value, from: moment(from), until: moment(until) };
}

/** Whether the filters let it through. @param {Recording} recording */
function isWanted(recording) {
    const { room, state, from, until } = wanted();
    return (!room || room === recording.room) && (!state || state === recording.state)
        && (!from || recording.startedAtMs >= Number(from)) && (!until || recording.startedAtMs < Number(until));
}

/** Begins what overtakes all that is under way. */
function begin() {
    clearTimeout(timer);
    abort.abort();
    abort = new AbortController();
    return ++number;
}

/** Fetches all anew, then what changes. */
async function load() {
    const mine = begin();
    try {
        const page = await ask("GET", `recordings?${new URLSearchParams({ ...wanted(), limit: String(PAGE) })}`, undefined, abort.signal);
        if (mine !== number) {
            return;
        }
        loadedAt = Date.now();
        seen = page.changes;
        const there = new Set(page.recordings.map((/** @type {Recording} */ { id }) => id));
        [...rows.keys()].filter((id) => !there.has(id)).forEach(remove);
        oldest = undefined;
        show(page);
        await follow(mine);
    } catch (error) {
        failed(mine, error);
    }
}

/** The next page. */
async function more() {
    const [mine, after] = [number, next];
    try {
        const page = await ask("GET", `recordings?${new URLSearchParams({ ...wanted(), after: after ?? "", limit: String(PAGE) })}`);
        if (mine === number && after === next) { // What has changed since is told again.
            show(page);
        }
    } catch (error) {
        fail(error);
    }
}

/** Hears what changes for as long as the page is seen. @param {number} mine */
async function follow(mine) {
    if (document.hidden || mine !== number || !$("keyForm").hidden) {
        return;
    }
    if (Date.now() - loadedAt > LINKS_AGE_MS) {
        return load();
    }
    try {
        const query = new URLSearchParams({ since: seen, room: $("filterRoom").value.trim(), limit: "1000", wait: String(WAIT_S) });
        const changes = await ask("GET", `recordings/changes?${query}`, undefined, abort.signal);
        if (mine !== number) {
            return;
        }
        seen = changes.changes;
        changes.gone.forEach(remove);
        changes.recordings.forEach((/** @type {Recording} */ recording) =>
            isWanted(recording) && (next === null || !oldest || compare(recording, oldest) <= 0) ? put(recording) : remove(recording.id));
        head(changes);
        timer = setTimeout(follow, LOOK_PAUSE_MS, mine);
    } catch (error) {
        if (error instanceof Refused && error.status === 410) {
            return load();
        }
        failed(mine, error);
    }
}

/** @param {number} mine @param {unknown} error */
function failed(mine, error) {
    if (mine !== number) {
        return;
    }
    fail(error);
    if (!document.hidden && $("keyForm").hidden) {
        timer = setTimeout(load, LOOK_PAUSE_MS);
    }
}

/** The newest first. @param {Recording} one @param {Recording} other */
const compare = (one, other) => other.startedAtMs - one.startedAtMs || (one.id < other.id ? 1 : one.id > other.id ? -1 : 0);

/** Shows it where it belongs. @param {Recording} recording */
function put(recording) {
    const before = rows.get(recording.id);
    if (before && before.recording.startedAtMs === recording.startedAtMs) {
        return before.show(recording); // What stands right is not moved: it may have the focus.
    }
    before && remove(recording.id);
    const row = new Row(recording);
    row.show(recording);
    let [low, high] = [0, order.length];
    while (low < high) {
        const middle = (low + high) >> 1;
        [low, high] = compare(order[middle].recording, recording) < 0 ? [middle + 1, high] : [low, middle];
    }
    $("list").insertBefore(row.element, order[low]?.element ?? null);
    order.splice(low, 0, row);
    rows.set(recording.id, row);
}

/** @param {string} id */
function remove(id) {
    const row = rows.get(id);
    if (row) {
        row.element.remove();
        rows.delete(id);
        order = order.filter((other) => other !== row);
    }
}

/** A page. @param {{recordings: Recording[], recorder: boolean, next: string | null}} page */
function show(page) {
    page.recordings.forEach(put);
    next = page.next;
    oldest = page.recordings.at(-1) ?? oldest;
    head(page);
}

/** @param {{recorder: boolean}} answer */
function head({ recorder }) {
    $("keyForm").hidden = true;
    $("content").hidden = false;
    $("problem").textContent = "";
    $("recorder").textContent = recorder ? "READY" : "AWAY";
    $("recorder").className = recorder ? "pill good" : "pill bad";
    $("none").hidden = order.length > 0;
    $("none").textContent = Object.values(wanted()).some(Boolean) ? "Nothing like that is recorded." : "Nothing is recorded here.";
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

/** Does what a button says; what has become of it is told as a change. @param {() => Promise<unknown>} deed */
async function perform(deed) {
    try {
        await deed();
        $("problem").textContent = "";
    } catch (error) {
        fail(error);
    }
}

/** A recording in the list. */
class Row {
    /** @type {Recording} */
    recording;

    /** @param {Recording} recording */
    constructor(recording) {
        this.recording = recording;
        this.pill = h("span", { class: "pill" });
        this.title = h("strong", { dir: "auto" });
        this.who = h("span", { dir: "auto" });
        this.figures = h("span");
        this.progress = h("progress", { max: 100, hidden: true, "aria-label": "How far it is" });
        this.why = h("p", { class: "why" });
        this.play = deed("Play", () => play(this.recording));
        this.download = h("a", { class: "button", download: true }, "Download");
        this.mixed = h("a", { class: "button", download: true }, "Mixed");
        this.stop = deed("Stop", () => perform(() => ask("POST", `recordings/${this.recording.id}/stop`)));
        this.remove = deed("Delete", () => this.#delete(), "button danger");
        this.element = h("li", { class: "card one" },
            this.pill,
            h("div", { class: "what" }, this.title, h("span", { class: "figures" }, this.who, this.figures), this.why, this.progress),
            h("div", { class: "deeds" }, this.play, this.download, this.mixed, this.stop, this.remove));
    }

    /** @param {Recording} recording */
    show(recording) {
        this.recording = recording;
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
        if (confirm(`Delete ${this.recording.file} for ever?`)) {
            perform(() => ask("DELETE", `recordings/${this.recording.id}`));
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
    return `${(bytes / 1000 ** step).toFixed(step > 1 ? 1 : 0)}\u00a0${steps[step]}`;
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
    load();
});
$("startForm").addEventListener("submit", (/** @type {Event} */ event) => {
    event.preventDefault();
    const login = $("startLogin").value.trim();
    const what = { room: $("startRoom").value.trim(), ...(login ? { login } : {}) };
    $("startInfo").textContent = "";
    ask("POST", "recordings", what).then(
        ({ file }) => { $("startInfo").textContent = `It is recorded, as ${file}.`; },
        (error) => { $("startInfo").textContent = `It is not recorded: ${error.message}`; },
    );
});
// On a phone the list comes first, and the forms are a touch away.
const narrow = matchMedia("(max-width: 600px)");
const fold = () => document.querySelectorAll("details.fold").forEach((element) => element.toggleAttribute("open", !narrow.matches));
narrow.addEventListener("change", fold);
fold();
$("filter").addEventListener("submit", (/** @type {Event} */ event) => event.preventDefault());
$("filterRoom").addEventListener("input", () => {
    begin();
    timer = setTimeout(load, TYPING_MS);
});
["filterState", "filterFrom", "filterUntil"].forEach((id) => $(id).addEventListener("input", load));
$("more").addEventListener("click", more);
document.addEventListener("visibilitychange", () => {
    const mine = begin();
    document.hidden || (seen ? follow(mine) : load());
});
load();
