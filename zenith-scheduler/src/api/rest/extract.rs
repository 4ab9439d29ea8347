//! What handlers get of a call: who calls, its path, its question, its body. What cannot be had is refused in the same way
//! everywhere.

use std::net::IpAddr;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode, header};
use serde_json::Value;

use super::Door;
use super::error::Refused;
use crate::api::auth::Peer;
use crate::controller::ops::Caller;
use crate::refusal::Refusal;

/// Who calls.
#[derive(Debug)]
pub(super) struct Who(pub(super) Caller);

impl FromRequestParts<Door> for Who {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, door: &Door) -> Result<Self, Refused> {
        let peer = parts.extensions.get::<ConnectInfo<Peer>>();
        let ConnectInfo(peer) =
            peer.ok_or(Refusal::Unauthenticated("it is not known where the call comes from"))?;
        let authorization = parts.headers.get(header::AUTHORIZATION).map(|value| {
            value.to_str().map_err(|_| Refusal::Unauthenticated("the authorization is no bearer token"))
        });
        if authorization.is_none() {
            own_site(&parts.headers)?;
        }
        Ok(Self(door.api.auth.person(peer, authorization.transpose()?)?))
    }
}

/// A body of JSON.
#[derive(Debug)]
pub(super) struct Body<T>(pub(super) T);

impl<T: serde::de::DeserializeOwned> FromRequest<Door> for Body<T> {
    type Rejection = Refused;

    async fn from_request(request: Request, door: &Door) -> Result<Self, Refused> {
        if !is_json(request.headers()) {
            let (message, hint) = ("the body is not said to be JSON", "say Content-Type: application/json");
            return Err(Refused::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not_json", message, hint));
        }
        let bytes =
            Bytes::from_request(request, door).await.map_err(|rejection| match rejection.status() {
                StatusCode::PAYLOAD_TOO_LARGE => {
                    let hint = "put large data into files, and name those";
                    Refused::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", rejection.body_text(), hint)
                }
                _ => malformed(rejection.body_text()),
            })?;
        let read = |bytes: &[u8]| Json::<T>::from_bytes(bytes).map(|Json(body)| Self(body));
        read(&bytes).or_else(|rejection| {
            let again = without_points(&bytes).and_then(|text| read(text.as_bytes()).ok());
            again.ok_or_else(|| malformed(rejection.body_text()))
        })
    }
}

fn malformed(message: String) -> Refused {
    Refused::new(StatusCode::BAD_REQUEST, "malformed", message, "see /openapi.json")
}

fn is_json(headers: &HeaderMap) -> bool {
    let said = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = said.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json"))
}

/// The same JSON, with `2.0` written as `2`: for JSON, and so for the description, both are whole numbers. None where it says no such
/// thing.
fn without_points(bytes: &[u8]) -> Option<String> {
    /// Larger ones may stand for several whole numbers.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    fn walk(value: &mut Value) -> bool {
        match value {
            Value::Number(number) => {
                let whole =
                    number.as_f64().filter(|n| number.is_f64() && n.fract() == 0.0 && n.abs() < EXACT);
                let is_whole = whole.is_some();
                if let Some(whole) = whole {
                    *number = (whole as i64).into();
                }
                is_whole
            }
            Value::Array(values) => values.iter_mut().fold(false, |any, value| walk(value) | any),
            Value::Object(fields) => fields.values_mut().fold(false, |any, value| walk(value) | any),
            Value::Null | Value::Bool(_) | Value::String(_) => false,
        }
    }
    let mut value: Value = serde_json::from_slice(bytes).ok()?;
    walk(&mut value).then(|| value.to_string())
}

/// A part of the path.
#[derive(Debug)]
pub(super) struct Named<T>(pub(super) T);

impl<T: serde::de::DeserializeOwned + Send> FromRequestParts<Door> for Named<T> {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, door: &Door) -> Result<Self, Refused> {
        let part = Path::from_request_parts(parts, door).await.map(|Path(part)| Self(part));
        part.map_err(|rejection| malformed(rejection.body_text()))
    }
}

/// What follows the path.
#[derive(Debug)]
pub(super) struct Asked<T>(pub(super) T);

impl<T: serde::de::DeserializeOwned> FromRequestParts<Door> for Asked<T> {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, door: &Door) -> Result<Self, Refused> {
        let asked = Query::from_request_parts(parts, door).await.map(|Query(asked)| Self(asked));
        asked.map_err(|rejection| malformed(rejection.body_text()))
    }
}

/// Refuses what a web page of somebody else's may have sent by a browser on this machine: whoever has no token is known by the
/// connection, and so is a browser.
fn own_site(headers: &HeaderMap) -> Result<(), Refused> {
    if is_own(headers) {
        return Ok(());
    }
    let message = "the call comes from another site, or to a name that is not this machine's";
    let hint = "call http://127.0.0.1 or http://localhost, or give a token";
    Err(Refused::new(StatusCode::FORBIDDEN, "other_site", message, hint))
}

fn is_own(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let host = text(header::HOST);
    if !host.is_none_or(is_this_machine) {
        return false;
    }
    match text(header::ORIGIN) {
        None => true,
        Some(origin) => origin.split_once("://").is_some_and(|(_, site)| Some(site) == host),
    }
}

/// A name that is this machine's everywhere, or an address, which nobody can lead elsewhere.
fn is_this_machine(host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return false };
    let name = authority.host();
    let address = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || address.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_may_have_a_point() {
        let read = |text: &str| without_points(text.as_bytes());
        assert_eq!(
            read(r#"{"a": [2.0, -3.0, 1.5], "b": {"c": 1e3}, "d": "4.0"}"#).as_deref(),
            Some(r#"{"a":[2,-3,1.5],"b":{"c":1000},"d":"4.0"}"#)
        );
        assert_eq!(read(r#"{"a": 1.5, "b": 1e300}"#), None);
        assert_eq!(read("{"), None);
    }

    #[test]
    fn json_is_known_by_its_name() {
        let is = |text: &'static str| {
            is_json(&HeaderMap::from_iter([(header::CONTENT_TYPE, text.parse().unwrap())]))
        };
        assert!(
            is("application/json")
                && is("Application/JSON; charset=utf-8")
                && is("application/merge-patch+json")
        );
        assert!(!is("text/json") && !is("application/jsonp") && !is("") && !is_json(&HeaderMap::new()));
    }

    #[test]
    fn what_a_page_of_others_sends_is_told_apart() {
        let headers = |pairs: &[(header::HeaderName, &str)]| -> HeaderMap {
            pairs.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect()
        };
        let is = |pairs: &[(header::HeaderName, &str)]| is_own(&headers(pairs));
        assert!(is(&[]));
        assert!(is(&[(header::HOST, "127.0.0.1:8080")]));
        assert!(is(&[(header::HOST, "[::1]:8080")]));
        assert!(is(&[(header::HOST, "localhost")]));
        assert!(is(&[(header::HOST, "localhost:8080"), (header::ORIGIN, "http://localhost:8080")]));
        assert!(!is(&[(header::HOST, "evil.example:8080")]), "a name that was led here");
        assert!(!is(&[(header::HOST, "localhost:8080"), (header::ORIGIN, "http://evil.example")]));
        assert!(!is(&[(header::HOST, "localhost:8080"), (header::ORIGIN, "http://localhost:3000")]));
        assert!(!is(&[(header::HOST, "localhost:8080"), (header::ORIGIN, "null")]));
        assert!(!is(&[(header::HOST, "local host")]));
    }
}
