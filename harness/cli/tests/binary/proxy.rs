//! `shakedown proxy`: told on standard input, in front of a program that is not ours.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::support::{Scratch, end_within, wait_for};

/// Far above what anything here takes; only a hang reaches it.
const LIMIT: Duration = Duration::from_secs(20);

/// Python's own web server, in an empty folder.
struct Web {
    process: Child,
    address: SocketAddr,
}

impl Web {
    fn start(scratch: &Scratch) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr());
        let address = free.expect("a free port");
        let mut command = std::process::Command::new("python3");
        let process = command
            .args(["-m", "http.server", "--bind", "127.0.0.1"])
            .arg(address.port().to_string())
            .current_dir(scratch.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("python3 is there");
        wait_for(LIMIT, || {
            TcpStream::connect(address).map_err(|error| error.to_string())
        });
        Web { process, address }
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A running verb.
struct Told {
    process: Child,
    input: Option<ChildStdin>,
    events: BufReader<ChildStdout>,
    address: SocketAddr,
}

impl Told {
    fn start(scratch: &Scratch, upstream: SocketAddr, more: &[&str]) -> Self {
        let upstream = upstream.to_string();
        let mut arguments = vec!["proxy", "--listen", "127.0.0.1:0", "--upstream", &upstream];
        arguments.extend(more);
        let mut command = scratch.command(&arguments);
        let mut process = command.stdin(Stdio::piped()).spawn().expect("it starts");
        let output = process.stdout.take().expect("piped");
        let mut told = Told {
            input: process.stdin.take(),
            process,
            events: BufReader::new(output),
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
        };
        let listening = told.event("listening");
        let address = listening["listen"]
            .as_str()
            .and_then(|text| text.parse().ok());
        told.address = address.expect("an address");
        told
    }

    fn event(&mut self, wanted: &str) -> Value {
        let mut line = String::new();
        self.events.read_line(&mut line).expect("readable");
        let event: Value = serde_json::from_str(&line).expect("one object a line");
        assert_eq!(event["event"], wanted, "{event}");
        event
    }

    fn say(&mut self, line: &str, answer: &str) -> Value {
        let input = self.input.as_mut().expect("open");
        writeln!(input, "{line}").expect("it reads");
        self.event(answer)
    }

    /// How long the web server takes to answer.
    fn get(&self) -> Result<Duration, String> {
        let wrong = |error: std::io::Error| error.to_string();
        let began = Instant::now();
        let mut stream = TcpStream::connect(self.address).map_err(wrong)?;
        stream.set_read_timeout(Some(LIMIT)).map_err(wrong)?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").map_err(wrong)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).map_err(wrong)?;
        match answer.starts_with("HTTP/1.0 200") {
            true => Ok(began.elapsed()),
            false => Err(answer),
        }
    }

    /// Exit code and what it said on standard error.
    fn end(mut self) -> (Option<i32>, String) {
        drop(self.input.take());
        let output = end_within(self.process, LIMIT);
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    }
}

#[test]
fn a_proxy_does_what_it_is_told_and_tells_what_it_did() {
    let scratch = Scratch::new("proxy-told");
    let web = Web::start(&scratch);
    let mut told = Told::start(&scratch, web.address, &["--name", "web"]);
    told.get().expect("healthy");
    let added = told.say(
        "toxic add -t latency -a latency=80 -n slow web",
        "toxic.added",
    );
    assert_eq!(added["attributes"]["latency"], 80);
    assert_eq!(
        (&added["stream"], &added["proxy"]),
        (&"downstream".into(), &"web".into())
    );
    assert!(told.get().expect("late") >= Duration::from_millis(80));
    told.say("toxic update -n slow -a latency=20", "toxic.updated");
    told.get().expect("less late");
    let report = told.say("inspect", "inspected");
    assert_eq!(report["accepted"], 3);
    let removed = told.say("toxic remove -n slow", "toxic.removed");
    assert_eq!(
        (&removed["connections"], &removed["effect"]),
        (&2.into(), &"seen".into())
    );
    assert!(removed["delay_max_ms"].as_f64() >= Some(80.0), "{removed}");
    assert_eq!(told.say("toggle", "toggled")["enabled"], false);
    told.get().expect_err("down");
    assert_eq!(told.say("toggle", "toggled")["enabled"], true);
    told.get().expect("up again");
    told.say("quit", "ended");
    let (code, text) = told.end();
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("`slow` acts: latency latency=80"), "{text}");
}

