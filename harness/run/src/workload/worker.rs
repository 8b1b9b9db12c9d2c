//! The client worker's process: in its group's namespace, orders in, records out. What the group does
//! is decided in `group`; here its commands meet sockets and its deadlines the clock.
//!
//! Everything runs on one thread, so that what is stamped first is recorded first. The worker dies
//! with the harness (death signal, or the end of its standard input) and leaves nothing behind.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration as StdDuration;

use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{SigHandler, Signal, signal};
use shakedown_contracts::control::{CONTROL_VERSION, ClientOrder, ClientReport, Endpoint};
use shakedown_contracts::frame::Decoder;
use shakedown_contracts::plan::Workload;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinError, JoinSet, LocalSet};
use tokio::time::{MissedTickBehavior, interval};

use super::group::Group;
use super::pipes::{Reports, read_message, read_orders};
use super::primary::Question;
use super::reference_http::ReferenceHttp;
use super::{Adapter, Attempt, AttemptId, Command, Standing, WorkloadError};
use crate::clock::now;
use crate::pacing::Alarm;

/// Records wait at most so long for company.
const FLUSH_INTERVAL: StdDuration = StdDuration::from_millis(20);

/// What a worker is started for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Assignment {
    pub group: String,
    pub workload: Workload,
    pub nodes: Vec<Endpoint>,
    pub port: u16,
    pub seed: u64,
}

/// Runs the worker of one client group; `shakedown agent client`.
pub fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("client worker: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), WorkloadError> {
    die_with_the_harness()?;
    let mut decoder = Decoder::default();
    let hello = read_message(&mut std::io::stdin(), &mut decoder)?;
    // No thread exists yet: each one to come is born in the group's namespace.
    match enter(hello) {
        Ok(assignment) => serve(assignment, std::io::stdin(), decoder, std::io::stdout()),
        Err(error) => {
            let reports = Reports::new(std::io::stdout())?;
            reports.send(ClientReport::Failed {
                message: error.to_string(),
            })?;
            reports.finish();
            Err(error)
        }
    }
}

fn die_with_the_harness() -> Result<(), WorkloadError> {
    let parent = nix::unistd::getppid();
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)
        .map_err(WorkloadError::system("ask to die with the harness"))?;
    if nix::unistd::getppid() != parent {
        return Err(WorkloadError::NoHello);
    }
    // SAFETY: ignoring a signal installs no handler, so nothing runs in signal context. Ctrl-C
    // goes to the harness, which ends its workers in order.
    unsafe { signal(Signal::SIGINT, SigHandler::SigIgn) }
        .map_err(WorkloadError::system("ignore SIGINT"))?;
    Ok(())
}

fn enter(hello: Option<ClientOrder>) -> Result<Assignment, WorkloadError> {
    let Some(ClientOrder::Hello {
        version,
        group,
        namespace,
        workload,
        nodes,
        port,
        seed,
    }) = hello
    else {
        return Err(WorkloadError::NoHello);
    };
    if version != CONTROL_VERSION {
        return Err(WorkloadError::Version {
            own: CONTROL_VERSION,
            other: version,
        });
    }
    std::fs::File::open(&namespace)
        .and_then(|file| Ok(setns(file, CloneFlags::CLONE_NEWNET)?))
        .map_err(|source| WorkloadError::Namespace {
            path: namespace,
            source,
        })?;
    Ok(Assignment {
        group,
        workload,
        nodes,
        port,
        seed,
    })
}

/// Follows orders until `shutdown` or the end of the stream.
///
/// # Errors
/// When the worker cannot go on; it has been reported then as far as the pipe allows.
pub(crate) fn serve<R: Read + Send + 'static, W: Write + Send + 'static>(
    assignment: Assignment,
    reader: R,
    decoder: Decoder,
    writer: W,
) -> Result<(), WorkloadError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| WorkloadError::System {
            what: "start the runtime",
            source,
        })?;
    let orders = read_orders(reader, decoder)?;
    let reports = Reports::new(writer)?;
    let work = async {
        let timeout = assignment.workload.timeout.into();
        let adapter = ReferenceHttp::new(&assignment.nodes, assignment.port, timeout)?;
        Worker::new(&assignment, adapter, &reports)?
            .follow(orders)
            .await
    };
    match LocalSet::new().block_on(&runtime, work) {
        Ok(End::Shutdown) => reports.finish(),
        // Nobody reads any more; waiting for the pipe could last for ever.
        Ok(End::HarnessGone) => {}
        Err(error) => {
            let told = reports.send(ClientReport::Failed {
                message: error.to_string(),
            });
            if told.is_ok() {
                reports.finish();
            }
            return Err(error);
        }
    }
    Ok(())
}

