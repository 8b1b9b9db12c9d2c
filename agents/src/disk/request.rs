//! What the kernel asks of a FUSE server: one read from `/dev/fuse` is one request.
//!
//! Layouts are those of `linux/fuse.h`, protocol 7.31, in the machine's own byte order; fields that this server does not
//! use are passed over. What is answered stands in `answer`.

use std::ffi::CStr;

use shakedown_contracts::host_fault::DiskMethod;

/// The largest write that the kernel sends at once.
pub(super) const WRITE_BYTES_MAX: u32 = 1 << 20;
/// A request is a header, arguments and at most one write's bytes.
pub(super) const REQUEST_BYTES_MAX: usize = WRITE_BYTES_MAX as usize + (1 << 13);

const HEADER_BYTES: usize = 40;

/// Which attributes a `setattr` sets.
pub(super) mod valid {
    pub const MODE: u32 = 1 << 0;
    pub const UID: u32 = 1 << 1;
    pub const GID: u32 = 1 << 2;
    pub const SIZE: u32 = 1 << 3;
    pub const ATIME: u32 = 1 << 4;
    pub const MTIME: u32 = 1 << 5;
    pub const ATIME_NOW: u32 = 1 << 7;
    pub const MTIME_NOW: u32 = 1 << 8;
}

/// A request as the kernel sent it, with the bytes that it came in.
#[derive(Debug)]
pub(super) struct Request {
    bytes: Vec<u8>,
    opcode: u32,
    /// Its number; the answer carries it.
    pub unique: u64,
    /// The file it is about.
    pub node: u64,
    /// Who asks.
    pub uid: u32,
    /// Who asks.
    pub gid: u32,
    /// The thread that asks, in the server's pid namespace.
    pub thread: i32,
}

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Call<'a> {
    Init {
        readahead: u32,
        flags: u32,
    },
    Lookup {
        name: &'a CStr,
    },
    Forget {
        lookups: u64,
    },
    ForgetMany {
        pairs: &'a [u8],
    },
    GetAttributes,
    SetAttributes(SetAttributes),
    ReadLink,
    SymbolicLink {
        name: &'a CStr,
        target: &'a CStr,
    },
    MakeNode {
        mode: u32,
        device: u32,
        name: &'a CStr,
    },
    MakeDirectory {
        mode: u32,
        name: &'a CStr,
    },
    Unlink {
        name: &'a CStr,
    },
    RemoveDirectory {
        name: &'a CStr,
    },
    Rename {
        name: &'a CStr,
        to: u64,
        new_name: &'a CStr,
        flags: u32,
    },
    Link {
        of: u64,
        name: &'a CStr,
    },
    Open {
        flags: i32,
    },
    Create {
        flags: i32,
        mode: u32,
        name: &'a CStr,
    },
    Read {
        handle: u64,
        offset: u64,
        size: u32,
    },
    Write {
        handle: u64,
        offset: u64,
        data: &'a [u8],
    },
    Statistics,
    Release {
        handle: u64,
    },
    Sync {
        data_only: bool,
        handle: u64,
    },
    OpenDirectory,
    ReadDirectory {
        handle: u64,
        offset: u64,
        size: u32,
    },
    ReleaseDirectory {
        handle: u64,
    },
    SyncDirectory {
        handle: u64,
    },
    Allocate {
        handle: u64,
        offset: u64,
        length: u64,
        mode: i32,
    },
    Interrupt {
        unique: u64,
    },
    Destroy,
    /// What this server leaves to the kernel, which then does without.
    Unsupported,
}

/// New attributes of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SetAttributes {
    pub valid: u32,
    pub size: u64,
    /// Seconds and nanoseconds.
    pub accessed: (i64, u32),
    pub modified: (i64, u32),
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
}

impl Request {
    /// `None` for bytes that are no request.
    pub fn parse(bytes: Vec<u8>) -> Option<Request> {
        let mut fields = Fields(&bytes);
        let length = fields.u32()?;
        let (opcode, unique, node) = (fields.u32()?, fields.u64()?, fields.u64()?);
        let (uid, gid, thread) = (fields.u32()?, fields.u32()?, fields.u32()?);
        if length as usize != bytes.len() || bytes.len() < HEADER_BYTES {
            return None;
        }
        Some(Request {
            opcode,
            unique,
            node,
            uid,
            gid,
            thread: thread as i32,
            bytes,
        })
    }

