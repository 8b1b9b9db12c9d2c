//! What a FUSE server answers, and what it tells the kernel by itself: one write to `/dev/fuse` each. Layouts as in
//! `request`.

use super::request::WRITE_BYTES_MAX;

/// The version whose layouts stand here.
const MAJOR: u32 = 7;
const MINOR: u32 = 31;
/// What of the kernel's offers is taken.
const ASYNC_READ: u32 = 1 << 0;
const BIG_WRITES: u32 = 1 << 5;
const PARALLEL_DIRECTORIES: u32 = 1 << 18;
const MAX_PAGES: u32 = 1 << 22;

/// An answer or a notice under construction.
#[derive(Debug)]
pub(super) struct Answer(Vec<u8>);

impl Answer {
    /// An answer to the request of that number.
    pub fn to(unique: u64) -> Self {
        let mut answer = Answer(Vec::with_capacity(160));
        answer.u32(0).u32(0).u64(unique);
        answer
    }

    /// It failed with that error number.
    pub fn error(unique: u64, errno: i32) -> Self {
        let mut answer = Answer::to(unique);
        answer.0[4..8].copy_from_slice(&(-errno).to_ne_bytes());
        answer
    }

    /// What the kernel has of the file's bytes and attributes is out of date.
    pub fn stale(node: u64) -> Self {
        const INVALIDATE_INODE: i32 = 2;
        let mut notice = Answer::error(0, -INVALIDATE_INODE);
        notice.u64(node).u64(0).u64(0);
        notice
    }

    /// The session is opened.
    pub fn init(unique: u64, readahead: u32, offered: u32) -> Self {
        let wanted = ASYNC_READ | BIG_WRITES | PARALLEL_DIRECTORIES | MAX_PAGES;
        let pages = WRITE_BYTES_MAX / 4096;
        let mut answer = Answer::to(unique);
        answer.u32(MAJOR).u32(MINOR).u32(readahead);
        answer.u32(offered & wanted);
        answer.u16(64).u16(48);
        answer.u32(WRITE_BYTES_MAX).u32(1);
        answer.u16(pages as u16).u16(0);
        answer.bytes(&[0; 32]);
        answer
    }

    pub fn u16(&mut self, value: u16) -> &mut Self {
        self.bytes(&value.to_ne_bytes())
    }

    pub fn u32(&mut self, value: u32) -> &mut Self {
        self.bytes(&value.to_ne_bytes())
    }

    pub fn u64(&mut self, value: u64) -> &mut Self {
        self.bytes(&value.to_ne_bytes())
    }

    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// A file's number and attributes; the kernel may keep both for `seconds`.
    pub fn entry(&mut self, node: u64, seconds: u64, status: &libc::stat) -> &mut Self {
        self.u64(node).u64(0).u64(seconds).u64(seconds);
        self.u32(0).u32(0).attributes(status)
    }

    /// Attributes alone.
    pub fn lone_attributes(&mut self, seconds: u64, status: &libc::stat) -> &mut Self {
        self.u64(seconds).u32(0).u32(0).attributes(status)
    }

    fn attributes(&mut self, status: &libc::stat) -> &mut Self {
        self.u64(status.st_ino).u64(status.st_size as u64);
        self.u64(status.st_blocks as u64);
        for seconds in [status.st_atime, status.st_mtime, status.st_ctime] {
            self.u64(seconds as u64);
        }
        for nanos in [
            status.st_atime_nsec,
            status.st_mtime_nsec,
            status.st_ctime_nsec,
        ] {
            self.u32(nanos as u32);
        }
        self.u32(status.st_mode).u32(status.st_nlink as u32);
        self.u32(status.st_uid).u32(status.st_gid);
        self.u32(status.st_rdev as u32)
            .u32(status.st_blksize as u32);
        self.u32(0)
    }

    /// An opened file.
    pub fn handle(&mut self, handle: u64, open_flags: u32) -> &mut Self {
        self.u64(handle).u32(open_flags).u32(0)
    }

    /// An entry of a folder, if there is room for it in `size` bytes of entries.
    pub fn directory_entry(
        &mut self,
        size: usize,
        inode: u64,
        next: u64,
        kind: u8,
        name: &[u8],
    ) -> bool {
        const OUT_HEADER_BYTES: usize = 16;
        let length = (24 + name.len()).next_multiple_of(8);
        if self.0.len() - OUT_HEADER_BYTES + length > size {
            return false;
        }
        let end = self.0.len() + length;
        self.u64(inode).u64(next);
        self.u32(name.len() as u32).u32(u32::from(kind));
        self.bytes(name);
        self.0.resize(end, 0);
        true
    }

    /// Its bytes, with the length where the kernel wants it.
    pub fn finish(mut self) -> Vec<u8> {
        let length = self.0.len() as u32;
        self.0[..4].copy_from_slice(&length.to_ne_bytes());
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folders_entry_that_does_not_fit_is_left_for_the_next_time() {
        let mut answer = Answer::to(1);
        assert!(answer.directory_entry(64, 1, 1, 8, b"first"));
        assert!(answer.directory_entry(64, 2, 2, 8, b"second"));
        assert!(!answer.directory_entry(64, 3, 3, 8, b"third"));
        assert_eq!(answer.finish().len(), 16 + 64);
    }
}
