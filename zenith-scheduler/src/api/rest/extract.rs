//! What handlers get of a call: who calls, its path, its question, its body. What cannot be had is refused in the same way
//! everywhere.

use std::net::IpAddr;

use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{ConnectInfo, FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode, header};

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
        match Json::<T>::from_request(request, door).await {
            Ok(Json(body)) => Ok(Self(body)),
            Err(rejection) => Err(refused(&rejection)),
        }
    }
}

fn refused(rejection: &JsonRejection) -> Refused {
    let message = rejection.body_text();
    match rejection.status() {
        StatusCode::UNSUPPORTED_MEDIA_TYPE => {
            let hint = "say Content-Type: application/json";
            Refused::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not_json", message, hint)
        }
        StatusCode::PAYLOAD_TOO_LARGE => {
            let hint = "put large data into files, and name those";
            Refused::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message, hint)
        }
        _ => Refused::new(StatusCode::BAD_REQUEST, "malformed", message, "see /openapi.json"),
    }
}

/// A part of the path.
#[derive(Debug)]
pub(super) struct Named<T>(pub(super) T);

impl<T: serde::de::DeserializeOwned + Send> FromRequestParts<Door> for Named<T> {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, door: &Door) -> Result<Self, Refused> {
        let malformed = |rejection: PathRejection| {
            Refused::new(StatusCode::BAD_REQUEST, "malformed", rejection.body_text(), "see /openapi.json")
        };
        Path::from_request_parts(parts, door).await.map(|Path(part)| Self(part)).map_err(malformed)
    }
}

/// What follows the path.
#[derive(Debug)]
pub(super) struct Asked<T>(pub(super) T);

impl<T: serde::de::DeserializeOwned> FromRequestParts<Door> for Asked<T> {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, door: &Door) -> Result<Self, Refused> {
        let malformed = |rejection: QueryRejection| {
            Refused::new(StatusCode::BAD_REQUEST, "malformed", rejection.body_text(), "see /openapi.json")
        };
        Query::from_request_parts(parts, door).await.map(|Query(asked)| Self(asked)).map_err(malformed)
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