    /// What is asked; `None` when the bytes are too few for it.
    pub fn call(&self) -> Option<Call<'_>> {
        let mut fields = Fields(self.bytes.get(HEADER_BYTES..)?);
        Some(match self.opcode {
            1 => Call::Lookup {
                name: fields.name()?,
            },
            2 => Call::Forget {
                lookups: fields.u64()?,
            },
            3 => Call::GetAttributes,
            4 => Call::SetAttributes(fields.attributes()?),
            5 => Call::ReadLink,
            6 => Call::SymbolicLink {
                name: fields.name()?,
                target: fields.name()?,
            },
            8 => {
                let (mode, device) = (fields.u32()?, fields.u32()?);
                fields.skip(8)?;
                let name = fields.name()?;
                Call::MakeNode { mode, device, name }
            }
            9 => {
                let mode = fields.u32()?;
                fields.skip(4)?;
                let name = fields.name()?;
                Call::MakeDirectory { mode, name }
            }
            10 => Call::Unlink {
                name: fields.name()?,
            },
            11 => Call::RemoveDirectory {
                name: fields.name()?,
            },
            12 => fields.rename(false)?,
            13 => Call::Link {
                of: fields.u64()?,
                name: fields.name()?,
            },
            14 => Call::Open {
                flags: fields.u32()? as i32,
            },
            15 | 28 => {
                let (handle, offset, size) = (fields.u64()?, fields.u64()?, fields.u32()?);
                if self.opcode == 15 {
                    Call::Read {
                        handle,
                        offset,
                        size,
                    }
                } else {
                    Call::ReadDirectory {
                        handle,
                        offset,
                        size,
                    }
                }
            }
            16 => {
                let (handle, offset, size) = (fields.u64()?, fields.u64()?, fields.u32()?);
                fields.skip(20)?;
                let data = fields.0.get(..size as usize)?;
                Call::Write {
                    handle,
                    offset,
                    data,
                }
            }
            17 => Call::Statistics,
            18 => Call::Release {
                handle: fields.u64()?,
            },
            20 => Call::Sync {
                handle: fields.u64()?,
                data_only: fields.u32()? & 1 != 0,
            },
            26 => {
                fields.skip(8)?;
                let (readahead, flags) = (fields.u32()?, fields.u32()?);
                Call::Init { readahead, flags }
            }
            27 => Call::OpenDirectory,
            29 => Call::ReleaseDirectory {
                handle: fields.u64()?,
            },
            30 => Call::SyncDirectory {
                handle: fields.u64()?,
            },
            35 => {
                let (flags, mode) = (fields.u32()? as i32, fields.u32()?);
                fields.skip(8)?;
                let name = fields.name()?;
                Call::Create { flags, mode, name }
            }
            36 => Call::Interrupt {
                unique: fields.u64()?,
            },
            38 => Call::Destroy,
            42 => {
                let count = fields.u32()? as usize;
                fields.skip(4)?;
                let pairs = fields.0.get(..count.checked_mul(16)?)?;
                Call::ForgetMany { pairs }
            }
            43 => Call::Allocate {
                handle: fields.u64()?,
                offset: fields.u64()?,
                length: fields.u64()?,
                mode: fields.u32()? as i32,
            },
            45 => fields.rename(true)?,
            _ => Call::Unsupported,
        })
    }
}

impl Call<'_> {
    /// What this does to a disk; `None` for what a system answers from memory.
    pub fn method(&self) -> Option<DiskMethod> {
        Some(match self {
            Call::Read { .. } => DiskMethod::Read,
            Call::Write { .. } => DiskMethod::Write,
            Call::Sync { .. } | Call::SyncDirectory { .. } => DiskMethod::Sync,
            Call::Open { .. } => DiskMethod::Open,
            Call::Create { .. }
            | Call::MakeNode { .. }
            | Call::MakeDirectory { .. }
            | Call::SymbolicLink { .. }
            | Call::Link { .. } => DiskMethod::Create,
            Call::Rename { .. } => DiskMethod::Rename,
            Call::Unlink { .. } | Call::RemoveDirectory { .. } => DiskMethod::Unlink,
            Call::Allocate { .. } => DiskMethod::Truncate,
            Call::SetAttributes(set) if set.valid & valid::SIZE != 0 => DiskMethod::Truncate,
            _ => return None,
        })
    }

    /// The name of the entry in a folder that this is about.
    pub fn name(&self) -> Option<&CStr> {
        match self {
            Call::Lookup { name }
            | Call::SymbolicLink { name, .. }
            | Call::MakeNode { name, .. }
            | Call::MakeDirectory { name, .. }
            | Call::Unlink { name }
            | Call::RemoveDirectory { name }
            | Call::Rename { name, .. }
            | Call::Link { name, .. }
            | Call::Create { name, .. } => Some(name),
            _ => None,
        }
    }
}

