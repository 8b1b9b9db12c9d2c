//! The best scheduling priority that the kernel gives a thread.
//!
//! The agent's accuracy is its priority: with the CPUs busy, a normal thread is late by
//! milliseconds, a real-time one by a tenth of one.

use std::fmt;

/// What the kernel gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Priority {
    /// Real-time; in a user namespace of one's own it is refused.
    Fifo,
    /// The best of the usual ones.
    Nice,
    /// As any thread.
    Normal,
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Priority::Fifo => "SCHED_FIFO",
            Priority::Nice => "nice -20",
            Priority::Normal => "normal priority",
        })
    }
}

/// Takes it for the calling thread and for those it starts; waits become exact too.
pub fn take_priority(fifo_priority: i32) -> Priority {
    let parameters = libc::sched_param {
        sched_priority: fifo_priority,
    };
    // SAFETY: prctl with PR_SET_TIMERSLACK takes a number and no pointer.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1_u64, 0, 0, 0) };
    // SAFETY: 0 is the calling thread, and the parameters live over the call.
    if unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &parameters) } == 0 {
        return Priority::Fifo;
    }
    // SAFETY: setpriority takes numbers and no pointer; 0 is the calling thread.
    if unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, -20) } == 0 {
        return Priority::Nice;
    }
    Priority::Normal
}
