//! The command line of the scaler.

fn main() {}
