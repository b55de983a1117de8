//! The main job on a real HAProxy: served, held, given back.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Barrier};

use support::agent::{Agent, Running, berth, hello};
use support::haproxy::{ARTICLE, Haproxy, http_get, versions};
use support::namespace::alone;
use support::tap::Tap;
use support::{Port, eventually, stays};

#[test]
fn the_articles_three_variables_are_enough() {
    let port = Port::free();
    let haproxy = Haproxy::start(&ARTICLE.replace("3128", &port.to_string()));
    let mut agent = Agent::new(&[hello().to_str().unwrap()])
        .env("NAME", "one")
        .env("PORT", port)
        .env("HAPROXY_SERVER", "localhost")
        .env("HAPROXY_PORT", haproxy.stats)
        .env("NODE_COUNT", 100)
        .start();
    eventually("served through the frontend", || haproxy.get("/") == "hello from one\n");
    assert_eq!(haproxy.ready_at(&format!("127.0.0.1:{port}")).len(), 1);
    assert_eq!(agent.stop(), 143);
    assert!(haproxy.ready().is_empty(), "{:?}", haproxy.ready());
    assert!(haproxy.servers().iter().all(|s| s.addr.unwrap().is_unspecified()));
}

#[test]
fn the_slot_is_free_after_a_stop_and_after_a_crash_of_the_app() {
    let haproxy = Haproxy::start(ARTICLE);
    let port = Port::free();
    let at = format!("127.0.0.1:{port}");
    for path in ["", "/exit/3"] {
        let mut agent = Agent::hello(&haproxy, "one", port).start();
        eventually("claimed", || !haproxy.ready_at(&at).is_empty());
        if path.is_empty() {
            assert_eq!(agent.stop(), 143);
        } else {
            http_get(at.parse().unwrap(), path);
            assert_eq!(agent.wait(), 3);
        }
        let servers = haproxy.servers();
        assert!(servers.iter().all(|server| server.endpoint() != Some(at.parse().unwrap())));
        assert!(servers.iter().all(|server| server.admin.in_maint() && server.weight == 1));
        assert!(servers.iter().all(|server| server.port == Some(3128)), "the template's port");
    }
}

#[test]
fn neighbours_on_one_address_hold_their_slots_side_by_side() {
    let ports = [Port::free(), Port::free()];
    // One of them listens where the template's untouched slots point to.
    let haproxy = Haproxy::start(&ARTICLE.replace("3128", &ports[0].to_string()));
    let agents: Vec<_> = ports
        .iter()
        .map(|port| Agent::hello(&haproxy, &format!("on {port}"), *port).start())
        .collect();
    let slots = || ports.map(|port| haproxy.ready_at(&format!("127.0.0.1:{port}")));
    eventually("both claimed", || slots().iter().all(|slots| slots.len() == 1));
    let before = slots();
    stays("the same slots", || slots() == before);
    assert_eq!(haproxy.ready().len(), 2);
    for agent in &agents {
        assert_eq!(agent.log().matches("in rotation").count(), 1, "{}", agent.log());
    }
}

#[test]
fn a_unix_socket_will_do() {
    let haproxy = Haproxy::start(ARTICLE);
    let port = Port::free();
    let mut agent = Agent::hello(&haproxy, "one", port)
        .env("HAPROXY_SERVER", format!("unix:{}/stats.sock", haproxy.dir().display()))
        .env("APP_ADDR", "127.0.0.1")
        .start();
    eventually("served", || haproxy.get("/") == "hello from one\n");
    assert_eq!(agent.stop(), 143);
    assert!(haproxy.ready().is_empty());
}

#[test]
fn ipv6_will_do() {
    let stats = Port::free();
    let haproxy = Haproxy::with_global(
        "haproxy".into(),
        &format!("stats socket ipv6@[::1]:{stats} level admin"),
        &format!("backend webapp\n  {ARTICLE}\n"),
    );
    let port = Port::free();
    let mut agent = Agent::hello(&haproxy, "six", port)
        .env("ADDR", "[::]")
        .env("HAPROXY_SERVER", format!("[::1]:{stats}"))
        .start();
    eventually("served", || haproxy.get("/") == "hello from six\n");
    assert_eq!(haproxy.ready_at(&format!("[::1]:{port}")).len(), 1);
    agent.stop();
    assert!(haproxy.ready().is_empty());
}

