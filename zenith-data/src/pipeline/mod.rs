//! From (source, sampler) to ordered batches: workers fill slots of slabs, the consumer takes finished batches in
//! order and helps while it waits.

pub mod slots;
