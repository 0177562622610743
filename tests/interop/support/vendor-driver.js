/**
 * Runs in a page beside the vendor's bundle, as a customer's own script would: people, rooms and streams
 * under names that a test gives them, and notes of everything that the SDK tells of them.
 */

(() => {
    /** @type {any} */
    const RoomApi = globalThis.RoomApi;
    const { sdk } = RoomApi;
    const { STREAM_STATUS, SESSION_STATUS, STREAM_EVENT } = sdk.constants;

    /** @type {Map<string, any>} */
    const sessions = new Map(), sockets = new Map(), rooms = new Map(), streams = new Map();
    /** @type {{who: string, what: string, about: unknown}[]} */
    const notes = [];
    const note = (who, what, about = null) => { notes.push({ who, what, about }); };
    const roomOf = (who, room) => rooms.get(`${who} in ${room}`);

    let newest;
    globalThis.WebSocket = class extends WebSocket {
        constructor(...args) {
            super(...args);
            newest = this;
        }
    };

    /** Takes notes of a stream; resolves with what its request came to. */
    function follow(stream, as) {
        streams.set(as, stream);
        stream.on(STREAM_EVENT, ({ type, payload }) => note(as, type, payload));
        return new Promise((resolve) => {
            for (const status of Object.values(STREAM_STATUS).filter((one) => ![STREAM_STATUS.NEW, STREAM_STATUS.PENDING].includes(one))) {
                stream.on(status, () => {
                    note(as, status, stream.getInfo() ?? null);
                    resolve({ status, ...(stream.getInfo() && { info: stream.getInfo() }) });
                });
            }
        });
    }

    function display() {
        return document.body.appendChild(document.createElement("div"));
    }

    globalThis.driver = {
        /** Resolves with the first status that tells something. */
        connect(who, options) {
            const session = RoomApi.connect({ username: who, ...options });
            sessions.set(who, session);
            sockets.set(who, newest);
            newest.addEventListener("message", ({ data }) => note(who, `wire ${JSON.parse(data).message}`, JSON.parse(data).data[0]));
            newest.addEventListener("close", ({ code, reason }) => note(who, "wire closed", { code, reason }));
            return new Promise((resolve) => {
                for (const status of [SESSION_STATUS.ESTABLISHED, SESSION_STATUS.DISCONNECTED, SESSION_STATUS.FAILED]) {
                    session.on(status, () => {
                        note(who, status);
                        resolve(status);
                    });
                }
            });
        },

        disconnect(who) {
            sessions.get(who).disconnect();
        },

        status(who) {
            return sessions.get(who).status();
        },

        /** Says something on a person's connection that the SDK would not say. */
        raw(who, message, content) {
            sockets.get(who).send(JSON.stringify({ message, data: [content] }));
        },

        /** Resolves with the streams of those who are there, or with the refusal. */
        join(who, name, options = {}) {
            const room = sessions.get(who).join({ name, ...options });
            rooms.set(`${who} in ${name}`, room);
            for (const event of ["JOINED", "LEFT", "PUBLISHED"]) {
                room.on(event, (participant) => note(who, event, `${participant.name()} in ${name}`));
            }
            room.on("MESSAGE", ({ from, text }) => note(who, "MESSAGE", { room: name, from: from.name(), text }));
            return new Promise((resolve) => {
                room.on("STATE", () => {
                    const named = (stream) => stream.streamName();
                    resolve({ state: Object.fromEntries(room.getParticipants().map((one) => [one.name(), one.getStreams().map(named)])) });
                });
                room.on("FAILED", (_, info) => resolve({ failed: info }));
            });
        },

        leave(who, room) {
            return roomOf(who, room).leave().then(() => "left", () => "refused");
        },

        participant(who, room, login) {
            return roomOf(who, room).getParticipants().find((one) => one.name() === login);
        },

        say(who, room, to, text) {
            this.participant(who, room, to).sendMessage(text, () => note(who, "REFUSED", text));
        },

        streamsOf(who, room, owner) {
            return this.participant(who, room, owner)?.getStreams().map((stream) => stream.streamName()) ?? [];
        },

        publish(who, room, as, options) {
            return follow(roomOf(who, room).publish({ display: display(), constraints: { audio: true, video: true }, ...options }), as);
        },

        play(who, room, owner, as, options) {
            return follow(this.participant(who, room, owner).getStreams()[0].play(display(), options), as);
        },

        /** Plays by name what the room API has not offered. */
        playByName(who, room, name, as) {
            const stream = sdk.getSession(sessions.get(who).id()).createStream({ name, display: display(), custom: { name: room } });
            const done = follow(stream, as);
            stream.play();
            return done;
        },

        available(who, name) {
            const stream = sdk.getSession(sessions.get(who).id()).createStream({ name, display: display() });
            return stream.available().then(() => true, () => false);
        },

        /** Anything a stream can do. */
        stream(as, method, ...args) {
            return streams.get(as)[method](...args);
        },

        /** As the SDK counts. */
        stats(as) {
            return new Promise((resolve) => { streams.get(as).getStats(resolve); });
        },

        /** What was received so far, and which element shows it. */
        async figures(as) {
            const element = document.getElementById(streams.get(as).id());
            const tracks = /** @type {HTMLVideoElement | null} */ (element)?.srcObject?.getTracks() ?? [];
            const owner = globalThis.__connections.find((one) => one.getReceivers().some(({ track }) => tracks.includes(track)));
            const found = { element: element?.id, frames: 0, energy: 0 };
            for (const entry of (await owner?.getStats())?.values() ?? []) {
                if (entry.type === "inbound-rtp") {
                    found.frames += entry.framesDecoded ?? 0;
                    found.energy += entry.totalAudioEnergy ?? 0;
                }
            }
            return found;
        },

        /** What somebody, or a stream, was told: of one sort, or all. */
        notesOf(who, what) {
            const theirs = notes.filter((one) => one.who === who);
            return what ? theirs.filter((one) => one.what === what).map(({ about }) => about) : theirs.slice(-30);
        },
    };

    sdk.init();
})();
