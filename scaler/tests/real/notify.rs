//! Incoming webhooks, taken by a real receiver.

use std::process::{Command, Stdio};

use berth_scaler::config::{Notify, NotifyKind, Secret};
use berth_scaler::notify::Notifier;
use tempfile::TempDir;

use crate::support::{Process, eventually, find, free_address, have};

#[tokio::test]
async fn every_kind_of_webhook_gets_the_text_where_it_looks_for_it() {
    if !have(&["webhook"]) {
        return;
    }
    let (dir, listen) = (TempDir::new().unwrap(), free_address());
    let script = dir.path().join("note.sh");
    std::fs::write(
        &script,
        "#!/bin/sh\nprintf '%s' \"$2\" > \"$1.part\" && mv \"$1.part\" \"$1\"\n",
    )
    .unwrap();
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let kinds = [
        ("mattermost", NotifyKind::Mattermost, "text"),
        ("slack", NotifyKind::Slack, "text"),
        ("teams", NotifyKind::Teams, "attachments.0.content.body.0.text"),
    ];
    let hooks: Vec<serde_json::Value> = kinds
        .iter()
        .map(|(id, _, place)| {
            serde_json::json!({
                "id": id, "execute-command": script, "command-working-directory": dir.path(),
                "pass-arguments-to-command": [
                    {"source": "string", "name": id}, {"source": "payload", "name": place}]
            })
        })
        .collect();
    let file = dir.path().join("hooks.json");
    std::fs::write(&file, serde_json::to_string(&hooks).unwrap()).unwrap();
    let mut command = Command::new(find("webhook").unwrap());
    command.arg("-hooks").arg(&file).args(["-ip", "127.0.0.1", "-port"]);
    command.arg(listen.port().to_string()).stdout(Stdio::null()).stderr(Stdio::null());
    let _webhook = Process::start(&mut command);
    eventually("the receiver listens", async || tokio::net::TcpStream::connect(listen).await.ok())
        .await;

    // One that is dead keeps nobody from theirs.
    let dead = Notify { kind: NotifyKind::Slack, url: Secret("http://127.0.0.1:1/x".to_owned()) };
    let webhooks = kinds
        .map(|(id, kind, _)| Notify { kind, url: Secret(format!("http://{listen}/hooks/{id}")) });
    let notifier = Notifier::start(&[&webhooks[..], &[dead]].concat()).unwrap();
    notifier.tell("web: scale out 2 → 4 <b>".to_owned());
    for (id, kind, _) in kinds {
        let text = eventually(id, async || std::fs::read_to_string(dir.path().join(id)).ok()).await;
        let slack = "web: scale out 2 → 4 &lt;b&gt;";
        let marked = "web: scale out 2 → 4 \\<b\\>";
        let expected = if kind == NotifyKind::Slack { slack } else { marked };
        assert_eq!(text, expected, "{id}");
    }
}
