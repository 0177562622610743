//! What `boring` does not wrap: DTLS timers, the clock behind them, a client's key shares, and a limit on
//! certificates. All unsafe of this package.
//!
//! BoringSSL would ask the system for the time. It is given a callback instead that answers with what the
//! engine was last told, so that the simulator and the tests decide when a flight is lost. The callback gets
//! no connection to ask, hence the thread-local: an engine sets it each time before it calls into BoringSSL,
//! and calls do not nest.

use boring::ssl::{SslContextBuilder, SslRef};
use boring_sys as sys;
use foreign_types::ForeignTypeRef;
use relay_core::time::Time;
use std::cell::Cell;
use std::time::Duration;

thread_local! {
    static NOW: Cell<Time> = const { Cell::new(Time::ZERO) };
}

/// The time for BoringSSL on this thread, until it is set again.
pub(crate) fn set_now(now: Time) {
    NOW.set(now);
}

unsafe extern "C" fn current_time(_: *const sys::SSL, out: *mut sys::timeval) {
    let micros = NOW.get().as_micros();
    // Both fit: 2^64 ns are 18 billion seconds.
    let timeval = sys::timeval { tv_sec: (micros / 1_000_000) as _, tv_usec: (micros % 1_000_000) as _ };
    // SAFETY: BoringSSL calls this with the address of a timeval of its own (ssl_ctx_get_current_time),
    // writable for the call; `write` does not read the old value.
    unsafe { out.write(timeval) }
}

/// Makes connections of this context ask [`set_now`]'s time, and refuse handshake messages beyond
/// `bytes_max`.
pub(crate) fn configure(context: &mut SslContextBuilder, bytes_max: usize) {
    // SAFETY: `context` owns a live SSL_CTX that nobody else has yet; both calls store a value in it. The
    // callback is a function, so it lives as long as any connection, and it does not unwind.
    unsafe {
        sys::SSL_CTX_set_current_time_cb(context.as_ptr(), Some(current_time));
        sys::SSL_CTX_set_max_cert_list(context.as_ptr(), bytes_max);
    }
}

/// Lets a connection forget how it was set up once its handshake is over: nothing of it is asked again.
pub(crate) fn shed_handshake_config(ssl: &mut SslRef) {
    // SAFETY: the connection is live and ours alone, because we hold it by exclusive reference; the call sets
    // a flag in it. What it forbids, SSL_clear, nobody calls.
    unsafe { sys::SSL_set_shed_handshake_config(ssl.as_ptr(), 1) }
}

/// Lets a client's first hello carry a share of X25519 only.
pub(crate) fn offer_x25519_share(ssl: &mut SslRef) {
    static X25519: u16 = 29;
    // SAFETY: the connection is live and ours alone, because we hold it by exclusive reference; BoringSSL
    // copies the one number that the pointer leads to.
    let is_done = unsafe { sys::SSL_set1_client_key_shares(ssl.as_ptr(), &raw const X25519, 1) };
    assert_eq!(is_done, 1, "X25519 is one of our groups");
}

/// How long until a flight or an acknowledgement is due, counted from the time last set.
pub(crate) fn timeout(ssl: &SslRef) -> Option<Duration> {
    let mut left = sys::timeval { tv_sec: 0, tv_usec: 0 };
    // SAFETY: the connection is live because we hold a reference to it, and BoringSSL only reads it; `left`
    // is a valid place for the result and outlives the call.
    let is_set = unsafe { sys::DTLSv1_get_timeout(ssl.as_ptr(), &raw mut left) } == 1;
    let micros = u64::try_from(left.tv_sec)
        .ok()?
        .checked_mul(1_000_000)?
        .checked_add(u64::try_from(left.tv_usec).ok()?)?;
    is_set.then(|| Duration::from_micros(micros))
}

/// Sends what is due again. `false` if BoringSSL has given up on the peer.
pub(crate) fn handle_timeout(ssl: &mut SslRef) -> bool {
    // SAFETY: the connection is live and ours alone, because we hold it by exclusive reference; its BIO is
    // the queue that the same stream owns. Reads and writes of the BIO catch panics.
    unsafe { sys::DTLSv1_handle_timeout(ssl.as_ptr()) >= 0 }
}
