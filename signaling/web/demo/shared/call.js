/**
 * A call as all demo pages have it: join, own picture, the others' pictures, chat, and what is told when
 * something goes wrong. A page adds its layout and what only it can do.
 * @module
 */

import * as RoomApi from "../../sdk/index.js";
import { Chat } from "./chat.js";
import { Devices } from "./devices.js";
import { $ } from "./dom.js";
import { Entry } from "./entry.js";
import { build } from "./layout.js";
import { Me } from "./me.js";
import { RecordingNotice } from "./recording.js";
import { setPill } from "./pill.js";
import { Seats } from "./seats.js";
import { inWords } from "./words.js";

const { SESSION_STATUS, STREAM_STATUS, STREAM_EVENT, ROOM_EVENT } = RoomApi;

const MEDIA = { audio: "sound", video: "picture" };

/** Ends the name of a stream that shows a screen; pages of other makers look for it, too. */
export const SCREEN = "screenShare";

/**
 * @typedef {import("../../sdk/stream.js").Stream} Stream
 * @typedef {import("../../sdk/participant.js").Participant} Participant
 * @typedef {import("./tile.js").Tile} Tile
 */

/**
 * @typedef {object} App
 * @property {number} others how many others there may be
 * @property {number} [seats] how many of their tiles are there from the start
 * @property {Record<string, string>} [words] what is told here by the `code` of an error
 * @property {(login: string, name: string) => Tile | null} screen where somebody's screen is shown
 * @property {(tile: Tile) => void} [screenGone] that screen's stream ended
 */

export class Call {
    /** @type {import("../../sdk/session.js").Session | null} */
    session = null;
    /** @type {import("../../sdk/room.js").Room | null} */
    room = null;
    /** Called in the room, and when we are out of it. @type {() => void} */
    onEnter = () => {};
    onLeave = () => {};
    #app;
    /** Names of the streams that are played now. @type {Set<string>} */
    #played = new Set();

