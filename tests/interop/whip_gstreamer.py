"""GStreamer's webrtcbin publishes over WHIP and plays over WHEP, with the defaults that it has: no BUNDLE unless it is
asked for, formats of players without parameters.

Counts decoded pictures and sound that is not silent, and prints one line of JSON: what each side was answered, and
what the player got of each kind. A kind that the answer rejects stays at 0.

Usage: whip_gstreamer.py --base http://localhost:8080 --room R [--policy none|max-bundle] [--kinds video,audio]
       [--video VP8|H264] [--play-policy none|max-bundle] [--play-video VP8|H264] [--buffers N]
N is how many pictures and parts of sound (20 ms) the player waits for.
"""

import argparse
import json
import time
import urllib.error
import urllib.parse
import urllib.request

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstSdp", "1.0")
gi.require_version("GstWebRTC", "1.0")
from gi.repository import GLib, Gst, GstSdp, GstWebRTC  # noqa: E402

DEADLINE_S = 40
ENCODERS = {
    "VP8": "videotestsrc is-live=true pattern=ball ! video/x-raw,width=320,height=240,framerate=15/1 "
    "! vp8enc deadline=1 keyframe-max-dist=30 ! rtpvp8pay pt=96 ! application/x-rtp,payload=96",
    "H264": "videotestsrc is-live=true pattern=ball ! video/x-raw,width=320,height=240,framerate=15/1 "
    "! x264enc tune=zerolatency speed-preset=ultrafast key-int-max=30 ! rtph264pay pt=96 config-interval=-1 "
    "! application/x-rtp,payload=96",
    "audio": "audiotestsrc is-live=true ! audioconvert ! opusenc ! rtpopuspay pt=97 ! application/x-rtp,payload=97",
}
CAPS = {
    "VP8": "application/x-rtp,media=video,encoding-name=VP8,payload=96,clock-rate=90000",
    "H264": "application/x-rtp,media=video,encoding-name=H264,payload=96,clock-rate=90000",
    "audio": "application/x-rtp,media=audio,encoding-name=OPUS,payload=97,clock-rate=48000",
}
DECODERS = {"VP8": "rtpvp8depay ! vp8dec", "H264": "rtph264depay ! h264parse ! avdec_h264", "OPUS": "rtpopusdepay ! opusdec"}


class Peer:
    """One webrtcbin and its session."""

    def __init__(self, pipeline, url):
        self.pipeline, self.url, self.location, self.answer = pipeline, url, None, ""
        self.error, self.rejected, self.offered = None, None, False
        self.bin = pipeline.get_by_name("peer")
        bus = pipeline.get_bus()
        bus.add_signal_watch()
        bus.connect("message::error", lambda _, message: self.fail(message.parse_error()))
        self.bin.connect("on-negotiation-needed", lambda _: self.offer())
        self.bin.connect("notify::ice-gathering-state", lambda *_: self.gathered())

    def fail(self, error):
        self.error = self.error or str(error)

    def offer(self):
        # Once: it would like to negotiate again about what was rejected, and WHIP has no way to.
        if self.offered:
            return
        self.offered = True

        def made(promise):
            # Held, for the offer is part of it.
            reply = promise.get_reply()
            offer = reply.get_value("offer")
            self.bin.emit("set-local-description", offer, Gst.Promise.new())

        self.bin.emit("create-offer", None, Gst.Promise.new_with_change_func(made))

    def gathered(self):
        if self.bin.get_property("ice-gathering-state") == GstWebRTC.WebRTCICEGatheringState.COMPLETE:
            GLib.idle_add(self.post)

    def post(self):
        sdp = self.bin.get_property("local-description").sdp.as_text()
        headers = {"content-type": "application/sdp"}
        try:
            request = urllib.request.Request(self.url, sdp.encode(), headers, method="POST")
            with urllib.request.urlopen(request, timeout=DEADLINE_S) as reply:
                self.answer = reply.read().decode()
                self.location = urllib.parse.urljoin(self.url, reply.headers["location"])
                self.rejected = reply.headers["ringvox-rejected"]
        except urllib.error.HTTPError as error:
            if error.code in (404, 409):  # The stream is not on the air yet.
                return GLib.timeout_add(100, self.post) and False
            self.fail(f"{error.code} {error.read().decode()} to\n{sdp}")
            return False
        _, answer = GstSdp.SDPMessage.new_from_text(self.answer)
        answer = GstWebRTC.WebRTCSessionDescription.new(GstWebRTC.WebRTCSDPType.ANSWER, answer)
        self.bin.emit("set-remote-description", answer, Gst.Promise.new())
        return False

    def connected(self):
        return self.bin.get_property("connection-state") == GstWebRTC.WebRTCPeerConnectionState.CONNECTED

    def start(self):
        self.pipeline.set_state(Gst.State.PLAYING)

    def close(self):
        with urllib.request.urlopen(urllib.request.Request(self.location, method="DELETE")) as reply:
            assert reply.status == 200, reply.status
        self.pipeline.set_state(Gst.State.NULL)


