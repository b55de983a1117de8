//! Servers and processes that tests start, each ended when it is dropped.

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use berth_scaler::run::leadership::{Candidate, Found};
use berth_scaler::store::{Store, lease::Lease};
use tempfile::TempDir;

/// Longest wait for a condition.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// Whether a server can be had; a missing one fails the test where CI is set and is told elsewhere.
pub(crate) fn have(programs: &[&str]) -> bool {
    let missing: Vec<&&str> = programs.iter().filter(|program| find(program).is_none()).collect();
    if missing.is_empty() {
        return true;
    }
    assert!(std::env::var("CI").is_err(), "missing: {missing:?}");
    eprintln!("SKIPPED: missing {missing:?}");
    false
}

/// A program by its name, also where only root looks.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    path.split(':').map(|dir| Path::new(dir).join(program)).find(|path| path.exists())
}

/// An address that nobody listens on.
pub(crate) fn free_address() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}

/// A name that no other test has.
pub(crate) fn unique(prefix: &str) -> String {
    format!("{prefix}-{:x}-{:08x}", std::process::id(), berth::net::random::bits() >> 32)
}

/// Waits until `look` finds something; says what it waited for when it does not.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(
    what: &str,
    look: impl Fn() -> F,
) -> T {
    let end = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < end, "{what}: not within {DEADLINE:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Takes the lead as a scaler does, waiting for one who may have it.
pub(crate) async fn lead(store: &Store, holder: &str, ttl: Duration) -> Lease {
    let candidate = Candidate::new(store.clone(), holder.to_owned(), ttl);
    let candidate = tokio::sync::Mutex::new(candidate);
    eventually("the lead is taken", async || match candidate.lock().await.look().await.unwrap() {
        Found::Taken(lease) => Some(lease),
        Found::Led | Found::Silent => None,
    })
    .await
}

/// `ca.pem`, and `server` and `client` with `.pem` and `.key`, for this machine.
pub(crate) fn certificates(dir: &Path) {
    let ca_key = rcgen::KeyPair::generate().unwrap();
    let mut ca = rcgen::CertificateParams::new(Vec::new()).unwrap();
    // Another name than theirs: OpenSSL takes what has its issuer's name for self-signed.
    ca.distinguished_name.push(rcgen::DnType::CommonName, "an authority");
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    std::fs::write(dir.join("ca.pem"), ca.self_signed(&ca_key).unwrap().pem()).unwrap();
    let issuer = rcgen::Issuer::from_params(&ca, &ca_key);
    for name in ["server", "client"] {
        let key = rcgen::KeyPair::generate().unwrap();
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let cert = rcgen::CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();
        std::fs::write(dir.join(format!("{name}.pem")), cert.pem()).unwrap();
        std::fs::write(dir.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    }
}

/// A process that is killed when it is dropped.
#[derive(Debug)]
pub(crate) struct Process(pub Child);

impl Process {
    pub(crate) fn start(command: &mut Command) -> Self {
        Self(command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}")))
    }

    pub(crate) fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.0.id()).unwrap());
        nix::sys::signal::kill(pid, signal).unwrap();
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> std::process::ExitStatus {
        let end = Instant::now() + DEADLINE;
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < end, "still runs after {DEADLINE:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a command printed; its failure fails the test.
pub(crate) fn output(command: &mut Command) -> String {
    let out = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{command:?}: {said}");
    String::from_utf8(out.stdout).unwrap().trim().to_owned()
}

fn docker(args: &[&str]) -> String {
    output(Command::new("docker").args(args))
}

/// A service of real containers, all removed at the end.
#[derive(Debug)]
pub(crate) struct Containers {
    pub(crate) service: String,
    pub(crate) image: String,
}

impl Containers {
    /// An image of nothing but a static shell; `None` where there is no Docker.
    pub(crate) fn new() -> Option<Self> {
        if !have(&["docker", "busybox", "tar"]) {
            return None;
        }
        let (service, image) = (unique("berth-test"), unique("berth-test-image"));
        let dir = TempDir::new().unwrap();
        std::fs::create_dir(dir.path().join("bin")).unwrap();
        std::fs::copy(find("busybox").unwrap(), dir.path().join("bin/busybox")).unwrap();
        let tar = dir.path().join("image.tar");
        let mut command = Command::new("tar");
        output(command.arg("-cf").arg(&tar).arg("-C").arg(dir.path()).arg("bin"));
        docker(&["import", tar.to_str().unwrap(), &image]);
        Some(Self { service, image })
    }

    /// Starts one that ends at SIGTERM after `drain` seconds.
    pub(crate) fn run(&self, name: &str, options: &[&str], drain: u32) -> String {
        let label = format!("service_name={}", self.service);
        let script = format!(
            "trap 'busybox sleep {drain}; exit 0' TERM; while :; do busybox sleep 1 & wait $!; done"
        );
        let mut args = vec!["run", "-d", "--name", name, "--label", &label, "--network", "none"];
        args.extend(options);
        args.extend([self.image.as_str(), "/bin/busybox", "sh", "-c", &script]);
        docker(&args)
    }

    /// `NAME STATE` of each, sorted.
    pub(crate) fn list(&self) -> Vec<String> {
        let filter = format!("label=service_name={}", self.service);
        let out = docker(&["ps", "-a", "--filter", &filter, "--format", "{{.Names}} {{.State}}"]);
        let mut lines: Vec<String> = out.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    }

    pub(crate) fn running(&self) -> usize {
        self.list().iter().filter(|line| line.ends_with(" running")).count()
    }
}

impl Drop for Containers {
    fn drop(&mut self) {
        let filter = format!("label=service_name={}", self.service);
        let ids = docker(&["ps", "-aq", "--filter", &filter]);
        if !ids.is_empty() {
            let mut args = vec!["rm", "-f", "-v"];
            args.extend(ids.lines());
            let _ = Command::new("docker").args(&args).output();
        }
        let _ = Command::new("docker").args(["rmi", "-f", &self.image]).output();
    }
}

/// A directory with a configuration, in which scalers run.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) dir: TempDir,
    pub(crate) alerts: SocketAddr,
    pub(crate) status: SocketAddr,
}

impl Site {
    /// `rest` are the policies and sources; `store` a URL, or SQLite in the directory.
    pub(crate) fn new(store: Option<&str>, rest: &str) -> Self {
        let site =
            Self { dir: TempDir::new().unwrap(), alerts: free_address(), status: free_address() };
        site.configure(store, rest);
        site
    }

    pub(crate) fn configure(&self, store: Option<&str>, rest: &str) {
        let sqlite = format!("sqlite:{}", self.dir.path().join("scaler.db").display());
        let text = format!(
            "[store]\nurl = \"{}\"\n[loop]\ninterval = \"300ms\"\nlease = \"1s\"\n\
             [alerts]\nlisten = \"{}\"\ntoken = \"letmein\"\n[status]\nlisten = \"{}\"\n{rest}",
            store.unwrap_or(&sqlite),
            self.alerts,
            self.status
        );
        std::fs::write(self.config(), text).unwrap();
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.dir.path().join("scaler.toml")
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_berth-scaler"));
        command.args(arguments).arg("--config").arg(self.config());
        command
    }

    /// Starts `run`, to die at a point if one is given. Its log is kept in the directory.
    pub(crate) fn run(&self, crash_at: Option<&str>) -> Process {
        let point = crash_at.map(|point| ("BERTH_SCALER_CRASH_AT", point));
        self.run_with(point.as_slice())
    }

    /// Starts `run` with variables of its own.
    pub(crate) fn run_with(&self, variables: &[(&str, &str)]) -> Process {
        let log = self.dir.path().join("log");
        let log = std::fs::File::options().create(true).append(true).open(log).unwrap();
        let mut command = self.command(&["run"]);
        command.stderr(log).stdout(Stdio::null());
        command.envs(variables.iter().copied());
        Process::start(&mut command)
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    pub(crate) async fn store(&self) -> berth_scaler::store::Store {
        let config = berth_scaler::config::load(&self.config()).unwrap();
        berth_scaler::store::Store::open(&config.store.url).await.unwrap()
    }

    /// The answer to a POST to `/alerts`: its body, or the error with the status in it.
    pub(crate) async fn alert(&self, body: &str) -> Result<String, String> {
        let token = berth_scaler::config::Secret("letmein".to_owned());
        let client =
            berth_scaler::http::Client::new(None, Some(&token), Duration::from_secs(5)).unwrap();
        let url = format!("http://{}/alerts", self.alerts);
        let answer = client.post(&url, "application/json", body.to_owned()).await;
        answer.map(|b| String::from_utf8_lossy(&b).into_owned()).map_err(|e| format!("{e:#}"))
    }

    /// Waits until the scaler listens.
    pub(crate) async fn listening(&self) {
        eventually("the scaler listens", async || {
            tokio::net::TcpStream::connect(self.alerts).await.ok()
        })
        .await;
    }

    /// Waits until it has gone round twice from its beginning to its end.
    pub(crate) async fn goes_round_twice(&self) {
        let rounds = async || {
            let page = self.get("/metrics").await.ok()?;
            let count =
                page.lines().find_map(|line| line.strip_prefix("berth_scaler_tick_seconds_count "));
            count.unwrap_or("0").parse::<u64>().ok()
        };
        let before = eventually("it tells its rounds", rounds).await;
        // The first of three may have been under way.
        eventually("it goes round", async || (rounds().await? >= before + 3).then_some(())).await;
    }

    pub(crate) async fn get(&self, path: &str) -> Result<String, String> {
        let client = berth_scaler::http::Client::new(None, None, Duration::from_secs(5)).unwrap();
        let answer = client.get(&format!("http://{}{path}", self.status)).await;
        answer.map(|b| String::from_utf8_lossy(&b).into_owned()).map_err(|e| format!("{e:#}"))
    }
}

/// A test that fails shows what its scalers said.
impl Drop for Site {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.log());
        }
    }
}

