//! Refusals as gRPC says them: a status, with the refusal itself in its details.

use prost::Message;
use tonic::{Code, Status};

use crate::refusal::{Kind, Refusal};

/// A refusal as a status.
pub fn status_of(refusal: &Refusal) -> Status {
    let code = match refusal.kind() {
        Kind::Invalid => Code::InvalidArgument,
        Kind::NotFound => Code::NotFound,
        Kind::Conflict => Code::FailedPrecondition,
        Kind::Unauthenticated => Code::Unauthenticated,
        Kind::Forbidden => Code::PermissionDenied,
        Kind::Exhausted => Code::ResourceExhausted,
        Kind::Unavailable => Code::Unavailable,
        Kind::Unsupported => Code::Unimplemented,
        Kind::Internal => Code::Internal,
    };
    let details = refusal.on_wire();
    Status::with_details(code, details.message.clone(), details.encode_to_vec().into())
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        status_of(&refusal)
    }
}

#[cfg(test)]
mod tests {
    use zenith_proto::v1;

    use super::*;

    #[test]
    fn a_status_carries_the_word_and_the_hint() {
        let status = status_of(&Refusal::Full);
        let refusal = v1::Refusal::decode(status.details()).unwrap();
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert_eq!(refusal.code, "disk_full");
        assert_eq!(refusal.message, status.message());
        assert!(!refusal.hint.is_empty());
    }
}
