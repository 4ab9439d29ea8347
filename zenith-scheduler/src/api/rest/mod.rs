//! REST: JSON over HTTP/1.1, described by the OpenAPI document at `/openapi.json`. What it says is
//! `crate::view`, made from the messages of gRPC, so that all doors show the same.

mod cluster;
mod error;
mod extract;
mod health;
mod jobs;
mod logs;
mod stream;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::{Modify, OpenApi};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Api;

/// Largest body that is taken.
const MAX_BODY: usize = 4 << 20;

/// What the handlers share.
#[derive(Clone)]
struct Door {
    api: Api,
    description: Arc<str>,
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Zenith scheduler",
        description = "Gang scheduling of GPUs. Points in time are milliseconds since 1970-01-01 UTC, lengths of time \
                       are milliseconds, memory is MiB. What is refused says why in a body of `Refusal`."
    ),
    components(schemas(crate::view::Refusal)),
    modifiers(&Bearer),
    security((), ("token" = []))
)]
struct Description;

/// Tokens, for those who are not this machine's own user.
struct Bearer;

impl Modify for Bearer {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let scheme = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        openapi.components.get_or_insert_default().add_security_scheme("token", scheme);
    }
}

/// All paths.
pub(super) fn router(api: Api) -> Router {
    let (router, description) = described().split_for_parts();
    // The description is data of this program.
    let description = description.to_json().unwrap_or_default().into();
    router
        .route("/openapi.json", get(openapi))
        .fallback(error::no_such_path)
        .method_not_allowed_fallback(error::no_such_method)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(Door { api, description })
}

fn described() -> OpenApiRouter<Door> {
    OpenApiRouter::with_openapi(Description::openapi())
        .routes(routes!(jobs::list, jobs::submit))
        .routes(routes!(jobs::show, jobs::cancel))
        .routes(routes!(jobs::hold))
        .routes(routes!(jobs::release))
        .routes(routes!(jobs::requeue))
        .routes(routes!(jobs::signal))
        .routes(routes!(jobs::why))
        .routes(routes!(logs::read))
        .routes(routes!(stream::watch))
        .routes(routes!(cluster::nodes))
        .routes(routes!(cluster::drain))
        .routes(routes!(cluster::resume))
        .routes(routes!(cluster::show))
        .routes(routes!(cluster::set_queue))
        .routes(routes!(cluster::set_user))
        .routes(routes!(health::healthy))
        .routes(routes!(health::ready))
        .routes(routes!(health::metrics))
}

async fn openapi(State(door): State<Door>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], door.description.to_string()).into_response()
}
