//! One connection: the client's socket, the server's, and a flow each way.

use std::os::fd::AsRawFd;
use std::time::Duration as StdDuration;

use nix::sys::epoll::EpollFlags;
use shakedown_contracts::time::Moment;
use shakedown_contracts::units::Duration;
use socket2::Socket;

use super::Stream;
use super::flow::{Flow, Meter, Turn};
use super::transfer::{Shared, discard, end};
use crate::clock::now;

/// So long a receiver may take to accept what had passed before its connection was to be closed.
const LINGER: Duration = Duration::from_secs(10);

/// What is to be done with a connection next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// It has its turn when a socket is ready, or at that moment.
    Waits(Option<Moment>),
    /// It has its turn as soon as others have had theirs.
    MoreToDo,
    /// It ends.
    End(Ending),
}

/// How a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// Both ends have closed it, and know that of each other.
    Done,
    /// As if both ends had closed it.
    Closed,
    /// With a reset at both ends.
    Reset,
}

pub(super) struct Connection {
    client: Socket,
    server: Socket,
    /// Until the server has taken or refused it.
    connecting: bool,
    up: Flow,
    down: Flow,
    /// It closes once all that has passed is delivered, or at that moment.
    closing: Option<Moment>,
    /// When it is to have its turn.
    pub due: Option<Moment>,
}

impl Connection {
    pub fn new(client: Socket, server: Socket) -> Self {
        Connection {
            client,
            server,
            connecting: true,
            up: Flow::default(),
            down: Flow::default(),
            closing: None,
            due: None,
        }
    }

    pub fn flow(&mut self, stream: Stream) -> &mut Flow {
        match stream {
            Stream::Upstream => &mut self.up,
            Stream::Downstream => &mut self.down,
        }
    }

    /// Takes note of what a socket can do now; the error when the server has refused.
    pub fn note(&mut self, of_server: bool, flags: EpollFlags) -> std::io::Result<()> {
        let broken = flags.intersects(EpollFlags::EPOLLERR | EpollFlags::EPOLLHUP);
        let hung_up = broken || flags.contains(EpollFlags::EPOLLRDHUP);
        if self.connecting && of_server {
            if !broken && !flags.contains(EpollFlags::EPOLLOUT) {
                return Ok(());
            }
            if let Some(error) = self.server.take_error()? {
                return Err(error);
            }
            self.connecting = false;
        }
        let (sends, receives) = match of_server {
            true => (&mut self.down, &mut self.up),
            false => (&mut self.up, &mut self.down),
        };
        sends.readable |= hung_up || flags.contains(EpollFlags::EPOLLIN);
        sends.hung_up |= hung_up;
        receives.blocked &= !(broken || flags.contains(EpollFlags::EPOLLOUT));
        Ok(())
    }

    /// Does what can be done now.
    pub fn turn(&mut self, shared: &mut Shared, meter: &mut Meter<'_>) -> Next {
        if self.connecting {
            return Next::Waits(None);
        }
        if let Some(until) = self.closing {
            return self.close(until, shared);
        }
        let (client, server) = (self.client.as_raw_fd(), self.server.as_raw_fd());
        let up = self.up.turn((client, server), shared, meter);
        let down = match up {
            Ok(Turn::Waits(_) | Turn::MoreToDo) => self.down.turn((server, client), shared, meter),
            _ => Ok(Turn::Waits(None)),
        };
        // A receiver is gone: the sender is to hear of it.
        let (Ok(up), Ok(down)) = (up, down) else {
            return Next::End(Ending::Reset);
        };
        match (up, down) {
            (Turn::Reset, _) | (_, Turn::Reset) => Next::End(Ending::Reset),
            (Turn::Close, _) | (_, Turn::Close) => {
                let until = now().after(LINGER);
                self.closing = Some(until);
                self.close(until, shared)
            }
            (Turn::MoreToDo, _) | (_, Turn::MoreToDo) => Next::MoreToDo,
            (Turn::Waits(one), Turn::Waits(other)) => {
                match self.up.is_done() && self.down.is_done() {
                    true => Next::End(Ending::Done),
                    false => Next::Waits(one.into_iter().chain(other).min()),
                }
            }
        }
    }

    /// Delivers what has passed all toxics, and no more.
    fn close(&mut self, until: Moment, shared: &mut Shared) -> Next {
        let up = self.up.deliver(self.server.as_raw_fd(), shared);
        let down = self.down.deliver(self.client.as_raw_fd(), shared);
        match (up, down) {
            (Ok(up), Ok(down)) if !(up && down) && now() < until => Next::Waits(Some(until)),
            _ => Next::End(Ending::Closed),
        }
    }

    /// Ends it.
    pub fn end(self, how: Ending) {
        for socket in [&self.client, &self.server] {
            match how {
                Ending::Done => {}
                Ending::Closed => {
                    end(socket.as_raw_fd());
                    discard(socket.as_raw_fd());
                }
                // A refusal leaves an orderly end.
                Ending::Reset => drop(socket.set_linger(Some(StdDuration::ZERO))),
            }
        }
    }
}
