//! CRC-32 of ITU-T V.42, as FINGERPRINT uses it (RFC 8489 §14.7).

const TABLE: [u32; 256] = table();

/// Runs at compile time only.
#[allow(clippy::indexing_slicing, reason = "evaluated by the compiler, which checks the index")]
const fn table() -> [u32; 256] {
    let mut table = [0u32; 256];
    let mut octet = 0;
    while octet < 256 {
        let mut crc = octet as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 0 { crc >> 1 } else { (crc >> 1) ^ 0xedb8_8320 };
            bit += 1;
        }
        table[octet] = crc;
        octet += 1;
    }
    table
}

pub(super) fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, octet| {
        let index = (crc as u8) ^ octet;
        (crc >> 8) ^ TABLE.get(usize::from(index)).copied().unwrap_or_default()
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn check_value() {
        assert_eq!(super::crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(super::crc32(b""), 0);
    }
}
