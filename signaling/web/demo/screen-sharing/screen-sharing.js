/**
 * A talk of two with screens: either can share one, with or without its sound.
 * @module
 */

import { STREAM_STATUS } from "../../sdk/index.js";
import { Call, SCREEN } from "../shared/call.js";
import { $, h, icon } from "../shared/dom.js";
import { button } from "../shared/layout.js";
import { Tile } from "../shared/tile.js";
import { SCREEN_WORDS, inWords } from "../shared/words.js";

const SIZE = { width: { ideal: 1920 }, height: { ideal: 1080 }, frameRate: { ideal: 15 } };

const call = new Call({
    lead: "For two people and their screens. Your browser will ask for camera and microphone.",
    kind: "pair",
    others: 1,
    words: { "room-full": "Current room is full: this page is for two, and two people are in it." },
    screen: (login) => show(theirs, `${login} shares`),
    screenGone: (tile) => hide(tile),
    controls: [
        button("shareBtn", "Share screen", icon("screen"), { "aria-pressed": "false" }),
        h("label", { class: "switch" }, h("input", { id: "withSound", type: "checkbox", role: "switch" }), h("span", {}, "with sound")),
    ],
});
const mine = new Tile("localScreen", { label: "Your screen", screen: true });
const theirs = new Tile("participantScreen", { label: "Shared screen", screen: true });
$("stage").append(h("div", { id: "screens", class: "screens", hidden: true }, theirs.element, mine.element));

call.onLeave = () => [mine, theirs].forEach(hide);
$("shareBtn").addEventListener("click", () => (mine.owner === null ? share() : mine.stream?.stop()));

function share() {
    const audio = $("withSound").checked;
    show(mine, "Your screen");
    const stream = call.room?.publish({
        display: mine.display,
        name: SCREEN,
        constraints: { audio, video: { type: "screen", ...SIZE } },
    });
    if (stream) {
        // The browser's own "Stop sharing" ends the stream as our button does.
        stream.on(STREAM_STATUS.UNPUBLISHED, () => hide(mine))
            .on(STREAM_STATUS.FAILED, () => {
                hide(mine);
                call.chat.note(inWords(stream.error(), { words: SCREEN_WORDS }));
            });
        mine.follow(stream);
    }
}

/** @param {Tile} tile @param {string} name */
function show(tile, name) {
    tile.occupy(name);
    arrange();
    return tile;
}

/** @param {Tile} tile */
function hide(tile) {
    tile.free();
    arrange();
}

/** Where a screen is, it has the stage, and the cameras stand beside it. */
function arrange() {
    const sharing = mine.owner !== null;
    $("screens").hidden = !sharing && theirs.owner === null;
    $("shareBtn").setAttribute("aria-pressed", String(sharing));
    $("shareBtn").querySelector("span").textContent = sharing ? "Stop sharing" : "Share screen";
    $("withSound").disabled = sharing;
}
