//! Looks and never touches.

use tracing::info;

use super::{BoxFuture, Ending, Executor, Progress, Sight, StepError, Task};
use crate::timestamp::Timestamp;

/// Another executor with its hands tied.
pub struct DryRun<E>(pub E);

impl<E: Executor> Executor for DryRun<E> {
    fn look(&self) -> BoxFuture<'_, Sight> {
        self.0.look()
    }

    fn spec<'a>(&'a self, host: &'a str, id: &'a str) -> BoxFuture<'a, Result<String, StepError>> {
        self.0.spec(host, id)
    }

    fn ending<'a>(
        &'a self,
        host: &'a str,
        id: &'a str,
        since: Timestamp,
    ) -> BoxFuture<'a, Result<Ending, StepError>> {
        self.0.ending(host, id, since)
    }

    /// Says what would be done. Never done, so that nothing counts on it.
    fn advance<'a>(&'a self, task: Task<'a>) -> BoxFuture<'a, Result<Progress, StepError>> {
        let step = task.step;
        info!(action = step.kind.as_str(), host = step.host, container = step.name, "dry run");
        Box::pin(async { Err(StepError::Refused("dry run".to_owned())) })
    }
}
