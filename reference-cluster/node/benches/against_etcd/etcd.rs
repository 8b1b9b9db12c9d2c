//! A group of three etcd members on loopback, and a client that speaks gRPC to its leader.
//!
//! Two requests are all that is asked, so their protobuf messages are written by hand over HTTP/2:
//! `Put` (key 1, value 2) and `Range` (key 1) of `etcdserverpb.KV`.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use h2::client::SendRequest;
use http::Request;

use super::local_cluster::wait_until;

/// Three members; killed on drop.
pub struct Etcd {
    members: Vec<Child>,
    client_ports: Vec<u16>,
}

impl Etcd {
    /// Starts the members with their data below `folder`; `None` where etcd is not installed.
    pub fn start(folder: &Path) -> Option<Self> {
        let listeners: Vec<_> = (0..6)
            .map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap())
            .collect();
        let ports: Vec<u16> = listeners
            .iter()
            .map(|listener| listener.local_addr().unwrap().port())
            .collect();
        drop(listeners);
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let cluster: Vec<String> = (0..3)
            .map(|member| format!("e{member}={}", url(ports[member])))
            .collect();
        let mut etcd = Etcd {
            members: Vec::new(),
            client_ports: ports[3..].to_vec(),
        };
        for member in 0..3 {
            let (peer, client) = (url(ports[member]), url(ports[3 + member]));
            let child = Command::new("etcd")
                .args(["--name", &format!("e{member}")])
                .arg("--data-dir")
                .arg(folder.join(format!("e{member}")))
                .args(["--listen-peer-urls", &peer])
                .args(["--initial-advertise-peer-urls", &peer])
                .args(["--listen-client-urls", &client])
                .args(["--advertise-client-urls", &client])
                .args(["--initial-cluster", &cluster.join(",")])
                .args(["--initial-cluster-state", "new"])
                .args(["--log-level", "error"])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .ok()?;
            etcd.members.push(child);
        }
        Some(etcd)
    }

    /// Client port of the leader, once there is one.
    pub fn leader(&self) -> u16 {
        let mut leader = None;
        wait_until("etcd has a leader", || {
            let leads = |port: &&u16| metrics(**port).contains("etcd_server_is_leader 1");
            leader = self.client_ports.iter().find(leads).copied();
            leader.is_some()
        });
        leader.unwrap()
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        for member in &mut self.members {
            // One that has ended by itself needs neither.
            let _ended = member.kill().and_then(|()| member.wait());
        }
    }
}

fn metrics(port: u16) -> String {
    let mut answer = String::new();
    let read = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).and_then(|mut stream| {
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n")?;
        stream.read_to_string(&mut answer)
    });
    read.map_or_else(|_| String::new(), |_| answer)
}

/// One connection to a member.
pub struct Connection {
    requests: SendRequest<Bytes>,
}

impl Connection {
    /// Must run within a tokio runtime, which also drives the connection.
    pub async fn open(port: u16) -> Self {
        let stream = tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await;
        let stream = stream.unwrap();
        stream.set_nodelay(true).unwrap();
        let (requests, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        Connection { requests }
    }

    /// Writes a key.
    pub async fn put(&mut self, key: &str, value: &str) {
        let message = [field(1, key), field(2, value)].concat();
        self.call("/etcdserverpb.KV/Put", &message).await;
    }

    /// Reads a key, linearizably as is etcd's default; true when there is a value.
    pub async fn get(&mut self, key: &str) -> bool {
        let answer = self.call("/etcdserverpb.KV/Range", &field(1, key)).await;
        answer
            .windows(key.len())
            .any(|bytes| bytes == key.as_bytes())
    }

    async fn call(&mut self, path: &str, message: &[u8]) -> Vec<u8> {
        let mut body = BytesMut::with_capacity(5 + message.len());
        body.put_u8(0); // not compressed
        body.put_u32(message.len() as u32);
        body.put_slice(message);
        let request = Request::post(format!("http://127.0.0.1{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())
            .unwrap();
        let mut ready = self.requests.clone().ready().await.unwrap();
        let (response, mut stream) = ready.send_request(request, false).unwrap();
        stream.send_data(body.freeze(), true).unwrap();
        let mut answer = response.await.unwrap().into_body();
        let mut bytes = Vec::new();
        while let Some(part) = answer.data().await {
            let part = part.unwrap();
            answer.flow_control().release_capacity(part.len()).unwrap();
            bytes.extend_from_slice(&part);
        }
        let trailers = answer.trailers().await.unwrap().unwrap_or_default();
        assert_eq!(trailers.get("grpc-status").unwrap(), "0", "{trailers:?}");
        bytes
    }
}

/// A length-delimited field of fewer than 128 bytes.
fn field(number: u8, content: &str) -> Vec<u8> {
    let mut bytes = vec![number << 3 | 2, content.len() as u8];
    bytes.extend_from_slice(content.as_bytes());
    bytes
}
