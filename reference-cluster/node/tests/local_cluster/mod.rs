//! Real node processes on the loopback interface, and a client to speak with them.
//!
//! A node process is this executable started again with a configuration in its environment, which
//! its `main` hands to [`node_process`]. Ports are chosen by binding port 0 first.

#![expect(
    clippy::unwrap_used,
    reason = "as in a test: whatever fails here fails the test"
)]

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use shakedown_contracts::node::{Member, MemberKind, NODE_CONFIG_FORMAT, NodeConfig};
use shakedown_contracts::strategy::{Automation, Strategy};

const RECORD_VARIABLE: &str = "SHAKEDOWN_TEST_NODE_RECORD";
const CONFIG_VARIABLE: &str = "SHAKEDOWN_TEST_NODE_CONFIG";
/// Longest wait for anything; far above any takeover or start, for a machine that is busy.
pub const PATIENCE: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(10);
/// Longest wait for one answer: what a client of a dead primary loses.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// The configuration, where this process is to be a node.
pub fn config_of_node_process() -> Option<PathBuf> {
    std::env::var_os(CONFIG_VARIABLE).map(PathBuf::from)
}

/// The body of a node process.
pub fn node_process(config: &Path) -> ExitCode {
    // The other end of stdin is the test: when it dies, however it dies, so does the node.
    std::thread::spawn(|| {
        let _nothing_is_ever_sent = io::stdin().read(&mut [0]);
        std::process::exit(2);
    });
    let options = shakedown_node::Options {
        config: config.to_owned(),
        events_descriptor: None,
        record: std::env::var_os(RECORD_VARIABLE).map(PathBuf::from),
    };
    match shakedown_node::run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// A group of node processes; killed on drop.
pub struct Cluster {
    folder: tempfile::TempDir,
    pub members: Vec<Member>,
    pub client_ports: Vec<u16>,
    strategy: Strategy,
    hold_unsynced: bool,
    /// Recordings of all lives so far, where they are taken down.
    recordings: Option<Vec<PathBuf>>,
    running: Vec<Option<Child>>,
}

impl Cluster {
    /// Starts `nodes` nodes and the companions that the strategies bring along.
    pub fn start(nodes: usize, strategy: Strategy) -> Self {
        let mut cluster = Cluster::prepare(nodes, strategy);
        cluster.start_all();
        cluster
    }

    /// Chooses ports and folders and starts nothing.
    pub fn prepare(nodes: usize, strategy: Strategy) -> Self {
        let kinds = kinds(nodes, &strategy);
        // All are held until all are chosen, so that they are distinct.
        let tcp: Vec<_> = (0..2 * kinds.len())
            .map(|_| TcpListener::bind("127.0.0.1:0").unwrap())
            .collect();
        let udp: Vec<_> = (0..kinds.len())
            .map(|_| UdpSocket::bind("127.0.0.1:0").unwrap())
            .collect();
        let tcp: Vec<u16> = tcp.iter().map(|s| s.local_addr().unwrap().port()).collect();
        let members = kinds.iter().enumerate().map(|(node, &kind)| Member {
            name: format!("n{}", node + 1),
            address: Ipv4Addr::LOCALHOST,
            peer_port: tcp[2 * node],
            heartbeat_port: udp[node].local_addr().unwrap().port(),
            kind,
        });
        Cluster {
            folder: tempfile::tempdir().unwrap(),
            members: members.collect(),
            client_ports: tcp.chunks(2).map(|ports| ports[1]).collect(),
            strategy,
            hold_unsynced: false,
            recordings: None,
            running: kinds.iter().map(|_| None).collect(),
        }
    }

    /// From the next start on.
    pub fn hold_unsynced(&mut self) {
        self.hold_unsynced = true;
    }

    /// Takes down every node's life from its next start on.
    pub fn record(&mut self) {
        self.recordings = Some(Vec::new());
    }

    /// Recordings so far, one a start.
    pub fn recordings(&self) -> &[PathBuf] {
        self.recordings.as_deref().unwrap_or_default()
    }

    /// Starts every member; none runs.
    pub fn start_all(&mut self) {
        (0..self.members.len()).for_each(|member| self.start_node(member));
    }

    /// Starts one node that does not run.
    pub fn start_node(&mut self, node: usize) {
        let executable = std::env::current_exe().unwrap();
        self.start_with(node, Command::new(executable));
    }

    /// Starts one node by a command that ends in executing its arguments or this executable.
    pub fn start_with(&mut self, node: usize, mut command: Command) {
        assert!(self.running[node].is_none());
        let output = fs::File::create(self.output_path(node)).unwrap();
        if let Some(recordings) = &mut self.recordings {
            let life = recordings.len();
            let name = format!("{}.{life}.recording", self.members[node].name);
            let path = self.folder.path().join(name);
            command.env(RECORD_VARIABLE, &path);
            recordings.push(path);
        }
        let child = command
            .env(CONFIG_VARIABLE, self.write_config(node))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(output)
            .spawn()
            .unwrap();
        self.running[node] = Some(child);
    }

    /// Process id of a node that runs.
    pub fn pid(&self, node: usize) -> u32 {
        self.running[node].as_ref().unwrap().id()
    }

    /// Sends SIGKILL and waits for the end.
    pub fn kill(&mut self, node: usize) {
        let mut child = self.running[node].take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Sends SIGTERM and waits for the end.
    pub fn terminate(&mut self, node: usize) -> ExitStatus {
        let pid = Pid::from_raw(self.pid(node) as i32);
        kill(pid, Signal::SIGTERM).unwrap();
        self.wait_for_end(node)
    }

    /// Waits until a node ends by itself.
    pub fn wait_for_end(&mut self, node: usize) -> ExitStatus {
        let mut child = self.running[node].take().unwrap();
        let mut ended = None;
        wait_until("the node ends", || {
            ended = child.try_wait().unwrap();
            ended.is_some()
        });
        ended.unwrap()
    }

    /// Everything a node wrote to stderr since its last start: events and errors.
    pub fn output(&self, node: usize) -> String {
        fs::read_to_string(self.output_path(node)).unwrap()
    }

    /// The events of a node since its last start.
    pub fn events(&self, node: usize) -> Vec<Value> {
        let output = self.output(node);
        output
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    /// The data folder of a node.
    pub fn data(&self, node: usize) -> PathBuf {
        self.folder.path().join(&self.members[node].name)
    }

    /// One request to one node on a connection of its own.
    pub fn ask(
        &self,
        node: usize,
        method: &str,
        path: &str,
        body: &Value,
    ) -> io::Result<(u16, Value)> {
        Client::connect(self.client_ports[node])?.ask(method, path, body)
    }

    /// A request to whoever is primary, repeated until it is carried out; its answer and the node.
    pub fn ask_primary(&self, method: &str, path: &str, body: &Value) -> (Value, usize) {
        let mut done = None;
        let mut last = String::new();
        wait_until("a primary carries the request out", || {
            for node in 0..self.members.len() {
                match self.ask(node, method, path, body) {
                    Ok((200, answer)) => done = Some((answer, node)),
                    other => last = format!("{other:?}"),
                }
            }
            done.is_some()
        });
        done.unwrap_or_else(|| panic!("{method} {path}: {last}"))
    }

    fn output_path(&self, node: usize) -> PathBuf {
        self.folder
            .path()
            .join(format!("{}.output", self.members[node].name))
    }

    fn write_config(&self, node: usize) -> PathBuf {
        let data_directory = self.data(node);
        fs::create_dir_all(&data_directory).unwrap();
        let config = NodeConfig {
            format: NODE_CONFIG_FORMAT,
            name: self.members[node].name.clone(),
            members: self.members.clone(),
            data_directory,
            strategy: self.strategy.clone(),
            seed: 7,
            hold_unsynced: self.hold_unsynced,
            client_port: self.client_ports[node],
        };
        let path = self.folder.path().join(format!("{}.json", config.name));
        fs::write(&path, serde_json::to_vec(&config).unwrap()).unwrap();
        path
    }
}

/// What the members are: nodes, then companions.
fn kinds(nodes: usize, strategy: &Strategy) -> Vec<MemberKind> {
    let mut kinds = vec![MemberKind::Node; nodes];
    kinds.extend(strategy.balancing.as_ref().map(|_| MemberKind::Balancer));
    if let Some(Automation::Supervisor(_)) = strategy.automation {
        kinds.push(MemberKind::Supervisor);
    }
    kinds
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for node in 0..self.running.len() {
            if self.running[node].is_some() {
                self.kill(node);
            }
            if std::thread::panicking() {
                let output = fs::read_to_string(self.output_path(node)).unwrap_or_default();
                eprintln!("--- {}:\n{output}", self.members[node].name);
            }
        }
    }
}

/// Polls a condition; panics with its name when it does not come true in [`PATIENCE`].
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(
            start.elapsed() < PATIENCE,
            "waited {PATIENCE:?} in vain until {what}"
        );
        std::thread::sleep(POLL);
    }
}

