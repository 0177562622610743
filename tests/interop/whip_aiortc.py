"""An independent WebRTC stack (aiortc) publishes a test pattern over WHIP and plays it back over WHEP.

Every picture carries its number as a bar code, so that a decoded picture is compared with the very picture that was
sent, and the sound is one tone whose pitch is measured. Prints one line of JSON; any difference is an exception.

Usage: whip_aiortc.py --base http://localhost:8080 --room R [--video VP8|H264] [--audio opus|PCMU|PCMA] [--no-rtx]
       [--passive] [--token JWT] [--hold] [--watch]
With --no-rtx it offers no retransmission under SSRCs of its own (RFC 4588), in neither direction. With --passive it is
the DTLS server of both its connections.
With --hold it prints "publishing", goes on until its standard input closes, and plays nothing. With --watch it plays
what another one publishes, and prints "playing" once pictures come. Both end when they are refused, with the status.
"""

import argparse
import asyncio
import fractions
import json
import math
import sys
import time
import urllib.parse

import aiohttp
import av
import numpy
from aiortc import RTCConfiguration, RTCPeerConnection, RTCRtpSender, RTCSessionDescription
from aiortc.mediastreams import AudioStreamTrack, VideoStreamTrack

WIDTH, HEIGHT, RATE = 320, 240, 15
BITS = 16
BAR_HEIGHT = 48
TONE_HZ = 440
SAMPLE_RATE = 48_000
SAMPLES = 960
DEADLINE_S = 40
PICTURES = 40
# A lossy codec at a few hundred kbit/s is well above this on a smooth picture; a wrong picture is far below.
LEAST_PSNR_DB = 25.0


