//! Jobs of a long list, read where they lie in the answer: no string of a hundred thousand jobs is copied before it is shown.
//!
//! The fields are those of `Job` in `zenith.proto`; a test holds this reading and the generated one together.

use std::borrow::Cow;

use bytes::{Buf, Bytes};
use prost::Message;
use prost::encoding::{WireType, decode_key, decode_varint};
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use zenith_proto::v1;

use crate::view::{Job, JobState};

/// What came is no page of jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a page of jobs that cannot be read")]
pub struct BrokenPage;

/// A codec that leaves answers as they came.
#[derive(Debug)]
pub(super) struct PagesAsTheyCame;

impl Codec for PagesAsTheyCame {
    type Encode = v1::ListRequest;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for PagesAsTheyCame {
    type Item = v1::ListRequest;
    type Error = Status;

    fn encode(&mut self, item: v1::ListRequest, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        item.encode(out).map_err(|error| Status::internal(error.to_string()))
    }
}

impl Decoder for PagesAsTheyCame {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}

/// A job of a list.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Row<'a> {
    /// Its id.
    pub id: u64,
    /// The first job of its array.
    pub first: u64,
    /// Where it is in its life.
    pub state: v1::JobState,
    /// Its name.
    pub name: &'a str,
    /// Whose it is.
    pub user: &'a str,
    /// Its queue.
    pub queue: &'a str,
    /// Its priority.
    pub priority: i32,
    /// GPUs in all.
    pub gpus: u32,
    /// When it was submitted.
    pub submitted_ms: u64,
    /// When its attempt began.
    pub started_ms: Option<u64>,
    /// When it ended.
    pub ended_ms: Option<u64>,
    /// Attempts so far.
    pub attempt: u32,
    /// How often it began again.
    pub restarts: u32,
    /// Why it is not running.
    pub cause: &'a str,
    /// How it ended.
    pub exit_code: Option<i32>,
    raw: &'a [u8],
}

impl<'a> Row<'a> {
    /// The names of its nodes.
    pub fn nodes(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let fields = Fields { rest: self.raw };
        fields.filter_map(|field| match field {
            Ok((14, Value::Bytes(bytes))) => str::from_utf8(bytes).ok(),
            _ => None,
        })
    }

    fn read(raw: &'a [u8]) -> Result<Self, BrokenPage> {
        let mut row = Row { raw, ..Row::default() };
        for field in (Fields { rest: raw }) {
            match field? {
                (1, Value::Number(n)) => row.id = n,
                (2, Value::Number(n)) => row.first = n,
                (3, Value::Number(n)) => row.state = v1::JobState::try_from(n as i32).unwrap_or_default(),
                (4, Value::Bytes(bytes)) => row.name = text(bytes)?,
                (5, Value::Bytes(bytes)) => row.user = text(bytes)?,
                (6, Value::Bytes(bytes)) => row.queue = text(bytes)?,
                (7, Value::Number(n)) => row.priority = signed(n),
                (8, Value::Number(n)) => row.gpus = n as u32,
                (9, Value::Number(n)) => row.submitted_ms = n,
                (10, Value::Number(n)) => row.started_ms = Some(n),
                (11, Value::Number(n)) => row.ended_ms = Some(n),
                (12, Value::Number(n)) => row.attempt = n as u32,
                (13, Value::Number(n)) => row.restarts = n as u32,
                (15, Value::Bytes(bytes)) => row.cause = text(bytes)?,
                (16, Value::Number(n)) => row.exit_code = Some(signed(n)),
                // Nodes are read where they are wanted; what is unknown is newer than this program.
                _ => {}
            }
        }
        Ok(row)
    }
}

impl<'a> From<Row<'a>> for Job<'a> {
    fn from(row: Row<'a>) -> Self {
        Self {
            id: row.id,
            first: row.first,
            state: JobState::of(row.state),
            name: row.name.into(),
            user: row.user.into(),
            queue: row.queue.into(),
            priority: row.priority,
            gpus: row.gpus,
            submitted_ms: row.submitted_ms,
            started_ms: row.started_ms,
            ended_ms: row.ended_ms,
            attempt: row.attempt,
            restarts: row.restarts,
            nodes: row.nodes().map(Cow::from).collect(),
            cause: row.cause.into(),
            exit_code: row.exit_code,
        }
    }
}

