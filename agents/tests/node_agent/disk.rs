//! Disks that fail under small programs that are not ours.

use shakedown_contracts::control::{FaultReport, NodeOrder, NodeReport, ProcessFault};
use shakedown_contracts::event::Evidence;
use shakedown_contracts::host_fault::{Damage, DiskMethod, Errno, HostFault};
use shakedown_contracts::units::{Duration, Ratio};

use crate::Test;
use crate::agent::{Agent, LIMIT, id};
use crate::resource::{disturb, line};

pub const TESTS: &[Test] = &[
    ("a_sound_disk_does_all_that_a_folder_does", sound),
    ("a_slow_disk_takes_as_much_longer_as_asked", slow),
    ("operations_on_a_hung_disk_wait_for_the_heal", hang),
    (
        "a_node_on_a_hung_disk_can_be_killed_and_started",
        killed_while_hung,
    ),
    (
        "a_disk_fails_syncs_of_the_files_asked_for_and_loses_their_bytes",
        failed_syncs,
    ),
    ("a_disk_fails_a_share_of_its_operations", share),
    ("a_full_disk_takes_no_more_bytes_until_the_heal", full),
    (
        "bytes_on_a_disk_change_by_themselves_and_stay_changed",
        corrupt,
    ),
    (
        "what_a_disk_was_not_told_to_sync_is_gone_when_the_host_dies",
        host_dies,
    ),
    ("a_disk_tears_writes_at_a_sector", torn),
    (
        "an_agent_that_is_killed_leaves_no_disk_behind",
        killed_agent,
    ),
];

const PRELUDE: &str = r#"
import os, sys, time, mmap, hashlib, errno
def ready(): os.write(5, b'{"time":1,"event":"node.ready"}\n')
def say(*words): print(*words, flush=True)
def tried(call, *arguments):
    began = time.monotonic()
    try: call(*arguments); outcome = "ok"
    except OSError as error: outcome = errno.errorcode[error.errno]
    return outcome, (time.monotonic() - began) * 1000
"#;

/// An agent whose node is a Python program on a disk that the agent serves.
fn on_disk(seed: u64, program: &str) -> Agent {
    let program = format!("{PRELUDE}{program}");
    let mut agent = Agent::on_disk("plain", Some(seed), |node| {
        node.executable = "/usr/bin/env".into();
        node.arguments = ["python3", "-c", &program].map(str::to_owned).into();
        node.directory = node.directory.join("disk");
        std::fs::create_dir(&node.directory).unwrap();
    });
    agent.start_node();
    agent
}

fn heal(agent: &mut Agent, name: &str) -> Evidence {
    agent.order(&NodeOrder::Heal { id: id(name) });
    match agent.fault_report() {
        FaultReport::Healed { evidence, .. } => evidence,
        other => panic!("{other:?}"),
    }
}

/// The fields behind the first word of a line.
fn fields(line: &str) -> Vec<&str> {
    line.split_whitespace().skip(1).collect()
}

const EXERCISE: &str = r#"
def exercise():
    os.mkdir("a"); os.makedirs("deep/er")
    with open("a/f", "wb") as f:
        for n in range(300): f.write(bytes([n % 256]) * 1000)
        f.flush(); os.fsync(f.fileno()); f.seek(5); f.write(b"over"); f.truncate(200_000)
    with open("a/f", "ab") as f: f.write(b"appended"); f.write(b"twice")
    os.rename("a/f", "deep/er/g"); os.link("deep/er/g", "hard"); os.symlink("hard", "soft")
    os.chmod("hard", 0o640); os.truncate("hard", 150_000); os.utime("hard", (1, 2_000_000_000))
    with open("m", "w+b") as f:
        f.truncate(8192); m = mmap.mmap(f.fileno(), 8192); m[4000:4100] = b"m" * 100; m.flush(); m.close()
    for n in range(300): open(f"a/{n:03}-with-a-name-that-is-rather-long", "w").write(str(n))
    os.replace("a/001-with-a-name-that-is-rather-long", "a/000-with-a-name-that-is-rather-long")
    for n in range(2, 100): os.unlink(f"a/{n:03}-with-a-name-that-is-rather-long")
    folder = os.open(".", os.O_RDONLY); os.fsync(folder); os.close(folder)
    try: os.rmdir("a")
    except OSError as error: say("refused", errno.errorcode[error.errno])
    d = os.open("direct", os.O_CREAT | os.O_RDWR | os.O_EXCL); os.pwrite(d, b"x" * 10, 100_000)
    os.posix_fallocate(d, 0, 300_000); os.close(d)
    # An open file outlives its name.
    u = os.open("unlinked", os.O_CREAT | os.O_RDWR); os.write(u, b"still"); os.unlink("unlinked")
    assert os.pread(u, 10, 0) == b"still"; os.close(u)
