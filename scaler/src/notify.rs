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

fn payload(kind: NotifyKind, message: &str) -> String {
    match kind {
        NotifyKind::Mattermost => json!({"username": "berth-scaler", "text": message}),
        NotifyKind::Slack => {
            // Slack reads these three as markup.
            let text = message.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
            json!({"text": text})
        }
        NotifyKind::Teams => json!({
            "type": "message",
            "attachments": [{
                "contentType": "application/vnd.microsoft.card.adaptive",
                "content": {
                    "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                    "type": "AdaptiveCard",
                    "version": "1.4",
                    "body": [{"type": "TextBlock", "text": message, "wrap": true}]
                }
            }]
        }),
    }
    .to_string()
}