def publisher(arguments):
    kinds = [ENCODERS[arguments.video if kind == "video" else kind] for kind in arguments.kinds]
    branches = " ".join(f"{kind} ! peer. " for kind in kinds)
    pipeline = Gst.parse_launch(f"{webrtcbin(arguments.policy)} {branches}")
    room = urllib.parse.quote(arguments.room, safe="")
    return Peer(pipeline, f"{arguments.base}/whip/{room}?login=gstreamer")


def webrtcbin(policy):
    return "webrtcbin name=peer" + ("" if policy == "none" else f" bundle-policy={policy}")


class Player(Peer):
    """Counts what it decodes, and asks for a kind in the order that it is told."""

    def __init__(self, arguments):
        pipeline = Gst.Pipeline.new()
        pipeline.add(Gst.parse_launch(webrtcbin(arguments.play_policy)))
        room = urllib.parse.quote(arguments.room, safe="")
        super().__init__(pipeline, f"{arguments.base}/whep/{room}/gstreamer?by=login")
        self.got = {"video": 0, "audio": 0}
        self.bin.connect("pad-added", lambda _, pad: self.decode(pad))
        for kind in arguments.kinds:
            caps = Gst.Caps.from_string(CAPS[arguments.play_video if kind == "video" else kind])
            self.bin.emit("add-transceiver", GstWebRTC.WebRTCRTPTransceiverDirection.RECVONLY, caps)

    def decode(self, pad):
        if pad.direction != Gst.PadDirection.SRC:
            return
        caps = pad.get_current_caps().get_structure(0)
        kind = caps.get_string("media")
        decoder = DECODERS[caps.get_string("encoding-name").upper()]
        branch = Gst.parse_bin_from_description(f"queue ! {decoder} ! fakesink name=sink signal-handoffs=true sync=false", True)
        branch.get_by_name("sink").connect("handoff", lambda _, buffer, __: self.count(kind, buffer))
        self.pipeline.add(branch)
        branch.sync_state_with_parent()
        pad.link(branch.get_static_pad("sink"))

    def count(self, kind, buffer):
        # Neither a black picture nor silence is one.
        ok, info = buffer.map(Gst.MapFlags.READ)
        if ok:
            data = bytes(info.data[: 320 * 240])
            self.got[kind] += len(set(data)) > 4
            buffer.unmap(info)


def until(what, condition, *peers, seconds=DEADLINE_S):
    context, deadline = GLib.MainContext.default(), time.monotonic() + seconds
    # A timer wakes the loop, so that the deadline is looked at.
    tick = GLib.timeout_add(20, lambda: True)
    while not condition():
        context.iteration(True)
        errors = [peer.error for peer in peers if peer.error]
        assert not errors, f"{what}: {errors}"
        assert time.monotonic() < deadline, f"not in {seconds} s: {what} {[vars(peer) for peer in peers]}"
    GLib.source_remove(tick)


def answered(peer):
    """Kinds of the m-lines that the answer takes."""
    lines = [line.split() for line in peer.answer.splitlines() if line.startswith("m=")]
    return [line[0].removeprefix("m=") for line in lines if line[1] != "0"]


def run(arguments):
    sender = publisher(arguments)
    sender.start()
    until("published", lambda: sender.connected(), sender)
    player = Player(arguments)
    player.start()
    until("playing", lambda: player.connected(), sender, player)
    taken = answered(player)
    enough = arguments.buffers
    seconds = DEADLINE_S + enough / 50
    until("media", lambda: all(player.got[kind] >= enough for kind in taken), sender, player, seconds=seconds)
    result = {"published": answered(sender), "publisher_rejected": sender.rejected, "played": taken}
    result |= {"player_rejected": player.rejected, "got": {kind: count >= enough for kind, count in player.got.items()}}
    player.close()
    sender.close()
    return result


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--base", required=True)
    parser.add_argument("--room", required=True)
    parser.add_argument("--policy", default="none")
    parser.add_argument("--kinds", default="video,audio")
    parser.add_argument("--video", default="VP8")
    parser.add_argument("--play-policy")
    parser.add_argument("--play-video")
    # Enough to see that nothing comes of what was rejected while the rest flows.
    parser.add_argument("--buffers", type=int, default=40)
    arguments = parser.parse_args()
    arguments.kinds = arguments.kinds.split(",")
    arguments.play_policy = arguments.play_policy or arguments.policy
    arguments.play_video = arguments.play_video or arguments.video
    Gst.init(None)
    print(json.dumps(run(arguments)))
