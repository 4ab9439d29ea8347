//! Which implementation of an operation is the fastest: measured, remembered, explained.