def pattern(number):
    """The luma plane of picture `number`: its bar code on top, below it slow waves and a square that moves."""
    y, x = numpy.mgrid[0:HEIGHT, 0:WIDTH]
    luma = 110 + 40 * numpy.sin(x / 40 + number / 10) + 30 * numpy.cos(y / 30)
    left = (number * 4) % (WIDTH - 40)
    luma[140:180, left : left + 40] = 220
    gray = number ^ (number >> 1)
    for bit in range(BITS):
        column = bit * WIDTH // BITS
        luma[0:BAR_HEIGHT, column : column + WIDTH // BITS] = 210 if gray >> bit & 1 else 40
    return luma.clip(16, 235).astype(numpy.uint8)


def number_of(luma):
    """Reads the bar code."""
    gray = 0
    for bit in range(BITS):
        column = bit * WIDTH // BITS
        block = luma[12 : BAR_HEIGHT - 12, column + 5 : column + WIDTH // BITS - 5]
        gray |= int(block.mean() > 125) << bit
    number = 0
    while gray:
        number ^= gray
        gray >>= 1
    return number


def luma_of(frame):
    """The luma plane of a decoded frame, without the padding of its rows."""
    plane = frame.reformat(format="yuv420p").planes[0]
    rows = numpy.frombuffer(bytes(plane), numpy.uint8).reshape(plane.height, plane.line_size)
    return rows[:, : plane.width]


def psnr(one, other):
    error = numpy.mean((one.astype(float) - other.astype(float)) ** 2)
    return math.inf if error == 0 else 10 * math.log10(255 * 255 / error)


class Pictures(VideoStreamTrack):
    """Numbered pictures, RATE in a second."""

    def __init__(self):
        super().__init__()
        self.number = 0
        self.began = time.monotonic()

    async def recv(self):
        self.number += 1
        await asyncio.sleep(max(0, self.began + self.number / RATE - time.monotonic()))
        frame = av.VideoFrame(WIDTH, HEIGHT, "yuv420p")
        frame.planes[0].update(pattern(self.number).tobytes())
        for plane in frame.planes[1:]:
            plane.update(bytes([128]) * plane.buffer_size)
        frame.pts = self.number * 90_000 // RATE
        frame.time_base = fractions.Fraction(1, 90_000)
        return frame


class Tone(AudioStreamTrack):
    """One pure tone."""

    def __init__(self):
        super().__init__()
        self.sent = 0
        self.began = time.monotonic()

    async def recv(self):
        await asyncio.sleep(max(0, self.began + self.sent / SAMPLE_RATE - time.monotonic()))
        at = (numpy.arange(SAMPLES) + self.sent) * (2 * math.pi * TONE_HZ / SAMPLE_RATE)
        samples = (numpy.sin(at) * 12_000).astype(numpy.int16)
        frame = av.AudioFrame(format="s16", layout="mono", samples=SAMPLES)
        frame.planes[0].update(samples.tobytes())
        frame.sample_rate = SAMPLE_RATE
        frame.pts = self.sent
        frame.time_base = fractions.Fraction(1, SAMPLE_RATE)
        self.sent += SAMPLES
        return frame


def only(kind, name, rtx=True):
    """The codec preferences that leave just this codec (and retransmission)."""
    wanted = {f"{kind}/{name}".lower()} | ({f"{kind}/rtx"} if rtx else set())
    found = [codec for codec in RTCRtpSender.getCapabilities(kind).codecs if codec.mimeType.lower() in wanted]
    assert any(codec.name.lower() == name.lower() for codec in found), f"aiortc has no {name}"
    return found


def new_connection():
    # Bundling as aiortc does it by default: it offers a transport for each m-line and the answer leaves one.
    # (With its max-bundle it looks for candidates in the last m-line of an answer, where RFC 8843 has none.)
    return RTCPeerConnection(RTCConfiguration(iceServers=[]))


async def post(http, url, connection, passive, retry=True):
    """Sends our offer, takes the answer. Returns the session's address; asks again while the stream is not on the air yet."""
    await connection.setLocalDescription(await connection.createOffer())
    offer = connection.localDescription.sdp
    if passive:
        # It takes either part, and is told which by the answer.
        offer = offer.replace("a=setup:actpass", "a=setup:passive")
        assert "a=setup:passive" in offer, offer
    headers = {"content-type": "application/sdp"}
    deadline = time.monotonic() + DEADLINE_S
    while True:
        async with http.post(url, data=offer, headers=headers) as reply:
            text = await reply.text()
            if reply.status in (404, 409) and retry and time.monotonic() < deadline:
                await asyncio.sleep(0.1)
                continue
            assert reply.status == 201, f"POST {url}: {reply.status} {text}"
            assert reply.headers["content-type"].startswith("application/sdp")
            location = urllib.parse.urljoin(url, reply.headers["location"])
            break
    await connection.setRemoteDescription(RTCSessionDescription(sdp=text, type="answer"))
    return location


async def delete(http, location):
    async with http.delete(location) as reply:
        assert reply.status == 200, f"DELETE: {reply.status}"
    async with http.delete(location) as reply:
        assert reply.status == 404, f"second DELETE: {reply.status}"


async def connected(connection, passive):
    deadline = time.monotonic() + DEADLINE_S
    while connection.connectionState != "connected":
        assert connection.connectionState in ("new", "connecting"), connection.connectionState
        assert time.monotonic() < deadline, f"still {connection.connectionState}, ICE {connection.iceConnectionState}"
        await asyncio.sleep(0.05)
    roles = {role_of(transceiver) for transceiver in connection.getTransceivers()}
    assert roles == {"server" if passive else "client"}, roles


def role_of(transceiver):
    """Ours in the DTLS association, as it has come to be; aiortc tells nobody."""
    return transceiver.receiver.transport._role


async def compare_pictures(track):
    """Compares decoded pictures with what was sent; returns how many, and the worst likeness."""
    numbers, worst = [], math.inf
    while len(numbers) < PICTURES:
        luma = luma_of(await track.recv())
        assert luma.shape == (HEIGHT, WIDTH), luma.shape
        number = number_of(luma)
        likeness = psnr(luma, pattern(number))
        # The first pictures of an encoder that still looks for its bit rate are coarse.
        assert likeness >= LEAST_PSNR_DB or len(numbers) < 10, f"picture {number}: {likeness:.1f} dB"
        assert not numbers or number > numbers[-1], f"picture {number} after {numbers[-1]}"
        numbers.append(number)
        worst = min(worst, likeness) if len(numbers) > 10 else worst
    return {"pictures": len(numbers), "skipped": numbers[-1] - numbers[0] + 1 - len(numbers), "worst_psnr_db": round(worst, 1)}


async def measure_tone(track):
    """The strongest frequency of one second of sound, after the jitter buffer has settled."""
    samples, rate = [], 0
    for index in range(120):
        frame = await track.recv()
        rate = frame.sample_rate
        if index >= 70:
            data = frame.to_ndarray().reshape(-1)
            samples.append(data[:: len(frame.layout.channels)] if frame.format.is_packed else data[: frame.samples])
    sound = numpy.concatenate(samples).astype(float)
    assert sound.std() > 1000, f"nearly silent: {sound.std():.0f}"
    spectrum = numpy.abs(numpy.fft.rfft(sound * numpy.hanning(len(sound))))
    pitch = float(spectrum.argmax() * rate / len(sound))
    assert abs(pitch - TONE_HZ) < 10, f"{pitch:.0f} Hz"
    return {"tone_hz": round(pitch)}


def receiver_codec(connection, kind):
    """What the answer agreed to."""
    for transceiver in connection.getTransceivers():
        if transceiver.kind == kind:
            return transceiver._codecs[0].name
    return None


async def publish(http, arguments):
    connection = new_connection()
    for kind, track in (("video", Pictures()), ("audio", Tone())):
        transceiver = connection.addTransceiver(track, direction="sendonly")
        transceiver.setCodecPreferences(only(kind, getattr(arguments, kind), arguments.rtx))
    url = f"{arguments.base}/whip/{urllib.parse.quote(arguments.room, safe='')}?login=pattern"
    location = await post(http, url, connection, arguments.passive, retry=not arguments.hold)
    await connected(connection, arguments.passive)
    return connection, location


async def play(http, arguments):
    connection = new_connection()
    tracks = {}
    connection.on("track", lambda track: tracks.__setitem__(track.kind, track))
    for kind in ("video", "audio"):
        transceiver = connection.addTransceiver(kind, direction="recvonly")
        if not arguments.rtx:
            transceiver.setCodecPreferences(only(kind, getattr(arguments, kind), rtx=False))
    url = f"{arguments.base}/whep/{urllib.parse.quote(arguments.room, safe='')}/pattern"
    location = await post(http, url, connection, arguments.passive, retry=not arguments.watch)
    await connected(connection, arguments.passive)
    return connection, location, tracks


async def run(arguments):
    headers = {"authorization": f"Bearer {arguments.token}"} if arguments.token else {}
    async with aiohttp.ClientSession(headers=headers) as http:
        if arguments.watch:
            player, played, tracks = await play(http, arguments)
            await asyncio.wait_for(tracks["video"].recv(), DEADLINE_S)
            print("playing", flush=True)
            await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
            await delete(http, played)
            await player.close()
            return {}
        publisher, published = await publish(http, arguments)
        if arguments.hold:
            print("publishing", flush=True)
            await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
            await delete(http, published)
            await publisher.close()
            return {}
        player, played, tracks = await play(http, arguments)
        found = {"video": receiver_codec(player, "video"), "audio": receiver_codec(player, "audio")}
        assert found == {"video": arguments.video, "audio": arguments.audio}, found
        results = await asyncio.wait_for(asyncio.gather(compare_pictures(tracks["video"]), measure_tone(tracks["audio"])), DEADLINE_S)
        await delete(http, played)
        await player.close()
        await delete(http, published)
        await publisher.close()
        for result in results:
            found |= result
        return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--base", required=True)
    parser.add_argument("--room", required=True)
    parser.add_argument("--video", default="VP8")
    parser.add_argument("--audio", default="opus")
    parser.add_argument("--no-rtx", action="store_false", dest="rtx")
    parser.add_argument("--token")
    parser.add_argument("--hold", action="store_true")
    parser.add_argument("--watch", action="store_true")
    parser.add_argument("--passive", action="store_true")
    print(json.dumps(asyncio.run(run(parser.parse_args()))))
