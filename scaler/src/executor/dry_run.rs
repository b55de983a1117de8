//! Looks and never touches.

use tracing::info;

use super::{BoxFuture, Ending, Executor, Instance, Progress, StepError, Task};

/// Another executor with its hands tied.
pub struct DryRun<E>(pub E);

impl<E: Executor> Executor for DryRun<E> {
    fn hosts(&self) -> Vec<String> {
        self.0.hosts()
    }

    fn look<'a>(&'a self, host: &'a str) -> BoxFuture<'a, Result<Vec<Instance>, StepError>> {
        self.0.look(host)
    }

    fn spec<'a>(&'a self, host: &'a str, id: &'a str) -> BoxFuture<'a, Result<String, StepError>> {
        self.0.spec(host, id)
    }

    fn rights(&self, spec: &str) -> Vec<String> {
        self.0.rights(spec)
    }

    fn ending<'a>(
        &'a self,
        host: &'a str,
        id: &'a str,
    ) -> BoxFuture<'a, Result<Ending, StepError>> {
        self.0.ending(host, id)
    }

    /// Says what would be done. Never done, so that nothing counts on it, and never refused, so
    /// that a row which another scaler has left open stays open.
    fn advance<'a>(&'a self, task: &'a Task) -> BoxFuture<'a, Result<Progress, StepError>> {
        let step = &task.step;
        info!(action = step.kind.as_str(), host = step.host, container = step.name, "dry run");
        Box::pin(async { Err(StepError::Unreachable("dry run".to_owned())) })
    }
}
