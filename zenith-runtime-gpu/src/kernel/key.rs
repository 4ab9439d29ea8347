//! What decides which implementation is the fastest: the problem, and the key that problems of like speed share. Their text is
//! canonical: equal keys have equal text, and a key is read back from it.
//!
//! The machine is no part of a key; it is the [`Environment`](super::Environment) that a measurement was made in.

use std::fmt::{self, Write as _};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use super::bucket::{Buckets, Span};

/// The most bytes a name may have.
pub const MAX_NAME: usize = 128;
/// The most operands an operation may have.
pub const MAX_OPERANDS: usize = 32;
/// The most dimensions a problem may have.
pub const MAX_DIMS: usize = 32;
/// The most bytes the text of a key may have.
pub const MAX_TEXT: usize = 16 * 1024;

/// Why something is no key.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum KeyError {
    /// A name with characters that would make the text ambiguous, or none.
    #[error("`{0}` is no name: 1 to {MAX_NAME} ASCII letters, digits and `_ . + : / -` would work")]
    Name(String),
    /// Too much of something.
    #[error("{found} {what} are too many: at most {most} would work")]
    Many {
        /// Of what.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// How many there may be.
        most: usize,
    },
    /// A dimension that is there twice.
    #[error("the dimension `{0}` is there twice")]
    Twice(Name),
    /// Text that is not a key's.
    #[error("`{text}` is no {what}: {hint} would work")]
    Text {
        /// The part that is wrong.
        text: String,
        /// What it should have been.
        what: &'static str,
        /// An example.
        hint: &'static str,
    },
}

/// A word: 1 to [`MAX_NAME`] ASCII letters, digits and `_ . + : / -`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(Box<str>);

/// An operation and the version of its meaning: another version, other keys.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Op {
    /// Its name.
    pub name: Name,
    /// Raised whenever its meaning, its dimensions or its operands change.
    pub schema: u32,
}

/// How the elements of an operand lie in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Layout {
    /// Row after row, without gaps.
    Rows,
    /// Row after row, with gaps between rows.
    PaddedRows,
    /// The last two dimensions exchanged: column after column, without gaps.
    Columns,
    /// Column after column, with gaps between columns.
    PaddedColumns,
    /// Some elements are the same memory.
    Broadcast,
    /// Any other way.
    Strided,
}

/// The greatest power of two, up to [`Alignment::MOST`] bytes, that divides all addresses and all distances between rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Alignment(u32);

/// Whether equal operands must give equal bits every time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Determinism {
    /// They need not.
    Any,
    /// They must.
    Required,
}

/// How calls are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Mode {
    /// One by one, each paying for its launch.
    Eager,
    /// Recorded once and replayed.
    Graph,
}

/// All of a problem but its sizes. Keys are neighbours only within a family.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Family {
    /// The operation.
    pub op: Op,
    /// Element types of the operands, outputs last, such as `float32`.
    pub dtypes: Vec<Name>,
    /// What arithmetic is allowed, such as `ieee` or `tf32`.
    pub math: Name,
    /// Layouts of the operands, outputs last.
    pub layouts: Vec<Layout>,
    /// Alignment of the operands.
    pub alignment: Alignment,
    /// What is fused behind the operation, such as `none` or `bias+gelu`.
    pub epilogue: Name,
    /// Whether equal operands must give equal bits.
    pub determinism: Determinism,
    /// How calls are made.
    pub mode: Mode,
}

/// One call: a family and exact sizes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Problem {
    family: Family,
    dims: Vec<(Name, u64)>,
}

/// What problems of like speed share: a family and spans of sizes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Key {
    family: Family,
    dims: Vec<(Name, Span)>,
}

