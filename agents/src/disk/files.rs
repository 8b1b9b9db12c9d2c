//! The files behind a disk: a folder of the machine, one handle for each file that the kernel knows.
//!
//! A file is held by a descriptor (`O_PATH`), not by its name, so that renames and links need no care.
//! Everything that changes bytes tells [`Unsynced`] first.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::errno::Errno;

use super::request::{SetAttributes, valid};
use super::unsynced::Unsynced;

/// The root's number, fixed by the protocol.
pub(super) const ROOT: u64 = 1;

/// All files that the kernel knows.
pub(super) struct Files {
    table: Mutex<Table>,
    /// Counts changes of bytes.
    changes: AtomicU64,
    /// Numbers syncs, so that the file that was synced last is known.
    syncs: AtomicU64,
}

struct Table {
    by_number: BTreeMap<u64, Entry>,
    by_identity: BTreeMap<(u64, u64), u64>,
    last_number: u64,
}

struct Entry {
    inode: Arc<Inode>,
    lookups: u64,
}

/// A file.
pub(super) struct Inode {
    path_only: OwnedFd,
    identity: (u64, u64),
    unsynced: Mutex<Unsynced>,
    /// Which of all syncs was its last; 0: none.
    synced_at: AtomicU64,
}

impl Files {
    /// The files below `root`, a descriptor of a folder.
    pub fn new(root: OwnedFd) -> io::Result<Self> {
        let inode = Inode::new(root)?;
        let identity = inode.identity;
        let entry = Entry {
            inode: Arc::new(inode),
            lookups: 1,
        };
        Ok(Files {
            table: Mutex::new(Table {
                by_number: BTreeMap::from([(ROOT, entry)]),
                by_identity: BTreeMap::from([(identity, ROOT)]),
                last_number: ROOT,
            }),
            changes: AtomicU64::new(0),
            syncs: AtomicU64::new(0),
        })
    }

    /// The file of that number.
    pub fn get(&self, number: u64) -> io::Result<Arc<Inode>> {
        let table = lock(&self.table);
        let entry = table.by_number.get(&number);
        entry
            .map(|entry| entry.inode.clone())
            .ok_or_else(|| Errno::ESTALE.into())
    }

    /// Finds a folder's entry, counts one more lookup of it; its number and status.
    pub fn look_up(&self, folder: &Inode, name: &CStr) -> io::Result<(u64, libc::stat)> {
        let flags = libc::O_PATH | libc::O_NOFOLLOW | libc::O_CLOEXEC;
        let found = Inode::new(open_at(folder.raw(), name, flags, 0)?)?;
        let status = found.status()?;
        let mut table = lock(&self.table);
        let number = match table.by_identity.get(&found.identity) {
            Some(number) => *number,
            None => {
                table.last_number += 1;
                let number = table.last_number;
                table.by_identity.insert(found.identity, number);
                let entry = Entry {
                    inode: Arc::new(found),
                    lookups: 0,
                };
                table.by_number.insert(number, entry);
                number
            }
        };
        if let Some(entry) = table.by_number.get_mut(&number) {
            entry.lookups += 1;
        }
        Ok((number, status))
    }

    /// The kernel forgets lookups. A file that it knows no more stays while something of it is not synced.
    pub fn forget(&self, number: u64, lookups: u64) {
        let mut table = lock(&self.table);
        let Some(entry) = table.by_number.get_mut(&number) else {
            return;
        };
        entry.lookups = entry.lookups.saturating_sub(lookups);
        let clean = lock(&entry.inode.unsynced).is_empty();
        if number != ROOT && entry.lookups == 0 && clean {
            let identity = entry.inode.identity;
            table.by_number.remove(&number);
            table.by_identity.remove(&identity);
        }
    }

    /// Writes at once; not durable.
    pub fn write(&self, inode: &Inode, handle: u64, offset: u64, data: &[u8]) -> io::Result<()> {
        let file = borrowed(handle)?;
        let mut unsynced = lock(&inode.unsynced);
        let number = self.changes.fetch_add(1, Ordering::SeqCst);
        unsynced.before_write(&file, number, offset, data.len() as u64)?;
        let written = file.write_all_at(data, offset);
        drop(unsynced);
        written
    }