/// A client on one HTTP/1.1 connection.
pub struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    pub fn connect(port: u16) -> io::Result<Self> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let stream = TcpStream::connect_timeout(&address, ANSWER_TIMEOUT)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        Ok(Client {
            stream: BufReader::new(stream),
        })
    }

    /// Sends a request and reads status and body.
    pub fn ask(&mut self, method: &str, path: &str, body: &Value) -> io::Result<(u16, Value)> {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        self.ask_raw(method, path, &body)
    }

    /// As [`Client::ask`], with any body.
    pub fn ask_raw(&mut self, method: &str, path: &str, body: &str) -> io::Result<(u16, Value)> {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: node\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        self.stream.get_mut().write_all(request.as_bytes())?;
        let status = self.line()?;
        let code = status.split(' ').nth(1).and_then(|code| code.parse().ok());
        let code = code.ok_or_else(|| io::Error::other(format!("status line {status:?}")))?;
        let mut length = 0;
        loop {
            let header = self.line()?.to_ascii_lowercase();
            if header.is_empty() {
                break;
            }
            if let Some(value) = header.strip_prefix("content-length:") {
                length = value.trim().parse().map_err(io::Error::other)?;
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        Ok((
            code,
            serde_json::from_slice(&body).map_err(io::Error::other)?,
        ))
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end().to_owned())
    }
}

/// A put's body.
pub fn value(value: u64) -> Value {
    json!({ "value": value })
}
