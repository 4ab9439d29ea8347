//! The structs of `docs/plugin-abi.md` as bytes of a plugin's memory: written for it, and read back with distrust. Pure
//! functions over slices; nothing here calls anything.

use std::ops::Range;

use zenith_data::DType;

/// Axes that a tensor may have.
pub(crate) const MOST_RANK: usize = 8;

/// Bytes of a `zenith_tensor`.
const TENSOR: usize = 44;

/// Bytes of a `zenith_input`.
const INPUT: usize = 56;

/// Where a sample's bytes begin behind its `zenith_input`: a multiple of 16.
pub(crate) const INPUT_ROOM: usize = 64;

/// Bytes of a `zenith_result`.
const RESULT: u32 = 20;

/// Bytes of a `zenith_description`.
const DESCRIPTION: u32 = 28;

/// Bytes of a plugin's message that are shown.
const MOST_MESSAGE: usize = 4_096;

/// Bytes of a name or version.
const MOST_NAME: u32 = 256;

/// Bytes of a description.
const MOST_DESCRIPTION: u32 = 4_096;

/// The most tensors that may become of one sample: a bound for what the host must remember of them.
pub(crate) const MOST_RESULTS: u32 = 65_536;

const _: () = assert!(cfg!(target_endian = "little"), "tensors cross the border as they are");

/// A tensor in a plugin's memory that was checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TensorView {
    pub(crate) dtype: DType,
    pub(crate) rank: usize,
    pub(crate) shape: [usize; MOST_RANK],
    pub(crate) start: usize,
    pub(crate) length: usize,
}

impl TensorView {
    pub(crate) fn shape(&self) -> &[usize] {
        &self.shape[..self.rank]
    }

    pub(crate) fn range(&self) -> Range<usize> {
        self.start..self.start + self.length
    }
}

/// A `zenith_result` whose tensors are not looked at yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) status: i32,
    pub(crate) count: u32,
    tensors: u32,
    pub(crate) message: String,
}

/// What a plugin says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Description {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) description: String,
    pub(crate) drops: bool,
    pub(crate) splits: bool,
}

/// `length` bytes at `at`, where memory has them.
pub(crate) fn bytes(memory: &[u8], at: u32, length: u32) -> Option<&[u8]> {
    let start = at as usize;
    memory.get(start..start.checked_add(length as usize)?)
}

fn word(bytes: &[u8], index: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[index * 4..index * 4 + 4]);
    u32::from_le_bytes(word)
}

/// Text of a plugin's as it may be shown: what is no UTF-8 and what would steer a terminal is replaced.
pub(crate) fn text(bytes: &[u8]) -> String {
    let shown =
        |c: char| if c.is_control() && c != '\n' && c != '\t' { char::REPLACEMENT_CHARACTER } else { c };
    String::from_utf8_lossy(bytes).chars().map(shown).collect()
}

/// The number that the ABI gives an element type.
pub(crate) const fn code(dtype: DType) -> u32 {
    match dtype {
        DType::Bool => 0,
        DType::UInt8 => 1,
        DType::UInt16 => 2,
        DType::UInt32 => 3,
        DType::UInt64 => 4,
        DType::Int8 => 5,
        DType::Int16 => 6,
        DType::Int32 => 7,
        DType::Int64 => 8,
        DType::Float16 => 9,
        DType::Float32 => 10,
        DType::Float64 => 11,
    }
}

fn dtype(number: u32) -> Option<DType> {
    DType::ALL.into_iter().find(|dtype| code(*dtype) == number)
}

/// A `zenith_input` for a tensor whose bytes lie at `data`; why there can be none otherwise.
pub(crate) fn input(data: u32, dtype: DType, shape: &[usize], random: u64) -> Result<[u8; INPUT], String> {
    if shape.len() > MOST_RANK {
        return Err(format!("it has {} axes; plugins know up to {MOST_RANK}", shape.len()));
    }
    let mut input = [0; INPUT];
    let mut put =
        |index: usize, value: u32| input[index * 4..index * 4 + 4].copy_from_slice(&value.to_le_bytes());
    put(0, data);
    put(1, code(dtype));
    put(2, shape.len() as u32);
    for (axis, &count) in shape.iter().enumerate() {
        let count = u32::try_from(count)
            .map_err(|_| format!("axis {axis} has {count} elements, more than 32 bits hold"))?;
        put(3 + axis, count);
    }
    input[48..].copy_from_slice(&random.to_le_bytes());
    Ok(input)
}

/// Bytes of a tensor; `None` where they, or the elements along its axes that are not empty, are more than 63 bits hold.
pub(crate) fn size(dtype: DType, shape: &[usize]) -> Option<usize> {
    let mut room = i64::try_from(dtype.size()).ok()?;
    for &count in shape {
        room = room.checked_mul(i64::try_from(count).ok()?.max(1))?;
    }
    if shape.contains(&0) { Some(0) } else { usize::try_from(room).ok() }
}

