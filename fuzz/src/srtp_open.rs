use relay_core::srtp::{OpenContext, OpenError, SealContext, SrtpProfile};
use relay_core::wire::rtp::RtpHeader;

const KEY: [u8; 32] = *b"a master key of thirty-two bytes";
const SALT: [u8; 14] = *b"a salt, sodium";

/// SRTP and SRTCP: strangers' packets are refused, our own open again to the same octets, and neither a
/// replay nor a changed bit passes.
pub fn srtp_open(data: &[u8]) {
    for profile in SrtpProfile::ALL {
        let (key, salt) = (&KEY[..profile.key_len()], &SALT[..profile.salt_len()]);
        let mut open = OpenContext::new(profile, key, salt);
        let mut seal = SealContext::new(profile, key, salt);
        if let Ok(header) = RtpHeader::parse(data) {
            strangers_rtp(&mut open, &header, data);
            own_rtp(&mut open, &seal, &header, data);
        }
        // A forgery is as unlikely as a broken cipher: the seeds were not made with these keys.
        assert!(open.open_rtcp(&mut data.to_vec()).is_err());
        own_rtcp(&mut open, &mut seal, data);
    }
}

fn strangers_rtp(open: &mut OpenContext, header: &RtpHeader, packet: &[u8]) {
    let mut out = vec![0; packet.len()];
    let error = open.open_rtp(header, packet, &mut out).expect_err("not made with these keys");
    assert!(matches!(error, OpenError::Truncated | OpenError::Auth), "{error:?}");
    assert!(open.open_rtp(header, packet, &mut []).is_err());
}

fn own_rtp(open: &mut OpenContext, seal: &SealContext, header: &RtpHeader, plain: &[u8]) {
    let payload = &plain[header.len..];
    let mut slot = plain[..header.len].to_vec();
    slot.resize(plain.len() + 16, 0);
    let index = u64::from(header.seq.0);
    let len = seal.seal_rtp(&mut slot, header.len, header.ssrc, index, payload).expect("room for the tag");
    assert!(len > plain.len() && len <= slot.len());
    assert!(slot.starts_with(&plain[..header.len]));
    let packet = &mut slot[..len];
    let mut out = vec![0; len];

    flip(packet, plain);
    if let Ok(changed) = RtpHeader::parse(packet) {
        assert!(open.open_rtp(&changed, packet, &mut out).is_err(), "a bit was changed");
    }
    flip(packet, plain);
    assert_eq!(
        open.open_rtp(header, packet, &mut []).err(),
        (!payload.is_empty()).then_some(OpenError::NoRoom)
    );
    if !payload.is_empty() {
        let opened = open.open_rtp(header, packet, &mut out).expect("our own");
        assert_eq!(opened.index, index);
        assert_eq!(&out[..opened.len], payload);
    }
    assert_eq!(open.open_rtp(header, packet, &mut out).err(), Some(OpenError::Replay));
}

fn own_rtcp(open: &mut OpenContext, seal: &mut SealContext, plain: &[u8]) {
    let mut slot = plain.to_vec();
    slot.resize(plain.len() + 20, 0);
    let sealed = seal.seal_rtcp(plain.len(), &mut slot);
    assert_eq!(sealed.is_some(), plain.len() >= 8, "header and SSRC stay in clear");
    let Some(len) = sealed else { return };
    let packet = &mut slot[..len];

    flip(packet, plain);
    assert!(open.open_rtcp(&mut packet.to_vec()).is_err(), "a bit was changed");
    flip(packet, plain);
    let mut opened = packet.to_vec();
    let len = open.open_rtcp(&mut opened).expect("our own");
    assert_eq!(&opened[..len], plain);
    assert_eq!(open.open_rtcp(&mut packet.to_vec()), Err(OpenError::Replay));
}

/// Changes one bit, the same each time.
fn flip(packet: &mut [u8], choice: &[u8]) {
    let sum = choice.iter().fold(7usize, |sum, octet| sum.wrapping_mul(31).wrapping_add(usize::from(*octet)));
    let bit = sum % (packet.len() * 8);
    packet[bit / 8] ^= 1 << (bit % 8);
}
