//! Refusals as HTTP says them: a status, and a body that is the same for all of them.

use std::collections::BTreeMap;

use axum::Json;
use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use utoipa::openapi::{ContentBuilder, Ref, RefOr, ResponseBuilder};
use utoipa::{IntoResponses, openapi};

use crate::refusal::{self, Kind};
use crate::view::Refusal;

/// A refusal on its way out.
#[derive(Debug)]
pub(super) struct Refused {
    status: StatusCode,
    body: Refusal,
}

impl Refused {
    /// What HTTP itself has against a call.
    pub(super) fn new(status: StatusCode, code: &str, message: impl Into<String>, hint: &str) -> Self {
        let (code, message, hint) = (code.to_owned(), message.into(), hint.to_owned());
        Self { status, body: Refusal { code, message, hint } }
    }
}

impl From<refusal::Refusal> for Refused {
    fn from(refusal: refusal::Refusal) -> Self {
        let status = match refusal.kind() {
            Kind::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
            Kind::NotFound => StatusCode::NOT_FOUND,
            Kind::Conflict => StatusCode::CONFLICT,
            Kind::Unauthenticated => StatusCode::UNAUTHORIZED,
            Kind::Forbidden => StatusCode::FORBIDDEN,
            Kind::Exhausted => StatusCode::INSUFFICIENT_STORAGE,
            Kind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Kind::Unsupported => StatusCode::NOT_IMPLEMENTED,
            Kind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self { status, body: refusal.on_wire().into() }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let is_unknown = self.status == StatusCode::UNAUTHORIZED;
        let mut response = (self.status, Json(self.body)).into_response();
        if is_unknown {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// The refusals that every call may meet, for the description.
pub(super) struct Refusals;

impl IntoResponses for Refusals {
    fn responses() -> BTreeMap<String, RefOr<openapi::Response>> {
        const MEANT: [(&str, &str); 9] = [
            ("400", "The call cannot be understood"),
            ("401", "Nobody is known by this token, or one is needed"),
            ("403", "Who calls may not do it"),
            ("404", "What it names does not exist"),
            ("409", "It makes sense, but not in this state"),
            ("422", "It can be understood, but makes no sense"),
            ("500", "Something broke"),
            ("503", "It may work later"),
            ("507", "There is no room for new work, on the disk or by a limit"),
        ];
        MEANT.into_iter().map(|(status, meant)| (status.to_owned(), refusal(meant).into())).collect()
    }
}

/// The refusals that a call with a body may meet besides.
pub(super) struct BodyRefusals;

impl IntoResponses for BodyRefusals {
    fn responses() -> BTreeMap<String, RefOr<openapi::Response>> {
        const MEANT: [(&str, &str); 2] =
            [("413", "The body is too large"), ("415", "The body is not said to be application/json")];
        MEANT.into_iter().map(|(status, meant)| (status.to_owned(), refusal(meant).into())).collect()
    }
}

fn refusal(meant: &str) -> openapi::Response {
    let schema = Ref::from_schema_name("Refusal");
    let content = ContentBuilder::new().schema(Some(schema)).build();
    ResponseBuilder::new().description(meant).content("application/json", content).build()
}

pub(super) async fn no_such_path(uri: Uri) -> Refused {
    let message = format!("there is no {}", uri.path());
    Refused::new(StatusCode::NOT_FOUND, "no_such_path", message, "/openapi.json has the paths that there are")
}

pub(super) async fn no_such_method(method: Method, uri: Uri) -> Refused {
    let message = format!("{} takes no {method}", uri.path());
    let hint = "the header Allow and /openapi.json have what it takes";
    Refused::new(StatusCode::METHOD_NOT_ALLOWED, "no_such_method", message, hint)
}