/// Over IPv4 and over IPv6 the container's own address is another, too.
#[test]
fn one_haproxy_at_two_addresses_gives_one_slot() {
    let stats = Port::free();
    let haproxy = Haproxy::with_global(
        "haproxy".into(),
        &format!("stats socket ipv6@[::1]:{stats} level admin"),
        &format!("backend webapp\n  {ARTICLE}\n"),
    );
    let first = Tap::start(haproxy.stats);
    gives_one_slot(&haproxy, &first, &format!("127.0.0.1:{},[::1]:{stats}", first.port));
}

#[test]
fn one_haproxy_at_two_ports_gives_one_slot() {
    let haproxy = Haproxy::start(ARTICLE);
    let mut taps = [Tap::start(haproxy.stats), Tap::start(haproxy.stats)];
    taps.sort_by_key(|tap| tap.port.to_string());
    let [first, second] = taps;
    gives_one_slot(
        &haproxy,
        &first,
        &format!("127.0.0.1:{},127.0.0.1:{}", second.port, first.port),
    );
}

/// Of the registrars of the addresses in `servers` the one behind `first` comes first.
fn gives_one_slot(haproxy: &Haproxy, first: &Tap, servers: &str) {
    let port = Port::free();
    let agent = Agent::hello(haproxy, "one", port);
    let agent = agent.env("ADDR", "[::]").env("SYNC_INTERVAL", "200ms");
    let mut agent = agent.env("HAPROXY_SERVER", servers).start();
    let knows = |agent: &Running, times| {
        agent.log().matches("that another one leads to, too").count() == times
    };
    let one = || haproxy.ready().len() == 1 && haproxy.get("/") == "hello from one\n";
    eventually("the second knows", || knows(&agent, 1));
    eventually("one slot", one);
    stays("one slot", || one() && knows(&agent, 1));
    let port = port.to_string();
    let variables = [("HAPROXY_SERVER", servers), ("APP_PORT", &port), ("SERVICE_NAME", "webapp")];
    let (code, _, why) = berth(&["--check"], &variables);
    assert_eq!(code, 0, "{why}");
    // When the first hears nothing any more, the second looks after the slot, or has one of its own.
    first.hold_behind("show");
    let register = format!("haproxy 127.0.0.1:{}", first.port);
    let second = |line: &&str| line.contains("in rotation") && !line.contains(&register);
    let before = agent.log().lines().filter(second).count();
    eventually("the second takes over", || agent.log().lines().filter(second).count() > before);
    first.let_go();
    eventually("it steps back again", || knows(&agent, 2) && one());
    agent.stop();
    assert!(haproxy.ready().is_empty());
}

#[test]
fn nothing_is_claimed_before_the_app_is_ready() {
    let haproxy = Haproxy::start(ARTICLE);
    let (dir, port) = (tempfile::tempdir().unwrap(), Port::free());
    let flag = dir.path().join("ready");
    let checks =
        ["tcp".to_owned(), "http:/health".to_owned(), format!("cmd:test -e {}", flag.display())];
    for check in checks {
        let agent = Agent::hello(&haproxy, "late", port)
            .env("READY_CHECK", &check)
            .env("START_AFTER_MS", 700)
            .start();
        let at = format!("127.0.0.1:{port}").parse().unwrap();
        eventually("the app serves", || {
            let claimed = !haproxy.ready().is_empty();
            let serves = http_get(at, "/") == "hello from late\n";
            assert!(serves || !claimed, "{check}: claimed before the app listens");
            serves
        });
        if check.starts_with("cmd:") {
            assert!(haproxy.ready().is_empty());
            std::fs::write(&flag, "").unwrap();
        }
        eventually("served", || haproxy.get("/") == "hello from late\n");
        drop(agent);
        haproxy.command("set server webapp/node1 state maint");
        for server in haproxy.ready() {
            let name = format!("webapp/{}", server.name);
            haproxy.command(&format!("set server {name} state maint"));
            haproxy.command(&format!("set server {name} addr 0.0.0.0 port 3128"));
        }
    }
}

