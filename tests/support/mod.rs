//! The test kit, under the name that the tests have for it.
#![allow(unused_imports, unreachable_pub, reason = "each test binary uses its part")]

pub use berth_testkit::*;
