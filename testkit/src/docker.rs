//! Real containers on a real Docker daemon, driven by the docker command line as users do it.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::ops::Deref;
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use tempfile::TempDir;

use super::bind::{self, KEY, ZONE};
use super::control::{Control, is_ready};
use super::haproxy::http_get;
use super::images::{agent_image, image, images};
use super::{ROOT, eventually};

/// The port that the app in every container listens on, which is the example's.
pub const APP: u16 = 3128;
/// Variables of a container that registers with the name `haproxy`.
const ARTICLE: [&str; 3] = ["HAPROXY_SERVER=haproxy", "HAPROXY_PORT=9999", "NODE_COUNT=100"];

/// One test's networks and containers, by names of its own; gone when dropped.
pub struct Site {
    id: String,
    dir: TempDir,
}

impl Site {
    /// `None`, said aloud, unless this is a full run; a full run fails without a daemon.
    pub fn start() -> Option<Self> {
        if std::env::var_os("BERTH_TEST_FULL").is_none() {
            static SAID: OnceLock<()> = OnceLock::new();
            // The test harness keeps to itself what the print macros write.
            SAID.get_or_init(|| {
                let why = b"SKIPPED: all tests in containers; set BERTH_TEST_FULL=1 to run them\n";
                std::io::stderr().write_all(why).unwrap();
            });
            return None;
        }
        images();
        let id = format!("berth-test-{:012x}", berth::net::random::bits() >> 16);
        Some(Self { id, dir: tempfile::tempdir().unwrap() })
    }

    /// What the names of all of its things begin with.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The name that something called `name` goes by on this daemon.
    pub fn name(&self, name: &str) -> String {
        format!("{}-{name}", self.id)
    }

    /// A directory to mount into a container.
    pub fn dir(&self, name: &str) -> String {
        let dir = self.dir.path().join(name);
        std::fs::create_dir_all(&dir).unwrap();
        dir.display().to_string()
    }

    /// A user-defined network.
    pub fn network(&self, name: &str) -> Network {
        self.network_with(name, &[])
    }

    /// One that has IPv6 as well.
    pub fn network_with_ipv6(&self, name: &str) -> Network {
        let bits = berth::net::random::bits();
        let subnet = format!("fd77:{:x}:{:x}::/64", bits & 0xffff, (bits >> 16) & 0xffff);
        self.network_with(name, &["--ipv6", "--subnet", &subnet])
    }

    /// One that leads nowhere else.
    pub fn internal_network(&self, name: &str) -> Network {
        self.network_with(name, &["--internal"])
    }

    fn network_with(&self, name: &str, options: &[&str]) -> Network {
        let name = self.name(name);
        let label = format!("berth={}", self.id);
        loop {
            let bits = berth::net::random::bits();
            let prefix = format!("10.{}.{}", 128 + bits % 100, (bits >> 8) % 256);
            let subnet = format!("{prefix}.0/24");
            let create = ["network", "create", "--label", &label, "--subnet", &subnet];
            match try_docker(&[&create[..], options, &[&name]].concat()) {
                Ok(_) => return Network { name, prefix },
                Err(said) => assert!(said.contains("overlaps"), "{said}"),
            }
        }
    }

    /// A running HAProxy with the example's configuration, by the name `haproxy` on the network.
    pub fn haproxy(&self, version: &str, network: &Network) -> Lb {
        self.new_haproxy(version, network).start()
    }

