//! Questions about single containers: how one ended, what it takes to make another one like it. Each
//! host is asked by a task of its own, a few at a time, so that one that hangs keeps nobody waiting.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use crate::executor::{Ending, Executor, StepError};

/// Questions at once to one host.
const AT_ONCE: usize = 8;

/// What is asked of one container, host and id.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Question {
    Ending(String, String),
    Spec(String, String),
}

#[derive(Clone, Debug)]
enum Answer {
    Ending(Result<Ending, StepError>),
    Spec(Result<String, StepError>),
}

/// A question, its answer, and when that came.
type Said = (Question, Answer, Instant);

/// What was asked, what is to be asked, and what was said.
pub(super) struct Inquiries {
    wanted: HashSet<Question>,
    answers: HashMap<Question, Answer>,
    /// Questions under way by host, and since when.
    asked: HashMap<String, (usize, Instant)>,
    /// Hosts that are not waited for: their last answers were late, or are overdue.
    late: HashSet<String>,
    patience: Duration,
    tasks: JoinSet<()>,
    said: (mpsc::UnboundedSender<Said>, mpsc::UnboundedReceiver<Said>),
}

impl Default for Inquiries {
    fn default() -> Self {
        Self {
            wanted: HashSet::new(),
            answers: HashMap::new(),
            asked: HashMap::new(),
            late: HashSet::new(),
            patience: Duration::ZERO,
            tasks: JoinSet::new(),
            said: mpsc::unbounded_channel(),
        }
    }
}

impl Inquiries {
    /// How a container ended; `None` when that is not known yet: it will be asked.
    pub(super) fn ending(&mut self, host: &str, id: &str) -> Option<Result<Ending, StepError>> {
        match self.answer(Question::Ending(host.to_owned(), id.to_owned()))? {
            Answer::Ending(said) => Some(said),
            Answer::Spec(_) => None,
        }
    }

    /// What it takes to make another one; `None` when that is not known yet: it will be asked.
    pub(super) fn spec(&mut self, host: &str, id: &str) -> Option<Result<String, StepError>> {
        match self.answer(Question::Spec(host.to_owned(), id.to_owned()))? {
            Answer::Spec(said) => Some(said),
            Answer::Ending(_) => None,
        }
    }

    /// Whether the answers of a host are overdue.
    pub(super) fn is_late(&self, host: &str) -> bool {
        self.late.contains(host)
    }

    fn answer(&mut self, question: Question) -> Option<Answer> {
        let said = self.answers.get(&question).cloned();
        if said.is_none() {
            self.wanted.insert(question);
        }
        said
    }

    /// Takes in what was said since the last round.
    pub(super) fn begin(&mut self) {
        self.wanted.clear();
        self.answers.clear();
        while let Some(ended) = self.tasks.try_join_next() {
            if ended.is_err() {
                // A panic in an executor: nobody knows at which host, so all are asked again.
                *self = Self::default();
            }
        }
        while let Ok(said) = self.said.1.try_recv() {
            self.take(said);
        }
    }

    /// Asks what is wanted of hosts that are not asked yet, and waits `patience` for those that were
    /// not late before. Whether anything new is known.
    pub(super) async fn ask(&mut self, executor: &Arc<dyn Executor>, patience: Duration) -> bool {
        let began = Instant::now();
        self.patience = patience;
        let mut by_host: HashMap<String, Vec<Question>> = HashMap::new();
        for question in self.wanted.drain() {
            by_host.entry(question.host().to_owned()).or_default().push(question);
        }
        by_host.retain(|host, _| !self.asked.contains_key(host));
        for (host, questions) in by_host {
            self.asked.insert(host, (questions.len(), began));
            self.tasks.spawn(ask_all(executor.clone(), questions, self.said.0.clone()));
        }
        let mut news = false;
        while self.asked.keys().any(|host| !self.late.contains(host)) {
            match timeout_at(began + patience, self.said.1.recv()).await {
                Ok(Some(said)) => {
                    self.take(said);
                    news = true;
                }
                Ok(None) | Err(_) => break,
            }
        }
        self.late.extend(self.asked.keys().cloned());
        news
    }

    fn take(&mut self, (question, answer, at): Said) {
        let host = question.host();
        if let Some((left, since)) = self.asked.get_mut(host) {
            *left -= 1;
            if *left == 0 {
                if at.duration_since(*since) <= self.patience {
                    self.late.remove(host);
                }
                self.asked.remove(host);
            }
        }
        self.answers.insert(question, answer);
    }
}

impl Question {
    fn host(&self) -> &str {
        let (Question::Ending(host, _) | Question::Spec(host, _)) = self;
        host
    }
}

async fn ask_all(
    executor: Arc<dyn Executor>,
    questions: Vec<Question>,
    said: mpsc::UnboundedSender<Said>,
) {
    let ask = async |question: Question| {
        let answer = match &question {
            Question::Ending(host, id) => Answer::Ending(executor.ending(host, id).await),
            Question::Spec(host, id) => Answer::Spec(executor.spec(host, id).await),
        };
        // Nobody listens when the lead is lost.
        let _ = said.send((question, answer, Instant::now()));
    };
    let asked: Vec<_> = questions.into_iter().map(ask).collect();
    futures_util::stream::iter(asked).buffer_unordered(AT_ONCE).collect::<()>().await;
}
