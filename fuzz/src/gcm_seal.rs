use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use relay_gcm::{AAD_MAX, LANES, PLAINTEXT_MAX, Quad, SealKey, TAG_LEN};

/// Octets of key, nonce and length of the associated data at the front of an input.
const FRONT: usize = 16 + 12 + 1;

/// Own sealing: the same octets as aws-lc's, in every lane, and not one beside them. Nothing to see on
/// processors without the instructions.
pub fn gcm_seal(data: &[u8]) {
    let Some((front, rest)) = data.split_first_chunk::<FRONT>() else { return };
    let aad_len = usize::from(front[FRONT - 1]) % (AAD_MAX + 1);
    let Some((aad, plaintext)) = rest.split_at_checked(aad_len) else { return };
    let plaintext = &plaintext[..plaintext.len().min(PLAINTEXT_MAX)];

    // Each lane differs from the others in every input of its own.
    let lanes: [Lane; LANES] = [0u8, 1, 2, 3].map(|number| Lane::new(number, front, aad));
    let [Some(a), Some(b), Some(c), Some(d)] = lanes.each_ref().map(|lane| SealKey::new(&lane.key)) else {
        return;
    };
    // What comes before the output decides how it is aligned.
    let before = usize::from(front[0]) % 64;
    let end = before + plaintext.len() + TAG_LEN;
    let mut buffers = lanes.each_ref().map(|_| vec![0xa5; end + 1]);
    Quad::new([&a, &b, &c, &d])
        .seal(
            lanes.each_ref().map(|lane| &lane.nonce),
            lanes.each_ref().map(|lane| lane.aad.as_slice()),
            plaintext,
            buffers.each_mut().map(|buffer| &mut buffer[before..end]),
        )
        .expect("lengths fit");
    for (lane, buffer) in lanes.iter().zip(&buffers) {
        assert_eq!(buffer[before..end], lane.library(plaintext));
        assert!(buffer[..before].iter().chain(&buffer[end..]).all(|octet| *octet == 0xa5));
    }
}

struct Lane {
    key: [u8; 16],
    nonce: [u8; 12],
    aad: Vec<u8>,
}

impl Lane {
    fn new(number: u8, front: &[u8; FRONT], aad: &[u8]) -> Self {
        let change = number.wrapping_mul(0x5b);
        Self {
            key: std::array::from_fn(|i| front[i] ^ change),
            nonce: std::array::from_fn(|i| front[16 + i] ^ change),
            aad: aad.iter().map(|octet| octet ^ change).collect(),
        }
    }

    fn library(&self, plaintext: &[u8]) -> Vec<u8> {
        let key = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &self.key).expect("16 octets"));
        let mut out = plaintext.to_vec();
        let nonce = Nonce::assume_unique_for_key(self.nonce);
        key.seal_in_place_append_tag(nonce, Aad::from(&self.aad), &mut out).expect("sealed");
        out
    }
}
