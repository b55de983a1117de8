//! The arrows of ARCHITECTURE.md: which room may use which, and that no files form a circle.
//!
//! Read from the `use` lines and the paths in the code, up to the tests of each file. A name that a
//! module passes on (`pub use`) counts as used where it comes from.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// A crate's source, and what each of its rooms may use besides itself. The longest name counts.
struct House {
    source: &'static str,
    rooms: &'static [(&'static str, &'static [&'static str])],
}

const REGISTERS: &str = "registers";
const HAPROXY: &str = "registers::haproxy";
const DNS: &str = "registers::dns";
const TRAEFIK: &str = "registers::traefik";

const AGENT: House = House {
    source: "src",
    rooms: &[
        (
            "cli",
            &[
                "config",
                "container",
                REGISTERS,
                HAPROXY,
                DNS,
                TRAEFIK,
                "init",
                "net",
                "log",
                "task",
            ],
        ),
        ("config", &["container", HAPROXY, DNS, TRAEFIK, "init", "net", "log", "file"]),
        ("container", &[REGISTERS, HAPROXY, DNS, TRAEFIK, "init", "net", "task", "file", "few"]),
        (HAPROXY, &[REGISTERS, "net", "task", "file", "few"]),
        (DNS, &[REGISTERS, "net", "task", "time"]),
        (TRAEFIK, &[REGISTERS, "net"]),
        (REGISTERS, &[]),
        ("net", &["file", "few"]),
        ("log", &["init", "time"]),
        ("init", &["few"]),
        ("task", &[]),
        ("file", &[]),
        ("few", &[]),
        ("time", &[]),
    ],
};

/// What is compiled for tests alone, and what ties everything together.
const APART: [&str; 6] = ["tests", "model", "simulation", "fuzz", "main", "lib"];

/// Rooms of the agent that decide or translate, and what would be an act or a look at a clock there.
const PURE: [&str; 6] = [
    "registers::haproxy::wire",
    "registers::haproxy::slot",
    "registers::dns::wire",
    "registers::traefik::wire",
    "registers::traefik::phase",
    "container::lifecycle",
];
const ACTS: [&str; 4] = ["tokio::", "Instant::now", "SystemTime::now", "std::net::Tcp"];

#[test]
fn the_rooms_of_the_agent_use_each_other_as_the_architecture_says() {
    let files = Files::read(&AGENT);
    let wrong = files.wrong_arrows(&AGENT);
    assert!(wrong.is_empty(), "arrows that ARCHITECTURE.md does not have:\n{}", wrong.join("\n"));
    let circle = files.circle();
    assert!(circle.is_empty(), "files that use each other in a circle: {}", circle.join(" → "));
}

#[test]
fn what_decides_knows_no_clock_and_no_socket() {
    let files = Files::read(&AGENT);
    for (module, text) in &files.0 {
        if PURE.iter().any(|room| within(module, room)) {
            let act = ACTS.iter().find(|act| text.contains(*act));
            assert!(act.is_none(), "{module} uses {}", act.unwrap());
        }
    }
}

/// The check can fail: an arrow and a circle that are made up are found.
#[test]
fn a_broken_arrow_and_a_circle_are_found() {
    let mut files = Files::read(&AGENT);
    files.0.get_mut("net::connect").unwrap().push_str("use crate::registers::{Want, dns};\n");
    let wrong = files.wrong_arrows(&AGENT).join("\n");
    assert_eq!(wrong, "net::connect → registers\nnet::connect → registers::dns");
    files
        .0
        .get_mut("net::backoff")
        .unwrap()
        .push_str("fn f() { crate::net::connect::connect() }\n");
    files.0.get_mut("net::connect").unwrap().push_str("use super::backoff::{Backoff, jitter};\n");
    assert!(files.circle().contains(&"net::backoff".to_owned()), "{:?}", files.circle());
}

/// Modules by their path, each with its text up to its tests.
struct Files(BTreeMap<String, String>);

