/**
 * Which camera and which microphone: a dialog with a picture, a level and two lists, before and during a
 * call. The choice is remembered in this browser.
 * @module
 */

import { capture, release } from "../../sdk/index.js";
import { $ } from "./dom.js";
import { LevelMeter } from "./meter.js";
import { inWords } from "./words.js";

/** @typedef {"audio" | "video"} Kind */

/** @type {Record<Kind, {select: string, device: string, name: string, remembered: string}>} */
const KINDS = {
    video: { select: "camera", device: "videoinput", name: "Camera", remembered: "ringvox.camera" },
    audio: { select: "microphone", device: "audioinput", name: "Microphone", remembered: "ringvox.microphone" },
};

export class Devices {
    /** @type {import("../../sdk/stream.js").Stream | null} what is published now */
    #stream = null;
    /** @type {MediaStream | null} opened for a look only */
    #trial = null;
    #level = new LevelMeter($("trialLevel"));
    /** Called when the stream sends from another device. @type {() => void} */
    onSwitch = () => {};

    constructor() {
        for (const kind of /** @type {Kind[]} */ (["video", "audio"])) {
            $(KINDS[kind].select).addEventListener("change", () => this.#chosen(kind));
        }
        $("devices").addEventListener("close", () => this.#closed());
        $("devicesDone").addEventListener("click", () => $("devices").close());
        navigator.mediaDevices?.addEventListener("devicechange", () => $("devices").open && this.#list());
    }

    /** What to ask the browser for. */
    constraints() {
        return { audio: wish("audio"), video: { ...wish("video"), width: { ideal: 640 }, height: { ideal: 480 }, frameRate: { ideal: 30 } } };
    }

    /**
     * Forgets the choice if it is what could not be had: the device has been unplugged since.
     * @param {unknown} error
     * @returns {boolean} whether it is worth another try
     */
    forget(error) {
        const chosen = Object.values(KINDS).map((kind) => kind.remembered).filter((key) => remembered(key));
        const gone = /** @type {{code?: string} | null} */ (error)?.code === "constraints-not-met" && chosen.length > 0;
        gone && chosen.forEach((key) => remember(key, ""));
        return gone;
    }

    /** @param {import("../../sdk/stream.js").Stream | null} stream ours while it is published */
    follow(stream) {
        this.#stream = stream;
        if ($("devices").open) {
            this.#look();
        }
    }

    async open() {
        $("devices").showModal();
        await this.#look();
    }

    // ---- how it works ----

    async #look() {
        release(this.#trial);
        this.#trial = null;
        this.#fail("");
        if (!this.#stream?.mediaStream()) {
            const trial = await this.#try(() => this.#capture());
            if ($("devices").open) {
                this.#trial = trial;
            } else {
                release(trial);
                return;
            }
        }
        this.#show();
        await this.#list();
    }

    /** @returns {Promise<MediaStream>} */
    #capture() {
        return capture(this.constraints()).catch((error) => {
            if (this.forget(error)) {
                return this.#capture();
            }
            throw error;
        });
    }

    #show() {
        const media = this.#trial ?? this.#stream?.mediaStream() ?? null;
        $("trial").srcObject = media;
        this.#level.follow(media);
    }

    async #list() {
        const all = (await navigator.mediaDevices?.enumerateDevices()) ?? [];
        const media = this.#trial ?? this.#stream?.mediaStream() ?? null;
        for (const kind of /** @type {Kind[]} */ (["video", "audio"])) {
            const { select, device, name } = KINDS[kind];
            const found = all.filter((one) => one.kind === device);
            const used = media?.getTracks().find((track) => track.kind === kind)?.getSettings().deviceId;
            $(select).replaceChildren(...found.map(({ label, deviceId }, index) => {
                return new Option(label || `${name} ${index + 1}`, deviceId, false, deviceId === used);
            }));
            $(select).disabled = found.length === 0;
            found.length || $(select).append(new Option("None found"));
        }
    }

    /** @param {Kind} kind */
    async #chosen(kind) {
        const { select, remembered } = KINDS[kind];
        const deviceId = $(select).value;
        remember(remembered, deviceId);
        if (this.#stream?.mediaStream()) {
            const constraints = { ...this.constraints()[kind], deviceId: { exact: deviceId } };
            await this.#try(async () => this.#stream?.switchDevice({ [kind]: constraints }));
            this.onSwitch();
            this.#show();
            await this.#list();
        } else {
            await this.#look();
        }
    }

    #closed() {
        release(this.#trial);
        this.#trial = null;
        $("trial").srcObject = null;
        this.#level.follow(null);
    }

    /** @template T @param {() => Promise<T>} work @returns {Promise<T | null>} */
    async #try(work) {
        try {
            this.#fail("");
            return await work();
        } catch (error) {
            this.#fail(inWords(error));
            return null;
        }
    }

    /** @param {string} text */
    #fail(text) {
        $("devicesFailed").textContent = text;
    }
}

/**
 * Exact: Chromium takes its default microphone where another is only ideal.
 * @param {Kind} kind
 * @returns {any}
 */
function wish(kind) {
    const deviceId = remembered(KINDS[kind].remembered);
    return deviceId ? { deviceId: { exact: deviceId } } : {};
}

/** @param {string} key */
function remembered(key) {
    try {
        return localStorage.getItem(key) ?? "";
    } catch {
        return ""; // Forbidden by the browser's settings.
    }
}

/** @param {string} key @param {string} value */
function remember(key, value) {
    try {
        localStorage.setItem(key, value);
    } catch {
        // Then it holds for this visit.
    }
}