/// A MariaDB with an empty database.
#[derive(Debug)]
pub(crate) struct MariaDb {
    _process: Process,
    dir: TempDir,
    pub(crate) url: String,
}

impl MariaDb {
    pub(crate) async fn start() -> Option<Self> {
        Self::start_with("secret", &[]).await
    }

    /// With options of one's own; `url` has no password in it when it is not `secret`.
    pub(crate) async fn start_with(password: &str, options: &[&str]) -> Option<Self> {
        if !have(&["mariadbd", "mariadb-install-db"]) {
            return None;
        }
        let dir = TempDir::new().unwrap();
        let data = dir.path().join("data");
        output(Command::new("mariadb-install-db").args([
            "--no-defaults",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
            "--user=root",
            &format!("--datadir={}", data.display()),
        ]));
        let (address, socket) = (free_address(), dir.path().join("socket"));
        let mut command = Command::new(find("mariadbd").unwrap());
        command
            .args(["--no-defaults", "--user=root", "--bind-address=127.0.0.1"])
            .args(["--innodb-flush-log-at-trx-commit=1", "--skip-log-bin"])
            .arg(format!("--port={}", address.port()))
            .arg(format!("--socket={}", socket.display()))
            .arg(format!("--pid-file={}", dir.path().join("pid").display()))
            .arg(format!("--datadir={}", data.display()))
            .args(options)
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(dir.path().join("log")).unwrap());
        let process = Process::start(&mut command);
        let sql = format!(
            "CREATE DATABASE berth; CREATE USER scaler@'127.0.0.1' IDENTIFIED BY '{password}'; \
             GRANT ALL ON berth.* TO scaler@'127.0.0.1'"
        );
        eventually("MariaDB answers", async || {
            let done = Command::new("mariadb")
                .args(["--no-defaults", "-uroot", "-e", &sql])
                .arg(format!("--socket={}", socket.display()))
                .output();
            done.unwrap().status.success().then_some(())
        })
        .await;
        let url = format!("mysql://scaler:secret@127.0.0.1:{}/berth", address.port());
        Some(Self { _process: process, dir, url })
    }

    /// Asks as root.
    pub(crate) fn sql(&self, statement: &str) -> String {
        output(&mut self.client(statement))
    }

    /// A client that asks as root.
    pub(crate) fn client(&self, statement: &str) -> Command {
        let socket = format!("--socket={}", self.dir.path().join("socket").display());
        let mut command = Command::new("mariadb");
        command.args(["--no-defaults", "-uroot", "-N", &socket, "-e", statement]);
        command
    }
}

