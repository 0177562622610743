//! TLS of https and wss: the given certificate, or one of our own that is made on first run and kept.
//!
//! A renewed one is taken while we run ([`crate::renewal`]). Each has settings of its own, with an empty
//! memory of sessions: nobody resumes under a certificate that is not used any more.

mod validity;

use crate::renewal::Secret;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::fmt;
use std::fs;
use std::io::Write;
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::watch;
use validity::{OutOfDate, Validity};

/// Some browsers refuse certificates that are valid for longer than 825 days; ours is made again well before.
const VALID_DAYS: u64 = 700;
const RENEW_AFTER: Duration = Duration::from_secs(350 * 86_400);

/// Why there is no TLS.
#[derive(Debug)]
pub(crate) enum TlsError {
    /// A file cannot be read or written.
    File(PathBuf, std::io::Error),
    /// A file holds no certificate or no key.
    Pem(PathBuf, pem::Error),
    /// Certificate and key do not fit, or the key is of no known kind.
    Unusable(PathBuf, rustls::Error),
    /// It is for another time, and the one in use is not.
    OutOfDate(PathBuf, OutOfDate),
    /// The self-made certificate could not be made.
    Make(rcgen::Error),
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path, why) => write!(f, "{}: {why}", path.display()),
            Self::Pem(path, pem::Error::Io(why)) => write!(f, "cannot read {}: {why}", path.display()),
            Self::Pem(path, why) => {
                write!(f, "{} is not the PEM file that is expected: {why}", path.display())
            }
            Self::Unusable(path, why) => {
                write!(f, "the certificate {} cannot be used: {why}", path.display())
            }
            Self::OutOfDate(path, why) => write!(f, "the certificate {} {why}", path.display()),
            Self::Make(why) => write!(f, "cannot make a certificate: {why}"),
        }
    }
}

impl std::error::Error for TlsError {}

/// Where the certificate comes from.
#[derive(Clone, Debug)]
pub(crate) enum CertificateSource {
    /// The operator's chain and key.
    Given(PathBuf, PathBuf),
    /// Made by ourselves, in this directory.
    SelfMade(PathBuf),
}

impl CertificateSource {
    /// Chain and key.
    fn files(&self) -> [PathBuf; 2] {
        match self {
            Self::Given(certificate, key) => [certificate.clone(), key.clone()],
            Self::SelfMade(dir) => [dir.join("certificate.pem"), dir.join("certificate-key.pem")],
        }
    }
}

/// A certificate in use.
#[derive(Clone)]
pub(crate) struct InUse {
    /// For new handshakes.
    pub(crate) config: Arc<ServerConfig>,
    /// `None`: it cannot be read, though TLS can use it.
    validity: Option<Validity>,
}

impl InUse {
    fn out_of_date(&self) -> Option<OutOfDate> {
        self.validity.and_then(|validity| validity.check(SystemTime::now()))
    }
}

/// The certificate of the listeners.
pub(crate) struct Certificate {
    source: CertificateSource,
    in_use: watch::Sender<InUse>,
}

impl Certificate {
    /// Reads it, or makes one.
    ///
    /// # Errors
    /// See [`TlsError`]. One that is out of date is better than none: the log says so.
    pub(crate) fn new(source: CertificateSource) -> Result<Self, TlsError> {
        if let CertificateSource::SelfMade(dir) = &source {
            self_made(dir)?;
        }
        let files = source.files();
        let first = read(&files)?;
        if let Some(why) = first.out_of_date() {
            tracing::warn!("the certificate {} {why}: browsers will refuse it", files[0].display());
        }
        Ok(Self { source, in_use: watch::Sender::new(first) })
    }

    /// The one that counts at any time.
    pub(crate) fn in_use(&self) -> watch::Receiver<InUse> {
        self.in_use.subscribe()
    }

