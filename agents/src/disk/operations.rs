//! Carries requests out on the files behind the disk and builds the answers.

use std::ffi::CStr;
use std::io;
use std::os::fd::IntoRawFd;
use std::os::unix::fs::FileExt;

use nix::errno::Errno;

use super::answer::Answer;
use super::files::{Files, Inode, borrowed, checked, open_at, read_directory};
use super::request::{Call, Request, forgotten};

/// How long the kernel may keep names and attributes: nobody else changes the files.
const KEPT_SECONDS: u64 = 3600;
/// The agent's probes begin with this; folders do not show them.
pub(super) const PROBE_NAME: &str = ".shakedown-probe";
/// Reads of such a file go to the server each time.
const DIRECT_IO: u32 = 1;

/// Whether a file of that name is the agent's.
pub(super) fn is_probe(name: &[u8]) -> bool {
    name.starts_with(PROBE_NAME.as_bytes())
}

/// Carries the request out; `None` for those that are not answered. A full disk says so.
pub(super) fn carry_out(files: &Files, request: &Request, is_full: bool) -> Option<Answer> {
    let Some(call) = request.call() else {
        return Some(Answer::error(request.unique, libc::EINVAL));
    };
    match call {
        Call::Forget { lookups } => {
            files.forget(request.node, lookups);
            return None;
        }
        Call::ForgetMany { pairs } => {
            for (node, lookups) in forgotten(pairs) {
                files.forget(node, lookups);
            }
            return None;
        }
        Call::Interrupt { .. } | Call::Destroy => return None,
        _ => {}
    }
    let mut answer = Answer::to(request.unique);
    let answered = match files.get(request.node) {
        Ok(inode) => answer_call(files, request, &inode, call, is_full, &mut answer),
        // Calls about no file carry the number 0.
        Err(_) if matches!(call, Call::Init { .. }) => init(request, call, &mut answer),
        Err(error) => Err(error),
    };
    Some(match answered {
        Ok(()) => answer,
        Err(error) => Answer::error(request.unique, error.raw_os_error().unwrap_or(libc::EIO)),
    })
}

fn init(request: &Request, call: Call<'_>, answer: &mut Answer) -> io::Result<()> {
    if let Call::Init { readahead, flags } = call {
        *answer = Answer::init(request.unique, readahead, flags);
    }
    Ok(())
}

