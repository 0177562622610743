/**
 * The form before the room, and the invite link inside it.
 * @module
 */

import { defaultUrlServer } from "../../sdk/index.js";
import { $ } from "./dom.js";

export class Entry {
    /** @type {(who: {urlServer: string, username: string, room: string, record: boolean}) => void} */
    onJoin = () => {};

    constructor() {
        $("url").value = defaultUrlServer();
        $("roomName").value = new URLSearchParams(location.search).get("roomName") ?? randomRoom();
        $("joinForm").addEventListener("submit", (/** @type {Event} */ event) => {
            event.preventDefault();
            const [urlServer, username, room] = ["url", "login", "roomName"].map((id) => $(id).value.trim());
            this.onJoin({ urlServer, username, room, record: $("record").checked });
        });
        $("copyBtn").addEventListener("click", copyInvite);
    }

    /** @param {string} text why one is not in; empty: nothing is wrong */
    fail(text) {
        $("failedInfo").textContent = text;
    }

    /** @param {boolean} busy */
    set busy(busy) {
        $("joinBtn").disabled = busy;
    }

    /** Out of the form into this room. @param {string} room */
    close(room) {
        const invite = new URL(location.pathname, location.href);
        invite.searchParams.set("roomName", room);
        $("inviteAddress").value = invite.href;
        $("copyBtn").textContent = "Copy";
        $("welcome").hidden = true;
        $("room").hidden = false;
        $("message").focus();
    }

    /** Back to the form. @param {string} text why, if not by the person's wish */
    open(text) {
        $("room").hidden = true;
        $("welcome").hidden = false;
        this.busy = false;
        $("login").focus();
        this.fail(text);
    }
}

async function copyInvite() {
    $("inviteAddress").select();
    const copied = await navigator.clipboard?.writeText($("inviteAddress").value).then(() => true, () => false);
    $("copyBtn").textContent = copied ? "Copied" : "Selected";
}

function randomRoom() {
    return `room-${crypto.getRandomValues(new Uint32Array(1))[0].toString(16).padStart(8, "0").slice(0, 6)}`;
}
