//! The proxy's loop: one thread over all sockets, the toxics' moments, and commands.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use shakedown_contracts::random::Random;
use shakedown_contracts::time::Moment;
use socket2::{Domain, SockAddr, Socket, Type};

use super::flow::{Flow, Passed, Pipe, Turn};
use super::{Command, Done, ProxyError, Report, Stream, Toxic};
use crate::clock::now;

const BACKLOG: i32 = 1024;
const EVENTS: usize = 256;
/// Pipes that are kept for the next one who needs one.
const SPARE_PIPES: usize = 64;
const LISTENER: u64 = 0;
const WAKER: u64 = 1;
const TIMER: u64 = 2;
const FIRST_CONNECTION: u64 = 2;

/// What comes to the thread.
pub(super) enum Request {
    Command(Command, Sender<Result<Report, ProxyError>>),
    End,
}

/// Wakes the thread.
#[derive(Debug, Clone)]
pub(super) struct Waker(Arc<EventFd>);

impl Waker {
    pub fn wake(&self) -> io::Result<()> {
        self.0.write(1)?;
        Ok(())
    }
}

pub(super) fn system<E: Into<io::Error>>(action: &str) -> impl FnOnce(E) -> ProxyError {
    move |error| ProxyError::System {
        action: action.to_owned(),
        source: error.into(),
    }
}

pub(super) struct Engine {
    epoll: Epoll,
    waker: Waker,
    timer: TimerFd,
    listener: Option<Socket>,
    listen: SocketAddr,
    upstream: SocketAddr,
    seed: u64,
    requests: Receiver<Request>,
    connections: BTreeMap<u64, Connection>,
    last_number: u64,
    toxics: Vec<Active>,
    /// When which connection is to have its turn.
    due: BTreeSet<(Moment, u64)>,
    ready: VecDeque<u64>,
    pipes: Vec<Pipe>,
}

struct Connection {
    client: Socket,
    server: Socket,
    /// Until the server has taken or refused it.
    connecting: bool,
    up: Flow,
    down: Flow,
    due: Option<Moment>,
}

struct Active {
    toxic: Toxic,
    since: Moment,
    connections: u64,
    bytes: u64,
    items: u64,
    late_nanos: u64,
    late_most: u64,
}

