//! Real containers: the image that Dockerfile.example makes, HAProxy 2.6, 3.0 and 3.2 and BIND in
//! containers of their own, on networks of their own. In a full run only (BERTH_TEST_FULL=1).

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

#[path = "../support/mod.rs"]
mod support;

/// Each of these functions is a test on each HAProxy.
macro_rules! on_each_haproxy {
    ($($test:ident),* $(,)?) => {
        mod haproxy_2_6 { $(#[test] fn $test() { super::$test("2.6"); })* }
        mod haproxy_3_0 { $(#[test] fn $test() { super::$test("3.0"); })* }
        mod haproxy_3_2 { $(#[test] fn $test() { super::$test("3.2"); })* }
    };
}

mod faults;
mod image;
mod life;
mod network;