    /// Makes the file `size` bytes long; not durable.
    fn resize(&self, inode: &Inode, size: u64) -> io::Result<()> {
        let file = inode.open(libc::O_RDWR)?;
        let mut unsynced = lock(&inode.unsynced);
        let number = self.changes.fetch_add(1, Ordering::SeqCst);
        unsynced.before_resize(&file, number, size)?;
        let set = file.set_len(size);
        if set.is_err() {
            unsynced.not_made();
        }
        set
    }

    /// Reserves room; only what does not change bytes.
    pub fn allocate(
        &self,
        inode: &Inode,
        handle: u64,
        offset: u64,
        length: u64,
        mode: i32,
    ) -> io::Result<()> {
        if mode & !libc::FALLOC_FL_KEEP_SIZE != 0 {
            return Err(Errno::EOPNOTSUPP.into());
        }
        let file = borrowed(handle)?;
        let mut unsynced = lock(&inode.unsynced);
        let size = file.metadata()?.len();
        let grows = mode == 0 && offset + length > size;
        if grows {
            let number = self.changes.fetch_add(1, Ordering::SeqCst);
            unsynced.before_resize(&file, number, offset + length)?;
        }
        let (offset, length) = (offset as libc::off_t, length as libc::off_t);
        // SAFETY: integers and a descriptor that `file` keeps open.
        let result = unsafe { libc::fallocate(file.as_raw_fd(), mode, offset, length) };
        let done = checked(result).map(drop);
        if done.is_err() && grows {
            unsynced.not_made();
        }
        done
    }

    /// Makes everything written before the call durable.
    pub fn sync(&self, inode: &Inode, handle: u64, data_only: bool) -> io::Result<()> {
        let file = borrowed(handle)?;
        let mark = self.changes.load(Ordering::SeqCst);
        match data_only {
            true => file.sync_data()?,
            false => file.sync_all()?,
        }
        lock(&inode.unsynced).synced(mark);
        let number = self.syncs.fetch_add(1, Ordering::SeqCst) + 1;
        inode.synced_at.store(number, Ordering::SeqCst);
        Ok(())
    }

    /// Takes back what is not synced of one file; how many bytes went.
    pub fn give_up(&self, inode: &Inode) -> io::Result<u64> {
        let mut unsynced = lock(&inode.unsynced);
        if unsynced.is_empty() {
            return Ok(0);
        }
        unsynced.take_back(&inode.open(libc::O_RDWR)?, 0)
    }

    /// Takes back what is not synced of all files, from the change on that `cut` draws of their number
    /// (all of it without one); that change is torn. The files' numbers, and how many bytes went.
    pub fn lose(
        &self,
        mut draw: impl FnMut(u64) -> u64,
        torn: bool,
    ) -> io::Result<(Vec<u64>, u64)> {
        let all = self.all();
        let numbers = |inode: &Inode| lock(&inode.unsynced).numbers().collect::<Vec<u64>>();
        let mut changes: Vec<u64> = all.iter().flat_map(|(_, inode)| numbers(inode)).collect();
        changes.sort_unstable();
        let first_lost = match torn && !changes.is_empty() {
            true => changes[draw(changes.len() as u64 - 1) as usize],
            false => 0,
        };
        let (mut files, mut bytes) = (Vec::new(), 0);
        for (number, inode) in all {
            let mut unsynced = lock(&inode.unsynced);
            if unsynced.numbers().all(|change| change < first_lost) {
                continue;
            }
            let file = inode.open(libc::O_RDWR)?;
            if torn && unsynced.numbers().any(|change| change == first_lost) {
                bytes += unsynced.take_back(&file, first_lost + 1)?;
                bytes += unsynced.tear(&file, &mut draw)?;
            } else {
                bytes += unsynced.take_back(&file, first_lost)?;
            }
            // What was written back by then is on the disk.
            unsynced.synced(u64::MAX);
            files.push(number);
        }
        Ok((files, bytes))
    }

