/**
 * Camera, microphone, screen, and the `<video>` elements that show them.
 * @module
 */

import { MediaError } from "./errors.js";

const CAMERA = { width: { ideal: 640 }, height: { ideal: 480 }, frameRate: { ideal: 30 } };

/**
 * Opens devices, or asks the person for a screen.
 * @param {{audio?: any, video?: any}} constraints as for getUserMedia; `video: {type: "screen"}` shares a
 *     screen
 * @returns {Promise<MediaStream>} rejects with a MediaError
 */
export async function capture({ audio = false, video = false }) {
    const devices = globalThis.navigator?.mediaDevices;
    if (!devices) {
        throw new MediaError("insecure-page", "The browser gives camera and microphone only to https and localhost");
    }
    if (!audio && !video) {
        throw new MediaError("device-not-found", "Neither camera nor microphone was asked for");
    }
    if (video?.type === "screen" && !devices.getDisplayMedia) {
        throw new MediaError("not-supported", "This browser cannot share a screen");
    }
    try {
        if (video?.type === "screen") {
            const { type, withoutExtension, ...wanted } = video;
            return await devices.getDisplayMedia({ audio, video: wanted });
        }
        return await devices.getUserMedia({ audio, video: video === true ? CAMERA : video });
    } catch (error) {
        throw MediaError.from(error);
    }
}

/** Switches devices off. @param {MediaStream | null} media */
export function release(media) {
    media?.getTracks().forEach((track) => track.stop());
}

/** A place on the page that shows one stream. */
export class Screen {
    #element;
    #made;

    /**
     * @param {HTMLElement} display a `<video>`, or an element that gets one inside
     * @param {boolean} own muted, our own voice would echo
     */
    constructor(display, own) {
        this.#made = !(display instanceof HTMLVideoElement);
        this.#element = display instanceof HTMLVideoElement ? display : document.createElement("video");
        this.#element.autoplay = true;
        this.#element.playsInline = true;
        this.#element.muted = own;
        if (this.#made) {
            display.append(this.#element);
        }
    }

    get element() {
        return this.#element;
    }

    /** @param {MediaStream} media */
    show(media) {
        if (this.#element.srcObject !== media) {
            this.#element.srcObject = media;
            // A page that nobody has touched may not make a sound: then show the buttons, so that somebody
            // can touch it.
            this.#element.play().catch((error) => {
                this.#element.controls ||= error.name === "NotAllowedError";
            });
        }
    }

    close() {
        this.#element.srcObject = null;
        if (this.#made) {
            this.#element.remove();
        }
    }
}
