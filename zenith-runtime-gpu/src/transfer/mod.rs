//! Batches on their way to a device: pinned memory, a stream of their own, ordered by events.
