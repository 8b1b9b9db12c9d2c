//! The proxies that are compared, each a process of its own: ours, a plain copy on tokio, and others that are named.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, Command, Stdio};

use shakedown_agents::proxy::toxics::Settings;
use shakedown_agents::proxy::{Command as Order, Proxy, Stream, Toxic};

/// A running proxy.
pub struct Peer {
    process: Child,
    orders: Option<ChildStdin>,
    pub address: SocketAddr,
}

impl Peer {
    /// This very program as a proxy of that kind, pinned to a processor if wanted.
    pub fn start(kind: &str, upstream: SocketAddr, pinned: bool) -> Self {
        let this = std::env::current_exe().unwrap();
        let mut process = Command::new(this)
            .args(["as", kind, &upstream.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        if pinned {
            super::pin(process.id() as i32);
        }
        let mut line = String::new();
        let output = process.stdout.take().unwrap();
        BufReader::new(output).read_line(&mut line).unwrap();
        Peer {
            orders: process.stdin.take(),
            process,
            address: line.trim().parse().unwrap(),
        }
    }

    /// Gives ours a toxic on what goes to the client, in the place of another.
    pub fn set(&mut self, toxic: &str) {
        let orders = self.orders.as_mut().unwrap();
        writeln!(orders, "{toxic}").unwrap();
        orders.flush().unwrap();
    }

    /// Seconds of processor time that it has used.
    pub fn cpu_seconds(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
        let ticks: f64 = fields[11..13]
            .iter()
            .map(|field| field.parse::<f64>().unwrap())
            .sum();
        ticks / 100.0
    }

    /// Kibibytes of memory that it holds.
    pub fn memory_kib(&self) -> f64 {
        let statm = std::fs::read_to_string(format!("/proc/{}/statm", self.process.id())).unwrap();
        statm.split(' ').nth(1).unwrap().parse::<f64>().unwrap() * 4.0
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The process's side.
pub fn be(kind: &str, upstream: SocketAddr) -> ! {
    match kind {
        "ours" => ours(upstream),
        "tokio" => tokio_copy(upstream),
        other => panic!("no proxy {other}"),
    }
}

fn ours(upstream: SocketAddr) -> ! {
    let proxy = Proxy::start("127.0.0.1:0".parse().unwrap(), upstream, 1).unwrap();
    println!("{}", proxy.listen());
    let mut there = false;
    for line in std::io::stdin().lock().lines() {
        let line = line.unwrap();
        if there {
            let name = "t".to_owned();
            proxy.tell(Order::Remove { name }).unwrap();
        }
        let words: Vec<&str> = line.split(' ').collect();
        there = words[0] != "none";
        if there {
            let attribute = (words[1].to_owned(), words[2].to_owned());
            let toxic = Toxic {
                name: "t".to_owned(),
                stream: Stream::Downstream,
                toxicity: 1.0,
                settings: Settings::from_attributes(words[0], &[attribute]).unwrap(),
            };
            proxy.tell(Order::Add(toxic)).unwrap();
        }
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
