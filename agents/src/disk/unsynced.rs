//! What a file's disk does not have yet: how to take back each change since the last sync.
//!
//! Changes go into the file at once, so that everybody reads them, as from a page cache. Before each, what it
//! replaces is kept here; a sync that succeeds drops that, a host's death or a failed sync puts it back,
//! newest first.
//!
//! Invariant: the file with all entries taken back is what was synced last, or what the kernel would have
//! written since by itself (the oldest entries beyond [`KEPT_BYTES_MAX`]).

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// A kernel writes old pages back by itself; of a file that nobody syncs, no more than this can be
/// taken back.
const KEPT_BYTES_MAX: u64 = 64 << 20;
/// A device writes whole sectors.
const SECTOR_BYTES: u64 = 512;

/// One file's changes, oldest first.
#[derive(Debug, Default)]
pub(super) struct Unsynced {
    changes: VecDeque<Change>,
    kept_bytes: u64,
}

/// A change and what it replaced.
#[derive(Debug)]
struct Change {
    /// Where it stands among all changes of the disk.
    number: u64,
    offset: u64,
    /// Bytes that were there.
    replaced: Vec<u8>,
    /// Bytes that it wrote.
    written: u64,
    size_before: u64,
}

impl Unsynced {
    /// To be called before `length` bytes are written at `offset`.
    pub fn before_write(
        &mut self,
        file: &File,
        number: u64,
        offset: u64,
        length: u64,
    ) -> io::Result<()> {
        let size_before = file.metadata()?.len();
        let replaced = read(file, offset, length.min(size_before.saturating_sub(offset)))?;
        self.keep(Change {
            number,
            offset,
            replaced,
            written: length,
            size_before,
        });
        Ok(())
    }

    /// To be called before the file becomes `size` bytes long.
    pub fn before_resize(&mut self, file: &File, number: u64, size: u64) -> io::Result<()> {
        let size_before = file.metadata()?.len();
        let replaced = read(file, size, size_before.saturating_sub(size))?;
        self.keep(Change {
            number,
            offset: size,
            replaced,
            written: 0,
            size_before,
        });
        Ok(())
    }

    fn keep(&mut self, change: Change) {
        self.kept_bytes += change.replaced.len() as u64;
        self.changes.push_back(change);
        while self.kept_bytes > KEPT_BYTES_MAX {
            let Some(oldest) = self.changes.pop_front() else {
                break;
            };
            self.kept_bytes -= oldest.replaced.len() as u64;
        }
    }

    /// The newest change was not made after all.
    pub fn not_made(&mut self) {
        if let Some(change) = self.changes.pop_back() {
            self.kept_bytes -= change.replaced.len() as u64;
        }
    }

    /// Everything below `number` is durable.
    pub fn synced(&mut self, number: u64) {
        let is_older = |change: &Change| change.number < number;
        while self.changes.front().is_some_and(is_older) {
            let oldest = self.changes.pop_front();
            self.kept_bytes -= oldest.map_or(0, |change| change.replaced.len() as u64);
        }
    }

    /// True when nothing could be taken back.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// The numbers of its changes.
    pub fn numbers(&self) -> impl Iterator<Item = u64> {
        self.changes.iter().map(|change| change.number)
    }

    /// Takes the changes from `number` on back; returns how many written bytes went.
    pub fn take_back(&mut self, file: &File, number: u64) -> io::Result<u64> {
        let mut lost = 0;
        while let Some(change) = self.changes.pop_back() {
            if change.number < number {
                self.changes.push_back(change);
                break;
            }
            self.kept_bytes -= change.replaced.len() as u64;
            change.undo(file)?;
            lost += change.written;
        }
        Ok(lost)
    }

