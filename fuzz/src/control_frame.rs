use prost::Message;
use relay_control::{FRAME_BYTES_MAX, FrameDecoder, FrameError, FromRelay, Request, encode_frame};

/// Control frames in both directions: a stream gives the same messages however it is cut, a refusal is final,
/// and a message survives being written again.
pub fn control_frame(data: &[u8]) {
    stream::<Request>(data);
    stream::<FromRelay>(data);
    // Past the frame, so that mutations reach the messages without a length that happens to fit.
    message::<Request>(data);
    message::<FromRelay>(data);
}

fn stream<M: Message + Default + PartialEq>(data: &[u8]) {
    let whole = decode::<M>([data]);
    let cut = data.first().map_or(0, |octet| usize::from(*octet) * data.len() / 256);
    assert!(decode::<M>([&data[..cut], &data[cut..]]) == whole, "cut at {cut}");
    let mut octets = Vec::new();
    for message in &whole.0 {
        encode_frame(message, &mut octets).expect("it came in a frame");
    }
    assert!(decode::<M>([&octets[..]]) == (whole.0, Ok(())));
}

fn decode<'a, M: Message + Default>(
    parts: impl IntoIterator<Item = &'a [u8]>,
) -> (Vec<M>, Result<(), FrameError>) {
    let (mut decoder, mut messages) = (FrameDecoder::default(), Vec::new());
    for part in parts {
        decoder.push(part);
        loop {
            match decoder.next::<M>() {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(error) => {
                    assert!(!matches!(error, FrameError::TooLong(len) if len <= FRAME_BYTES_MAX));
                    return (messages, Err(error));
                }
            }
        }
    }
    (messages, Ok(()))
}

fn message<M: Message + Default + PartialEq>(data: &[u8]) {
    let Ok(message) = M::decode(data) else { return };
    let octets = message.encode_to_vec();
    assert_eq!(octets.len(), message.encoded_len());
    assert!(M::decode(&octets[..]).expect("our own") == message);
}