/// The number and lookups of each file in the body of a [`Call::ForgetMany`].
pub(super) fn forgotten(pairs: &[u8]) -> impl Iterator<Item = (u64, u64)> {
    pairs.chunks_exact(16).filter_map(|pair| {
        let mut fields = Fields(pair);
        Some((fields.u64()?, fields.u64()?))
    })
}

/// Reads field after field; `None` past the end.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*first)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_ne_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_ne_bytes)
    }

    fn skip(&mut self, bytes: usize) -> Option<()> {
        self.0 = self.0.get(bytes..)?;
        Some(())
    }

    fn name(&mut self) -> Option<&'a CStr> {
        let name = CStr::from_bytes_until_nul(self.0).ok()?;
        self.0 = &self.0[name.count_bytes() + 1..];
        Some(name)
    }

    fn rename(&mut self, with_flags: bool) -> Option<Call<'a>> {
        let to = self.u64()?;
        let mut flags = 0;
        if with_flags {
            flags = self.u32()?;
            self.skip(4)?;
        }
        let (name, new_name) = (self.name()?, self.name()?);
        Some(Call::Rename {
            name,
            to,
            new_name,
            flags,
        })
    }

    fn attributes(&mut self) -> Option<SetAttributes> {
        let valid = self.u32()?;
        self.skip(4)?;
        self.skip(8)?;
        let size = self.u64()?;
        self.skip(8)?;
        let (accessed, modified) = (self.u64()?, self.u64()?);
        self.skip(8)?;
        let (accessed_nanos, modified_nanos) = (self.u32()?, self.u32()?);
        self.skip(4)?;
        let mode = self.u32()?;
        self.skip(4)?;
        Some(SetAttributes {
            valid,
            size,
            accessed: (accessed as i64, accessed_nanos),
            modified: (modified as i64, modified_nanos),
            mode,
            uid: self.u32()?,
            gid: self.u32()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(opcode: u32, body: &[u8]) -> Option<Request> {
        let mut bytes = Vec::new();
        let length = (HEADER_BYTES + body.len()) as u32;
        for value in [length, opcode] {
            bytes.extend_from_slice(&value.to_ne_bytes());
        }
        for value in [7_u64, 1] {
            bytes.extend_from_slice(&value.to_ne_bytes());
        }
        bytes.extend_from_slice(&[0; 16]);
        bytes.extend_from_slice(body);
        Request::parse(bytes)
    }

    #[test]
    fn a_write_is_read_with_its_bytes_and_a_short_one_is_none() {
        let mut body = Vec::new();
        for value in [3_u64, 4096] {
            body.extend_from_slice(&value.to_ne_bytes());
        }
        body.extend_from_slice(&5_u32.to_ne_bytes());
        body.extend_from_slice(&[0; 20]);
        body.extend_from_slice(b"bytes");
        let whole = request(16, &body).unwrap();
        let expected = Call::Write {
            handle: 3,
            offset: 4096,
            data: b"bytes",
        };
        assert_eq!(whole.call(), Some(expected));
        assert_eq!(whole.call().unwrap().method(), Some(DiskMethod::Write));
        assert_eq!(request(16, &body[..body.len() - 1]).unwrap().call(), None);
    }

    #[test]
    fn names_end_at_their_zero_and_a_name_without_one_is_none() {
        let body = [&9_u64.to_ne_bytes()[..], b"old\0new\0"].concat();
        let whole = request(12, &body).unwrap();
        let Some(Call::Rename {
            name, to, new_name, ..
        }) = whole.call()
        else {
            panic!("a rename");
        };
        assert_eq!((name, to, new_name), (c"old", 9, c"new"));
        assert_eq!(request(1, b"endless").unwrap().call(), None);
    }

    #[test]
    fn bytes_that_are_no_request_are_refused() {
        assert!(Request::parse(vec![0; 39]).is_none());
        assert!(Request::parse(vec![0xff; 64]).is_none());
    }
}
