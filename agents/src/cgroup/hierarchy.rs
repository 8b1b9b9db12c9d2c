//! Where a controller is on this machine: a hierarchy of version 1, as on old ones, or the one of version 2.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Controllers that groups below may have.
const HANDED_DOWN: &str = "cgroup.subtree_control";

/// Which files a group has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// A hierarchy a controller.
    V1,
    /// One for all.
    V2,
}

/// The hierarchy that has a controller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchy {
    /// Which files its groups have.
    pub version: Version,
    /// Groups of ours are made in this directory.
    pub base: PathBuf,
    mount: Mount,
    controller: String,
}

/// A line of `/proc/self/mountinfo`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mount {
    /// What of the hierarchy is mounted, and where.
    root: String,
    point: PathBuf,
}

impl Hierarchy {
    /// The one with that controller.
    ///
    /// # Errors
    /// Why there is none, and what to do.
    pub fn find(controller: &str) -> Result<Self, String> {
        let read =
            |path: &str| fs::read_to_string(path).map_err(|error| format!("{path}: {error}"));
        let handed_down = |base: &Path| {
            let handed = fs::read_to_string(base.join(HANDED_DOWN)).unwrap_or_default();
            handed.split_whitespace().any(|one| one == controller)
        };
        let (mounts, groups) = (read("/proc/self/mountinfo")?, read("/proc/self/cgroup")?);
        Hierarchy::find_in(controller, &mounts, &groups, handed_down)
    }

    fn find_in(
        controller: &str,
        mounts: &str,
        groups: &str,
        handed_down: impl FnOnce(&Path) -> bool,
    ) -> Result<Self, String> {
        let (version, mount, base) = match mount_of(mounts, "cgroup", Some(controller)) {
            Some(mount) => {
                let own = group_in(groups, Some(controller)).unwrap_or("/");
                let base = mount.path_of(own);
                (Version::V1, mount, base)
            }
            None => {
                let mount = mount_of(mounts, "cgroup2", None).ok_or_else(|| {
                    format!("no cgroup hierarchy with the controller {controller} is mounted")
                })?;
                // A group that holds processes can hand no controller down; the topmost one can.
                let base = mount.point.clone();
                (Version::V2, mount, base)
            }
        };
        if version == Version::V2 && !handed_down(&base) {
            let file = base.join(HANDED_DOWN);
            return Err(format!(
                "the controller {controller} is not handed down; as root: `echo +{controller} > {}`",
                file.display()
            ));
        }
        Ok(Hierarchy {
            version,
            base,
            mount,
            controller: controller.to_owned(),
        })
    }

    /// The directory of the group in which a process is.
    ///
    /// # Errors
    /// When it is gone.
    pub fn group_of(&self, pid: i32) -> io::Result<PathBuf> {
        let groups = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
        let controller = match self.version {
            Version::V1 => Some(self.controller.as_str()),
            Version::V2 => None,
        };
        let group = group_in(&groups, controller).ok_or(io::ErrorKind::NotFound)?;
        Ok(self.mount.path_of(group))
    }
}

impl Mount {
    fn path_of(&self, group: &str) -> PathBuf {
        let below = group.strip_prefix(&self.root).filter(|_| self.root != "/");
        self.point
            .join(below.unwrap_or(group).trim_start_matches('/'))
    }
}

/// The mount of that type, with that option (a controller) where one is asked for.
fn mount_of(mounts: &str, kind: &str, option: Option<&str>) -> Option<Mount> {
    // 36 35 98:0 /root /point rw,... optional... - type source options
    mounts.lines().find_map(|line| {
        let (place, what) = line.split_once(" - ")?;
        let mut what = what.split(' ');
        let (found, options) = (what.next()?, what.nth(1)?);
        let has = |option: &str| options.split(',').any(|one| one == option);
        if found != kind || !option.is_none_or(has) {
            return None;
        }
        let mut place = place.split(' ').skip(3);
        let (root, point) = (place.next()?, place.next()?);
        Some(Mount {
            root: root.to_owned(),
            point: Path::new(point).to_owned(),
        })
    })
}

/// The group in the lines of a process's `/proc/<pid>/cgroup`.
fn group_in<'a>(groups: &'a str, controller: Option<&str>) -> Option<&'a str> {
    groups.lines().find_map(|line| {
        let (number, rest) = line.split_once(':')?;
        let (controllers, group) = rest.split_once(':')?;
        let fits = match controller {
            Some(controller) => controllers.split(',').any(|one| one == controller),
            None => number == "0" && controllers.is_empty(),
        };
        fits.then_some(group)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "\
30 29 0:26 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid - cgroup cgroup rw,cpu,cpuacct
31 29 0:27 /docker/1 /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
32 29 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate";

    #[test]
    fn a_controller_is_found_by_its_hierarchys_options() {
        let mount = mount_of(OLD, "cgroup", Some("cpu")).unwrap();
        assert_eq!(mount.point, Path::new("/sys/fs/cgroup/cpu,cpuacct"));
        assert_eq!(mount_of(OLD, "cgroup", Some("pids")), None);
        let unified = mount_of(OLD, "cgroup2", None).unwrap();
        assert_eq!(
            unified.path_of("/a/b"),
            Path::new("/sys/fs/cgroup/unified/a/b")
        );
    }

    #[test]
    fn one_hierarchy_for_all_is_used_where_its_top_hands_the_controller_down() {
        const NEW: &str = "29 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate";
        let groups = "0::/user.slice/user-0.slice\n";
        let found = Hierarchy::find_in("memory", NEW, groups, |_| true).unwrap();
        assert_eq!(found.version, Version::V2);
        assert_eq!(found.base, Path::new("/sys/fs/cgroup"));
        let refused = Hierarchy::find_in("memory", NEW, groups, |_| false).unwrap_err();
        let hint = "`echo +memory > /sys/fs/cgroup/cgroup.subtree_control`";
        assert!(refused.contains(hint), "{refused}");
        let old = Hierarchy::find_in("memory", OLD, "5:memory:/docker/1\n", |_| false).unwrap();
        assert_eq!(old.version, Version::V1);
        assert_eq!(old.base, Path::new("/sys/fs/cgroup/memory"));
        assert!(Hierarchy::find_in("memory", "", groups, |_| true).is_err());
    }

    #[test]
    fn a_group_lies_below_what_of_the_hierarchy_is_mounted() {
        let mount = mount_of(OLD, "cgroup", Some("memory")).unwrap();
        let groups = "5:memory:/docker/1/inner\n3:cpu,cpuacct:/\n0::/unified\n";
        let group = group_in(groups, Some("memory")).unwrap();
        assert_eq!(
            mount.path_of(group),
            Path::new("/sys/fs/cgroup/memory/inner")
        );
        assert_eq!(
            mount.path_of("/docker/1"),
            Path::new("/sys/fs/cgroup/memory")
        );
        assert_eq!(group_in(groups, Some("cpu")), Some("/"));
        assert_eq!(group_in(groups, None), Some("/unified"));
        assert_eq!(group_in(groups, Some("pids")), None);
    }
}