/// Why a worker ends.
enum End {
    Shutdown,
    HarnessGone,
}

struct Worker<'a, A> {
    group: Group,
    adapter: Rc<A>,
    reports: &'a Reports,
    alarm: Alarm,
    attempts: JoinSet<(AttemptId, Attempt)>,
    cancels: BTreeMap<AttemptId, AbortHandle>,
    questions: JoinSet<(usize, Option<Standing>)>,
}

impl<'a, A: Adapter> Worker<'a, A> {
    fn new(work: &Assignment, adapter: A, reports: &'a Reports) -> Result<Self, WorkloadError> {
        let nodes = adapter.node_count();
        Ok(Worker {
            group: Group::new(&work.workload, &work.group, nodes, work.seed)?,
            adapter: Rc::new(adapter),
            reports,
            alarm: Alarm::new()?,
            attempts: JoinSet::new(),
            cancels: BTreeMap::new(),
            questions: JoinSet::new(),
        })
    }

    async fn follow(
        mut self,
        mut orders: mpsc::Receiver<Result<ClientOrder, WorkloadError>>,
    ) -> Result<End, WorkloadError> {
        self.reports.send(ClientReport::Ready {
            version: CONTROL_VERSION,
        })?;
        let mut flush = interval(FLUSH_INTERVAL);
        flush.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.carry_out_commands();
            let deadline = self.group.next_deadline(now());
            let mut tick = false;
            tokio::select! {
                biased;
                order = orders.recv() => match order.transpose()? {
                    None => return Ok(End::HarnessGone),
                    Some(ClientOrder::Shutdown) => {
                        self.report(true)?;
                        return Ok(End::Shutdown);
                    }
                    Some(order) => self.group.obey(&order, now())?,
                },
                Some(answer) = self.attempts.join_next() => self.answered(answer),
                Some(standing) = self.questions.join_next() => {
                    let (node, standing) = standing.unwrap_or_else(resume);
                    self.group.standing(node, standing, now());
                }
                woken = self.alarm.until(deadline.unwrap_or_default()), if deadline.is_some() => {
                    woken?;
                    self.group.tick(now());
                }
                _ = flush.tick() => tick = true,
            }
            self.report(tick)?;
        }
    }

    fn carry_out_commands(&mut self) {
        for command in self.group.take_commands() {
            match command {
                Command::Attempt { id, node, request } => {
                    let adapter = Rc::clone(&self.adapter);
                    let attempt = async move { (id, adapter.attempt(node, &request).await) };
                    let handle = self.attempts.spawn_local(attempt);
                    self.cancels.insert(id, handle);
                }
                Command::Cancel { id } => {
                    if let Some(handle) = self.cancels.remove(&id) {
                        handle.abort();
                    }
                }
                Command::Ask(Question { node, limit }) => {
                    let adapter = Rc::clone(&self.adapter);
                    self.questions.spawn_local(async move {
                        (node, adapter.standing(node, limit.into()).await)
                    });
                }
            }
        }
    }

    fn answered(&mut self, answer: Result<(AttemptId, Attempt), JoinError>) {
        match answer {
            Err(error) if error.is_cancelled() => {}
            answer => {
                let (id, attempt) = answer.unwrap_or_else(resume);
                self.cancels.remove(&id);
                self.group.answer(id, attempt, now());
            }
        }
    }

    fn report(&mut self, flush: bool) -> Result<(), WorkloadError> {
        for report in self.group.take_reports(flush)? {
            self.reports.send(report)?;
        }
        Ok(())
    }
}

/// Our bug, never the system's.
fn resume<T>(error: JoinError) -> T {
    std::panic::resume_unwind(error.into_panic())
}
