//! A session: what `connection` opens, or why it is refused.

use super::connections::{Connections, Session};
use super::context::Context;
use super::secret::{digest, is_secret};
use crate::auth::Grant;
use crate::config::AuthMode;
use crate::id::ConnectionId;
use crate::message::{Hello, Login, ServerMessage};
use crate::refusal::{Reason, Refusal};
use serde_json::json;

pub(super) fn open_session(
    cx: &mut Context,
    connections: &mut Connections,
    id: ConnectionId,
    hello: &Hello,
    granted: Option<Grant>,
) -> Result<(), Refusal> {
    if let Some(session) = connections.session(id) {
        return repeat_session(cx, id, session, hello, granted.as_ref());
    }
    let (grant, login) = admit(cx.config.auth.mode, hello, granted)?;
    let made = cx.secret();
    // The earlier session's secret goes on: its digest stands in the labels of this client's transports.
    let secret = hello.resume.as_ref().filter(|secret| is_secret(secret)).unwrap_or(&made);
    cx.send(id, &ServerMessage::UserData { app_key: &hello.app_key, auth_token: secret });
    note_session(cx, id, (&hello.app_key, login.as_deref()), "ESTABLISHED", None);
    let session = Session {
        app_key: hello.app_key.clone(),
        login,
        grant,
        token: digest(secret),
        secret: secret.clone(),
        resumable: hello.resumable,
        memberships: Vec::new(),
    };
    connections.open_session(cx, id, session);
    Ok(())
}

/// A client that says the same again hears the same again. A session never becomes another one.
fn repeat_session(
    cx: &mut Context,
    id: ConnectionId,
    session: &Session,
    hello: &Hello,
    granted: Option<&Grant>,
) -> Result<(), Refusal> {
    let given = match &hello.login {
        Login::Name(login) => Some(login.clone()),
        Login::Absent => None,
        Login::Bad(_) => return Err(Refusal::SessionOpen),
    };
    let same = hello.app_key == session.app_key
        && granted.is_none_or(|granted| *granted == session.grant)
        && session.grant.login(given).is_ok_and(|login| login == session.login);
    if !same {
        return Err(Refusal::SessionOpen);
    }
    cx.send(id, &ServerMessage::UserData { app_key: &session.app_key, auth_token: &session.secret });
    Ok(())
}

/// What the session may do and what it is called. Where somebody decides, a session that nobody has judged is
/// none.
fn admit(mode: AuthMode, hello: &Hello, granted: Option<Grant>) -> Result<(Grant, Option<String>), Refusal> {
    let grant = match (granted, mode) {
        (Some(grant), _) => grant,
        (None, AuthMode::Open) => Grant::everything(),
        (None, AuthMode::Token | AuthMode::Hook) => return Err(Refusal::Forbidden),
    };
    let given = match &hello.login {
        Login::Name(login) => Some(login.clone()),
        Login::Absent => None,
        Login::Bad(refusal) => return Err(Refusal::BadName(*refusal)),
    };
    let login = grant.login(given)?;
    Ok((grant, login))
}

/// Tells the client, and the operator's hook if there is no session. True: then the connection is to be
/// closed.
pub(super) fn refuse_session(
    cx: &mut Context,
    connections: &Connections,
    id: ConnectionId,
    hello: &Hello,
    reason: &Reason,
) -> bool {
    cx.send(id, &ServerMessage::Fail { api_method: "ConnectionStatusEvent", reason });
    if connections.session(id).is_some() {
        return false;
    }
    let login = match &hello.login {
        Login::Name(login) => Some(login.as_str()),
        Login::Absent | Login::Bad(_) => None,
    };
    note_session(cx, id, (&hello.app_key, login), "FAILED", Some(reason));
    true
}

/// For the operator's hook.
pub(super) fn note_session(
    cx: &mut Context,
    id: ConnectionId,
    (app_key, login): (&str, Option<&str>),
    status: &'static str,
    reason: Option<&Reason>,
) {
    let (code, info) = (reason.map(|reason| reason.code), reason.map(|reason| reason.words.as_ref()));
    cx.note(id, "ConnectionStatusEvent", || {
        json!({"appKey": app_key, "status": status, "info": info, "code": code,
            "custom": {"login": login}})
    });
}