impl Engine {
    pub fn new(
        listen: SocketAddr,
        upstream: SocketAddr,
        seed: u64,
        requests: Receiver<Request>,
    ) -> Result<(Self, Waker), ProxyError> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(system("epoll"))?;
        let eventfd = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK);
        let waker = Waker(Arc::new(eventfd.map_err(system("eventfd"))?));
        let flags = TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags).map_err(system("timerfd"))?;
        let add =
            |fd: &dyn AsFd, data| epoll.add(fd.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, data));
        add(&*waker.0, WAKER).map_err(system("epoll"))?;
        add(&timer, TIMER).map_err(system("epoll"))?;
        let mut engine = Engine {
            epoll,
            waker: waker.clone(),
            timer,
            listener: None,
            listen,
            upstream,
            seed,
            requests,
            connections: BTreeMap::new(),
            last_number: FIRST_CONNECTION,
            toxics: Vec::new(),
            due: BTreeSet::new(),
            ready: VecDeque::new(),
            pipes: Vec::new(),
        };
        engine.open()?;
        Ok((engine, waker))
    }

    pub fn listen(&self) -> SocketAddr {
        self.listen
    }

    /// Begins to take connections.
    fn open(&mut self) -> Result<(), ProxyError> {
        let action = format!("listening at {}", self.listen);
        let opened = || -> io::Result<Socket> {
            let socket = Socket::new(Domain::for_address(self.listen), Type::STREAM, None)?;
            socket.set_reuse_address(true)?;
            socket.set_nonblocking(true)?;
            socket.bind(&SockAddr::from(self.listen))?;
            socket.listen(BACKLOG)?;
            let event = EpollEvent::new(EpollFlags::EPOLLIN, LISTENER);
            self.epoll.add(&socket, event)?;
            Ok(socket)
        };
        let socket = opened().map_err(system(&action))?;
        let address = socket.local_addr().map_err(system(&action))?;
        self.listen = address.as_socket().unwrap_or(self.listen);
        self.listener = Some(socket);
        Ok(())
    }

    /// Until it is told to end.
    pub fn run(mut self) {
        // The kernel rounds a thread's waits up by 50 µs unless told otherwise.
        // SAFETY: integers.
        unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1, 0, 0, 0) };
        let mut events = [EpollEvent::empty(); EVENTS];
        loop {
            let timeout = match self.ready.is_empty() {
                true => EpollTimeout::NONE,
                false => EpollTimeout::ZERO,
            };
            let count = match self.epoll.wait(&mut events, timeout) {
                Ok(count) => count,
                Err(nix::errno::Errno::EINTR) => 0,
                // Nothing can be done without it.
                Err(_) => return,
            };
            for event in &events[..count] {
                match event.data() {
                    LISTENER => self.accept(),
                    WAKER => {
                        let _ = self.waker.0.read();
                        if !self.obey() {
                            return;
                        }
                    }
                    TIMER => {
                        let _ = self.timer.wait();
                    }
                    data => self.socket_event(data, event.events()),
                }
            }
            for number in std::mem::take(&mut self.ready) {
                self.turn(number, true, true);
            }
            self.take_due();
        }
    }

    /// An event's number: the connection's, doubled; odd for the server's socket.
    fn socket_event(&mut self, data: u64, flags: EpollFlags) {
        let (number, of_server) = (data / 2, data % 2 == 1);
        let Some(connection) = self.connections.get_mut(&number) else {
            return;
        };
        let ended = flags.intersects(EpollFlags::EPOLLERR | EpollFlags::EPOLLHUP);
        if connection.connecting {
            if !of_server || !(ended || flags.contains(EpollFlags::EPOLLOUT)) {
                return;
            }
            if !matches!(connection.server.take_error(), Ok(None)) {
                self.drop_connection(number, false);
                return;
            }
            connection.connecting = false;
            self.turn(number, true, true);
            return;
        }
        let readable = ended || flags.intersects(EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP);
        let writable = ended || flags.contains(EpollFlags::EPOLLOUT);
        let (up, down) = match of_server {
            true => (writable && connection.up.blocked, readable),
            false => (readable, writable && connection.down.blocked),
        };
        if up {
            connection.up.blocked = false;
        }
        if down {
            connection.down.blocked = false;
        }
        self.turn(number, up, down);
    }

    fn turn(&mut self, number: u64, up: bool, down: bool) {
        let Some(connection) = self.connections.get_mut(&number) else {
            return;
        };
        if connection.connecting {
            return;
        }
        let (client, server) = (connection.client.as_raw_fd(), connection.server.as_raw_fd());
        let (present, toxics, pipes) = (now(), &mut self.toxics, &mut self.pipes);
        let mut meter = |passed: Passed<'_>| {
            if let Some(active) = toxics
                .iter_mut()
                .find(|active| active.toxic.name == passed.name)
            {
                active.count(passed, present);
            }
        };
        let mut run = |flow: &mut Flow, sockets: (RawFd, RawFd), wanted: bool| match wanted {
            true => flow.turn(sockets, present, pipes, &mut meter),
            false => Ok(Turn::Waits(None)),
        };
        // A direction without an event may have something due, and keeps its moment.
        let has_moments = connection.due.is_some();
        let one = run(&mut connection.up, (client, server), up || has_moments);
        let other = run(&mut connection.down, (server, client), down || has_moments);
        self.pipes.truncate(SPARE_PIPES);
        let (Ok(one), Ok(other)) = (one, other) else {
            // A socket failed: its peer is gone, and the other must hear of it.
            self.drop_connection(number, true);
            return;
        };
        let mut wake = None;
        for turn in [one, other] {
            match turn {
                Turn::Waits(None) => {}
                Turn::Waits(Some(at)) => wake = Some(wake.map_or(at, |wake: Moment| wake.min(at))),
                Turn::MoreToDo => self.ready.push_back(number),
                Turn::Close => return self.close(number),
                Turn::Reset => return self.drop_connection(number, true),
            }
        }
        if connection.up.is_done() && connection.down.is_done() {
            self.drop_connection(number, false);
            return;
        }
        if wake != connection.due {
            if let Some(before) = connection.due {
                self.due.remove(&(before, number));
            }
            connection.due = wake;
            self.due.extend(wake.map(|wake| (wake, number)));
            self.set_timer();
        }
    }

    /// Closes both ends, after what has passed the toxics.
    fn close(&mut self, number: u64) {
        if let Some(connection) = self.connections.get_mut(&number) {
            // The peer may be gone.
            let _ = connection.up.write(connection.server.as_raw_fd());
            let _ = connection.down.write(connection.client.as_raw_fd());
        }
        self.drop_connection(number, false);
    }

    fn drop_connection(&mut self, number: u64, reset: bool) {
        let Some(connection) = self.connections.remove(&number) else {
            return;
        };
        if let Some(due) = connection.due {
            self.due.remove(&(due, number));
            self.set_timer();
        }
        if reset {
            for socket in [&connection.client, &connection.server] {
                // A refusal leaves an orderly end.
                let _ = socket.set_linger(Some(std::time::Duration::ZERO));
            }
        }
    }

    fn take_due(&mut self) {
        let present = now();
        let due: Vec<u64> = self
            .due
            .iter()
            .take_while(|(at, _)| *at <= present)
            .map(|(_, number)| *number)
            .collect();
        for number in due {
            self.turn(number, true, true);
        }
    }

    /// The timer rings when the first is due.
    fn set_timer(&mut self) {
        let set = match self.due.first() {
            Some((at, _)) => {
                let nanos = at.0.max(1);
                let at = TimeSpec::new(
                    (nanos / 1_000_000_000) as i64,
                    (nanos % 1_000_000_000) as i64,
                );
                self.timer.set(
                    Expiration::OneShot(at),
                    TimerSetTimeFlags::TFD_TIMER_ABSTIME,
                )
            }
            None => self.timer.unset(),
        };
        // It refuses only what is no time.
        let _ = set;
    }

    fn accept(&mut self) {
        while let Some(listener) = &self.listener {
            let Ok((client, _)) = listener.accept() else {
                return;
            };
            let Ok(connection) = self.connect(client) else {
                continue;
            };
            self.connections.insert(self.last_number, connection);
        }
    }

    fn connect(&mut self, client: Socket) -> io::Result<Connection> {
        self.last_number += 1;
        let number = self.last_number;
        let server = Socket::new(Domain::for_address(self.upstream), Type::STREAM, None)?;
        for socket in [&client, &server] {
            socket.set_nonblocking(true)?;
            socket.set_tcp_nodelay(true)?;
        }
        match server.connect(&SockAddr::from(self.upstream)) {
            Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => return Err(error),
            _ => {}
        }
        let flags = EpollFlags::EPOLLIN
            | EpollFlags::EPOLLOUT
            | EpollFlags::EPOLLRDHUP
            | EpollFlags::EPOLLET;
        self.epoll
            .add(&client, EpollEvent::new(flags, 2 * number))?;
        self.epoll
            .add(&server, EpollEvent::new(flags, 2 * number + 1))?;
        let mut connection = Connection {
            client,
            server,
            connecting: true,
            up: Flow::default(),
            down: Flow::default(),
            due: None,
        };
        for active in &mut self.toxics {
            active.meet(self.seed, number, &mut connection);
        }
        Ok(connection)
    }

    /// Obeys all commands that have come; false at the end.
    fn obey(&mut self) -> bool {
        while let Ok(request) = self.requests.try_recv() {
            let Request::Command(command, answer) = request else {
                return false;
            };
            let removed = self.carry_out(command);
            let report = removed.map(|removed| self.report(removed));
            // Who asked may have gone.
            let _ = answer.send(report);
        }
        true
    }

    fn carry_out(&mut self, command: Command) -> Result<Option<Done>, ProxyError> {
        let mut removed = None;
        match command {
            Command::Add(toxic) => {
                if self
                    .toxics
                    .iter()
                    .any(|active| active.toxic.name == toxic.name)
                {
                    let message = format!(
                        "there is a toxic `{}` already; give another name",
                        toxic.name
                    );
                    return Err(ProxyError::Command(message));
                }
                let mut active = Active::new(toxic);
                for (number, connection) in &mut self.connections {
                    active.meet(self.seed, *number, connection);
                }
                self.toxics.push(active);
            }
            Command::Update { name, settings } => {
                let at = self.find(&name)?;
                let active = &mut self.toxics[at];
                active.toxic.settings = settings;
                let stream = active.toxic.stream;
                for (number, connection) in &mut self.connections {
                    let stage = active.stage(self.seed, *number);
                    connection.flow(stream).replace(&name, Some(stage), now());
                }
            }
            Command::Remove { name } => {
                let at = self.find(&name)?;
                let active = self.toxics.remove(at);
                for connection in self.connections.values_mut() {
                    connection
                        .flow(active.toxic.stream)
                        .replace(&name, None, now());
                }
                removed = Some(active.done());
            }
            Command::Toggle => match self.listener.take() {
                Some(_) => {
                    for number in self.numbers() {
                        self.drop_connection(number, false);
                    }
                }
                None => self.open()?,
            },
            Command::Inspect => {}
        }
        for number in self.numbers() {
            self.turn(number, true, true);
        }
        Ok(removed)
    }

    fn find(&self, name: &str) -> Result<usize, ProxyError> {
        let found = self
            .toxics
            .iter()
            .position(|active| active.toxic.name == name);
        found.ok_or_else(|| {
            let names: Vec<&str> = self
                .toxics
                .iter()
                .map(|active| active.toxic.name.as_str())
                .collect();
            let there = match names.is_empty() {
                true => "there is none".to_owned(),
                false => format!("there are {}", names.join(", ")),
            };
            ProxyError::Command(format!("there is no toxic `{name}`; {there}"))
        })
    }

    fn numbers(&self) -> Vec<u64> {
        self.connections.keys().copied().collect()
    }

    fn report(&self, removed: Option<Done>) -> Report {
        Report {
            listen: self.listen,
            upstream: self.upstream,
            enabled: self.listener.is_some(),
            connections: self.connections.len(),
            toxics: self.toxics.iter().map(Active::done).collect(),
            removed,
        }
    }
}

