//! Answers on their way to HTTP.

use futures::Stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Bytes, Frame};
use serde_json::{Value, json};

/// What the client's service may fail with.
pub(super) type ServiceError = Box<dyn std::error::Error + Send + Sync>;
/// A body, whole or streamed.
pub(super) type ResponseBody = UnsyncBoxBody<Bytes, ServiceError>;

/// A status and a JSON object, or text.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    code: u16,
    body: Value,
}

impl Answer {
    pub(super) fn ok(body: Value) -> Self {
        Self { code: 200, body }
    }

    pub(super) fn created(body: Value) -> Self {
        Self { code: 201, body }
    }

    pub(super) fn error(code: u16, reason: &str, message: &str) -> Self {
        Self::error_with(code, reason, message, &json!({}))
    }

    pub(super) fn error_with(code: u16, reason: &str, message: &str, details: &Value) -> Self {
        Self { code, body: status(code, reason, message, details) }
    }

    pub(super) fn not_found(what: &str) -> Self {
        Self::error(404, "NotFound", &format!("{what} not found"))
    }

    pub(super) fn conflict(what: &str) -> Self {
        let message = format!(
            "Operation cannot be fulfilled on {what}: the object has been modified; please apply your changes to \
             the latest version and try again"
        );
        Self::error(409, "Conflict", &message)
    }

    pub(super) fn forbidden(message: &str) -> Self {
        Self::error(403, "Forbidden", message)
    }

    pub(super) fn busy(seconds: u32) -> Self {
        let message = "Too many requests, please try again later.";
        Self::error_with(429, "TooManyRequests", message, &json!({"retryAfterSeconds": seconds}))
    }

    pub(super) fn respond(self) -> http::Response<ResponseBody> {
        let text = self.body.as_str().map_or_else(|| self.body.to_string(), str::to_owned);
        let whole = Full::new(Bytes::from(text)).map_err(|never| match never {}).boxed_unsync();
        response(self.code, whole)
    }
}

/// A `Status` object.
pub(super) fn status(code: u16, reason: &str, message: &str, details: &Value) -> Value {
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "code": code, "reason": reason, "message": message, "details": details,
    })
}

/// A body of one JSON object per line.
pub(super) fn stream(
    lines: impl Stream<Item = Result<Value, ServiceError>> + Send + 'static,
) -> http::Response<ResponseBody> {
    use futures::StreamExt;
    let frames = lines.map(|line| line.map(|line| Frame::data(Bytes::from(format!("{line}\n")))));
    response(200, StreamBody::new(frames).boxed_unsync())
}

fn response(code: u16, body: ResponseBody) -> http::Response<ResponseBody> {
    let mut response = http::Response::new(body);
    *response.status_mut() =
        http::StatusCode::from_u16(code).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    response
}
