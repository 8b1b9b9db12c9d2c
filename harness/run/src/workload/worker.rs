//! The client worker's process: in its group's namespace, orders in, records out.
//!
//! Everything runs on one thread, so that what is stamped first is recorded first. The worker dies
//! with the harness (death signal, or the end of its standard input) and leaves nothing behind.

use std::io::{Read, Write};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration as StdDuration;

use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{SigHandler, Signal, signal};
use shakedown_contracts::control::{CONTROL_VERSION, ClientOrder, ClientReport, Endpoint};
use shakedown_contracts::frame::Decoder;
use shakedown_contracts::plan::Workload;
use shakedown_contracts::time::Moment;
use shakedown_contracts::units::Duration;
use tokio::sync::mpsc;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::clients::{Clients, Context};
use super::operation::{Drive, Outcome, Persistence};
use super::pipes::{Reports, read_message, read_orders};
use super::primary::Tracker;
use super::records::Records;
use super::reference_http::ReferenceHttp;
use super::schedule::Schedule;
use super::share::Share;
use super::{Adapter, Request, WorkloadError, generator};
use crate::clock::now;
use crate::pacing::Alarm;

/// Records wait at most so long for company.
const FLUSH_INTERVAL: StdDuration = StdDuration::from_millis(20);
/// Operations end by their own timeout; so much later they are given up from outside.
const DRAIN_MARGIN: StdDuration = StdDuration::from_millis(200);

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
    share: Share,
    seed: u64,
    preparation: Request,
    adapter: Rc<A>,
    tracker: Rc<Tracker>,
    records: Rc<Records>,
    reports: &'a Reports,
    clients: Clients<A>,
    timeout: StdDuration,
    alarm: Alarm,
    schedule: Option<Schedule>,
    preparing: JoinSet<Outcome>,
    /// Set while `stopped` is owed: open operations are given up then.
    stopped_by: Option<Instant>,
    pacing_lateness_max: Duration,
}

impl<'a, A: Adapter> Worker<'a, A> {
    fn new(work: &Assignment, adapter: A, reports: &'a Reports) -> Result<Self, WorkloadError> {
        let share = Share::of(&work.workload, &work.group)?;
        let generator = generator(&work.workload, &share, work.seed)?;
        let (adapter, records) = (Rc::new(adapter), Rc::new(Records::default()));
        let tracker = Tracker::new(adapter.node_count());
        let timeout = work.workload.timeout.into();
        let context = Context {
            adapter: Rc::clone(&adapter),
            tracker: Rc::clone(&tracker),
            records: Rc::clone(&records),
            timeout,
        };
        Ok(Worker {
            preparation: generator.preparation(),
            clients: Clients::new(context, generator, &share),
            share,
            seed: work.seed,
            adapter,
            tracker,
            records,
            reports,
            timeout,
            alarm: Alarm::new()?,
            schedule: None,
            preparing: JoinSet::new(),
            stopped_by: None,
            pacing_lateness_max: Duration::ZERO,
        })
    }

    async fn follow(
        mut self,
        mut orders: mpsc::Receiver<Result<ClientOrder, WorkloadError>>,
    ) -> Result<End, WorkloadError> {
        self.tracker.keep_fresh(&self.adapter);
        self.reports.send(ClientReport::Ready {
            version: CONTROL_VERSION,
        })?;
        let mut flush = interval(FLUSH_INTERVAL);
        flush.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let due = self.schedule.as_ref().map(Schedule::next_due);
            let stopped_by = self.stopped_by;
            let mut tick = false;
            tokio::select! {
                biased;
                order = orders.recv() => match order.transpose()? {
                    None => return Ok(End::HarnessGone),
                    Some(ClientOrder::Shutdown) => {
                        self.flush()?;
                        return Ok(End::Shutdown);
                    }
                    Some(order) => self.obey(order)?,
                },
                () = self.clients.next_completion() => {}
                woken = self.alarm.until(due.unwrap_or_default()), if due.is_some() => {
                    woken?;
                    self.offer_due();
                }
                Some(outcome) = self.preparing.join_next() => self.prepared(outcome)?,
                () = sleep_until(stopped_by.unwrap_or_else(Instant::now)),
                    if stopped_by.is_some() => self.clients.abandon(),
                _ = flush.tick() => tick = true,
            }
            if tick || self.records.is_full() {
                self.flush()?;
            }
            self.report_stopped()?;
        }
    }

    fn obey(&mut self, order: ClientOrder) -> Result<(), WorkloadError> {
        match order {
            ClientOrder::Hello { .. } | ClientOrder::Shutdown => {
                return Err(WorkloadError::NoHello);
            }
            ClientOrder::Prepare { timeout } => self.prepare(timeout.into()),
            ClientOrder::Start { at } => self.schedule = self.schedule_from(at),
            ClientOrder::Stop => {
                self.schedule = None;
                self.clients.stop();
                self.stopped_by = Some(Instant::now() + self.timeout + DRAIN_MARGIN);
            }
            ClientOrder::FinalReads { timeout } => {
                let timeout = StdDuration::from(timeout);
                self.clients.read_finally(timeout);
                self.stopped_by = Some(Instant::now() + timeout + DRAIN_MARGIN);
            }
        }
        Ok(())
    }

    fn schedule_from(&self, at: Moment) -> Option<Schedule> {
        Schedule::new(at, &self.share, self.seed)
    }

    fn offer_due(&mut self) {
        let now = now();
        // Ends at the present: each turn takes one due moment that has passed.
        while let Some(due) = self
            .schedule
            .as_mut()
            .and_then(|schedule| schedule.take_due(now))
        {
            self.pacing_lateness_max = self.pacing_lateness_max.max(now.since(due));
            self.clients.arrive(due);
        }
    }

    fn prepare(&mut self, timeout: StdDuration) {
        let (adapter, tracker) = (Rc::clone(&self.adapter), Rc::clone(&self.tracker));
        let request = self.preparation.clone();
        let persistence = Persistence {
            deadline: Instant::now() + timeout,
            attempt: self.timeout,
            repeatable: true,
        };
        self.preparing.spawn_local(async move {
            Drive::new(&*adapter, &tracker, persistence)
                .run(&request)
                .await
        });
    }

    fn prepared(
        &self,
        outcome: Result<Outcome, tokio::task::JoinError>,
    ) -> Result<(), WorkloadError> {
        match outcome {
            Ok(Outcome::Ok { .. }) => self.reports.send(ClientReport::Prepared),
            Ok(Outcome::Fail { reason, .. } | Outcome::Info { reason, .. }) => {
                Err(WorkloadError::Prepare(reason))
            }
            Err(error) => Err(WorkloadError::Prepare(error.to_string())),
        }
    }

    fn flush(&self) -> Result<(), WorkloadError> {
        let records = self.records.take();
        if records.is_empty() {
            return Ok(());
        }
        self.reports.send(ClientReport::Operations { records })
    }

    fn report_stopped(&mut self) -> Result<(), WorkloadError> {
        if self.stopped_by.is_none() || !self.clients.is_idle() {
            return Ok(());
        }
        self.stopped_by = None;
        self.flush()?;
        let pacing_lateness_max = self.pacing_lateness_max;
        self.reports.send(ClientReport::Stopped {
            pacing_lateness_max,
        })
    }
}