impl Connection {
    fn flow(&mut self, stream: Stream) -> &mut Flow {
        match stream {
            Stream::Upstream => &mut self.up,
            Stream::Downstream => &mut self.down,
        }
    }
}

impl Active {
    fn new(toxic: Toxic) -> Self {
        Active {
            toxic,
            since: now(),
            connections: 0,
            bytes: 0,
            items: 0,
            late_nanos: 0,
            late_most: 0,
        }
    }

    /// Draws whether a connection meets it, the same for the same seed, name and connection.
    fn meet(&mut self, seed: u64, number: u64, connection: &mut Connection) {
        if self.random(seed, number).chance(self.toxic.toxicity) {
            self.connections += 1;
            let stage = self.stage(seed, number);
            let name = self.toxic.name.clone();
            connection.flow(self.toxic.stream).add(name, stage);
        }
    }

    fn random(&self, seed: u64, number: u64) -> Random {
        Random::keyed(seed, "toxic", &self.toxic.name).numbered(number)
    }

    fn stage(&self, seed: u64, number: u64) -> Box<dyn super::toxics::Stage> {
        let mut random = self.random(seed, number);
        random.next_u64();
        self.toxic.settings.stage(random, now())
    }

    fn count(&mut self, passed: Passed<'_>, present: Moment) {
        let late = present.since(passed.arrived).as_nanos();
        self.bytes += passed.bytes as u64;
        self.items += 1;
        self.late_nanos += late;
        self.late_most = self.late_most.max(late);
    }

    fn done(&self) -> Done {
        let seconds = now().since(self.since).as_secs_f64();
        Done {
            toxic: self.toxic.clone(),
            connections: self.connections,
            passed_bytes: self.bytes,
            rate: self.bytes as f64 / seconds,
            delay_mean_ms: self.late_nanos as f64 / self.items.max(1) as f64 / 1e6,
            delay_max_ms: self.late_most as f64 / 1e6,
        }
    }
}