    fn renew(&self) -> Result<(), TlsError> {
        let files = self.source.files();
        let new = read(&files)?;
        if let (Some(why), None) = (new.out_of_date(), self.in_use.borrow().out_of_date()) {
            let [certificate, _] = files;
            return Err(TlsError::OutOfDate(certificate, why));
        }
        self.in_use.send_replace(new);
        Ok(())
    }
}

impl Secret for Certificate {
    fn name(&self) -> &'static str {
        "the certificate"
    }

    fn files(&self) -> Vec<PathBuf> {
        self.source.files().into()
    }

    /// A server that runs for years makes a new one in time. Files that somebody took away are left to him.
    fn prepare(&self) -> Result<(), String> {
        match &self.source {
            CertificateSource::SelfMade(dir) if self.source.files().iter().all(|file| file.exists()) => {
                self_made(dir).map_err(|why| why.to_string())
            }
            _ => Ok(()),
        }
    }

    fn take(&self) -> Result<(), String> {
        self.renew().map_err(|why| why.to_string())
    }
}

/// The TLS settings of the listener, from chain and key.
fn read([certificate, key]: &[PathBuf; 2]) -> Result<InUse, TlsError> {
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|why| TlsError::Pem(certificate.clone(), why))?;
    let Some(first) = chain.first() else {
        return Err(TlsError::Pem(certificate.clone(), pem::Error::NoItemsFound));
    };
    let validity = Validity::of(first);
    let key = PrivateKeyDer::from_pem_file(key).map_err(|why| TlsError::Pem(key.clone(), why))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let unusable = |why| TlsError::Unusable(certificate.clone(), why);
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(unusable)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(InUse { config: Arc::new(config), validity })
}

/// Makes chain and key if there are none, or old ones.
fn self_made(data_dir: &Path) -> Result<(), TlsError> {
    let [certificate_file, key_file] = CertificateSource::SelfMade(data_dir.to_owned()).files();
    let made = fs::metadata(&certificate_file).and_then(|metadata| metadata.modified()).ok();
    let fresh = made.is_some_and(|made| made.elapsed().unwrap_or_default() < RENEW_AFTER);
    if fresh && key_file.exists() {
        return Ok(());
    }
    let (certificate, key) = make_certificate().map_err(TlsError::Make)?;
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |why| TlsError::File(path, why)
    };
    fs::DirBuilder::new().recursive(true).mode(0o700).create(data_dir).map_err(failed(data_dir))?;
    replace(&key_file, &key).map_err(failed(&key_file))?;
    replace(&certificate_file, &certificate).map_err(failed(&certificate_file))
}

/// Whole or not at all, and never readable by others.
fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    let new = path.with_extension("new");
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(new, path)
}

fn make_certificate() -> Result<(String, String), rcgen::Error> {
    let mut names = vec!["localhost".to_owned()];
    names.extend(host_name());
    names.extend(["127.0.0.1".to_owned(), "::1".to_owned()]);
    names.extend(interface_addresses().iter().map(ToString::to_string));
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "Ringvox self-made certificate");
    let today =
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs() / 86_400;
    let date = |days| {
        let (year, month, day) = civil_date(days);
        date_time_ymd(year, month, day)
    };
    // A day early: clocks of clients differ.
    params.not_before = date(today.saturating_sub(1));
    params.not_after = date(today + VALID_DAYS);
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    Ok((certificate.pem(), key.serialize_pem()))
}

/// The host's name, if it is one that can stand in a certificate.
fn host_name() -> Option<String> {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let good = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'.';
    Some(name).filter(|name| !name.is_empty() && name != "localhost" && name.bytes().all(good))
}

/// Addresses of this machine that others may know, IPv4 first.
pub(crate) fn interface_addresses() -> Vec<IpAddr> {
    let interfaces = nix::ifaddrs::getifaddrs().into_iter().flatten();
    let address = |interface: nix::ifaddrs::InterfaceAddress| {
        let address = interface.address?;
        let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
    };
    let is_local = |ip: &IpAddr| match ip {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unicast_link_local(),
    };
    let mut addresses: Vec<IpAddr> = interfaces.filter_map(address).filter(|ip| !is_local(ip)).collect();
    addresses.sort_by_key(IpAddr::is_ipv6);
    addresses.dedup();
    addresses
}