    /// All files with their numbers, the one that was synced last first.
    pub fn all(&self) -> Vec<(u64, Arc<Inode>)> {
        let table = lock(&self.table);
        let entries = table.by_number.iter();
        let mut all: Vec<_> = entries
            .map(|(number, entry)| (*number, entry.inode.clone()))
            .collect();
        drop(table);
        all.sort_by_key(|(_, inode)| std::cmp::Reverse(inode.synced_at.load(Ordering::SeqCst)));
        all
    }

    /// The path of a file from the root, as the kernel knows it now.
    pub fn path(&self, inode: &Inode) -> io::Result<String> {
        let root = std::fs::read_link(self.get(ROOT)?.proc_path())?;
        let path = std::fs::read_link(inode.proc_path())?;
        let path = path.strip_prefix(&root).unwrap_or(&path);
        Ok(path.to_string_lossy().into_owned())
    }

    /// Sets what is to be set.
    pub fn set_attributes(&self, inode: &Inode, set: &SetAttributes) -> io::Result<()> {
        let path = CString::new(inode.proc_path())?;
        if set.valid & valid::MODE != 0 {
            // SAFETY: the path is a terminated string.
            checked(unsafe { libc::chmod(path.as_ptr(), set.mode & 0o7777) })?;
        }
        if set.valid & (valid::UID | valid::GID) != 0 {
            let keep = |bit, id: u32| if set.valid & bit != 0 { id } else { u32::MAX };
            let (uid, gid) = (keep(valid::UID, set.uid), keep(valid::GID, set.gid));
            inode.own(uid, gid)?;
        }
        if set.valid & valid::SIZE != 0 {
            self.resize(inode, set.size)?;
        }
        if set.valid & (valid::ATIME | valid::MTIME) != 0 {
            let time = |bit, now_bit, (seconds, nanos): (i64, u32)| libc::timespec {
                tv_sec: seconds,
                tv_nsec: match (set.valid & bit != 0, set.valid & now_bit != 0) {
                    (false, _) => libc::UTIME_OMIT,
                    (true, true) => libc::UTIME_NOW,
                    (true, false) => i64::from(nanos),
                },
            };
            let times = [
                time(valid::ATIME, valid::ATIME_NOW, set.accessed),
                time(valid::MTIME, valid::MTIME_NOW, set.modified),
            ];
            // SAFETY: the path is a terminated string, the times are two.
            checked(unsafe { libc::utimensat(libc::AT_FDCWD, path.as_ptr(), times.as_ptr(), 0) })?;
        }
        Ok(())
    }
}

impl Inode {
    fn new(path_only: OwnedFd) -> io::Result<Self> {
        let mut inode = Inode {
            path_only,
            identity: (0, 0),
            unsynced: Mutex::default(),
            synced_at: AtomicU64::new(0),
        };
        let status = inode.status()?;
        inode.identity = (status.st_dev, status.st_ino);
        Ok(inode)
    }

    /// For calls that take a descriptor of a folder.
    pub fn raw(&self) -> RawFd {
        self.path_only.as_raw_fd()
    }

    /// Whether it was ever synced.
    pub fn was_synced(&self) -> bool {
        self.synced_at.load(Ordering::SeqCst) > 0
    }

    /// Whether all of it is synced.
    pub fn is_clean(&self) -> bool {
        lock(&self.unsynced).is_empty()
    }

    /// A path that leads to this very file, whatever its name is now.
    pub fn proc_path(&self) -> String {
        format!("/proc/self/fd/{}", self.raw())
    }

    /// Opens it. The kernel says where to write, so `O_APPEND` would only be in the way; what is there
    /// must be read before it is written over; and the machine's disk may not want `O_DIRECT`'s alignment.
    pub fn open(&self, flags: i32) -> io::Result<File> {
        let mut flags = flags & !(libc::O_NOFOLLOW | libc::O_APPEND | libc::O_DIRECT);
        if flags & libc::O_ACCMODE == libc::O_WRONLY {
            flags = (flags & !libc::O_ACCMODE) | libc::O_RDWR;
        }
        let path = CString::new(self.proc_path())?;
        let flags = flags | libc::O_CLOEXEC;
        Ok(File::from(open_at(libc::AT_FDCWD, &path, flags, 0)?))
    }