#[test]
fn who_is_not_ready_asks_haproxy_once_and_is_in_at_once_when_it_is() {
    for (proxies, looks) in [(1, "1 slot"), (2, "two backends fit")] {
        let backends = ["webapp", "other"].map(|name| format!("backend {name}\n  {ARTICLE}\n"));
        let haproxy = Haproxy::with_config("haproxy".into(), &backends[..proxies].concat());
        let tap = Tap::start(haproxy.stats);
        let dir = tempfile::tempdir().unwrap();
        let ready = dir.path().join("ready");
        let agent = Agent::hello(&haproxy, "one", Port::free())
            .env("HAPROXY_PORT", tap.port)
            .env("READY_CHECK", format!("cmd:test -e {}", ready.display()))
            .env("READY_INTERVAL", "100ms")
            .env("SYNC_INTERVAL", "100ms")
            .start();
        let mut seen = Vec::new();
        eventually("a look", || {
            seen.extend(tap.take());
            !seen.is_empty()
        });
        if proxies == 2 {
            eventually("said", || agent.log().contains("set HAPROXY_BACKEND"));
        }
        stays(looks, || {
            seen.extend(tap.take());
            seen.iter().filter(|line| line.starts_with("show servers state")).count() == 1
        });
        assert_eq!(seen.len(), 2, "{seen:?}");
        std::fs::write(&ready, "").unwrap();
        if proxies == 1 {
            eventually("in", || haproxy.ready().len() == 1);
        } else {
            eventually("looked at again", || !tap.take().is_empty());
            assert_eq!(agent.log().matches("set HAPROXY_BACKEND").count(), 1);
        }
    }
}

#[test]
fn an_app_can_say_by_itself_that_it_is_ready() {
    let haproxy = Haproxy::start(ARTICLE);
    let dir = tempfile::tempdir().unwrap();
    let flag = dir.path().join("go");
    let script = format!(
        r#"while ! test -e {}; do sleep 0.02; done
           perl -MSocket -e 'my $n = $ENV{{NOTIFY_SOCKET}}; $n =~ s/^@/\0/;
             socket(S, AF_UNIX, SOCK_DGRAM, 0); send(S, "READY=1\n", 0, sockaddr_un($n)) or die'
           exec sleep 1000"#,
        flag.display()
    );
    let mut agent = Agent::new(&["sh", "-c", &script])
        .at(&haproxy)
        .env("READY_CHECK", "notify")
        .env("APP_PORT", 1)
        .start();
    stays("nothing claimed", || haproxy.ready().is_empty());
    std::fs::write(&flag, "").unwrap();
    eventually("claimed", || haproxy.ready().len() == 1);
    assert_eq!(agent.stop(), 143);
}

#[test]
fn a_stop_signal_that_reaches_the_app_as_another_drains_all_the_same() {
    let haproxy = Haproxy::start(ARTICLE);
    let port = Port::free();
    let mut agent = Agent::hello(&haproxy, "one", port).env("SIGNAL_REWRITE", "TERM:USR1").start();
    let at = format!("127.0.0.1:{port}");
    eventually("claimed", || !haproxy.ready_at(&at).is_empty());
    assert_eq!(agent.stop(), 138, "by USR1");
    let said = agent.log();
    let order = ["draining", "released", "the app has ended"].map(|what| said.find(what));
    assert!(order.is_sorted() && order[0].is_some(), "{said}");
    assert!(haproxy.servers().iter().all(|server| server.endpoint() != at.parse().ok()));
}

#[test]
fn connections_that_break_while_leaving_leave_no_slot_behind() {
    let haproxy = Haproxy::start(ARTICLE);
    let (proxy, broken) = breaking_proxy(haproxy.stats);
    let port = Port::free();
    let mut agent = Agent::hello(&haproxy, "one", port).env("HAPROXY_PORT", proxy).start();
    let at = format!("127.0.0.1:{port}");
    eventually("claimed", || !haproxy.ready_at(&at).is_empty());
    for signal in ["TERM", "KILL"] {
        broken.store(2, Ordering::SeqCst);
        if signal == "TERM" {
            assert_eq!(agent.stop(), 143);
        } else {
            support::agent::signal(agent.children()[0], signal);
            assert_eq!(agent.wait(), 137);
        }
        assert_eq!(broken.load(Ordering::SeqCst), 0, "both broke");
        assert!(haproxy.servers().iter().all(|server| server.endpoint() != at.parse().ok()));
        agent = Agent::hello(&haproxy, "one", port).env("HAPROXY_PORT", proxy).start();
        eventually("claimed again", || !haproxy.ready_at(&at).is_empty());
    }
}

