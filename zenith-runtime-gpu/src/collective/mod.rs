//! Ranks that exchange data and agree: shared memory, TCP, NCCL.