    /// Its attributes.
    pub fn status(&self) -> io::Result<libc::stat> {
        // SAFETY: all zeros is a valid `stat`, which the call fills.
        unsafe {
            let mut status = std::mem::zeroed();
            let (name, flags) = (
                c"".as_ptr(),
                libc::AT_EMPTY_PATH | libc::AT_SYMLINK_NOFOLLOW,
            );
            checked(libc::fstatat(self.raw(), name, &raw mut status, flags))?;
            Ok(status)
        }
    }

    /// Gives it to somebody.
    pub fn own(&self, uid: u32, gid: u32) -> io::Result<()> {
        let flags = libc::AT_EMPTY_PATH | libc::AT_SYMLINK_NOFOLLOW;
        // SAFETY: an empty, terminated name.
        checked(unsafe { libc::fchownat(self.raw(), c"".as_ptr(), uid, gid, flags) }).map(drop)
    }
}

/// The open file that the kernel knows by that handle: its descriptor, which is open until the
/// kernel releases it.
pub(super) fn borrowed(handle: u64) -> io::Result<std::mem::ManuallyDrop<File>> {
    let raw = RawFd::try_from(handle).map_err(|_| Errno::EBADF)?;
    if raw < 0 {
        return Err(Errno::EBADF.into());
    }
    // SAFETY: never dropped, so it closes nothing; the kernel releases a handle after its last use.
    Ok(std::mem::ManuallyDrop::new(unsafe {
        File::from_raw_fd(raw)
    }))
}

/// Opens a file by its name in a folder.
pub(super) fn open_at(folder: RawFd, name: &CStr, flags: i32, mode: u32) -> io::Result<OwnedFd> {
    // SAFETY: the name is terminated; the descriptor is checked before it is owned.
    unsafe {
        let raw = checked(libc::openat(folder, name.as_ptr(), flags, mode))?;
        Ok(OwnedFd::from_raw_fd(raw))
    }
}

/// A call's result, or why it failed.
pub(super) fn checked(result: i32) -> io::Result<i32> {
    match result {
        -1 => Err(io::Error::last_os_error()),
        result => Ok(result),
    }
}

/// A panic elsewhere leaves the table as whole as any other moment does.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Entries of an opened folder from the position `offset` on, as long as `take` takes them: inode,
/// next position, kind, name.
pub(super) fn read_directory(
    handle: u64,
    offset: u64,
    mut take: impl FnMut(u64, u64, u8, &[u8]) -> bool,
) -> io::Result<()> {
    let file = borrowed(handle)?;
    let raw = file.as_raw_fd();
    // SAFETY: the descriptor is open.
    if unsafe { libc::lseek(raw, offset as libc::off_t, libc::SEEK_SET) } < 0 {
        return Err(io::Error::last_os_error());
    }
    let mut buffer = [0_u8; 1 << 13];
    loop {
        let size = buffer.len();
        // SAFETY: the buffer is as long as is said.
        let read = unsafe { libc::syscall(libc::SYS_getdents64, raw, buffer.as_mut_ptr(), size) };
        if read < 0 {
            return Err(io::Error::last_os_error());
        }
        let mut entries = &buffer[..read as usize];
        if entries.is_empty() {
            return Ok(());
        }
        // Each is: inode, next position, length, kind, name (getdents(2)).
        while let Some((head, _)) = entries.split_first_chunk::<19>() {
            let number = |at: usize| head[at..at + 8].try_into().map_or(0, u64::from_ne_bytes);
            let length = usize::from(u16::from_ne_bytes([head[16], head[17]]));
            let name = CStr::from_bytes_until_nul(&entries[19..length]).unwrap_or_default();
            if !take(number(0), number(8), head[18], name.to_bytes()) {
                return Ok(());
            }
            entries = &entries[length..];
        }
    }
}

/// A descriptor for calls that want one of a type.
pub(super) fn as_fd(inode: &Inode) -> BorrowedFd<'_> {
    use std::os::fd::AsFd;
    inode.path_only.as_fd()
}