    /// One that is yet to be started.
    pub fn new_haproxy(&self, version: &str, network: &Network) -> NewLb<'_> {
        let image = image(&format!("haproxy-{version}"));
        let lb = NewLb {
            site: self,
            name: "haproxy".to_owned(),
            image,
            network: network.clone(),
            config: haproxy_config(),
            options: Vec::new(),
        };
        lb.option(&["--network", &network.name, "--network-alias", "haproxy"])
    }

    /// A directory to mount as /lb into a container that runs HAProxy with /lb/haproxy.cfg, and its
    /// stats socket in there.
    pub fn haproxy_dir(&self, name: &str, config: &str) -> (String, Control) {
        let dir = self.dir(name);
        std::fs::write(format!("{dir}/haproxy.cfg"), config).unwrap();
        std::fs::write(format!("{dir}/server-state"), "1\n").unwrap();
        let socket = format!("{dir}/stats.sock");
        (dir, Control::Unix(socket.into()))
    }

    /// `docker run --detach`.
    pub fn run(&self, name: &str, options: &[&str], image: &str, command: &[&str]) -> Container {
        let container = Container { name: self.name(name) };
        let label = format!("berth={}", self.id);
        let run = ["run", "--detach", "--name", &container.name, "--label", &label];
        docker(&[&run[..], options, &[image], command].concat());
        container
    }

    /// A container of the image that Dockerfile.example makes.
    pub fn app(&self, name: &str, network: &Network) -> App<'_> {
        let app = App { site: self, name: name.to_owned(), options: Vec::new(), base: "debian" };
        let name = format!("NAME={name}");
        let app = ARTICLE.iter().fold(app, |app, variable| app.option(&["--env", variable]));
        app.option(&["--env", &name, "--network", &network.name])
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        // Compose has a label of its own for what it makes.
        for label in ["berth", "com.docker.compose.project"] {
            let filter = format!("label={label}={}", self.id);
            let list = |words: &[&str]| {
                let words = [words, &["--quiet", "--filter", &filter]].concat();
                let list = try_docker(&words).unwrap_or_default();
                list.lines().map(str::to_owned).collect::<Vec<_>>()
            };
            for id in list(&["ps", "--all"]) {
                if std::thread::panicking() {
                    let said = Container { name: id.clone() }.log();
                    let name = try_docker(&["inspect", "-f", "{{.Name}}", &id]);
                    eprintln!("--- log of {}{said}", name.unwrap_or_default());
                }
                let _ = try_docker(&["rm", "--force", "--volumes", &id]);
            }
            for id in list(&["network", "ls"]) {
                let _ = try_docker(&["network", "rm", &id]);
            }
        }
    }
}

/// A container with BIND.
pub struct Dns {
    pub container: Container,
    ip: String,
}

impl Dns {
    /// One that lets the key update its zone.
    pub fn start(site: &Site, network: &Network) -> Self {
        let (dir, ip) = (site.dir("bind"), network.ip(53));
        let write = |name: &str, text: String| std::fs::write(format!("{dir}/{name}"), text);
        write("key.conf", bind::make_key("hmac-sha256", KEY)).unwrap();
        write("zone.db", bind::zone_file(SocketAddr::new(ip.parse().unwrap(), 53))).unwrap();
        let conf = format!(
            "options {{ directory \"/bind\"; recursion no; pid-file none; session-keyfile none; }};\n\
             controls {{ }};\ninclude \"key.conf\";\n\
             zone \"{ZONE}\" {{ type primary; file \"zone.db\"; \
             update-policy {{ grant {KEY} zonesub ANY; }}; }};\n"
        );
        write("named.conf", conf).unwrap();
        let volume = format!("{dir}:/bind");
        let options = ["--network", &network.name, "--ip", &ip, "--volume", &volume];
        let container = site.run("bind", &options, image("bind"), &["/bind/named.conf"]);
        let dns = Self { container, ip };
        eventually("BIND answers", || {
            assert!(dns.container.is_running(), "no BIND:\n{}", dns.container.log());
            !dns.dig("SOA").is_empty()
        });
        dns
    }

    /// A container that registers there as well, as `app`.
    pub fn registers<'a>(&self, app: App<'a>) -> App<'a> {
        let key = self.container.inspect("{{range .Mounts}}{{.Source}}{{end}}") + "/key.conf";
        let key = std::fs::read_to_string(key).unwrap();
        app.env("DNS_SERVER", &self.ip)
            .env("DNS_ZONE", ZONE)
            .env("DNS_NAME", "app")
            .env("DNS_TSIG_KEY", format!("hmac-sha256:{KEY}:{}", bind::secret_in(&key)))
    }

    /// The addresses of `app`, sorted.
    pub fn addresses(&self) -> Vec<String> {
        self.dig("A")
    }

    fn dig(&self, rtype: &str) -> Vec<String> {
        let name = if rtype == "A" { format!("app.{ZONE}") } else { ZONE.to_owned() };
        let server = SocketAddr::new(self.ip.parse().unwrap(), 53);
        let answer = bind::dig(server, &["+short", &name, rtype]);
        let mut lines: Vec<_> =
            answer.lines().filter(|line| !line.starts_with(";;")).map(str::to_owned).collect();
        lines.sort();
        lines
    }
}

