//! Every set of inner loops gives the bytes of the portable one.
