//! Placeholder types until the init branch lands.
/// Signals that reach the app as others.
#[derive(Clone, Debug, Default)]
pub struct SignalRewrite;
impl std::str::FromStr for SignalRewrite {
    type Err = ();
    fn from_str(_: &str) -> Result<Self, ()> {
        Err(())
    }
}
/// Exit codes that leave as others.
#[derive(Clone, Debug, Default)]
pub struct ExitRemap;
impl std::str::FromStr for ExitRemap {
    type Err = ();
    fn from_str(_: &str) -> Result<Self, ()> {
        Err(())
    }
}
