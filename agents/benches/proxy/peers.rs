//! The proxies that are compared, each a process of its own: ours, a plain copy on tokio, and servers with Toxiproxy's
//! HTTP interface that are found on the path.

use std::io::{BufRead, BufReader, Lines, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use shakedown_agents::proxy::toxics::Settings;
use shakedown_agents::proxy::{Command as Order, Proxy, Stream, Toxic};

/// What can stand between a client and a server.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// Nothing does.
    Direct,
    Ours,
    /// Ours with a toxic that does nothing but have all bytes read and written.
    OursWithToxic,
    TokioCopy,
    /// A server with Toxiproxy's interface.
    Server(PathBuf),
}

impl Kind {
    /// All that this machine has.
    pub fn all() -> Vec<Kind> {
        let own = [
            Kind::Direct,
            Kind::Ours,
            Kind::OursWithToxic,
            Kind::TokioCopy,
        ];
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
        let servers = ["toxiproxy-server", "noxious-server"].map(|name| {
            let mut paths = folders.iter().map(|folder| folder.join(name));
            paths.find(|path| path.is_file())
        });
        own.into_iter()
            .chain(servers.into_iter().flatten().map(Kind::Server))
            .collect()
    }

    pub fn name(&self) -> String {
        match self {
            Kind::Direct => "direct".to_owned(),
            Kind::Ours => "ours".to_owned(),
            Kind::OursWithToxic => "ours, with a `latency` of 0".to_owned(),
            Kind::TokioCopy => "tokio copy".to_owned(),
            Kind::Server(path) => path.file_name().unwrap().to_string_lossy().into_owned(),
        }
    }

    /// Whether it has toxics.
    pub fn has_toxics(&self) -> bool {
        matches!(self, Kind::Ours | Kind::Server(_))
    }
}

/// How a running proxy is told of toxics.
enum Orders {
    Lines(ChildStdin, Lines<BufReader<ChildStdout>>),
    Http(SocketAddr),
}

/// A running proxy in front of a server; or nothing.
pub struct Peer {
    process: Option<(Child, Orders)>,
    pub address: SocketAddr,
}

impl Peer {
    /// In front of `upstream`, pinned to the first processor if wanted.
    pub fn start(kind: &Kind, upstream: SocketAddr, pinned: bool) -> Self {
        let mut peer = match kind {
            Kind::Direct => Peer {
                process: None,
                address: upstream,
            },
            Kind::Ours | Kind::OursWithToxic => Self::own("ours", upstream, pinned),
            Kind::TokioCopy => Self::own("tokio", upstream, pinned),
            Kind::Server(path) => Self::server(path, upstream, pinned),
        };
        if *kind == Kind::OursWithToxic {
            // The way that what is streamed goes.
            peer.say("upstream latency latency 0");
        }
        peer
    }

