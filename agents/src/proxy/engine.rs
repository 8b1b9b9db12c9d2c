//! The proxy's loop: one thread over all sockets, the toxics' moments, and commands.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::socket::{SockFlag, accept4};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use shakedown_contracts::time::Moment;
use shakedown_contracts::units::Duration;
use socket2::{Domain, SockAddr, Socket, Type};

use super::active::Active;
use super::connection::{Connection, Ending, Next};
use super::transfer::Shared;
use super::{Command, Done, ProxyError, Report};
use crate::clock::now;

const BACKLOG: i32 = 4096;
const EVENTS: usize = 256;
/// When no more descriptors can be had, the next try is so much later.
const RETRY: Duration = Duration::from_millis(50);
/// A timer rings so much too late on a quiet machine; the rest of the time is waited for awake.
const TIMER_LATENESS: Duration = Duration::from_micros(60);
const LISTENER: u64 = 0;
const WAKER: u64 = 1;
const TIMER: u64 = 2;
/// Connections have numbers above that.
const NO_CONNECTION: u64 = 2;

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
    /// What the timer is set to.
    rings: Option<Moment>,
    listener: Option<Socket>,
    listen: SocketAddr,
    upstream: SocketAddr,
    seed: u64,
    requests: Receiver<Request>,
    connections: BTreeMap<u64, Connection>,
    last_connection: u64,
    accepted: u64,
    unreachable: u64,
    toxics: Vec<Active>,
    last_toxic: u64,
    /// When which connection is to have its turn.
    due: BTreeSet<(Moment, u64)>,
    ready: VecDeque<u64>,
    shared: Shared,
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
            rings: None,
            listener: None,
            listen,
            upstream,
            seed,
            requests,
            connections: BTreeMap::new(),
            last_connection: NO_CONNECTION,
            accepted: 0,
            unreachable: 0,
            toxics: Vec::new(),
            last_toxic: 0,
            due: BTreeSet::new(),
            ready: VecDeque::new(),
            shared: Shared::new(),
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
            let kind = Type::STREAM.nonblocking();
            let socket = Socket::new(Domain::for_address(self.listen), kind, None)?;
            socket.set_reuse_address(true)?;
            socket.bind(&SockAddr::from(self.listen))?;
            socket.listen(BACKLOG)?;
            // What is taken from it inherits that.
            socket.set_tcp_nodelay(true)?;
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
        let mut events = [EpollEvent::empty(); EVENTS];
        loop {
            let patience = self.patience();
            let count = match self.epoll.wait(&mut events, patience) {
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
                        self.rings = None;
                    }
                    data => self.socket_event(data, event.events()),
                }
            }
            for number in std::mem::take(&mut self.ready) {
                self.turn(number);
            }
            self.take_due();
        }
    }

    /// How long to wait for events: not at all when there is something to do or nearly so, and else until the timer rings.
    fn patience(&mut self) -> EpollTimeout {
        let soon = match self.due.first() {
            Some((at, _)) => now().after(TIMER_LATENESS) >= *at,
            None => false,
        };
        if soon || !self.ready.is_empty() {
            return EpollTimeout::ZERO;
        }
        self.set_timer();
        EpollTimeout::NONE
    }

    /// The timer rings a little before the first is due.
    fn set_timer(&mut self) {
        let rings = self.due.first().map(|(at, _)| at.before(TIMER_LATENESS));
        // One that rings too early does no harm.
        if rings.is_none() || self.rings.is_some_and(|set| Some(set) <= rings) {
            return;
        }
        self.rings = rings;
        let nanos = rings.map_or(1, |at| at.0.max(1));
        let at = TimeSpec::new(
            (nanos / 1_000_000_000) as i64,
            (nanos % 1_000_000_000) as i64,
        );
        let (at, flags) = (
            Expiration::OneShot(at),
            TimerSetTimeFlags::TFD_TIMER_ABSTIME,
        );
        // It refuses only what is no time.
        let _ = self.timer.set(at, flags);
    }

    /// An event's number: the connection's, doubled; odd for the server's socket.
    fn socket_event(&mut self, data: u64, flags: EpollFlags) {
        let (number, of_server) = (data / 2, data % 2 == 1);
        let Some(connection) = self.connections.get_mut(&number) else {
            return;
        };
        match connection.note(of_server, flags) {
            Ok(()) => self.turn(number),
            Err(_) => {
                self.unreachable += 1;
                self.end_connection(number, Ending::Closed);
            }
        }
    }

    fn turn(&mut self, number: u64) {
        let Some(connection) = self.connections.get_mut(&number) else {
            return;
        };
        let toxics = &mut self.toxics;
        let mut meter = |number, deed| {
            let mut found = toxics.iter_mut();
            if let Some(active) = found.find(|active| active.number == number) {
                active.count(deed, now());
            }
        };
        let wake = match connection.turn(&mut self.shared, &mut meter) {
            Next::Waits(wake) => wake,
            Next::MoreToDo => {
                self.ready.push_back(number);
                None
            }
            Next::End(how) => return self.end_connection(number, how),
        };
        if wake != connection.due {
            let before = connection.due.map(|due| (due, number));
            before.map(|before| self.due.remove(&before));
            connection.due = wake;
            self.due.extend(wake.map(|wake| (wake, number)));
        }
    }

    fn end_connection(&mut self, number: u64, how: Ending) {
        if let Some(connection) = self.connections.remove(&number) {
            let due = connection.due.map(|due| (due, number));
            due.map(|due| self.due.remove(&due));
            connection.end(how);
        }
    }

    fn take_due(&mut self) {
        let present = now();
        while let Some((at, number)) = self.due.first().copied()
            && at <= present
        {
            self.due.pop_first();
            if number == LISTENER {
                self.listen_again();
            }
            if let Some(connection) = self.connections.get_mut(&number) {
                connection.due = None;
                self.turn(number);
            }
        }
    }

    fn accept(&mut self) {
        while let Some(listener) = &self.listener {
            let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
            let taken = accept4(listener, flags);
            match taken.map(Socket::from).map_err(io::Error::from) {
                Ok(client) => {
                    if self.connect(client).is_err() {
                        self.unreachable += 1;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                // No more descriptors, or no memory: to ask again at once would be to ask for ever.
                Err(_) => {
                    let _ = self.epoll.delete(listener);
                    self.due.insert((now().after(RETRY), LISTENER));
                    return;
                }
            }
        }
    }

    fn listen_again(&mut self) {
        if let Some(listener) = &self.listener {
            let event = EpollEvent::new(EpollFlags::EPOLLIN, LISTENER);
            // It may have been closed and opened in the meantime, and be there already.
            let _ = self.epoll.add(listener, event);
        }
    }

    fn connect(&mut self, client: Socket) -> io::Result<()> {
        self.last_connection += 1;
        self.accepted += 1;
        let number = self.last_connection;
        let kind = Type::STREAM.nonblocking();
        let server = Socket::new(Domain::for_address(self.upstream), kind, None)?;
        server.set_tcp_nodelay(true)?;
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
        let mut connection = Connection::new(client, server);
        for active in &mut self.toxics {
            active.meet(self.seed, number, &mut connection);
        }
        self.connections.insert(number, connection);
        Ok(())
    }

    /// Obeys all commands that have come; false at the end.
    fn obey(&mut self) -> bool {
        while let Ok(request) = self.requests.try_recv() {
            let Request::Command(command, answer) = request else {
                return false;
            };
            let concerned = self.carry_out(command);
            let report = concerned.map(|concerned| self.report(concerned));
            // Who asked may have gone.
            let _ = answer.send(report);
        }
        true
    }

    fn carry_out(&mut self, command: Command) -> Result<Option<Done>, ProxyError> {
        let done = match command {
            Command::Add(toxic) => {
                self.refuse_twice(&toxic.name)?;
                self.last_toxic += 1;
                self.toxics.push(Active::new(self.last_toxic, toxic));
                self.meet_all(self.toxics.len() - 1)
            }
            Command::Update {
                name,
                settings,
                toxicity,
            } => {
                let place = self.find(&name)?;
                self.toxics[place].change(settings, toxicity);
                self.meet_all(place)
            }
            Command::Remove { name } => {
                let mut active = self.toxics.remove(self.find(&name)?);
                for connection in self.connections.values_mut() {
                    active.leave(connection);
                }
                active.done(std::iter::empty())
            }
            Command::Toggle => return self.toggle().map(|()| None),
            Command::Inspect => return Ok(None),
        };
        for number in self.numbers() {
            self.turn(number);
        }
        Ok(Some(done))
    }

    /// Has a toxic act on every connection that meets it.
    fn meet_all(&mut self, place: usize) -> Done {
        let active = &mut self.toxics[place];
        for (number, connection) in &mut self.connections {
            active.meet(self.seed, *number, connection);
        }
        active.done(self.connections.values_mut())
    }

    fn toggle(&mut self) -> Result<(), ProxyError> {
        if self.listener.take().is_none() {
            return self.open();
        }
        for number in self.numbers() {
            self.end_connection(number, Ending::Closed);
        }
        Ok(())
    }

    fn refuse_twice(&self, name: &str) -> Result<(), ProxyError> {
        let message = format!("there is a toxic `{name}` already; give another name with -n");
        match self.find(name) {
            Ok(_) => Err(ProxyError::Command(message)),
            Err(_) => Ok(()),
        }
    }

    fn find(&self, name: &str) -> Result<usize, ProxyError> {
        let mut toxics = self.toxics.iter();
        let found = toxics.position(|active| active.toxic.name == name);
        found.ok_or_else(|| {
            let names = self.toxics.iter().map(|active| active.toxic.name.as_str());
            let there = match self.toxics.is_empty() {
                true => "there is none".to_owned(),
                false => format!("there are {}", names.collect::<Vec<_>>().join(", ")),
            };
            ProxyError::Command(format!("there is no toxic `{name}`; {there}"))
        })
    }

    fn numbers(&self) -> Vec<u64> {
        self.connections.keys().copied().collect()
    }

    fn report(&mut self, concerned: Option<Done>) -> Report {
        let connections = &mut self.connections;
        let done = |active: &Active| active.done(connections.values_mut());
        Report {
            toxics: self.toxics.iter().map(done).collect(),
            listen: self.listen,
            upstream: self.upstream,
            enabled: self.listener.is_some(),
            connections: self.connections.len(),
            accepted: self.accepted,
            unreachable: self.unreachable,
            concerned,
        }
    }
}
