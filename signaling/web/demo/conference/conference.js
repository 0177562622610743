/**
 * A conference of up to three: the whole use of the SDK on one page.
 * @module
 */

import * as RoomApi from "../../sdk/index.js";
import { setPill } from "../shared/pill.js";
import { Chat } from "./chat.js";
import { Me } from "./me.js";
import { Tile } from "./tile.js";

const { SESSION_STATUS, STREAM_STATUS, ROOM_EVENT, STREAM_EVENT } = RoomApi;

/** @param {string} id @returns {any} */
const $ = (id) => document.getElementById(id);
const me = new Me(new Tile("local"), { muteAudio: $("muteAudio"), muteVideo: $("muteVideo"), publish: $("publishBtn") });
const remotes = [new Tile("participant1"), new Tile("participant2")];
const chat = new Chat($("chat"));
/** @type {import("../../sdk/session.js").Session | null} */
let session = null;
/** @type {import("../../sdk/room.js").Room | null} */
let room = null;

$("url").value = RoomApi.defaultUrlServer();
$("roomName").value = new URLSearchParams(location.search).get("roomName") ?? randomRoom();
$("joinForm").addEventListener("submit", (/** @type {Event} */ event) => {
    event.preventDefault();
    connect();
});
$("leaveBtn").addEventListener("click", leave);
me.onPublish = publish;
$("copyBtn").addEventListener("click", copyInvite);
$("chatForm").addEventListener("submit", (/** @type {Event} */ event) => {
    event.preventDefault();
    say();
});

// ---- session and room ----

function connect() {
    const [urlServer, username] = [$("url").value.trim(), $("login").value.trim()];
    showFailure("");
    try {
        session = RoomApi.connect({ urlServer, username });
    } catch (error) {
        showFailure(String(/** @type {Error} */ (error).message));
        return;
    }
    $("joinBtn").disabled = true;
    const show = () => setPill($("status"), session?.status() ?? SESSION_STATUS.DISCONNECTED);
    show();
    session
        .on(SESSION_STATUS.ESTABLISHED, () => (show(), join()))
        .on(SESSION_STATUS.RECONNECTING, show)
        .on(SESSION_STATUS.RESUMED, show)
        .on(SESSION_STATUS.DISCONNECTED, (ended) => (show(), showEntry(ended.info())))
        .on(SESSION_STATUS.FAILED, (ended) => (show(), showEntry(ended.info() || "Cannot connect")));
}

function join() {
    room = /** @type {NonNullable<typeof session>} */ (session).join({ name: $("roomName").value.trim() });
    room.on(ROOM_EVENT.STATE, entered)
        .on(ROOM_EVENT.FAILED, (_, info) => {
            session?.disconnect();
            showFailure(info);
        })
        .on(ROOM_EVENT.JOINED, (participant) => {
            seat(participant);
            chat.note(`${participant.name()} joined`);
        })
        .on(ROOM_EVENT.LEFT, (participant) => {
            tileOf(participant)?.free();
            chat.note(`${participant.name()} left`);
        })
        .on(ROOM_EVENT.PUBLISHED, play)
        .on(ROOM_EVENT.MESSAGE, ({ from, text }) => chat.message(from.name(), text));
}

/** @param {import("../../sdk/room.js").Room} joined */
async function entered(joined) {
    const others = joined.getParticipants();
    if (others.length > remotes.length) {
        await joined.leave();
        session?.disconnect();
        showFailure("Current room is full.");
        return;
    }
    showRoom(joined.name());
    chat.note(others.length ? `Here: ${others.map((other) => other.name()).join(", ")}` : "The room is empty. Send somebody the invite link.");
    others.forEach(play);
    publish();
}

async function leave() {
    $("leaveBtn").disabled = true;
    await room?.leave().catch(() => {}); // Refused or not, we go.
    session?.disconnect();
}

// ---- streams ----

function publish() {
    const stream = room?.publish({ display: me.tile.display });
    if (stream) {
        stream.on(STREAM_STATUS.FAILED, () => chat.note(`You are not seen or heard: ${stream.error()?.message ?? stream.info()}`));
        me.follow(stream);
    }
}

/** @param {import("../../sdk/participant.js").Participant} participant */
function play(participant) {
    const tile = seat(participant);
    const published = participant.getStreams().at(-1);
    if (!tile || !published) {
        return;
    }
    tile.stream?.stop();
    const stream = published.play(tile.display);
    tile.stream = stream;
    const mine = () => tile.stream === stream;
    Object.values(STREAM_STATUS).forEach((status) => stream.on(status, () => mine() && tile.showStatus(status)));
    Object.values(STREAM_EVENT).forEach((event) => stream.on(event, () => mine() && tile.showMutes()));
    tile.showStatus(stream.status());
    tile.showMutes();
}

// ---- what is seen ----

/** @param {import("../../sdk/participant.js").Participant} participant the tile that is theirs, or becomes theirs */
function seat(participant) {
    const tile = tileOf(participant) ?? remotes.find(({ owner }) => owner === null);
    tile?.occupy(participant.name());
    return tile;
}

/** @param {import("../../sdk/participant.js").Participant} participant */
function tileOf(participant) {
    return remotes.find(({ owner }) => owner === participant.name());
}

/** @param {string} name */
function showRoom(name) {
    const invite = new URL(location.pathname, location.href);
    invite.searchParams.set("roomName", name);
    $("inviteAddress").value = invite.href;
    me.tile.occupy(session?.username() ?? "");
    $("welcome").hidden = true;
    $("room").hidden = false;
    $("leaveBtn").disabled = false;
    $("message").focus();
}

/** @param {string} info why the session is over, if not by our wish */
function showEntry(info) {
    [me.tile, ...remotes].forEach((tile) => tile.free());
    [session, room] = [null, null];
    chat.clear();
    $("room").hidden = true;
    $("welcome").hidden = false;
    $("joinBtn").disabled = false;
    $("login").focus();
    showFailure(info);
}

/** @param {string} info */
function showFailure(info) {
    $("failedInfo").textContent = info;
}

async function copyInvite() {
    $("inviteAddress").select();
    await navigator.clipboard?.writeText($("inviteAddress").value).catch(() => {}); // Selected at least.
    $("copyBtn").textContent = "Copied";
}

async function say() {
    const text = $("message").value;
    if (text.trim() && room) {
        $("message").value = "";
        chat.message(session?.username() ?? "", text, true);
        await room.sendMessage(text).catch((error) => chat.note(`Not delivered: ${error.message}`));
    }
}

function randomRoom() {
    return `room-${crypto.getRandomValues(new Uint32Array(1))[0].toString(16).padStart(8, "0").slice(0, 6)}`;
}
