/**
 * What to do when a room was joined again after the socket was lost: a pure function from what we had and
 * what the server has to what must happen. Media that still flows is never touched.
 * @module
 */

/**
 * @typedef {import("./stream.js").Stream} Stream
 * @typedef {import("./participant.js").Participant} Participant
 * @typedef {{mediaSessionId: string, name: string, published: boolean, status: string}} Resumed
 * @typedef {{login: string, name: string, hasAudio?: boolean, hasVideo?: boolean, stopped?: string[]}} Published
 */

/**
 * @param {object} facts
 * @param {(string | Published)[]} facts.members the new STATE
 * @param {Resumed[]} facts.resumed our streams that the server still has
 * @param {Stream[]} facts.ours our streams that have not ended
 * @param {Participant[]} facts.known the others, as we knew them
 */
export function planReturn({ members, resumed, ours, known }) {
    const alive = new Map(resumed.map(({ mediaSessionId, status }) => [mediaSessionId, status]));
    const present = new Set(members.map((member) => (typeof member === "string" ? member : member.login)));
    /** @type {Published[]} */
    const published = members.flatMap((member) => (typeof member === "string" ? [] : [member]));
    const playable = new Set(published.map(({ name }) => name));

    const keep = ours.filter((stream) => stream._flows && alive.has(stream.id()));
    const lost = ours.filter((stream) => !keep.includes(stream));
    const kept = keep.filter((stream) => !stream.published());
    const keptNames = new Set(kept.map((stream) => stream.name()));
    // Somebody whose media we still get is on the way back, too.
    const awaited = new Set(kept.map((stream) => stream.owner()).filter((login) => !present.has(login)));
    const stays = (/** @type {string} */ login) => present.has(login) || awaited.has(login);

    return {
        keep: keep.map((stream) => ({ stream, status: alive.get(stream.id()) ?? "" })),
        restart: lost.filter((stream) => stream.published() || playable.has(stream.name())),
        end: lost.filter((stream) => !stream.published() && !playable.has(stream.name())),
        awaited,
        strangers: resumed.filter(({ mediaSessionId }) => !ours.some((stream) => stream.id() === mediaSessionId)),
        left: known.map((participant) => participant.name()).filter((login) => !stays(login)),
        joined: [...present].filter((login) => !known.some((participant) => participant.name() === login)),
        published,
        unpublished: known.filter((participant) => stays(participant.name())).flatMap((participant) =>
            participant.getStreams()
                .map((stream) => ({ login: participant.name(), name: stream.name() }))
                .filter(({ name }) => !playable.has(name) && !keptNames.has(name))),
    };
}
