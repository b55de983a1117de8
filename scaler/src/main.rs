//! The command line of the scaler.

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut parser = lexopt::Parser::from_env();
    let name = match parser.next() {
        Ok(Some(lexopt::Arg::Value(name))) => name.to_string_lossy().into_owned(),
        _ => String::new(),
    };
    match berth_scaler::commands::dispatch(&name, &mut parser) {
        Some(Ok(())) => ExitCode::SUCCESS,
        Some(Err(error)) => {
            eprintln!("berth-scaler: {error:#}");
            ExitCode::FAILURE
        }
        None => {
            eprint!("usage: berth-scaler COMMAND\n\n{}", berth_scaler::commands::USAGE);
            ExitCode::from(64)
        }
    }
}