fn answer_call(
    files: &Files,
    request: &Request,
    inode: &Inode,
    call: Call<'_>,
    is_full: bool,
    answer: &mut Answer,
) -> io::Result<()> {
    match call {
        Call::Lookup { name } => entry(files, inode, name, answer)?,
        Call::GetAttributes => {
            answer.lone_attributes(KEPT_SECONDS, &inode.status()?);
        }
        Call::SetAttributes(set) => {
            files.set_attributes(inode, &set)?;
            answer.lone_attributes(KEPT_SECONDS, &inode.status()?);
        }
        Call::ReadLink => {
            let target = nix::fcntl::readlinkat(super::files::as_fd(inode), c"")?;
            answer.bytes(target.as_encoded_bytes());
        }
        Call::SymbolicLink { name, target } => {
            // SAFETY: both are terminated, the descriptor is open.
            let made = unsafe { libc::symlinkat(target.as_ptr(), inode.raw(), name.as_ptr()) };
            made_entry(files, request, inode, name, checked(made), answer)?;
        }
        Call::MakeNode { mode, device, name } => {
            // SAFETY: the name is terminated, the descriptor is open.
            let made = unsafe { libc::mknodat(inode.raw(), name.as_ptr(), mode, device.into()) };
            made_entry(files, request, inode, name, checked(made), answer)?;
        }
        Call::MakeDirectory { mode, name } => {
            // SAFETY: as above.
            let made = unsafe { libc::mkdirat(inode.raw(), name.as_ptr(), mode) };
            made_entry(files, request, inode, name, checked(made), answer)?;
        }
        Call::Link { of, name } => {
            let of = std::ffi::CString::new(files.get(of)?.proc_path())?;
            let (here, follow) = (libc::AT_FDCWD, libc::AT_SYMLINK_FOLLOW);
            // SAFETY: both are terminated, the descriptor is open.
            let made =
                unsafe { libc::linkat(here, of.as_ptr(), inode.raw(), name.as_ptr(), follow) };
            checked(made)?;
            entry(files, inode, name, answer)?;
        }
        // SAFETY: the name is terminated, the descriptor is open.
        Call::Unlink { name } => unlink(unsafe { libc::unlinkat(inode.raw(), name.as_ptr(), 0) })?,
        Call::RemoveDirectory { name } => {
            let flag = libc::AT_REMOVEDIR;
            // SAFETY: as above.
            unlink(unsafe { libc::unlinkat(inode.raw(), name.as_ptr(), flag) })?;
        }
        Call::Rename {
            name,
            to,
            new_name,
            flags,
        } => {
            let to = files.get(to)?;
            let (from, to) = (inode.raw(), to.raw());
            let (name, new_name) = (name.as_ptr(), new_name.as_ptr());
            // SAFETY: both names are terminated, both descriptors are open.
            let renamed =
                unsafe { libc::syscall(libc::SYS_renameat2, from, name, to, new_name, flags) };
            checked(renamed as i32)?;
        }
        Call::Open { flags } => {
            let file = inode.open(flags & !(libc::O_CREAT | libc::O_EXCL))?;
            let mode = open_mode(files, inode);
            answer.handle(file.into_raw_fd() as u64, mode);
        }
        Call::OpenDirectory => {
            let folder = inode.open(libc::O_RDONLY | libc::O_DIRECTORY)?;
            answer.handle(folder.into_raw_fd() as u64, 0);
        }
        Call::Create { flags, mode, name } => {
            let flags = flags & !(libc::O_APPEND | libc::O_DIRECT | libc::O_TRUNC);
            let flags = flags | libc::O_CREAT | libc::O_CLOEXEC | libc::O_NOFOLLOW;
            let made = open_at(inode.raw(), name, flags, mode).map(|_| 0);
            made_entry(files, request, inode, name, made, answer)?;
            // Opened again, as it must be readable.
            let (number, _) = files.look_up(inode, name)?;
            files.forget(number, 1);
            let file = files
                .get(number)?
                .open(flags & !(libc::O_CREAT | libc::O_EXCL))?;
            let mode = if is_probe(name.to_bytes()) {
                DIRECT_IO
            } else {
                0
            };
            answer.handle(file.into_raw_fd() as u64, mode);
        }
        Call::Read {
            handle,
            offset,
            size,
        } => {
            let mut bytes = vec![0; size as usize];
            let file = borrowed(handle)?;
            let mut read = 0;
            while read < bytes.len() {
                match file.read_at(&mut bytes[read..], offset + read as u64)? {
                    0 => break,
                    more => read += more,
                }
            }
            answer.bytes(&bytes[..read]);
        }
        Call::Write {
            handle,
            offset,
            data,
        } => {
            files.write(inode, handle, offset, data)?;
            answer.u32(data.len() as u32).u32(0);
        }
        Call::Sync { handle, data_only } => files.sync(inode, handle, data_only)?,
        Call::SyncDirectory { handle } => borrowed(handle)?.sync_all()?,
        Call::Allocate {
            handle,
            offset,
            length,
            mode,
        } => files.allocate(inode, handle, offset, length, mode)?,
        Call::Release { handle } | Call::ReleaseDirectory { handle } => {
            drop(std::mem::ManuallyDrop::into_inner(borrowed(handle)?));
        }
        Call::ReadDirectory {
            handle,
            offset,
            size,
        } => read_directory(handle, offset, |node, next, kind, name| {
            is_probe(name) || answer.directory_entry(size as usize, node, next, kind, name)
        })?,
        Call::Statistics => statistics(inode, is_full, answer)?,
        _ => return Err(Errno::ENOSYS.into()),
    }
    Ok(())
}

fn unlink(result: i32) -> io::Result<()> {
    checked(result).map(drop)
}

/// Every process of the node reads a probe's bytes from the server, not from its page cache.
fn open_mode(files: &Files, inode: &Inode) -> u32 {
    let path = files.path(inode).unwrap_or_default();
    match is_probe(path.as_bytes()) {
        true => DIRECT_IO,
        false => 0,
    }
}

fn entry(files: &Files, folder: &Inode, name: &CStr, answer: &mut Answer) -> io::Result<()> {
    let (number, status) = files.look_up(folder, name)?;
    answer.entry(number, KEPT_SECONDS, &status);
    Ok(())
}

/// What was made belongs to who asked for it.
fn made_entry(
    files: &Files,
    request: &Request,
    folder: &Inode,
    name: &CStr,
    made: io::Result<i32>,
    answer: &mut Answer,
) -> io::Result<()> {
    made?;
    let (number, mut status) = files.look_up(folder, name)?;
    if (status.st_uid, status.st_gid) != (request.uid, request.gid) {
        let inode = files.get(number)?;
        // Refused to who is not root: then all files are the agent's user's anyway.
        let _owned = inode.own(request.uid, request.gid);
        status = inode.status()?;
    }
    answer.entry(number, KEPT_SECONDS, &status);
    Ok(())
}

fn statistics(inode: &Inode, is_full: bool, answer: &mut Answer) -> io::Result<()> {
    let of = nix::sys::statvfs::fstatvfs(super::files::as_fd(inode))?;
    let (free, available) = match is_full {
        true => (0, 0),
        false => (of.blocks_free(), of.blocks_available()),
    };
    answer.u64(of.blocks()).u64(free).u64(available);
    answer.u64(of.files()).u64(of.files_free());
    answer.u32(of.block_size() as u32).u32(of.name_max() as u32);
    answer.u32(of.fragment_size() as u32).u32(0);
    answer.bytes(&[0; 24]);
    Ok(())
}