/// Where a proxy in front of a stats socket listens, and how many connections it is yet to break.
fn breaking_proxy(to: Port) -> (u16, Arc<AtomicU32>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let broken = Arc::new(AtomicU32::new(0));
    let left = Arc::clone(&broken);
    let one_less = |left: u32| left.checked_sub(1);
    std::thread::spawn(move || {
        for mut near in listener.incoming().flatten() {
            if left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_ok() {
                continue;
            }
            std::thread::spawn(move || {
                let mut far = TcpStream::connect(("127.0.0.1", to.0)).unwrap();
                let (mut back, mut from) = (near.try_clone().unwrap(), far.try_clone().unwrap());
                std::thread::spawn(move || std::io::copy(&mut from, &mut back));
                let _ = std::io::copy(&mut near, &mut far);
            });
        }
    });
    (port, broken)
}

#[test]
fn a_haproxy_that_comes_later_is_found() {
    let mut haproxy = Haproxy::start(ARTICLE);
    haproxy.kill();
    let port = Port::free();
    let agent = Agent::hello(&haproxy, "early", port).start();
    let at = format!("127.0.0.1:{port}").parse().unwrap();
    eventually("the app serves", || http_get(at, "/") == "hello from early\n");
    eventually("the failure is logged", || agent.log().contains("cannot register"));
    stays("one line", || agent.log().matches("cannot register").count() == 1);
    haproxy.restart();
    eventually("served", || haproxy.get("/") == "hello from early\n");
    eventually("logged", || agent.log().contains("answers again"));
    assert_eq!(agent.log().lines().count(), 3, "{}", agent.log());
}

#[test]
fn a_haproxy_that_restarts_blank_gets_its_slots_back() {
    let mut haproxy = Haproxy::start(ARTICLE);
    let port = Port::free();
    let agent = Agent::hello(&haproxy, "one", port).start();
    let at = format!("127.0.0.1:{port}");
    eventually("claimed", || haproxy.ready_at(&at).len() == 1);
    let before = haproxy.ready_at(&at);
    haproxy.restart();
    eventually("claimed again", || haproxy.ready_at(&at) == before);
    eventually("logged", || agent.log().matches("in rotation").count() == 2);
    let why = ["HAProxy has restarted", "cannot register"];
    assert!(why.iter().any(|why| agent.log().contains(why)), "{}", agent.log());
}

#[test]
fn names_of_a_hundred_letters_are_no_matter() {
    let (backend, prefix) = ("b".repeat(100), "n".repeat(100));
    for binary in versions() {
        // Every slot shows the app's own address, so that all of them must be given back but one.
        let port = Port::free();
        let template = format!("server-template {prefix} 1-60 127.0.0.1:{port} disabled");
        let proxies =
            format!("  use_backend {backend}\nbackend webapp\nbackend {backend}\n  {template}\n");
        let haproxy = Haproxy::with_config(binary, &proxies);
        let agent = Agent::hello(&haproxy, "one", port)
            .env("HAPROXY_BACKEND", &backend)
            .env("HAPROXY_NODE_PREFIX", &prefix)
            .start();
        eventually("served", || haproxy.get("/") == "hello from one\n");
        assert!(!agent.log().contains("cannot register"), "{}", agent.log());
    }
}

/// A listener that does to every connection what a broken HAProxy might.
fn broken_haproxy(answer: impl Fn(TcpStream) + Clone + Send + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answer = answer.clone();
            std::thread::spawn(move || answer(stream));
        }
    });
    port
}

fn hang(mut stream: TcpStream) {
    let _ = stream.read_to_end(&mut Vec::new());
}

fn garbage(mut stream: TcpStream) {
    let _ = stream.write_all(b"\x00\xff\xfe\r\nHTTP/1.1 400 Bad Request\n\n\n\n");
}

fn too_much(mut stream: TcpStream) {
    let chunk = [b'x'; 1 << 16];
    for _ in 0..(100 << 20) / chunk.len() {
        if stream.write_all(&chunk).is_err() {
            return;
        }
    }
}

