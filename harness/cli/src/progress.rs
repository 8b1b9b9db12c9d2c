//! Progress on standard error: a bar on a terminal, plain lines elsewhere, nothing with `--quiet`.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use shakedown_contracts::event::Phase;
use shakedown_run::progress::Silent;
use shakedown_run::{Progress, ProgressEvent, TrialEnd};

/// How often the bar's clock moves while nothing happens.
const TICK: Duration = Duration::from_millis(200);

/// The kind of progress that suits standard error.
pub fn on_stderr(quiet: bool) -> Box<dyn Progress> {
    if quiet {
        Box::new(Silent)
    } else if std::io::stderr().is_terminal() {
        Box::new(Bar::new())
    } else {
        Box::new(Lines::default())
    }
}

fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::WarmUp => "warm-up",
        Phase::Fault => "fault phase",
        Phase::Settle => "settling",
        Phase::FinalReads => "final reads",
        Phase::End => "done",
    }
}

/// One bar over all trials, with what is happening beside it.
struct Bar {
    bar: ProgressBar,
    trial: String,
}

impl Bar {
    fn new() -> Self {
        let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template(
            "{bar:24.cyan/blue} {pos}/{len} trials  {elapsed} of about {prefix}  {wide_msg}",
        );
        bar.set_style(style.expect("the template is a constant that was tried"));
        bar.enable_steady_tick(TICK);
        Bar {
            bar,
            trial: String::new(),
        }
    }

    fn say(&self, what: &str) {
        self.bar.set_message(format!("{}  {what}", self.trial));
    }
}

impl Progress for Bar {
    fn event(&mut self, event: ProgressEvent) {
        match event {
            ProgressEvent::RunStarted { trials, estimate } => {
                self.bar.set_length(u64::from(trials));
                self.bar
                    .set_prefix(format!("{:.0}s", estimate.as_secs_f64()));
            }
            ProgressEvent::TrialStarted {
                experiment,
                trial,
                of,
            } => {
                self.trial = format!("{experiment} {trial}/{of}");
                self.say("starting");
            }
            ProgressEvent::PhaseStarted { phase, .. } => self.say(phase_name(phase)),
            ProgressEvent::FaultEffective { fault, nodes } => {
                self.say(&format!("{fault} on {}", nodes.join(", ")));
            }
            ProgressEvent::FaultHealed { fault } => self.say(&format!("{fault} healed")),
            ProgressEvent::FaultUnverified { fault, reason } => {
                self.bar
                    .println(format!("{}: {fault} not verified: {reason}", self.trial));
            }
            ProgressEvent::TrialEnded { end } => {
                if let Some(trouble) = trouble(&end) {
                    self.bar.println(format!("{}: {trouble}", self.trial));
                }
                if !matches!(end, TrialEnd::Void(_)) {
                    self.bar.inc(1);
                }
            }
            ProgressEvent::Warning { message } => self.bar.println(message),
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// What is to be said of a trial that did not go through as planned.
fn trouble(end: &TrialEnd) -> Option<String> {
    match end {
        TrialEnd::Complete => None,
        TrialEnd::Void(reason) => Some(format!("void, to be repeated: {reason}")),
        TrialEnd::Aborted(reason) => Some(format!("broke off: {reason}")),
        TrialEnd::Interrupted => Some("stopped".to_owned()),
    }
}

/// With more trials than this, only each tenth of them has a line, and what went wrong.
const TRIALS_TOLD_MAX: u32 = 100;

/// One line for each step worth reading in a log.
#[derive(Default)]
struct Lines {
    trials: u32,
    done: u32,
    trial: String,
}

impl Lines {
    fn say(&self, what: &str) {
        anstream::eprintln!("[{}/{}] {} {what}", self.done + 1, self.trials, self.trial);
    }

    fn say_if_few(&self, what: &str) {
        if self.trials <= TRIALS_TOLD_MAX {
            self.say(what);
        }
    }

    fn ended(&mut self, end: &TrialEnd) {
        match trouble(end) {
            Some(trouble) => self.say(&trouble),
            None if (self.done + 1).is_multiple_of(self.trials.div_ceil(10)) => self.say("done"),
            None => self.say_if_few("done"),
        }
        if !matches!(end, TrialEnd::Void(_)) {
            self.done += 1;
        }
    }
}

impl Progress for Lines {
    fn event(&mut self, event: ProgressEvent) {
        match event {
            ProgressEvent::RunStarted { trials, estimate } => {
                self.trials = trials;
                let seconds = estimate.as_secs_f64();
                let plural = if trials == 1 { "" } else { "s" };
                anstream::eprintln!("{trials} trial{plural}, about {seconds:.0} s");
            }
            ProgressEvent::TrialStarted {
                experiment,
                trial,
                of,
            } => {
                self.trial = format!("{experiment} {trial}/{of}:");
            }
            ProgressEvent::PhaseStarted { .. } => {}
            ProgressEvent::FaultEffective { fault, nodes } => {
                self.say_if_few(&format!("{fault} in effect on {}", nodes.join(", ")));
            }
            ProgressEvent::FaultHealed { fault } => {
                self.say_if_few(&format!("{fault} healed"));
            }
            ProgressEvent::FaultUnverified { fault, reason } => {
                self.say(&format!("{fault} not verified: {reason}"));
            }
            ProgressEvent::TrialEnded { end } => self.ended(&end),
            ProgressEvent::Warning { message } => anstream::eprintln!("warning: {message}"),
        }
    }
}
