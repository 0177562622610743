"""aiortc, which gives up an answer if any m-line in it is not to its taste, where only a part of its offers can be had.

Usage: whip_aiortc_part.py --base http://localhost:8080 --case codec|bundle|mid|fingerprints
"codec": a player of Opus and VP8 in a room of H.264 hears the sound. "bundle": publisher and player offer no BUNDLE group,
and the first m-line, the picture, goes alone. "mid": the same without mids. "fingerprints": each m-line has
that of another certificate first. Prints one line of JSON; any difference is an
exception.
"""

import argparse
import asyncio
import json
import urllib.parse

import aiohttp
from aiortc import RTCSessionDescription
from whip_aiortc import DEADLINE_S, Pictures, Tone, compare_pictures, delete, measure_tone, new_connection, only

UNSAID = {"codec": (), "bundle": ("a=group:",), "mid": ("a=group:", "a=mid:"), "fingerprints": ()}
FOREIGN = "a=fingerprint:sha-256 " + ":".join(["CD"] * 32) + "\r\n"


def with_mids(answer):
    """The mids that aiortc has given its m-lines, in their order, and which it wants back."""
    head, *media = answer.split("m=")
    return head + "".join(f"m={one}a=mid:{mid}\r\n" for mid, one in enumerate(media))


async def negotiate(http, url, connection, case):
    """Returns the session's address, and what the server says of what cannot be had."""
    await connection.setLocalDescription(await connection.createOffer())
    lines = connection.localDescription.sdp.splitlines(keepends=True)
    offer = "".join(line for line in lines if not line.startswith(UNSAID[case]))
    if case == "fingerprints":
        offer = offer.replace("a=fingerprint:sha-256", f"{FOREIGN}a=fingerprint:sha-256")
    async with asyncio.timeout(DEADLINE_S):
        while True:
            async with http.post(url, data=offer, headers={"content-type": "application/sdp"}) as reply:
                text = await reply.text()
                if reply.status in (404, 409):
                    # Not on the air yet.
                    await asyncio.sleep(0.1)
                    continue
                assert reply.status == 201, f"POST {url}: {reply.status} {text}"
                location = urllib.parse.urljoin(url, reply.headers["location"])
                rejected = reply.headers.get("ringvox-rejected")
                break
    answer = with_mids(text) if case == "mid" else text
    await connection.setRemoteDescription(RTCSessionDescription(sdp=answer, type="answer"))
    return location, rejected


async def run(base, case):
    async with aiohttp.ClientSession() as http:
        publisher, player = new_connection(), new_connection()
        sent, played = ("H264", "VP8") if case == "codec" else ("VP8", "VP8")
        for kind, track, codec in (("video", Pictures(), sent), ("audio", Tone(), "opus")):
            publisher.addTransceiver(track, direction="sendonly").setCodecPreferences(only(kind, codec))
        published, publisher_rejected = await negotiate(http, f"{base}/whip/{case}?login=pattern", publisher, case)
        tracks = {}
        player.on("track", lambda track: tracks.__setitem__(track.kind, track))
        for kind, codec in (("video", played), ("audio", "opus")):
            player.addTransceiver(kind, direction="recvonly").setCodecPreferences(only(kind, codec))
        watched, player_rejected = await negotiate(http, f"{base}/whep/{case}/pattern", player, case)
        look = measure_tone(tracks["audio"]) if case == "codec" else compare_pictures(tracks["video"])
        found = await asyncio.wait_for(look, DEADLINE_S)
        kinds = {"codec": {"audio"}, "fingerprints": {"audio", "video"}}.get(case, {"video"})
        assert set(tracks) == kinds, tracks
        for connection, location in ((player, watched), (publisher, published)):
            await delete(http, location)
            await connection.close()
        return found | {"publisher_rejected": publisher_rejected, "player_rejected": player_rejected}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--base", required=True)
    parser.add_argument("--case", required=True, choices=UNSAID)
    arguments = parser.parse_args()
    print(json.dumps(asyncio.run(run(arguments.base, arguments.case))))