#[test]
fn a_haproxy_out_of_its_mind_holds_nobody_up() {
    for broken in [hang, garbage, too_much] {
        let stats = broken_haproxy(broken);
        let port = Port::free();
        let mut agent = Agent::new(&[hello().to_str().unwrap()])
            .env("NAME", "alone")
            .env("PORT", port)
            .env("APP_PORT", port)
            .env("HAPROXY_SERVER", "127.0.0.1")
            .env("HAPROXY_PORT", stats)
            .env("DRAIN_TIMEOUT", "1h")
            .start();
        let at = format!("127.0.0.1:{port}").parse().unwrap();
        eventually("the app serves", || http_get(at, "/") == "hello from alone\n");
        eventually("the failure is logged", || agent.log().contains("cannot register"));
        stays("one line", || agent.log().matches("cannot register").count() == 1);
        let memory = std::fs::read_to_string(format!("/proc/{}/status", agent.pid())).unwrap();
        let peak = memory.lines().find(|line| line.starts_with("VmHWM")).unwrap();
        let peak: u64 = peak.split_whitespace().nth(1).unwrap().parse().unwrap();
        assert!(peak < 50_000, "{peak} kB");
        assert_eq!(agent.stop(), 143);
    }
}

/// The commonest mistake: reading is allowed, changing is not.
#[test]
fn a_stats_socket_without_the_right_to_change_is_said_once() {
    let stats = Port::free();
    let haproxy = Haproxy::with_global(
        "haproxy".into(),
        &format!("stats socket ipv4@127.0.0.1:{stats} level operator"),
        &format!("backend webapp\n  {ARTICLE}\n"),
    );
    let agent = Agent::hello(&haproxy, "one", Port::free()).env("HAPROXY_PORT", stats).start();
    eventually("logged", || agent.log().contains("needs 'level admin'"));
    stays("one line", || agent.log().lines().count() == 1);
}

