use signaling::json;
use signaling::message::{
    ClientMessage, ID_BYTES_MAX, Login, NAME_BYTES_MAX, RoomCommand, RoomEvent, ServerMessage,
    StreamEventType,
};
use signaling::refusal::Refusal;

/// What a page says on the WebSocket: limits hold, and what is carried to others is the sender's own JSON,
/// inside messages that are JSON.
pub fn websocket_message(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    match ClientMessage::parse(text) {
        Ok(message) => {
            json::check(text).expect("checked before it was understood");
            understood(text, message);
        }
        Err(malformed) => {
            assert!(malformed.operation_id.as_ref().is_none_or(|id| (1..=ID_BYTES_MAX).contains(&id.len())));
            let reason = Refusal::BadMessage(malformed.why.into()).reason();
            is_json(&ServerMessage::Fail { api_method: "sendData", reason: &reason });
        }
    }
}

fn understood(text: &str, message: ClientMessage) {
    match message {
        ClientMessage::Connection(hello) => {
            assert!(hello.app_key.len() <= ID_BYTES_MAX);
            is_json(&ServerMessage::UserData { app_key: &hello.app_key, auth_token: "token" });
            if let Login::Name(login) = &hello.login {
                is_name(login);
                room_event(RoomEvent::Joined(login));
            }
        }
        ClientMessage::Data { operation_id, command } => {
            assert!((1..=ID_BYTES_MAX).contains(&operation_id.len()));
            is_json(&ServerMessage::DataStatus {
                operation_id: &operation_id,
                refusal: command.as_ref().err().cloned(),
            });
            match command {
                Ok(RoomCommand::Join { room, .. } | RoomCommand::Leave { room }) => is_name(&room),
                Ok(RoomCommand::Message { room, to, text: words }) => {
                    is_name(&room);
                    is_name(&to);
                    assert!(text.contains(words.get()), "carried as it came");
                    let told = room_event(RoomEvent::Message { from: &to, text: &words });
                    assert!(told.contains(words.get()), "carried as it came");
                }
                Err(_) => {}
            }
        }
        ClientMessage::Publish(request) | ClientMessage::Play(request) => {
            is_id(&request.media_session_id);
            crate::sdp(request.sdp.as_bytes());
        }
        ClientMessage::Unpublish(stream) | ClientMessage::Stop(stream) => is_id(&stream.media_session_id),
        ClientMessage::Available(stream) => {
            is_id(&stream.media_session_id);
            is_json(&ServerMessage::Available {
                media_session_id: &stream.media_session_id,
                available: true,
            });
        }
        ClientMessage::StreamEvent { media_session_id, event, payload } => {
            is_id(&media_session_id);
            assert_eq!(payload.is_some(), event == StreamEventType::Data);
            if let Some(payload) = &payload {
                assert!(text.contains(payload.get()) && payload.get().starts_with('{'));
                assert!(payload.get().len() <= json::RAW_BYTES_MAX);
            }
            is_json(&ServerMessage::StreamEvent {
                media_session_id: &media_session_id,
                event,
                payload: payload.as_deref(),
            });
        }
        ClientMessage::Ping | ClientMessage::Pong | ClientMessage::Ignored => {}
    }
}

fn is_id(id: &str) {
    assert!((1..=ID_BYTES_MAX).contains(&id.len()));
}

fn is_name(name: &str) {
    assert!((1..=NAME_BYTES_MAX).contains(&name.len()));
}

fn is_json(message: &ServerMessage<'_>) -> String {
    let text = message.to_text();
    assert!(json::is_json(&text), "{text}");
    text
}

fn room_event(event: RoomEvent<'_>) -> String {
    is_json(&ServerMessage::Room { room: "room", event, operation_id: "id".to_owned() })
}