def digest():
    seen = []
    for folder, folders, files in os.walk("."):
        folders.sort()
        for name in sorted(files) + sorted(folders):
            path = os.path.join(folder, name); s = os.lstat(path)
            text = f"{path} {s.st_mode:o} {s.st_nlink if name in files else 0} {s.st_uid}"
            if os.path.islink(path): text += os.readlink(path)
            elif name in files: text += f" {s.st_size} {hashlib.sha256(open(path, 'rb').read()).hexdigest()}"
            if name == "hard": text += f" {s.st_mtime}"
            seen.append(text)
    return hashlib.sha256("\n".join(seen).encode()).hexdigest() + f" of {len(seen)}"
"#;

fn sound() {
    let program = format!(
        "{EXERCISE}\nready()\nexercise()\nsay('digest', digest())\nimport tempfile\nos.chdir(tempfile.mkdtemp())\nexercise()\nsay('plain', digest())\ntime.sleep(60)\n"
    );
    let agent = on_disk(1, &program);
    let served = line(&agent, "digest");
    let plain = line(&agent, "plain");
    assert_eq!(fields(&served), fields(&plain));
    assert!(served.ends_with("of 209"), "{served}");
    assert!(agent.log("node.log").contains("refused ENOTEMPTY"));
    // What it wrote is in the machine's folder, under its own name.
    let direct = std::fs::metadata(agent.folder.path().join("disk/direct")).unwrap();
    assert_eq!(direct.len(), 300_000);
    assert!(!agent.folder.path().join("disk/unlinked").exists());
}

