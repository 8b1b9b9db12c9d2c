//! Servers in Python, and what tests do with a proxy in front of them.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command as Program, Stdio};
use std::time::{Duration, Instant};

use shakedown_agents::proxy::toxics::Settings;
use shakedown_agents::proxy::{Command, Done, Proxy, Report, Stream, Toxic};

/// Far above what anything here takes; only a hang reaches it.
pub const LIMIT: Duration = Duration::from_secs(30);

/// Gives every byte back.
const ECHO: &str = "
import socketserver
class Echo(socketserver.BaseRequestHandler):
    def handle(self):
        try:
            while data := self.request.recv(65536): self.request.sendall(data)
        except ConnectionError: pass
socketserver.ThreadingTCPServer.daemon_threads = True
server = socketserver.ThreadingTCPServer(('127.0.0.1', 0), Echo)
print(server.server_address[1], flush=True)
server.serve_forever()
";

/// Python's own server of files.
const FILES: &str = "
import http.server, functools, sys
class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_): pass
handler = functools.partial(Quiet, directory=sys.argv[1])
server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler)
print(server.server_address[1], flush=True)
server.serve_forever()
";

/// A Python program that serves; it ends with this.
pub struct Server {
    process: Child,
    pub address: SocketAddr,
}

impl Server {
    pub fn echo() -> Self {
        Self::start(ECHO, "")
    }

    pub fn files(folder: &Path) -> Self {
        Self::start(FILES, folder.to_str().unwrap())
    }

    fn start(program: &str, argument: &str) -> Self {
        let mut process = Program::new("python3")
            .args(["-c", program, argument])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut output = BufReader::new(process.stdout.take().unwrap());
        output.read_line(&mut line).unwrap();
        let port = line.trim().parse().unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        Server { process, address }
    }

    /// An echo with a proxy in front of it.
    pub fn behind_proxy(seed: u64) -> (Self, Proxy) {
        let echo = Server::echo();
        let proxy = proxy_to(echo.address, seed);
        (echo, proxy)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub fn proxy_to(upstream: SocketAddr, seed: u64) -> Proxy {
    Proxy::start("127.0.0.1:0".parse().unwrap(), upstream, seed).unwrap()
}

pub fn connect(proxy: &Proxy) -> TcpStream {
    let stream = TcpStream::connect(proxy.listen()).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream
}

pub fn settings(text: &str) -> Settings {
    let mut words = text.split(' ');
    let kind = words.next().unwrap();
    let attributes: Vec<(&str, &str)> = words.map(|word| word.split_once('=').unwrap()).collect();
    Settings::new(kind, &attributes).unwrap()
}

pub fn toxic(name: &str, stream: Stream, text: &str) -> Toxic {
    Toxic {
        name: name.to_owned(),
        stream,
        toxicity: 1.0,
        settings: settings(text),
    }
}

/// Adds `kind name=value …` for all connections.
pub fn add(proxy: &Proxy, name: &str, stream: Stream, text: &str) -> Done {
    let command = Command::Add(toxic(name, stream, text));
    proxy.tell(command).unwrap().concerned.unwrap()
}

pub fn remove(proxy: &Proxy, name: &str) -> Done {
    let name = name.to_owned();
    let report = proxy.tell(Command::Remove { name }).unwrap();
    report.concerned.unwrap()
}

pub fn inspect(proxy: &Proxy) -> Report {
    proxy.tell(Command::Inspect).unwrap()
}

/// Looks again and again until it is so.
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let until = Instant::now() + LIMIT;
    while !condition() {
        assert!(Instant::now() < until, "not in time: {what}");
        std::thread::yield_now();
    }
}

/// How long a byte takes to the server and back.
pub fn round_trip(stream: &mut TcpStream) -> Duration {
    let began = Instant::now();
    stream.write_all(b"x").unwrap();
    stream.read_exact(&mut [0]).unwrap();
    began.elapsed()
}