/// A user-defined network.
#[derive(Clone)]
pub struct Network {
    pub name: String,
    prefix: String,
}

impl Network {
    /// One of its addresses.
    pub fn ip(&self, last: u8) -> String {
        format!("{}.{last}", self.prefix)
    }
}

/// A container that is going to be run.
pub struct App<'a> {
    site: &'a Site,
    name: String,
    options: Vec<String>,
    base: &'static str,
}

impl App<'_> {
    /// More options of `docker run`.
    pub fn option(mut self, words: &[&str]) -> Self {
        self.options.extend(words.iter().map(|word| (*word).to_owned()));
        self
    }

    pub fn env(self, name: &str, value: impl ToString) -> Self {
        self.option(&["--env", &format!("{name}={}", value.to_string())])
    }

    /// Upon an image of `scripts/images.sh`, or `scratch`.
    pub fn on(mut self, base: &'static str) -> Self {
        self.base = base;
        self
    }

    pub fn start(self) -> Container {
        let options: Vec<_> = self.options.iter().map(String::as_str).collect();
        self.site.run(&self.name, &options, agent_image(self.base), &[])
    }
}

/// A container, running or not.
pub struct Container {
    pub name: String,
}

impl Container {
    /// `docker VERB OPTIONS… CONTAINER`.
    #[track_caller]
    pub fn docker(&self, words: &[&str]) -> String {
        docker(&[words, &[&self.name]].concat())
    }

    /// `docker exec CONTAINER COMMAND…`: whether it succeeded, and what it said.
    pub fn exec(&self, command: &[&str]) -> Result<String, String> {
        try_docker(&[&["exec", &self.name], command].concat())
    }

    /// Whether `--check` finds it registered.
    pub fn check(&self) -> bool {
        self.exec(&["/berth", "--check"]).is_ok()
    }

    /// A part of `docker inspect`.
    pub fn inspect(&self, template: &str) -> String {
        self.docker(&["inspect", "--format", template]).trim().to_owned()
    }

    /// Its address on a network.
    #[track_caller]
    pub fn ip(&self, network: &Network) -> String {
        let of = format!("(index .NetworkSettings.Networks \"{}\")", network.name);
        let ip = self.inspect(&format!("{{{{{of}.IPAddress}}}}"));
        assert!(ip.parse::<IpAddr>().is_ok(), "{ip}\n{}", self.log());
        ip
    }

    /// Address and port of its app.
    #[track_caller]
    pub fn at(&self, network: &Network) -> String {
        format!("{}:{APP}", self.ip(network))
    }

    pub fn is_running(&self) -> bool {
        self.inspect("{{.State.Running}}") == "true"
    }

    /// Exit code of a container that has ended.
    #[track_caller]
    pub fn exit_code(&self) -> i32 {
        assert!(!self.is_running());
        self.inspect("{{.State.ExitCode}}").parse().unwrap()
    }

    /// `docker stop`; the exit code.
    #[track_caller]
    pub fn stop(&self) -> i32 {
        self.docker(&["stop", "--time", "15"]);
        self.exit_code()
    }

    /// Its own lines and the app's.
    pub fn log(&self) -> String {
        let output = output(&["logs", &self.name]);
        text(&output.stdout) + &text(&output.stderr)
    }

    /// Runs a command of the host in this container's network.
    pub fn in_its_network(&self, command: &[&str]) -> Command {
        let pid = self.inspect("{{.State.Pid}}");
        let mut nsenter = Command::new("nsenter");
        nsenter.arg(format!("--net=/proc/{pid}/ns/net")).args(command).stdin(Stdio::null());
        nsenter
    }
}

/// A HAProxy that is going to be run.
pub struct NewLb<'a> {
    site: &'a Site,
    name: String,
    image: &'static str,
    network: Network,
    config: String,
    options: Vec<String>,
}

