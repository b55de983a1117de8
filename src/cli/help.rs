//! The text of `--help`, from the table of variables.

use crate::config::VARIABLES;

/// The whole text, without a line break at its end.
pub(super) fn text() -> String {
    let mut text = String::from(
        "berth starts COMMAND as an init should, and keeps it registered while it serves.

Usage: berth [--] COMMAND [ARG...]

  --status        which slot holds this container, as the servers themselves say
  --status=json   the same for machines
  --check         the same by exit code, and in one line on stderr:
                  0 registered, 1 not registered, 2 no server can tell
  --check --wait 30s
                  the same, once it is registered or the time is over
  --help          this text
  --version       the version

Environment (default in brackets):
",
    );
    let mut group = None;
    for variable in VARIABLES {
        if group != Some(variable.group) {
            group = Some(variable.group);
            text += &format!("\n{}\n", variable.group);
        }
        text += &format!("  {:<20}  {} [{}]\n", variable.name, variable.meaning, variable.default);
    }
    text + "
Exit code: that of COMMAND; 128 + n when signal n killed it; 126 or 127 when it cannot be executed
or is not found; 64 when a variable or an option is wrong."
}