impl Name {
    /// A name.
    ///
    /// # Errors
    /// When it is empty, too long or has other characters.
    pub fn new(text: &str) -> Result<Self, KeyError> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"_.+:/-".contains(&byte);
        if text.is_empty() || text.len() > MAX_NAME || !text.bytes().all(fits) {
            return Err(KeyError::Name(text.chars().take(MAX_NAME).collect()));
        }
        Ok(Self(text.into()))
    }

    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Layout {
    /// The layout of an operand by its sizes and the distances (in elements) between neighbours in each dimension.
    ///
    /// Dimensions of one element do not count. Leading dimensions must be dense for anything but [`Strided`](Self::Strided).
    #[must_use]
    pub fn of(sizes: &[u64], strides: &[i64]) -> Self {
        let dims: Vec<(u64, i64)> =
            sizes.iter().copied().zip(strides.iter().copied()).filter(|&(size, _)| size != 1).collect();
        if dims.iter().any(|&(_, stride)| stride == 0) {
            return Self::Broadcast;
        }
        let Some((&(cols, inner), rest)) = dims.split_last() else {
            return Self::Rows;
        };
        let Some((&(rows, outer), leading)) = rest.split_last() else {
            return if inner == 1 { Self::Rows } else { Self::Strided };
        };
        let signed = |size: u64| i64::try_from(size).unwrap_or(i64::MAX);
        let (layout, pitch, lines) = if inner == 1 && outer >= signed(cols) {
            (if outer == signed(cols) { Self::Rows } else { Self::PaddedRows }, outer, rows)
        } else if outer == 1 && inner >= signed(rows) {
            (if inner == signed(rows) { Self::Columns } else { Self::PaddedColumns }, inner, cols)
        } else {
            return Self::Strided;
        };
        let mut next = pitch.saturating_mul(signed(lines));
        for &(size, stride) in leading.iter().rev() {
            if stride != next {
                return Self::Strided;
            }
            next = next.saturating_mul(signed(size));
        }
        layout
    }

    const ALL: [(Self, &'static str); 6] = [
        (Self::Rows, "rows"),
        (Self::PaddedRows, "rows+"),
        (Self::Columns, "cols"),
        (Self::PaddedColumns, "cols+"),
        (Self::Broadcast, "broadcast"),
        (Self::Strided, "strided"),
    ];
}

impl Alignment {
    /// The greatest one that is told apart, in bytes: more than any vector load needs.
    pub const MOST: u32 = 64;

    /// The alignment of addresses and distances in bytes; of none of them it is the greatest.
    pub fn of(places: impl IntoIterator<Item = u64>) -> Self {
        let all = places.into_iter().fold(u64::from(Self::MOST), |all, place| all | place);
        // The lowest bit of any is the lowest bit of all together.
        Self(1 << all.trailing_zeros())
    }

    /// In bytes.
    #[must_use]
    pub const fn bytes(self) -> u32 {
        self.0
    }
}

impl Family {
    /// Plain: rows of `dtypes`, IEEE arithmetic, best alignment, nothing fused, called eagerly. What differs is set afterwards.
    ///
    /// # Errors
    /// When a name is none.
    pub fn plain(op: &str, schema: u32, dtypes: &[&str]) -> Result<Self, KeyError> {
        Ok(Self {
            op: Op { name: Name::new(op)?, schema },
            dtypes: dtypes.iter().map(|dtype| Name::new(dtype)).collect::<Result<_, _>>()?,
            math: Name::new("ieee")?,
            layouts: vec![Layout::Rows; dtypes.len()],
            alignment: Alignment(Alignment::MOST),
            epilogue: Name::new("none")?,
            determinism: Determinism::Any,
            mode: Mode::Eager,
        })
    }

    /// 32 hexadecimal digits that stand for it.
    #[must_use]
    pub fn digest(&self) -> String {
        digest(&self.to_string())
    }

    fn check(&self, dims: &[Name]) -> Result<(), KeyError> {
        let many =
            |what, found, most| if found > most { Err(KeyError::Many { what, found, most }) } else { Ok(()) };
        many("operands", self.dtypes.len().max(self.layouts.len()), MAX_OPERANDS)?;
        many("dimensions", dims.len(), MAX_DIMS)?;
        let twice = dims.iter().enumerate().find(|(place, name)| dims[..*place].contains(name));
        twice.map_or(Ok(()), |(_, name)| Err(KeyError::Twice(name.clone())))
    }
}

impl Problem {
    /// A problem of `family` with these sizes. The order of dimensions is part of it: an operation names them in one order.
    ///
    /// # Errors
    /// When there are too many operands or dimensions, or a dimension is there twice.
    pub fn new(family: Family, dims: Vec<(Name, u64)>) -> Result<Self, KeyError> {
        family.check(&dims.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>())?;
        Ok(Self { family, dims })
    }

    /// All but the sizes.
    #[must_use]
    pub fn family(&self) -> &Family {
        &self.family
    }

    /// The sizes, in the operation's order.
    #[must_use]
    pub fn dims(&self) -> &[(Name, u64)] {
        &self.dims
    }

    /// The size of the dimension `name`.
    #[must_use]
    pub fn dim(&self, name: &str) -> Option<u64> {
        self.dims.iter().find(|(dim, _)| dim.as_str() == name).map(|&(_, size)| size)
    }

    /// The key it shares with problems of like speed.
    #[must_use]
    pub fn key(&self, buckets: &Buckets) -> Key {
        let span = |(name, size): &(Name, u64)| (name.clone(), buckets.rule(name).span(*size));
        Key { family: self.family.clone(), dims: self.dims.iter().map(span).collect() }
    }
}

impl Key {
    /// A key of `family` with these spans.
    ///
    /// # Errors
    /// When there are too many operands or dimensions, or a dimension is there twice.
    pub fn new(family: Family, dims: Vec<(Name, Span)>) -> Result<Self, KeyError> {
        family.check(&dims.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>())?;
        Ok(Self { family, dims })
    }

    /// All but the sizes.
    #[must_use]
    pub fn family(&self) -> &Family {
        &self.family
    }

    /// The spans of sizes, in the operation's order.
    #[must_use]
    pub fn dims(&self) -> &[(Name, Span)] {
        &self.dims
    }

    /// 32 hexadecimal digits that stand for it.
    #[must_use]
    pub fn digest(&self) -> String {
        digest(&self.to_string())
    }

    /// How far another key is: doublings between their sizes, all dimensions together; `None` in another family or with other
    /// dimensions.
    #[must_use]
    pub fn distance(&self, other: &Self) -> Option<f64> {
        if self.family != other.family || self.dims.len() != other.dims.len() {
            return None;
        }
        let doublings = |size: u64| (size.max(1) as f64).log2();
        self.dims.iter().zip(&other.dims).try_fold(0.0, |sum, ((name, a), (other, b))| {
            (name == other).then(|| sum + (doublings(a.high) - doublings(b.high)).abs())
        })
    }

    /// The nearest of `others` and how far it is. Among equally near ones it is the first in the order of keys, so that
    /// everybody finds the same.
    pub fn nearest<'a>(&self, others: impl IntoIterator<Item = &'a Self>) -> Option<(&'a Self, f64)> {
        let reached = others.into_iter().filter_map(|other| Some((other, self.distance(other)?)));
        reached.min_by(|(a, near), (b, far)| near.total_cmp(far).then_with(|| a.cmp(b)))
    }
}