    /// This very program as a proxy.
    fn own(kind: &str, upstream: SocketAddr, pinned: bool) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        let mut process = command
            .args(["as", kind, &upstream.to_string()])
            .args(pinned.then_some("pinned"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let address = lines.next().unwrap().unwrap().parse().unwrap();
        let orders = Orders::Lines(process.stdin.take().unwrap(), lines);
        Peer {
            process: Some((process, orders)),
            address,
        }
    }

    fn server(path: &PathBuf, upstream: SocketAddr, pinned: bool) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = free.local_addr().unwrap();
        drop(free);
        let mut command = Command::new(path);
        if pinned {
            command = Command::new("taskset");
            command.args(["-c", "0"]).arg(path);
        }
        let process = command
            .args(["--host", "127.0.0.1", "--port", &at.port().to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let until = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(at).is_err() {
            assert!(Instant::now() < until, "{} does not come", path.display());
            std::thread::sleep(Duration::from_millis(10));
        }
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let proxy = serde_json::json!({
            "name": "p", "listen": address.to_string(), "upstream": upstream.to_string(), "enabled": true,
        });
        http(at, "POST", "/proxies", &proxy.to_string());
        Peer {
            process: Some((process, Orders::Http(at))),
            address,
        }
    }

    /// Adds a toxic on what goes to the client; it has acted when this returns.
    pub fn add(&mut self, kind: &str, attribute: &str, value: u64) {
        match self.process.as_mut().map(|(_, orders)| orders) {
            Some(Orders::Http(at)) => {
                let toxic = serde_json::json!({
                    "name": "t", "type": kind, "stream": "downstream", "toxicity": 1.0,
                    "attributes": { attribute: value },
                });
                http(*at, "POST", "/proxies/p/toxics", &toxic.to_string());
            }
            Some(Orders::Lines(..)) => {
                self.say(&format!("downstream {kind} {attribute} {value}"));
            }
            None => panic!("nothing has no toxics"),
        }
    }

    /// Removes it again.
    pub fn remove(&mut self) {
        match self.process.as_mut().map(|(_, orders)| orders) {
            Some(Orders::Http(at)) => http(*at, "DELETE", "/proxies/p/toxics/t", ""),
            _ => self.say("none"),
        }
    }

    fn say(&mut self, line: &str) {
        if let Some((_, Orders::Lines(input, output))) = &mut self.process {
            writeln!(input, "{line}").unwrap();
            assert_eq!(output.next().unwrap().unwrap(), "done");
        }
    }

    /// Seconds of processor time that it has used.
    pub fn cpu_seconds(&self) -> f64 {
        let Some((process, _)) = &self.process else {
            return 0.0;
        };
        // Nanoseconds first; the last of its threads that have ended are not in it, but there are none.
        let tasks = std::fs::read_dir(format!("/proc/{}/task", process.id())).unwrap();
        let nanos = tasks.map(|task| {
            let text = std::fs::read_to_string(task.unwrap().path().join("schedstat")).unwrap();
            text.split(' ').next().unwrap().parse::<f64>().unwrap()
        });
        nanos.sum::<f64>() / 1e9
    }

    /// Kibibytes of memory that it holds.
    pub fn memory_kib(&self) -> f64 {
        let Some((process, _)) = &self.process else {
            return 0.0;
        };
        let statm = std::fs::read_to_string(format!("/proc/{}/statm", process.id())).unwrap();
        statm.split(' ').nth(1).unwrap().parse::<f64>().unwrap() * 4.0
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if let Some((process, _)) = &mut self.process {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

fn http(to: SocketAddr, method: &str, path: &str, body: &str) {
    let mut stream = TcpStream::connect(to).unwrap();
    stream.set_nodelay(true).unwrap();
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {to}\r\nUser-Agent: bench\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 2"), "{path}: {answer}");
}

/// The process's side.
pub fn be(kind: &str, upstream: SocketAddr, pinned: bool) -> ! {
    if pinned {
        super::pin();
    }
    match kind {
        "ours" => ours(upstream),
        "tokio" => tokio_copy(upstream),
        other => panic!("no proxy {other}"),
    }
}

fn ours(upstream: SocketAddr) -> ! {
    let proxy = Proxy::start("127.0.0.1:0".parse().unwrap(), upstream, 1).unwrap();
    println!("{}", proxy.listen());
    let name = || "t".to_owned();
    for line in std::io::stdin().lock().lines() {
        let line = line.unwrap();
        let order = match line.split(' ').collect::<Vec<&str>>()[..] {
            [stream, kind, attribute, value] => Order::Add(Toxic {
                name: name(),
                stream: match stream {
                    "upstream" => Stream::Upstream,
                    _ => Stream::Downstream,
                },
                toxicity: 1.0,
                settings: Settings::new(kind, &[(attribute, value)]).unwrap(),
            }),
            _ => Order::Remove { name: name() },
        };
        proxy.tell(order).unwrap();
        println!("done");
    }
    std::process::exit(0)
}

fn tokio_copy(upstream: SocketAddr) -> ! {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("{}", listener.local_addr().unwrap());
        let local = tokio::task::LocalSet::new();
        local
            .run_until(async {
                loop {
                    let (mut client, _) = listener.accept().await.unwrap();
                    tokio::task::spawn_local(async move {
                        let mut server = tokio::net::TcpStream::connect(upstream).await?;
                        client.set_nodelay(true)?;
                        server.set_nodelay(true)?;
                        tokio::io::copy_bidirectional(&mut client, &mut server).await
                    });
                }
            })
            .await
    })
}