/// Writes and syncs all the time and tells the outcome and the time of each.
const WRITER: &str = r#"
f = os.open("log", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
ready()
number = 0
while True:
    number += 1
    say("write", number, *tried(os.write, f, b"x" * 100))
    say("sync", number, *tried(os.fsync, f))
    time.sleep(0.002)
"#;

/// Waits for a new line of the program and returns its outcome and milliseconds.
fn next(agent: &Agent, operation: &str) -> (String, f64) {
    let number = |line: &str| fields(line)[0].parse::<u64>().unwrap();
    let before = number(&line(agent, operation));
    loop {
        let latest = line(agent, operation);
        // One more: it began after this call.
        if number(&latest) > before + 1 {
            let fields = fields(&latest);
            return (fields[1].to_owned(), fields[2].parse().unwrap());
        }
    }
}

fn slow() {
    let mut agent = on_disk(1, WRITER);
    let latency = HostFault::DiskLatency {
        latency: Duration::from_millis(40),
        jitter: Duration::ZERO,
        path: None,
    };
    let seen = disturb(&mut agent, "slow", latency).unwrap();
    let achieved = &seen.achieved[0];
    assert!(achieved.achieved >= 40.0, "{achieved:?}");
    let (outcome, took) = next(&agent, "write");
    assert_eq!(outcome, "ok");
    assert!(took >= 40.0, "{took}");
    let seen = heal(&mut agent, "slow");
    let mean = seen.achieved[0].achieved;
    assert!((40.0..80.0).contains(&mean), "{seen:?}");
    let reads = (0..20).map(|_| next(&agent, "write").1);
    assert!(reads.fold(f64::MAX, f64::min) < 40.0, "healed");
}

fn hang() {
    let mut agent = on_disk(1, WRITER);
    next(&agent, "sync");
    let seen = disturb(&mut agent, "hang", HostFault::DiskHang {}).unwrap();
    assert!(seen.observed.contains("has not completed"), "{seen:?}");
    // At most one operation was under way.
    let stuck = agent.log("node.log").lines().count();
    let seen = disturb(&mut agent, "again", HostFault::DiskHang {}).unwrap();
    assert!(seen.observed.contains("has not completed"), "{seen:?}");
    assert!(agent.log("node.log").lines().count() <= stuck + 1);
    let seen = heal(&mut agent, "again");
    assert!(seen.observed.contains("another fault"), "{seen:?}");
    assert!(
        agent.log("node.log").lines().count() <= stuck + 1,
        "the first holds"
    );
    let seen = heal(&mut agent, "hang");
    assert!(
        seen.observed.contains("1 operations had to wait"),
        "{seen:?}"
    );
    assert_eq!(next(&agent, "sync").0, "ok");
}

fn killed_while_hung() {
    let mut agent = on_disk(1, WRITER);
    next(&agent, "sync");
    disturb(&mut agent, "hang", HostFault::DiskHang {}).unwrap();
    agent.order(&NodeOrder::Inject {
        id: id("kill"),
        action: ProcessFault::Kill,
    });
    let killed = agent.fault_report();
    assert!(
        matches!(killed, FaultReport::Effective { .. }),
        "{killed:?}"
    );
    // It starts, and waits for its disk; so the hang must be healed first.
    agent.order(&NodeOrder::Heal { id: id("kill") });
    agent.until("a start", |report| match report {
        NodeReport::Agent(event) => format!("{event:?}").contains("generation: 2").then_some(()),
        _ => None,
    });
    agent.order(&NodeOrder::Heal { id: id("hang") });
    for _ in 0..2 {
        let healed = agent.fault_report();
        assert!(matches!(healed, FaultReport::Healed { .. }), "{healed:?}");
    }
    assert_eq!(next(&agent, "sync").0, "ok");
}

fn fault(
    methods: &[DiskMethod],
    path: Option<&str>,
    times: Option<u32>,
    percent: Option<f64>,
) -> HostFault {
    HostFault::DiskFault {
        errno: Errno::Io,
        methods: methods.to_vec(),
        times,
        path: path.map(str::to_owned),
        percent: percent.and_then(Ratio::new),
    }
}

fn failed_syncs() {
    let mut agent = on_disk(
        1,
        r#"
f = os.open("log", os.O_CREAT | os.O_RDWR | os.O_APPEND)
g = os.open("other", os.O_CREAT | os.O_RDWR)
os.write(f, b"synced"); os.fsync(f)
ready()
while not os.path.exists("go"): time.sleep(0.001)
os.write(f, b" lost"); os.write(g, b"kept")
say("log", *tried(os.fsync, f)); say("other", *tried(os.fsync, g))
say("again", *tried(os.fsync, f))
os.write(f, b" after"); say("third", *tried(os.fsync, f))
say("content", open("log", "rb").read())
time.sleep(60)
"#,
    );
    disturb(
        &mut agent,
        "eio",
        fault(&[DiskMethod::Sync], Some("log"), Some(1), None),
    )
    .unwrap();
    std::fs::write(agent.folder.path().join("disk/go"), "").unwrap();
    assert_eq!(fields(&line(&agent, "log"))[0], "EIO");
    assert_eq!(fields(&line(&agent, "other"))[0], "ok");
    assert_eq!(fields(&line(&agent, "again"))[0], "ok", "once");
    assert_eq!(
        line(&agent, "content"),
        r"content b'synced\x00\x00\x00\x00\x00 after'"
    );
    let seen = heal(&mut agent, "eio");
    let expected = "1 operations of the node failed with EIO, 5 bytes lost";
    assert!(seen.observed.contains(expected), "{seen:?}");
}

fn share() {
    let mut agent = on_disk(
        1,
        r#"
open("small", "w").write("x")
ready()
while not os.path.exists("go"): time.sleep(0.001)
def read(): open("small").read()
outcomes = [tried(read)[0] for _ in range(2000)]
say("failed", outcomes.count("EACCES"), outcomes.count("ok"))
time.sleep(60)
"#,
    );
    let denied = HostFault::DiskFault {
        errno: Errno::Denied,
        methods: vec![DiskMethod::Open],
        times: None,
        path: Some("sm*".into()),
        percent: Ratio::new(0.1),
    };
    disturb(&mut agent, "some", denied).unwrap();
    std::fs::write(agent.folder.path().join("disk/go"), "").unwrap();
    let counts: Vec<f64> = fields(&line(&agent, "failed"))
        .iter()
        .map(|n| n.parse().unwrap())
        .collect();
    assert_eq!(counts[0] + counts[1], 2000.0);
    // Binomial: 200, and 3.3 standard errors of 13.4.
    assert!((counts[0] - 200.0).abs() < 45.0, "{counts:?}");
    heal(&mut agent, "some");
}

fn full() {
    let mut agent = on_disk(
        1,
        r#"
f = os.open("log", os.O_CREAT | os.O_RDWR)
ready()
number = 0
while True:
    number += 1
    made, _ = tried(lambda: os.close(os.open("new", os.O_CREAT | os.O_WRONLY)))
    if made == "ok": os.unlink("new")
    write, _ = tried(os.pwrite, f, b"x", 0)
    sync, _ = tried(os.fsync, f)
    say("state", number, write, made, sync, os.statvfs(".").f_bavail > 0)
    time.sleep(0.002)
"#,
    );
    let state = |agent: &Agent| {
        let number = |line: &str| fields(line)[0].parse::<u64>().unwrap();
        let before = number(&line(agent, "state"));
        loop {
            let latest = line(agent, "state");
            if number(&latest) > before + 1 {
                return fields(&latest)[1..].join(" ");
            }
        }
    };
    assert_eq!(state(&agent), "ok ok ok True");
    disturb(&mut agent, "full", HostFault::DiskFull {}).unwrap();
    assert_eq!(state(&agent), "ENOSPC ENOSPC ok False");
    heal(&mut agent, "full");
    assert_eq!(state(&agent), "ok ok ok True");
}

fn corrupt() {
    let mut agent = on_disk(
        1,
        r#"
f = os.open("log", os.O_CREAT | os.O_RDWR)
os.write(f, bytes(10_000)); os.fsync(f)
# Reads once, so that the page cache has it.
os.pread(f, 10_000, 0)
ready()
while True:
    bits = sum(bin(byte).count("1") for byte in os.pread(f, 10_000, 0))
    say("bits", bits); time.sleep(0.002)
"#,
    );
    assert_eq!(line(&agent, "bits"), "bits 0");
    let flip = HostFault::DiskCorrupt {
        damage: Damage::BitFlip,
        path: None,
    };
    let seen = disturb(&mut agent, "flip", flip).unwrap();
    assert!(
        seen.observed.starts_with("1 bits of log in the sector"),
        "{seen:?}"
    );
    heal(&mut agent, "flip");
    loop {
        match line(&agent, "bits").as_str() {
            "bits 1" => break,
            before => assert_eq!(before, "bits 0"),
        }
    }
    let elsewhere = HostFault::DiskCorrupt {
        damage: Damage::Scramble,
        path: Some("wal/*".into()),
    };
    let refused = disturb(&mut agent, "none", elsewhere).unwrap_err();
    assert!(refused.contains("none could be damaged"), "{refused}");
}

const UNSYNCED: &str = r#"
if os.path.exists("log"):
    say("found", open("log", "rb").read().rstrip(b"t")); ready(); time.sleep(60)
f = os.open("log", os.O_CREAT | os.O_RDWR)
os.write(f, b"synced"); os.fsync(f); os.write(f, b"un"); os.pwrite(f, b"SYN", 0)
ready(); say("wrote"); time.sleep(60)
"#;

fn host_dies() {
    for (action, expected) in [
        (ProcessFault::Kill, "found b'SYNcedun'"),
        (ProcessFault::CrashHost, "found b'synced'"),
    ] {
        // Of this seed's draw nothing of the two writes was written back.
        let mut agent = on_disk(11, UNSYNCED);
        line(&agent, "wrote");
        agent.order(&NodeOrder::Inject {
            id: id("dies"),
            action,
        });
        let FaultReport::Effective { evidence, .. } = agent.fault_report() else {
            panic!("killed");
        };
        let told = evidence
            .observed
            .contains("5 bytes of 1 files were not synced");
        assert_eq!(told, action == ProcessFault::CrashHost, "{evidence:?}");
        heal(&mut agent, "dies");
        assert_eq!(line(&agent, "found"), expected);
    }
}

fn torn() {
    let mut lengths = std::collections::BTreeSet::new();
    for seed in 0..12 {
        let mut agent = on_disk(
            seed,
            r#"
f = os.open("log", os.O_CREAT | os.O_RDWR)
os.write(f, b"s" * 100); os.fsync(f)
for n in range(2): os.write(f, b"t" * 1000)
ready(); say("wrote"); time.sleep(60)
"#,
        );
        line(&agent, "wrote");
        disturb(
            &mut agent,
            "lost",
            HostFault::DiskLoseUnsynced { torn: true },
        )
        .unwrap();
        let bytes = std::fs::read(agent.folder.path().join("disk/log")).unwrap();
        assert!(bytes.starts_with(&[b's'; 100]));
        lengths.insert(bytes.len());
    }
    let possible = [100, 512, 1024, 1100, 1536, 2048];
    assert!(
        lengths.iter().all(|length| possible.contains(length)),
        "{lengths:?}"
    );
    assert!(lengths.len() > 2, "{lengths:?}");
}

fn killed_agent() {
    let mut agent = on_disk(1, WRITER);
    next(&agent, "sync");
    disturb(&mut agent, "hang", HostFault::DiskHang {}).unwrap();
    let children = format!("/proc/{0}/task/{0}/children", agent.process.id());
    let children = std::fs::read_to_string(children).unwrap();
    let children: Vec<i32> = children
        .split_whitespace()
        .map(|pid| pid.parse().unwrap())
        .collect();
    assert!(
        children.len() >= 2,
        "the disk's server and the node's init: {children:?}"
    );
    agent.process.kill().unwrap();
    agent.process.wait().unwrap();
    let until = shakedown_agents::clock::now().after(LIMIT);
    let lives = |pid: &i32| std::path::Path::new(&format!("/proc/{pid}/stat")).exists();
    while children.iter().any(lives) {
        assert!(shakedown_agents::clock::now() < until, "{children:?} live");
        std::thread::yield_now();
    }
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains("shakedown-disk"));
}