/// 32 hexadecimal digits that stand for `text`.
pub(crate) fn digest(text: &str) -> String {
    hex(&Sha256::digest(text.as_bytes())[..16])
}

/// Bytes in hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut hex, byte| {
        // Writing to a string cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

fn list<T: fmt::Display>(f: &mut fmt::Formatter<'_>, items: impl IntoIterator<Item = T>) -> fmt::Result {
    for (place, item) in items.into_iter().enumerate() {
        if place > 0 {
            f.write_char(',')?;
        }
        write!(f, "{item}")?;
    }
    Ok(())
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::ALL.iter().find(|(layout, _)| layout == self).map_or("", |(_, text)| text))
    }
}

impl fmt::Display for Determinism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Self::Any { "any" } else { "required" })
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Self::Eager { "eager" } else { "graph" })
    }
}

impl Family {
    fn write(
        &self,
        f: &mut fmt::Formatter<'_>,
        dims: impl FnOnce(&mut fmt::Formatter<'_>) -> fmt::Result,
    ) -> fmt::Result {
        write!(f, "{}@{}(", self.op.name, self.op.schema)?;
        dims(f)?;
        f.write_str(");")?;
        list(f, &self.dtypes)?;
        write!(f, ";math={};layout=", self.math)?;
        list(f, &self.layouts)?;
        write!(
            f,
            ";align={};epilogue={};deterministic={};mode={}",
            self.alignment.0, self.epilogue, self.determinism, self.mode
        )
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, |_| Ok(()))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.family.write(f, |f| list(f, self.dims.iter().map(|(name, size)| format!("{name}={size}"))))
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.family.write(f, |f| list(f, self.dims.iter().map(|(name, span)| format!("{name}={span}"))))
    }
}

fn wrong(text: &str, what: &'static str, hint: &'static str) -> KeyError {
    KeyError::Text { text: text.chars().take(MAX_NAME).collect(), what, hint }
}

fn items(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').filter(move |_| !text.is_empty())
}

