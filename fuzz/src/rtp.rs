use relay_core::media::Codec;
use relay_core::wire::codec::{h264, starts_keyframe, vp8};
use relay_core::wire::rtp::{HeaderFields, RtpHeader, strip_padding, write_header};
use relay_core::wire::rtp_ext::{audio_level, transport_seq};
use relay_core::wire::{Protocol, classify};

/// RTP headers, extension elements and payload descriptors: nothing reaches outside the packet, and what we
/// write of a header says the same again.
pub fn rtp(data: &[u8]) {
    payload(data);
    let Ok(header) = RtpHeader::parse(data) else { return };
    assert!(matches!(classify(data), Some(Protocol::Rtp | Protocol::Rtcp)));
    assert!(header.len >= 12 && header.len <= data.len());
    if let Some(extension) = header.extension {
        assert_eq!(extension.start + extension.len, header.len);
    }
    let elements: Vec<_> = header.elements(data).collect();
    let octets: usize = elements.iter().map(|(_, value)| 1 + value.len()).sum();
    assert!(octets <= header.extension.map_or(0, |extension| extension.len));
    for (id, value) in &elements {
        assert_ne!(*id, 0);
        assert!(audio_level(value).is_none_or(|(_, level)| level <= 127));
        assert_eq!(transport_seq(value).is_some(), value.len() >= 2);
    }
    writes_back(&header, &elements);
    let body = &data[header.len..];
    if let Some(len) = strip_padding(header.padding, body) {
        payload(&body[..len]);
    }
}

fn writes_back(header: &RtpHeader, elements: &[(u8, &[u8])]) {
    let fields = HeaderFields {
        marker: header.marker,
        padding: header.padding,
        pt: header.pt,
        seq: header.seq,
        timestamp: header.timestamp,
        ssrc: header.ssrc,
    };
    let writable = |(id, value): &&(u8, &[u8])| (1..=14).contains(id) && (1..=16).contains(&value.len());
    let elements: Vec<_> = elements.iter().filter(writable).take(14).copied().collect();
    let mut out = [0; 12 + 4 + 14 * 17 + 3];
    let len = write_header(&mut out, &fields, &elements).expect("fits");
    let again = RtpHeader::parse(&out[..len]).expect("our own");
    assert_eq!(again.len, len);
    assert_eq!((again.marker, again.pt, again.seq), (header.marker, header.pt, header.seq));
    assert_eq!((again.timestamp, again.ssrc, again.padding), (header.timestamp, header.ssrc, header.padding));
    assert_eq!(again.elements(&out[..len]).collect::<Vec<_>>(), elements);
}

fn payload(payload: &[u8]) {
    if let Some(descriptor) = vp8::parse(payload) {
        assert!((1..=6).contains(&descriptor.len) && descriptor.len <= payload.len());
        assert!(descriptor.pid <= 7 && descriptor.tid.is_none_or(|tid| tid <= 3));
        assert!(descriptor.picture_id.is_none_or(|id| id <= 0x7fff));
        assert!(!descriptor.keyframe || (descriptor.start_of_partition && descriptor.pid == 0));
        assert_eq!(starts_keyframe(Codec::Vp8, payload), descriptor.keyframe);
    }
    assert_eq!(starts_keyframe(Codec::H264, payload), h264::is_keyframe(payload));
    assert!(!starts_keyframe(Codec::Opus, payload));
}
