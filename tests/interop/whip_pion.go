// Pion publishes over WHIP the RTP that it is sent, and plays it back over WHEP: its own defaults but for what it says
// of its part in DTLS.
//
// Prints "video PORT" and "audio PORT", where it takes RTP, "publishing", and "playing" once enough has come of both
// kinds. It ends its sessions when its standard input closes.
//
// Usage: whip_pion BASE ROOM SETUP
package main

import (
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/pion/webrtc/v3"
)

// Packets of each kind that the player waits for: 2 s of sound, and the pictures of about as long.
const enough = 100

const deadline = 60 * time.Second

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func until(what string, condition func() bool) {
	for end := time.Now().Add(deadline); !condition(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			log.Fatalf("not in %v: %s", deadline, what)
		}
	}
}

// source makes a track of what is sent to a port of its own.
func source(kind, mime string) *webrtc.TrackLocalStaticRTP {
	track, err := webrtc.NewTrackLocalStaticRTP(webrtc.RTPCodecCapability{MimeType: mime}, kind, "pion")
	check(err)
	socket, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	check(err)
	fmt.Println(kind, socket.LocalAddr().(*net.UDPAddr).Port)
	go func() {
		packet := make([]byte, 1500)
		for {
			length, err := socket.Read(packet)
			check(err)
			// Its reports come to the same port; Pion makes its own (RFC 5761 §4).
			if isReport := packet[1] >= 192 && packet[1] <= 223; !isReport {
				_, err = track.Write(packet[:length])
				check(err)
			}
		}
	}()
	return track
}

// start exchanges offer and answer; it returns the session's address once the connection is there.
func start(connection *webrtc.PeerConnection, target, setup string) string {
	offer, err := connection.CreateOffer(nil)
	check(err)
	gathered := webrtc.GatheringCompletePromise(connection)
	check(connection.SetLocalDescription(offer))
	<-gathered
	body := strings.ReplaceAll(connection.LocalDescription().SDP, "a=setup:actpass", "a=setup:"+setup)
	var location string
	until("a stream to play", func() bool {
		reply, err := http.Post(target, "application/sdp", strings.NewReader(body))
		check(err)
		answer, err := io.ReadAll(reply.Body)
		check(err)
		if reply.StatusCode == http.StatusNotFound || reply.StatusCode == http.StatusConflict {
			return false
		}
		if reply.StatusCode != http.StatusCreated || reply.Header.Get("Ringvox-Rejected") != "" {
			log.Fatal(reply.Status, reply.Header, string(answer))
		}
		address, err := reply.Location()
		check(err)
		location = address.String()
		check(connection.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: string(answer)}))
		return true
	})
	until("a connection", func() bool { return connection.ConnectionState() == webrtc.PeerConnectionStateConnected })
	return location
}

func end(session string) {
	request, err := http.NewRequest(http.MethodDelete, session, nil)
	check(err)
	reply, err := http.DefaultClient.Do(request)
	check(err)
	if reply.StatusCode != http.StatusOK {
		log.Fatal("DELETE: ", reply.Status)
	}
}

func main() {
	base, room, setup := os.Args[1], url.PathEscape(os.Args[2]), os.Args[3]
	publisher, err := webrtc.NewPeerConnection(webrtc.Configuration{})
	check(err)
	for _, track := range []webrtc.TrackLocal{source("video", webrtc.MimeTypeVP8), source("audio", webrtc.MimeTypeOpus)} {
		_, err = publisher.AddTransceiverFromTrack(track, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionSendonly})
		check(err)
	}
	published := start(publisher, base+"/whip/"+room+"?login=camera", setup)
	fmt.Println("publishing")

	player, err := webrtc.NewPeerConnection(webrtc.Configuration{})
	check(err)
	var got [2]int64
	kinds := []webrtc.RTPCodecType{webrtc.RTPCodecTypeVideo, webrtc.RTPCodecTypeAudio}
	for _, kind := range kinds {
		_, err = player.AddTransceiverFromKind(kind, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionRecvonly})
		check(err)
	}
	player.OnTrack(func(track *webrtc.TrackRemote, _ *webrtc.RTPReceiver) {
		for index, kind := range kinds {
			for kind == track.Kind() {
				if _, _, err := track.ReadRTP(); err != nil {
					return
				}
				atomic.AddInt64(&got[index], 1)
			}
		}
	})
	played := start(player, base+"/whep/"+room+"/camera?by=login", setup)
	until("media", func() bool { return atomic.LoadInt64(&got[0]) >= enough && atomic.LoadInt64(&got[1]) >= enough })
	fmt.Println("playing")

	_, err = io.Copy(io.Discard, os.Stdin)
	check(err)
	end(played)
	end(published)
}