/// Year, month and day of a number of days since 1970-01-01, in the Gregorian calendar. Years are counted
/// from March, so that the leap day is the last one.
fn civil_date(days: u64) -> (i32, u8, u8) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (
        i32::try_from(year).unwrap_or(i32::MAX),
        u8::try_from(month).unwrap_or(1),
        u8::try_from(day).unwrap_or(1),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn dates() {
        for (days, date) in [
            (0, (1970, 1, 1)),
            (58, (1970, 2, 28)),
            (59, (1970, 3, 1)),
            (11_016, (2000, 2, 29)),
            (20_779, (2026, 11, 22)),
            (47_540, (2100, 2, 28)),
            (47_541, (2100, 3, 1)),
        ] {
            assert_eq!(civil_date(days), date);
        }
    }

    #[test]
    fn the_certificate_is_made_once_and_kept_for_us_alone() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let data = dir.path().join("data");
        self_made(&data).expect("first run");
        let key = data.join("certificate-key.pem");
        let before = fs::read(&key).expect("kept");
        self_made(&data).expect("second run");
        assert_eq!(fs::read(&key).expect("kept"), before);
        assert_eq!(fs::metadata(&key).expect("there").permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(&data).expect("there").permissions().mode() & 0o777, 0o700);
    }

    /// Chain and key for localhost, valid in these years.
    fn pair(from: i32, to: i32) -> (String, String) {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
        params.not_before = date_time_ymd(from, 1, 1);
        params.not_after = date_time_ymd(to, 1, 1);
        let key = KeyPair::generate().expect("a key");
        (params.self_signed(&key).expect("signed").pem(), key.serialize_pem())
    }

    #[test]
    fn what_cannot_be_used_does_not_take_the_place_of_what_can() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let files = ["chain.pem", "key.pem"].map(|name| dir.path().join(name));
        let put = |chain: &str, key: &str| {
            fs::write(&files[0], chain).expect("written");
            fs::write(&files[1], key).expect("written");
        };
        let (good, key) = pair(2020, 2200);
        let (_, other_key) = pair(2020, 2200);
        let (expired, expired_key) = pair(2020, 2021);
        let (early, early_key) = pair(2199, 2200);
        put(&expired, &expired_key);
        let [chain, key_file] = files.clone();
        let certificate =
            Certificate::new(CertificateSource::Given(chain, key_file)).expect("better than none");
        put(&early, &early_key);
        certificate.take().expect("no worse than the one before");
        put(&good, &key);
        certificate.take().expect("a good one");
        let in_use = || Arc::as_ptr(&certificate.in_use.borrow().config);
        let before = in_use();
        for (chain, key, words) in [
            (&*good, &*other_key, "cannot be used"),
            (&expired, &expired_key, "has expired"),
            (&early, &early_key, "is not valid yet"),
            ("garbage", &key, "chain.pem"),
            (&good, "garbage", "key.pem"),
            (&good, "", "key.pem"),
            (&good.replace("MI", "!!"), &key, "chain.pem"),
        ] {
            put(chain, key);
            let why = certificate.take().expect_err(words);
            assert!(why.contains(words), "{why}");
            assert_eq!(in_use(), before, "{why}");
        }
        put(&good, &key);
        certificate.take().expect("the same again");
    }

    #[test]
    fn what_is_wrong_with_given_files_is_said() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let data = dir.path().join("data");
        self_made(&data).expect("made");
        let empty = dir.path().join("empty.pem");
        fs::write(&empty, "nothing").expect("written");
        let good = data.join("certificate.pem");
        for (certificate, key) in
            [(empty.clone(), good.clone()), (good.clone(), empty.clone()), (empty.join("x"), good)]
        {
            let source = CertificateSource::Given(certificate, key);
            let error = Certificate::new(source).err().expect("refused").to_string();
            assert!(error.contains("empty.pem"), "{error}");
        }
    }
}