impl Files {
    fn read(house: &House) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(house.source);
        let (mut files, mut folders) = (BTreeMap::new(), vec![root.clone()]);
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let name = path.strip_prefix(&root).unwrap().with_extension("");
                let name = name.to_str().unwrap().replace('/', "::");
                let apart = name.split("::").any(|part| APART.contains(&part));
                match path.is_dir() {
                    true => folders.push(path),
                    false if apart => {}
                    false => drop(files.insert(name, without_tests(&path))),
                }
            }
        }
        Self(files)
    }

    fn wrong_arrows(&self, house: &House) -> Vec<String> {
        let room = |module: &str| {
            let rooms = house.rooms.iter().filter(|(room, _)| within(module, room));
            rooms
                .max_by_key(|(room, _)| room.len())
                .unwrap_or_else(|| panic!("{module} is in no room"))
        };
        let mut wrong = Vec::new();
        for (module, used) in self.uses() {
            let (own, allowed) = room(&module);
            let strange = |name: &&String| room(name).0 != *own && !allowed.contains(&room(name).0);
            wrong.extend(used.iter().filter(strange).map(|name| format!("{module} → {name}")));
        }
        wrong
    }

    /// Modules that use each other in a circle, the first one again at the end; empty without one.
    fn circle(&self) -> Vec<String> {
        let mut uses = self.uses();
        // What a module defines for its own parts lies with the module: no circle.
        for (module, used) in &mut uses {
            used.retain(|name| !within(module, name));
        }
        // Whoever uses nobody, or only such modules, is in no circle.
        loop {
            let free: Vec<_> = uses
                .iter()
                .filter(|(_, used)| used.iter().all(|name| !uses.contains_key(name)))
                .map(|(name, _)| name.clone())
                .collect();
            if free.is_empty() {
                break;
            }
            free.iter().for_each(|name| drop(uses.remove(name)));
        }
        let (mut walk, mut next) = (Vec::new(), uses.keys().next().cloned());
        while let Some(name) = next {
            let closed = walk.iter().position(|passed| *passed == name);
            next = uses[&name].iter().find(|name| uses.contains_key(*name)).cloned();
            walk.push(name);
            if let Some(start) = closed {
                return walk.split_off(start);
            }
        }
        Vec::new()
    }

    fn uses(&self) -> BTreeMap<String, BTreeSet<String>> {
        let mut passed_on = BTreeMap::new();
        for (module, text) in &self.0 {
            for path in imports(text, true) {
                let name = path.rsplit("::").next().unwrap_or_default();
                passed_on.insert(format!("{module}::{name}"), self.absolute(module, &path));
            }
        }
        let of = |(module, text): (&String, &String)| {
            let parts = self.0.keys().filter_map(|name| {
                let part = name.strip_prefix(module)?.strip_prefix("::")?;
                says(text, part).then(|| format!("{part}::_"))
            });
            let paths = imports(text, false).into_iter().chain(inline(text)).chain(parts);
            let used = paths.filter_map(|path| {
                let mut path = self.absolute(module, &path)?;
                let origin =
                    |path: &str| prefixes(path).find_map(|name| passed_on.get(name).cloned());
                // Handed on from room to room, but not for ever.
                for _ in 0..4 {
                    path = origin(&path).flatten().unwrap_or(path);
                }
                prefixes(&path).find(|name| self.0.contains_key(*name)).map(str::to_owned)
            });
            (module.clone(), used.filter(|name| name != module).collect())
        };
        self.0.iter().map(of).collect()
    }

    /// The path from the crate's root, when it is one of this crate.
    fn absolute(&self, module: &str, path: &str) -> Option<String> {
        if let Some(rest) = path.strip_prefix("crate::") {
            return Some(rest.to_owned());
        }
        let (mut base, mut rest) = (module, path);
        while let Some(more) = rest.strip_prefix("super::") {
            (base, rest) = (base.rsplit_once("::").map_or("", |(parent, _)| parent), more);
        }
        let first = rest.split("::").next().unwrap_or_default();
        let child = self.0.contains_key(&format!("{base}::{first}"));
        (rest != path || child)
            .then(|| format!("{base}::{rest}").trim_start_matches("::").to_owned())
    }
}

fn within(module: &str, room: &str) -> bool {
    module.strip_prefix(room).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// `a::b::c`, `a::b`, `a`.
fn prefixes(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(path), |path| path.rsplit_once("::").map(|(parent, _)| parent))
}

fn without_tests(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap();
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    code.map(|line| line.to_owned() + "\n").collect()
}

/// The paths of the `use` lines, those that pass names on or the others.
fn imports(text: &str, public: bool) -> Vec<String> {
    let mut paths = Vec::new();
    for statement in text.split(';') {
        let Some((before, tree)) = statement.split_once("use ") else { continue };
        let before = before.rsplit('\n').next().unwrap_or_default().trim();
        if before.is_empty() != public && (before.is_empty() || before.starts_with("pub")) {
            expand("", tree.trim(), &mut paths);
        }
    }
    paths
}

/// `a::{b, c::{d, e}}` as `a::b`, `a::c::d`, `a::c::e`.
fn expand(prefix: &str, tree: &str, paths: &mut Vec<String>) {
    let Some((start, rest)) = tree.split_once('{') else {
        let path = tree.split(" as ").next().unwrap_or_default().trim().trim_end_matches("::self");
        return paths.push(format!("{prefix}{path}"));
    };
    let (mut depth, mut part) = (0, String::new());
    for c in rest.chars() {
        depth += i32::from(c == '{') - i32::from(c == '}');
        if (c == ',' && depth == 0) || depth < 0 {
            if !part.trim().is_empty() {
                expand(&format!("{prefix}{}", start.trim()), part.trim(), paths);
            }
            part.clear();
        } else {
            part.push(c);
        }
    }
}

/// Whether the code has a path that starts with the name of this part of its module.
fn says(text: &str, part: &str) -> bool {
    let path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let code = text.lines().filter(|line| !line.starts_with("pub") && !line.starts_with("use"));
    let text: String = code.map(|line| line.to_owned() + "\n").collect();
    let starts = |at: usize| !text[..at].ends_with(path);
    text.match_indices(&format!("{part}::")).any(|(at, _)| starts(at))
}

/// Paths from the crate's root in the code itself.
fn inline(text: &str) -> Vec<String> {
    let name = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let ends = |rest: &str| rest.find(|c| !name(c)).unwrap_or(rest.len());
    text.match_indices("crate::")
        .map(|(at, _)| text[at..at + ends(&text[at..])].to_owned())
        .collect()
}