    /// Takes the newest change back but for its first sectors, of which `draw` is told the number and
    /// says how many stay; returns how many bytes went.
    pub fn tear(&mut self, file: &File, draw: impl FnOnce(u64) -> u64) -> io::Result<u64> {
        let Some(change) = self.changes.pop_back() else {
            return Ok(0);
        };
        self.kept_bytes -= change.replaced.len() as u64;
        let first_boundary = SECTOR_BYTES - change.offset % SECTOR_BYTES;
        let boundaries = match change.written.checked_sub(first_boundary + 1) {
            Some(behind) => behind / SECTOR_BYTES + 1,
            None => 0,
        };
        let kept = match draw(boundaries) {
            0 => 0,
            sectors => first_boundary + (sectors - 1) * SECTOR_BYTES,
        };
        let head = read(file, change.offset, kept)?;
        change.undo(file)?;
        file.write_all_at(&head, change.offset)?;
        Ok(change.written - kept)
    }
}

impl Change {
    fn undo(&self, file: &File) -> io::Result<()> {
        file.set_len(self.size_before)?;
        file.write_all_at(&self.replaced, self.offset)
    }
}

fn read(file: &File, offset: u64, length: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length as usize];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Written {
        file: File,
        unsynced: Unsynced,
        number: u64,
    }

    impl Written {
        fn new() -> Self {
            Written {
                file: tempfile::tempfile().unwrap(),
                unsynced: Unsynced::default(),
                number: 0,
            }
        }

        fn write(&mut self, offset: u64, bytes: &[u8]) {
            let length = bytes.len() as u64;
            let before = self
                .unsynced
                .before_write(&self.file, self.number, offset, length);
            before.unwrap();
            self.file.write_all_at(bytes, offset).unwrap();
            self.number += 1;
        }

        fn resize(&mut self, size: u64) {
            let before = self.unsynced.before_resize(&self.file, self.number, size);
            before.unwrap();
            self.file.set_len(size).unwrap();
            self.number += 1;
        }

        fn content(&self) -> Vec<u8> {
            read(&self.file, 0, self.file.metadata().unwrap().len()).unwrap()
        }
    }

    #[test]
    fn what_was_synced_stays_and_what_was_not_goes() {
        let mut one = Written::new();
        one.write(0, b"synced");
        one.unsynced.synced(one.number);
        one.write(6, b" appended");
        one.write(0, b"SYN");
        one.resize(2);
        one.resize(20);
        assert_eq!(one.unsynced.take_back(&one.file, 0).unwrap(), 12);
        assert_eq!(one.content(), b"synced");
        assert!(one.unsynced.is_empty());
    }

    #[test]
    fn a_change_made_during_a_sync_is_not_covered_by_it() {
        let mut one = Written::new();
        one.write(0, b"before");
        let mark = one.number;
        one.write(6, b"during");
        one.unsynced.synced(mark);
        one.unsynced.take_back(&one.file, 0).unwrap();
        assert_eq!(one.content(), b"before");
    }

    #[test]
    fn a_torn_write_ends_at_a_sector() {
        for (sectors, expected) in [(0, 0), (1, 412), (2, 924)] {
            let mut one = Written::new();
            one.write(0, &[1; 100]);
            one.unsynced.synced(one.number);
            one.write(100, &[2; 1000]);
            let draw = |boundaries| {
                assert_eq!(boundaries, 2, "of bytes 100 to 1100: at 512 and 1024");
                sectors
            };
            one.unsynced.tear(&one.file, draw).unwrap();
            let mut content = vec![1; 100];
            content.resize(100 + expected, 2);
            assert_eq!(one.content(), content);
        }
    }

    #[test]
    fn a_write_within_one_sector_is_there_or_not() {
        let mut one = Written::new();
        one.write(10, &[1; 100]);
        let draw = |boundaries| boundaries;
        assert_eq!(one.unsynced.tear(&one.file, draw).unwrap(), 100);
        assert_eq!(one.content(), b"");
    }

    #[test]
    fn what_is_kept_of_a_file_that_nobody_syncs_is_bounded() {
        let mut one = Written::new();
        let large = vec![7; 40 << 20];
        one.write(0, &large);
        one.write(0, &large);
        one.write(0, &large);
        assert!(one.unsynced.kept_bytes <= KEPT_BYTES_MAX);
        one.unsynced.take_back(&one.file, 0).unwrap();
        assert_eq!(one.content().len(), large.len(), "the first is on the disk");
    }
}