    /** @param {App & import("./layout.js").Layout} app */
    constructor(app) {
        this.#app = app;
        build(app);
        this.me = new Me();
        this.chat = new Chat();
        this.entry = new Entry();
        this.devices = new Devices();
        this.seats = new Seats($("stage"), { always: app.seats ?? 1, most: app.others });
        this.recording = new RecordingNotice(() => [this.me.tile, ...this.seats.tiles()], this.chat);
        this.entry.onJoin = (who) => this.#connect(who);
        this.me.onPublish = () => this.#publish();
        this.chat.onSay = (text) => this.#say(text);
        this.devices.onSwitch = () => this.me.listen();
        $("leaveBtn").addEventListener("click", () => this.#leave());
        $("devicesBtn").addEventListener("click", () => this.devices.open());
        $("checkBtn").addEventListener("click", () => this.devices.open());
    }

    // ---- session and room ----

    /** @param {{urlServer: string, username: string, room: string, record: boolean}} who */
    #connect({ urlServer, username, room, record }) {
        this.entry.fail("");
        try {
            this.session = RoomApi.connect({ urlServer, username });
        } catch (error) {
            this.entry.fail(inWords(error));
            return;
        }
        this.entry.busy = true;
        const session = this.session;
        Object.values(SESSION_STATUS).forEach((status) => session.on(status, () => this.#showSession()));
        session
            .on(SESSION_STATUS.ESTABLISHED, () => this.#join(room, record))
            .on(SESSION_STATUS.RESUMED, () => this.chat.note("connected again"))
            .on(SESSION_STATUS.DISCONNECTED, () => this.#over())
            .on(SESSION_STATUS.FAILED, () => this.#over());
        this.#showSession();
    }

    /** @param {string} name @param {boolean} record */
    #join(name, record) {
        const session = /** @type {NonNullable<typeof this.session>} */ (this.session);
        const room = session.join({ name, record, maxParticipants: this.#app.others + 1 });
        this.room = room;
        this.recording.follow(room, record);
        room.on(ROOM_EVENT.STATE, () => this.#entered(room))
            .on(ROOM_EVENT.FAILED, () => this.#turnedAway(inWords(room.error(), this.#app)))
            .on(ROOM_EVENT.JOINED, (participant) => {
                this.seats.take(participant.name());
                this.chat.note(`${participant.name()} joined`);
            })
            .on(ROOM_EVENT.LEFT, (participant) => {
                this.seats.free(participant.name());
                this.chat.note(`${participant.name()} left`);
            })
            .on(ROOM_EVENT.PUBLISHED, (participant) => this.#play(participant))
            .on(ROOM_EVENT.MESSAGE, ({ from, text }) => this.chat.message(from.name(), text));
    }

    /** @param {import("../../sdk/room.js").Room} room */
    async #entered(room) {
        const others = room.getParticipants();
        if (others.length > this.#app.others) { // Another maker's page made the room, for more than we can show.
            await room.leave().catch(() => {}); // Refused or not, we go.
            this.#turnedAway(inWords({ code: "room-full" }, this.#app));
            return;
        }
        this.entry.close(room.name());
        this.me.tile.occupy(this.session?.username() ?? "");
        $("leaveBtn").disabled = false;
        this.chat.note(others.length ? `participants: ${others.map((other) => other.name()).join(", ")}` : "room is empty");
        others.forEach((other) => this.#play(other));
        this.#publish();
        this.onEnter();
    }

    /** @param {string} text */
    #turnedAway(text) {
        this.session?.disconnect();
        this.entry.fail(text);
    }

    async #leave() {
        $("leaveBtn").disabled = true;
        await this.room?.leave().catch(() => {}); // Refused or not, we go.
        this.session?.disconnect();
    }

    #over() {
        const error = this.session?.error();
        $("devices").close();
        this.me.free();
        this.seats.freeAll();
        this.devices.follow(null);
        this.#played.clear();
        this.chat.clear();
        [this.session, this.room] = [null, null];
        this.recording.follow(null);
        this.onLeave();
        this.entry.open(error ? inWords(error) : "");
    }

    // ---- streams ----

    /** @param {{audio?: any, video?: any}} [constraints] */
    #publish(constraints = this.devices.constraints()) {
        const stream = this.room?.publish({ display: this.me.tile.display, constraints });
        if (stream) {
            stream.on(STREAM_STATUS.FAILED, () => stream === this.me.tile.stream && this.#notPublished(stream, constraints))
                .on(STREAM_STATUS.PUBLISHING, () => {
                    this.devices.follow(stream);
                    stream.rejected().forEach((one) => this.chat.note(`Your ${MEDIA[one.kind]} is not sent: ${inWords(one)}`));
                })
                .on(STREAM_STATUS.UNPUBLISHED, () => this.devices.follow(null))
                .on(STREAM_EVENT.AUDIO_STOPPED, () => this.chat.note(`Your ${MEDIA.audio} does not reach the server.`))
                .on(STREAM_EVENT.VIDEO_STOPPED, () => this.chat.note(`Your ${MEDIA.video} does not reach the server.`))
                .on(STREAM_EVENT.AUDIO_RESUMED, () => this.chat.note(`Your ${MEDIA.audio} reaches the server again.`))
                .on(STREAM_EVENT.VIDEO_RESUMED, () => this.chat.note(`Your ${MEDIA.video} reaches the server again.`));
            this.me.follow(stream);
            this.recording.watch(stream);
        }
    }

    /**
     * One missing device does not silence the other.
     * @param {Stream} stream
     * @param {{audio?: any, video?: any}} constraints
     */
    #notPublished(stream, { audio, video }) {
        this.devices.follow(null);
        const error = /** @type {{code?: string} | null} */ (stream.error());
        const missing = error?.code === "device-not-found" || error?.code === "device-busy";
        if (this.devices.forget(error)) {
            this.#publish();
        } else if (missing && audio && video) {
            this.chat.note("Your camera cannot be used: others hear you, but do not see you.");
            this.#publish({ audio });
        } else if (missing && audio) {
            this.chat.note("Your microphone cannot be used either.");
            this.#publish({ video: this.devices.constraints().video });
        } else {
            this.chat.note(`You are not seen or heard: ${inWords(error)}`);
        }
    }

    /** Plays what they publish and we do not play yet. @param {Participant} participant */
    #play(participant) {
        const login = participant.name();
        const seat = this.seats.take(login);
        for (const published of participant.getStreams().filter((one) => !this.#played.has(one.name()))) {
            const name = published.name();
            const isScreen = name.endsWith(`-${SCREEN}`);
            const tile = isScreen ? this.#app.screen(login, name) : seat;
            if (!tile) {
                continue;
            }
            tile.stream?.stop();
            const stream = published.play(tile.display);
            this.#played.add(name);
            const ended = () => {
                this.#played.delete(name);
                isScreen && tile.stream === stream && this.#app.screenGone?.(tile);
            };
            [STREAM_STATUS.STOPPED, STREAM_STATUS.FAILED].forEach((status) => stream.on(status, ended));
            stream.on(STREAM_STATUS.PLAYING, () => stream.rejected().forEach((one) =>
                this.chat.note(`The ${MEDIA[one.kind]} of ${login} cannot be played: ${inWords(one)}`)));
            tile.follow(stream);
            this.recording.watch(stream);
        }
    }

    // ---- what is seen ----

    #showSession() {
        const status = this.session?.status() ?? SESSION_STATUS.DISCONNECTED;
        setPill($("status"), status);
        const away = status === SESSION_STATUS.RECONNECTING;
        const why = navigator.onLine ? "The connection to the server is lost." : "There is no network.";
        $("banner").textContent = away ? `${why} Trying to come back… Pictures and sound go on where they can.` : "";
    }

    /** @param {string} text */
    async #say(text) {
        this.chat.message(this.session?.username() ?? "", text, true);
        await this.room?.sendMessage(text).catch((error) => this.chat.note(`Not delivered: ${inWords(error)}`));
    }
}