/// The only port for outgoing connections is the one that is connected to, so that the kernel would
/// connect it to itself, and whoever wants to listen there could not.
#[test]
fn no_connection_to_oneself_is_taken_for_the_app_or_for_haproxy() {
    const PORT: u16 = 40_000;
    if !alone("no_connection_to_oneself_is_taken_for_the_app_or_for_haproxy") {
        return;
    }
    let range = "/proc/sys/net/ipv4/ip_local_port_range";
    std::fs::write(range, format!("{PORT} {PORT}")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (go, here) = (dir.path().join("go"), format!("127.0.0.1:{PORT}"));
    let script = format!(
        r#"while ! test -e {}; do sleep 0.02; done
           perl -MSocket -e 'socket(S, AF_INET, SOCK_STREAM, 0);
             bind(S, sockaddr_in({PORT}, INADDR_LOOPBACK)) && listen(S, 9) or die "bind: $!\n"'"#,
        go.display()
    );
    for (server, check) in [("unix:/nowhere", "tcp"), ("unix:/nowhere", "http:/"), (&here, "none")]
    {
        let before = connections_begun();
        let mut agent = Agent::new(&["sh", "-c", &script])
            .env("HAPROXY_SERVER", server)
            .env("APP_ADDR", "127.0.0.1")
            .env("APP_PORT", PORT)
            .env("READY_CHECK", check)
            .env("LOG_LEVEL", "debug")
            .start();
        eventually("some attempts", || connections_begun() > before + 3);
        std::fs::write(&go, "").unwrap();
        assert_eq!(agent.wait(), 0, "{server} {check}: {}", agent.log());
        std::fs::remove_file(&go).unwrap();
        assert!(check == "none" || !agent.log().contains("event=Ready"), "{}", agent.log());
        assert!(server != here || agent.log().contains("connection refused"), "{}", agent.log());
    }
}

/// TCP connections that were begun in this network namespace (`ActiveOpens`, RFC 4022).
fn connections_begun() -> u64 {
    let table = std::fs::read_to_string("/proc/net/snmp").unwrap();
    let mut tcp = table.lines().filter_map(|line| line.strip_prefix("Tcp: "));
    let at = tcp.next().unwrap().split(' ').position(|name| name == "ActiveOpens").unwrap();
    tcp.next().unwrap().split(' ').nth(at).unwrap().parse().unwrap()
}

#[test]
fn an_address_that_haproxy_cannot_reach_is_said_once() {
    let port = Port::free();
    let template = "server-template node 1-3 127.0.0.2:1 check inter 100ms fall 1 disabled";
    let haproxy = Haproxy::start(template);
    let mut agent = Agent::new(&["sleep", "1000"])
        .at(&haproxy)
        .env("READY_CHECK", "none")
        .env("APP_ADDR", "127.9.9.9")
        .env("APP_PORT", port)
        .env("SYNC_INTERVAL", "200ms")
        .start();
    let says = |what: &str| agent.log().matches(what).count();
    eventually("said", || says("finds this container DOWN") == 1);
    assert!(agent.log().contains("check=L4CON") && agent.log().contains("127.9.9.9"));
    let _app = TcpListener::bind(("127.9.9.9", port.0)).unwrap();
    eventually("over", || says("finds this container UP again") == 1);
    assert_eq!(says("finds this container DOWN"), 1);
    agent.stop();
}

#[test]
fn a_port_that_is_not_the_stats_sockets_is_called_by_its_name() {
    let http = broken_haproxy(|mut stream| {
        let _ = stream.read(&mut [0; 64]);
        let _ = stream.write_all(b"HTTP/1.0 400 Bad request\r\nConnection: close\r\n\r\n<html>\n");
    });
    let ssh = broken_haproxy(|mut stream| {
        let _ = stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n");
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let redis = broken_haproxy(|mut stream| {
        let _ = stream.read(&mut [0; 64]);
        let _ = stream.write_all(b"-ERR unknown command 'show'\r\n");
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let master = Haproxy::with_master("haproxy".into(), &template_of(3));
    let master_cli = format!("unix:{}", master.dir().join("master.sock").display());
    let at = |port: u16| format!("127.0.0.1:{port}");
    let front = Haproxy::start(ARTICLE);
    for (server, words) in [
        (at(http), "an HTTP server answers here"),
        (at(front.http.0), "an HTTP server answers here"),
        (at(ssh), "an SSH server answers here"),
        (at(redis), "Redis"),
        (master_cli, "is this the master CLI"),
    ] {
        let agent = Agent::new(&["sleep", "1000"])
            .env("HAPROXY_SERVER", &server)
            .env("APP_PORT", 1)
            .env("APP_ADDR", "127.0.0.1")
            .start();
        eventually(words, || agent.log().contains(words));
        stays("one line", || agent.log().matches("cannot register").count() == 1);
    }
}

fn template_of(slots: usize) -> String {
    format!("backend webapp\n  server-template node 1-{slots} localhost:3128 disabled\n")
}

#[test]
fn a_description_in_another_encoding_is_no_matter() {
    let mut haproxy = Haproxy::with_config("haproxy".into(), &template_of(3));
    let file = haproxy.dir().join("haproxy.cfg");
    let config = std::fs::read(&file).unwrap();
    let described = config.strip_prefix(b"global\n").unwrap();
    std::fs::write(&file, [b"global\n  description M\xfcnchen\n", described].concat()).unwrap();
    haproxy.restart();
    let _agent = Agent::hello(&haproxy, "one", Port::free()).start();
    eventually("in", || haproxy.servers().iter().any(|slot| !slot.admin.in_maint()));
}

#[test]
fn several_candidates_are_named_and_none_is_guessed() {
    let haproxy = Haproxy::with_config(
        "haproxy".into(),
        &format!("backend webapp\n  {ARTICLE}\nbackend api\n  {ARTICLE}\n"),
    );
    let port = Port::free();
    let agent = Agent::hello(&haproxy, "one", port).start();
    eventually("logged", || agent.log().contains("set HAPROXY_BACKEND"));
    assert!(agent.log().contains("api, webapp"), "{}", agent.log());
    assert!(haproxy.ready().is_empty());
    let named = Agent::hello(&haproxy, "two", Port::free()).env("SERVICE_NAME", "api").start();
    eventually("claimed", || haproxy.ready().len() == 1);
    assert_eq!(&*haproxy.ready()[0].backend, "api");
    drop((agent, named));
}

#[test]
fn status_and_check_tell_what_the_server_says() {
    let haproxy = Haproxy::start(ARTICLE);
    let (port, stats) = (Port::free().to_string(), haproxy.stats.to_string());
    let env = [
        ("HAPROXY_SERVER", "127.0.0.1"),
        ("HAPROXY_PORT", stats.as_str()),
        ("APP_PORT", port.as_str()),
    ];
    let (code, _, line) = berth(&["--check"], &env);
    assert!(code == 1 && line.ends_with("no slot shows its address\n"), "{code} {line}");
    let (code, _, line) = berth(&["--check", "--wait", "1s"], &env);
    assert!(code == 1 && line.lines().count() == 1, "{code} {line}");
    let (code, text, _) = berth(&["--status"], &env);
    assert_eq!(code, 0);
    assert!(text.contains("not registered"), "{text}");

    let agent = Agent::hello(&haproxy, "one", Port(port.parse().unwrap())).start();
    let (code, _, line) = berth(&["--check", "--wait=15s"], &env);
    assert!(code == 0 && line.starts_with("berth: registered: "), "{code} {line}");
    let both = [("HAPROXY_SERVER", "127.0.0.1,127.0.0.1:1"), env[1], env[2]];
    let (code, _, line) = berth(&["--check"], &both);
    assert!(code == 0 && line.contains("cannot tell"), "the other one can: {code} {line}");
    let (_, text, _) = berth(&["--status"], &env);
    let slot = &haproxy.ready()[0].name;
    assert!(text.contains(&format!("webapp/{slot}")) && text.contains("UP"), "{text}");
    let json: serde_json::Value = serde_json::from_str(&berth(&["--status=json"], &env).1).unwrap();
    assert_eq!(json["registered"], true);
    assert_eq!(json["haproxy"][0]["slot"], **slot);
    drop(agent);

    let untouched = [env[0], env[1], ("APP_PORT", "3128")];
    let (_, text, _) = berth(&["--status"], &untouched);
    assert!(text.contains("not registered"), "the template's address is in every slot: {text}");

    let nobody = [("HAPROXY_SERVER", "127.0.0.1:1")];
    let (code, _, line) = berth(&["--check"], &nobody);
    assert!(code == 2 && line.starts_with("berth: no server can tell: "), "{code} {line}");
    assert_eq!(line.lines().count(), 1, "{line}");
    assert!(berth(&["--status"], &nobody).1.contains("refused"));
    assert_eq!(berth(&["--check"], &[]).0, 0, "nowhere to be registered");
}

#[test]
fn status_asks_all_servers_at_once() {
    let haproxy = Haproxy::start(ARTICLE);
    // Each of five answers when all of them have been asked: too late, if it was one after the other.
    let all = Arc::new(Barrier::new(5));
    let waiting = (0..5).map(|_| {
        let all = all.clone();
        broken_haproxy(move |stream| {
            all.wait();
            garbage(stream);
        })
    });
    let ports = waiting.chain([broken_haproxy(hang), haproxy.stats.0]);
    let servers: Vec<_> = ports.map(|port| format!("127.0.0.1:{port}")).collect();
    let (code, text, _) = berth(&["--status"], &[("HAPROXY_SERVER", &servers.join(","))]);
    assert_eq!(code, 0);
    let told: Vec<_> = text.lines().skip(1).map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(told, servers, "{text}");
    assert_eq!(text.matches("no answer within").count(), 1, "{text}");
}

#[test]
fn a_check_that_cannot_be_run_is_said_once() {
    let haproxy = Haproxy::start(ARTICLE);
    let dir = tempfile::tempdir().unwrap();
    let no_shell = dir.path().join("sh");
    std::fs::write(&no_shell, "").unwrap();
    let hide = format!("mount --bind {} $(realpath /bin/sh) && exec \"$@\"", no_shell.display());
    let prefix = ["unshare", "--mount", "--propagation", "private", "--", "sh", "-c", &hide, "sh"];
    let app = [support::binary(), hello().to_str().unwrap()].map(str::to_owned);
    let words: Vec<_> = prefix.into_iter().chain(app.iter().map(String::as_str)).collect();
    let agent = Agent::line(&words)
        .at(&haproxy)
        .env("PORT", Port::free())
        .env("APP_PORT", 1)
        .env("READY_CHECK", "cmd:true")
        .start();
    eventually("logged", || agent.log().contains("cannot run the check"));
    stays("one line", || agent.log().lines().count() == 1);
    assert!(haproxy.ready().is_empty());
}

#[test]
fn a_wrong_configuration_is_named_before_the_app_starts() {
    let env = [("HAPROXY_SERVER", "a b"), ("NODE_COUNT", "x"), ("APP_PORT", "70000")];
    let (code, out, err) = berth(&["echo", "started"], &env);
    assert_eq!((code, out.as_str()), (64, ""));
    for (name, _) in env {
        assert_eq!(err.matches(&format!("{name} ")).count(), 1, "{err}");
    }
    let (code, out, err) = berth(&["echo", "started"], &[("HAPROXY_SEVER", "lb")]);
    assert_eq!((code, out.as_str()), (0, "started\n"));
    assert!(err.contains("did you mean HAPROXY_SERVER"), "{err}");
}
