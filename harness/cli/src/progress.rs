//! Progress on standard error: a bar on a terminal, plain lines elsewhere, nothing with `--quiet`.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use shakedown_run::{Progress, ProgressEvent};
