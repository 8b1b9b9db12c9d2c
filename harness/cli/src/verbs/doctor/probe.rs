//! Starts real agents and injects each fault once.

use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, bail};
use serde::Serialize;
use serde::de::DeserializeOwned;
use shakedown_contracts::control::{
    CONTROL_VERSION, Endpoint, FaultReport, Names, NetworkOrder, NetworkReport, NodeOrder,
    NodeReport, ProcessFault, Program,
};
use shakedown_contracts::dns_fault::{DnsFault, DnsTrouble};
use shakedown_contracts::event::{Event, Evidence};
use shakedown_contracts::fault::{
    CutBehavior, Delay, Distribution, FaultId, Link, LinkEffect, Loss,
};
use shakedown_contracts::frame::{self, Decoder};
use shakedown_contracts::host_fault::{BumpDirection, Damage, DiskMethod, Errno, HostFault};
use shakedown_contracts::packet_fault::PacketFault;
use shakedown_contracts::ports::Ports;
use shakedown_contracts::units::{Bytes, Duration, Rate, Ratio};

use super::Finding;
use super::conversation::Conversation;

/// A stand-in node that is ready at once and then waits to be killed.
const STAND_IN: &str = r#"head -c 4096 /dev/zero >log; sync log; echo end >>log; echo '{"time":1,"event":"node.ready"}' >&3; exec sleep 60"#;

const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const OTHER_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);

/// Each fault of this version, tried once.
pub fn all(ledgers: &Path) -> Result<Vec<Finding>, anyhow::Error> {
    let scratch = Scratch::new(ledgers)?;
    let mut network = match network_agent(&scratch) {
        Ok(network) => network,
        Err(error) => return Ok(nothing_works(&format!("{error:#}"))),
    };
    let mut findings = vec![
        try_process(&scratch, &network.namespace, "kill", ProcessFault::Kill),
        try_process(
            &scratch,
            &network.namespace,
            "terminate",
            ProcessFault::Terminate,
        ),
        try_process(&scratch, &network.namespace, "pause", ProcessFault::Pause),
        try_process(
            &scratch,
            &network.namespace,
            "restart",
            ProcessFault::Restart,
        ),
    ];
    let links = link_effects();
    findings.extend(links.map(|(fault, effect)| try_link(&mut network.agent, fault, effect)));
    findings.push(try_reset(&mut network));
    let host = host_faults().map(|fault| try_host(&scratch, &network.namespace, fault));
    findings.extend(host);
    let _ = network.agent.tell(&NetworkOrder::Shutdown);
    network.agent.end();
    Ok(findings)
}

fn nothing_works(reason: &str) -> Vec<Finding> {
    let links = link_effects().map(|(fault, _)| fault);
    ["kill", "terminate", "pause", "restart"]
        .into_iter()
        .chain(links)
        .chain(["reset"])
        .chain(host_faults().map(|fault| fault.name()))
        .map(|fault| Finding {
            fault,
            result: Err(reason.to_owned()),
        })
        .collect()
}

/// Each fault of a node's host.
fn host_faults() -> [HostFault; 13] {
    let latency = Duration::from_millis(20);
    [
        HostFault::DiskHang {},
        HostFault::DiskLatency {
            latency,
            jitter: Duration::ZERO,
            path: None,
        },
        HostFault::DiskFault {
            errno: Errno::Io,
            methods: vec![DiskMethod::Write, DiskMethod::Sync],
            times: None,
            path: None,
            percent: None,
        },
        HostFault::DiskFull {},
        HostFault::DiskCorrupt {
            damage: Damage::BitFlip,
            path: None,
        },
        HostFault::DiskLoseUnsynced { torn: false },
        HostFault::ClockBump {
            delta: Duration::from_secs(1),
            direction: BumpDirection::Forward,
        },
        HostFault::ClockRate { rate: 0.5 },
        HostFault::ClockStrobe {
            delta: Duration::from_millis(200),
            period: Duration::from_millis(10),
        },
        HostFault::Cpu {
            hogs: 2,
            quota: Some(0.5),
        },
        HostFault::Memory {
            limit: Some(Bytes(32 << 20)),
            pressure: Some(Bytes(16 << 20)),
        },
        HostFault::FileDescriptors { left: 0 },
        HostFault::Dns(DnsFault {
            trouble: DnsTrouble::Error {},
            names: Vec::new(),
        }),
    ]
}

