//! The pages: SDK and demos, inside the binary. (A debug build reads them from the source tree.)

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use rust_embed::RustEmbed;

#[derive(RustEmbed)]
#[folder = "web/"]
struct Pages;

/// What may be served, by extension; anything else in the folder (tests, type settings) is not there.
const CONTENT_TYPES: [(&str, &str); 7] = [
    ("html", "text/html; charset=utf-8"),
    ("js", "text/javascript; charset=utf-8"),
    ("css", "text/css; charset=utf-8"),
    ("svg", "image/svg+xml"),
    ("png", "image/png"),
    ("ico", "image/vnd.microsoft.icon"),
    ("woff2", "font/woff2"),
];

/// Only our own scripts and styles, none of them inline: text of users can never become either. Pages may
/// open WebSockets anywhere, as their URL field says where to connect.
const CONTENT_SECURITY_POLICY: &str = "default-src 'self'; connect-src 'self' ws: wss:; img-src 'self' data: blob:; \
     media-src 'self' blob: mediastream:; object-src 'none'; base-uri 'none'; form-action 'self'; \
     frame-ancestors 'self'";

/// Answers `GET` and `HEAD` of a page.
pub(crate) fn page(method: &Method, path: &str, query: Option<&str>, headers: &HeaderMap) -> Response {
    if method != Method::GET && method != Method::HEAD {
        let allow = [(header::ALLOW, "GET, HEAD")];
        return (StatusCode::METHOD_NOT_ALLOWED, allow, "Only GET and HEAD").into_response();
    }
    let name = path.trim_start_matches('/');
    let name =
        if name.is_empty() || name.ends_with('/') { format!("{name}index.html") } else { name.to_owned() };
    if let Some((content_type, file)) = content_type(&name).zip(Pages::get(&name)) {
        let mut response = file_response(headers, content_type, file);
        if name.starts_with("sdk/") {
            // A module is imported by pages of other sites as well, and holds nothing that is somebody's.
            let anybody = HeaderValue::from_static("*");
            response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, anybody);
        }
        return with_security(response);
    }
    let directory = format!("{name}/index.html");
    if Pages::get(&directory).is_some() {
        let query = query.map(|query| format!("?{query}")).unwrap_or_default();
        // Relative, for a proxy may have changed the path. Of our own names only, so it cannot lead elsewhere.
        let last = name.rsplit('/').next().unwrap_or_default();
        if let Ok(location) = HeaderValue::from_str(&format!("{last}/{query}")) {
            return (StatusCode::PERMANENT_REDIRECT, [(header::LOCATION, location)]).into_response();
        }
    }
    with_security((StatusCode::NOT_FOUND, "Not found\n").into_response())
}

fn content_type(name: &str) -> Option<&'static str> {
    let (_, extension) = name.rsplit_once('.')?;
    let hidden =
        name.split('/').any(|part| part.starts_with('.') || part == "node_modules" || part == "test");
    CONTENT_TYPES
        .iter()
        .find(|(known, _)| *known == extension && !hidden)
        .map(|(_, content_type)| *content_type)
}

fn file_response(
    headers: &HeaderMap,
    content_type: &'static str,
    file: rust_embed::EmbeddedFile,
) -> Response {
    let hash = file.metadata.sha256_hash();
    let tag = format!("\"{}\"", hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect::<String>());
    let known = headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    let fresh = known
        .is_some_and(|known| known.split(',').any(|one| matches!(one.trim(), t if t == tag || t == "*")));
    // Asked again each time, answered with 304: an upgraded server never runs with half-old pages.
    let common = [
        (header::ETAG, tag.as_str()),
        (header::CACHE_CONTROL, "no-cache"),
        (header::CONTENT_TYPE, content_type),
    ];
    if fresh {
        return (StatusCode::NOT_MODIFIED, common).into_response();
    }
    // With the body for HEAD as well, which tells its length and is not sent.
    (common, file.data.into_owned()).into_response()
}

fn with_security(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // Room names stand in the address.
        (header::REFERRER_POLICY, "no-referrer"),
        (
            HeaderName::from_static("permissions-policy"),
            "camera=(self), microphone=(self), display-capture=(self), geolocation=()",
        ),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(path: &str) -> Response {
        page(&Method::GET, path, None, &HeaderMap::new())
    }

    #[test]
    fn only_pages_are_served() {
        for (path, status) in [
            ("/", 200),
            ("/index.html", 200),
            ("/sdk/index.js", 200),
            ("/../Cargo.toml", 404),
            ("/sdk/../../Cargo.toml", 404),
            ("//etc/passwd", 404),
            ("/nothing", 404),
            ("/nothing.html", 404),
            ("/.git/config", 404),
            ("/package.json", 404),
        ] {
            assert_eq!(get(path).status().as_u16(), status, "{path}");
        }
        assert_eq!(page(&Method::POST, "/", None, &HeaderMap::new()).status(), 405);
    }

    #[test]
    fn other_sites_import_the_sdk_and_nothing_else() {
        for (path, allowed) in
            [("/sdk/index.js", true), ("/sdk/session.js", true), ("/", false), ("/nothing.js", false)]
        {
            let response = get(path);
            let origin = response.headers().get(header::ACCESS_CONTROL_ALLOW_ORIGIN);
            assert_eq!(origin.map(HeaderValue::as_bytes), allowed.then_some(&b"*"[..]), "{path}");
        }
    }

    #[test]
    fn pages_forbid_inline_scripts_and_are_cached_by_tag() {
        let response = get("/");
        let csp = response.headers()[header::CONTENT_SECURITY_POLICY].to_str().expect("text");
        assert!(csp.starts_with("default-src 'self';") && !csp.contains("unsafe-inline"), "{csp}");
        let tag = response.headers()[header::ETAG].clone();
        let again = page(&Method::GET, "/", None, &HeaderMap::from_iter([(header::IF_NONE_MATCH, tag)]));
        assert_eq!(again.status(), 304);
    }
}
