//! Has every program of a mount namespace ask the node's resolver, whatever the machine's
//! configuration says: files of our own lie over it there.

use std::fs;
use std::io;
use std::path::Path;

use nix::mount::{MsFlags, mount};

use super::{ADDRESS, Unresolved};

/// Which resolver is asked (resolv.conf(5)).
const RESOLVERS: &str = "/etc/resolv.conf";
/// Whether one is asked at all (nsswitch.conf(5)).
const SOURCES: &str = "/etc/nsswitch.conf";
/// The file of the machine's own names comes first everywhere.
const HOSTS_LINE: &str = "hosts: files dns";

/// Lays the files over those that are there. `folder` holds each for a moment: what is mounted stays
/// when its name is gone.
///
/// # Errors
/// [`Unresolved`], also where the machine has no configuration to lie over.
pub(super) fn place(folder: &Path) -> Result<(), Unresolved> {
    let text = format!("nameserver {ADDRESS}\n");
    lay_over(folder, RESOLVERS, &text).map_err(Unresolved::new(format!(
        "laying a file over {RESOLVERS} (make that file if there is none)"
    )))?;
    match fs::read_to_string(SOURCES) {
        Ok(text) => lay_over(folder, SOURCES, &asking_resolvers(&text))
            .map_err(Unresolved::new(format!("laying a file over {SOURCES}"))),
        // Without it resolvers are asked.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Unresolved::new(format!("reading {SOURCES}"))(error)),
    }
}

fn lay_over(folder: &Path, file: &str, text: &str) -> io::Result<()> {
    let name = format!("names-{}", std::process::id());
    let source = folder.join(name);
    fs::write(&source, text)?;
    let nothing = None::<&str>;
    let mounted = mount(Some(&source), file, nothing, MsFlags::MS_BIND, nothing);
    fs::remove_file(&source)?;
    Ok(mounted?)
}

/// The same, but hosts are looked up in files and at resolvers alone: no daemon answers instead.
fn asking_resolvers(text: &str) -> String {
    let others = text.lines().filter(|line| {
        let key = line.split(':').next().unwrap_or_default();
        key.trim() != "hosts"
    });
    let lines: Vec<&str> = others.chain([HOSTS_LINE, ""]).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_sources_stay_and_a_daemon_that_resolves_is_not_asked() {
        let text = "passwd: files systemd\nhosts: files resolve [!UNAVAIL=return] dns\n# end\n";
        let expected = "passwd: files systemd\n# end\nhosts: files dns\n";
        assert_eq!(asking_resolvers(text), expected);
    }
}