/// The `zenith_result` at `at`.
pub(crate) fn outcome(memory: &[u8], at: u32) -> Result<Outcome, String> {
    let Some(result) = bytes(memory, at, RESULT) else {
        return Err(format!("the result at {at} is outside of its memory"));
    };
    let (status, message_at, message_length) = (word(result, 0) as i32, word(result, 3), word(result, 4));
    let message = if status == 0 || message_length == 0 {
        String::new()
    } else {
        let Some(message) = bytes(memory, message_at, message_length) else {
            return Err(format!(
                "its message of {message_length} bytes at {message_at} is outside of its memory"
            ));
        };
        text(&message[..message.len().min(MOST_MESSAGE)])
    };
    Ok(Outcome { status, count: word(result, 1), tensors: word(result, 2), message })
}

/// The tensors of a result whose count was checked; into `views`, whose memory is used again. Together they may be
/// `most` bytes: they may overlap, so memory alone bounds nothing.
pub(crate) fn tensors(
    memory: &[u8],
    outcome: &Outcome,
    most: usize,
    views: &mut Vec<TensorView>,
) -> Result<(), String> {
    views.clear();
    let (at, count) = (outcome.tensors, outcome.count);
    if count > MOST_RESULTS {
        return Err(format!("it returned {count} tensors; at most {MOST_RESULTS} are taken"));
    }
    let Some(list) = bytes(memory, at, count * TENSOR as u32) else {
        return Err(format!("the list of {count} tensors at {at} is outside of its memory"));
    };
    let mut total = 0_usize;
    for (number, record) in list.chunks_exact(TENSOR).enumerate() {
        let view =
            tensor(memory, record).map_err(|reason| format!("tensor {number} of {count}: {reason}"))?;
        total = total.saturating_add(view.length);
        if total > most {
            return Err(format!("its {count} tensors are more than {most} bytes in all"));
        }
        views.push(view);
    }
    Ok(())
}

fn tensor(memory: &[u8], record: &[u8]) -> Result<TensorView, String> {
    let (data, number, rank) = (word(record, 0), word(record, 1), word(record, 2) as usize);
    let Some(dtype) = dtype(number) else {
        return Err(format!("there is no element type {number}"));
    };
    if rank > MOST_RANK {
        return Err(format!("it has {rank} axes; at most {MOST_RANK} are possible"));
    }
    let mut shape = [0; MOST_RANK];
    for (axis, count) in shape.iter_mut().enumerate() {
        *count = word(record, 3 + axis) as usize;
    }
    if shape[rank..].iter().any(|&count| count != 0) {
        return Err(format!("its shape {shape:?} goes on behind its {rank} axes"));
    }
    let Some(length) = size(dtype, &shape[..rank]) else {
        return Err(format!("its shape {:?} overflows", &shape[..rank]));
    };
    let start = data as usize;
    // No elements lie nowhere.
    if length > 0 && !start.is_multiple_of(dtype.size()) {
        return Err(format!("its {dtype} elements at {start} are not aligned"));
    }
    let Some(elements) = start.checked_add(length).and_then(|end| memory.get(start..end)) else {
        return Err(format!(
            "its {length} bytes at {start} are outside of its memory of {} bytes",
            memory.len()
        ));
    };
    // Whoever takes a bool may rely on what is in it.
    if dtype == DType::Bool && !are_bools(elements) {
        return Err(NO_BOOL.to_owned());
    }
    Ok(TensorView { dtype, rank, shape, start, length })
}

/// What is wrong where [`are_bools`] is false.
pub(crate) const NO_BOOL: &str = "a bool is neither 0 nor 1";

/// Whether every byte is 0 or 1.
pub(crate) fn are_bools(bytes: &[u8]) -> bool {
    bytes.iter().fold(0, |all, byte| all | byte) <= 1
}

/// The `zenith_description` at `at`.
pub(crate) fn description(memory: &[u8], at: u32) -> Result<Description, String> {
    let Some(record) = bytes(memory, at, DESCRIPTION) else {
        return Err(format!("its description at {at} is outside of its memory"));
    };
    let string = |what: &str, index: usize, most: u32| {
        let (at, length) = (word(record, index), word(record, index + 1));
        if length > most {
            return Err(format!("its {what} has {length} bytes; at most {most} are possible"));
        }
        let Some(found) = bytes(memory, at, length) else {
            return Err(format!("its {what} of {length} bytes at {at} is outside of its memory"));
        };
        if std::str::from_utf8(found).is_err() {
            return Err(format!("its {what} is no UTF-8"));
        }
        Ok(text(found))
    };
    let flags = word(record, 6);
    if flags & !3 != 0 {
        return Err(format!("its description has flags {flags:#x}; version 1 knows 0x1 and 0x2"));
    }
    let name = string("name", 0, MOST_NAME)?;
    if name.is_empty() {
        return Err("its description has no name".to_owned());
    }
    Ok(Description {
        name,
        version: string("version", 2, MOST_NAME)?,
        description: string("description", 4, MOST_DESCRIPTION)?,
        drops: flags & 1 != 0,
        splits: flags & 2 != 0,
    })
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