/// A number as it is written: no sign, no zeros before it, so that equal keys have equal text.
fn number<T: FromStr + ToString>(text: &str) -> Option<T> {
    text.parse().ok().filter(|number: &T| number.to_string() == text)
}

impl FromStr for Key {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        const HINT: &str = "matmul@1(m=64,n=65-80,k=64);float32,float32,float32;math=ieee;layout=rows,rows,rows;\
                            align=64;epilogue=none;deterministic=any;mode=eager";
        let bad = || wrong(text, "key", HINT);
        if text.len() > MAX_TEXT {
            return Err(KeyError::Many { what: "bytes of text", found: text.len(), most: MAX_TEXT });
        }
        let parts: Vec<&str> = text.split(';').collect();
        let &[head, dtypes, math, layouts, align, epilogue, deterministic, mode] = parts.as_slice() else {
            return Err(bad());
        };
        let (op, dims) = head.strip_suffix(')').and_then(|head| head.split_once('(')).ok_or_else(bad)?;
        let (name, schema) = op.split_once('@').ok_or_else(bad)?;
        let value = |part: &'static str, text: &'_ str| -> Result<String, KeyError> {
            let rest = text.strip_prefix(part).and_then(|rest| rest.strip_prefix('='));
            rest.map(str::to_owned).ok_or_else(bad)
        };
        let span = |item: &str| -> Result<(Name, Span), KeyError> {
            let hint = || wrong(item, "dimension", "m=64 or m=65-80");
            let (name, sizes) = item.split_once('=').ok_or_else(hint)?;
            let span = match sizes.split_once('-') {
                None => number(sizes).map(Span::exact),
                Some((low, high)) => number(low)
                    .zip(number(high))
                    .map(|(low, high)| Span { low, high })
                    .filter(|span| span.low < span.high),
            };
            Ok((Name::new(name)?, span.ok_or_else(hint)?))
        };
        let layout = |item: &str| {
            let known = Layout::ALL.iter().find(|(_, text)| *text == item);
            known
                .map(|&(layout, _)| layout)
                .ok_or_else(|| wrong(item, "layout", "rows, rows+, cols, cols+, broadcast, strided"))
        };
        let layouts = value("layout", layouts)?;
        let align = number(&value("align", align)?)
            .filter(|bytes: &u32| bytes.is_power_of_two() && *bytes <= Alignment::MOST)
            .ok_or_else(|| wrong(align, "alignment", "align=64"))?;
        let family = Family {
            op: Op { name: Name::new(name)?, schema: number(schema).ok_or_else(bad)? },
            dtypes: items(dtypes).map(Name::new).collect::<Result<_, _>>()?,
            math: Name::new(&value("math", math)?)?,
            layouts: items(&layouts).map(layout).collect::<Result<_, _>>()?,
            alignment: Alignment(align),
            epilogue: Name::new(&value("epilogue", epilogue)?)?,
            determinism: match value("deterministic", deterministic)?.as_str() {
                "any" => Determinism::Any,
                "required" => Determinism::Required,
                _ => {
                    return Err(wrong(
                        deterministic,
                        "determinism",
                        "deterministic=any or deterministic=required",
                    ));
                }
            },
            mode: match value("mode", mode)?.as_str() {
                "eager" => Mode::Eager,
                "graph" => Mode::Graph,
                _ => return Err(wrong(mode, "mode", "mode=eager or mode=graph")),
            },
        };
        Self::new(family, items(dims).map(span).collect::<Result<_, _>>()?)
    }
}

impl FromStr for Problem {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let key: Key = text.parse()?;
        let exact = |(name, span): (Name, Span)| {
            if span.low == span.high {
                Ok((name, span.low))
            } else {
                Err(wrong(&span.to_string(), "size", "m=64"))
            }
        };
        Ok(Self { family: key.family, dims: key.dims.into_iter().map(exact).collect::<Result<_, _>>()? })
    }
}

impl TryFrom<String> for Name {
    type Error = KeyError;

    fn try_from(text: String) -> Result<Self, KeyError> {
        Self::new(&text)
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0.into()
    }
}

impl TryFrom<String> for Key {
    type Error = KeyError;

    fn try_from(text: String) -> Result<Self, KeyError> {
        text.parse()
    }
}

impl From<Key> for String {
    fn from(key: Key) -> Self {
        key.to_string()
    }
}