/// The jobs of a page.
///
/// # Errors
/// [`BrokenPage`] where it is no `ListResponse`; nothing follows then.
pub fn rows(page: &[u8]) -> impl Iterator<Item = Result<Row<'_>, BrokenPage>> {
    Fields { rest: page }.filter_map(|field| match field {
        Ok((1, Value::Bytes(job))) => Some(Row::read(job)),
        Ok(_) => None,
        Err(error) => Some(Err(error)),
    })
}

#[derive(Clone, Copy, Debug)]
enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// The fields of a message.
struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    fn field(&mut self) -> Result<(u32, Value<'a>), BrokenPage> {
        let (tag, kind) = decode_key(&mut self.rest).map_err(|_| BrokenPage)?;
        let value = match kind {
            WireType::Varint => Value::Number(self.varint()?),
            WireType::LengthDelimited => {
                let length = self.varint()?;
                Value::Bytes(self.take(length)?)
            }
            WireType::SixtyFourBit => Value::Bytes(self.take(8)?),
            WireType::ThirtyTwoBit => Value::Bytes(self.take(4)?),
            WireType::StartGroup | WireType::EndGroup => return Err(BrokenPage),
        };
        Ok((tag, value))
    }

    fn varint(&mut self) -> Result<u64, BrokenPage> {
        decode_varint(&mut self.rest).map_err(|_| BrokenPage)
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8], BrokenPage> {
        let length = usize::try_from(length).map_err(|_| BrokenPage)?;
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(BrokenPage)?;
        self.rest = rest;
        Ok(taken)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Value<'a>), BrokenPage>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

fn text(bytes: &[u8]) -> Result<&str, BrokenPage> {
    str::from_utf8(bytes).map_err(|_| BrokenPage)
}

fn signed(zigzag: u64) -> i32 {
    let n = zigzag as u32;
    ((n >> 1) as i32) ^ -((n & 1) as i32)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    prop_compose! {
        fn job()(
            (id, first, state) in (any::<u64>(), any::<u64>(), 0..10i32),
            (name, user, queue, cause) in (".*", ".*", ".*", ".*"),
            (priority, gpus, attempt, restarts) in any::<(i32, u32, u32, u32)>(),
            (submitted_ms, started_ms, ended_ms) in any::<(u64, Option<u64>, Option<u64>)>(),
            nodes in prop::collection::vec(".*", 0..4),
            exit_code in any::<Option<i32>>(),
        ) -> v1::Job {
            v1::Job {
                id, first, state, name, user, queue, priority, gpus, submitted_ms, started_ms, ended_ms, attempt, restarts,
                nodes, cause, exit_code,
            }
        }
    }

    fn same(row: &Row<'_>, job: &v1::Job) -> bool {
        let back = v1::Job {
            id: row.id,
            first: row.first,
            state: row.state.into(),
            name: row.name.to_owned(),
            user: row.user.to_owned(),
            queue: row.queue.to_owned(),
            priority: row.priority,
            gpus: row.gpus,
            submitted_ms: row.submitted_ms,
            started_ms: row.started_ms,
            ended_ms: row.ended_ms,
            attempt: row.attempt,
            restarts: row.restarts,
            nodes: row.nodes().map(str::to_owned).collect(),
            cause: row.cause.to_owned(),
            exit_code: row.exit_code,
        };
        back == *job
    }

    proptest! {
        #[test]
        fn rows_are_what_the_generated_code_reads(jobs in prop::collection::vec(job(), 0..6)) {
            let page = v1::ListResponse { jobs: jobs.clone() }.encode_to_vec();
            let read: Vec<Row<'_>> = rows(&page).collect::<Result<_, _>>().unwrap();
            prop_assert_eq!(read.len(), jobs.len());
            prop_assert!(read.iter().zip(&jobs).all(|(row, job)| same(row, job)));
        }

        #[test]
        fn broken_pages_end(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let most = bytes.len();
            prop_assert!(rows(&bytes).count() <= most);
        }
    }
}
