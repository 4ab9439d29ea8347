//! Where the time of a training step went: gaps, activity of the device, utilisation of its arithmetic.