/// A HAProxy with the given configuration, `{socket}` being its stats socket.
#[derive(Debug)]
pub(crate) struct HaProxy {
    process: Option<Process>,
    dir: TempDir,
    pub(crate) socket: PathBuf,
}

impl HaProxy {
    pub(crate) async fn start(config: &str) -> Option<Self> {
        if !have(&["haproxy"]) {
            return None;
        }
        let dir = TempDir::new().unwrap();
        let socket = dir.path().join("stats.sock");
        let text = format!(
            "global\n stats socket {} level admin\n stats timeout 10s\n\
             defaults\n timeout connect 1s\n timeout client 60s\n timeout server 60s\n{config}\n",
            socket.display()
        );
        std::fs::write(dir.path().join("haproxy.cfg"), text).unwrap();
        let mut haproxy = Self { process: None, dir, socket };
        haproxy.restart().await;
        Some(haproxy)
    }

    /// Another process takes over; the one before, returned, ends with its last session.
    pub(crate) async fn reload(&mut self) -> Option<Process> {
        let before = self.process.take();
        let pid = before.as_ref().map(|process| process.0.id().to_string());
        let mut command = Command::new(find("haproxy").unwrap());
        command.arg("-db").arg("-f").arg(self.dir.path().join("haproxy.cfg"));
        command.args(pid.iter().flat_map(|pid| ["-sf", pid]));
        command.stdout(Stdio::null()).stderr(Stdio::null());
        self.process = Some(Process::start(&mut command));
        before
    }

    pub(crate) async fn restart(&mut self) {
        self.process = None;
        let _ = std::fs::remove_file(&self.socket);
        let mut command = Command::new(find("haproxy").unwrap());
        command.arg("-db").arg("-f").arg(self.dir.path().join("haproxy.cfg"));
        command.stdout(Stdio::null()).stderr(Stdio::null());
        self.process = Some(Process::start(&mut command));
        eventually("HAProxy answers", async || {
            tokio::net::UnixStream::connect(&self.socket).await.ok()
        })
        .await;
    }
}
