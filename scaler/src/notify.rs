//! Tells people: incoming webhooks of Mattermost, Slack and Teams. Nobody waits for them: what
//! cannot be sent is logged and forgotten.

use std::time::Duration;

use anyhow::Result;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tracing::warn;

use crate::config::{Notify, NotifyKind};
use crate::http::Client;

/// Messages that may wait.
const QUEUE: usize = 64;
/// For one webhook's whole answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Pauses before the second and the third try.
const RETRIES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(5)];

/// Takes messages; clones share the queue.
#[derive(Clone, Debug)]
pub struct Notifier(Option<mpsc::Sender<String>>);

impl Notifier {
    /// Starts a task that sends to every webhook; none at all for none.
    pub fn start(webhooks: &[Notify]) -> Result<Self> {
        if webhooks.is_empty() {
            return Ok(Self(None));
        }
        let client = Client::new(None, None, PATIENCE)?;
        let (sender, mut messages) = mpsc::channel::<String>(QUEUE);
        let webhooks = webhooks.to_vec();
        tokio::spawn(async move {
            while let Some(message) = messages.recv().await {
                for webhook in &webhooks {
                    deliver(&client, webhook, &message).await;
                }
            }
        });
        Ok(Self(Some(sender)))
    }

    /// Queues a message; drops it when too many wait.
    pub fn tell(&self, message: String) {
        if let Some(sender) = &self.0
            && let Err(error) = sender.try_send(message)
        {
            warn!(%error, "notification dropped");
        }
    }
}

async fn deliver(client: &Client, webhook: &Notify, message: &str) {
    let mut pauses = RETRIES.iter();
    loop {
        let body = payload(webhook.kind, message);
        // The URL is a secret: an error must not quote it.
        match (client.post(&webhook.url.0, "application/json", body).await, pauses.next()) {
            (Ok(_), _) => return,
            (Err(_), Some(pause)) => sleep(*pause).await,
            (Err(error), None) => {
                return warn!(kind = ?webhook.kind, %error, "notification not delivered");
            }
        }
    }
}

/// What a webhook expects, with the message as words and nothing but words.
fn payload(kind: NotifyKind, message: &str) -> String {
    let words = harmless(message);
    match kind {
        NotifyKind::Mattermost => json!({"username": "berth-scaler", "text": unmarked(&words)}),
        NotifyKind::Slack => {
            // Slack reads these three as markup even in a text without.
            let text = words.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
            json!({"text": text, "mrkdwn": false})
        }
        NotifyKind::Teams => json!({
            "type": "message",
            "attachments": [{
                "contentType": "application/vnd.microsoft.card.adaptive",
                "content": {
                    "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                    "type": "AdaptiveCard",
                    "version": "1.4",
                    "body": [{"type": "TextBlock", "text": unmarked(&words), "wrap": true}]
                }
            }]
        }),
    }
    .to_string()
}

/// Names and errors come from labels, alerts and peers: they must call nobody, make no link and
/// begin no line. A character without width keeps an at sign from being a mention.
fn harmless(message: &str) -> String {
    let line = message.replace(char::is_control, " ");
    line.replace('@', "@\u{200b}").replace("://", ":\u{200b}//")
}

/// With every mark of Markdown escaped.
fn unmarked(words: &str) -> String {
    let mut text = String::with_capacity(words.len());
    for c in words.chars() {
        if "\\`*_~[]<>#|&".contains(c) {
            text.push('\\');
        }
        text.push(c);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_words_and_nothing_else() {
        let message = "we_b\n[x](http://evil) @channel *<!here>* & `rm`";
        let text = |kind: NotifyKind| {
            let payload: serde_json::Value = serde_json::from_str(&payload(kind, message)).unwrap();
            let card = "/attachments/0/content/body/0/text";
            let text = payload.get("text").or_else(|| payload.pointer(card)).unwrap();
            text.as_str().unwrap().to_owned()
        };
        let marked =
            "we\\_b \\[x\\](http:\u{200b}//evil) @\u{200b}channel \\*\\<!here\\>\\* \\& \\`rm\\`";
        assert_eq!(text(NotifyKind::Mattermost), marked);
        assert_eq!(text(NotifyKind::Teams), marked);
        let slack = "we_b [x](http:\u{200b}//evil) @\u{200b}channel *&lt;!here&gt;* &amp; `rm`";
        assert_eq!(text(NotifyKind::Slack), slack);
    }
}
