//! The fields of a footer that the `parquet` crate reads, with their kinds. It tells fields by their numbers and reads
//! them in the kind they should have, whatever kind is written.

use super::thrift::Fields;
use super::thrift::Shape::{Byte, Bytes, Double, List, Number, Struct, Structs};

/// A structure of no fields, as variants without values are written.
const NOTHING: Fields = &[];

/// The metadata of a file.
pub(super) const FOOTER: Fields = &[
    (1, Number),
    (2, Structs(SCHEMA_ELEMENT)),
    (3, Number),
    (4, Structs(ROW_GROUP)),
    (5, Structs(&[(1, Bytes), (2, Bytes)])),
    (6, Bytes),
    (7, Structs(&[(1, Struct(NOTHING)), (2, Struct(NOTHING)), (3, Struct(NOTHING))])),
];

const SCHEMA_ELEMENT: Fields = &[
    (1, Number),
    (2, Number),
    (3, Number),
    (4, Bytes),
    (5, Number),
    (6, Number),
    (7, Number),
    (8, Number),
    (9, Number),
    (10, Struct(LOGICAL_TYPE)),
];

const LOGICAL_TYPE: Fields = &[
    (1, Struct(NOTHING)),
    (2, Struct(NOTHING)),
    (3, Struct(NOTHING)),
    (4, Struct(NOTHING)),
    (5, Struct(&[(1, Number), (2, Number)])),
    (6, Struct(NOTHING)),
    (7, Struct(TIME)),
    (8, Struct(TIME)),
    (10, Struct(&[(1, Byte)])),
    (11, Struct(NOTHING)),
    (12, Struct(NOTHING)),
    (13, Struct(NOTHING)),
    (14, Struct(NOTHING)),
    (15, Struct(NOTHING)),
    (16, Struct(&[(1, Byte)])),
    (17, Struct(&[(1, Bytes)])),
    (18, Struct(&[(1, Bytes), (2, Number)])),
    (19, Struct(NOTHING)),
];

/// Whether it is in UTC, which stands in the field's kind itself, and the unit.
const TIME: Fields = &[(2, Struct(&[(1, Struct(NOTHING)), (2, Struct(NOTHING)), (3, Struct(NOTHING))]))];

const ROW_GROUP: Fields = &[
    (1, Structs(COLUMN_CHUNK)),
    (2, Number),
    (3, Number),
    (4, Structs(&[(1, Number)])),
    (5, Number),
    (7, Number),
];

const COLUMN_CHUNK: Fields =
    &[(1, Bytes), (2, Number), (3, Struct(COLUMN)), (4, Number), (5, Number), (6, Number), (7, Number)];

const COLUMN: Fields = &[
    (1, Number),
    (2, List),
    (4, Number),
    (5, Number),
    (6, Number),
    (7, Number),
    (9, Number),
    (10, Number),
    (11, Number),
    (12, Struct(STATISTICS)),
    (13, Structs(&[(1, Number), (2, Number), (3, Number)])),
    (14, Number),
    (15, Number),
    (16, Struct(&[(1, Number), (2, List), (3, List)])),
    (17, Struct(&[(1, Struct(BOX)), (2, List)])),
];

const STATISTICS: Fields =
    &[(1, Bytes), (2, Bytes), (3, Number), (4, Number), (5, Bytes), (6, Bytes), (9, Number)];

const BOX: Fields =
    &[(1, Double), (2, Double), (3, Double), (4, Double), (5, Double), (6, Double), (7, Double), (8, Double)];
