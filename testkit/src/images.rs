//! The images that containers run, made once for each process.

use std::collections::HashMap;
use std::process::Command;
use std::sync::OnceLock;

use super::ROOT;
use super::docker::docker;

/// The image called `name` in `scripts/images.sh`.
pub fn image(name: &str) -> &'static str {
    images().get(name).unwrap_or_else(|| panic!("no image {name}"))
}

/// All of them, made if need be.
pub fn images() -> &'static HashMap<String, String> {
    static IMAGES: OnceLock<HashMap<String, String>> = OnceLock::new();
    IMAGES.get_or_init(|| {
        let pairs = script("scripts/images.sh", &[]);
        let pairs = pairs.lines().filter_map(|line| line.split_once(' '));
        pairs.map(|(name, image)| (name.to_owned(), image.to_owned())).collect()
    })
}

/// What Dockerfile.example makes, as it stands, upon the image `base`.
pub fn agent_image(base: &str) -> &'static str {
    static BUILT: OnceLock<HashMap<&str, String>> = OnceLock::new();
    let built = BUILT.get_or_init(|| {
        script("scripts/build.sh", &["agent", "hello"]);
        let build = |base| {
            let from = format!("BASE={}", if base == "scratch" { base } else { image(base) });
            let words = ["build", "--quiet", "-f", "Dockerfile.example", "--build-arg", &from, "."];
            (base, docker(&words).trim().to_owned())
        };
        HashMap::from(["debian", "scratch"].map(build))
    });
    &built[base]
}

fn script(name: &str, arguments: &[&str]) -> String {
    let output = Command::new(format!("{ROOT}/{name}")).args(arguments).output().unwrap();
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