#[test]
fn a_wrong_line_changes_nothing_and_an_effect_that_was_not_seen_is_said() {
    let scratch = Scratch::new("proxy-wrong");
    let web = Web::start(&scratch);
    let mut told = Told::start(&scratch, web.address, &["--toxic", "-t timeout -n idle -u"]);
    for (line, hint) in [
        ("toxic add -t latnecy", "there are latency"),
        (
            "toxic add -t latency -a latency=fast",
            "such as `latency=100`",
        ),
        ("toxic remove -n other", "there are idle"),
        ("toxic update -n other -a rate=1", "there are idle"),
        ("toxic add -t timeout -n idle", "give another name"),
        ("toggle redis", "this proxy is `proxy`"),
        ("togle", "'toggle'"),
    ] {
        let refused = told.say(line, "refused");
        assert_eq!(refused["line"], line);
        let error = refused["error"].as_str().expect("told");
        assert!(error.contains(hint), "{line}: {error}");
    }
    let report = told.say("inspect", "inspected");
    assert_eq!(report["toxics"].as_array().map(Vec::len), Some(1));
    assert_eq!(report["enabled"], true);
    let removed = told.say("toxic remove -n idle", "toxic.removed");
    assert_eq!(removed["effect"], "unverified");
    told.say("quit", "ended");
    let (_, text) = told.end();
    assert!(text.contains("its effect was NOT seen"), "{text}");
}

#[test]
fn the_end_of_standard_input_leaves_it_running_and_signals_end_it() {
    let scratch = Scratch::new("proxy-ends");
    let web = Web::start(&scratch);
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let mut told = Told::start(&scratch, web.address, &[]);
        // A line without an end is one when nothing can follow.
        let mut input = told.input.take().expect("open");
        input
            .write_all(b"toxic add -t slow_close")
            .expect("it reads");
        drop(input);
        told.event("toxic.added");
        told.get().expect("it runs");
        let mut open = TcpStream::connect(told.address).expect("it listens");
        kill(Pid::from_raw(told.process.id() as i32), signal).expect("it lives");
        told.event("ended");
        let address = told.address;
        assert_eq!(told.end().0, Some(0));
        open.set_read_timeout(Some(LIMIT)).expect("a socket");
        assert_eq!(open.read(&mut [0]).unwrap_or(0), 0, "it has ended");
        TcpStream::connect(address).expect_err("nobody listens");
    }
    let mut told = Told::start(&scratch, web.address, &["--end-with-input"]);
    drop(told.input.take());
    told.event("ended");
    assert_eq!(told.end().0, Some(0));
    scratch.assert_nothing_lives_after(LIMIT);
}

#[test]
fn addresses_and_toxics_that_cannot_be_are_refused() {
    let scratch = Scratch::new("proxy-refused");
    let holder = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let taken = holder.local_addr().expect("bound").to_string();
    let free = "127.0.0.1:0";
    for (listen, upstream, toxic, hint) in [
        (taken.as_str(), free, "-t timeout", "choose another port"),
        ("nowhere", free, "-t timeout", "write host:port"),
        (free, "6379", "-t timeout", "write host:port"),
        (free, &taken, "-t timeut", "there are latency"),
        (free, &taken, "-a timeout=1", "--type"),
    ] {
        let output = scratch.run(&[
            "proxy",
            "--listen",
            listen,
            "--upstream",
            upstream,
            "--toxic",
            toxic,
        ]);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(254), "{text}");
        assert!(text.contains(hint) && output.stdout.is_empty(), "{text}");
    }
}

#[test]
fn without_descriptors_it_waits_for_some_and_goes_on() {
    let scratch = Scratch::new("proxy-descriptors");
    let web = Web::start(&scratch);
    let told = Told::start(&scratch, web.address, &[]);
    let limit = libc::rlimit {
        rlim_cur: 24,
        rlim_max: 24,
    };
    let pid = told.process.id() as libc::pid_t;
    // SAFETY: a process of this test's own, and a limit that lives over the call.
    let set = unsafe {
        libc::prlimit(
            pid,
            libc::RLIMIT_NOFILE,
            &raw const limit,
            std::ptr::null_mut(),
        )
    };
    assert_eq!(set, 0);
    let open: Vec<TcpStream> = (0..40)
        .map(|_| TcpStream::connect(told.address).expect("the kernel takes it"))
        .collect();
    let seconds = || {
        let text = std::fs::read_to_string(format!("/proc/{pid}/schedstat")).expect("it lives");
        let nanos = text
            .split(' ')
            .next()
            .and_then(|text| text.parse::<f64>().ok());
        nanos.expect("a number") / 1e9
    };
    let before = seconds();
    std::thread::sleep(Duration::from_millis(500));
    // One that asked again and again would have used all of the time.
    assert!(seconds() - before < 0.1, "{}", seconds() - before);
    drop(open);
    wait_for(LIMIT, || told.get());
    kill(Pid::from_raw(pid), Signal::SIGTERM).expect("it lives");
    assert_eq!(told.end().0, Some(0));
}
