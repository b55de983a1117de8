//! The scaler: observe, decide, act, record.
