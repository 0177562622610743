//! Requests as far as WHIP and WHEP need them: one server, one after the other. No TLS, no redirects.

use std::io::ErrorKind;
use std::time::Duration;
use ureq::http::{Request, Uri};
use ureq::{Agent, Error};

/// A server answers within this, or is given up.
const PATIENCE: Duration = Duration::from_secs(20);
/// Octets of an answer's body.
const BODY_BYTES_MAX: u64 = 1 << 20;

/// An answer.
#[derive(Clone, Debug)]
pub(super) struct Response {
    pub(super) status: u16,
    pub(super) location: Option<String>,
    pub(super) body: String,
}

/// See the module.
pub(super) struct HttpClient {
    agent: Agent,
    /// Host and port.
    authority: String,
    /// In front of every path.
    prefix: String,
}

impl HttpClient {
    pub(super) fn new(url: &str) -> Result<Self, String> {
        let uri: Option<Uri> = url.parse().ok();
        let uri = uri.filter(|uri| uri.scheme_str() == Some("http") && uri.query().is_none());
        let authority = uri.as_ref().and_then(Uri::authority).filter(|a| !a.as_str().contains('@'));
        let (Some(uri), Some(authority)) = (&uri, authority) else {
            return Err(format!("{url}: give a URL such as http://127.0.0.1:8080"));
        };
        let authority = format!("{}:{}", authority.host(), authority.port_u16().unwrap_or(80));
        let config = Agent::config_builder().http_status_as_error(false).max_redirects(0);
        let agent = config.timeout_global(Some(PATIENCE)).proxy(None).build().into();
        Ok(Self { agent, authority, prefix: uri.path().trim_end_matches('/').to_owned() })
    }

    /// The path of a resource below the URL that was given.
    pub(super) fn path(&self, below: &str) -> String {
        format!("{}{below}", self.prefix)
    }

    /// The path that a `Location` means: of this server, or of the URL that it is (RFC 9110 §10.2.2).
    pub(super) fn path_of(&self, location: &str) -> Result<String, String> {
        let path = location.parse::<Uri>().ok().and_then(|uri| uri.into_parts().path_and_query);
        let path = path.filter(|path| path.as_str().starts_with('/')).map(|path| path.as_str().to_owned());
        path.ok_or_else(|| format!("{}: a Location that is no path", self.authority))
    }

    /// One request with its answer.
    pub(super) fn request(
        &self,
        method: &str,
        path: &str,
        body: Option<(&str, &str)>,
    ) -> Result<Response, String> {
        let authority = &self.authority;
        self.exchange(method, path, body).map_err(|why| match why {
            Error::Io(why) if why.kind() == ErrorKind::ConnectionRefused => {
                format!("nobody listens at {authority}: start the server, or give another --url")
            }
            why => format!("{authority}: {why}"),
        })
    }

    fn exchange(&self, method: &str, path: &str, body: Option<(&str, &str)>) -> Result<Response, Error> {
        let request = Request::builder().method(method).uri(format!("http://{}{path}", self.authority));
        let mut response = match body {
            Some((kind, body)) => self.agent.run(request.header("content-type", kind).body(body)?)?,
            None => self.agent.run(request.body(())?)?,
        };
        let location = response.headers().get("location").and_then(|value| value.to_str().ok());
        let (status, location) = (response.status().as_u16(), location.map(str::to_owned));
        let body = response.body_mut().with_config().limit(BODY_BYTES_MAX).read_to_string()?;
        Ok(Response { status, location, body })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn urls_and_locations() {
        for (url, want) in [
            ("http://127.0.0.1:8080", Some(("127.0.0.1:8080", "/whip/a"))),
            ("http://localhost/", Some(("localhost:80", "/whip/a"))),
            ("http://[::1]:9/live/", Some(("[::1]:9", "/live/whip/a"))),
            ("https://localhost:8443", None),
            ("localhost:8080", None),
            ("http://", None),
        ] {
            let client = HttpClient::new(url);
            let got = client.as_ref().ok().map(|client| (client.authority.as_str(), client.path("/whip/a")));
            assert_eq!(got, want.map(|(authority, path)| (authority, path.to_owned())), "{url}");
        }
        let client = HttpClient::new("http://127.0.0.1:1").expect("a good URL");
        for (location, want) in
            [("/whip/a/1", Some("/whip/a/1")), ("http://b:2/x", Some("/x")), ("x", None), ("/x y", None)]
        {
            assert_eq!(client.path_of(location).ok().as_deref(), want, "{location}");
        }
    }

    #[test]
    fn nobody_there_is_said_with_what_to_do() {
        let port = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port").port();
        let client = HttpClient::new(&format!("http://127.0.0.1:{port}")).expect("a good URL");
        let why = client.request("POST", "/", None).expect_err("nobody");
        assert!(why.starts_with(&format!("nobody listens at 127.0.0.1:{port}: start the server")), "{why}");
    }
}
