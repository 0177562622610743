/**
 * What every demo page consists of: entry form, stage, chat, controls, the dialog for devices.
 * @module
 */

import { $, h, icon } from "./dom.js";

/**
 * @typedef {object} Layout
 * @property {string} lead what this page is for, in a sentence
 * @property {string} kind class of the stage: how pictures are laid out
 * @property {HTMLElement[]} [controls] buttons of this page alone
 */

/** Builds the page after its top bar. @param {Layout} layout */
export function build({ lead, kind, controls = [] }) {
    document.body.append(
        h("main", { id: "welcome" }, entry(lead)),
        h("main", { id: "room", class: "room", hidden: true },
            h("div", { class: "notices" },
                h("p", { id: "recording", class: "recording", role: "status" }),
                h("p", { id: "banner", class: "banner", role: "status" })),
            h("section", { id: "stage", class: `stage ${kind}`, "aria-label": "Participants" }),
            chat(),
            h("div", { class: "controls card", role: "group", "aria-label": "Your camera, microphone and call" },
                button("muteAudio", "Mute A", icon("microphone", "slash"), { "aria-pressed": "false", title: "Microphone off", disabled: true }),
                button("muteVideo", "Mute V", icon("camera", "slash"), { "aria-pressed": "false", title: "Camera off", disabled: true }),
                button("publishBtn", "Stop", icon("stop"), { disabled: true }),
                ...controls,
                button("devicesBtn", "Devices", icon("devices"), { "aria-haspopup": "dialog" }),
                button("leaveBtn", "Leave", icon("leave"), { class: "button danger" }))),
        devices());
    $("login").focus();
}

/**
 * @param {string} id
 * @param {string} text
 * @param {Node} [picture]
 * @param {Record<string, string | boolean>} [more]
 * @returns {HTMLButtonElement}
 */
export function button(id, text, picture, more = {}) {
    return h("button", { id, type: "button", class: "button", ...more }, ...(picture ? [picture] : []), h("span", {}, text));
}

/** @param {string} lead */
function entry(lead) {
    const field = (/** @type {string} */ label, /** @type {Record<string, string | boolean | number>} */ attributes) =>
        h("label", { class: "field" }, h("span", {}, label), h("input", { required: true, autocomplete: "off", spellcheck: "false", ...attributes }));
    return h("form", { id: "joinForm", class: "card entry" },
        h("h2", {}, "Join a room"),
        h("p", { class: "fine" }, lead),
        field("Your name", { id: "login", name: "login", maxlength: 64, autocomplete: "nickname", placeholder: "How others see you" }),
        field("Room", { id: "roomName", name: "room", maxlength: 64 }),
        h("label", { class: "switch" },
            h("input", { id: "record", type: "checkbox", role: "switch", "aria-describedby": "recordNote" }),
            h("span", {}, "Record ", h("small", { id: "recordNote" }, "the whole room; only the first to enter can ask for it, and everybody in it is told"))),
        h("details", {}, h("summary", {}, "Server"), field("WebSocket address", { id: "url", name: "url", inputmode: "url" })),
        h("p", { id: "failedInfo", class: "error", role: "alert" }),
        h("button", { id: "joinBtn", class: "button primary" }, "Join"),
        button("checkBtn", "Check camera and microphone", icon("devices"), { "aria-haspopup": "dialog" }));
}

function chat() {
    return h("aside", { class: "chat card", "aria-label": "Chat" },
        h("div", { class: "invite" },
            h("label", { for: "inviteAddress" }, "Invite link"),
            h("input", { id: "inviteAddress", readonly: true }),
            h("button", { id: "copyBtn", type: "button", class: "button", "aria-live": "polite" }, "Copy")),
        h("ol", { id: "chat", class: "log", role: "log", "aria-live": "polite", "aria-label": "Messages", tabindex: 0 }),
        h("form", { id: "chatForm", class: "say" },
            h("label", { class: "unseen", for: "message" }, "Message"),
            h("input", { id: "message", autocomplete: "off", enterkeyhint: "send", placeholder: "Message everyone", maxlength: 4000 }),
            h("button", { id: "sendBtn", class: "button primary" }, "Send")));
}

function devices() {
    const list = (/** @type {string} */ id, /** @type {string} */ label) =>
        h("label", { class: "field" }, h("span", {}, label), h("select", { id }));
    return h("dialog", { id: "devices", class: "card devices", "aria-labelledby": "devicesTitle" },
        h("h2", { id: "devicesTitle" }, "Camera and microphone"),
        h("video", { id: "trial", autoplay: true, playsinline: true, "aria-label": "Your camera's picture" }),
        list("camera", "Camera"),
        list("microphone", "Microphone"),
        h("meter", { id: "trialLevel", class: "level", min: 0, max: 1, "aria-label": "Level of your microphone" }),
        h("p", { id: "devicesFailed", class: "error", role: "alert" }),
        h("button", { id: "devicesDone", type: "button", class: "button primary" }, "Done"));
}