/// Each fault of links, small enough to be over in a moment.
fn link_effects() -> [(&'static str, LinkEffect); 7] {
    let (none, fifth) = (Ratio::default(), Ratio::new(0.2).unwrap_or_default());
    let latency = Duration::from_millis(10);
    let delay = Delay {
        latency,
        jitter: Duration::ZERO,
        correlation: none,
        distribution: Distribution::default(),
    };
    let loss = Loss {
        loss: fifth,
        correlation: none,
        bursts: None,
    };
    let duplicate = PacketFault::Duplicate {
        duplicate: fifth,
        correlation: none,
    };
    let reorder = PacketFault::Reorder {
        latency,
        reorder: fifth,
        correlation: none,
        gap: 1,
    };
    let corrupt = PacketFault::Corrupt {
        corrupt: fifth,
        correlation: none,
    };
    let bandwidth = PacketFault::Bandwidth {
        rate: Rate::from_bits(10_000_000).expect("above zero"),
        buffer: Bytes(16 << 10),
        limit: Bytes(1 << 20),
    };
    [
        ("partition", LinkEffect::Cut(CutBehavior::Drop)),
        ("delay", LinkEffect::Delay(delay)),
        ("loss", LinkEffect::Loss(loss)),
        ("duplicate", LinkEffect::Packets(duplicate)),
        ("reorder", LinkEffect::Packets(reorder)),
        ("corrupt", LinkEffect::Packets(corrupt)),
        ("bandwidth", LinkEffect::Packets(bandwidth)),
    ]
}

/// Ledgers and logs of the trial run of the doctor, gone when it is.
struct Scratch(PathBuf);

impl Scratch {
    fn new(ledgers: &Path) -> Result<Self, anyhow::Error> {
        let path = ledgers.join(format!("doctor-{}", std::process::id()));
        std::fs::create_dir_all(&path)
            .with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Scratch(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What stays is an empty folder below the runtime directory.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A started agent and its stream of frames.
struct Agent {
    child: Child,
    input: Option<ChildStdin>,
    output: ChildStdout,
    decoder: Decoder,
}

impl Agent {
    fn start(kind: &str) -> Result<Self, anyhow::Error> {
        let executable = std::env::current_exe().context("cannot find this program's own file")?;
        let mut child = Command::new(executable)
            .args(["agent", kind])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start an agent")?;
        let input = child.stdin.take();
        let output = child
            .stdout
            .take()
            .expect("standard output was asked for as a pipe");
        Ok(Agent {
            child,
            input,
            output,
            decoder: Decoder::default(),
        })
    }

    fn tell(&mut self, order: &impl Serialize) -> Result<(), anyhow::Error> {
        let input = self.input.as_mut().context("the agent's input is closed")?;
        Ok(input.write_all(&frame::encode(order)?)?)
    }

    fn hear<T: DeserializeOwned>(&mut self) -> Result<T, anyhow::Error> {
        let mut buffer = [0; 4096];
        loop {
            if let Some(message) = self.decoder.next_message()? {
                return Ok(message);
            }
            match self.output.read(&mut buffer)? {
                0 => bail!("the agent ended without an answer"),
                read => self.decoder.feed(&buffer[..read]),
            }
        }
    }

    /// Closes the stream, which tells the agent to heal everything and end.
    fn end(&mut self) {
        self.input = None;
        // The agent ends by itself at the end of its input; its status says nothing more.
        let _ = self.child.wait();
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.end();
    }
}

struct Network {
    agent: Agent,
    /// Of `n1`.
    namespace: PathBuf,
    /// Of `n2`.
    other: PathBuf,
}

fn network_agent(scratch: &Scratch) -> Result<Network, anyhow::Error> {
    let mut agent = Agent::start("network")?;
    let endpoint = |name: &str, address| Endpoint {
        name: name.to_owned(),
        address,
    };
    agent.tell(&NetworkOrder::Hello {
        version: CONTROL_VERSION,
        endpoints: vec![endpoint("n1", ADDRESS), endpoint("n2", OTHER_ADDRESS)],
        ledger: scratch.0.join("network"),
        seed: 1,
    })?;
    match agent.hear()? {
        NetworkReport::Ready { namespaces, .. } => {
            let [one, other] = &namespaces[..] else {
                bail!("the network agent named {} namespaces", namespaces.len());
            };
            Ok(Network {
                namespace: one.path.clone(),
                other: other.path.clone(),
                agent,
            })
        }
        NetworkReport::Failed { message } => bail!("{message}"),
        NetworkReport::Fault(report) => bail!("unexpected report {report:?}"),
    }
}

fn id(fault: &str) -> FaultId {
    FaultId {
        fault: fault.to_owned(),
        occurrence: 0,
    }
}

fn try_link(agent: &mut Agent, fault: &'static str, effect: LinkEffect) -> Finding {
    let links = vec![Link {
        from: "n1".to_owned(),
        to: "n2".to_owned(),
    }];
    let inject = NetworkOrder::Inject {
        id: id(fault),
        links,
        effect,
        ports: Ports::all(),
    };
    let heal = NetworkOrder::Heal { id: id(fault) };
    let mut hear = |order: &NetworkOrder| -> Result<FaultReport, anyhow::Error> {
        agent.tell(order)?;
        match agent.hear()? {
            NetworkReport::Fault(report) => Ok(report),
            NetworkReport::Failed { message } => bail!("{message}"),
            NetworkReport::Ready { .. } => bail!("the agent said ready twice"),
        }
    };
    Finding {
        fault,
        result: injected_and_healed(hear(&inject), || hear(&heal)),
    }
}

/// With a connection to reset.
fn try_reset(network: &mut Network) -> Finding {
    let other = (network.other.as_path(), OTHER_ADDRESS);
    match Conversation::between(&network.namespace, other) {
        Ok(_conversation) => try_link(&mut network.agent, "reset", LinkEffect::Reset),
        Err(error) => Finding {
            fault: "reset",
            result: Err(format!("{error:#}")),
        },
    }
}

fn try_process(
    scratch: &Scratch,
    namespace: &Path,
    fault: &'static str,
    action: ProcessFault,
) -> Finding {
    let id = id(fault);
    try_node(scratch, namespace, fault, NodeOrder::Inject { id, action })
}

fn try_host(scratch: &Scratch, namespace: &Path, fault: HostFault) -> Finding {
    let name = fault.name();
    let id = id(name);
    try_node(scratch, namespace, name, NodeOrder::Disturb { id, fault })
}

fn try_node(
    scratch: &Scratch,
    namespace: &Path,
    fault: &'static str,
    inject: NodeOrder,
) -> Finding {
    let tried = || -> Result<Evidence, anyhow::Error> {
        let mut agent = started_node(scratch, namespace, fault)?;
        let injected = report_of(&mut agent, &inject);
        injected_and_healed(injected, || {
            report_of(&mut agent, &NodeOrder::Heal { id: id(fault) })
        })
        .map_err(anyhow::Error::msg)
    };
    Finding {
        fault,
        result: tried().map_err(|error| format!("{error:#}")),
    }
}

fn started_node(scratch: &Scratch, namespace: &Path, fault: &str) -> Result<Agent, anyhow::Error> {
    let mut agent = Agent::start("node")?;
    let folder = scratch.0.join(format!("{fault}.folder"));
    std::fs::create_dir(&folder).with_context(|| format!("making {}", folder.display()))?;
    let on_disk = fault.starts_with("disk-");
    agent.tell(&NodeOrder::Hello {
        version: CONTROL_VERSION,
        node: "n1".to_owned(),
        namespace: namespace.to_path_buf(),
        ledger: scratch.0.join(fault),
        program: Program {
            executable: "/bin/sh".into(),
            arguments: vec!["-c".to_owned(), STAND_IN.to_owned()],
            directory: folder,
            log: scratch.0.join(format!("{fault}.log")),
            events_descriptor: Some(3),
            ready_timeout: Duration::from_secs(5),
        },
        disk: on_disk.then_some(1),
        names: (fault == "dns").then(names),
    })?;
    agent.tell(&NodeOrder::Start)?;
    loop {
        match agent.hear()? {
            NodeReport::Node(event) if event.event == (Event::NodeReady {}) => return Ok(agent),
            NodeReport::Failed { message } => bail!("{message}"),
            _ => {}
        }
    }
}

fn names() -> Names {
    let endpoints = [("n1", ADDRESS), ("n2", OTHER_ADDRESS)].map(|(name, address)| Endpoint {
        name: name.to_owned(),
        address,
    });
    Names {
        endpoints: endpoints.into(),
        seed: 1,
    }
}

fn report_of(agent: &mut Agent, order: &NodeOrder) -> Result<FaultReport, anyhow::Error> {
    agent.tell(order)?;
    loop {
        match agent.hear()? {
            NodeReport::Fault(report) => return Ok(report),
            NodeReport::Failed { message } => bail!("{message}"),
            _ => {}
        }
    }
}

/// The evidence of the injection, if its heal was verified too.
fn injected_and_healed(
    injected: Result<FaultReport, anyhow::Error>,
    heal: impl FnOnce() -> Result<FaultReport, anyhow::Error>,
) -> Result<Evidence, String> {
    let verified = |report| match report {
        FaultReport::Effective { evidence, .. } | FaultReport::Healed { evidence, .. } => {
            Ok(evidence)
        }
        FaultReport::Unverified { reason, .. } => Err(reason),
    };
    let evidence = injected
        .map_err(|error| format!("{error:#}"))
        .and_then(verified)?;
    heal()
        .map_err(|error| format!("{error:#}"))
        .and_then(verified)?;
    Ok(evidence)
}
