//! What a server says, or somebody in its name, while the relay is the DTLS client.

use relay_core::dtls::{DtlsEngine, DtlsFactory, DtlsStatus};
use relay_core::time::Time;
use relay_dtls::EngineFactory;
use std::cell::RefCell;
use std::time::Duration;

/// Datagrams of one story.
const DATAGRAMS_MAX: usize = 32;
/// Octets that the relay may send for a story: its hello at each timer, and an answer of as much to each of
/// two requests for another one.
const SENT_BYTES_MAX: usize = 200 * 1024;

thread_local! {
    /// A key takes longer to make than a story to tell.
    static FACTORY: RefCell<EngineFactory> = RefCell::new(EngineFactory::new().expect("a certificate"));
}

/// A handshake of the relay's own: `len, datagram` again and again, a `len` of 0 lets the timer ring. No keys
/// come of it, as nobody here has the announced certificate, and the relay does not say without end.
pub fn dtls_client(data: &[u8]) {
    let mut now = Time::from_nanos(1_000_000_000);
    let mut engine = FACTORY.with_borrow_mut(|factory| factory.connect(now, [7; 32].into()));
    let mut sent = drain(&mut *engine);
    let mut rest = data;
    for _ in 0..DATAGRAMS_MAX {
        let Some((len, tail)) = rest.split_first_chunk::<2>() else { break };
        let len = usize::from(u16::from_be_bytes(*len)).min(tail.len());
        let (datagram, tail) = tail.split_at(len);
        rest = tail;
        if len == 0 {
            now = engine.poll_timeout().unwrap_or(now + Duration::from_secs(1)).max(now);
            engine.handle_timeout(now);
        } else {
            let plausible = engine.is_plausible(datagram);
            let consumed = engine.handle_datagram(now, datagram);
            assert!(plausible || !consumed, "what is turned away before its turn is of no use");
        }
        sent += drain(&mut *engine);
        assert!(engine.take_summary().is_none() && !matches!(engine.status(), DtlsStatus::Connected));
    }
    assert!(sent <= SENT_BYTES_MAX, "{sent} octets");
}

fn drain(engine: &mut dyn DtlsEngine) -> usize {
    let mut out = [0; 1500];
    std::iter::from_fn(|| engine.poll_datagram(&mut out)).sum()
}