impl NewLb<'_> {
    /// Another name for the container.
    pub fn name(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// Replaces a part of the configuration, which must be there.
    pub fn config(mut self, from: &str, to: &str) -> Self {
        assert!(self.config.contains(from), "{from}");
        self.config = self.config.replace(from, to);
        self
    }

    /// More options of `docker run`.
    pub fn option(mut self, words: &[&str]) -> Self {
        self.options.extend(words.iter().map(|word| (*word).to_owned()));
        self
    }

    pub fn start(self) -> Lb {
        let (dir, control) = self.site.haproxy_dir(&self.name, &self.config);
        let lb = self.option(&["--volume", &format!("{dir}:/lb")]);
        let options: Vec<_> = lb.options.iter().map(String::as_str).collect();
        let container = lb.site.run(&lb.name, &options, lb.image, &["/lb/haproxy.cfg"]);
        let lb = Lb { container, control, network: lb.network };
        lb.wait();
        lb
    }
}

/// A container with HAProxy. Its stats socket is asked in the file system, whatever becomes of its
/// network.
pub struct Lb {
    pub container: Container,
    control: Control,
    network: Network,
}

impl Deref for Lb {
    type Target = Control;

    fn deref(&self) -> &Control {
        &self.control
    }
}

impl Lb {
    /// Waits until it answers.
    #[track_caller]
    pub fn wait(&self) {
        eventually("HAProxy answers", || {
            assert!(self.container.is_running(), "no HAProxy:\n{}", self.container.log());
            self.try_servers().is_ok()
        });
    }

    /// The slots in rotation at this endpoint; none while it does not answer.
    pub fn slots_of(&self, endpoint: &str) -> Vec<String> {
        let endpoint: SocketAddr = endpoint.parse().unwrap();
        let servers = self.try_servers().unwrap_or_default();
        let here = servers.iter().filter(|slot| is_ready(slot));
        let here = here.filter(|slot| slot.endpoint() == Some(endpoint));
        here.map(|slot| slot.name.to_string()).collect()
    }

    /// Waits until exactly one slot in rotation shows this endpoint; its name.
    #[track_caller]
    pub fn serves(&self, endpoint: &str) -> String {
        eventually(&format!("{endpoint} has one slot"), || self.slots_of(endpoint).len() == 1);
        self.slots_of(endpoint).remove(0)
    }

    /// Waits until no slot shows this address.
    #[track_caller]
    pub fn has_forgotten(&self, ip: &str) {
        let ip: IpAddr = ip.parse().unwrap();
        eventually(&format!("{ip} is in no slot"), || {
            self.try_servers().is_ok_and(|servers| servers.iter().all(|slot| slot.addr != Some(ip)))
        });
    }

    /// The body of a GET through its frontend.
    pub fn get(&self, path: &str) -> String {
        let ip = self.container.ip(&self.network).parse().unwrap();
        http_get(SocketAddr::new(ip, 8080), path)
    }
}

/// examples/haproxy.cfg on every address of the container, with faster checks and a socket for us.
pub fn haproxy_config() -> String {
    let mut config = include_str!("../../examples/haproxy.cfg")
        .replace("127.0.0.1:9999", ":9999")
        .replace("127.0.0.1:8080", ":8080")
        .replace("/var/lib/haproxy", "/lb")
        .replace("inter 5s", "inter 1s");
    let _ = write!(config, "\nglobal\n    stats socket /lb/stats.sock level admin\n");
    config
}

/// Runs docker, which must succeed; what it said.
#[track_caller]
pub fn docker(words: &[&str]) -> String {
    try_docker(words).unwrap_or_else(|said| panic!("docker {}: {said}", words.join(" ")))
}

/// Runs docker; what it said, as an error when it failed.
pub fn try_docker(words: &[&str]) -> Result<String, String> {
    let output = output(words);
    let said = text(&output.stdout);
    if output.status.success() { Ok(said) } else { Err(said + &text(&output.stderr)) }
}

fn output(words: &[&str]) -> Output {
    // The old builder, and without a word about it, where there is a newer one.
    let mut docker = Command::new("docker");
    docker.current_dir(ROOT).args(words).env("DOCKER_BUILDKIT", "0").stdin(Stdio::null());
    docker.output().expect("the docker command")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
