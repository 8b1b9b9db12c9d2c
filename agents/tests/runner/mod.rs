//! Runs tests one after the other, since they measure time, as root of some user namespace.

use std::panic::catch_unwind;
use std::process::{Command, ExitCode};

/// Its name and its body.
pub type Test = (&'static str, fn());

/// Runs those whose name contains the first plain argument.
///
/// Where the kernel gives no namespaces they fail, unless `SHAKEDOWN_NO_NAMESPACES=1` says that
/// this is known.
pub fn run<'t>(tests: impl IntoIterator<Item = &'t Test>) -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--list") {
        return ExitCode::SUCCESS;
    }
    if std::env::var("SHAKEDOWN_NO_NAMESPACES").is_ok_and(|value| value == "1") {
        println!("skipped: SHAKEDOWN_NO_NAMESPACES=1 says that this machine gives no namespaces");
        return ExitCode::SUCCESS;
    }
    if !nix::unistd::geteuid().is_root() {
        return as_root_of_a_user_namespace(&arguments);
    }
    let filter = arguments.iter().find(|argument| !argument.starts_with('-'));
    let mut failed = 0;
    for (name, test) in tests {
        if filter.is_some_and(|filter| !name.contains(filter.as_str())) {
            continue;
        }
        let passed = catch_unwind(test).is_ok();
        println!("test {name} ... {}", if passed { "ok" } else { "FAILED" });
        failed += u32::from(!passed);
    }
    println!("{failed} failed");
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// The same again, where this process is root.
fn as_root_of_a_user_namespace(arguments: &[String]) -> ExitCode {
    let this = std::env::current_exe().unwrap();
    let mut again = Command::new("unshare");
    again.arg("-Urnm").arg(this).args(arguments);
    match again.status() {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            println!(
                "these tests make namespaces, and unshare (util-linux) is needed for that without root: {error}"
            );
            ExitCode::FAILURE
        }
    }
}
