//! A real BIND 9 on a free port, with dynamic zones and keys of the tests' own.

use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use tempfile::TempDir;

use super::{Port, ROOT, eventually};

/// The zone that the tests register in.
pub const ZONE: &str = "berth.test";
/// Its reverse zone: addresses 10.53.0.0/16.
pub const REVERSE: &str = "53.10.in-addr.arpa";
/// The key that may update both.
pub const KEY: &str = "berth-key";

/// A running (or stopped) BIND.
pub struct Bind {
    pub addr: SocketAddr,
    /// A zone that it has.
    zone: &'static str,
    dir: TempDir,
    child: Option<Child>,
}

impl Bind {
    /// Starts one that grants `KEY` everything in both zones. `None` where there is no BIND, which
    /// fails under CI.
    pub fn start() -> Option<Self> {
        Self::start_with(&format!("grant {KEY} zonesub ANY;"))
    }

    /// Starts one with an update-policy.
    pub fn start_with(policy: &str) -> Option<Self> {
        Self::start_at(free_address(), policy)
    }

    /// Starts one at an address that an interface has.
    pub fn start_at(addr: SocketAddr, policy: &str) -> Option<Self> {
        if !installed("named") || !installed("tsig-keygen") {
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let mut bind = Self { addr, zone: ZONE, dir, child: None };
        fs::write(bind.key_file(), make_key("hmac-sha256", KEY)).unwrap();
        bind.configure(policy, "");
        for zone in [ZONE, REVERSE] {
            fs::write(bind.path(&format!("{zone}.db")), zone_file(addr)).unwrap();
        }
        bind.run();
        Some(bind)
    }

    /// Starts one as examples/bind says, but for the port and where the files are.
    pub fn as_documented() -> Option<Self> {
        if !installed("named") || !installed("tsig-keygen") {
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let mut bind = Self { addr: free_address(), zone: "example.com", dir, child: None };
        let examples = Path::new(ROOT).join("examples/bind");
        for zone in ["example.com.db", "10.in-addr.arpa.db"] {
            fs::copy(examples.join(zone), bind.path(zone)).unwrap();
        }
        fs::write(bind.path("berth.key"), make_key("hmac-sha256", "berth")).unwrap();
        let (here, port) = (bind.dir.path().display().to_string(), bind.addr.port());
        let conf = fs::read_to_string(examples.join("named.conf")).unwrap();
        let conf = conf
            .replace("/etc/bind", &here)
            .replace("/var/lib/bind", &here)
            .replace("port 53 { any; }", &format!("port {port} {{ {}; }}", bind.addr.ip()))
            // Others run beside this one, as other users.
            .replace(
                "options {",
                "options { pid-file none; session-keyfile none; listen-on-v6 { none; };",
            );
        fs::write(bind.path("named.conf"), conf + "controls { };\n").unwrap();
        bind.run();
        Some(bind)
    }

    /// Writes the configuration; `more` goes in at its top level.
    pub fn configure(&self, policy: &str, more: &str) {
        let SocketAddr::V4(addr) = self.addr else { unreachable!() };
        let mut conf = format!(
            "options {{ directory \"{}\"; listen-on port {} {{ {}; }}; listen-on-v6 {{ none; }};\n\
             pid-file none; session-keyfile none; recursion no; dnssec-validation no;\n\
             empty-zones-enable no; notify no; reuseport no; }};\n\
             controls {{ }};\ninclude \"key.conf\";\n{more}\n",
            self.dir.path().display(),
            addr.port(),
            addr.ip(),
        );
        for zone in [ZONE, REVERSE] {
            let _ = writeln!(
                conf,
                "zone \"{zone}\" {{ type primary; file \"{zone}.db\"; \
                 update-policy {{ {policy} }}; }};"
            );
        }
        fs::write(self.path("named.conf"), conf).unwrap();
    }

    /// Starts the server (again) and waits until it answers.
    pub fn run(&mut self) {
        let log = fs::File::create(self.path("log")).unwrap();
        let child = Command::new("named")
            .args(["-g", "-n", "1", "-c"])
            .arg(self.path("named.conf"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.child = Some(child);
        eventually("BIND answers", || !self.dig(self.zone, "SOA").is_empty());
    }

    /// Ends the server with SIGTERM, so that its journals are whole.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            signal(&child, "TERM");
            let _ = child.wait();
        }
    }

    /// Puts back the zones as they were at the first start.
    pub fn forget_updates(&self) {
        let file = |zone| self.path(&format!("{zone}.db"));
        self.restore(vec![
            (file(ZONE), zone_file(self.addr).into()),
            (file(REVERSE), zone_file(self.addr).into()),
        ]);
    }

    /// The zones and their journals, as a server that was stopped has left them.
    pub fn backup(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let files = self.zone_files().into_iter();
        files.filter_map(|file| fs::read(&file).ok().map(|bytes| (file, bytes))).collect()
    }

    /// Puts such a backup back.
    pub fn restore(&self, backup: Vec<(PathBuf, Vec<u8>)>) {
        for file in self.zone_files() {
            let _ = fs::remove_file(file);
        }
        for (file, bytes) in backup {
            fs::write(file, bytes).unwrap();
        }
    }

    fn zone_files(&self) -> Vec<PathBuf> {
        let of = |zone| ["db", "db.jnl"].map(|kind| self.path(&format!("{zone}.{kind}")));
        [ZONE, REVERSE].into_iter().flat_map(of).collect()
    }

    /// SIGSTOP, SIGCONT or SIGHUP (reads its configuration again) to the server.
    pub fn signal(&self, name: &str) {
        signal(self.child.as_ref().unwrap(), name);
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn key_file(&self) -> PathBuf {
        self.path("key.conf")
    }

    /// What the server has, one record's data a line, sorted.
    pub fn dig(&self, name: &str, rtype: &str) -> Vec<String> {
        let output = self.dig_with(&["+short", name, rtype]);
        let mut lines: Vec<_> =
            output.lines().filter(|line| !line.starts_with(";;")).map(str::to_owned).collect();
        lines.sort();
        lines
    }

    /// dig's whole output.
    pub fn dig_with(&self, args: &[&str]) -> String {
        dig(self.addr, args)
    }

    /// Every record of a zone, by transfer: `name ttl class type data`, single spaces, sorted.
    pub fn records(&self, zone: &str) -> Vec<String> {
        let output = self.dig_with(&["+noall", "+answer", zone, "AXFR"]);
        let mut lines: Vec<_> = output
            .lines()
            .filter(|line| !line.starts_with(';') && !line.contains("\tSOA\t"))
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        lines.sort();
        lines
    }

    /// Sends an update as an operator would; the lines between `zone` and `send`.
    pub fn nsupdate(&self, zone: &str, lines: &str) {
        let script = self.path("update");
        let text =
            format!("server {} {}\nzone {zone}\n{lines}\nsend\n", self.addr.ip(), self.addr.port());
        fs::write(&script, text).unwrap();
        let mut nsupdate = Command::new("nsupdate");
        let output = run(nsupdate.arg("-k").arg(self.key_file()).arg(&script));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Lets rndc in, signed with the same key; returns its port.
    pub fn let_rndc_in(&self) -> Port {
        let (port, conf) = (Port::free(), self.path("named.conf"));
        let control = format!(
            "controls {{ inet 127.0.0.1 port {port} allow {{ 127.0.0.1; }} keys {{ {KEY}; }}; }};"
        );
        let text = fs::read_to_string(&conf).unwrap();
        fs::write(&conf, text.replace("controls { };", "") + &control).unwrap();
        port
    }

    /// Tells the server something by rndc.
    pub fn rndc(&self, port: Port, words: &[&str]) {
        let mut rndc = Command::new("rndc");
        rndc.args(["-s", "127.0.0.1", "-p", &port.to_string(), "-k"]).arg(self.key_file());
        let output = run(rndc.args(words));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// What the server has logged since it started.
    pub fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }
}

impl Drop for Bind {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The whole output of dig.
pub fn dig(server: SocketAddr, args: &[&str]) -> String {
    let (ip, port) = (format!("@{}", server.ip()), server.port().to_string());
    let mut dig = Command::new("dig");
    dig.args([&ip, "-p", &port, "+time=1", "+tries=1"]);
    String::from_utf8_lossy(&run(dig.args(args)).stdout).into_owned()
}

/// A new key, as a key file.
pub fn make_key(algorithm: &str, name: &str) -> String {
    let output = run(Command::new("tsig-keygen").args(["-a", algorithm, name]));
    String::from_utf8(output.stdout).unwrap()
}

/// The secret in a key file.
pub fn secret_in(key: &str) -> &str {
    key.split("secret \"").nth(1).unwrap().split('"').next().unwrap()
}

/// Whether a command is there; says loudly when not, and fails under CI.
pub fn installed(command: &str) -> bool {
    let found = std::env::var("PATH")
        .unwrap_or_default()
        .split(':')
        .chain(["/usr/sbin", "/sbin"])
        .any(|dir| Path::new(dir).join(command).exists());
    if !found {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "{command} is missing");
        eprintln!("SKIPPED: {command} is not installed");
    }
    found
}

/// The library that, preloaded, sets a process's clock by FAKETIME; skips loudly where it is missing.
pub fn faketime() -> Option<String> {
    installed("faketime").then_some(())?;
    let dirs = fs::read_dir("/usr/lib").unwrap().flatten();
    let mut paths = dirs.map(|dir| dir.path().join("faketime/libfaketime.so.1"));
    paths.find(|path| path.exists()).map(|path| path.display().to_string())
}

/// A zone with its server at this address.
pub fn zone_file(addr: SocketAddr) -> String {
    format!(
        "$TTL 60\n@ SOA ns hostmaster 1 3600 600 86400 5\n@ NS ns.{ZONE}.\nns A {}\n",
        addr.ip()
    )
}

/// BIND listens only on addresses that an interface has, hence not on all of 127.0.0.0/8.
fn free_address() -> SocketAddr {
    loop {
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, Port::free().0));
        if UdpSocket::bind(addr).is_ok() {
            return addr;
        }
    }
}

fn signal(child: &Child, name: &str) {
    run(Command::new("kill").args([&format!("-{name}"), &child.id().to_string()]));
}

fn run(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).output().unwrap()
}
